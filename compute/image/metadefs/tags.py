"""/v2/metadefs/namespaces/{namespace}/tags."""

from typing import Final

from sqlalchemy import delete, select

from compute.image.metadefs import items
from compute.image.metadefs.call import Call, Handler
from compute.image.metadefs.models import MetadefTag
from compute.image.metadefs.paging import page
from compute.image.metadefs.schemas import TAG_BODY, TAGS_BODY
from compute.server.request import NO_CONTENT, Answer, json_answer

_READ_ONLY: Final = ("created_at", "updated_at")
_SORT_KEYS: Final = ("created_at", "updated_at", "name", "id")
_TRUE: Final = ("1", "t", "true", "on", "y", "yes")


def list_tags(call: Call) -> Answer:
    """GET of the collection; a marker is a tag's name."""
    limit = call.limit()
    key, downwards = call.order(_SORT_KEYS)
    with call.read() as session:
        namespace = call.namespace(session, "get_metadef_tags")
        at = call.request.query.get("marker")
        marker = items.found(session, MetadefTag, namespace, at) if at else None
        query = select(MetadefTag).where(MetadefTag.namespace_id == namespace.id)
        rows = page(session, query, MetadefTag, key, downwards, marker, limit)
        return json_answer({"tags": [{"name": row.name} for row in rows]})


def create_tags(call: Call) -> Answer:
    """POST of many, in place of all that are there unless X-Openstack-Append says otherwise."""
    names = [tag["name"] for tag in call.body(TAGS_BODY, _READ_ONLY)["tags"]]
    append = call.request.headers.get("X-Openstack-Append", "").strip().lower() in _TRUE
    with call.write() as session:
        namespace = call.namespace(session, "add_metadef_tags")
        if not append:
            session.execute(delete(MetadefTag).where(MetadefTag.namespace_id == namespace.id))
        for name in names:
            items.add_tag(call, session, namespace, name)
    return json_answer({"tags": [{"name": name} for name in names]}, 201)


def create_tag(call: Call) -> Answer:
    """POST of one, named by the path."""
    TAG_BODY.check({"name": call.path["tag_name"]})
    with call.write() as session:
        namespace = call.namespace(session, "add_metadef_tag")
        row = items.add_tag(call, session, namespace, call.path["tag_name"])
        return json_answer(items.tag_view(row), 201)


def show_tag(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        namespace = call.namespace(session, "get_metadef_tag")
        row = items.found(session, MetadefTag, namespace, call.path["tag_name"])
        return json_answer(items.tag_view(row))


def update_tag(call: Call) -> Answer:
    """PUT: another name."""
    fields = call.body(TAG_BODY, _READ_ONLY)
    with call.write() as session:
        namespace = call.namespace(session, "modify_metadef_tag")
        row = items.found(session, MetadefTag, namespace, call.path["tag_name"])
        row.name = items.free(session, MetadefTag, namespace, fields["name"], row)
        row.updated_us = call.now_us
        session.flush()
        return json_answer(items.tag_view(row))


def delete_tag(call: Call) -> Answer:
    """DELETE of one."""
    with call.write() as session:
        namespace = call.namespace(session, "delete_metadef_tag")
        row = items.found(session, MetadefTag, namespace, call.path["tag_name"])
        items.check_deletable(namespace, row)
        session.delete(row)
    return NO_CONTENT


_ALL: Final = "/v2/metadefs/namespaces/{namespace}/tags"
_ONE: Final = f"{_ALL}/{{tag_name}}"
ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", _ALL, list_tags),
    ("POST", _ALL, create_tags),
    ("POST", _ONE, create_tag),
    ("GET", _ONE, show_tag),
    ("PUT", _ONE, update_tag),
    ("DELETE", _ONE, delete_tag),
]

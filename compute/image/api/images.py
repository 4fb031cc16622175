"""/v2/images: made, listed, shown, changed and deleted."""

import uuid
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from compute.image import listing, quotas
from compute.image.call import Call, Handler
from compute.image.models import Image, ImageProperty, ImageTag
from compute.image.patch import DIALECTS, READ_ONLY, Change, changes, check_name
from compute.image.schemas import BASE, IMAGE_BODY
from compute.image.uploads import discard, discard_copy, forget_bytes
from compute.image.views import copies_of, location_of, views
from compute.server.errors import ApiError, BadRequest, Conflict, Forbidden, NotFound, TooLarge
from compute.server.request import NO_CONTENT, Answer, json_answer

IMPORT_METHODS: Final = ("glance-direct", "web-download", "copy-image")
_OWN: Final = frozenset(
    {
        "name",
        "visibility",
        "protected",
        "os_hidden",
        "owner",
        "container_format",
        "disk_format",
        "min_ram",
        "min_disk",
    }
)
_DEFAULTS: Final[dict[str, Any]] = {
    "name": None,
    "visibility": "shared",
    "protected": False,
    "os_hidden": False,
    "container_format": None,
    "disk_format": None,
    "min_ram": 0,
    "min_disk": 0,
}
_FOREIGN: Final = "Invalid location"
"""Bytes are where the server puts them: of a URL it takes none that it has not made itself."""
_AMAZON: Final = ("aki", "ari", "ami")


class UnsupportedMediaType(ApiError):
    """The body is of a type that is not taken here."""

    status = 415


def list_images(call: Call) -> Answer:
    """GET."""
    limit = call.limit()
    order = listing.orders(call)
    query = listing.query(call)
    call.enforce("get_images")
    with call.read() as session:
        if at := call.request.query.get("marker"):
            marker = session.get(Image, at)
            if marker is None or not call.sees(session, marker):
                raise BadRequest(f"Image {at} could not be found.")
            query = query.where(listing.after(marker, order))
        parts = ((listing.sortable(key), down) for key, down in order)
        query = query.order_by(*(part.desc() if down else part.asc() for part, down in parts))
        rows = session.scalars(query.limit(limit)).all()
        shown = _shown(call, session, rows)
    last = rows[-1].id if rows and len(rows) == limit else None
    return json_answer({"images": shown, **_links(call, last)})


def _shown(call: Call, session: Session, images: Sequence[Image]) -> list[dict[str, Any]]:
    """As the caller may see them."""
    shown = views(session, images, call.readable)
    with_all, with_first = call.settings.show_multiple_locations, call.settings.show_image_direct_url
    if not (with_all or with_first):
        return shown
    copies = copies_of(session, [image.id for image in images])
    for image, each in zip(images, shown, strict=True):
        is_shown = image.status == "active" and call.allowed("get_image_location", image)
        places = [location_of(copy) for copy in copies.get(image.id, ()) if is_shown]
        if with_all:
            each["locations"] = places
        if with_first and places:
            each["direct_url"] = places[0]["url"]
    return shown


def _links(call: Call, last: str | None) -> dict[str, str]:
    pairs = [(name, value) for name, value in call.request.query.items() if name != "marker"]
    first = f"/v2/images?{urlencode(pairs)}" if pairs else "/v2/images"
    links = {"first": first, "schema": "/v2/schemas/images"}
    if last is not None:
        links["next"] = f"/v2/images?{urlencode([*pairs, ('marker', last)])}"
    return links


def create_image(call: Call) -> Answer:
    """POST."""
    for name in call.request.json():
        check_name(name, READ_ONLY - {"id"})
    fields = call.body(IMAGE_BODY)
    if fields.get("locations") and not call.settings.show_multiple_locations:
        raise Forbidden("It's not allowed to add locations if locations are invisible.")
    image = _made(call, fields)
    call.enforce("add_image", image)
    if fields.get("locations"):
        call.enforce("set_image_location", image)
        raise BadRequest(_FOREIGN)
    _check_visibility(call, image)
    _check_formats(image)
    more = {name: value for name, value in fields.items() if name not in BASE}
    tags = sorted(set(fields.get("tags", ())))
    _check_quota(call, more, tags)
    for name in more:
        if not call.may("create", name):
            raise _reserved(name)
    with call.write() as session:
        if session.get(Image, image.id) is not None:
            raise Conflict(f"Image ID {image.id} already exists!")
        quotas.check(session, call.settings, image.owner, {"image_count_total": 1})
        session.add(image)
        session.flush()
        session.add_all(ImageTag(image_id=image.id, name=tag) for tag in tags)
        session.add_all(
            ImageProperty(image_id=image.id, name=name, value=value) for name, value in more.items()
        )
        session.flush()
        (shown,) = _shown(call, session, [image])
    headers = {
        "Location": f"{call.request.base}/v2/images/{image.id}",
        "OpenStack-image-import-methods": ",".join(IMPORT_METHODS),
        "OpenStack-image-store-ids": ",".join(call.settings.places),
    }
    return json_answer(shown, 201, headers)


def _reserved(name: str) -> Forbidden:
    return Forbidden(f"Attribute '{name}' is reserved.")


def _made(call: Call, fields: dict[str, Any]) -> Image:
    now_us = call.site.now_us()
    own = {name: fields.get(name, default) for name, default in _DEFAULTS.items()}
    return Image(
        **own,
        id=str(uuid.UUID(fields["id"])) if "id" in fields else call.site.new_uuid(),
        owner=fields.get("owner", call.context.project_id),
        status="queued",
        created_us=now_us,
        updated_us=now_us,
    )


def _check_visibility(call: Call, image: Image) -> None:
    """Raises Forbidden."""
    if image.visibility == "public":
        call.enforce("publicize_image", image)
    if image.visibility == "community":
        call.enforce("communitize_image", image)


def _check_formats(image: Image) -> None:
    """Amazon's formats come in pairs. Raises BadRequest."""
    disk, container = image.disk_format, image.container_format
    if disk in _AMAZON or container in _AMAZON:
        if container is None:
            image.container_format = disk
        elif disk is None:
            image.disk_format = container
        elif container != disk:
            raise BadRequest(
                "Invalid mix of disk and container formats. When setting a disk or container"
                " format to one of 'aki', 'ari', or 'ami', the container and disk formats must"
                " match."
            )


def _check_quota(call: Call, more: dict[str, Any], tags: list[str]) -> None:
    """Raises TooLarge."""
    for what, count, limit in (
        ("properties", len(more), call.settings.properties_max),
        ("tags", len(tags), call.settings.tags_max),
    ):
        if count > limit:
            raise TooLarge(
                f"The limit has been exceeded on the number of allowed image {what}."
                f" Attempted: {count}, Maximum: {limit}"
            )


def show_image(call: Call) -> Answer:
    """GET of one."""
    with call.read() as session:
        return json_answer(_shown(call, session, [call.image(session, "get_image")])[0])


def update_image(call: Call) -> Answer:
    """PATCH: all operations, or none."""
    kind = call.request.headers.get("Content-Type", "").split(";")[0].strip()
    if kind not in DIALECTS:
        allowed = ", ".join(sorted(DIALECTS))
        raise UnsupportedMediaType(
            f"Image PATCH expects Content-Type one of: {allowed}", {"Accept-Patch": allowed}
        )
    if not call.request.body:
        raise BadRequest("Body expected in request.")
    wanted = changes(
        _decoded(call.request.body),
        DIALECTS[kind],
        shows_locations=call.settings.show_multiple_locations,
    )
    with call.write() as session:
        image = call.image(session, "modify_image")
        before = image.visibility
        state = _State(session, image)
        for change in wanted:
            state.apply(call, change)
        _check_quota(call, state.properties, state.tags)
        if image.visibility != before:
            _check_visibility(call, image)
        _check_formats(image)
        state.store()
        image.updated_us = call.site.now_us()
        session.flush()
        answer = json_answer(_shown(call, session, [image])[0])
    call.images.sweeper.wake()
    return answer


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest("Invalid json in request body") from error


class _State:
    """An image while a patch is applied."""

    def __init__(self, session: Session, image: Image) -> None:
        self._session = session
        self._image = image
        rows = session.scalars(select(ImageProperty).where(ImageProperty.image_id == image.id))
        self.properties = {row.name: row.value for row in rows}
        tags = select(ImageTag.name).where(ImageTag.image_id == image.id)
        self.tags = list(session.scalars(tags))

    def apply(self, call: Call, change: Change) -> None:
        """Raises Conflict, Forbidden."""
        operation, name, value, _ = change
        if name == "locations":
            self._locate(call, change)
        elif name == "tags":
            self.tags = sorted(set(value)) if operation != "remove" else []
        elif name in _OWN:
            if operation == "remove":
                raise Forbidden(f"Property {name} may not be removed.")
            self._set(call, name, value)
        elif name in BASE:
            raise Forbidden(f"Attribute '{name}' is read-only.")
        else:
            self._change(call, operation, name, value)

    def _change(self, call: Call, operation: str, name: str, value: Any) -> None:
        """A property that the caller can't read is not there."""
        is_seen = name in self.properties and call.readable(name)
        if operation != "add" and not is_seen:
            raise Conflict(f"Property {name} does not exist.")
        needed = "delete" if operation == "remove" else "update" if is_seen else "create"
        if not call.may(needed, name) or (name in self.properties and not is_seen):
            raise _reserved(name)
        if operation == "remove":
            del self.properties[name]
        else:
            self.properties[name] = value

    def _locate(self, call: Call, change: Change) -> None:
        """Copies may go; none is added. Raises BadRequest, Conflict, Forbidden."""
        image = self._image
        statuses = ("active",) if change.operation == "remove" else ("active", "queued")
        if image.status not in statuses:
            raise Conflict(
                f"It's not allowed to {change.operation} locations if image status is {image.status}."
            )
        copies = copies_of(self._session, [image.id]).get(image.id, [])
        if change.operation == "add" or change.value:
            call.enforce("set_image_location", image)
            if change.operation == "replace" and copies:
                raise BadRequest("Cannot replace locations from a non-empty list to a non-empty list.")
            raise BadRequest(_FOREIGN)
        call.enforce("delete_image_location", image)
        if image.protected:
            raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
        going = copies
        if change.operation == "remove":
            if not (change.at.isdecimal() and int(change.at) < len(copies)):
                raise BadRequest("Invalid position for removing a location.")
            going = [copies[int(change.at)]]
        for copy in going:
            discard_copy(call.images, self._session, copy)
        self._session.flush()
        if len(going) == len(copies) and image.status == "active":
            forget_bytes(image)
            call.images.cache.drop(image.id)

    def _set(self, call: Call, name: str, value: Any) -> None:
        image = self._image
        if name == "owner" and value != image.owner and not call.is_admin:
            raise Forbidden("You are not permitted to modify owner on this image.")
        if name in ("container_format", "disk_format") and image.status != "queued":
            raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
        setattr(image, name, value)

    def store(self) -> None:
        """Write what is there now."""
        for model in (ImageProperty, ImageTag):
            self._session.execute(delete(model).where(model.image_id == self._image.id))
        self._session.add_all(
            ImageProperty(image_id=self._image.id, name=name, value=value)
            for name, value in self.properties.items()
        )
        self._session.add_all(ImageTag(image_id=self._image.id, name=name) for name in self.tags)


def delete_image(call: Call) -> Answer:
    """DELETE: its bytes go when nobody holds them."""
    with call.write() as session:
        image = call.image(session, "delete_image")
        if image.protected:
            raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
        discard(call.images, session, image)
    call.images.cache.unqueue(image.id)
    call.images.cache.drop(image.id)
    call.images.sweeper.wake()
    return NO_CONTENT


# -- tags --


def put_tag(call: Call) -> Answer:
    """PUT of one tag."""
    IMAGE_BODY.check({"tags": [call.path["tag"]]})
    with call.write() as session:
        image = call.image(session, "modify_image")
        count = session.scalar(
            select(func.count()).where(ImageTag.image_id == image.id, ImageTag.name != call.path["tag"])
        )
        _check_quota(call, {}, [""] * ((count or 0) + 1))
        session.merge(ImageTag(image_id=image.id, name=call.path["tag"]))
        image.updated_us = call.site.now_us()
    return NO_CONTENT


def delete_tag(call: Call) -> Answer:
    """DELETE of one tag."""
    with call.write() as session:
        image = call.image(session, "modify_image")
        tag = session.get(ImageTag, (image.id, call.path["tag"]))
        if tag is None:
            raise NotFound("Tag not found.")
        session.delete(tag)
        image.updated_us = call.site.now_us()
    return NO_CONTENT


# -- actions --


def _action(rule: str, before: str, after: str) -> Handler:
    def act(call: Call) -> Answer:
        with call.write() as session:
            image = call.image(session, rule)
            if image.status not in (before, after):
                raise Forbidden(f"Not allowed to {rule} image in status '{image.status}'")
            image.status = after
            image.updated_us = call.site.now_us()
        return NO_CONTENT

    return act


_ONE: Final = "/v2/images/{image_id}"
ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", "/v2/images", list_images),
    ("POST", "/v2/images", create_image),
    ("GET", _ONE, show_image),
    ("PATCH", _ONE, update_image),
    ("DELETE", _ONE, delete_image),
    ("PUT", f"{_ONE}/tags/{{tag}}", put_tag),
    ("DELETE", f"{_ONE}/tags/{{tag}}", delete_tag),
    ("POST", f"{_ONE}/actions/deactivate", _action("deactivate", "active", "deactivated")),
    ("POST", f"{_ONE}/actions/reactivate", _action("reactivate", "deactivated", "active")),
]

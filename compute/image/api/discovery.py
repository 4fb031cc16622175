"""Versions, stores, schemas: what there is, and what is absent of the API."""

from typing import Any, Final

from compute.image.api.images import IMPORT_METHODS
from compute.image.call import Call, Handler
from compute.image.quotas import shown
from compute.image.schemas import SERVED
from compute.server.errors import Absent, NotFound
from compute.server.request import Answer, Request, json_answer

NEWEST: Final = "v2.15"
_OLDER: Final = tuple(f"v2.{minor}" for minor in (13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0))


def versions(request: Request) -> Answer:
    """GET /, /versions: 300 on the root, as upstream."""
    links = [{"rel": "self", "href": f"{request.base}/v2/"}]
    rows = [{"id": NEWEST, "status": "CURRENT", "links": links}]
    rows += [{"id": name, "status": "SUPPORTED", "links": links} for name in _OLDER]
    return json_answer({"versions": rows}, 200 if request.path.startswith("/versions") else 300)


def show_schema(call: Call) -> Answer:
    """GET /v2/schemas/{schema}."""
    schema = SERVED.get(call.path["schema"])
    if schema is None:
        raise NotFound("The resource could not be found.")
    return json_answer(schema)


def import_info(_call: Call) -> Answer:
    """GET /v2/info/import."""
    methods = {
        "description": "Import methods available.",
        "type": "array",
        "value": list(IMPORT_METHODS),
    }
    return json_answer({"import-methods": methods})


def stores_info(call: Call) -> Answer:
    """GET /v2/info/stores."""
    return json_answer({"stores": _stores(call, detail=False)})


def stores_detail(call: Call) -> Answer:
    """GET /v2/info/stores/detail, for operators."""
    call.enforce("stores_info_detail")
    return json_answer({"stores": _stores(call, detail=True)})


def _stores(call: Call, *, detail: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for place in call.settings.places.values():
        row: dict[str, Any] = {"id": place.name}
        if place == call.settings.default_store:
            row["default"] = "true"
        if detail:
            row |= {"type": "swift", "weight": 0}
            row["properties"] = {"container": place.container, "policy": place.policy}
        rows.append(row)
    return rows


def usage(call: Call) -> Answer:
    """GET /v2/info/usage."""
    with call.read() as session:
        return json_answer({"usage": shown(session, call.settings, call.context.project_id or "")})


def absent(_call: Call) -> Answer:
    """Of the API, not of this server."""
    raise Absent("Of later versions: locations are in the image itself, and the cache is /v2/cache.")


ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", "/v2/schemas/{schema}", show_schema),
    ("GET", "/v2/info/import", import_info),
    ("GET", "/v2/info/stores", stores_info),
    ("GET", "/v2/info/stores/detail", stores_detail),
    ("GET", "/v2/info/usage", usage),
    ("GET", "/v2/cached_images", absent),
    ("GET", "/v2/queued_images", absent),
    ("GET", "/v2/images/{image_id}/locations", absent),
    ("POST", "/v2/images/{image_id}/locations", absent),
]

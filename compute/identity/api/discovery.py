"""GET / and GET /v3: which versions there are."""

from typing import Any

from compute.identity.call import Call
from compute.server.request import Answer, json_answer

MEDIA_TYPE = {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}


def _version(call: Call) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{call.v3}/"}],
        "media-types": [MEDIA_TYPE],
    }


def versions(call: Call) -> Answer:
    """300, as upstream answers it."""
    return json_answer({"versions": {"values": [_version(call)]}}, 300)


def version(call: Call) -> Answer:
    """The one version."""
    return json_answer({"version": _version(call)})


OPEN_ROUTES = [("GET", "/", versions), ("GET", "/v3", version)]

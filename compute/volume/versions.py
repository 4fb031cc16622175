"""Which versions there are: `/` and `/v3/`, for anyone."""

from typing import Any, Final

from compute.server.request import Answer, Request, json_answer
from compute.volume.call import MINOR_MAX

UPDATED: Final = "2024-04-01T00:00:00Z"


def _version(base: str) -> dict[str, Any]:
    return {
        "id": "v3.0",
        "status": "CURRENT",
        "version": f"3.{MINOR_MAX}",
        "min_version": "3.0",
        "updated": UPDATED,
        "links": [
            {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
            {"rel": "self", "href": f"{base}/v3/"},
        ],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
        ],
    }


def discovered(request: Request) -> Answer | None:
    """The answer, if versions are what is asked for: 300 at the root, 200 at the version's own path."""
    if request.method not in ("GET", "HEAD") or request.path.strip("/") not in ("", "v3"):
        return None
    status = 200 if request.path.strip("/") else 300
    return json_answer({"versions": [_version(request.base)]}, status)

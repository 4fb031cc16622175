"""Dynamic large objects: a manifest that stands for all objects under a prefix of a container.

The manifest is an object of kind "dlo" that keeps `container/prefix` (decoded) in
headers["x-object-manifest"]. The core resolves it when it is opened; here is who may read it.
"""

from proxy.core.contract import Store
from proxy.core.types import ObjectHead
from proxy.swift.access import Need, open_container
from proxy.swift.metadata import MANIFEST_HEADER
from proxy.swift.request import SwiftRequest


def segments_of(head: ObjectHead) -> tuple[str, str]:
    """Container and prefix of a manifest's segments."""
    container, _, prefix = head.headers.get(MANIFEST_HEADER, "").partition("/")
    return container, prefix


async def require_access(store: Store, request: SwiftRequest, head: ObjectHead) -> None:
    """Raises SwiftError 401, 403 unless the caller may read a dynamic manifest's segments themselves.

    Who may write one container could otherwise read any other by a manifest that points there.
    """
    if head.kind == "dlo" and not request.caller.owns(request.target.account):
        container, _ = segments_of(head)
        await open_container(store, request.caller, request.target.account, container, Need.READ)

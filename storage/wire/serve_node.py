"""The calls to a process itself, answered by its `NodeService` at once.

Called by `session.py`.
"""

from typing import Any, Final

from storage.node import NodeService
from storage.wire.frames import Bytes
from storage.wire.messages import (
    GET_NODE,
    GET_PROGRESS,
    GET_REPORT,
    GET_RING,
    PING,
    RING_PIECE_BYTES,
    GetNode,
    GetProgress,
    GetReport,
    GetRing,
    ReportOf,
    RingOf,
)

NODE_KINDS: Final = frozenset(
    call.kind for call in (PING, GET_NODE, GET_RING, GET_PROGRESS, GET_REPORT)
)


def node_answer(service: NodeService, message: Any) -> tuple[Any, Bytes]:
    """The answer to a call and its body."""
    match message:
        case GetNode():
            return service.facts(), b""
        case GetRing(newer_than, offset):
            return _ring(service, newer_than, max(0, offset))
        case GetProgress():
            return service.progress(), b""
        case GetReport():
            return ReportOf(), service.report()
    raise AssertionError(f"no node call: {message!r}")


def _ring(service: NodeService, newer_than: int, offset: int) -> tuple[RingOf, Bytes]:
    epoch = service.epoch
    if epoch <= newer_than:
        return RingOf(epoch, 0), b""
    data = service.ring_bytes()
    return RingOf(epoch, len(data)), memoryview(data)[offset : offset + RING_PIECE_BYTES]

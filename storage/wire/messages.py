"""All calls of the node protocol: one table, and the message types that are not row messages.

A request's head is the msgpack array [device id, message], an answer's head the answer alone.
Called by `client.py` and `server.py`; `doc/formats/wire.md` is the same table for readers.
"""

from types import GenericAlias
from typing import Any, Final

import msgspec

from storage.node import NodeFacts, Progress
from storage.types import BlobHeader, BlobName, Failed, RowAnswer, RowMessage

PIECE_MAX_BYTES: Final = 1024 * 1024
"""The most blob bytes in one frame."""

WRITE_WINDOW: Final = 4
"""How many pieces of one blob a client may have sent without an answer."""

READ_WINDOW: Final = 8
"""How many pieces of one blob a client may have asked for without an answer."""

RING_PIECE_BYTES: Final = 8 * 1024 * 1024
"""The most bytes of a ring in one answer: a large cluster's ring is over a frame's limit."""

ENTRIES_PER_CALL_MAX: Final = 512
"""The most entries that one list call asks a device for; a client asks again for more."""


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Who are you? `version`: the asker's release. -> Pong"""

    version: str


class Status(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """What does the device say of itself? -> StatusOf"""


class CreateBlob(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """Begin a blob; `handle` is the client's name for it on this connection. -> Done"""

    handle: int
    header: BlobHeader


class WriteBlob(msgspec.Struct, frozen=True, array_like=True, tag=43):
    """Append the body. -> Done"""

    handle: int


class CommitBlob(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """Make the blob durable and end the handle. -> Done"""

    handle: int


class OpenBlob(msgspec.Struct, frozen=True, array_like=True, tag=45):
    """Open a committed blob for reading. -> Opened"""

    handle: int
    name: BlobName


class ReadBlob(msgspec.Struct, frozen=True, array_like=True, tag=46):
    """At most PIECE_MAX_BYTES of an open blob, verified. -> Done, the bytes in the body"""

    handle: int
    offset: int
    length: int


class CloseBlob(msgspec.Struct, frozen=True, array_like=True, tag=47):
    """End a handle: aborts what is not committed, closes what is read. No answer."""

    handle: int


class DeleteBlob(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """Remove a blob durably. -> Done"""

    name: BlobName


class ListBlobs(msgspec.Struct, frozen=True, array_like=True, tag=49):
    """Committed blobs after a name. -> Listed, a list of BlobEntry in the body"""

    after: BlobName | None
    limit: int


class ListGarbage(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """Garbage hints after a seq. -> Listed, a list of GarbageEntry in the body"""

    after_seq: int
    limit: int


class ForgetGarbage(msgspec.Struct, frozen=True, array_like=True, tag=51):
    """Drop hints. -> Done"""

    seqs: list[int]


class AdoptBlob(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """Take over the staging file of a blob that a client on the same host wrote. -> Done"""

    name: BlobName


class ReportCorruptBlob(msgspec.Struct, frozen=True, array_like=True, tag=53):
    """A client on the same host found a blob's file bad: in a chunk, or all of it. -> Done"""

    name: BlobName
    chunk: int | None


class StageBlob(msgspec.Struct, frozen=True, array_like=True, tag=54):
    """Could a blob of this header be created? A client on the same host asks and stages it. -> Done"""

    header: BlobHeader


class GetNode(msgspec.Struct, frozen=True, array_like=True, tag=55):
    """Which process of which node are you? -> NodeFacts"""


class GetRing(msgspec.Struct, frozen=True, array_like=True, tag=56):
    """Your ring from a byte on, where its epoch is above `newer_than`. -> RingOf"""

    newer_than: int
    offset: int = 0


class GetProgress(msgspec.Struct, frozen=True, array_like=True, tag=57):
    """How far are your devices with a ring change? -> Progress"""


class GetReport(msgspec.Struct, frozen=True, array_like=True, tag=58):
    """What do you say of yourself to an operator? -> ReportOf, the report in the body"""


class GroupBlobs(msgspec.Struct, frozen=True, array_like=True, tag=80):
    """A device's blobs by partition, policy and number. -> Listed, a list of BlobGroup in the body"""

    salt: int
    power: int
    policy: str
    first: int
    count: int


class ListGroup(msgspec.Struct, frozen=True, array_like=True, tag=81):
    """One group's blobs after an id. -> Listed, a list of BlobEntry in the body"""

    salt: int
    power: int
    policy: str
    partition: int
    number: int
    after: bytes
    limit: int


class Done(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """Carried out."""


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """The answerer's release, its epoch, and the ids of the devices it serves."""

    version: str
    epoch: int
    devices: list[int]


class StatusOf(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """What a device says of itself; empty where it says nothing."""

    status: dict[str, Any]


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=63):
    """An open blob."""

    header: BlobHeader
    size_bytes: int


class Listed(msgspec.Struct, frozen=True, array_like=True, tag=64):
    """A list's entries are in the body; `more`: the answer was cut, ask again after the last one."""

    more: bool


class RingOf(msgspec.Struct, frozen=True, array_like=True, tag=66):
    """The answerer's epoch, and a piece of its ring file in the body. size_bytes: of the whole file; 0
    where it has none above the epoch that was named."""

    epoch: int
    size_bytes: int


class ReportOf(msgspec.Struct, frozen=True, array_like=True, tag=67):
    """The report is in the body."""


class Invalid(msgspec.Struct, frozen=True, array_like=True, tag=65):
    """The request contradicts the contract: a ValueError for the caller."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """One row of the table. kind: the number in the frame header; answer: its success type."""

    kind: int
    name: str
    request: Any
    answer: Any


ROW: Final = Call(1, "row", RowMessage, RowAnswer)
PING: Final = Call(2, "ping", Ping, Pong)
STATUS: Final = Call(3, "status", Status, StatusOf)
CREATE_BLOB: Final = Call(4, "create_blob", CreateBlob, Done)
WRITE_BLOB: Final = Call(5, "write_blob", WriteBlob, Done)
COMMIT_BLOB: Final = Call(6, "commit_blob", CommitBlob, Done)
OPEN_BLOB: Final = Call(7, "open_blob", OpenBlob, Opened)
READ_BLOB: Final = Call(8, "read_blob", ReadBlob, Done)
CLOSE_BLOB: Final = Call(9, "close_blob", CloseBlob, Done)
DELETE_BLOB: Final = Call(10, "delete_blob", DeleteBlob, Done)
LIST_BLOBS: Final = Call(11, "list_blobs", ListBlobs, Listed)
LIST_GARBAGE: Final = Call(12, "list_garbage", ListGarbage, Listed)
FORGET_GARBAGE: Final = Call(13, "forget_garbage", ForgetGarbage, Done)
ADOPT_BLOB: Final = Call(14, "adopt_blob", AdoptBlob, Done)
REPORT_CORRUPT_BLOB: Final = Call(15, "report_corrupt_blob", ReportCorruptBlob, Done)
STAGE_BLOB: Final = Call(16, "stage_blob", StageBlob, Done)
GET_NODE: Final = Call(17, "get_node", GetNode, NodeFacts)
GET_RING: Final = Call(18, "get_ring", GetRing, RingOf)
GET_PROGRESS: Final = Call(19, "get_progress", GetProgress, Progress)
GET_REPORT: Final = Call(20, "get_report", GetReport, ReportOf)
GROUP_BLOBS: Final = Call(21, "group_blobs", GroupBlobs, Listed)
LIST_GROUP: Final = Call(22, "list_group", ListGroup, Listed)

CALLS: Final = (
    ROW,
    PING,
    STATUS,
    CREATE_BLOB,
    WRITE_BLOB,
    COMMIT_BLOB,
    OPEN_BLOB,
    READ_BLOB,
    CLOSE_BLOB,
    DELETE_BLOB,
    LIST_BLOBS,
    LIST_GARBAGE,
    FORGET_GARBAGE,
    ADOPT_BLOB,
    REPORT_CORRUPT_BLOB,
    STAGE_BLOB,
    GET_NODE,
    GET_RING,
    GET_PROGRESS,
    GET_REPORT,
    GROUP_BLOBS,
    LIST_GROUP,
)
"""Every call there is. A number is never used for anything else."""

encode: Final = msgspec.msgpack.Encoder().encode
"""Any message, answer or (device id, message)."""


def request_decoder(call: Call) -> "msgspec.msgpack.Decoder[Any]":
    """Decodes a request's head to (device id, message); raises msgspec.DecodeError."""
    return msgspec.msgpack.Decoder(GenericAlias(tuple, (int, call.request)))


def answer_decoder(call: Call) -> "msgspec.msgpack.Decoder[Any]":
    """Decodes an answer's head; raises msgspec.DecodeError."""
    return msgspec.msgpack.Decoder(call.answer | Failed | Invalid)

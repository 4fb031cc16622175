"""Short ways to say versions, writes and blobs in the conformance suite."""

from runtime.clock import SystemClock
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    Accept,
    BlobHeader,
    BlobName,
    Prepare,
    RowFlag,
    Write,
)

SHARD = b"container/0"
NAME = b"photos/cat.jpg"
BASE_NS = SystemClock().now_ns()


def stamp(number: int, incarnation: bytes = b"process1") -> bytes:
    """The stamp that a process draws `number` nanoseconds after the suite's start."""
    return (BASE_NS + number).to_bytes(8, "big") + incarnation


def plain(number: int) -> bytes:
    """The version of a plain write."""
    return stamp(number) + ZERO_STAMP


def update(number: int, ballot: int) -> bytes:
    """The version of a conditional update under a ballot, on top of a plain write (0: of none)."""
    base = stamp(number) if number else ZERO_STAMP
    return base + stamp(ballot)


def write(
    number: int,
    name: bytes = NAME,
    *,
    flags: int = RowFlag.NONE,
    size: int = 3,
    head: bytes = b"head",
    shard: bytes = SHARD,
) -> Write:
    """A plain write."""
    return Write(shard, name, plain(number), flags, size, head)


def tombstone(number: int, name: bytes = NAME) -> Write:
    """A delete."""
    return write(number, name, flags=RowFlag.TOMBSTONE, size=0, head=b"")


def accept(version: bytes, name: bytes = NAME, *, flags: int = 0, head: bytes = b"head") -> Accept:
    """A conditional write's second phase."""
    return Accept(SHARD, name, version, flags, 3, head)


def prepare(ballot: int, name: bytes = NAME) -> Prepare:
    """A conditional write's first phase."""
    return Prepare(SHARD, name, stamp(ballot))


def blob_name(number: int, replica: int = 0) -> BlobName:
    """A blob's name; higher numbers sort later."""
    return BlobName(number.to_bytes(STAMP_BYTES, "big"), replica)


def blob_header(name: BlobName, chunk_bytes: int = 64 * 1024) -> BlobHeader:
    """The header of a whole replica."""
    return BlobHeader(
        name=name,
        partition=5,
        policy="replicated-3",
        owner_shard=SHARD,
        owner_name=NAME,
        upload=b"",
        codec="",
        k=1,
        m=0,
        chunk_bytes=chunk_bytes,
        created_ns=BASE_NS,
    )

"""The words that travel between the proxy core and devices: rows, versions, blobs and their messages.

Row messages are msgspec structs encoded as tagged msgpack arrays; payloads travel beside them as raw
bytes. The row protocol itself is `storage/device/register.py` (replica) and `proxy/core/register.py`
(client); DESIGN section 5 says why each rule is there.
"""

import enum
from typing import Final

import msgspec

STAMP_BYTES: Final = 16
VERSION_BYTES: Final = 32
ZERO_STAMP: Final = bytes(STAMP_BYTES)
ZERO_VERSION: Final = bytes(VERSION_BYTES)

HISTORY_VERSIONS: Final = 4
"""How many versions, the present one included, a replica remembers of a row."""

STAMP_AHEAD_MAX_S: Final = 60.0
"""A replica refuses stamps further ahead of its own clock than this."""

INLINE_MAX_BYTES: Final = 64 * 1024
"""Payloads up to this size live in the row; larger ones are blobs."""

NAME_MAX_BYTES: Final = 2048
SHARD_KEY_MAX_BYTES: Final = 64
HEAD_MAX_BYTES: Final = 64 * 1024
ROW_PAYLOAD_MAX_BYTES: Final = 16 * 1024 * 1024
"""Room for the manifest of a 10,000-part object."""

SEAL_NAME: Final = b""
"""The name of a shard's seal row: while it stands, the replica takes no other write in the shard."""


class RowFlag:
    """What a replica must know of a row without reading its head: bits of plain integers.

    Not an enum.IntFlag, whose every `&` costs a microsecond on the path of each request.
    """

    NONE: Final = 0
    TOMBSTONE: Final = 1
    BLOBS: Final = 2  # the payload names blobs: replacing this row leaves garbage to collect
    UNCOUNTED: Final = 4  # not an object of its shard's count and bytes
    TAKEN_OVER: Final = 8  # a tombstone that leaves no garbage: another row names the old one's blobs
    MANIFEST: Final = 16  # the payload is a manifest, not the object's bytes
    CONFIRMS: Final = 32  # of a message alone: a reader stores again what a replica holds


class Want:
    """How much of a row a reader asks for, as plain integers."""

    VERSION: Final = 0
    HEAD: Final = 1
    PAYLOAD: Final = 2


# -- row messages ------------------------------------------------------------------------------


class Read(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Give the row as this replica holds it. -> Row"""

    shard: bytes
    name: bytes
    want: int = Want.PAYLOAD


class Write(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A plain write, or a reader confirming one; `version` has a zero ballot. -> Ok | No | Sealed"""

    shard: bytes
    name: bytes
    version: bytes
    flags: int
    size: int
    head: bytes


class Accept(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A conditional write's second phase, or a reader confirming one. -> Ok | No | Sealed"""

    shard: bytes
    name: bytes
    version: bytes
    flags: int
    size: int
    head: bytes


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A conditional write's first phase; the promise is durable. -> Row (promised) | No | Sealed"""

    shard: bytes
    name: bytes
    ballot: bytes


class Scan(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Rows of one shard in byte order of their names, tombstones included, the seal row left out.

    Names in [start, end), `end` empty for no bound; stops after `limit` live rows or
    `SCAN_ROWS_MAX` rows altogether. digest_only: leave the rows out of the answer. -> Page
    """

    shard: bytes
    start: bytes
    end: bytes
    limit: int
    digest_only: bool = False
    prefix: bytes = b""


class Count(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Live counted rows of a shard and the sum of their sizes. -> Counts"""

    shard: bytes


SCAN_ROWS_MAX: Final = 10_000


# -- row messages of replicas to each other: sync, settling, reclaim ------------------------------
#
# The digest of a row is XXH3-64 over (name length, 4 bytes little-endian; name; version), that of a
# shard the XOR over its rows that have a version: tombstones and the seal row included, promises not.
# The place of a shard is XXH3-64 of its key, seeded with the ring's salt; its partition is the top
# `power` bits of that.

SUMMARY_PARTITIONS_MAX: Final = 16_384
SHARDS_PER_LIST_MAX: Final = 10_000
PULL_ROWS_MAX: Final = 1024
PULL_BYTES_MAX: Final = 4 * 1024 * 1024
"""An answer ends before the row that brings names, heads and payloads past this, but for its first."""

VERSIONS_ROWS_MAX: Final = 10_000
FORGET_ROWS_MAX: Final = 1000
LEAVES: Final = 256
"""A shard's rows fall into so many leaves, by the low byte of XXH3-64 of their names."""

DAMAGED: Final = -1
"""As `payload_bytes`: the replica's copy of the payload failed its checksum."""


class PulledRow(msgspec.Struct, frozen=True, array_like=True):
    """All that a replica knows of one row, but for the payload, which travels beside it.

    version: ZERO_VERSION where it has only promised. promised, earlier: see replica.RowState.
    payload_bytes: how much of the bytes beside the message is this row's, or DAMAGED.
    """

    name: bytes
    version: bytes
    promised: bytes
    earlier: list[bytes]
    flags: int
    size: int
    head: bytes
    payload_bytes: int


class Summarize(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """What the replica holds of the partitions [first, first + count) of 2^power. -> Summary"""

    salt: int
    power: int
    first: int
    count: int


class ListShards(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """The shards of a partition, in byte order of their keys, behind `after`. -> ShardList

    Speaks of everything that was decided before it came.
    """

    salt: int
    power: int
    partition: int
    after: bytes = b""


class Pull(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """All that the replica knows of a shard's rows: tombstones, promises, the seal row. -> Pulled

    Names in byte order from `start` on, at most `limit` and PULL_ROWS_MAX rows. It speaks of everything
    that was decided before it came: a majority's answers hold what was acknowledged before.
    """

    shard: bytes
    start: bytes
    limit: int


class Install(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Take over what a majority of the old replicas knows of rows, merged: a newcomer's way to their
    state (`replica.on_install`). -> Installed

    Idempotent; does not look at seals. The rows' payloads travel one after the other beside it.
    """

    shard: bytes
    rows: list[PulledRow]


class Leaves(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """The digests of a shard's leaves. -> LeafDigests"""

    shard: bytes


class Versions(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Names and versions of the rows in some leaves of a shard, from name `start` on. -> VersionList"""

    shard: bytes
    leaves: list[int]
    start: bytes = b""


class Forget(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Reclaim tombstones: drop each of these rows that still is just this version, a tombstone, and
    whose stamp, ballot and promise are all before `before_ns`. A row whose payload is known here to
    fail its checksum goes like one: who asks knows that no majority ever had it. Others stay. -> Ok

    rows: (name, version). before_ns: an instant on the wall clock, at least RECLAIM_AGE_MIN_S ago.
    """

    shard: bytes
    rows: list[tuple[bytes, bytes]]
    before_ns: int


class Drop(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Remove a whole shard from this replica, which the ring places elsewhere. -> Ok

    While it goes on the replica answers other messages of the shard with Failed(OFFLINE).
    """

    shard: bytes


class Changed(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Which rows of a shard have changed since `since`, the cursor of an earlier answer? -> Changes

    b"": from now on. The replica remembers that in memory, and not for ever.
    """

    shard: bytes
    since: bytes = b""


class Clear(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Take away rows of a sealed shard, whose rows are elsewhere: those of just these versions,
    whatever they are. What they name is not garbage. The seal row stays, and so do the rows where there
    is no seal. -> Ok

    rows: (name, version).
    """

    shard: bytes
    rows: list[tuple[bytes, bytes]]


RECLAIM_AGE_MIN_S: Final = 3600.0
"""No replica forgets what is younger: far above the longest deadline that a message can carry."""


# -- row answers -------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """A row as a replica holds it; ZERO_VERSION and empty fields where it holds none.

    The payload travels beside it (empty unless asked for).
    """

    version: bytes
    flags: int = 0
    size: int = 0
    head: bytes = b""
    sealed: bool = False

    @property
    def live(self) -> bool:
        """True for a row that exists, false for none and for a tombstone."""
        return self.version != ZERO_VERSION and not self.flags & RowFlag.TOMBSTONE


class Ok(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """The replica holds, or has held, what was asked; durable."""


class No(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """Refused: `highest` is the highest stamp or ballot the replica knows here.

    never_held: the replica surely never held the refused stamp.
    """

    highest: bytes
    never_held: bool


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """The shard is sealed: nothing was written."""


class ScannedRow(msgspec.Struct, frozen=True, array_like=True):
    """One row of a page, without its payload."""

    name: bytes
    version: bytes
    flags: int
    size: int
    head: bytes


class Page(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """The answer to a Scan.

    digest: XXH3-64 over (name length, name, version) of the covered rows and over `covered_to`.
    covered_to: the page speaks of all names in [start, covered_to); empty: to the end asked for.
    """

    rows: list[ScannedRow]
    digest: int
    covered_to: bytes
    sealed: bool = False


class Counts(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """The answer to a Count."""

    rows: int
    size_bytes: int
    sealed: bool = False


class Fault(enum.IntEnum):
    """Why a device could not do what it was asked; the message was not carried out unless unknown."""

    OFFLINE = 1  # the device stopped serving (failed sync, wrong cluster, closed)
    FULL = 2  # no room; nothing was written
    CORRUPT = 3  # what it holds failed its checksum and was set aside
    DEADLINE = 4  # the deadline passed; it may or may not have been carried out
    UNREACHABLE = 5  # no connection, or lost before the answer; may or may not have been carried out
    SKEW = 6  # the stamp is too far ahead of the replica's clock
    EPOCH = 7  # the replica knows a newer ring
    TOO_LARGE = 8  # a field exceeds its limit
    ABSENT = 9  # no such blob


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=26):
    """The device could not answer."""

    fault: int
    text: str = ""


class PartitionSummary(msgspec.Struct, frozen=True, array_like=True):
    """One partition of a replica. digest: XOR over its shards.

    rows: names that it knows anything of, tombstones, promises and seals included. live, size_bytes:
    as `Counts` has them.
    """

    partition: int
    digest: int
    rows: int
    live: int
    size_bytes: int


class Summary(msgspec.Struct, frozen=True, array_like=True, tag=27):
    """The answer to a Summarize: the partitions of which the replica holds anything, in order."""

    partitions: list[PartitionSummary]


class ShardSummary(msgspec.Struct, frozen=True, array_like=True):
    """One shard of a replica; its fields as in PartitionSummary."""

    key: bytes
    digest: int
    rows: int
    live: int
    size_bytes: int
    sealed: bool


class ShardList(msgspec.Struct, frozen=True, array_like=True, tag=28):
    """The answer to a ListShards; `more`: ask again after the last one."""

    shards: list[ShardSummary]
    more: bool = False


class Pulled(msgspec.Struct, frozen=True, array_like=True, tag=29):
    """The answer to a Pull, payloads beside it. next_start: where to go on, b"" at the shard's end."""

    rows: list[PulledRow]
    next_start: bytes


class Installed(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """The answer to an Install: durable. refused: names whose version must be decided anew first."""

    refused: list[bytes]


class LeafDigests(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """The answer to a Leaves: the digest of each leaf, XOR over its rows."""

    digests: list[int]


class VersionList(msgspec.Struct, frozen=True, array_like=True, tag=31):
    """The answer to a Versions: (name, version) in byte order. next_start: as in Pulled."""

    rows: list[tuple[bytes, bytes]]
    next_start: bytes


class Changes(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """The answer to a Changed: (name, version) of rows that changed, as they are now, durable.

    complete: these are all; else the replica does not know. cursor: where to go on. sealed: the shard
    is, and nothing will change any more.
    """

    rows: list[tuple[bytes, bytes]]
    cursor: bytes
    complete: bool
    sealed: bool = False


RowMessage = (
    Read
    | Write
    | Accept
    | Prepare
    | Scan
    | Count
    | Summarize
    | ListShards
    | Pull
    | Install
    | Leaves
    | Versions
    | Forget
    | Drop
    | Changed
    | Clear
)
RowAnswer = (
    Row
    | Ok
    | No
    | Sealed
    | Page
    | Counts
    | Failed
    | Summary
    | ShardList
    | Pulled
    | Installed
    | LeafDigests
    | VersionList
    | Changes
)


# -- blobs -------------------------------------------------------------------------------------

BLOB_ID_BYTES: Final = 16
BLOB_MAX_BYTES: Final = 64 * 1024 * 1024
"""How many object bytes one blob holds at most; larger objects are cut into several."""

SEGMENT_BYTES: Final = 1024 * 1024
"""The unit in which bodies are cut, erasure coded and streamed."""

CHUNK_BYTES: Final = 64 * 1024
"""The unit of a replicated blob's checksums."""


class BlobName(msgspec.Struct, frozen=True, array_like=True):
    """One replica or fragment of a blob: id (16 bytes) and its number in the placement."""

    id: bytes
    number: int


class BlobHeader(msgspec.Struct, frozen=True, array_like=True):
    """What a blob file says of itself.

    owner_shard, owner_name: the row that names the blob, or will. upload: the multipart upload's id
    where the blob is a part's, so that an auditor can prove an orphan.
    codec: "" for a whole replica, else the erasure codec ("isa_l_rs_cauchy", "zfec") of k + m.
    chunk_bytes: the unit of its checksums (CHUNK_BYTES, or one erasure fragment).
    created_ns: wall clock, nanoseconds since the epoch.
    """

    name: BlobName
    partition: int
    policy: str
    owner_shard: bytes
    owner_name: bytes
    upload: bytes
    codec: str
    k: int
    m: int
    chunk_bytes: int
    created_ns: int


class BlobEntry(msgspec.Struct, frozen=True, array_like=True):
    """A committed blob in a device's index."""

    header: BlobHeader
    size_bytes: int


class BlobGroup(msgspec.Struct, frozen=True, array_like=True):
    """A device's blobs of one policy, partition and number (of replica or fragment).

    digest: XOR of the blobs' places (the salted XXH3 of their ids). Two devices hold replicas or
    fragments of the same blobs where count and digest of their groups are equal.
    """

    policy: str
    partition: int
    number: int
    blobs: int
    size_bytes: int
    digest: int


GROUP_PARTITIONS_MAX: Final = 8192
"""How many partitions one question for groups may name."""


class GarbageEntry(msgspec.Struct, frozen=True, array_like=True):
    """A replaced row version that owned blobs: a hint for the collector, durable with the replacement.

    seq orders a device's entries; replaced_ns is the replica's wall clock at the replacement.
    """

    seq: int
    replaced_ns: int
    shard: bytes
    name: bytes
    version: bytes
    manifest: bytes

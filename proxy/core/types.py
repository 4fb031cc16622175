"""The store's nouns: containers, objects, manifests, uploads, and what the verbs take and give.

Heads and manifests are stored in rows as msgpack arrays; fields are only ever added at the end, with
a default, so that every version reads the older ones (doc/formats/rows.md).
"""

from collections.abc import AsyncGenerator
from typing import Final, Protocol

import msgspec

from proxy.core.shards import Layout

Buffer = bytes | bytearray | memoryview

CONTAINER_NAME_MAX_BYTES: Final = 256
OBJECT_NAME_MAX_BYTES: Final = 1024
META_MAX_BYTES: Final = 16 * 1024
OBJECT_PUT_MAX_BYTES: Final = 5 * 1024**3
"""The largest body of one PUT or part; larger objects are multipart or SLO."""
OBJECT_MAX_BYTES: Final = 5 * 1024**4
PART_NUMBER_MAX: Final = 10_000
PART_MIN_BYTES: Final = 5 * 1024**2
LISTING_MAX: Final = 10_000


class Policy(msgspec.Struct, frozen=True):
    """A storage policy: `m` = 0 for whole replicas (k is then their number), else k + m fragments."""

    name: str
    k: int
    m: int
    codec: str = ""

    @property
    def erasure_coded(self) -> bool:
        """True for k + m fragments."""
        return self.m > 0

    @property
    def width(self) -> int:
        """How many devices hold a blob."""
        return self.k + self.m


# -- stored ------------------------------------------------------------------------------------


class Reshard(msgspec.Struct, frozen=True, array_like=True):
    """A container's shards are being doubled, until there are `target` of them (`resharding.py`).

    moved: so many of the present ones have been. move: the nonce of the move of the next one that is
    under way, b"" for none; its seal has the number `ContainerHead.deletions`. tries: how often that
    shard's move was begun. started_ns: wall clock.
    """

    target: int
    started_ns: int
    moved: int = 0
    move: bytes = b""
    tries: int = 0


class Repolicy(msgspec.Struct, frozen=True, array_like=True):
    """A container's objects are being rewritten to its policy (`proxy/repair/repolicy.py`).

    since_ns: when the policy was changed. marker: names up to it are done in the present pass, whose
    number is `passes`; begun_ns: when that began, or, before that, may begin. objects, size_bytes:
    rewritten since. clean: the pass has found nothing to do so far. failed: objects that it could not
    rewrite.
    """

    since_ns: int
    begun_ns: int
    passes: int = 0
    marker: str = ""
    objects: int = 0
    size_bytes: int = 0
    clean: bool = True
    failed: int = 0


class ContainerHead(msgspec.Struct, frozen=True, array_like=True):
    """A container's row. `id` is 16 random bytes: a container made anew is another one.

    shards: the number of its object shards, a power of two. state: "open" or "deleting".
    meta: user metadata with lower-case names. system: named settings of the front ends
    ("swift.read-acl", "swift.write-acl", ...). bucket: S3 clients find it under its name.
    nonce: makes the value of each conditional write its own (see `register.Decide`), here as below.
    deletions: how often its shards were begun to be sealed, for a deletion or to move one. claim: the
    nonce of the bucket name's row that it was made under, "" where it has not the name. generation: how
    often its shards were doubled. reshard, repolicy: what is under way.
    """

    id: bytes
    created_ns: int
    policy: str
    shards: int
    state: str = "open"
    meta: dict[str, str] = {}
    system: dict[str, str] = {}
    bucket: bool = False
    nonce: bytes = b""
    deletions: int = 0
    claim: bytes = b""
    generation: int = 0
    reshard: Reshard | None = None
    repolicy: Repolicy | None = None

    @property
    def layout(self) -> Layout:
        """Its object shards."""
        moved = self.reshard.moved if self.reshard is not None else 0
        return Layout(self.id, self.generation, self.shards, moved)


class SealHead(msgspec.Struct, frozen=True, array_like=True):
    """A shard's seal, and what stays of it when it is lifted.

    deletion: which deletion or move of the container set it (`ContainerHead.deletions`); a newer one's
    seal is never replaced by an older one's. nonce: that deletion's or move's. account, container:
    whose shard it is. containers: the shard of the container's row, where the account is not known.
    """

    deletion: int
    nonce: bytes
    account: str
    container: str
    containers: bytes = b""


class BucketHead(msgspec.Struct, frozen=True, array_like=True):
    """A bucket name's row: which account's container S3 clients find under it."""

    account: str
    claimed_ns: int
    nonce: bytes = b""


class ObjectHead(msgspec.Struct, frozen=True, array_like=True):
    """An object's row head: all that HEAD and listings say.

    etag: hex MD5 of the body, or "<hex>-<parts>" for multipart and manifests. modified_ns: wall clock.
    headers: content headers by lower-case name (cache-control, content-disposition, ...), without
    content-type. meta: user metadata with lower-case names. checksums: base64 by S3's algorithm name
    ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"); checksum_type "FULL_OBJECT" or "COMPOSITE".
    parts: number of parts of a multipart object or SLO, else 0. delete_at_s: Unix time, 0 for never.
    kind: "" for plain and multipart objects, "slo" or "dlo" for Swift manifests.
    """

    etag: str
    size_bytes: int
    modified_ns: int
    content_type: str
    policy: str = ""
    headers: dict[str, str] = {}
    meta: dict[str, str] = {}
    checksums: dict[str, str] = {}
    checksum_type: str = ""
    parts: int = 0
    delete_at_s: int = 0
    kind: str = ""
    manifest_etag: str = ""
    nonce: bytes = b""


class Blob(msgspec.Struct, frozen=True, array_like=True):
    """One blob of a part: its id (16 bytes) gives its partition, its policy its devices."""

    id: bytes
    size_bytes: int
    policy: str


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """A part that is (a range of) another object, as in SLO. length -1: to its end.

    What follows is what that object was when the manifest was made, for showing the manifest:
    object_size_bytes its whole size (-1: not known), content_type, modified_ns, kind as in ObjectHead.
    """

    container: str
    name: str
    etag: str
    offset: int
    length: int
    object_size_bytes: int = -1
    content_type: str = ""
    modified_ns: int = 0
    kind: str = ""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part of an object: `size_bytes` bytes in blobs, inline (`data`), or referenced."""

    number: int
    size_bytes: int
    etag: str
    blobs: list[Blob] = []
    data: bytes = b""
    reference: Reference | None = None
    checksums: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What an object consists of, in order; the payload of its row when it is not inline."""

    parts: list[Part]


class UploadHead(msgspec.Struct, frozen=True, array_like=True):
    """A multipart upload's row. state: "open", "completing" or "aborted".

    attributes: what the object will have. A completing upload's payload is the value that the object's
    row gets, so that whoever finds it half way finishes it.
    """

    id: str
    object_name: str
    started_ns: int
    policy: str
    attributes: "ObjectAttributes"
    state: str = "open"
    owner: str = ""
    checksum_algorithm: str = ""
    checksum_type: str = ""
    nonce: bytes = b""


class PartHead(msgspec.Struct, frozen=True, array_like=True):
    """An uploaded part's row; its payload is the Manifest of the part, which `blobs` repeats."""

    number: int
    size_bytes: int
    etag: str
    modified_ns: int
    checksums: dict[str, str] = {}
    blobs: list[Blob] = []


# -- given and taken by the verbs --------------------------------------------------------------


class ObjectAttributes(msgspec.Struct, frozen=True, array_like=True):
    """What a writer says of an object beside its bytes; names as in ObjectHead."""

    content_type: str = ""
    headers: dict[str, str] = {}
    meta: dict[str, str] = {}
    delete_at_s: int = 0
    kind: str = ""


class Conditions(msgspec.Struct, frozen=True):
    """Conditions of a request. ETags are unquoted; "*" stands for any. Times are Unix seconds."""

    if_match: tuple[str, ...] = ()
    if_none_match: tuple[str, ...] = ()
    if_modified_since_s: int | None = None
    if_unmodified_since_s: int | None = None


NO_CONDITIONS: Final = Conditions()


class Container(msgspec.Struct, frozen=True):
    """A container as the verbs take it."""

    account: str
    name: str
    head: ContainerHead


class ContainerStat(msgspec.Struct, frozen=True):
    """A container's counted objects and bytes."""

    objects: int
    size_bytes: int


class PolicyUsage(msgspec.Struct, frozen=True):
    """What an account holds under one storage policy."""

    containers: int
    objects: int
    size_bytes: int


class AccountStat(msgspec.Struct, frozen=True):
    """An account's totals and metadata. created_ns is 0 for an account that holds nothing yet.

    by_policy: the totals by the name of the containers' storage policy.
    """

    containers: int
    objects: int
    size_bytes: int
    meta: dict[str, str]
    created_ns: int
    by_policy: dict[str, PolicyUsage] = {}


class ObjectInfo(msgspec.Struct, frozen=True):
    """An object's name, head and row version (32 bytes; its first 8 are a time, unique per write)."""

    name: str
    head: ObjectHead
    version: bytes


class ListQuery(msgspec.Struct, frozen=True):
    """A listing's bounds; all names are compared by their UTF-8 bytes.

    marker: list only names (and common prefixes) after it (before it, when `reverse`).
    end_marker: only names before it (after it, when reverse). limit: entries, prefixes included.
    """

    prefix: str = ""
    delimiter: str = ""
    marker: str = ""
    end_marker: str = ""
    limit: int = 1000
    reverse: bool = False


class ObjectPage(msgspec.Struct, frozen=True):
    """One page of a listing: objects and common prefixes, each in order.

    entries: both kinds in listing order (an ObjectInfo, or a str for a common prefix).
    next_marker: where the next page begins (the last entry, common prefixes included), "" at the end.
    """

    entries: list["ObjectInfo | str"]
    next_marker: str

    @property
    def truncated(self) -> bool:
        """True where the next page is not empty."""
        return self.next_marker != ""


class ContainerPage(msgspec.Struct, frozen=True):
    """One page of an account's containers; a str is a common prefix."""

    entries: list["Container | str"]
    next_marker: str


class UploadInfo(msgspec.Struct, frozen=True):
    """A multipart upload under way."""

    head: UploadHead


class UploadPage(msgspec.Struct, frozen=True):
    """One page of uploads, ordered by object name, then start time; a str is a common prefix."""

    entries: list["UploadInfo | str"]
    next_key_marker: str
    next_upload_marker: str
    truncated: bool


class PartPage(msgspec.Struct, frozen=True):
    """One page of an upload's parts in order of number."""

    upload: UploadHead
    parts: list[PartHead]
    next_number_marker: int
    truncated: bool


class CompletedPart(msgspec.Struct, frozen=True):
    """One line of a complete request. etag unquoted; checksums as in ObjectHead, may be empty."""

    number: int
    etag: str
    checksums: dict[str, str] = {}


class Body(Protocol):
    """The bytes of a write, as they arrive."""

    size_bytes: int | None
    """The announced length of the payload; None where the client did not say (chunked)."""

    async def read(self) -> Buffer:
        """The next piece (any size), b"" at the end. Raises IncompleteBody, BadDigest, ... ."""

    async def read_all(self) -> bytes:
        """The whole body, for one whose size_bytes is small. Raises as `read`."""

    def finish(self) -> dict[str, str]:
        """Called once after the last byte: verifies what the client promised (raises BadDigest) and
        returns the checksums to store, by S3's algorithm name (may be empty)."""


class OpenObject(Protocol):
    """An object opened for reading: a consistent version, whatever is written meanwhile."""

    info: ObjectInfo
    inline: bytes | None
    """The whole verified content where the object is small, else None."""
    parts: list[Part]
    """Multipart and SLO: its parts, in order; else empty."""

    def stream(self, offset: int, length: int) -> AsyncGenerator[memoryview, None]:
        """Verified bytes [offset, offset + length); never wrong ones: Damaged or BadReference."""

    def close(self) -> None:
        """Let go of what is open. Idempotent."""

"""Digests that S3 clients send with bodies: streaming checksums, their headers, their combination.

Source: Amazon S3 user guide, "Checking object integrity for data uploads". This is the one place that
imports awscrt, and only once a CRC32C or CRC64NVME is asked for: it costs about 7 MiB and 50 ms.
(CRC32 is zlib's: 5.0 GB/s here, awscrt's 3.0; awscrt does the other two at over 70 GB/s.)
"""

import base64
import binascii
import dataclasses
import enum
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import NamedTuple, Protocol

import xxhash

from proxy.auth.body import declared_trailers
from proxy.auth.errors import (
    ChecksumMismatch,
    ConflictingChecksums,
    InvalidChecksum,
    InvalidDigest,
    MalformedTrailer,
    UnknownChecksum,
)
from proxy.auth.types import Headers

HEADER_PREFIX = "x-amz-checksum-"
# headers of the same prefix that hold no digest
_NOT_DIGESTS = frozenset(("x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode"))


class ChecksumAlgorithm(enum.Enum):
    """The algorithms by their S3 names."""

    CRC32 = "CRC32"
    CRC32C = "CRC32C"
    CRC64NVME = "CRC64NVME"
    SHA1 = "SHA1"
    SHA256 = "SHA256"
    SHA512 = "SHA512"
    MD5 = "MD5"
    XXHASH64 = "XXHASH64"
    XXHASH3 = "XXHASH3"
    XXHASH128 = "XXHASH128"

    @property
    def header(self) -> str:
        """The lower-case header (and trailer, and form field) that holds its digest."""
        return HEADER_PREFIX + self.value.lower()

    @property
    def size_bytes(self) -> int:
        return _SIZES[self]

    @property
    def is_crc(self) -> bool:
        """Digests of parts combine to the digest of the whole."""
        return self.value.startswith("CRC")

    def new(self) -> "Checksum":
        """A checksum of no bytes yet."""
        match self:
            case ChecksumAlgorithm.CRC32:
                return _Crc(self, zlib.crc32)
            case ChecksumAlgorithm.CRC32C:
                return _Crc(self, _awscrt_checksums().crc32c)
            case ChecksumAlgorithm.CRC64NVME:
                return _Crc(self, _awscrt_checksums().crc64nvme)
            case _:
                return _Hash(self, _HASHES[self]())


class _Hasher(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


_HASHES: dict[ChecksumAlgorithm, Callable[[], _Hasher]] = {
    ChecksumAlgorithm.SHA1: hashlib.sha1,
    ChecksumAlgorithm.SHA256: hashlib.sha256,
    ChecksumAlgorithm.SHA512: hashlib.sha512,
    ChecksumAlgorithm.MD5: hashlib.md5,
    ChecksumAlgorithm.XXHASH64: xxhash.xxh64,
    ChecksumAlgorithm.XXHASH3: xxhash.xxh3_64,
    ChecksumAlgorithm.XXHASH128: xxhash.xxh3_128,
}
_SIZES = {
    ChecksumAlgorithm.CRC32: 4,
    ChecksumAlgorithm.CRC32C: 4,
    ChecksumAlgorithm.CRC64NVME: 8,
    ChecksumAlgorithm.SHA1: 20,
    ChecksumAlgorithm.SHA256: 32,
    ChecksumAlgorithm.SHA512: 64,
    ChecksumAlgorithm.MD5: 16,
    ChecksumAlgorithm.XXHASH64: 8,
    ChecksumAlgorithm.XXHASH3: 8,
    ChecksumAlgorithm.XXHASH128: 16,
}


class ChecksumType(enum.Enum):
    """Whether a multipart object's digest is that of its bytes, or of its parts' digests."""

    FULL_OBJECT = "FULL_OBJECT"
    COMPOSITE = "COMPOSITE"


def _awscrt_checksums() -> ModuleType:
    import awscrt.checksums

    module: ModuleType = awscrt.checksums
    return module


# ---- streaming -----------------------------------------------------------------------------------


class Checksum(Protocol):
    """A digest over bytes as they come; `update` may run on a thread."""

    algorithm: ChecksumAlgorithm

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in the next bytes."""

    def digest(self) -> bytes:
        """The digest of all so far, big-endian."""


class _Crc:
    def __init__(self, algorithm: ChecksumAlgorithm, update: Callable[..., int]) -> None:
        self.algorithm = algorithm
        self._update = update
        self._crc = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._crc = self._update(data, self._crc)

    def digest(self) -> bytes:
        return self._crc.to_bytes(self.algorithm.size_bytes, "big")


class _Hash:
    def __init__(self, algorithm: ChecksumAlgorithm, hasher: _Hasher) -> None:
        self.algorithm = algorithm
        self._hash = hasher

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.digest()


def to_base64(digest: bytes) -> str:
    """A digest as headers and XML spell it."""
    return base64.b64encode(digest).decode("ascii")


# ---- headers -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class DeclaredChecksum:
    """What a request says about its body. expected: None while a trailer is to bring it."""

    algorithm: ChecksumAlgorithm
    expected: bytes | None


def parse_algorithm(name: str) -> ChecksumAlgorithm:
    """By S3 name, in any case. Raises UnknownChecksum."""
    try:
        return ChecksumAlgorithm(name.strip().upper())
    except ValueError as error:
        raise UnknownChecksum(name) from error


def parse_checksum_type(name: str, algorithm: ChecksumAlgorithm) -> ChecksumType:
    """x-amz-checksum-type of an upload, where the algorithm allows it.

    CRC64NVME knows full objects only, what is no CRC composites only. Raises UnknownChecksum,
    ConflictingChecksums.
    """
    try:
        kind = ChecksumType(name.strip().upper())
    except ValueError as error:
        raise UnknownChecksum(name) from error
    if kind not in allowed_types(algorithm):
        raise ConflictingChecksums(f"{kind.value} checksums cannot be of {algorithm.value}")
    return kind


def allowed_types(algorithm: ChecksumAlgorithm) -> tuple[ChecksumType, ...]:
    """The types that a multipart upload may have; the first is the default."""
    if algorithm is ChecksumAlgorithm.CRC64NVME:
        return (ChecksumType.FULL_OBJECT,)
    if algorithm.is_crc:
        return (ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT)
    return (ChecksumType.COMPOSITE,)


def parse_digest(algorithm: ChecksumAlgorithm, text: str) -> bytes:
    """A base64 digest of the algorithm's size. Raises InvalidChecksum."""
    digest = _strict_base64(text)
    if digest is None or len(digest) != algorithm.size_bytes:
        raise InvalidChecksum(algorithm.header)
    return digest


def parse_content_md5(text: str) -> bytes:
    """Content-MD5: base64 of 16 bytes. Raises InvalidDigest."""
    digest = _strict_base64(text)
    if digest is None or len(digest) != 16:
        raise InvalidDigest
    return digest


def _strict_base64(text: str) -> bytes | None:
    try:
        digest = base64.b64decode(text.strip().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    return digest


def parse_checksum_headers(headers: Headers) -> DeclaredChecksum | None:
    """The checksum that a request with a body declares, in a header or for a trailer.

    Raises InvalidChecksum, UnknownChecksum, ConflictingChecksums (two digests, or an
    x-amz-sdk-checksum-algorithm that names another one or stands alone).
    """
    named = headers.get("x-amz-sdk-checksum-algorithm")
    found = [_from_header(headers, name) for name in _digest_headers(headers)]
    found += [DeclaredChecksum(_by_header(name), None) for name in sorted(declared_trailers(headers))]
    if len(found) > 1:
        raise ConflictingChecksums("expecting a single x-amz-checksum- header or trailer")
    if not named:
        return found[0] if found else None
    algorithm = parse_algorithm(named)
    if not found:
        raise ConflictingChecksums(
            "x-amz-sdk-checksum-algorithm stands without its x-amz-checksum- header or trailer"
        )
    if found[0].algorithm is not algorithm:
        raise ConflictingChecksums(f"the checksum sent is not of {algorithm.value}")
    return found[0]


def _digest_headers(headers: Headers) -> list[str]:
    names = []
    for name in headers:
        if name[:15].lower() == HEADER_PREFIX and (lower := name.lower()) not in _NOT_DIGESTS:
            names.append(lower)
    return names


def _from_header(headers: Headers, name: str) -> DeclaredChecksum:
    algorithm = _by_header(name)
    return DeclaredChecksum(algorithm, parse_digest(algorithm, headers.get(name) or ""))


def _by_header(name: str) -> ChecksumAlgorithm:
    if not name.startswith(HEADER_PREFIX):
        raise UnknownChecksum(name)
    return parse_algorithm(name[len(HEADER_PREFIX) :])


def check_digest(declared: DeclaredChecksum, computed: bytes, trailers: Mapping[str, str]) -> None:
    """Compare the body's digest with the declared one, of the header or among `trailers`.

    Raises MalformedTrailer, InvalidChecksum, ChecksumMismatch.
    """
    algorithm, expected = declared.algorithm, declared.expected
    if expected is None:
        if (text := trailers.get(algorithm.header)) is None:
            raise MalformedTrailer(f"the declared trailer {algorithm.header!r} is missing")
        expected = parse_digest(algorithm, text)
    if expected != computed:
        raise ChecksumMismatch(algorithm.value, to_base64(expected), to_base64(computed))


# ---- multipart -----------------------------------------------------------------------------------


class PartDigest(NamedTuple):
    """One part's digest and length."""

    digest: bytes
    size_bytes: int


def composite_digest(algorithm: ChecksumAlgorithm, parts: Iterable[PartDigest]) -> str:
    """The COMPOSITE digest as headers spell it: base64 of the digest of digests, `-`, the count."""
    checksum = algorithm.new()
    count = 0
    for part in parts:
        checksum.update(part.digest)
        count += 1
    return f"{to_base64(checksum.digest())}-{count}"


def full_object_digest(algorithm: ChecksumAlgorithm, parts: Iterable[PartDigest]) -> bytes:
    """The FULL_OBJECT digest of the parts' bytes put together, from their CRCs alone.

    Raises ConflictingChecksums for an algorithm that is no CRC.
    """
    combine = _combiner(algorithm)
    crc = 0
    for part in parts:
        crc = combine(crc, int.from_bytes(part.digest, "big"), part.size_bytes)
    return crc.to_bytes(algorithm.size_bytes, "big")


def _combiner(algorithm: ChecksumAlgorithm) -> Callable[[int, int, int], int]:
    match algorithm:
        case ChecksumAlgorithm.CRC32:
            combine = _awscrt_checksums().combine_crc32
        case ChecksumAlgorithm.CRC32C:
            combine = _awscrt_checksums().combine_crc32c
        case ChecksumAlgorithm.CRC64NVME:
            combine = _awscrt_checksums().combine_crc64nvme
        case _:
            raise ConflictingChecksums(f"digests of {algorithm.value} do not combine")
    result: Callable[[int, int, int], int] = combine
    return result

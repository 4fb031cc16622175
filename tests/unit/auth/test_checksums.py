"""Checksums by their S3 names: known digests, headers, combination of parts."""

import base64
import itertools
import os
import subprocess
import sys

import pytest
from multidict import CIMultiDict

from proxy.auth import errors
from proxy.auth.checksums import (
    ChecksumAlgorithm,
    ChecksumType,
    DeclaredChecksum,
    PartDigest,
    check_digest,
    composite_digest,
    full_object_digest,
    parse_algorithm,
    parse_checksum_headers,
    parse_checksum_type,
    parse_content_md5,
    parse_digest,
    to_base64,
)

# of the nine bytes that CRC catalogues use (Rocksoft "check" values; FIPS 180; xxHash's test vectors)
CHECK = b"123456789"
KNOWN = {
    ChecksumAlgorithm.CRC32: "cbf43926",
    ChecksumAlgorithm.CRC32C: "e3069283",
    ChecksumAlgorithm.CRC64NVME: "ae8b14860a799888",
    ChecksumAlgorithm.SHA1: "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    ChecksumAlgorithm.SHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    ChecksumAlgorithm.MD5: "25f9e794323b453885f5181f1b624d0b",
}
CRCS = [algorithm for algorithm in ChecksumAlgorithm if algorithm.is_crc]


def digest_of(algorithm: ChecksumAlgorithm, data: bytes) -> bytes:
    checksum = algorithm.new()
    checksum.update(data)
    return checksum.digest()


@pytest.mark.parametrize(("algorithm", "expected"), KNOWN.items())
def test_known_digests(algorithm: ChecksumAlgorithm, expected: str) -> None:
    assert digest_of(algorithm, CHECK).hex() == expected


@pytest.mark.parametrize("algorithm", ChecksumAlgorithm)
def test_streaming_in_any_pieces(algorithm: ChecksumAlgorithm) -> None:
    checksum = algorithm.new()
    for piece in (b"", b"1234", bytearray(b"567"), memoryview(b"x89")[1:]):
        checksum.update(piece)
    assert checksum.algorithm is algorithm
    assert checksum.digest() == digest_of(algorithm, CHECK)
    assert len(checksum.digest()) == algorithm.size_bytes


@pytest.mark.parametrize("algorithm", CRCS)
def test_crcs_of_parts_combine(algorithm: ChecksumAlgorithm) -> None:
    data = os.urandom(100_000)
    cuts = [0, 1, 1, 77, 65_536, 100_000]
    pieces = [data[a:b] for a, b in itertools.pairwise(cuts)]
    parts = [PartDigest(digest_of(algorithm, piece), len(piece)) for piece in pieces]
    assert full_object_digest(algorithm, parts) == digest_of(algorithm, data)
    assert full_object_digest(algorithm, []) == digest_of(algorithm, b"")
    assert full_object_digest(algorithm, reversed(parts)) != digest_of(algorithm, data)


def test_hashes_do_not_combine() -> None:
    for algorithm in set(ChecksumAlgorithm) - set(CRCS):
        with pytest.raises(errors.ConflictingChecksums):
            full_object_digest(algorithm, [])


@pytest.mark.parametrize("algorithm", ChecksumAlgorithm)
def test_composites_are_digests_of_digests(algorithm: ChecksumAlgorithm) -> None:
    digests = [digest_of(algorithm, piece) for piece in (b"a", b"b", b"")]
    parts = [PartDigest(digest, 1) for digest in digests]
    expected = base64.b64encode(digest_of(algorithm, b"".join(digests))).decode() + "-3"
    assert composite_digest(algorithm, parts) == expected


def test_names_and_types() -> None:
    assert parse_algorithm("crc64nvme") is ChecksumAlgorithm.CRC64NVME
    assert ChecksumAlgorithm.CRC32C.header == "x-amz-checksum-crc32c"
    for name in ("", "CRC16", "x" * 10_000):
        with pytest.raises(errors.UnknownChecksum):
            parse_algorithm(name)
    full, composite = ChecksumType.FULL_OBJECT, ChecksumType.COMPOSITE
    assert parse_checksum_type("full_object", ChecksumAlgorithm.CRC32) is full
    assert parse_checksum_type("COMPOSITE", ChecksumAlgorithm.SHA256) is composite
    with pytest.raises(errors.ConflictingChecksums):
        parse_checksum_type("FULL_OBJECT", ChecksumAlgorithm.SHA256)
    with pytest.raises(errors.ConflictingChecksums):
        parse_checksum_type("COMPOSITE", ChecksumAlgorithm.CRC64NVME)
    with pytest.raises(errors.UnknownChecksum):
        parse_checksum_type("HALF", ChecksumAlgorithm.CRC32)


@pytest.mark.parametrize("text", ["", "AAAA", "!!!!!!==", "AAAAAAA=", "AAAAAA", "é", "AAAAAA==\nAA"])
def test_digests_that_are_none(text: str) -> None:
    with pytest.raises(errors.InvalidChecksum):
        parse_digest(ChecksumAlgorithm.CRC32, text)
    with pytest.raises(errors.InvalidDigest):
        parse_content_md5(text)


def test_content_md5() -> None:
    digest = digest_of(ChecksumAlgorithm.MD5, CHECK)
    assert parse_content_md5(to_base64(digest)) == digest
    with pytest.raises(errors.InvalidDigest):
        parse_content_md5(to_base64(digest + b"x"))


CRC32_TEXT = "y/Q5Jg=="


@pytest.mark.parametrize(
    ("headers", "declared"),
    [
        ({}, None),
        ({"x-amz-checksum-mode": "ENABLED", "x-amz-checksum-type": "FULL_OBJECT"}, None),
        (
            {"X-Amz-Checksum-CRC32": CRC32_TEXT},
            DeclaredChecksum(ChecksumAlgorithm.CRC32, bytes.fromhex("cbf43926")),
        ),
        (
            {"x-amz-checksum-crc32": CRC32_TEXT, "x-amz-sdk-checksum-algorithm": "crc32"},
            DeclaredChecksum(ChecksumAlgorithm.CRC32, bytes.fromhex("cbf43926")),
        ),
        (
            {"x-amz-trailer": "x-amz-checksum-crc64nvme"},
            DeclaredChecksum(ChecksumAlgorithm.CRC64NVME, None),
        ),
    ],
)
def test_headers(headers: dict[str, str], declared: DeclaredChecksum | None) -> None:
    assert parse_checksum_headers(CIMultiDict(headers)) == declared


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"x-amz-checksum-crc32": "x"}, errors.InvalidChecksum),
        ({"x-amz-checksum-crc16": CRC32_TEXT}, errors.UnknownChecksum),
        ({"x-amz-trailer": "x-amz-meta-a"}, errors.UnknownChecksum),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, errors.ConflictingChecksums),
        ({"x-amz-sdk-checksum-algorithm": "nonsense"}, errors.UnknownChecksum),
        (
            {"x-amz-checksum-crc32": CRC32_TEXT, "x-amz-sdk-checksum-algorithm": "SHA1"},
            errors.ConflictingChecksums,
        ),
        (
            {"x-amz-checksum-crc32": CRC32_TEXT, "x-amz-checksum-crc32c": CRC32_TEXT},
            errors.ConflictingChecksums,
        ),
        (
            {"x-amz-checksum-crc32": CRC32_TEXT, "x-amz-trailer": "x-amz-checksum-sha1"},
            errors.ConflictingChecksums,
        ),
    ],
)
def test_bad_headers(headers: dict[str, str], error: type[errors.ChecksumError]) -> None:
    with pytest.raises(error):
        parse_checksum_headers(CIMultiDict(headers))


def test_checking() -> None:
    right, wrong = bytes.fromhex("cbf43926"), b"\0\0\0\0"
    algorithm = ChecksumAlgorithm.CRC32
    in_header, in_trailer = DeclaredChecksum(algorithm, right), DeclaredChecksum(algorithm, None)
    check_digest(in_header, right, {})
    check_digest(in_trailer, right, {algorithm.header: CRC32_TEXT})
    with pytest.raises(errors.ChecksumMismatch) as caught:
        check_digest(in_header, wrong, {})
    assert (caught.value.declared, caught.value.computed) == (CRC32_TEXT, "AAAAAA==")
    with pytest.raises(errors.ChecksumMismatch):
        check_digest(in_trailer, wrong, {algorithm.header: CRC32_TEXT})
    with pytest.raises(errors.MalformedTrailer):
        check_digest(in_trailer, right, {})
    with pytest.raises(errors.InvalidChecksum):
        check_digest(in_trailer, right, {algorithm.header: "x"})


def test_awscrt_is_loaded_only_when_needed() -> None:
    program = (
        "import sys; from proxy.auth.checksums import ChecksumAlgorithm as A;"
        "[A(n).new().update(b'x') for n in ('CRC32', 'SHA1', 'SHA256', 'XXHASH3')];"
        "assert 'awscrt' not in sys.modules; A.CRC32C.new(); assert 'awscrt' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr

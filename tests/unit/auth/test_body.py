"""Decoding bodies: plain ones, aws-chunked ones without signatures, and all that can be wrong."""

import hashlib
import io
import tracemalloc

import pytest
from botocore.httpchecksum import _CHECKSUM_CLS, AwsChunkedWrapper
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.auth import errors
from proxy.auth.body import (
    BodyDecoder,
    body_decoder,
    declared_trailers,
    object_length,
    stored_content_encoding,
)
from proxy.auth.checksums import check_digest, parse_checksum_headers
from proxy.auth.chunked import CHUNK_BYTES_MAX, LINE_BYTES_MAX, TRAILERS_MAX
from proxy.auth.types import UNSIGNED, Authenticated, PayloadKind, PayloadMode
from proxy.auth.users import User

UNSIGNED_TRAILER = PayloadMode(PayloadKind.STREAMING_UNSIGNED_TRAILER)
USER = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo")


def chunked(size: int, trailers: str = "x-amz-checksum-crc32") -> BodyDecoder:
    headers = CIMultiDict({"x-amz-decoded-content-length": str(size)})
    if trailers:
        headers["x-amz-trailer"] = trailers
    return body_decoder(UNSIGNED_TRAILER, headers, None, None)


GOOD = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"


def test_plain_body_without_promises() -> None:
    decoder = body_decoder(UNSIGNED, CIMultiDict(), None, None)
    assert list(decoder.feed(b"abc")) == [b"abc"]
    assert list(decoder.feed(b"")) == []
    assert decoder.finish() == {}


def test_plain_body_with_a_length() -> None:
    decoder = body_decoder(UNSIGNED, CIMultiDict(), None, 3)
    decoder.feed(b"ab")
    with pytest.raises(errors.IncompleteBody) as caught:
        decoder.finish()
    assert (caught.value.declared_bytes, caught.value.received_bytes) == (3, 2)
    with pytest.raises(errors.IncompleteBody):
        decoder.feed(b"cd")


def test_plain_body_with_a_digest() -> None:
    mode = PayloadMode(PayloadKind.SIGNED, hashlib.sha256(b"abc").hexdigest())
    right = body_decoder(mode, CIMultiDict(), None, 3)
    right.feed(b"a")
    right.feed(memoryview(b"bc"))
    assert right.finish() == {}
    wrong = body_decoder(mode, CIMultiDict(), None, 3)
    wrong.feed(b"abd")
    with pytest.raises(errors.PayloadHashMismatch) as caught:
        wrong.finish()
    assert caught.value.declared == mode.sha256
    assert caught.value.computed == hashlib.sha256(b"abd").hexdigest()


def test_unsigned_chunks_with_a_trailer() -> None:
    decoder = chunked(11)
    assert b"".join(decoder.feed(GOOD)) == b"hello world"
    assert decoder.finish() == {"x-amz-checksum-crc32": "DUoRhQ=="}


@pytest.mark.parametrize("name", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"])
def test_what_botocore_frames_is_decoded(name: str) -> None:
    payload = bytes(range(256)) * 5000
    header = f"x-amz-checksum-{name}"
    wrapper = AwsChunkedWrapper(
        io.BytesIO(payload), checksum_cls=_CHECKSUM_CLS[name], checksum_name=header
    )
    headers = CIMultiDictProxy(
        CIMultiDict({"x-amz-decoded-content-length": str(len(payload)), "X-Amz-Trailer": header})
    )
    decoder = body_decoder(UNSIGNED_TRAILER, headers, None, None)
    decoded = b"".join(bytes(part) for piece in wrapper for part in decoder.feed(piece))
    assert decoded == payload
    declared = parse_checksum_headers(headers)
    assert declared is not None
    checksum = declared.algorithm.new()
    checksum.update(decoded)
    check_digest(declared, checksum.digest(), decoder.finish())


def test_pieces_are_views_of_what_came() -> None:
    source = bytearray(GOOD)
    pieces = chunked(11).feed(source)
    assert all(isinstance(piece, memoryview) and piece.obj is source for piece in pieces)


def test_empty_body() -> None:
    decoder = chunked(0, "")
    assert list(decoder.feed(b"0\r\n\r\n")) == []
    assert decoder.finish() == {}


def test_every_truncation_is_noticed() -> None:
    for end in range(len(GOOD)):
        decoder = chunked(11)
        decoder.feed(GOOD[:end])
        with pytest.raises(errors.IncompleteBody):
            decoder.finish()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"x\r\n", errors.MalformedChunk),
        (b"\r\n", errors.MalformedChunk),
        (b"-1\r\n", errors.MalformedChunk),
        (b"0x5\r\nhello", errors.MalformedChunk),
        (b"5 \r\nhello", errors.MalformedChunk),
        (b"5\nhello", errors.MalformedChunk),
        (b"5;chunk-signature=" + b"0" * 64 + b"\r\n", errors.MalformedChunk),
        (b"5\r\nhello!\r\n", errors.MalformedChunk),
        (b"5\r\nhello\n", errors.MalformedChunk),
        (b"00000000000000005\r\n", errors.MalformedChunk),
        (b"1" * (LINE_BYTES_MAX + 2), errors.LineTooLong),
        (b"%x\r\n" % (CHUNK_BYTES_MAX + 1), errors.ChunkTooLarge),
        (b"c\r\n", errors.IncompleteBody),
        (b"5\r\nhello\r\n7\r\n", errors.IncompleteBody),
        (b"5\r\nhello\r\n0\r\n", errors.IncompleteBody),
        (GOOD + b"x", errors.MalformedChunk),
        (GOOD + GOOD, errors.MalformedChunk),
        (b"b\r\nhello world\r\n0\r\n\r\n", errors.MalformedTrailer),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-sha1:eA==\r\n", errors.MalformedTrailer),
        (b"b\r\nhello world\r\n0\r\nx-amz-trailer-signature:00\r\n", errors.MalformedTrailer),
        (b"b\r\nhello world\r\n0\r\nno colon\r\n", errors.MalformedTrailer),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:\r\n", errors.MalformedTrailer),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:\xe9\r\n", errors.MalformedTrailer),
        (b"b\r\nhello world\r\n0\r\n" + b"x-amz-checksum-crc32:a\r\n" * 2, errors.MalformedTrailer),
        (b"b\r\nhello world\r\n0\r\n" + b"y" * (LINE_BYTES_MAX + 2), errors.LineTooLong),
    ],
)
def test_broken_framing(body: bytes, error: type[errors.BodyError]) -> None:
    decoder = chunked(11)
    with pytest.raises(error):
        decoder.feed(body)
    with pytest.raises(errors.MalformedChunk):  # and it stays refused
        decoder.feed(b"0\r\n\r\n")
    with pytest.raises(errors.IncompleteBody):
        decoder.finish()


def test_trailers_are_limited_in_number() -> None:
    names = [f"x-amz-checksum-{number}" for number in range(TRAILERS_MAX + 1)]
    decoder = chunked(0, ",".join(names))
    lines = "".join(f"{name}: v \r\n" for name in names).encode()
    with pytest.raises(errors.MalformedTrailer):
        decoder.feed(b"0\r\n" + lines + b"\r\n")


def test_signed_chunks_may_not_have_trailers_unless_announced() -> None:
    mode = PayloadMode(PayloadKind.STREAMING_SIGNED)
    admitted = Authenticated(USER, mode, b"k" * 32, "0" * 64, "20130524T000000Z", "scope")
    headers = CIMultiDict({"x-amz-decoded-content-length": "1"})
    with pytest.raises(errors.ChunkSignatureMismatch) as caught:
        body_decoder(mode, headers, admitted, None).feed(b"1;chunk-signature=" + b"0" * 64 + b"\r\na")
    assert caught.value.offset_bytes == 1
    with pytest.raises(errors.MalformedChunk):
        body_decoder(mode, headers, admitted, None).feed(b"1\r\na")
    with pytest.raises(ValueError, match="key that signed"):
        body_decoder(mode, headers, None, None)


def test_decoded_length_header() -> None:
    with pytest.raises(errors.MissingDecodedLength):
        body_decoder(UNSIGNED_TRAILER, CIMultiDict(), None, 10)
    for text in ("", "-1", "x", "1.5", "٣", "9" * 20):
        headers = CIMultiDict({"x-amz-decoded-content-length": text})
        with pytest.raises(errors.InvalidDecodedLength):
            body_decoder(UNSIGNED_TRAILER, headers, None, 10)


def test_object_length() -> None:
    headers = CIMultiDict({"x-amz-decoded-content-length": "7"})
    assert object_length(UNSIGNED_TRAILER, headers, 100) == 7
    assert object_length(UNSIGNED, headers, 100) == 100
    assert object_length(UNSIGNED, headers, None) is None


def test_trailer_names() -> None:
    headers: CIMultiDict[str] = CIMultiDict()
    headers.add("X-Amz-Trailer", " X-Amz-Checksum-CRC32 ,")
    headers.add("x-amz-trailer", "b")
    assert declared_trailers(headers) == {"x-amz-checksum-crc32", "b"}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (None, None),
        ("gzip", "gzip"),
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("gzip, aws-chunked", "gzip"),
        ("aws-chunked,gzip,br", "gzip,br"),
        ("x-aws-chunkedly", "x-aws-chunkedly"),
    ],
)
def test_content_encoding(sent: str | None, stored: str | None) -> None:
    assert stored_content_encoding(sent) == stored


def test_memory_is_bounded_whatever_the_chunk() -> None:
    size = 64 * 1024 * 1024
    decoder = chunked(size)
    decoder.feed(b"%x\r\n" % size)
    piece = bytes(1024 * 1024)
    tracemalloc.start()
    for _ in range(64):
        decoder.feed(piece)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64 * 1024

"""aws-chunked bodies decode to the same bytes however they are cut, and no change goes unnoticed."""

import hashlib
import hmac
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.auth.body import BodyDecoder, body_decoder
from proxy.auth.errors import BodyError
from proxy.auth.types import EMPTY_SHA256, Authenticated, PayloadKind, PayloadMode
from proxy.auth.users import User

USER = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo")
KEY, SEED = b"k" * 32, "5" * 64
DATE, SCOPE = "20130524T000000Z", "20130524/us-east-1/s3/aws4_request"

KINDS = st.sampled_from(
    [
        PayloadKind.STREAMING_SIGNED,
        PayloadKind.STREAMING_SIGNED_TRAILER,
        PayloadKind.STREAMING_UNSIGNED_TRAILER,
    ]
)
CHUNKS = st.lists(st.binary(min_size=1, max_size=60), max_size=6)
TRAILERS = st.dictionaries(
    st.sampled_from(["x-amz-checksum-crc32", "x-amz-checksum-sha256"]),
    st.text("ABCabc+/=09", min_size=1, max_size=12),
    max_size=2,
)


class Signer:
    """The sender's side of the chain, written from the documentation and not from the decoder."""

    def __init__(self) -> None:
        self.previous = SEED

    def sign(self, algorithm: str, *last: str) -> str:
        text = "\n".join((algorithm, DATE, SCOPE, self.previous, *last))
        self.previous = hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()
        return self.previous


def encode(kind: PayloadKind, chunks: list[bytes], trailers: dict[str, str]) -> bytes:
    signer = Signer()
    signed = kind is not PayloadKind.STREAMING_UNSIGNED_TRAILER
    body = b""
    for chunk in [*chunks, b""]:
        digest = hashlib.sha256(chunk).hexdigest()
        signature = signer.sign("AWS4-HMAC-SHA256-PAYLOAD", EMPTY_SHA256, digest)
        extension = f";chunk-signature={signature}" if signed else ""
        body += f"{len(chunk):x}{extension}\r\n".encode()
        body += chunk + b"\r\n" if chunk else b""
    for name, value in trailers.items():
        body += f"{name}:{value}\r\n".encode()
    if kind is PayloadKind.STREAMING_SIGNED_TRAILER:
        lines = "".join(f"{name}:{trailers[name]}\n" for name in sorted(trailers))
        digest = hashlib.sha256(lines.encode()).hexdigest()
        signature = signer.sign("AWS4-HMAC-SHA256-TRAILER", digest)
        body += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return body + b"\r\n"


def decoder_of(kind: PayloadKind, size: int, trailers: dict[str, str]) -> BodyDecoder:
    mode = PayloadMode(kind)
    headers = CIMultiDict({"x-amz-decoded-content-length": str(size)})
    if trailers:
        headers["x-amz-trailer"] = ",".join(trailers)
    return body_decoder(mode, headers, Authenticated(USER, mode, KEY, SEED, DATE, SCOPE), None)


def cut(body: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(body), *(place % (len(body) + 1) for place in cuts)})
    return [body[a:b] for a, b in itertools.pairwise(places)]


def decode(decoder: BodyDecoder, pieces: list[bytes]) -> tuple[bytes, dict[str, str]]:
    decoded = b"".join(bytes(part) for piece in pieces for part in decoder.feed(piece))
    return decoded, decoder.finish()


@given(KINDS, CHUNKS, TRAILERS, st.lists(st.integers(0, 2000), max_size=12))
@settings(deadline=None, max_examples=300)
def test_any_cut_decodes_alike(
    kind: PayloadKind, chunks: list[bytes], trailers: dict[str, str], cuts: list[int]
) -> None:
    trailers = {} if kind is PayloadKind.STREAMING_SIGNED else trailers
    payload = b"".join(chunks)
    body = encode(kind, chunks, trailers)
    decoder = decoder_of(kind, len(payload), trailers)
    assert decode(decoder, cut(body, cuts)) == (payload, trailers)


@given(CHUNKS, TRAILERS)
@settings(deadline=None, max_examples=50)
def test_byte_by_byte(chunks: list[bytes], trailers: dict[str, str]) -> None:
    kind = PayloadKind.STREAMING_SIGNED_TRAILER
    payload, body = b"".join(chunks), encode(kind, chunks, trailers)
    decoder = decoder_of(kind, len(payload), trailers)
    assert decode(decoder, [bytes([byte]) for byte in body]) == (payload, trailers)


@given(CHUNKS, TRAILERS, st.data())
@settings(deadline=None, max_examples=300)
def test_a_change_is_refused_or_changes_nothing(
    chunks: list[bytes], trailers: dict[str, str], data: st.DataObject
) -> None:
    """(The case of a size's hex digits, say, is free.)"""
    kind = data.draw(st.sampled_from([PayloadKind.STREAMING_SIGNED_TRAILER]))
    payload, body = b"".join(chunks), bytearray(encode(kind, chunks, trailers))
    position = data.draw(st.integers(0, len(body) - 1))
    change = data.draw(st.sampled_from(["flip", "drop", "double"]))
    if change == "flip":
        body[position] ^= data.draw(st.integers(1, 255))
    elif change == "drop":
        del body[position]
    else:
        body.insert(position, body[position])
    try:
        decoded = decode(decoder_of(kind, len(payload), trailers), [bytes(body)])
    except BodyError:
        return
    assert decoded == (payload, trailers)


@given(CHUNKS, TRAILERS, KINDS, st.data())
@settings(deadline=None)
def test_a_truncated_body_is_refused(
    chunks: list[bytes], trailers: dict[str, str], kind: PayloadKind, data: st.DataObject
) -> None:
    trailers = {} if kind is PayloadKind.STREAMING_SIGNED else trailers
    body = encode(kind, chunks, trailers)
    body = body[: data.draw(st.integers(0, len(body) - 1))]
    decoder = decoder_of(kind, len(b"".join(chunks)), trailers)
    try:
        decode(decoder, [body])
    except BodyError:
        return
    raise AssertionError("a truncated body was taken for whole")


FRAGMENTS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\r\n", b"\n", b"0", b"5", b"a", b"hello", b"0\r\n\r\n", b":", b";"]),
        st.just(b";chunk-signature=" + b"0" * 64),
        st.just(b"x-amz-checksum-crc32:AAAAAA=="),
    ),
    max_size=20,
)


@given(KINDS, FRAGMENTS, st.integers(0, 100))
@settings(deadline=None, max_examples=300)
def test_noise_raises_typed_errors_only(kind: PayloadKind, fragments: list[bytes], size: int) -> None:
    decoder = decoder_of(kind, size, {"x-amz-checksum-crc32": ""})
    try:
        payload, _ = decode(decoder, fragments)
    except BodyError:
        return
    assert len(payload) == size

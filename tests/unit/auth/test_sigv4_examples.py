"""The examples that AWS publishes for S3 verify, and any change to them does not.

Amazon S3 API reference: "Authenticating Requests" (header, query) and "Transferring Payload in
Multiple Chunks", with and without trailing headers. The keys are the documentation's.
"""

import hashlib

import pytest
from multidict import CIMultiDict

from proxy.auth.body import body_decoder
from proxy.auth.checksums import ChecksumAlgorithm, check_digest, parse_checksum_headers
from proxy.auth.dates import parse_amz_date
from proxy.auth.errors import ChunkSignatureMismatch, MalformedTrailer, SignatureMismatch
from proxy.auth.sigv4 import SigV4
from proxy.auth.types import EMPTY_SHA256, Authenticated, PayloadKind, RequestView
from proxy.auth.users import MemoryUsers, User

USER = User(
    name="example",
    account="AUTH_example",
    access_key="AKIAIOSFODNN7EXAMPLE",
    secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    swift_login="example:example",
)
SCOPE = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"
NOW_S = parse_amz_date("20130524T000000Z") or 0.0
HOST = "examplebucket.s3.amazonaws.com"


def request(method: str, target: str, headers: dict[str, str], now_s: float = NOW_S) -> RequestView:
    path, _, query = target.partition("?")
    return RequestView(method, path, query, CIMultiDict(headers), now_s)


def authorization(signed: str, signature: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={signed},Signature={signature}"


def amz(**more: str) -> dict[str, str]:
    headers = {
        "Host": HOST,
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": EMPTY_SHA256,
    }
    return headers | {name.replace("_", "-"): value for name, value in more.items()}


EXAMPLES = {
    "get object": (
        "GET",
        "/test.txt",
        amz(Range="bytes=0-9"),
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put object": (
        "PUT",
        "/test$file.text",
        amz(
            Date="Fri, 24 May 2013 00:00:00 GMT",
            x_amz_storage_class="REDUCED_REDUNDANCY",
            x_amz_content_sha256=hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
        ),
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "get bucket lifecycle": (
        "GET",
        "/?lifecycle",
        amz(),
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list objects": (
        "GET",
        "/?max-keys=2&prefix=J",
        amz(),
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_header_examples(example: tuple[str, str, dict[str, str], str, str]) -> None:
    method, target, headers, signed, signature = example
    admitted = SigV4(MemoryUsers([USER])).verify_header(
        request(method, target, headers), authorization(signed, signature)
    )
    assert admitted.user == USER
    assert admitted.signature == signature
    assert admitted.payload.kind is PayloadKind.SIGNED
    assert admitted.payload.sha256 == headers["x-amz-content-sha256"]


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_changed_header_example_is_refused(
    example: tuple[str, str, dict[str, str], str, str],
) -> None:
    method, target, headers, signed, signature = example
    verifier = SigV4(MemoryUsers([USER]))
    changed = [
        (request("HEAD" if method == "GET" else "GET", target, headers), signature),
        (request(method, target + "x", headers), signature),
        (request(method, target, headers | {"Host": "other.s3.amazonaws.com"}), signature),
        (request(method, target, headers | {"x-amz-date": "20130524T000001Z"}), signature),
        (request(method, target, headers | {"x-amz-content-sha256": "0" * 64}), signature),
        (request(method, target, headers), signature[:-1] + ("0" if signature[-1] != "0" else "1")),
        (request(method, target, headers), signature[:-1]),
        (request(method, target, headers), "é" * 64),
    ]
    for view, wrong in changed:
        with pytest.raises(SignatureMismatch):
            verifier.verify_header(view, authorization(signed, wrong))


PRESIGNED = (
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


def test_presigned_example() -> None:
    view = request("GET", PRESIGNED, {"Host": HOST}, NOW_S + 86_400)
    admitted = SigV4(MemoryUsers([USER])).verify_query(view)
    assert admitted.user == USER
    assert admitted.payload.kind is PayloadKind.UNSIGNED


def test_a_changed_presigned_example_is_refused() -> None:
    verifier = SigV4(MemoryUsers([USER]))
    for target in (
        PRESIGNED.replace("test.txt", "test2.txt"),
        PRESIGNED.replace("86400", "86401"),
        PRESIGNED + "&x=y",
        PRESIGNED.replace("604d404", "604d405"),
    ):
        with pytest.raises(SignatureMismatch):
            verifier.verify_query(request("GET", target, {"Host": HOST}))


# ---- chunked uploads: 66,560 bytes of "a" in chunks of 65,536, 1,024 and 0 -----------------------

BODY = b"a" * 66_560
CHUNK_SIGNATURES = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
TRAILER_CHUNK_SIGNATURES = (
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)
TRAILER_SIGNATURE = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
CHUNKED_HEADERS = {
    "Host": "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "Content-Encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
    "Content-Length": "66824",
}
TRAILER_HEADERS = CHUNKED_HEADERS | {
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "x-amz-trailer": "x-amz-checksum-crc32c",
}


def framed(signatures: tuple[str, str, str], end: bytes) -> bytes:
    frames = b""
    for piece, signature in zip((BODY[:65_536], BODY[65_536:]), signatures, strict=False):
        frames += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(piece), signature.encode(), piece)
    return frames + b"0;chunk-signature=%s\r\n" % signatures[2].encode() + end


def admit_chunked() -> Authenticated:
    signed = (
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
        "x-amz-decoded-content-length;x-amz-storage-class"
    )
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    view = request("PUT", "/examplebucket/chunkObject.txt", CHUNKED_HEADERS)
    return SigV4(MemoryUsers([USER])).verify_header(view, authorization(signed, seed))


def admit_trailer() -> Authenticated:
    signed = (
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
        "x-amz-storage-class;x-amz-trailer"
    )
    seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    view = request("PUT", "/examplebucket/chunkObject.txt", TRAILER_HEADERS)
    return SigV4(MemoryUsers([USER])).verify_header(view, authorization(signed, seed))


def test_chunked_example() -> None:
    admitted = admit_chunked()
    body = framed(CHUNK_SIGNATURES, b"\r\n")
    assert len(body) == 66_824
    decoder = body_decoder(admitted.payload, CIMultiDict(CHUNKED_HEADERS), admitted, len(body))
    assert b"".join(decoder.feed(body)) == BODY
    assert decoder.finish() == {}


def test_trailer_example() -> None:
    admitted = admit_trailer()
    headers = CIMultiDict(TRAILER_HEADERS)
    end = f"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"
    decoder = body_decoder(admitted.payload, headers, admitted, None)
    body = b"".join(decoder.feed(framed(TRAILER_CHUNK_SIGNATURES, end.encode())))
    assert body == BODY
    trailers = decoder.finish()
    assert trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}
    declared = parse_checksum_headers(headers)
    assert declared is not None
    checksum = ChecksumAlgorithm.CRC32C.new()
    checksum.update(body)
    check_digest(declared, checksum.digest(), trailers)


@pytest.mark.parametrize("position", [90, 65_000, 65_726, 66_700, 66_760])
def test_a_changed_chunk_is_refused_at_its_end(position: int) -> None:
    admitted = admit_chunked()
    body = bytearray(framed(CHUNK_SIGNATURES, b"\r\n"))
    assert body[position] not in b"\r\n"
    body[position] = ord("b") if body[position] != ord("b") else ord("a")
    decoder = body_decoder(admitted.payload, CIMultiDict(CHUNKED_HEADERS), admitted, len(body))
    with pytest.raises(ChunkSignatureMismatch):
        decoder.feed(bytes(body))


def test_a_changed_trailer_is_refused() -> None:
    admitted = admit_trailer()
    end = f"x-amz-checksum-crc32c:sOO8/A==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n"
    decoder = body_decoder(admitted.payload, CIMultiDict(TRAILER_HEADERS), admitted, None)
    with pytest.raises(ChunkSignatureMismatch):
        decoder.feed(framed(TRAILER_CHUNK_SIGNATURES, end.encode()))


def test_a_missing_trailer_signature_is_refused() -> None:
    admitted = admit_trailer()
    decoder = body_decoder(admitted.payload, CIMultiDict(TRAILER_HEADERS), admitted, None)
    with pytest.raises(MalformedTrailer):
        decoder.feed(framed(TRAILER_CHUNK_SIGNATURES, b"x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n"))

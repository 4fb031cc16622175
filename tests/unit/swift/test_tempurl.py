"""Signed URLs. The signatures are made here as the Swift manual says, not by the code under test."""

import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest

from proxy.swift import tempurl
from proxy.swift.errors import SwiftError
from proxy.swift.request import Target

TARGET = Target("AUTH_demo", "c", "dir/ü.txt")
PATH = "/v1/AUTH_demo/c/dir/ü.txt"
KEY = "my key"


def sign(digest: str, *lines: str) -> bytes:
    return hmac.new(KEY.encode(), "\n".join(lines).encode(), digest).digest()


def query(signature: str, expires: str = "1000", **more: str) -> dict[str, str]:
    return {"temp_url_sig": signature, "temp_url_expires": expires, **more}


def good(
    url: tempurl.TempUrl, method: str, target: Target = TARGET, keys: tuple[str, ...] = (KEY,)
) -> bool:
    return tempurl.signed_by(url, method, target, keys)


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
def test_hex_signatures(digest: str) -> None:
    url = tempurl.parse(query(sign(digest, "GET", "1000", PATH).hex()))
    assert good(url, "GET")
    assert not good(url, "PUT")
    assert not good(url, "GET", TARGET._replace(name="dir/other"))
    assert not good(url, "GET", keys=("another key",))
    assert not good(url, "GET", keys=())
    assert good(url, "GET", keys=("another key", KEY))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_signatures(encode: Callable[[bytes], bytes]) -> None:
    text = encode(sign("sha512", "PUT", "1000", PATH)).decode().rstrip("=")
    assert good(tempurl.parse(query(f"sha512:{text}")), "PUT")


@pytest.mark.parametrize(
    ("signed", "head"), [("GET", True), ("PUT", True), ("POST", True), ("DELETE", False)]
)
def test_head_comes_with_reading_and_writing(signed: str, head: bool) -> None:
    url = tempurl.parse(query(sign("sha256", signed, "1000", PATH).hex()))
    assert good(url, "HEAD") is head


def test_prefixes() -> None:
    signature = sign("sha256", "GET", "1000", "prefix:/v1/AUTH_demo/c/dir/").hex()
    url = tempurl.parse(query(signature, temp_url_prefix="dir/"))
    tempurl.check_use(url, "GET", TARGET, {}, {})
    assert good(url, "GET")
    with pytest.raises(SwiftError):
        tempurl.check_use(url, "GET", TARGET._replace(name="elsewhere"), {}, {})


def test_addresses() -> None:
    signature = sign("sha256", "ip=10.0.0.0/8", "GET", "1000", PATH).hex()
    url = tempurl.parse(query(signature, temp_url_ip_range="10.0.0.0/8"))
    assert good(url, "GET")
    tempurl.check_time_and_place(url, now_s=999, remote="10.1.2.3")
    for remote in ("11.1.2.3", "", "::1", "not an address"):
        with pytest.raises(SwiftError):
            tempurl.check_time_and_place(url, now_s=999, remote=remote)


def test_times() -> None:
    url = tempurl.parse(query("00" * 32))
    tempurl.check_time_and_place(url, now_s=999, remote="")
    with pytest.raises(SwiftError):
        tempurl.check_time_and_place(url, now_s=1000, remote="")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1400003600", 1_400_003_600),
        ("2014-05-13T17:53:20Z", 1_400_003_600),
        ("2014-05-13T17:53:20", 1_400_003_600),
        ("1970-01-02", 86_400),
    ],
)
def test_ends(text: str, expected: int) -> None:
    assert tempurl.parse_expires(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 30, "2014-13-01", "١"])
def test_bad_ends(text: str) -> None:
    with pytest.raises(SwiftError):
        tempurl.parse_expires(text)


@pytest.mark.parametrize(
    "text", ["", "zz", "00", "00" * 31, "sha256:", "sha256:!!", "md5:AAAA", "sha1:" + "A" * 43]
)
def test_bad_signatures(text: str) -> None:
    with pytest.raises(SwiftError):
        tempurl.parse_signature(text)


def test_what_no_signature_allows() -> None:
    url = tempurl.parse(query("00" * 32))
    for method, target in (("COPY", TARGET), ("GET", Target("AUTH_demo", "c")), ("OPTIONS", TARGET)):
        with pytest.raises(SwiftError):
            tempurl.check_use(url, method, target, {}, {})
    with pytest.raises(SwiftError, match="X-Object-Manifest"):
        tempurl.check_use(url, "PUT", TARGET, {"X-Object-Manifest": "c/p"}, {})
    with pytest.raises(SwiftError, match="multipart-manifest"):
        tempurl.check_use(url, "PUT", TARGET, {}, {"multipart-manifest": "put"})


@pytest.mark.parametrize(
    ("more", "disposition"),
    [
        ({}, "attachment; filename=\"%C3%BC.txt\"; filename*=UTF-8''%C3%BC.txt"),
        ({"inline": ""}, "inline"),
        ({"filename": 'a"b\n'}, "attachment; filename=\"a%22b%0A\"; filename*=UTF-8''a%22b%0A"),
        ({"filename": "f", "inline": ""}, "inline; filename=\"f\"; filename*=UTF-8''f"),
    ],
)
def test_names_to_save_as(more: dict[str, str], disposition: str) -> None:
    headers = tempurl.response_headers(tempurl.parse(query("00" * 32, **more)), TARGET)
    assert headers == {
        "Content-Disposition": disposition,
        "Expires": "Thu, 01 Jan 1970 00:16:40 GMT",
    }


def test_private_metadata_stay_private() -> None:
    headers = {"X-Object-Meta-A": "1", "X-Object-Meta-Public-B": "2", "Etag": "e"}
    assert tempurl.public_headers(headers) == {"X-Object-Meta-Public-B": "2", "Etag": "e"}


def test_digests_are_those_of_hashlib() -> None:
    assert all(name in hashlib.algorithms_guaranteed for name in tempurl.DIGESTS)

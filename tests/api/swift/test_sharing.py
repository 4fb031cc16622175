"""Access lists, signed URLs and cross-origin requests over HTTP."""

import hashlib
import hmac
import time
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
from swiftclient.utils import generate_temp_url

from tests.api.swift.wire import Answer, Wire


@pytest.fixture
def shared(wire: Wire, stranger: Wire, nobody: Wire, container: str) -> str:
    """A container with one object; strangers and nobody look at its account."""
    assert wire("PUT", f"{container}/o", body=b"content").status == 201
    stranger.account = nobody.account = "AUTH_demo"
    return container


def tried(wire: Wire, container: str) -> list[int]:
    """Statuses of reading, listing, writing, deleting an object and changing the container."""
    return [
        wire("GET", f"{container}/o").status,
        wire("GET", container).status,
        wire("PUT", f"{container}/new", body=b"x").status,
        wire("DELETE", f"{container}/new").status,
        wire("POST", container, headers={"X-Container-Meta-A": "1"}).status,
    ]


def test_without_lists_all_is_closed(stranger: Wire, nobody: Wire, shared: str) -> None:
    assert tried(stranger, shared) == [403] * 5
    assert tried(nobody, shared) == [401] * 5
    assert stranger("GET", "no-such-container").status == 403
    assert nobody("GET", "no-such-container/o").status == 401


@pytest.mark.parametrize(
    ("read", "write", "expected_stranger", "expected_nobody"),
    [
        (".r:*", "", [200, 403, 403, 403, 403], [200, 401, 401, 401, 401]),
        (".r:*,.rlistings", "", [200, 200, 403, 403, 403], [200, 200, 401, 401, 401]),
        ("other:other", "", [200, 200, 403, 403, 403], [401] * 5),
        ("", "other", [403, 403, 201, 204, 403], [401] * 5),
        ("*:*", "*:*", [200, 200, 201, 204, 403], [401] * 5),
    ],
)
def test_lists(
    wire: Wire,
    stranger: Wire,
    nobody: Wire,
    shared: str,
    read: str,
    write: str,
    expected_stranger: list[int],
    expected_nobody: list[int],
) -> None:
    headers = {"X-Container-Read": read, "X-Container-Write": write}
    assert wire("POST", shared, headers=headers).status == 204
    assert tried(stranger, shared) == expected_stranger
    assert tried(nobody, shared) == expected_nobody
    head = wire("HEAD", shared).headers
    assert (head.get("x-container-read", ""), head.get("x-container-write", "")) == (read, write)
    gone = {"X-Remove-Container-Read": "x", "X-Container-Write": ""}
    assert wire("POST", shared, headers=gone).status == 204
    assert tried(stranger, shared) == [403] * 5


def test_what_only_owners_see(wire: Wire, nobody: Wire, shared: str) -> None:
    headers = {
        "X-Container-Read": ".r:*,.rlistings",
        "X-Container-Meta-Temp-URL-Key": "secret",
        "X-Container-Meta-Color": "blue",
    }
    wire("POST", shared, headers=headers)
    assert wire("HEAD", shared).headers["x-container-meta-temp-url-key"] == "secret"
    seen = nobody("HEAD", shared).headers
    assert seen["x-container-meta-color"] == "blue"
    assert not {"x-container-read", "x-container-meta-temp-url-key"} & seen.keys()


def test_a_bad_token_is_no_anonymous_request(wire: Wire, nobody: Wire, shared: str) -> None:
    wire("POST", shared, headers={"X-Container-Read": ".r:*"})
    assert nobody("GET", f"{shared}/o").status == 200
    assert nobody("GET", f"{shared}/o", headers={"X-Auth-Token": "AUTH_tknonsense"}).status == 401


def test_copies_between_accounts(wire: Wire, stranger: Wire, shared: str) -> None:
    stranger.account = "AUTH_other"
    assert stranger("PUT", "mine").status == 201
    to = {"Destination": "mine/o", "Destination-Account": "AUTH_other"}
    came_from = {"X-Copy-From": f"{shared}/o", "X-Copy-From-Account": "AUTH_demo"}
    came_from["Content-Length"] = "0"
    assert stranger("PUT", "mine/o", headers=came_from).status == 403
    assert wire("COPY", f"{shared}/o", headers=to).status == 403
    wire("POST", shared, headers={"X-Container-Read": "other:other"})
    copied = stranger("PUT", "mine/o", headers=came_from)
    assert (copied.status, copied.headers["x-copied-from-account"]) == (201, "AUTH_demo")
    assert stranger("GET", "mine/o").body == b"content"
    stranger("POST", "mine", headers={"X-Container-Write": "demo:demo"})
    assert wire("COPY", f"{shared}/o", headers=to).status == 201
    assert stranger("DELETE", "mine/o").status == 204
    assert stranger("DELETE", "mine").status == 204


# -- signed URLs -------------------------------------------------------------------------------------


@pytest.fixture
def keys(wire: Wire, shared: str) -> Iterator[str]:
    wire("POST", headers={"X-Account-Meta-Temp-URL-Key": "account key"})
    wire("POST", shared, headers={"X-Container-Meta-Temp-URL-Key-2": "container key"})
    yield shared
    wire("POST", headers={"X-Account-Meta-Temp-URL-Key": ""})


def signed(wire: Wire, method: str, path: str, key: str, seconds: int = 60, **more: str) -> str:
    """A target signed by the manual's recipe."""
    full, expires = f"/v1/AUTH_demo/{path}", int(time.time()) + seconds
    text = f"{method}\n{expires}\n{full}"
    signature = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
    query = urlencode({"temp_url_sig": signature, "temp_url_expires": expires, **more})
    return f"{quote(full)}?{query}"


@pytest.mark.parametrize("key", ["account key", "container key"])
def test_signed_reads(wire: Wire, nobody: Wire, keys: str, key: str) -> None:
    meta = {"X-Object-Meta-Private": "1", "X-Object-Meta-Public-A": "2"}
    wire("PUT", f"{keys}/ü b.txt", headers=meta, body="ü".encode())
    target = signed(nobody, "GET", f"{keys}/ü b.txt", key)
    got = nobody.raw("GET", target)
    assert (got.status, got.body) == (200, "ü".encode())
    assert got.headers["content-disposition"].startswith("attachment; filename=")
    assert "expires" in got.headers
    assert "x-object-meta-private" not in got.headers
    assert got.headers["x-object-meta-public-a"] == "2"
    assert nobody.raw("HEAD", target).status == 200
    inline = nobody.raw("GET", f"{target}&inline")
    assert inline.headers["content-disposition"] == "inline"
    for method in ("PUT", "DELETE", "POST", "COPY"):
        assert nobody.raw(method, target, body=b"x").status == 401
    other = target.replace("b.txt", "c.txt")
    assert nobody.raw("GET", other).status == 401


@pytest.mark.parametrize("key", ["account key", "container key"])
def test_signed_writes(wire: Wire, nobody: Wire, keys: str, key: str) -> None:
    put = signed(nobody, "PUT", f"{keys}/up", key)
    assert nobody.raw("PUT", put, body=b"sent").status == 201
    assert nobody.raw("HEAD", put).status == 200
    assert nobody.raw("GET", put).status == 401
    for name in ("X-Object-Manifest", "X-Copy-From"):
        assert nobody.raw("PUT", put, {name: f"{keys}/o"}, b"").status == 400
    assert nobody.raw("PUT", f"{put}&multipart-manifest=put", body=b"[]").status == 400
    assert wire("GET", f"{keys}/up").body == b"sent"
    delete = signed(nobody, "DELETE", f"{keys}/up", key)
    assert nobody.raw("DELETE", delete).status == 204
    assert wire("HEAD", f"{keys}/up").status == 404


def test_signed_urls_that_are_not_good(wire: Wire, nobody: Wire, keys: str) -> None:
    def status(target: str) -> int:
        return nobody.raw("GET", target).status

    good = signed(nobody, "GET", f"{keys}/o", "account key")
    assert status(good) == 200
    assert status(signed(nobody, "GET", f"{keys}/o", "account key", seconds=-1)) == 401
    assert status(signed(nobody, "GET", f"{keys}/o", "wrong key")) == 401
    assert status(signed(nobody, "GET", keys, "account key")) == 401
    assert status(good.replace("temp_url_expires=", "temp_url_expires=1")) == 401
    assert status(good.partition("&")[0]) == 401
    assert status("/v1/AUTH_demo/no-such/o?temp_url_sig=00&temp_url_expires=1") == 401
    wire("PUT", "elsewhere")
    wire("PUT", "elsewhere/o", body=b"x")
    assert status(signed(nobody, "GET", "elsewhere/o", "container key")) == 401
    assert status(signed(nobody, "GET", "elsewhere/o", "account key")) == 200
    wire("DELETE", "elsewhere/o")
    wire("DELETE", "elsewhere")


def test_signed_prefixes_by_the_client(wire: Wire, nobody: Wire, keys: str) -> None:
    wire("PUT", f"{keys}/dir/a", body=b"a")
    path = generate_temp_url(
        f"/v1/AUTH_demo/{keys}/dir/", 60, "account key", "GET", prefix=True, digest="sha512"
    )
    base, _, query = path.partition("?")
    assert nobody.raw("GET", f"{base}a?{query}").body == b"a"
    assert nobody.raw("GET", f"/v1/AUTH_demo/{keys}/o?{query}").status == 401
    local = generate_temp_url(
        f"/v1/AUTH_demo/{keys}/o", 60, "account key", "GET", ip_range="127.0.0.0/8", iso8601=True
    )
    assert nobody.raw("GET", local).body == b"content"
    away = generate_temp_url(f"/v1/AUTH_demo/{keys}/o", 60, "account key", "GET", ip_range="10.0.0.0/8")
    assert nobody.raw("GET", away).status == 401


def test_a_dynamic_manifest_reaches_as_far_as_its_key(wire: Wire, nobody: Wire, keys: str) -> None:
    wire("PUT", "segments")
    wire("PUT", "segments/1", body=b"one")
    wire("PUT", f"{keys}/dlo", headers={"X-Object-Manifest": "segments/"}, body=b"")
    wire("PUT", f"{keys}/dlo", headers={"X-Object-Manifest": "segments/1"}, body=b"")
    assert nobody.raw("GET", signed(nobody, "GET", f"{keys}/dlo", "account key")).body == b"one"
    assert nobody.raw("GET", signed(nobody, "GET", f"{keys}/dlo", "container key")).status == 401
    wire("DELETE", "segments/1")
    wire("DELETE", "segments")


# -- cross origin ------------------------------------------------------------------------------------

PAGE = {"Origin": "http://page.example"}
ASKED = {**PAGE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a, x-b"}


def allow(wire: Wire, container: str, origins: str) -> None:
    headers = {
        "X-Container-Meta-Access-Control-Allow-Origin": origins,
        "X-Container-Meta-Access-Control-Max-Age": "60",
        "X-Container-Meta-Access-Control-Expose-Headers": "x-extra",
    }
    assert wire("POST", container, headers=headers).status == 204


def access_headers(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


def test_options(wire: Wire, nobody: Wire, shared: str) -> None:
    for path in ("", shared, f"{shared}/o"):
        answer = nobody("OPTIONS", path)
        assert answer.status == 200
        assert "GET" in answer.headers["allow"]
        assert nobody("OPTIONS", path, headers=ASKED).status == 401
    allow(wire, shared, "http://other.example http://page.example")
    preflight = nobody("OPTIONS", f"{shared}/o", headers=ASKED)
    assert preflight.status == 200
    assert access_headers(preflight) == {
        "access-control-allow-origin": "http://page.example",
        "access-control-allow-methods": "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT",
        "access-control-allow-headers": "x-a, x-b",
        "access-control-max-age": "60",
    }
    assert nobody("OPTIONS", f"{shared}/o", headers={**ASKED, "Origin": "http://evil"}).status == 401


def test_answers_to_pages(wire: Wire, nobody: Wire, shared: str) -> None:
    assert access_headers(wire("GET", f"{shared}/o", headers=PAGE)) == {}
    allow(wire, shared, "*")
    wire("POST", f"{shared}/o", headers={"X-Object-Meta-A": "1"})
    found = access_headers(wire("GET", f"{shared}/o", headers=PAGE))
    assert found["access-control-allow-origin"] == "*"
    exposed = found["access-control-expose-headers"].split(", ")
    assert {"x-extra", "etag", "x-object-meta-a"} <= set(exposed)
    refused = nobody("GET", f"{shared}/o", headers=PAGE)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert access_headers(wire("GET", f"{shared}/o")) == {}

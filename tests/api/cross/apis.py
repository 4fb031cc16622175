"""One object store through two APIs: the same verbs, spoken raw in S3 and in Swift.

A test names the API that writes and the API that reads; what it expects is the same for all pairs.
Header values are UTF-8, as both APIs have them.
"""

import http.client
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree

from tests.api.s3.wire import signed_headers
from tests.api.store import RunningStore

CONTENT_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
ANSWER_WITHIN_S = 30


class Seen(NamedTuple):
    """What an API tells of an object. headers: all, by lower-case name; meta: the user's."""

    status: int
    headers: dict[str, str]
    body: bytes
    meta: dict[str, str]

    @property
    def content_type(self) -> str:
        return self.headers["content-type"]

    @property
    def etag(self) -> str:
        return self.headers["etag"].strip('"')

    @property
    def size(self) -> int:
        return int(self.headers["content-length"])

    @property
    def kept(self) -> dict[str, str]:
        """The content headers that a writer may set."""
        return {name: self.headers[name] for name in CONTENT_HEADERS if name in self.headers}


class Listed(NamedTuple):
    """A line of a listing."""

    etag: str
    size: int


class Api(Protocol):
    """One of the two."""

    name: str

    def container(self, method: str, container: str, headers: Mapping[str, str] | None = None) -> Seen:
        """A request for a container itself."""

    def make(self, container: str, policy: str = "") -> None:
        """Create a container of a policy."""

    def containers(self) -> list[str]:
        """The account's containers."""

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Seen:
        """Store an object."""

    def ask(
        self, method: str, container: str, name: str, headers: Mapping[str, str] | None = None
    ) -> Seen:
        """GET, HEAD or DELETE."""

    def copy(self, container: str, source: str, name: str) -> Seen:
        """Copy an object with all that belongs to it."""

    def update(self, container: str, name: str, meta: Mapping[str, str]) -> Seen:
        """Give an object other user metadata."""

    def put_in_parts(self, container: str, name: str, parts: list[bytes]) -> str:
        """Store an object in parts; its ETag."""

    def names(self, container: str, prefix: str = "", delimiter: str = "") -> list[str]:
        """Names and common prefixes, in the listing's order."""

    def listing(self, container: str) -> dict[str, Listed]:
        """All objects."""


class _Wire:
    """Requests over one connection."""

    def __init__(self, store: RunningStore) -> None:
        self.url = store.endpoint
        self._connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=ANSWER_WITHIN_S)

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, prefix: str
    ) -> Seen:
        """prefix: of the user metadata's headers."""
        self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        self._connection.putheader("Host", self.url.partition("://")[2])
        for name, value in headers.items():
            if name.lower() != "host":
                self._connection.putheader(name, value.encode())
        if body is not None or method in {"PUT", "POST"}:
            self._connection.putheader("Content-Length", str(len(body or b"")))
        self._connection.endheaders(body)
        answer = self._connection.getresponse()
        found = {name.lower(): value.encode("latin-1").decode() for name, value in answer.getheaders()}
        meta = {
            name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
        }
        return Seen(answer.status, found, answer.read(), meta)

    def close(self) -> None:
        self._connection.close()


class S3Api:
    """Amazon's."""

    name = "s3"
    _META = "x-amz-meta-"

    def __init__(self, store: RunningStore) -> None:
        self._wire = _Wire(store)
        self._keys = store.access_key, store.secret_key

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        signed: bool = True,
    ) -> Seen:
        """A request with this very target."""
        sent = dict(headers or {})
        if signed:
            sent = signed_headers(self._wire.url, method, target, sent, keys=self._keys)
        return self._wire.send(method, target, sent, body, self._META)

    @staticmethod
    def target(container: str, name: str = "", **query: str) -> str:
        path = f"/{quote(container)}" + (f"/{quote(name)}" if name else "")
        return path + ("?" + urlencode(query, quote_via=quote) if query else "")

    def container(self, method: str, container: str, headers: Mapping[str, str] | None = None) -> Seen:
        return self.request(method, self.target(container), headers)

    def make(self, container: str, policy: str = "") -> None:
        headers = {"x-atoll-storage-policy": policy} if policy else {}
        assert self.container("PUT", container, headers).status == 200

    def containers(self) -> list[str]:
        root = ElementTree.fromstring(self.request("GET", "/").body)  # noqa: S314
        return [element.text or "" for element in root.iterfind("{*}Buckets/{*}Bucket/{*}Name")]

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Seen:
        sent = dict(headers or {}) | {self._META + key: value for key, value in (meta or {}).items()}
        return self.request("PUT", self.target(container, name), sent, body)

    def ask(
        self, method: str, container: str, name: str, headers: Mapping[str, str] | None = None
    ) -> Seen:
        return self.request(method, self.target(container, name), headers)

    def copy(self, container: str, source: str, name: str) -> Seen:
        headers = {"x-amz-copy-source": self.target(container, source)}
        return self.request("PUT", self.target(container, name), headers)

    def update(self, container: str, name: str, meta: Mapping[str, str]) -> Seen:
        """S3 has no other way than a copy onto itself."""
        headers = {self._META + key: value for key, value in meta.items()}
        headers |= {"x-amz-copy-source": self.target(container, name)}
        headers |= {"x-amz-metadata-directive": "REPLACE"}
        return self.request("PUT", self.target(container, name), headers)

    def begin_upload(self, container: str, name: str) -> str:
        """A multipart upload's id."""
        begun = self.request("POST", self.target(container, name, uploads=""))
        found = re.search(rb"<UploadId>([^<]+)<", begun.body)
        assert found, begun
        return found[1].decode()

    def put_part(self, container: str, name: str, upload: str, number: int, body: bytes) -> Seen:
        """One part of it."""
        target = self.target(container, name, partNumber=str(number), uploadId=upload)
        return self.request("PUT", target, body=body)

    def put_in_parts(self, container: str, name: str, parts: list[bytes]) -> str:
        upload = self.begin_upload(container, name)
        lines = ""
        for number, body in enumerate(parts, 1):
            etag = self.put_part(container, name, upload, number, body).headers["etag"]
            lines += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>".encode()
        done = self.request("POST", self.target(container, name, uploadId=upload), {}, document)
        found = re.search(rb"<ETag>(?:&quot;|\")?([^<&\"]+)", done.body)
        assert done.status == 200, done
        assert found, done
        return found[1].decode()

    def _page(self, container: str, **query: str) -> ElementTree.Element:
        options = {"list-type": "2", "encoding-type": "url", **query}
        answer = self.request("GET", self.target(container, **dict(sorted(options.items()))))
        assert answer.status == 200, answer
        return ElementTree.fromstring(answer.body)  # noqa: S314

    def names(self, container: str, prefix: str = "", delimiter: str = "") -> list[str]:
        query = {"prefix": prefix} if prefix else {}
        query |= {"delimiter": delimiter} if delimiter else {}
        root = self._page(container, **query)
        found = [unquote(element.text or "") for element in root.iterfind("{*}Contents/{*}Key")]
        found += [
            unquote(element.text or "") for element in root.iterfind("{*}CommonPrefixes/{*}Prefix")
        ]
        return sorted(found, key=str.encode) if delimiter else found

    def listing(self, container: str) -> dict[str, Listed]:
        found = {}
        for entry in self._page(container).iterfind("{*}Contents"):
            etag = (entry.findtext("{*}ETag") or "").strip('"')
            key = unquote(entry.findtext("{*}Key") or "")
            found[key] = Listed(etag, int(entry.findtext("{*}Size") or -1))
        return found

    def close(self) -> None:
        self._wire.close()


class SwiftApi:
    """OpenStack's."""

    name = "swift"
    _META = "x-object-meta-"

    def __init__(self, store: RunningStore) -> None:
        self._wire = _Wire(store)
        login = {"X-Auth-User": "demo:demo", "X-Auth-Key": store.secret_key}
        answer = self._wire.send("GET", "/auth/v1.0", login, None, self._META)
        self.token = answer.headers["x-auth-token"]
        self.root = answer.headers["x-storage-url"].removeprefix(store.endpoint)

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        signed: bool = True,
    ) -> Seen:
        """A request with this very target."""
        token = {"X-Auth-Token": self.token} if signed else {}
        return self._wire.send(method, target, {**token, **(headers or {})}, body, self._META)

    def target(self, container: str = "", name: str = "", **query: str) -> str:
        path = self.root + (f"/{quote(container)}" if container else "")
        path += f"/{quote(name)}" if name else ""
        return path + ("?" + urlencode(query, quote_via=quote) if query else "")

    def container(self, method: str, container: str, headers: Mapping[str, str] | None = None) -> Seen:
        return self.request(method, self.target(container), headers)

    def make(self, container: str, policy: str = "") -> None:
        headers = {"X-Storage-Policy": policy} if policy else {}
        assert self.container("PUT", container, headers).status == 201

    def containers(self) -> list[str]:
        lines: list[dict[str, Any]] = json.loads(self.request("GET", self.target(format="json")).body)
        return [line["name"] for line in lines]

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Seen:
        sent = dict(headers or {}) | {self._META + key: value for key, value in (meta or {}).items()}
        return self.request("PUT", self.target(container, name), sent, body)

    def ask(
        self, method: str, container: str, name: str, headers: Mapping[str, str] | None = None
    ) -> Seen:
        return self.request(method, self.target(container, name), headers)

    def copy(self, container: str, source: str, name: str) -> Seen:
        headers = {"Destination": quote(f"{container}/{name}")}
        return self.request("COPY", self.target(container, source), headers)

    def update(self, container: str, name: str, meta: Mapping[str, str]) -> Seen:
        headers = {self._META + key: value for key, value in meta.items()}
        return self.request("POST", self.target(container, name), headers)

    def put_in_parts(self, container: str, name: str, parts: list[bytes]) -> str:
        entries = []
        for number, body in enumerate(parts):
            segment = f"{name}-segments/{number:04d}"
            etag = self.put(container, segment, body).headers["etag"]
            entries.append({"path": f"/{container}/{segment}", "etag": etag, "size_bytes": len(body)})
        target = self.target(container, name, **{"multipart-manifest": "put"})
        done = self.request("PUT", target, {}, json.dumps(entries).encode())
        assert done.status == 201, done
        return done.etag

    def names(self, container: str, prefix: str = "", delimiter: str = "") -> list[str]:
        query = {"prefix": prefix} if prefix else {}
        query |= {"delimiter": delimiter} if delimiter else {}
        return [line.get("name") or line["subdir"] for line in self._lines(container, **query)]

    def _lines(self, container: str, **query: str) -> list[dict[str, Any]]:
        answer = self.request("GET", self.target(container, format="json", **query))
        assert answer.status == 200, answer
        lines: list[dict[str, Any]] = json.loads(answer.body)
        return lines

    def listing(self, container: str) -> dict[str, Listed]:
        return {
            line["name"]: Listed(line["hash"].strip('"'), line["bytes"])
            for line in self._lines(container)
        }

    def close(self) -> None:
        self._wire.close()

"""Single requests beside the load: buckets, uploads, readiness. Blocking, through http.client."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tools.bench.load import Server
from tools.bench.signing import Signer, canonical_path, canonical_query

TIMEOUT_S = 60.0
READY_BUCKET = "atoll-bench-ready"


class RequestRefused(Exception):
    """The server answered a control request with an error; the text says which and quotes it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, header names lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def call(
    server: Server,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    *,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """A signed S3 request. Raises OSError, http.client.HTTPException where there is no answer."""
    url = urlsplit(server.endpoint)
    headers = Signer(server.credentials, url.netloc, datetime.now(UTC)).headers(method, path, query)
    target = f"{path}?{query}" if query else path
    return plain(server.endpoint, method, target, headers, body, timeout_s=timeout_s)


def plain(
    endpoint: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """An unsigned request."""
    url = urlsplit(endpoint)
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(url.netloc, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=timeout_s)
    try:
        connection.request(method, target, body or None, dict(headers or {}))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def create_bucket(server: Server, bucket: str) -> None:
    """Create a bucket; one that is ours already is fine."""
    answer = call(server, "PUT", canonical_path(bucket))
    if answer.status != 200 and b"BucketAlreadyOwnedByYou" not in answer.body:
        raise RequestRefused(_refusal(f"create bucket {bucket}", answer))


def create_container(server: Server, container: str, policy: str, user: str) -> None:
    """Create a container under a storage policy through the Swift API; S3 sees it as a bucket."""
    login = plain(
        server.endpoint, "GET", "/auth/v1.0", {"X-Auth-User": user, "X-Auth-Key": server.secret_key}
    )
    if login.status not in {200, 204}:
        raise RequestRefused(_refusal(f"Swift login of {user}", login))
    storage = urlsplit(login.headers["x-storage-url"]).path
    headers = {"X-Auth-Token": login.headers["x-auth-token"], "X-Storage-Policy": policy}
    answer = plain(server.endpoint, "PUT", f"{storage}/{container}", {**headers, "Content-Length": "0"})
    if answer.status not in {201, 202}:
        raise RequestRefused(_refusal(f"create container {container} with policy {policy}", answer))


def begin_upload(server: Server, bucket: str, key: str) -> str:
    """Begin a multipart upload; the answer is its id."""
    answer = call(server, "POST", canonical_path(bucket, key), "uploads=")
    body = answer.body.decode("utf-8", "replace")
    if answer.status != 200 or "<UploadId>" not in body:
        raise RequestRefused(_refusal(f"begin an upload of {key}", answer))
    return body.split("<UploadId>", 1)[1].split("</UploadId>", 1)[0]


def complete_upload(
    server: Server, bucket: str, key: str, upload_id: str, etags: Mapping[int, str]
) -> None:
    """Complete a multipart upload; etags: of each part, by part number less one."""
    parts = "".join(
        f"<Part><PartNumber>{index + 1}</PartNumber><ETag>{etags[index]}</ETag></Part>"
        for index in sorted(etags)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    query = canonical_query([("uploadId", upload_id)])
    answer = call(server, "POST", canonical_path(bucket, key), query, body)
    # The S3 API may answer 200 and tell of the failure in the body.
    if answer.status != 200 or b"<Error>" in answer.body:
        raise RequestRefused(_refusal(f"complete the upload of {key}", answer))


def try_write(server: Server, timeout_s: float) -> bool:
    """True once the server carries out a signed write; the bucket may exist."""
    try:
        status = call(server, "PUT", canonical_path(READY_BUCKET), timeout_s=timeout_s).status
    except (OSError, http.client.HTTPException):
        return False
    return status in {200, 409}


def _refusal(what: str, answer: Answer) -> str:
    return f"{what}: {answer.status} {answer.body[:300].decode('utf-8', 'replace')}"

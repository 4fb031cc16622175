"""Signed requests over a plain socket, for what clients do not send by themselves."""

import http.client
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Reply(NamedTuple):
    """An answer. code: of the error document, "" where there is none."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        if not self.body.startswith(b"<?xml"):
            return ""
        return ElementTree.fromstring(self.body).findtext("Code") or ""  # noqa: S314


def signed_headers(
    url: str,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    *,
    keys: tuple[str, str] = ("demo-key", "demo-secret"),
    payload: str = "UNSIGNED-PAYLOAD",
) -> dict[str, str]:
    """The headers of a request signed by SigV4. payload: what x-amz-content-sha256 says."""
    request = AWSRequest(method, url + target, {**(headers or {}), "X-Amz-Content-SHA256": payload})
    auth = S3SigV4Auth(Credentials(*keys), "s3", "us-east-1")
    auth.payload = lambda _request: payload
    auth.add_auth(request)
    return dict(request.headers.items())


class Wire:
    """One connection to an endpoint, kept open between requests."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self.connection = http.client.HTTPConnection(host, port, timeout=20)

    def __call__(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        signed: bool = True,
        keys: tuple[str, str] = ("demo-key", "demo-secret"),
        payload: str = "UNSIGNED-PAYLOAD",
    ) -> Reply:
        """Send a request whose target goes out as it is."""
        sent = dict(headers or {})
        if signed:
            sent = signed_headers(self.url, method, target, sent, keys=keys, payload=payload)
        self.connection.putrequest(method, target, skip_host="Host" in sent, skip_accept_encoding=True)
        if body is not None and "Content-Length" not in sent and "Transfer-Encoding" not in sent:
            sent["Content-Length"] = str(len(body))
        for name, value in sent.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()
        if body:
            self.connection.send(body)
        return self.reply()

    def reply(self) -> Reply:
        """The next answer."""
        response = self.connection.getresponse()
        return Reply(response.status, response.headers, response.read())

    def close(self) -> None:
        self.connection.close()


def path_of(bucket: str, key: str) -> str:
    """The target of an object, everything but slashes and unreserved characters encoded."""
    return f"/{bucket}/{quote(key, safe='/')}"

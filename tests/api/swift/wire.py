"""Swift requests over a plain socket, for what clients do not send by themselves."""

import http.client
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote


class Answer(NamedTuple):
    """A whole answer; headers by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection, one account. Header values are UTF-8, as Swift has them."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.account = "AUTH_demo"
        self.token = ""
        self._connection = http.client.HTTPConnection(host, port, timeout=20)

    def log_in(self, login: str, key: str) -> None:
        answer = self.raw("GET", "/auth/v1.0", {"X-Auth-User": login, "X-Auth-Key": key})
        assert answer.status == 200, answer
        self.token = answer.headers["x-auth-token"]
        self.account = answer.headers["x-storage-url"].rpartition("/")[2]

    def raw(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """One request with exactly this target; an iterable body goes out chunked."""
        chunked = body is not None and not isinstance(body, bytes)
        sent = {name: value.encode().decode("latin-1") for name, value in (headers or {}).items()}
        self._connection.request(method, target, body=body, headers=sent, encode_chunked=chunked)
        response = self._connection.getresponse()
        found = {
            name.lower(): value.encode("latin-1").decode() for name, value in response.getheaders()
        }
        return Answer(response.status, found, response.read())

    def __call__(
        self,
        method: str,
        path: str = "",
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """A request below the account, with the token. path: `container/object`, not encoded."""
        target = f"/v1/{self.account}" + (f"/{quote(path)}" if path else "")
        token = {"X-Auth-Token": self.token} if self.token else {}
        chunked = body is not None and not isinstance(body, bytes)
        extra = {"Transfer-Encoding": "chunked"} if chunked else {}
        return self.raw(
            method, target + (f"?{query}" if query else ""), {**token, **extra, **(headers or {})}, body
        )

    def close(self) -> None:
        self._connection.close()

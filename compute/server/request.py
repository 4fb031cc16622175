"""A request and its answer as plain data: what services work on, whatever serves them."""

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from compute.server.errors import BadRequest

Headers = CIMultiDict[str] | CIMultiDictProxy[str]
Query = MultiDict[str] | MultiDictProxy[str]


class Request(NamedTuple):
    """One request. path: decoded, below base. base: the URL up to the service, without a last slash.

    stream: the body as it comes, where the service takes it so; `body` is empty then. It raises
    ConnectionError where the client goes away before its end.
    """

    method: str
    path: str
    query: Query
    headers: Headers
    body: bytes
    base: str
    request_id: str
    stream: AsyncIterator[bytes] | None = None

    @property
    def query_text(self) -> str:
        """The query as it is written after a question mark."""
        return urlencode(list(self.query.items()))

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object. Raises BadRequest."""
        try:
            parsed = msgspec.json.decode(self.body) if self.body else {}
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest("Invalid json in request body") from error
        if not isinstance(parsed, dict):
            raise BadRequest("Invalid json in request body: an object is expected")
        return parsed


class Answer(NamedTuple):
    """What is sent back. body: encoded already; None for none.

    stream: sent instead of a body, as it comes; closed when all is sent or the client has gone away.
    Where the headers say no Content-Length, it goes out in chunks.
    """

    status: int
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    stream: AsyncIterator[bytes] | None = None


NO_CONTENT = Answer(HTTPStatus.NO_CONTENT)


def json_answer(
    body: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(body), headers or {})

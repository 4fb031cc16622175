"""A request and its answer as plain data: what services work on, whatever serves them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from compute.server.errors import BadRequest

Headers = CIMultiDict[str] | CIMultiDictProxy[str]
Query = MultiDict[str] | MultiDictProxy[str]


class Request(NamedTuple):
    """One request. path: decoded, below base. base: the URL up to the service, without a last slash."""

    method: str
    path: str
    query: Query
    headers: Headers
    body: bytes
    base: str
    request_id: str

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
    """What is sent back. body: encoded already; None for none."""

    status: int
    body: bytes | None = None
    headers: Mapping[str, str] = {}


NO_CONTENT = Answer(HTTPStatus.NO_CONTENT)


def json_answer(
    body: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, msgspec.json.encode(body), headers or {})

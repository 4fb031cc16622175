"""A Swift request as the verbs see it: decoded target, query, headers, and how to answer.

Pure parsing first (`parse_target`, `parse_query`), then `SwiftRequest`, which ties one HTTP request to
its caller and builds answers with the headers that every answer has. No store and no decisions here.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

from proxy.core.types import OBJECT_NAME_MAX_BYTES
from proxy.http import IncomingBody
from proxy.swift.access import Caller
from proxy.swift.errors import (
    BAD_NAME,
    CLIENT_GONE,
    SwiftError,
    bad_request,
    phrase,
    precondition_failed,
)

API_VERSIONS: Final = ("v1", "v1.0")
QUERY_PARAMETERS_MAX: Final = 100
DRAIN_MAX_BYTES: Final = 1024 * 1024
"""An unwanted body up to this long is read to its end, so that the connection stays good."""

TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=UTF-8"
EXPOSE: Final = "Access-Control-Expose-Headers"
_TRUE_WORDS: Final = frozenset(("true", "1", "yes", "on", "t", "y"))


class Target(NamedTuple):
    """What a request is about; an empty container or name means the level above."""

    account: str
    container: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        """`/container/object`, as manifests and reports name it."""
        return f"/{self.container}/{self.name}"


def decode(text: str) -> str:
    """Percent-decoded text. Raises SwiftError 412 for what is not UTF-8, or has a NUL."""
    raw = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise precondition_failed(BAD_NAME) from error
    if "\0" in decoded:
        raise precondition_failed(BAD_NAME)
    return decoded


def parse_target(raw_path: str) -> Target:
    """The target of `/v1/account[/container[/object]]`, decoded before it is split, as Swift does.

    An object's name keeps every slash after the container's. Raises SwiftError: 412 for bad UTF-8 or
    NUL, 400 for another API version, 404 where a middle part is empty.
    """
    parts = [*decode(raw_path).split("/", 4), "", "", "", ""]
    _, version, account, container, name = parts[:5]
    if version not in API_VERSIONS:
        raise bad_request("Unknown API version")
    if not account or (name and not container):
        raise SwiftError(404)
    return Target(account, container, name)


def check_object_name(name: str) -> None:
    """Raises SwiftError 400 for a name that is too long."""
    if (size := len(name.encode())) > OBJECT_NAME_MAX_BYTES:
        raise bad_request(f"Object name length of {size} longer than {OBJECT_NAME_MAX_BYTES}")


def parse_query(raw_query: str) -> dict[str, str]:
    """The query's parameters; of a repeated one the first counts, one without `=` is empty.

    Raises SwiftError 400 for a parameter that is not UTF-8, or for too many of them.
    """
    parts = [part for part in raw_query.split("&") if part]
    if len(parts) > QUERY_PARAMETERS_MAX:
        raise bad_request("Too many query parameters")
    query: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        query.setdefault(_form_decode(name, name), _form_decode(value, name))
    return query


def _form_decode(text: str, name: str) -> str:
    raw = unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape"))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = quote(name, errors="surrogateescape")
        raise bad_request(f'"{shown}" parameter not valid UTF-8') from error


def is_true(value: str) -> bool:
    """Swift's reading of a boolean in a header or parameter."""
    return value.strip().lower() in _TRUE_WORDS


def must_close(http: web.BaseRequest) -> bool:
    """True where what is left of the request's body spoils the connection for the next request.

    A client that was not told to continue may send its body after all, or not; a long body is not
    worth reading to its end.
    """
    if http.content.is_eof():
        return False
    length = http.headers.get("Content-Length")
    return "Expect" in http.headers or length is None or int(length) > DRAIN_MAX_BYTES


class SwiftRequest:
    """One request under /v1/. common: headers that go on every answer (transaction id, CORS)."""

    __slots__ = ("caller", "common", "http", "now_ns", "query", "target")

    def __init__(
        self,
        http: web.BaseRequest,
        *,
        caller: Caller,
        target: Target,
        query: dict[str, str],
        now_ns: int,
        common: dict[str, str],
    ) -> None:
        self.http = http
        self.caller = caller
        self.target = target
        self.query = query
        self.now_ns = now_ns
        self.common = common

    @property
    def method(self) -> str:
        """The method in capitals."""
        return self.http.method

    @property
    def now_s(self) -> int:
        """Unix seconds at which the request was taken up."""
        return self.now_ns // 1_000_000_000

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, whatever their case."""
        return self.http.headers

    def header(self, name: str) -> str:
        """A header's value, "" where it is absent."""
        return self.http.headers.get(name, "")

    def flag(self, name: str) -> bool:
        """True where a header says yes."""
        return is_true(self.header(name))

    def body(self) -> IncomingBody:
        """The request's body; to be asked for once."""
        return IncomingBody(self.http)

    def answer_headers(self, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        """The common headers with `headers` over them, safe to send; a page of another origin may
        read the user metadata among them."""
        own = {name: safe_value(text) for name, text in (headers or {}).items()}
        exposed = self.common.get(EXPOSE)
        if exposed is None:
            return {**self.common, **own}
        meta = [name.lower() for name in own if "-meta-" in name.lower()]
        return {**self.common, EXPOSE: ", ".join([exposed, *meta]), **own}

    def answer(
        self,
        status: int,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        content_type: str = HTML,
    ) -> web.Response:
        """A whole answer. HEAD gets the headers of the same answer without its body."""
        return make_response(self.http, status, body, self.answer_headers(headers), content_type)


def make_response(
    http: web.BaseRequest,
    status: int,
    body: bytes | str,
    headers: Mapping[str, str],
    content_type: str,
) -> web.Response:
    """A response; where the request's body is left unread it may close the connection."""
    data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
    reason = phrase(status) if status == CLIENT_GONE else None
    response = web.Response(
        status=status, reason=reason, body=data, headers={"Content-Type": content_type, **headers}
    )
    if must_close(http):
        response.force_close()
    return response


def error_response(http: web.BaseRequest, error: SwiftError, common: Mapping[str, str]) -> web.Response:
    """The answer to a refused request; 304 and errors without a text carry the status' phrase."""
    body = "" if error.status == 304 else (error.text or phrase(error.status)) + "\n"
    return make_response(http, error.status, body, {**common, **error.headers}, TEXT)


def safe_value(text: str) -> str:
    """A header value without control characters (metadata that came through another API may hold
    them): those are percent-encoded, and lone surrogates as well."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else quote(char, errors="surrogateescape") for char in text
    )

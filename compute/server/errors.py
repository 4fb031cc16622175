"""What a service refuses a request with. Each service writes it in its own form."""

from collections.abc import Mapping
from http import HTTPStatus


class ApiError(Exception):
    """A refusal with its status. message: for the client, as upstream words it."""

    status = 500

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})

    @property
    def title(self) -> str:
        """The reason phrase."""
        return HTTPStatus(self.status).phrase


class BadRequest(ApiError):
    """The request can't be understood or makes no sense."""

    status = 400


class Unauthorized(ApiError):
    """Who asks is not known."""

    status = 401


class Forbidden(ApiError):
    """Who asks may not."""

    status = 403


class NotFound(ApiError):
    """There is no such thing, or the caller must not know of it."""

    status = 404


class MethodNotAllowed(ApiError):
    """The path exists, the method does not."""

    status = 405


class Conflict(ApiError):
    """What is there already stands against it."""

    status = 409


class TooLarge(ApiError):
    """The body is larger than a service takes."""

    status = 413


class Absent(ApiError):
    """Of the API, but not of this server."""

    status = 501


class Unavailable(ApiError):
    """Something that is needed is away for now."""

    status = 503

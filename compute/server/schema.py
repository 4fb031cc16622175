"""JSON schemas on bodies: compiled once, and what is wrong said in one sentence."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from compute.server.errors import BadRequest

SAID_CHARS_MAX: Final = 200

STRING: Final[dict[str, Any]] = {"type": "string"}
TEXT_OR_NULL: Final[dict[str, Any]] = {"type": ["string", "null"]}
BOOLEAN: Final[dict[str, Any]] = {"type": "boolean", "enum": [True, False]}
NAME: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"[\S]+"}
ID: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "pattern": r"^[a-zA-Z0-9-]+$",
}
ID_OR_NULL: Final[dict[str, Any]] = {**ID, "type": ["string", "null"]}
URL: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 2048,
    "pattern": r"^[a-zA-Z][a-zA-Z0-9+.-]*://\S+$",
}


def object_of(
    properties: Mapping[str, Any], required: Iterable[str] = (), *, more: bool = True, least: int = 0
) -> dict[str, Any]:
    """The schema of an object. more: other attributes are taken; least: so many at least."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": more,
        "minProperties": least,
    }


class Schema:
    """A schema that bodies are checked against."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        Draft202012Validator.check_schema(schema)
        self._validator = Draft202012Validator(schema)

    def check(self, value: Any) -> None:
        """Raises BadRequest with the first thing that is wrong."""
        error = best_match(self._validator.iter_errors(value))
        if error is None:
            return
        reason = error.message
        if len(reason) > SAID_CHARS_MAX:  # it quotes the value, whatever its size
            reason = f"{reason[:SAID_CHARS_MAX]}…"
        if error.path:
            field = ".".join(str(part) for part in error.path)
            raise BadRequest(f"Invalid input for field '{field}': {reason}")
        raise BadRequest(reason)

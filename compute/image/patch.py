"""JSON patches as Glance takes them: two dialects, one operation on one attribute each. Pure."""

import re
from typing import Any, Final, NamedTuple

from compute.image.schemas import IMAGE_BODY
from compute.server.errors import BadRequest, Forbidden

DIALECTS: Final = {
    "application/openstack-images-v2.0-json-patch": 4,
    "application/openstack-images-v2.1-json-patch": 10,
}
READ_ONLY: Final = frozenset(
    {
        "created_at",
        "updated_at",
        "status",
        "checksum",
        "size",
        "virtual_size",
        "direct_url",
        "self",
        "file",
        "schema",
        "id",
        "os_hash_algo",
        "os_hash_value",
        "stores",
    }
)
RESERVED: Final = frozenset({"location", "deleted", "deleted_at"})
RESERVED_PREFIX: Final = "os_glance"
_OPERATIONS: Final = ("add", "remove", "replace")
_ONE: Final = 'named "add", "remove", or "replace".'


class Change(NamedTuple):
    """One operation: add, remove or replace. value: None for remove. at: a place among locations."""

    operation: str
    name: str
    value: Any
    at: str = ""


def changes(body: Any, dialect: int, *, shows_locations: bool) -> list[Change]:
    """What a patch says. Raises BadRequest, Forbidden."""
    if not isinstance(body, list):
        raise BadRequest("Request body must be a JSON array of operation objects.")
    return [_change(each, dialect, shows_locations) for each in body]


def _change(raw: Any, dialect: int, shows_locations: bool) -> Change:
    if not isinstance(raw, dict):
        raise BadRequest("Operations must be JSON objects.")
    operation, pointer = _operation(raw, dialect)
    path = _decoded(pointer)
    if path[0] == "locations" and not shows_locations:
        raise Forbidden(f"It's not allowed to {operation} locations if locations are invisible.")
    if len(path) != (2 if path[0] == "locations" and operation != "replace" else 1):
        raise BadRequest(f"Invalid JSON pointer for this resource: '/{'/'.join(path)}'")
    value = None
    if operation != "remove":
        if "value" not in raw:
            raise BadRequest(f'Operation "{operation}" requires a member named "value".')
        value = raw["value"]
    check_name(path[0], READ_ONLY)
    if operation != "remove":
        several = path[0] == "locations" and operation == "add"
        IMAGE_BODY.check({path[0]: [value] if several else value})
    return Change(operation, path[0], value, *path[1:])


def check_name(name: str, read_only: frozenset[str]) -> None:
    """Whether a client may set an attribute. Raises Forbidden, BadRequest."""
    if name in read_only:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")
    if len(name) > 255:
        raise BadRequest("Custom property should not be greater than 255 characters.")


def _operation(raw: dict[str, Any], dialect: int) -> tuple[str, Any]:
    if dialect == 4:
        said = [name for name in _OPERATIONS if name in raw]
        if len(said) != 1:
            how = "only" if said else "exactly"
            raise BadRequest(f"Operation objects must contain {how} one member {_ONE}")
        return said[0], raw[said[0]]
    operation = raw.get("op")
    known = ", ".join(_OPERATIONS)
    if operation is None:
        raise BadRequest(
            f"Unable to find `op` in JSON Schema change. It must be one of the following: {known}."
        )
    if operation not in _OPERATIONS:
        raise BadRequest(f"Invalid operation: `{operation}`. It must be one of the following: {known}.")
    if "path" not in raw:
        raise BadRequest("Unable to find 'path' in JSON Schema change")
    return operation, raw["path"]


def _decoded(pointer: Any) -> list[str]:
    """The parts of a JSON pointer. Raises BadRequest."""
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise BadRequest(f'Pointer `{pointer}` does not start with "/".')
    if re.search(r"/\s*?/", pointer[1:]):
        raise BadRequest(f'Pointer `{pointer}` contains adjacent "/".')
    if pointer.endswith("/"):
        raise BadRequest(f'Pointer `{pointer}` end with "/".')
    if re.search("~[^01]", pointer) or pointer.endswith("~"):
        raise BadRequest(f'Pointer `{pointer}` contains "~" not part of a recognized escape sequence.')
    return [part.replace("~1", "/").replace("~0", "~").strip() for part in pointer[1:].split("/")]

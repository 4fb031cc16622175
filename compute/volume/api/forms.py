"""Parts of the schemas of bodies, as upstream has them: what is text, truth, a name, a set of specs."""

from typing import Any, Final

Form = dict[str, Any]

PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"

NAME: Final[Form] = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}
NAME_OR_NULL: Final[Form] = {"type": ["string", "null"], "minLength": 0, "maxLength": 255}
NEW_NAME_OR_NULL: Final[Form] = {"type": ["string", "null"], "minLength": 1, "maxLength": 255}
DESCRIPTION: Final[Form] = {
    "type": ["string", "null"],
    "minLength": 0,
    "maxLength": 255,
    "pattern": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$",
}
TRUTH: Final[Form] = {
    "type": ["boolean", "string"],
    "enum": [
        *(True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t"),
        *(False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f"),
    ],
}
UUID: Final[Form] = {
    "type": "string",
    "pattern": r"^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$",
}
HOST: Final[Form] = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9-._#@:/+\[\]]*$",
}


def specs(keys: str, *types: str, **more: Any) -> Form:
    """An object of texts. keys: the pattern of its names."""
    value = {"type": list(types), "maxLength": 255}
    return {
        "type": "object",
        "patternProperties": {keys: value},
        "additionalProperties": False,
        **more,
    }


SPECS: Final = specs(r"^[a-zA-Z0-9-_:. /]{1,255}$", "string", "null")
"""Keys may have spaces."""
PLAIN_SPECS: Final = specs(r"^[a-zA-Z0-9-_:.]{1,255}$", "string", "null")
ONE_PLAIN_SPEC: Final = specs(
    r"^[a-zA-Z0-9-_:.]{1,255}$", "string", "null", minProperties=1, maxProperties=1
)


def within(name: str, properties: Form, *required: str, more: bool = False, **also: Any) -> Form:
    """A body that holds one object under a name, and nothing else."""
    inner = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": more,
        **also,
    }
    return {
        "type": "object",
        "properties": {name: inner},
        "required": [name],
        "additionalProperties": False,
    }

"""Schemas of bodies, which are served under /v2/schemas/metadefs, too."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from compute.server.errors import BadRequest
from compute.server.schema import Schema

_TYPES: Final = ["array", "boolean", "integer", "number", "object", "string", None]
_STRING: Final[dict[str, Any]] = {"type": "string"}
_NAME: Final[dict[str, Any]] = {"type": "string", "maxLength": 80}
_COUNT: Final[dict[str, Any]] = {"$ref": "#/definitions/positiveInteger"}
_COUNT_OR_0: Final[dict[str, Any]] = {"$ref": "#/definitions/positiveIntegerDefault0"}
_STRINGS: Final[dict[str, Any]] = {"$ref": "#/definitions/stringArray"}
_PROPERTIES: Final[dict[str, Any]] = {"$ref": "#/definitions/property"}

_PROPERTY: Final[dict[str, Any]] = {
    "name": _NAME,
    "title": _STRING,
    "description": _STRING,
    "operators": {"type": "array", "items": _STRING},
    "type": {"type": "string", "enum": _TYPES},
    "required": _STRINGS,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "maxLength": _COUNT,
    "minLength": _COUNT_OR_0,
    "pattern": {"type": "string", "format": "regex"},
    "enum": {"type": "array"},
    "readonly": {"type": "boolean"},
    "default": {},
    "items": {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": _TYPES}, "enum": {"type": "array"}},
    },
    "maxItems": _COUNT,
    "minItems": _COUNT_OR_0,
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": {"type": "boolean"},
}
_DEFINITIONS: Final[dict[str, Any]] = {
    "positiveInteger": {"type": "integer", "minimum": 0},
    "positiveIntegerDefault0": {"allOf": [_COUNT, {"default": 0}]},
    "stringArray": {"type": "array", "items": _STRING, "uniqueItems": True},
    "property": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["title", "type"],
            "properties": _PROPERTY,
        },
    },
}


def _dated(noun: str) -> dict[str, Any]:
    """The instants, which no body may set."""
    return {
        f"{verb}_at": {
            "type": "string",
            "readOnly": True,
            "description": f"When the {noun} was {verb}",
            "format": "date-time",
        }
        for verb in ("created", "updated")
    }


_LINKS: Final[dict[str, Any]] = {
    name: {"type": "string", "readOnly": True} for name in ("schema", "self")
}


def _object(*names: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**dict.fromkeys(names, _STRING), **properties}}


NAMESPACE: Final[dict[str, Any]] = {
    "name": "namespace",
    "properties": {
        "namespace": {**_NAME, "description": "The name, unique among all"},
        "display_name": {**_NAME, "description": "A name for people"},
        "description": {"type": "string", "maxLength": 500},
        "visibility": {"type": "string", "enum": ["public", "private"]},
        "protected": {"type": "boolean", "description": "Whether it can't be deleted"},
        "owner": {"type": "string", "maxLength": 255},
        **_dated("namespace"),
        **_LINKS,
        "resource_type_associations": {
            "type": "array",
            "items": _object("name", "prefix", "properties_target"),
        },
        "properties": _PROPERTIES,
        "objects": {
            "type": "array",
            "items": _object("name", "description", required=_STRINGS, properties=_PROPERTIES),
        },
        "tags": {"type": "array", "items": _object("name")},
    },
    "additionalProperties": False,
    "definitions": _DEFINITIONS,
    "required": ["namespace"],
}
OBJECT: Final[dict[str, Any]] = {
    "name": "object",
    "properties": {
        "name": _NAME,
        "description": _STRING,
        "required": _STRINGS,
        "properties": _PROPERTIES,
        **_LINKS,
        **_dated("object"),
    },
    "additionalProperties": False,
    "definitions": _DEFINITIONS,
    "required": ["name"],
}
PROPERTY: Final[dict[str, Any]] = {
    "name": "property",
    "properties": _PROPERTY,
    "additionalProperties": False,
    "definitions": {
        **{name: _DEFINITIONS[name] for name in ("positiveInteger", "positiveIntegerDefault0")},
        "stringArray": {**_DEFINITIONS["stringArray"], "minItems": 1},
    },
    "required": ["type", "title", "name"],
}
_NAMELESS: Final = {**PROPERTY, "required": ["type", "title"]}
TAG: Final[dict[str, Any]] = {
    "name": "tag",
    "properties": {"name": _NAME, **_dated("tag")},
    "additionalProperties": False,
    "required": ["name"],
}
TAGS: Final[dict[str, Any]] = {
    "name": "tags",
    "properties": {
        "tags": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": _NAME},
                "required": ["name"],
                "additionalProperties": False,
            },
        }
    },
    "additionalProperties": False,
    "required": ["tags"],
}
ASSOCIATION: Final[dict[str, Any]] = {
    "name": "resource_type_association",
    "properties": {
        "name": _NAME,
        "prefix": {**_NAME, "description": "What properties' names begin with, with its separator"},
        "properties_target": {**_NAME, "description": "Which of a resource's sets of properties"},
        **_dated("association"),
    },
    "additionalProperties": False,
    "required": ["name"],
}


def _collection(name: str, item: Mapping[str, Any], *, by_name: bool = False) -> dict[str, Any]:
    bare = {key: value for key, value in item.items() if key != "definitions"}
    items = (
        {"type": "object", "additionalProperties": bare}
        if by_name
        else {"type": "array", "items": bare}
    )
    schema: dict[str, Any] = {
        "name": name,
        "properties": {
            name: items,
            "first": _STRING,
            "next": _STRING,
            "schema": _STRING,
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }
    return {**schema, "definitions": item["definitions"]} if "definitions" in item else schema


SERVED: Final[dict[str, dict[str, Any]]] = {
    "namespace": NAMESPACE,
    "namespaces": _collection("namespaces", NAMESPACE),
    "resource_type": ASSOCIATION,
    "resource_types": _collection("resource_type_associations", ASSOCIATION),
    "object": OBJECT,
    "objects": _collection("objects", OBJECT),
    "property": PROPERTY,
    "properties": _collection("properties", _NAMELESS, by_name=True),
    "tag": TAG,
    "tags": _collection("tags", TAG),
}
"""By their names in the path."""


class Body(Schema):
    """A body's schema. Its refusals name it, as upstream's do."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        super().__init__(copy.deepcopy({"type": "object", **schema}))
        self._name = schema["name"]

    def check(self, value: Any) -> None:
        """Raises BadRequest."""
        try:
            super().check(value)
        except BadRequest as error:
            raise BadRequest(
                f"Provided object does not match schema '{self._name}': {error.message}"
            ) from error


NAMESPACE_BODY: Final = Body(NAMESPACE)
OBJECT_BODY: Final = Body(OBJECT)
PROPERTY_BODY: Final = Body(PROPERTY)
NAMELESS_PROPERTY_BODY: Final = Body(_NAMELESS)
TAG_BODY: Final = Body(TAG)
TAGS_BODY: Final = Body(TAGS)
ASSOCIATION_BODY: Final = Body(ASSOCIATION)

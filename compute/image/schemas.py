"""Schemas of images, which are served under /v2/schemas, too."""

from typing import Any, Final

from compute.image.metadefs.schemas import Body

DISK_FORMATS: Final = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso")
CONTAINER_FORMATS: Final = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
VISIBILITIES: Final = ("community", "public", "private", "shared")
STATUSES: Final = (
    "queued",
    "saving",
    "active",
    "killed",
    "deleted",
    "uploading",
    "importing",
    "pending_delete",
    "deactivated",
)
_READ: Final[dict[str, Any]] = {"type": "string", "readOnly": True}
_READ_OR_NULL: Final[dict[str, Any]] = {"type": ["null", "string"], "readOnly": True}
_SIZE: Final[dict[str, Any]] = {"type": ["null", "integer"], "readOnly": True}
_LIMIT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}

PROPERTIES: Final[dict[str, Any]] = {
    "id": {
        "type": "string",
        "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    },
    "name": {"type": ["null", "string"], "maxLength": 255},
    "status": {**_READ, "enum": list(STATUSES)},
    "visibility": {"type": "string", "enum": list(VISIBILITIES)},
    "protected": {"type": "boolean"},
    "os_hidden": {"type": "boolean"},
    "checksum": {**_READ_OR_NULL, "maxLength": 32},
    "os_hash_algo": {**_READ_OR_NULL, "maxLength": 64},
    "os_hash_value": {**_READ_OR_NULL, "maxLength": 128},
    "owner": {"type": ["null", "string"], "maxLength": 255},
    "size": _SIZE,
    "virtual_size": _SIZE,
    "container_format": {"type": ["null", "string"], "enum": [None, *CONTAINER_FORMATS]},
    "disk_format": {"type": ["null", "string"], "enum": [None, *DISK_FORMATS]},
    "created_at": _READ,
    "updated_at": _READ,
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    "direct_url": _READ,
    "min_ram": {**_LIMIT, "description": "MiB of memory that a server with it needs"},
    "min_disk": {**_LIMIT, "description": "GiB of disk that a server with it needs"},
    "self": _READ,
    "file": _READ,
    "stores": _READ,
    "schema": _READ,
    "locations": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"url": {"type": "string", "maxLength": 255}, "metadata": {"type": "object"}},
            "required": ["url", "metadata"],
        },
    },
}
BASE: Final = frozenset(PROPERTIES)
IMAGE: Final[dict[str, Any]] = {
    "name": "image",
    "properties": PROPERTIES,
    "additionalProperties": {"type": "string"},
    "links": [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}
MEMBER: Final[dict[str, Any]] = {
    "name": "member",
    "properties": {
        "created_at": {"type": "string"},
        "updated_at": {"type": "string"},
        "image_id": {"type": "string", "pattern": PROPERTIES["id"]["pattern"]},
        "member_id": {"type": "string"},
        "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
        "schema": _READ,
    },
}
TASK: Final[dict[str, Any]] = {
    "name": "task",
    "properties": {
        "id": {"type": "string", "pattern": PROPERTIES["id"]["pattern"]},
        "type": {"type": "string", "enum": ["import", "export", "clone", "api_image_import"]},
        "status": {"type": "string", "enum": ["pending", "processing", "success", "failure"]},
        "input": {"type": ["null", "object"]},
        "result": {"type": ["null", "object"]},
        "owner": {"type": "string"},
        "message": {"type": ["null", "string"]},
        "image_id": {"type": ["null", "string"]},
        "request_id": {"type": ["null", "string"]},
        "user_id": {"type": ["null", "string"]},
        "expires_at": {"type": ["null", "string"]},
        "created_at": {"type": "string"},
        "updated_at": {"type": "string"},
        "self": _READ,
        "schema": _READ,
    },
}


def _collection(name: str, item: dict[str, Any], *, paged: bool = False) -> dict[str, Any]:
    more = {"first": {"type": "string"}, "next": {"type": "string"}} if paged else {}
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            **more,
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    }


SERVED: Final = {
    "image": IMAGE,
    "images": _collection("images", IMAGE, paged=True),
    "member": MEMBER,
    "members": _collection("members", MEMBER),
    "task": TASK,
    "tasks": _collection("tasks", TASK, paged=True),
}
IMAGE_BODY: Final = Body(IMAGE)

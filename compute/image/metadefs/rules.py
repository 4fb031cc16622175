"""Rules of metadefs, with Glance's names and defaults; `context_is_admin` is the image service's."""

from typing import Final

from compute.policy.enforcer import Rule

_ADMIN: Final = "rule:context_is_admin"
_READER: Final = f"{_ADMIN} or (role:reader and project_id:%(project_id)s)"
_NAMESPACE_READER: Final = (
    f"{_ADMIN} or (role:reader and (project_id:%(project_id)s or 'public':%(visibility)s))"
)
_READ: Final = (
    "get_metadef_namespace",
    "get_metadef_object",
    "get_metadef_objects",
    "list_metadef_resource_types",
    "get_metadef_resource_type",
    "get_metadef_property",
    "get_metadef_properties",
    "get_metadef_tag",
    "get_metadef_tags",
)
_CHANGE: Final = (
    "modify_metadef_namespace",
    "add_metadef_namespace",
    "delete_metadef_namespace",
    "modify_metadef_object",
    "add_metadef_object",
    "delete_metadef_object",
    "add_metadef_resource_type_association",
    "remove_metadef_resource_type_association",
    "modify_metadef_property",
    "add_metadef_property",
    "remove_metadef_property",
    "modify_metadef_tag",
    "add_metadef_tag",
    "add_metadef_tags",
    "delete_metadef_tag",
    "delete_metadef_tags",
)

RULES: Final = [
    Rule("metadef_default", ""),
    Rule("metadef_admin", _ADMIN),
    Rule("get_metadef_namespaces", _READER, ("project",)),
    *(Rule(name, _NAMESPACE_READER, ("project",)) for name in _READ),
    *(Rule(name, "rule:metadef_admin", ("project",)) for name in _CHANGE),
]

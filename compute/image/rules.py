"""Rules of images, with Glance's names and defaults."""

from typing import Final

from compute.image.metadefs.rules import RULES as METADEF_RULES
from compute.policy.enforcer import Rule

_ADMIN: Final = "rule:context_is_admin"
_IS_MEMBER: Final = "project_id:%(member_id)s"
_ANYONES: Final = (
    f"{_IS_MEMBER} or 'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s"
)
_MEMBER: Final = f"{_ADMIN} or (role:member and project_id:%(project_id)s)"
_READER: Final = f"{_ADMIN} or (role:reader and project_id:%(project_id)s)"
_GET: Final = f"{_ADMIN} or (role:reader and (project_id:%(project_id)s or {_ANYONES}))"
_DOWNLOAD: Final = f"{_ADMIN} or (role:member and (project_id:%(project_id)s or {_ANYONES}))"
_CREATE: Final = f"{_ADMIN} or (role:member and project_id:%(project_id)s and project_id:%(owner)s)"
_SHARED_READER: Final = f"{_ADMIN} or role:reader and (project_id:%(project_id)s or {_IS_MEMBER})"
_PROJECT: Final = ("project",)

RULES: Final = [
    Rule("default", ""),
    Rule("context_is_admin", "role:admin"),
    Rule("service_api", "role:service or role:admin"),
    Rule("add_image", _CREATE, _PROJECT),
    Rule("delete_image", _MEMBER, _PROJECT),
    Rule("get_image", _GET, _PROJECT),
    Rule("get_images", _READER, _PROJECT),
    Rule("modify_image", _MEMBER, _PROJECT),
    Rule("publicize_image", _ADMIN, _PROJECT),
    Rule("communitize_image", _MEMBER, _PROJECT),
    Rule("download_image", _DOWNLOAD, _PROJECT),
    Rule("upload_image", _MEMBER, _PROJECT),
    Rule("delete_image_location", _ADMIN, _PROJECT),
    Rule("get_image_location", _READER, _PROJECT),
    Rule("set_image_location", _MEMBER, _PROJECT),
    Rule("add_member", _MEMBER, _PROJECT),
    Rule("delete_member", _MEMBER, _PROJECT),
    Rule("get_member", _SHARED_READER, _PROJECT),
    Rule("get_members", _SHARED_READER, _PROJECT),
    Rule("modify_member", f"{_ADMIN} or (role:member and {_IS_MEMBER})", _PROJECT),
    Rule("deactivate", _MEMBER, _PROJECT),
    Rule("reactivate", _MEMBER, _PROJECT),
    Rule("copy_image", _ADMIN, _PROJECT),
    Rule("get_tasks", "rule:default", _PROJECT),
    Rule("add_task", "rule:default", _PROJECT),
    Rule("modify_task", "rule:default", _PROJECT),
    Rule("tasks_api_access", _ADMIN, _PROJECT),
    Rule("stores_info_detail", f"{_ADMIN} or rule:service_api", _PROJECT),
    Rule("cache_image", _ADMIN, _PROJECT),
    Rule("cache_list", _ADMIN, _PROJECT),
    Rule("cache_delete", _ADMIN, _PROJECT),
    *METADEF_RULES,
]

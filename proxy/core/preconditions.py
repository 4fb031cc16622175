"""Conditions of reads and writes, evaluated on an object's head (RFC 9110, section 13.2.2)."""

from proxy.core.errors import NoSuchObject, PreconditionFailed
from proxy.core.types import Conditions, ObjectHead


def _matches(etags: tuple[str, ...], head: ObjectHead | None) -> bool:
    return head is not None and ("*" in etags or head.etag in etags)


def check_write(conditions: Conditions, head: ObjectHead | None) -> None:
    """Raises PreconditionFailed, or NoSuchObject for an If-Match on an object that is not there."""
    if conditions.if_match:
        if head is None:
            raise NoSuchObject("if-match")
        if not _matches(conditions.if_match, head):
            raise PreconditionFailed("If-Match")
    if conditions.if_none_match and _matches(conditions.if_none_match, head):
        raise PreconditionFailed("If-None-Match")
    since = conditions.if_unmodified_since_s
    if since is None or conditions.if_match or head is None:
        return
    if head.modified_ns // 10**9 > since:
        raise PreconditionFailed("If-Unmodified-Since")


def check_copy_source(conditions: Conditions, head: ObjectHead) -> None:
    """Conditions on a copy's source: every failure is PreconditionFailed (S3's CopyObject page)."""
    modified_s = head.modified_ns // 10**9
    if conditions.if_match:
        if not _matches(conditions.if_match, head):
            raise PreconditionFailed("x-amz-copy-source-If-Match")
    elif conditions.if_unmodified_since_s is not None and modified_s > conditions.if_unmodified_since_s:
        raise PreconditionFailed("x-amz-copy-source-If-Unmodified-Since")
    if conditions.if_none_match:
        if _matches(conditions.if_none_match, head):
            raise PreconditionFailed("x-amz-copy-source-If-None-Match")
    elif conditions.if_modified_since_s is not None and modified_s <= conditions.if_modified_since_s:
        raise PreconditionFailed("x-amz-copy-source-If-Modified-Since")


def any_condition(conditions: Conditions) -> bool:
    """Whether a write must be a conditional one."""
    return bool(
        conditions.if_match or conditions.if_none_match or conditions.if_unmodified_since_s is not None
    )

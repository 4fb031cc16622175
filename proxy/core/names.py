"""Limits of names and metadata, checked before anything is written."""

from typing import Final

from proxy.core.errors import InvalidName, MetadataTooLarge, NameTooLong
from proxy.core.types import (
    CONTAINER_NAME_MAX_BYTES,
    META_MAX_BYTES,
    OBJECT_NAME_MAX_BYTES,
    ObjectAttributes,
)

ACCOUNT_NAME_MAX_BYTES: Final = 256


def _checked(kind: str, name: str, max_bytes: int) -> bytes:
    try:
        raw = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidName(f"{kind} name is not UTF-8") from error
    if not raw:
        raise InvalidName(f"{kind} name is empty")
    if len(raw) > max_bytes:
        raise NameTooLong(len(raw), max_bytes)
    if b"\0" in raw:
        raise InvalidName(f"{kind} name has a NUL")
    return raw


def container_name(name: str) -> bytes:
    """The name as bytes. Raises InvalidName, NameTooLong."""
    raw = _checked("container", name, CONTAINER_NAME_MAX_BYTES)
    if b"/" in raw:
        raise InvalidName("container name has a slash")
    return raw


def object_name(name: str) -> bytes:
    """The name as bytes; any UTF-8 but NUL is welcome. Raises InvalidName, NameTooLong."""
    return _checked("object", name, OBJECT_NAME_MAX_BYTES)


def check_meta(*groups: dict[str, str]) -> None:
    """Raises MetadataTooLarge where names and values together exceed their limit."""
    size = sum(
        len(name.encode()) + len(value.encode()) for group in groups for name, value in group.items()
    )
    if size > META_MAX_BYTES:
        raise MetadataTooLarge(f"{size} bytes, at most {META_MAX_BYTES}")


def check_attributes(attributes: ObjectAttributes) -> None:
    """Raises MetadataTooLarge."""
    if attributes.meta or attributes.headers:
        check_meta(attributes.meta, attributes.headers, {"content-type": attributes.content_type})


def merged(old: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    """`old` with `changes` made; an empty value removes."""
    return {name: value for name, value in {**old, **changes}.items() if value}

"""An image as the API shows it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.image.metadefs.call import instant
from compute.image.models import Image, ImageCopy, ImageMember, ImageProperty, ImageTag

IMPORTING: Final = "os_glance_importing_to_stores"
FAILED: Final = "os_glance_failed_import"


def views(
    session: Session, images: Sequence[Image], readable: Callable[[str], bool]
) -> list[dict[str, Any]]:
    """Images with what is said of them, with three queries whatever their number.

    readable: whether the caller may read a property of this name.
    """
    ids = [image.id for image in images]
    tags: dict[str, list[str]] = {}
    properties: dict[str, dict[str, str]] = {}
    stores: dict[str, list[str]] = {}
    for tag in _of(session, ImageTag, ids):
        tags.setdefault(tag.image_id, []).append(tag.name)
    for each in _of(session, ImageProperty, ids):
        if not readable(each.name):
            continue
        properties.setdefault(each.image_id, {})[each.name] = each.value
    copies = select(ImageCopy.image_id, ImageCopy.store).where(ImageCopy.image_id.in_(ids))
    for ident, store in session.execute(copies.order_by(ImageCopy.created_us, ImageCopy.store)):
        stores.setdefault(ident, []).append(store)
    return [
        _view(each, tags.get(each.id, []), properties.get(each.id, {}), stores.get(each.id, []))
        for each in images
    ]


def location_of(copy: ImageCopy) -> dict[str, Any]:
    """One store's bytes, by a URL that this service alone can read."""
    return {"url": f"atoll://{copy.store}/{copy.prefix.rstrip('/')}", "metadata": {"store": copy.store}}


def copies_of(session: Session, ids: Sequence[str]) -> dict[str, list[ImageCopy]]:
    """Where images' bytes are, by the images' ids, the first copy first."""
    query = select(ImageCopy).where(ImageCopy.image_id.in_(ids))
    found: dict[str, list[ImageCopy]] = {}
    for copy in session.scalars(query.order_by(ImageCopy.created_us, ImageCopy.store)):
        found.setdefault(copy.image_id, []).append(copy)
    return found


def _of(session: Session, model: Any, ids: list[str]) -> Iterable[Any]:
    return session.scalars(select(model).where(model.image_id.in_(ids)).order_by(model.name))


def _view(
    image: Image, tags: list[str], properties: dict[str, str], stores: list[str]
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        **properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size_bytes,
        "virtual_size": image.virtual_size_bytes,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "protected": image.protected,
        "os_hidden": image.os_hidden,
        "tags": tags,
        "created_at": instant(image.created_us),
        "updated_at": instant(image.updated_us),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }
    if stores:
        shown["stores"] = ",".join(stores)
    if image.importing_to is not None:
        shown[IMPORTING] = image.importing_to
    if image.failed_stores is not None:
        shown[FAILED] = image.failed_stores
    return shown


def member_view(member: ImageMember) -> dict[str, Any]:
    """A member of an image."""
    return {
        "image_id": member.image_id,
        "member_id": member.member_id,
        "status": member.status,
        "created_at": instant(member.created_us),
        "updated_at": instant(member.updated_us),
        "schema": "/v2/schemas/member",
    }

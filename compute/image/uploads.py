"""An image's bytes are written: the row says who does it, then the objects, then the row is final.

Each step that fails leaves an effort without a host, which the sweeper ends, and an image as it was.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from compute.image.call import ROOM, Images
from compute.image.formats.inspect import Inspector
from compute.image.models import Effort, Image, ImageCopy, Staged
from compute.image.settings import Store
from compute.image.transfer import HASH_ALGORITHM, Written, write
from compute.server.errors import ApiError, BadRequest, Conflict


class Gone(ApiError):
    """The image was deleted meanwhile."""

    status = 410


class Begun(NamedTuple):
    """An upload that may be written. before: the image's status to return to."""

    effort_id: str
    image_id: str
    container: str
    prefix: str
    policy: str | None
    before: str
    during: str
    inspector: Inspector | None


def begin(
    images: Images, session: Session, image: Image, place: Store, during: str, *, inspect: bool = True
) -> Begun:
    """Within a transaction: the image's status, and who is at it. Raises BadRequest, Conflict."""
    if image.disk_format is None or image.container_format is None:
        missing = [name for name in ("disk_format", "container_format") if getattr(image, name) is None]
        said = ", ".join(missing)
        raise BadRequest(f"Properties {said} must be set prior to saving data.")
    if image.status != "queued":
        raise Conflict(f"Image status transition from {image.status} to {during} is not allowed")
    effort = start(images, session, image.id, place.container)
    inspector = Inspector(image.disk_format, image.container_format) if inspect else None
    before, image.status = image.status, during
    image.updated_us = images.site.now_us()
    return Begun(
        effort.id,
        image.id,
        place.container,
        effort.prefix,
        place.policy,
        before,
        during,
        inspector,
    )


def start(images: Images, session: Session, image_id: str, container: str) -> Effort:
    """Within a transaction: objects are about to be written below a prefix of their own."""
    ident = images.site.new_id()
    effort = Effort(
        id=ident,
        image_id=image_id,
        container=container,
        prefix=f"{image_id}/{ident}/",
        host=images.site.host,
        due_us=0,
    )
    session.add(effort)
    session.flush()
    return effort


async def perform(
    images: Images,
    begun: Begun,
    chunks: AsyncIterator[bytes],
    finish: Callable[[Session, Image, Written], None],
    size_bytes: int | None = None,
) -> Written:
    """Write, then `finish` in a transaction. Raises Gone, and what writing raises.

    size_bytes: of all chunks, where it is sure.
    """
    objects = images.site.objects
    try:
        await objects.make_container(begun.container, begun.policy)
        written = await write(
            objects,
            begun.container,
            begun.prefix,
            chunks,
            begun.inspector,
            images.settings.size_max_bytes,
            size_bytes,
        )
        await images.site.database.run(lambda: _end(images, begun, written, finish))
    except BaseException:
        await _undo(images, begun)
        raise
    return written


def _end(
    images: Images,
    begun: Begun,
    written: Written,
    finish: Callable[[Session, Image, Written], None],
) -> None:
    with images.site.database.write(ROOM, changes=False) as session:
        image = session.get(Image, begun.image_id)
        effort = session.get(Effort, begun.effort_id)
        if image is None or image.status != begun.during or effort is None:
            raise Gone(
                "Image could not be found after upload. The image may have been deleted during"
                " the upload."
            )
        finish(session, image, written)
        image.updated_us = images.site.now_us()
        session.delete(effort)


async def _undo(images: Images, begun: Begun) -> None:
    """Cancelled or failed: to the end, whatever else is cancelled meanwhile."""

    def undo() -> None:
        with images.site.database.write(ROOM, changes=False) as session:
            abandon(session, begun.effort_id)
            session.execute(
                update(Image)
                .where(Image.id == begun.image_id, Image.status == begun.during)
                .values(status=begun.before)
            )

    await asyncio.shield(images.site.database.run(undo))
    images.sweeper.wake()


def abandon(session: Session, effort_id: str) -> None:
    """Within a transaction: what was written may go."""
    session.execute(update(Effort).where(Effort.id == effort_id).values(host=None, due_us=0))


def set_bytes(image: Image, written: Written) -> None:
    """What is known of an image from its bytes."""
    image.size_bytes = written.size_bytes
    image.checksum = written.checksum
    image.os_hash_algo = HASH_ALGORITHM
    image.os_hash_value = written.hash_value
    if written.found is not None:
        image.virtual_size_bytes = written.found.virtual_size_bytes


def forget_bytes(image: Image) -> None:
    """It has none any more, and waits for others."""
    image.status = "queued"
    image.size_bytes = image.virtual_size_bytes = None
    image.checksum = image.os_hash_algo = image.os_hash_value = None


def add_copy(
    images: Images,
    session: Session,
    image_id: str,
    store: str,
    container: str,
    prefix: str,
    written: Written,
) -> None:
    """Within a transaction: the image has these bytes in this store."""
    session.add(
        ImageCopy(
            image_id=image_id,
            store=store,
            container=container,
            prefix=prefix,
            parts=written.parts,
            created_us=images.site.now_us(),
        )
    )


def discard(images: Images, session: Session, image: Image) -> None:
    """Within a transaction: the image's row goes, and its bytes when nobody holds them."""
    due_us = images.site.now_us() + images.settings.delete_after_s * 1_000_000
    for copy in session.scalars(select(ImageCopy).where(ImageCopy.image_id == image.id)):
        discard_copy(images, session, copy, due_us)
    drop_staged(images, session, image.id)
    session.flush()
    session.delete(image)


def discard_copy(images: Images, session: Session, copy: ImageCopy, due_us: int = 0) -> None:
    """Within a transaction: one store's bytes go."""
    session.add(
        Effort(
            id=images.site.new_id(),
            image_id=copy.image_id,
            container=copy.container,
            prefix=copy.prefix,
            host=None,
            due_us=due_us,
        )
    )
    session.delete(copy)


def drop_staged(images: Images, session: Session, image_id: str) -> None:
    """Within a transaction: staged bytes may go."""
    staged = session.get(Staged, image_id)
    if staged is not None:
        session.add(
            Effort(
                id=images.site.new_id(),
                image_id=image_id,
                container=staged.container,
                prefix=staged.prefix,
                host=None,
                due_us=0,
            )
        )
        session.delete(staged)

"""What other rooms may ask of images: facts, where bytes are, to keep them, and to make an image."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from compute.access import Context
from compute.image.call import ROOM, Images, unknown
from compute.image.models import Hold, Image, ImageCopy, ImageMember, ImageProperty
from compute.image.transfer import Written, pieces_of, read
from compute.image.uploads import Begun, add_copy, begin, discard, perform, set_bytes
from compute.server.errors import NotFound
from compute.volume.drivers.contract import Piece

_FIELDS: Final = ("disk_format", "container_format", "min_disk", "min_ram", "visibility", "protected")


class ImageFacts(NamedTuple):
    """An image. Sizes in bytes are None before there are any."""

    id: str
    name: str | None
    status: str
    disk_format: str | None
    container_format: str | None
    size_bytes: int | None
    virtual_size_bytes: int | None
    min_disk_gib: int
    min_ram_mib: int
    visibility: str
    owner: str | None
    properties: Mapping[str, str]


class ImageLibrary:
    """The image room as other rooms know it. One per process."""

    def __init__(self, images: Images) -> None:
        self._images = images

    async def show(self, context: Context, image_id: str) -> ImageFacts:
        """An image that the caller sees. Raises NotFound."""

        def look() -> ImageFacts:
            with self._images.site.database.read() as session:
                image = session.get(Image, image_id)
                if image is None or not self._sees(session, context, image):
                    raise unknown(image_id)
                return _facts(session, image, lambda name: self._images.allows(context, "read", name))

        return await self._images.site.database.run(look)

    def _sees(self, session: Session, context: Context, image: Image) -> bool:
        if self._images.is_admin(context) or image.visibility in ("public", "community"):
            return True
        project = context.project_id
        if project is None or image.owner == project:
            return project is not None
        shared = image.visibility == "shared"
        return shared and session.get(ImageMember, (image.id, project)) is not None

    async def layout(self, image_id: str) -> tuple[Piece, ...]:
        """Where the bytes are, in order, also of a deleted image that is held. Raises NotFound."""
        return await self._images.site.database.run(lambda: self._layout(image_id))

    def _layout(self, image_id: str) -> tuple[Piece, ...]:
        with self._images.site.database.read() as session:
            return _pieces(session, image_id)

    async def data(self, image_id: str) -> AsyncIterator[bytes]:
        """The bytes. Raises NotFound, StoreAway."""
        pieces = await self.layout(image_id)
        async for chunk in read(self._images.site.objects, pieces):
            yield chunk

    async def hold(self, image_id: str, holder: str) -> None:
        """The bytes stay until `release`. Again is the same. Raises NotFound."""

        def keep() -> None:
            with self._images.site.database.write(ROOM, changes=False) as session:
                pieces = [list(piece) for piece in _pieces(session, image_id)]
                session.merge(Hold(holder=holder, image_id=image_id, pieces=pieces))

        await self._images.site.database.run(keep)

    async def release(self, holder: str) -> None:
        """What the holder held may go. Again is the same."""

        def let_go() -> None:
            with self._images.site.database.write(ROOM, changes=False) as session:
                session.execute(delete(Hold).where(Hold.holder == holder))

        await self._images.site.database.run(let_go)
        self._images.sweeper.wake()

    async def queue(self, context: Context, fields: Mapping[str, Any]) -> str:
        """A new image of the caller's project that has no bytes yet; its id.

        fields: as in the API, `id` for one that the caller has chosen. Properties that the caller may
        not create are left out.
        """
        images = self._images

        def make() -> str:
            with images.site.database.write(ROOM, changes=False) as session:
                image = _new(images, context, fields)
                session.add(image)
                session.flush()
                session.add_all(
                    ImageProperty(image_id=image.id, name=name, value=str(value))
                    for name, value in fields.get("properties", {}).items()
                    if images.allows(context, "create", name)
                )
                return image.id

        return await images.site.database.run(make)

    async def fill(self, image_id: str, chunks: AsyncIterator[bytes]) -> None:
        """Give a queued image its bytes. Raises NotFound, Conflict, Mismatch, StoreAway."""
        images = self._images
        place = images.settings.default_store

        def start() -> Begun:
            with images.site.database.write(ROOM, changes=False) as session:
                image = session.get(Image, image_id)
                if image is None:
                    raise unknown(image_id)
                return begin(images, session, image, place, "saving")

        begun = await images.site.database.run(start)

        def finish(session: Session, image: Image, written: Written) -> None:
            set_bytes(image, written)
            image.status = "active"
            add_copy(images, session, image.id, place.name, begun.container, begun.prefix, written)

        await perform(images, begun, chunks, finish)

    async def create(
        self, context: Context, fields: Mapping[str, Any], chunks: AsyncIterator[bytes]
    ) -> str:
        """A new image with these bytes; its id. Where it fails, none is there. Raises as `fill`."""
        image_id = await self.queue(context, fields)
        try:
            await self.fill(image_id, chunks)
        except BaseException:
            await asyncio.shield(self.forget(image_id))
            raise
        return image_id

    async def forget(self, image_id: str) -> None:
        """Take back an image that was made here. Again is the same."""
        await self._images.site.database.run(lambda: self._forget(image_id))

    def _forget(self, image_id: str) -> None:
        with self._images.site.database.write(ROOM, changes=False) as session:
            image = session.get(Image, image_id)
            if image is not None:
                discard(self._images, session, image)


def _new(images: Images, context: Context, fields: Mapping[str, Any]) -> Image:
    now_us = images.site.now_us()
    image = Image(
        id=fields.get("id") or images.site.new_uuid(),
        name=fields.get("name"),
        owner=context.project_id,
        status="queued",
        visibility="shared",
        min_disk=0,
        min_ram=0,
        protected=False,
        os_hidden=False,
        created_us=now_us,
        updated_us=now_us,
    )
    for name in _FIELDS:
        if fields.get(name) is not None:
            setattr(image, name, fields[name])
    return image


def _pieces(session: Session, image_id: str) -> tuple[Piece, ...]:
    """Raises NotFound."""
    query = select(ImageCopy).where(ImageCopy.image_id == image_id).order_by(ImageCopy.created_us)
    copy = session.scalars(query).first()
    if copy is not None:
        return pieces_of(copy.container, copy.parts)
    held = session.scalars(select(Hold).where(Hold.image_id == image_id)).first()
    if held is None:
        raise NotFound(f"Image {image_id} has no data.")
    return tuple(Piece(*piece) for piece in held.pieces)


def _facts(session: Session, image: Image, readable: Callable[[str], bool]) -> ImageFacts:
    rows = session.scalars(select(ImageProperty).where(ImageProperty.image_id == image.id))
    return ImageFacts(
        image.id,
        image.name,
        image.status,
        image.disk_format,
        image.container_format,
        image.size_bytes,
        image.virtual_size_bytes,
        image.min_disk,
        image.min_ram,
        image.visibility,
        image.owner,
        {row.name: row.value for row in rows if readable(row.name)},
    )

"""Volumes from images and images from volumes: between the room of images, drivers and qemu-img.

A driver that can stand on a raw image's own bytes does so, and they are held for it. Other formats pass
through a file of their own that goes with the work; qemu-img, bounded, copies what it holds into the
volume over NBD, and leaves out what is zero.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from compute.image.imports.convert import ConversionFailed, arguments, ran
from compute.image.library import ImageFacts, ImageLibrary
from compute.volume.drivers.contract import Disk, Driver, ImageSource
from compute.volume.drivers.errors import BadSource

READ_BYTES: Final = 4 * 1024 * 1024
PREFIX: Final = "volume-image-"
COPY_ID: Final = "import-"
QEMU_NAMES: Final = {"vhd": "vpc", "iso": "raw", "ami": "raw", "aki": "raw", "ari": "raw"}


def remove_left(folder: str) -> None:
    """Files that a killed process left."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith(PREFIX):
                shutil.rmtree(entry.path, ignore_errors=True)


async def source_of(library: ImageLibrary, image_id: str, facts: Mapping[str, Any]) -> ImageSource:
    """The image as drivers want it. facts: of when the volume was asked for. Raises NotFound."""
    pieces = await library.layout(image_id)
    size = int(facts["size_bytes"])
    return ImageSource(
        image_id,
        str(facts["disk_format"]),
        size,
        int(facts.get("virtual_size_bytes") or size),
        pieces,
        lambda: library.data(image_id),
    )


def facts_of(image: ImageFacts) -> dict[str, Any]:
    """What is remembered of an image until the volume is made."""
    return {
        "image_id": image.id,
        "disk_format": image.disk_format,
        "size_bytes": image.size_bytes,
        "virtual_size_bytes": image.virtual_size_bytes,
    }


def metadata_of(image: ImageFacts) -> dict[str, str]:
    """The `volume_image_metadata` of a volume from it."""
    known = {
        "image_id": image.id,
        "image_name": image.name or "",
        "container_format": image.container_format or "",
        "disk_format": image.disk_format or "",
        "min_disk": str(image.min_disk_gib),
        "min_ram": str(image.min_ram_mib),
        "size": str(image.size_bytes or 0),
    }
    return {**known, **{name: str(value) for name, value in image.properties.items()}}


async def make(
    driver: Driver, volume_id: str, image: ImageSource, size_bytes: int, folder: str
) -> None:
    """A volume with an image's bytes. Raises BadSource, StoreAway."""
    try:
        await driver.create_from_image(volume_id, image, size_bytes)
    except BadSource:
        if not await driver.exists(volume_id):
            await driver.create(volume_id, size_bytes)
        await fill(driver, volume_id, image, folder)


async def fill(driver: Driver, volume_id: str, image: ImageSource, folder: str) -> None:
    """Write an image's bytes over a volume's. Raises BadSource."""
    async with _scratch(folder) as work:
        path = os.path.join(work, "image")
        with open(path, "xb") as file:  # noqa: ASYNC230 - nothing waits for a local file's name
            async for chunk in image.open():
                await asyncio.to_thread(file.write, chunk)
        attachment_id = f"{COPY_ID}{volume_id}"
        connection = await driver.attach(volume_id, attachment_id, read_only=False)
        try:
            kind = QEMU_NAMES.get(image.disk_format, image.disk_format)
            await _converted("-n", "-f", kind, "-O", "raw", path, url_of(connection.data))
        finally:
            await driver.detach(volume_id, attachment_id)


def url_of(data: Mapping[str, Any]) -> str:
    """An export's NBD URL."""
    if "unix" in data:
        return f"nbd+unix:///{data['export']}?socket={data['unix']}"
    return f"nbd://{data['host']}:{data['port']}/{data['export']}"


async def _converted(*words: str) -> None:
    try:
        await ran(arguments(*words))
    except ConversionFailed as error:
        raise BadSource(str(error)) from error


@contextlib.asynccontextmanager
async def _scratch(folder: str) -> AsyncIterator[str]:
    work = await asyncio.to_thread(tempfile.mkdtemp, prefix=PREFIX, dir=folder)
    try:
        yield work
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


@contextlib.asynccontextmanager
async def image_bytes(
    driver: Driver, volume_id: str, disk_format: str, folder: str
) -> AsyncIterator[AsyncIterator[bytes]]:
    """A volume as a file of an image's format. Raises BadSource."""
    if disk_format == "raw":
        async with driver.open(volume_id, writable=False) as disk:
            yield _raw(disk)
        return
    attachment_id = f"{COPY_ID}{volume_id}"
    async with _scratch(folder) as work:
        path = os.path.join(work, "image")
        connection = await driver.attach(volume_id, attachment_id, read_only=True)
        try:
            kind = QEMU_NAMES.get(disk_format, disk_format)
            await _converted("-f", "raw", "-O", kind, url_of(connection.data), path)
        finally:
            await driver.detach(volume_id, attachment_id)
        yield _file(path)


async def _raw(disk: Disk) -> AsyncIterator[bytes]:
    zeroes = bytes(READ_BYTES)
    async for extent in disk.extents(0, disk.size_bytes):
        end = extent.offset + extent.length
        for offset in range(extent.offset, end, READ_BYTES):
            length = min(READ_BYTES, end - offset)
            yield await disk.read(offset, length) if extent.data else zeroes[:length]


async def _file(path: str) -> AsyncIterator[bytes]:
    with open(path, "rb") as file:  # noqa: ASYNC230 - nothing waits for a local file's name
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk

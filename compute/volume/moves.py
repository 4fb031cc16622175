"""A volume's bytes go from one backend of a host to another."""

from typing import Final

from compute.volume.drivers.contract import Driver

COPY_BYTES: Final = 4 * 1024 * 1024


async def copy(driver: Driver, target: Driver, volume_id: str, size_bytes: int) -> None:
    """Copy what is not zero; a half-made copy of an earlier attempt goes first.

    Raises Busy, NoRoom, StoreAway, OSError.
    """
    await target.delete(volume_id)
    await target.create(volume_id, size_bytes)
    async with (
        driver.open(volume_id, writable=True) as source,
        target.open(volume_id, writable=True) as made,
    ):
        async for extent in source.extents(0, source.size_bytes):
            end = extent.offset + (extent.length if extent.data else 0)
            for offset in range(extent.offset, end, COPY_BYTES):
                length = min(COPY_BYTES, end - offset)
                await made.write(offset, await source.read(offset, length))
        await made.flush()

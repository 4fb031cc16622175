"""The cache on this host's disk: filled on request, read instead of the store, never too large."""

import asyncio
from pathlib import Path

from compute.image.cache import leaving
from compute.image.settings import Settings
from compute.objects.memory import MemoryStore
from tests.compute.image.cloud import Pictures, started


async def _cached(pictures: Pictures) -> set[str]:
    while True:
        state = (await pictures.ok("GET", "/cache")).body
        if not state["queued_images"]:
            return {each["image_id"] for each in state["cached_images"]}
        await asyncio.sleep(0.01)


def test_the_least_recently_read_leave() -> None:
    files = [("a", 5, 3.0), ("b", 5, 1.0), ("c", 5, 2.0)]
    assert leaving(files, 15) == []
    assert leaving(files, 10) == ["b"]
    assert leaving(files, 4) == ["b", "c", "a"]


async def test_a_cached_image_is_read_without_the_store(
    pictures: Pictures, objects: MemoryStore
) -> None:
    data = bytes(range(256)) * 8000
    image = await pictures.active(data)
    queued = await pictures.make()
    _, token = await pictures.user("member", "reader")
    await pictures.refused(403, "GET", "/cache", token=token)
    await pictures.refused(404, "PUT", "/cache/none")
    await pictures.refused(400, "PUT", f"/cache/{queued['id']}")
    assert (await pictures.ok("PUT", f"/cache/{image['id']}")).status == 202
    assert await _cached(pictures) == {image["id"]}
    objects.containers["images-default"].clear()
    path = f"/images/{image['id']}/file"
    assert (await pictures.ok("GET", path)).body == data
    assert (await pictures.call("GET", path, Range="bytes=300-309")).body == data[300:310]
    assert (await pictures.ok("GET", "/cache"))["cached_images"][0]["hits"] == 2
    await pictures.refused(400, "DELETE", "/cache", X_Image_Cache_Clear_Target="invalid")
    assert (await pictures.ok("DELETE", f"/cache/{image['id']}")).status == 204
    assert await _cached(pictures) == set()
    await pictures.refused(404, "DELETE", "/cache/none")


async def test_the_cache_keeps_its_size(database: str, tmp_path: Path, objects: MemoryStore) -> None:
    async with started(tmp_path, database, objects, Settings(cache_bytes=250)) as pictures:
        ids = [(await pictures.active(b"x" * 100))["id"] for _ in range(3)]
        for ident in ids:
            await pictures.ok("PUT", f"/cache/{ident}")
            assert ident in await _cached(pictures)
        assert len(await _cached(pictures)) == 2
        large = await pictures.active(b"x" * 251)
        await pictures.refused(400, "PUT", f"/cache/{large['id']}")
        await pictures.ok("DELETE", f"/images/{ids[2]}")
        assert ids[2] not in await _cached(pictures)
        await pictures.ok("DELETE", "/cache")
        assert await _cached(pictures) == set()

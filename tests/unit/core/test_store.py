"""The verbs of the store on in-memory devices: what a client would see."""

import asyncio
import hashlib
import os

import pytest

from proxy.core.errors import (
    BadDigest,
    ContainerExists,
    ContainerNotEmpty,
    InvalidPart,
    NoSuchContainer,
    NoSuchObject,
    NoSuchUpload,
    PartTooSmall,
    PreconditionFailed,
)
from proxy.core.store import CoreStore
from proxy.core.types import (
    CompletedPart,
    Conditions,
    Container,
    ListQuery,
    ObjectAttributes,
    ObjectInfo,
)
from tests.grid import BytesBody, Grid, whole

PLAIN = ObjectAttributes("text/plain")


async def put(store: CoreStore, container: Container, name: str, data: bytes = b"x") -> ObjectInfo:
    return await store.put_object(container, name, BytesBody(data), PLAIN)


async def get(store: CoreStore, container: Container, name: str) -> bytes:
    opened = await store.open_object(container, name)
    try:
        return await whole(opened.stream(0, opened.info.head.size_bytes))
    finally:
        opened.close()


@pytest.mark.parametrize("policy", ["replicated-3", "ec-4-2"])
@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 70_000_001])
@pytest.mark.parametrize("announce", [True, False])
async def test_what_was_put_is_read_whole_and_in_ranges(policy: str, size: int, announce: bool) -> None:
    store = Grid().store()
    container = await store.create_container("a", "c", policy=policy)
    data = os.urandom(size)
    info = await store.put_object(container, "o", BytesBody(data, announce=announce), PLAIN)
    assert info.head.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert (await store.head_object(container, "o")).head.size_bytes == size
    assert await get(store, container, "o") == data
    opened = await store.open_object(container, "o")
    for low, high in [(0, 1), (size // 3, size // 2), (max(size - 5, 0), size)]:
        if low < high <= size:
            assert await whole(opened.stream(low, high - low)) == data[low:high]
    opened.close()


async def test_another_proxy_sees_every_acknowledged_write_in_reads_and_listings() -> None:
    grid = Grid()
    one, two = grid.store(), grid.store()
    container = await one.create_container("a", "c")
    seen = await two.container("a", "c")
    for number in range(50):
        await put(one, container, f"k{number:02d}", b"v%d" % number)
        assert await get(two, seen, f"k{number:02d}") == b"v%d" % number
        page = await two.list_objects(seen, ListQuery())
        assert len(page.entries) == number + 1


async def test_listing_rolls_up_common_prefixes_and_pages() -> None:
    store = Grid().store()
    container = await store.create_container("a", "c")
    names = ["a", "a/b", "a/b/c", "b/1", "b/2", "c", "ü", "ü/x", "z" * 600 + "1", "z" * 600 + "0"]
    for name in names:
        await put(store, container, name)
    everything = await store.list_objects(container, ListQuery())
    found = [e.name for e in everything.entries if isinstance(e, ObjectInfo)]
    assert found == sorted(names, key=str.encode)
    rolled = await store.list_objects(container, ListQuery(delimiter="/"))
    shown = [e if isinstance(e, str) else e.name for e in rolled.entries]
    assert shown == ["a", "a/", "b/", "c", "z" * 600 + "0", "z" * 600 + "1", "ü", "ü/"]
    paged: list[str] = []
    marker = ""
    while True:
        page = await store.list_objects(container, ListQuery(delimiter="/", marker=marker, limit=1))
        paged += [e if isinstance(e, str) else e.name for e in page.entries]
        marker = page.next_marker
        if not page.truncated:
            break
    assert paged == shown
    back = await store.list_objects(container, ListQuery(reverse=True, limit=3))
    assert [e.name for e in back.entries if isinstance(e, ObjectInfo)] == found[::-1][:3]


async def test_conditional_puts_let_exactly_one_create() -> None:
    grid = Grid()
    stores = [grid.store() for _ in range(4)]
    container = await stores[0].create_container("a", "c")
    absent = Conditions(if_none_match=("*",))

    async def attempt(number: int) -> bool:
        body = BytesBody(b"%d" % number)
        try:
            await stores[number % 4].put_object(container, "o", body, PLAIN, conditions=absent)
        except PreconditionFailed:
            return False
        return True

    outcomes = await asyncio.gather(*map(attempt, range(16)))
    assert sum(outcomes) == 1
    assert await get(stores[0], container, "o") == b"%d" % outcomes.index(True)


async def test_a_container_with_objects_stays_and_an_empty_one_goes() -> None:
    grid = Grid()
    one, two = grid.store(), grid.store()
    container = await one.create_container("a", "c")
    with pytest.raises(ContainerExists):
        await two.create_container("a", "c")
    stale = await two.container("a", "c")
    await put(one, container, "o")
    with pytest.raises(ContainerNotEmpty):
        await one.delete_container(container)
    await put(two, stale, "p")  # a refused deletion leaves the shards writable
    await one.delete_object(container, "o")
    await one.delete_object(container, "p")
    await one.delete_container(container)
    with pytest.raises(NoSuchContainer):
        await put(two, stale, "q")
    with pytest.raises(NoSuchContainer):
        await get(two, stale, "q")
    again = await one.create_container("a", "c")
    assert again.head.id != container.head.id
    await put(two, stale, "q")  # the stale proxy finds the new container by itself
    assert await get(one, again, "q") == b"x"


async def test_a_bad_digest_changes_nothing_and_leaves_no_blob() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    for size in (10, 3_000_000):
        with pytest.raises(BadDigest):
            await store.put_object(container, "o", BytesBody(b"x" * size), PLAIN, md5="0" * 32)
    with pytest.raises(NoSuchObject):
        await store.head_object(container, "o")
    for device in grid.devices:
        assert await device.list_blobs(None, 10) == []


async def test_multipart_takes_parts_over_without_copying() -> None:
    grid = Grid()
    store = grid.store()
    container = await store.create_container("a", "c")
    upload = await store.create_upload(container, "big", PLAIN)
    datas = [os.urandom(200_000), os.urandom(70_000), os.urandom(10)]
    parts = []
    for number, data in enumerate(datas, 1):
        head = await store.put_part(container, "big", upload.id, number, BytesBody(data))
        parts.append(CompletedPart(number, head.etag))
    before = {e.header.name.id for d in grid.devices for e in await d.list_blobs(None, 100)}
    with pytest.raises(InvalidPart):
        await store.complete_upload(container, "big", upload.id, [CompletedPart(9, "0" * 32)])
    info = await store.complete_upload(container, "big", upload.id, parts)
    assert info.head.etag.endswith("-3")
    assert await get(store, container, "big") == b"".join(datas)
    after = {e.header.name.id for d in grid.devices for e in await d.list_blobs(None, 100)}
    assert before == after
    again = await store.complete_upload(container, "big", upload.id, parts)
    assert again.head.etag == info.head.etag
    with pytest.raises(NoSuchUpload):
        await store.list_parts(container, "big", upload.id, 0, 10)
    assert not grid.failures


async def test_only_the_last_part_may_be_small() -> None:
    store = Grid().store()
    container = await store.create_container("a", "c")
    upload = await store.create_upload(container, "big", PLAIN)
    heads = [
        await store.put_part(container, "big", upload.id, number, BytesBody(b"y" * size))
        for number, size in [(1, 10), (2, 2000)]
    ]
    parts = [CompletedPart(head.number, head.etag) for head in heads]
    with pytest.raises(PartTooSmall):
        await store.complete_upload(container, "big", upload.id, parts)
    await store.complete_upload(container, "big", upload.id, parts[1:])
    assert await get(store, container, "big") == b"y" * 2000


async def test_abort_leaves_no_upload_and_no_parts() -> None:
    store = Grid().store()
    container = await store.create_container("a", "c")
    upload = await store.create_upload(container, "big", PLAIN)
    await store.put_part(container, "big", upload.id, 1, BytesBody(b"y" * 100_000))
    listed = await store.list_uploads(container, ListQuery(), "")
    assert len(listed.entries) == 1
    await store.abort_upload(container, "big", upload.id)
    assert (await store.list_uploads(container, ListQuery(), "")).entries == []
    with pytest.raises(NoSuchUpload):
        await store.put_part(container, "big", upload.id, 2, BytesBody(b"y"))


async def test_copies_keep_or_replace_attributes() -> None:
    store = Grid().store()
    container = await store.create_container("a", "c")
    data = os.urandom(3_000_000)
    await store.put_object(container, "o", BytesBody(data), ObjectAttributes("text/x", meta={"k": "v"}))
    await store.copy_object(container, "o", container, "p", None)
    kept = (await store.head_object(container, "p")).head
    assert (kept.content_type, kept.meta) == ("text/x", {"k": "v"})
    assert await get(store, container, "p") == data
    await store.copy_object(container, "o", container, "p", ObjectAttributes("text/y"))
    assert (await store.head_object(container, "p")).head.content_type == "text/y"
    changed = await store.update_object(container, "o", ObjectAttributes("text/z"))
    assert changed.head.content_type == "text/z"
    assert await get(store, container, "o") == data


async def test_counts_follow_objects() -> None:
    store = Grid().store()
    container = await store.create_container("a", "c")
    for number in range(20):
        await put(store, container, f"o{number}", b"y" * 10)
    await store.delete_object(container, "o3")
    stat = await store.container_stat(container)
    assert (stat.objects, stat.size_bytes) == (19, 190)
    assert (await store.account_stat("a")).containers == 1

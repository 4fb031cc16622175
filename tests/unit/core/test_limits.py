"""Everything that is allowed fits its row, and what does not is refused by name and changes nothing."""

import pytest

from proxy.core.errors import MetadataTooLarge, NoSuchObject, ObjectTooLarge
from proxy.core.object_rows import encode, manifest_value
from proxy.core.types import (
    META_MAX_BYTES,
    OBJECT_MAX_BYTES,
    OBJECT_PUT_MAX_BYTES,
    PART_NUMBER_MAX,
    Blob,
    CompletedPart,
    Manifest,
    ObjectAttributes,
    ObjectHead,
    Part,
    PartHead,
    Reference,
)
from storage.types import BLOB_MAX_BYTES, HEAD_MAX_BYTES, INLINE_MAX_BYTES, ROW_PAYLOAD_MAX_BYTES
from tests.grid import BytesBody, Grid
from tests.property.core.world import World, run

PLAIN = ObjectAttributes("text/plain")
CHECKSUMS = {"CRC64NVME": "x" * 12, "SHA256": "y" * 44}
POLICY = "ec-99-99-zfec"


def _blobs(size_bytes: int) -> list[Blob]:
    whole, rest = divmod(size_bytes, BLOB_MAX_BYTES)
    sizes = [BLOB_MAX_BYTES] * whole + [rest] * bool(rest)
    return [Blob(bytes([n % 256]) * 16, size, POLICY) for n, size in enumerate(sizes)]


def test_the_head_of_the_largest_part_fits() -> None:
    head = PartHead(
        PART_NUMBER_MAX,
        OBJECT_PUT_MAX_BYTES,
        "e" * 32,
        2**62,
        CHECKSUMS,
        _blobs(OBJECT_PUT_MAX_BYTES),
    )
    assert len(encode(head)) < HEAD_MAX_BYTES


def test_the_manifest_of_the_largest_object_fits() -> None:
    each = OBJECT_MAX_BYTES // PART_NUMBER_MAX
    parts = [
        Part(number, each, "e" * 32, _blobs(each), checksums=CHECKSUMS)
        for number in range(1, PART_NUMBER_MAX + 1)
    ]
    value = manifest_value(ObjectHead("e", OBJECT_MAX_BYTES, 0, ""), Manifest(parts))
    assert len(value.payload) + HEAD_MAX_BYTES < ROW_PAYLOAD_MAX_BYTES


async def test_the_greatest_metadata_are_kept_and_greater_ones_refused() -> None:
    store = Grid().store()
    container = await store.create_container("a", "c")
    letters = "é" * ((META_MAX_BYTES - 60) // 2)
    fits = ObjectAttributes("text/plain", meta={"k": letters}, headers={"cache-control": "no"})
    await store.put_object(container, "o", BytesBody(b"x"), fits)
    assert (await store.head_object(container, "o")).head.meta == {"k": letters}
    over = ObjectAttributes("text/plain", meta={"é" * (META_MAX_BYTES // 2): "v"})
    for work in (
        store.put_object(container, "p", BytesBody(b"x"), over),
        store.update_object(container, "o", over),
        store.create_upload(container, "p", over),
    ):
        with pytest.raises(MetadataTooLarge):
            await work
    with pytest.raises(NoSuchObject):
        await store.head_object(container, "p")


def test_more_inline_parts_than_a_row_holds_are_refused_and_the_upload_stays() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        upload = await store.create_upload(container, "o", PLAIN)
        parts = []
        for number in range(1, ROW_PAYLOAD_MAX_BYTES // INLINE_MAX_BYTES + 2):
            part = await store.put_part(
                container, "o", upload.id, number, BytesBody(b"x" * INLINE_MAX_BYTES)
            )
            parts.append(CompletedPart(number, part.etag))
        with pytest.raises(ObjectTooLarge):
            await store.complete_upload(container, "o", upload.id, parts)
        assert (await store.upload(container, "o", upload.id)).state == "open"
        info = await store.complete_upload(container, "o", upload.id, parts[:100])
        assert info.head.size_bytes == 100 * INLINE_MAX_BYTES

    run(scene())


async def test_a_static_manifest_that_is_too_long_is_refused() -> None:
    store = Grid().store()
    container = await store.create_container("a", "c")
    reference = Reference("c" * 256, "s" * 1024, "e" * 32, 0, -1, 1)
    parts = [Part(n, 1, "e" * 32, reference=reference) for n in range(1, 15_000)]
    with pytest.raises(ObjectTooLarge):
        await store.put_manifest(container, "o", parts, PLAIN, etag="e-1")
    with pytest.raises(NoSuchObject):
        await store.head_object(container, "o")

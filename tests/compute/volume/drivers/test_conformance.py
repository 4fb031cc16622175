"""Every driver keeps the contract: data, idempotency, one writer, exports; a file backend's crashes."""

import asyncio
import errno
import os
import random
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from compute.nbd.server import NbdServer
from compute.objects.memory import MemoryStore
from compute.volume.drivers.contract import Driver, ImageSource, Piece
from compute.volume.drivers.errors import BadSource, Busy, NoSuchVolume
from compute.volume.drivers.file import sparse
from compute.volume.drivers.file.driver import FileDriver
from compute.volume.drivers.ring.driver import RingDriver
from runtime.randomness import SystemRandomness

MIB: Final = 1024 * 1024
SIZE: Final = 9 * MIB + 512


@pytest.fixture(params=["ring", "file"])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    """A backend with exports of its own."""
    nbd = NbdServer()
    await nbd.listen_unix(str(tmp_path / "nbd"))
    made: RingDriver | FileDriver
    if request.param == "ring":
        made = RingDriver(MemoryStore(), nbd, SystemRandomness())
    else:
        made = FileDriver("file", str(tmp_path / "volumes"), nbd)
        await made.start()
    yield made
    await made.close()
    await nbd.close()
    assert not made._attached
    assert not made._open


async def content(driver: Driver, volume: str) -> bytes:
    """All bytes, and that holes are zeroes."""
    async with driver.open(volume, writable=False) as disk:
        data = await disk.read(0, disk.size_bytes)
        at = 0
        async for extent in disk.extents(0, disk.size_bytes):
            assert extent.offset == at
            assert extent.length > 0
            at += extent.length
            assert extent.data or not any(data[extent.offset : at])
        assert at == disk.size_bytes
        return data


async def kept(driver: Driver, snapshot: str, volume: str) -> bytes:
    """A snapshot's bytes."""
    async with driver.open_snapshot(snapshot, volume) as disk:
        return await disk.read(0, disk.size_bytes)


async def put(driver: Driver, volume: str, offset: int, data: bytes) -> None:
    """One write."""
    async with driver.open(volume, writable=True) as disk:
        await disk.write(offset, data)


def image(data: bytes, disk_format: str = "raw") -> ImageSource:
    """An image that is one object."""

    async def read() -> AsyncIterator[bytes]:
        for at in range(0, len(data), MIB + 7):
            yield data[at : at + MIB + 7]

    pieces = (Piece("images", "one", 0, len(data)),)
    return ImageSource("one", disk_format, len(data), len(data), pieces, read)


async def test_random_writes_beside_an_array_of_bytes(driver: Driver) -> None:
    chance = random.Random(7)
    model = bytearray(SIZE)
    await driver.create("v", SIZE)
    for _ in range(6):
        async with driver.open("v", writable=True) as disk:
            for _ in range(20):
                length = chance.choice([1, 511, 4096, 70_000, 2 * MIB])
                offset = chance.randrange(SIZE - length)
                if chance.random() < 0.3:
                    await disk.zero(offset, length, fua=chance.random() < 0.5)
                    model[offset : offset + length] = bytes(length)
                else:
                    data = chance.randbytes(length)
                    await disk.write(offset, data, fua=chance.random() < 0.1)
                    model[offset : offset + length] = data
            await disk.flush()
        assert await content(driver, "v") == model


async def test_beyond_the_end_nothing_is_read_or_written(driver: Driver) -> None:
    await driver.create("v", SIZE)
    async with driver.open("v", writable=True) as disk:
        for work in (disk.read(SIZE, 1), disk.write(SIZE - 1, b"xx"), disk.zero(SIZE, 1)):
            with pytest.raises(ValueError, match="beyond the end"):
                await work
    assert await content(driver, "v") == bytes(SIZE)


async def test_each_verb_may_be_done_again(driver: Driver) -> None:
    for _ in range(2):
        await driver.create("v", SIZE)
    await put(driver, "v", 100, b"first")
    await driver.create("v", SIZE)
    for _ in range(2):
        await driver.snapshot("s", "v")
    await put(driver, "v", 100, b"later")
    await driver.snapshot("s", "v")
    was = b"first".rjust(105, b"\0").ljust(SIZE, b"\0")
    now = b"later".rjust(105, b"\0").ljust(SIZE, b"\0")
    assert await kept(driver, "s", "v") == was
    for _ in range(2):
        await driver.create_from_snapshot("w", "s", SIZE + MIB)
        await driver.extend("w", SIZE + MIB)
        await driver.clone("c", "v", SIZE)
        await driver.extend("c", SIZE)
    assert (await content(driver, "w"))[:SIZE] == was
    assert len(await content(driver, "w")) == SIZE + MIB
    assert await content(driver, "c") == now
    for _ in range(2):
        await driver.extend("v", SIZE + MIB)
    assert await content(driver, "v") == now + bytes(MIB)
    for _ in range(2):
        await driver.revert("v", "s")
    assert (await content(driver, "v"))[:SIZE] == was
    with pytest.raises(Busy):
        await driver.delete("v")
    for _ in range(2):
        await driver.delete_snapshot("s", "v")
    for volume in ("v", "w", "c"):
        for _ in range(2):
            await driver.delete(volume)
        assert not await driver.exists(volume)


async def test_what_is_not_there(driver: Driver) -> None:
    with pytest.raises(NoSuchVolume):
        async with driver.open("v", writable=False):
            pass
    with pytest.raises(NoSuchVolume):
        async with driver.open_snapshot("s", "v"):
            pass
    with pytest.raises(NoSuchVolume):
        await driver.create_from_snapshot("w", "s", SIZE)
    with pytest.raises(NoSuchVolume):
        await driver.extend("v", SIZE)
    assert not await driver.exists("w")
    await driver.delete("v")
    await driver.delete_snapshot("s", "v")
    await driver.detach("v", "a")


async def test_one_writer_and_many_readers(driver: Driver) -> None:
    await driver.create("v", SIZE)
    async with driver.open("v", writable=True) as disk:
        with pytest.raises(Busy):
            async with driver.open("v", writable=True):
                pass
        with pytest.raises(Busy):
            await driver.attach("v", "a", read_only=False)
        with pytest.raises(Busy):
            await driver.delete("v")
        await disk.write(0, b"seen")
        async with driver.open("v", writable=False) as other:
            assert await other.read(0, 4) == b"seen"
    await driver.attach("v", "a", read_only=False)
    with pytest.raises(Busy):
        async with driver.open("v", writable=True):
            pass
    await driver.detach("v", "a")
    await put(driver, "v", 0, b"free")


async def test_a_snapshot_is_of_one_moment_while_a_writer_goes_on(driver: Driver) -> None:
    """A counter is written at the end, then at the start: a snapshot never has the second alone."""
    await driver.create("v", SIZE)
    done = False
    async with driver.open("v", writable=True) as disk:

        async def write_on() -> None:
            number = 0
            while not done:
                number += 1
                for offset in (SIZE - 8, 5 * MIB, 0):
                    await disk.write(offset, number.to_bytes(8, "big"))

        writing = asyncio.ensure_future(write_on())
        for turn in range(8):
            await driver.snapshot(f"s{turn}", "v")
            await driver.clone(f"c{turn}", "v", SIZE)
        done = True
        await writing
    for turn in range(8):
        for data in (await kept(driver, f"s{turn}", "v"), await content(driver, f"c{turn}")):
            last, middle, first = (
                int.from_bytes(data[at : at + 8], "big") for at in (SIZE - 8, 5 * MIB, 0)
            )
            assert first <= middle <= last <= first + 1


async def test_a_volume_from_a_raw_image(driver: Driver) -> None:
    data = random.Random(3).randbytes(3 * MIB) + bytes(MIB) + b"end"
    if isinstance(driver, RingDriver):
        objects = driver._shelf.objects
        await objects.make_container("images", None)
        await objects.put("images", "one", data)
    for _ in range(2):
        await driver.create_from_image("v", image(data), SIZE)
    assert await content(driver, "v") == data.ljust(SIZE, b"\0")
    with pytest.raises(BadSource):
        await driver.create_from_image("w", image(data, "qcow2"), SIZE)
    assert not await driver.exists("w")


async def run(*command: str) -> str:
    """A program beside this loop; its output."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


async def test_real_clients_use_an_export(driver: Driver, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(random.Random(5).randbytes(3 * MIB) + bytes(4 * MIB) + b"x" * MIB)
    await driver.create("v", 8 * MIB)
    first = await driver.attach("v", "a", read_only=False)
    assert first == await driver.attach("v", "a", read_only=False)
    uri = f"nbd+unix:///a?socket={first.data['unix']}"
    await run("nbdcopy", "--flush", str(source), uri)
    assert (await run("nbdinfo", "--size", uri)).strip() == str(8 * MIB)
    await driver.extend("v", 9 * MIB)
    assert (await run("nbdinfo", "--size", uri)).strip() == str(9 * MIB)
    await run("nbdcopy", uri, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == source.read_bytes() + bytes(MIB)
    await driver.detach("v", "a")
    with pytest.raises(AssertionError):
        await run("nbdinfo", uri)
    assert (await content(driver, "v"))[: 8 * MIB] == source.read_bytes()


# -- what is the file driver's own --


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[FileDriver]:
    """A file backend."""
    driver = FileDriver("file", str(tmp_path / "volumes"), NbdServer())
    await driver.start()
    yield driver
    await driver.close()


async def test_volumes_are_sparse(files: FileDriver, tmp_path: Path) -> None:
    await files.create("v", 1024 * MIB)
    await put(files, "v", 500 * MIB, b"x" * 4096)
    await files.snapshot("s", "v")
    await files.clone("c", "v", 1024 * MIB)
    await files.create_from_image("i", image(bytes(8 * MIB)), 1024 * MIB)
    found = list((tmp_path / "volumes").rglob("*.raw"))
    assert len(found) == 4
    for path in found:
        assert path.stat().st_size == 1024 * MIB
        assert path.stat().st_blocks * 512 < MIB
    async with files.open("v", writable=True) as disk:
        await disk.zero(500 * MIB, 4096)
        assert [extent.data async for extent in disk.extents(0, 1024 * MIB)] == [False]


STEPS: Final = ("ftruncate", "fsync", "rename", "copy_range", "sync_folder")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("verb", ["create", "clone", "from_snapshot", "image", "snapshot", "revert"])
async def test_a_step_that_fails_leaves_nothing_half(
    files: FileDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, step: str
) -> None:
    monkeypatch.setattr(sparse, "shared", lambda *_: False)
    await files.create("v", SIZE)
    await put(files, "v", 5 * MIB, b"before")
    await files.snapshot("s", "v")
    await put(files, "v", 5 * MIB, b"after!")
    was, now = await kept(files, "s", "v"), await content(files, "v")
    works: dict[str, Any] = {
        "create": lambda: files.create("new", SIZE),
        "clone": lambda: files.clone("new", "v", SIZE),
        "from_snapshot": lambda: files.create_from_snapshot("new", "s", SIZE),
        "image": lambda: files.create_from_image("new", image(was), SIZE),
        "snapshot": lambda: files.snapshot("t", "v"),
        "revert": lambda: files.revert("v", "s"),
    }

    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, "told to fail")

    where = {"copy_range": sparse, "sync_folder": "compute.volume.drivers.file.folder"}.get(step, os)
    failed = False
    with monkeypatch.context() as patch:
        if isinstance(where, str):
            patch.setattr(f"{where}.{step}", broken)
        else:
            patch.setattr(where, step, broken)
        try:
            await works[verb]()
        except OSError:
            failed = True
    assert failed or (step == "copy_range" and verb in ("create", "image"))
    assert not list((tmp_path / "volumes" / "new").iterdir())
    if step not in ("sync_folder", "copy_range"):
        assert not await files.exists("new")
        assert await content(files, "v") == now
    await works[verb]()
    assert await kept(files, "s", "v") == was
    expected = {"create": bytes(SIZE), "clone": now, "from_snapshot": was, "image": was}
    if verb in expected:
        assert await content(files, "new") == expected[verb]
    assert await content(files, "v") == (was if verb == "revert" else now)


async def test_a_folder_has_one_process_and_what_a_dead_one_left_goes(tmp_path: Path) -> None:
    first = FileDriver("file", str(tmp_path), NbdServer())
    second = FileDriver("file", str(tmp_path), NbdServer())
    await first.start()
    with pytest.raises(Busy):
        await second.start()
    await first.create("v", SIZE)
    await put(first, "v", 0, b"kept")
    (tmp_path / "new" / "w.raw").write_bytes(b"half")
    await first.close()
    await second.start()
    assert not list((tmp_path / "new").iterdir())
    assert (await content(second, "v"))[:4] == b"kept"
    await second.close()


async def test_a_copy_that_is_cancelled_leaves_nothing(
    files: FileDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "shared", lambda *_: False)
    await files.create("v", 64 * MIB)
    async with files.open("v", writable=True) as disk:
        for at in range(0, 64 * MIB, 4 * MIB):
            await disk.write(at, b"x")
    for turns in range(1, 60, 3):
        copying = asyncio.ensure_future(files.clone("c", "v", 64 * MIB))
        for _ in range(turns):
            await asyncio.sleep(0)
        copying.cancel()
        await asyncio.wait([copying])
        if copying.cancelled():
            assert not await files.exists("c")
            assert not list((tmp_path / "volumes" / "new").iterdir())
        await files.delete("c")
    assert not files._open

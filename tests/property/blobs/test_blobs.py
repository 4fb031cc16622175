"""Blobs against plain bytes: any writes, any ranges, any damage."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.contract import DeviceFault
from storage.device import blob_format
from storage.types import Fault
from tests.unit.blobs.doors import Device

PIECES = st.lists(st.binary(max_size=3000) | st.binary(max_size=3000).map(bytearray), max_size=8)
CHUNKS = st.sampled_from([512, 700, 1024, 65_536])
FRACTION = st.floats(0, 1)


def on_a_device(work: Callable[[Device], Awaitable[None]]) -> None:
    """Run `work` on a fresh device and leave nothing."""

    async def run() -> None:
        device = Device(root, executor)
        await device.blobs.start()
        await work(device)
        await device.blobs.close()

    root = Path(tempfile.mkdtemp())
    try:
        with ThreadPoolExecutor(2) as executor:
            asyncio.run(run())
    finally:
        shutil.rmtree(root)


def range_in(size: int, start: float, end: float) -> tuple[int, int]:
    low, high = sorted((int(start * size), int(end * size)))
    return low, high - low


@given(PIECES, CHUNKS, st.lists(st.tuples(FRACTION, FRACTION), max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_writes_and_any_ranges(
    pieces: list[bytes | bytearray], chunk_bytes: int, ranges: list[tuple[float, float]]
) -> None:
    data = b"".join(pieces)

    async def work(device: Device) -> None:
        writer = await device.blobs.create(device.header(chunk_bytes=chunk_bytes))
        for piece in pieces:
            await writer.write(piece)
        await writer.commit()
        reader = await device.blobs.open(device.header().name)
        assert reader.size_bytes == len(data)
        for start, end in [(0.0, 1.0), *ranges]:
            offset, length = range_in(len(data), start, end)
            assert b"".join(await reader.read(offset, length)) == data[offset : offset + length]
        reader.close()

    on_a_device(work)


async def outcome(reading: Awaitable[bytes]) -> bytes | Fault:
    try:
        return await reading
    except DeviceFault as fault:
        return fault.fault


def damaged(whole: bytes, kind: str, place: float, value: int) -> bytes:
    at = min(int(place * len(whole)), len(whole) - 1)
    match kind:
        case "flip":
            return whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :]
        case "cut":
            return whole[:at]
        case "insert":
            return whole[:at] + bytes([value]) + whole[at:]
        case "zeros":
            return whole[:at] + bytes(len(whole) - at)
        case _:
            return whole[at:] + whole[:at]


@given(
    st.binary(min_size=1, max_size=5000),
    CHUNKS,
    st.sampled_from(["flip", "cut", "insert", "zeros", "turn"]),
    FRACTION,
    st.integers(1, 255),
    st.tuples(FRACTION, FRACTION),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_damage_is_refused_or_does_not_matter(
    data: bytes,
    chunk_bytes: int,
    kind: str,
    place: float,
    value: int,
    wanted: tuple[float, float],
    cold: bool,
) -> None:
    async def work(device: Device) -> None:
        name = await device.put(data, device.header(chunk_bytes=chunk_bytes))
        whole = device.path(name).read_bytes()
        bad = damaged(whole, kind, place, value)
        device.path(name).write_bytes(bad)
        device.disk.cold = cold
        offset, length = range_in(len(data), *wanted)
        answer = await outcome(device.get(name, offset, length))
        if answer != data[offset : offset + length]:
            assert answer is Fault.CORRUPT
            assert bad != whole
            assert device.files("blobs") == []
            assert len(device.files("quarantine")) == 1
            assert device.index.entries == {}
        outside = range(blob_format.HEADER_BYTES, blob_format.HEADER_BYTES + len(data))
        if len(bad) == len(whole):
            differing = [i for i in range(len(whole)) if whole[i] != bad[i]]
            assert not device.index.entries or all(i in outside for i in differing)

    on_a_device(work)

"""Damaged, missing and short blob files: every object is still answered right, from what is good, and
what was met is made anew.
"""

import itertools
import os
from pathlib import Path

import pytest

from tests.api.store import RunningStore, start_store
from tests.cluster.devices import (
    PARTS,
    BlobFile,
    blob_files,
    flip,
    quarantined,
)
from tests.cluster.s3 import connect
from tests.cluster.stock import Stock


@pytest.fixture(params=["running", "stopped"])
def while_(request: pytest.FixtureRequest) -> str:
    """When the damage is done."""
    when: str = request.param
    return when


async def _after(store: RunningStore, stock: Stock, while_: str, damage: list[BlobFile]) -> None:
    """Let the store meet the damage; then everything must be right, twice."""
    if while_ == "stopped":
        store.restart()
    async with connect(store, keep=False) as s3:
        assert await stock.check(s3) == 0, f"refused although {damage} could be made up for"
        assert await stock.check(s3) == 0


async def _filled(store: RunningStore, while_: str) -> Stock:
    stock = Stock()
    async with connect(store) as s3:
        await stock.fill(s3)
    if while_ == "stopped":
        store.stop()
    return stock


async def test_flipped_bytes_of_blobs_are_never_served(tmp_path: Path, while_: str) -> None:
    with start_store(tmp_path) as store:
        stock = await _filled(store, while_)
        device, victims = _most_read(store)
        assert {bool(file.header.codec) for file in victims} == {True, False}
        assert len(victims) > 2 * len(PARTS)
        for file, offset in zip(victims, itertools.cycle(PARTS.values()), strict=False):
            flip(file.path, [offset])
        await _after(store, stock, while_, victims)
        assert quarantined(store, device) == sorted(file.path.name for file in victims)


def _bytes_of(files: list[BlobFile]) -> dict[Path, bytes]:
    return {file.path: file.path.read_bytes() for file in files}


def _wait_until_mended(store: RunningStore, originals: dict[Path, bytes]) -> None:
    """Until every file is there again, byte for byte."""
    store.wait_for(
        lambda: all(
            path.exists() and path.read_bytes() == content for path, content in originals.items()
        )
    )


def _most_read(store: RunningStore) -> tuple[int, list[BlobFile]]:
    """The device with most of what healthy reads ask for, and that."""
    wanted = [file for file in blob_files(store) if file.read_first]
    devices = {file.device for file in wanted}
    device = max(devices, key=lambda number: sum(file.device == number for file in wanted))
    # Replicas and fragments take turns, so that each kind is damaged in each part.
    mine = [file for file in wanted if file.device == device]
    return device, sorted(mine, key=lambda file: (file.header.name.id, file.header.name.number))


async def test_deleted_blob_files_are_made_up_for(tmp_path: Path, while_: str) -> None:
    with start_store(tmp_path) as store:
        stock = await _filled(store, while_)
        _, victims = _most_read(store)
        for file in victims:
            file.path.unlink()
        await _after(store, stock, while_, victims)


async def test_short_blob_files_are_made_up_for(tmp_path: Path, while_: str) -> None:
    with start_store(tmp_path) as store:
        stock = await _filled(store, while_)
        device, victims = _most_read(store)
        shares = itertools.cycle([0.0, 0.3, 0.9999])
        for file, share in zip(victims, shares, strict=False):
            with file.path.open("r+b") as opened:
                opened.truncate(int(file.path.stat().st_size * share))
        await _after(store, stock, while_, victims)
        assert quarantined(store, device) == sorted(file.path.name for file in victims)


async def test_what_a_read_met_is_made_anew(tmp_path: Path) -> None:
    with start_store(tmp_path) as store:
        stock = await _filled(store, "running")
        _, victims = _most_read(store)
        originals = _bytes_of(victims)
        for number, file in enumerate(victims):
            if number % 3 == 0:
                file.path.unlink()
            elif number % 3 == 1:
                flip(file.path, [PARTS["data"]])
            else:
                os.truncate(file.path, 5000)
        await _after(store, stock, "running", victims)
        _wait_until_mended(store, originals)


async def test_two_of_six_fragments_and_two_of_three_replicas_may_be_gone(
    tmp_path: Path, while_: str
) -> None:
    with start_store(tmp_path) as store:
        stock = await _filled(store, while_)
        blobs: dict[bytes, list[BlobFile]] = {}
        for file in blob_files(store):
            blobs.setdefault(file.header.name.id, []).append(file)
        pairs = itertools.cycle([(0, 1), (1, 3), (0, 4), (2, 5), (0, 2), (1, 2)])
        gone = []
        for copies in blobs.values():
            copies.sort(key=lambda file: file.header.name.number)
            lost = next(pairs)
            pair = lost if copies[0].header.codec else tuple(number % 3 for number in lost)
            gone += [copies[number] for number in set(pair)]
        for number, file in enumerate(gone):
            if number % 3:
                file.path.unlink()
            else:
                flip(file.path, [PARTS["data"]])
        await _after(store, stock, while_, gone)


async def test_too_few_fragments_are_an_error_and_never_wrong_bytes(tmp_path: Path) -> None:
    with start_store(tmp_path) as store:
        stock = await _filled(store, "running")
        victim = next(
            place for place in stock.held if place.key == "large0" and place.bucket == "coded"
        )
        files = [file for file in blob_files(store) if file.key == "large0" and file.header.codec]
        assert len(files) == 6
        for file in files[:3]:
            flip(file.path, [PARTS["data"]])
        async with connect(store, keep=False) as s3:
            for _ in range(3):
                answer = await s3.get(*victim)
                assert (answer.status, answer.code) == (500, "InternalError")
            del stock.held[victim]
            assert (await s3.delete(*victim)).status == 204
            assert await stock.check(s3) == 0

"""Damaged journals, indexes and identities of one device: never served, the store starts, the others
answer, and the status says what is wrong.
"""

import asyncio
import os
import random
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.api.store import RunningStore, start_store
from tests.cluster.devices import all_indexed, device_path, device_paths, flip, status_of
from tests.cluster.load import Place, body_of
from tests.cluster.s3 import S3, connect
from tests.cluster.stock import Stock

VICTIM = 3
PAGE_BYTES = 4096
TIMES = 4
"""How often everything is read: each read meets one of the workers, and two of the replicas."""


COUNTS = {"small": 24, "middle": 10, "large": 1}
"""Rows are what is damaged here. The last ones written are no small objects': what is damaged in the
last group commit of a device that was killed can't be told from an unfinished write."""


async def _filled(store: RunningStore) -> Stock:
    stock = Stock(COUNTS)
    async with connect(store) as s3:
        await stock.fill(s3)
    await asyncio.to_thread(store.wait_for, lambda: all_indexed(store))
    return stock


class Killed(NamedTuple):
    """A store that was killed when all its rows were in its indexes. kept: its data as they were."""

    folder: Path
    kept: Path
    held: Stock

    def again(self) -> Stock:
        """Its data as they were, where they were (the ring names devices by path); what they hold."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        shutil.copytree(self.kept, self.folder / "data")
        return Stock(COUNTS, dict(self.held.held))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder, kept = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("kept") / "data"
    with start_store(folder) as store:
        held = asyncio.run(_filled(store))
        store.kill()
    os.rename(store.data, kept)
    shutil.rmtree(kept / "run")
    return Killed(folder, kept, held)


async def _takes_writes(s3: S3, stock: Stock) -> None:
    for number in range(12):
        await stock.put(s3, Place("plain", f"later{number}"), 3_000)


def _segments(store: RunningStore, device: int) -> list[Path]:
    return sorted((device_path(store, device) / "journal").iterdir())


async def test_flipped_payloads_in_a_journal_are_never_served(tmp_path: Path) -> None:
    """Each small object's payload, on every device where it is, but two replicas of three at a time."""
    with start_store(tmp_path) as store:
        stock = await _filled(store)
        damaged = 0
        for device in (0, 3):
            (segment,) = _segments(store, device)
            content = segment.read_bytes()
            offsets = [content.find(body_of(value)[:200]) for value in stock.held.values()]
            found = [offset + 100 for offset in offsets if offset >= 0]
            damaged += len(found)
            flip(segment, found)
        assert damaged > 20
        async with connect(store, keep=False) as s3:
            assert await stock.check(s3, TIMES) == 0
            noticed = sum(status_of(store, device)["corrupt_count"] for device in (0, 3))
            assert noticed > 0
            await _takes_writes(s3, stock)
            assert await stock.check(s3) == 0
        assert not [n for n in range(6) if status_of(store, n)["offline"]]


@pytest.mark.parametrize("where", ["header", "head", "payload", "end"])
async def test_a_journal_damaged_before_the_start_is_not_served(
    tmp_path: Path, killed: Killed, where: str
) -> None:
    stock = killed.again()

    def damage(store: RunningStore) -> None:
        flip(*_place_in_journal(store, stock, where))
        _forget_index(store, VICTIM)

    with start_store(killed.folder, prepare=damage) as store:
        async with connect(store, keep=False) as s3:
            assert await stock.check(s3, TIMES) == 0
            await _takes_writes(s3, stock)
            assert await stock.check(s3) == 0
            status = status_of(store, VICTIM)
        assert where != "head" or "acknowledged rows are lost" in status["offline"]
        assert not [n for n in range(6) if n != VICTIM and status_of(store, n)["offline"]]


def _place_in_journal(store: RunningStore, stock: Stock, where: str) -> tuple[Path, list[int]]:
    """The victim's journal, and offsets in the segment's header, a record's head, or a payload."""
    (segment,) = _segments(store, VICTIM)
    content = segment.read_bytes()
    match where:
        case "header":
            return segment, [10]
        case "head":
            name = re.search(rb"(?<!plain[.])(?<!coded[.])small1", content)
            assert name
            return segment, [name.start()]
        case "payload":
            found = [content.find(body_of(value)[:200]) for value in stock.held.values()]
            return segment, [next(offset for offset in found if offset >= 0) + 100]
    return segment, [-9]


def _forget_index(store: RunningStore, device: int) -> None:
    """Without its index a device reads its whole journal again."""
    for file in (device_path(store, device) / "index").iterdir():
        file.unlink()


@pytest.mark.parametrize("seed", range(3))
async def test_an_index_damaged_while_it_is_used_is_not_believed(tmp_path: Path, seed: int) -> None:
    with start_store(tmp_path) as store:
        stock = await _filled(store)
        _damage_index(store, seed)
        async with connect(store, keep=False) as s3:
            await stock.check(s3, TIMES)
            await _takes_writes(s3, stock)
            await stock.check(s3)
            assert await stock.check(s3) == 0
        assert not [n for n in range(6) if status_of(store, n)["offline"]]


@pytest.mark.parametrize("seed", range(3))
async def test_an_index_damaged_before_the_start_is_not_believed(
    tmp_path: Path, killed: Killed, seed: int
) -> None:
    stock = killed.again()
    with start_store(killed.folder, prepare=lambda store: _damage_index(store, seed)) as store:
        async with connect(store, keep=False) as s3:
            await stock.check(s3, TIMES)
            await _takes_writes(s3, stock)
            assert await stock.check(s3) == 0
        assert not [n for n in range(6) if status_of(store, n)["offline"]]


def _damage_index(store: RunningStore, seed: int) -> None:
    """seed 0: bytes everywhere. 1: the meta pages. 2: whole pages of nonsense."""
    chance = random.Random(seed)
    index = device_path(store, VICTIM) / "index" / "data.mdb"
    size = index.stat().st_size
    if seed == 0:
        flip(index, {chance.randrange(2 * PAGE_BYTES, size) for _ in range(size // 100)})
    elif seed == 1:
        flip(index, {chance.randrange(16, 200) + PAGE_BYTES * n for n in (0, 1) for _ in range(20)})
    else:
        with index.open("r+b") as file:
            for page in chance.sample(range(2, size // PAGE_BYTES), k=size // PAGE_BYTES // 3):
                file.seek(page * PAGE_BYTES)
                file.write(chance.randbytes(PAGE_BYTES))


@pytest.mark.parametrize(
    "damage", ["flipped", "empty", "of another device", "of another cluster", "gone"]
)
async def test_a_device_of_no_known_identity_is_offline_and_says_why(
    tmp_path: Path, killed: Killed, damage: str
) -> None:
    stock = killed.again()
    with start_store(killed.folder, prepare=lambda store: _damage_identity(store, damage)) as store:
        status = status_of(store, VICTIM)
        assert str(device_path(store, VICTIM)) in status["offline"], status
        async with connect(store, keep=False) as s3:
            assert await stock.check(s3) == 0
            await _takes_writes(s3, stock)
            assert await stock.check(s3) == 0
        assert not [n for n in range(6) if n != VICTIM and status_of(store, n)["offline"]]


def _damage_identity(store: RunningStore, damage: str) -> None:
    identity = device_path(store, VICTIM) / "device.toml"
    text = identity.read_text()
    match damage:
        case "flipped":
            flip(identity, [30])
        case "empty":
            identity.write_bytes(b"")
        case "of another device":
            identity.write_text(device_paths(store)[0].joinpath("device.toml").read_text())
        case "of another cluster":
            identity.write_text(text.replace('cluster = "', 'cluster = "f'))
        case "gone":
            identity.unlink()


async def test_a_device_whose_directory_can_not_be_used_is_offline(
    tmp_path: Path, killed: Killed
) -> None:
    stock = killed.again()

    def damage(store: RunningStore) -> None:
        path = device_path(store, VICTIM)
        os.rename(path, tmp_path / "elsewhere")
        path.write_bytes(b"a file in the way")

    with start_store(killed.folder, prepare=damage) as store:
        assert status_of(store, VICTIM)["offline"]
        async with connect(store, keep=False) as s3:
            assert await stock.check(s3) == 0
            await _takes_writes(s3, stock)

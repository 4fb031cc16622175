"""The `ring` driver on a real store, exported to real clients; and with its process killed."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from compute.nbd.server import NbdServer
from compute.objects.client import SwiftStore
from compute.volume.drivers.ring.driver import RingDriver
from runtime.randomness import SystemRandomness
from tests.api.store import RunningStore, start_store
from tests.compute.objects.test_store import TempAuthLogin

MIB: Final = 1024 * 1024


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A real store."""
    with start_store(tmp_path_factory.mktemp("ring"), workers=1) as running:
        yield running


@pytest.fixture
async def driver(store: RunningStore, tmp_path: Path) -> AsyncIterator[RingDriver]:
    """A driver with a server of its own."""
    objects, nbd = SwiftStore(TempAuthLogin(store)), NbdServer()
    await nbd.listen_unix(str(tmp_path / "nbd"))
    made = RingDriver(objects, nbd, SystemRandomness())
    yield made
    await made.close()
    await nbd.close()
    await objects.close()


async def run(*command: str) -> str:
    """A program beside this loop; its output."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


async def test_clients_fill_it_and_read_it_back_after_it_was_closed(
    driver: RingDriver, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(9 * MIB) + bytes(30 * MIB) + os.urandom(MIB))
    await driver.create("v", 40 * MIB)
    where = (await driver.attach("v", "first", read_only=False)).data
    uri = f"nbd+unix:///first?socket={where['unix']}"
    await run("nbdcopy", "--flush", str(source), uri)
    await run("qemu-img", "compare", "-f", "raw", "-F", "raw", str(source), uri)
    await driver.snapshot("s", "v")
    told = await run("qemu-io", "-f", "raw", "-c", "write -P 9 1000 100000", "-c", "discard 0 4M", uri)
    assert "failed" not in told
    await driver.detach("v", "first")
    async with driver.open_snapshot("s", "v") as disk:
        assert await disk.read(0, 40 * MIB) == source.read_bytes()
        holes = [extent async for extent in disk.extents(0, 40 * MIB) if not extent.data]
    assert sum(extent.length for extent in holes) >= 26 * MIB
    where = (await driver.attach("v", "again", read_only=True)).data
    uri = f"nbd+unix:///again?socket={where['unix']}"
    await run("nbdcopy", uri, str(tmp_path / "copy"))
    expected = bytearray(source.read_bytes())
    expected[: 4 * MIB] = bytes(4 * MIB)
    assert (tmp_path / "copy").read_bytes() == expected
    await driver.detach("v", "again")
    await driver.delete_snapshot("s", "v")
    await driver.delete("v")


WRITER: Final = """
import asyncio, sys
from compute.nbd.server import NbdServer
from compute.objects.client import Place, SwiftStore
from compute.volume.drivers.ring.driver import RingDriver
from runtime.randomness import SystemRandomness

class Known:
    async def place(self, *, renew=False):
        return Place(sys.argv[1], sys.argv[2])

async def main():
    driver = RingDriver(SwiftStore(Known()), NbdServer(), SystemRandomness())
    async with driver.open("k", writable=True) as disk:
        async def write_on(lane):
            for number in range(100_000):
                await disk.write(lane * 1048576 + number % 200 * 4096, b"%8d" % number * 512)
                print(lane, number, flush=True)
        await asyncio.gather(*map(write_on, range(4)))

asyncio.run(main())
"""
"""Four lanes, each writes its blocks round and round and says which number was answered."""


async def test_what_was_answered_is_there_after_kill_9(driver: RingDriver, store: RunningStore) -> None:
    await driver.create("k", 8 * MIB)
    place = await TempAuthLogin(store).place()
    for seed in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, place.url, place.token], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        latest = dict.fromkeys(range(4), -1)
        for _ in range(random.Random(seed).randrange(100, 1500)):
            lane, number = map(int, process.stdout.readline().split())
            latest[lane] = number
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:  # what it said before it died
            lane, number = map(int, line.split())
            latest[lane] = number
        process.wait()
        process.stdout.close()
        async with driver.open("k", writable=False) as disk:
            for lane, last in latest.items():
                # the block of the last answer: its write, or that of the next round
                found = int(await disk.read(lane * MIB + last % 200 * 4096, 8))
                assert found in (last, last + 200), (lane, last, found)
    await driver.delete("k")

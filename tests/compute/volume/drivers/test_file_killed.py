"""The `file` backend's process is killed: what was flushed is there, what was half made goes."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from compute.nbd.server import NbdServer
from compute.volume.drivers.file.driver import FileDriver

MIB: Final = 1024 * 1024
BLOCKS: Final = 200
WRITER: Final = """
import asyncio, sys
from compute.nbd.server import NbdServer
from compute.volume.drivers.contract import ImageSource
from compute.volume.drivers.file.driver import FileDriver

async def endless():
    while True:
        yield b"x" * 4096
        await asyncio.sleep(0)

async def main():
    driver = FileDriver("file", sys.argv[1], NbdServer())
    await driver.start()
    image = ImageSource("i", "raw", 1 << 40, 1 << 40, (), endless)
    making = asyncio.ensure_future(driver.create_from_image("half", image, 1 << 40))
    async with driver.open("k", writable=True) as disk:
        async def write_on(lane):
            for number in range(100_000):
                await disk.write(lane * 1048576 + number % 200 * 4096, b"%8d" % number * 512)
                await disk.flush()
                print(lane, number, flush=True)
        await asyncio.gather(making, *map(write_on, range(4)))

asyncio.run(main())
"""
"""Four lanes write and flush their blocks round and round; beside them a volume is made without end."""


async def started(folder: Path) -> FileDriver:
    """A process's driver."""
    driver = FileDriver("file", str(folder), NbdServer())
    await driver.start()
    return driver


@pytest.mark.parametrize("lines", [50, 1100])
async def test_what_was_flushed_is_there_after_kill_9(tmp_path: Path, lines: int) -> None:
    folder = tmp_path / "volumes"
    driver = await started(folder)
    await driver.create("k", 8 * MIB)
    await driver.close()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        latest = dict.fromkeys(range(4), -1)
        for _ in range(lines):
            lane, number = map(int, process.stdout.readline().split())
            latest[lane] = number
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:  # what it said before it died
            lane, number = map(int, line.split())
            latest[lane] = number
    assert [path.name for path in (folder / "new").iterdir()] == ["half.raw"]
    driver = await started(folder)
    assert list((folder / "new").iterdir()) == []
    assert not await driver.exists("half")
    async with driver.open("k", writable=False) as disk:
        for lane, last in latest.items():
            found = int(await disk.read(lane * MIB + last % BLOCKS * 4096, 8))
            assert found in (last, last + BLOCKS), (lane, last, found)
    await driver.delete("k")
    await driver.close()

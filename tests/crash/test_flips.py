"""One flipped bit anywhere in a device's files: no row is answered wrong, none is missing from a page.

The device answers right, or that it can't, or is refused; where LMDB ends the process on a damaged
page, the next starts find that out and rebuild the index.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.clock import HybridClock, SystemClock
from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from storage.device.engine import Device
from storage.types import ZERO_STAMP, Ok, Write
from tests.crash.flip_one import shard_of

ROOT = Path(__file__).parents[2]
INDEXED, IN_JOURNAL = 300, 20


async def make_device(path: Path) -> dict[str, tuple[str, str]]:
    """A device as a crash leaves it at `path`: most rows in the index, some in the journal alone.

    The last row is none of those returned: no later write proves it durable.
    """
    running = f"{path}-running"
    device = await Device.open(
        running, RealDisk(), SystemClock(), SystemRandomness(), device_id=1, cluster="flips"
    )
    hybrid = HybridClock(SystemClock(), b"flipping")
    rows: dict[str, tuple[str, str]] = {}
    for number in range(INDEXED + IN_JOURNAL):
        if number == INDEXED:
            await device.checkpoint()
        name = f"row-{number}" + "x" * (number % 7)
        rows[name] = (hybrid.stamp().hex(), f"payload of {name} " * 10)
        await put(device, name, *rows[name])
    await put(device, "last", hybrid.stamp().hex(), "")
    shutil.copytree(running, path)
    await device.close()
    return rows


async def put(device: Device, name: str, stamp: str, payload: str) -> None:
    """Write a row and wait."""
    answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    version = bytes.fromhex(stamp) + ZERO_STAMP
    message = Write(shard_of(name), name.encode(), version, 0, len(payload), name.encode())
    deadline = time.monotonic() + 20
    device.send(message, payload.encode(), deadline, lambda answer, _: answered.set_result(answer))
    assert await answered == Ok()


@pytest.mark.parametrize(("seed", "count", "only"), [(1, 40, ""), (2, 60, "data.mdb")])
async def test_a_flipped_bit_is_never_served(tmp_path: Path, seed: int, count: int, only: str) -> None:
    rows = await make_device(tmp_path / "device")
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps(rows))
    command = [sys.executable, "-m", "tests.crash.flip_one", str(tmp_path / "device"), str(expected)]
    found = subprocess.run(
        [*command, str(seed), str(count), only],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
    )
    verdicts = found.stdout.splitlines()
    assert len(verdicts) == count
    fine = ("ok", "refused")
    assert [line for line in verdicts if line.split(maxsplit=2)[2] not in fine] == []

"""Opens copies of a device with one bit flipped each, and says what each then answers.

A program of its own, because LMDB may end the process on a damaged page: each copy is opened in a
forked child. usage: flip_one.py DEVICE EXPECTED SEED COUNT [ONLY], where ONLY ends the names of the
files to be damaged; prints one line per flip: file, offset, verdict.
"""

import asyncio
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from runtime.clock import SystemClock
from runtime.disk import RealDisk
from runtime.randomness import SystemRandomness
from storage.device.engine import Device
from storage.device.identity import DeviceRefused
from storage.types import ZERO_STAMP, Failed, Page, Read, Row, RowMessage, Scan

SHARDS = 3
STARTS_MAX = 6


async def ask(device: Device, message: RowMessage) -> tuple[Any, bytes]:
    """Send a message; its answer and payload."""
    answered: asyncio.Future[tuple[Any, bytes]] = asyncio.get_running_loop().create_future()
    deadline = time.monotonic() + 20
    device.send(message, b"", deadline, lambda *both: answered.set_result(both))
    return await answered


def shard_of(name: str) -> bytes:
    """Rows are spread over some shards."""
    return b"shard-%d" % (len(name) % SHARDS)


async def look(path: str, expected: dict[str, tuple[str, str]]) -> str:
    """What is wrong with a device's answers, or empty."""
    device = await Device.open(
        path, RealDisk(), SystemClock(), SystemRandomness(), device_id=1, cluster="flips"
    )
    try:
        return await wrong_rows(device, expected) or await wrong_pages(device, expected)
    finally:
        await device.close()


async def wrong_rows(device: Device, expected: dict[str, tuple[str, str]]) -> str:
    """A row that is answered other than it was written."""
    for name, (stamp, payload) in expected.items():
        answer, data = await ask(device, Read(shard_of(name), name.encode()))
        wanted = bytes.fromhex(stamp) + ZERO_STAMP
        if isinstance(answer, Row):
            if (answer.version, answer.head, data) != (wanted, name.encode(), payload.encode()):
                return f"row {name}: {answer.version.hex()}"
        elif not isinstance(answer, Failed):
            return f"row {name}: {answer}"
    return ""


async def wrong_pages(device: Device, expected: dict[str, tuple[str, str]]) -> str:
    """A page that lacks a row, or has one too many."""
    for number in range(SHARDS):
        shard = b"shard-%d" % number
        answer, _ = await ask(device, Scan(shard, b"", b"", 10_000))
        if isinstance(answer, Page):
            names = [row.name.decode() for row in answer.rows if row.name != b"last"]
            if names != sorted(name for name in expected if shard_of(name) == shard):
                return f"page of {shard.decode()}: {len(names)} rows"
    return ""


def in_a_child(path: str, expected: dict[str, tuple[str, str]]) -> str:
    """Look in a forked child: "ok", "refused", "wrong ..." or "died ..."."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            found = asyncio.run(look(path, expected))
            verdict = f"wrong {found}" if found else "ok"
        except DeviceRefused:
            verdict = "refused"
        except BaseException as error:
            verdict = f"raised {error!r}"
        os.write(write_end, verdict.encode())
        os._exit(0)
    os.close(write_end)
    verdict = os.read(read_end, 10_000).decode()
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    return verdict or f"died {os.waitstatus_to_exitcode(status)}"


def main(device: str, expected_file: str, seed: str, count: str, only: str = "") -> None:
    """Flip and look."""
    rng = random.Random(int(seed))
    expected = json.loads(Path(expected_file).read_text())
    files = [path for path in Path(device).rglob(f"*{only}") if path.is_file() and path.stat().st_size]
    for number in range(int(count)):
        file = rng.choice(files)
        copy = Path(f"{device}-{number}")
        shutil.copytree(device, copy)
        target = copy / file.relative_to(device)
        data = bytearray(target.read_bytes())
        offset = rng.randrange(len(data))
        data[offset] ^= 1 << rng.randrange(8)
        target.write_bytes(data)
        for _ in range(STARTS_MAX):
            verdict = in_a_child(str(copy), expected)
            if not verdict.startswith("died"):
                break
        shutil.rmtree(copy)
        print(file.relative_to(device), offset, verdict, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

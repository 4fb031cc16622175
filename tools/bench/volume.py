"""`atoll bench volume`: a volume of the object store beside a local qcow2 file, both over NBD.

One run: a store, a process that exports a `ring` volume, and qemu-nbd with a new qcow2 file on the
same disk. `qemu-img bench` is the client of both: 4 KiB at random at depth 32, 1 MiB sequentially at
depth 4, read and written, in turns. Every write that our server answers is in the store, three times,
with fsync; qemu-nbd keeps writes in the host's memory until they are flushed, as often as `--flush`
says, as a guest's journal does. `durable` is a second qemu-nbd that writes through: each write is on
the one disk when it is answered. Reads are of what was written before, from our cache and from the
host's memory; `cold` ones with a cache that is empty, from the store. Then a snapshot of the volume, a
clone of a raw image of 2 GiB and one of the volume, which has just been written at random, in seconds.
Needs qemu-utils.
"""

import argparse
import asyncio
import json
import re
import secrets
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from compute.objects.client import Place
from tools.bench.servers import SWIFT_USER, AtollStore

GIB: Final = 1024**3
MIB: Final = 1024**2
TOOK: Final = re.compile(r"Run completed in ([0-9.]+) seconds")
READY_WITHIN_S: Final = 30.0


class Workload(NamedTuple):
    """size_bytes of one request, depth of them at once, step_bytes from one to the next."""

    name: str
    writes: bool
    size_bytes: int
    depth: int
    requests: int
    is_random: bool
    goal: float


WORKLOADS: Final = (
    Workload("sequential write 1 MiB", True, MIB, 4, 256, False, 0.5),
    Workload("sequential read 1 MiB", False, MIB, 4, 256, False, 0.5),
    Workload("random write 4 KiB", True, 4096, 32, 4000, True, 0.25),
    Workload("random read 4 KiB", False, 4096, 32, 4000, True, 0.25),
)
STRIDE_BYTES: Final = 4096 * 8191
"""qemu-img has no random offsets: it goes on by a step that visits blocks in no order of the disk."""


def run(argv: list[str]) -> int:
    """The command line after `volume`; the exit status."""
    parser = argparse.ArgumentParser(prog="atoll bench volume", description=__doc__)
    parser.add_argument("--gib", type=int, default=1, help="size of the volume")
    parser.add_argument("--flush", type=int, default=64, help="a flush after so many writes")
    parser.add_argument("--share", type=int, default=1, help="one of so many requests, for a short run")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="atoll-volume-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        store = AtollStore(folder / "data", _free_port())
        store.start()
        try:
            results = uvloop.run(_measure(store, folder, args))
        finally:
            store.close()
    results["fsync"] = store.fsync
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        _show(results)
    return 0


def _show(results: dict[str, object]) -> None:
    for workload in WORKLOADS:
        row = results[workload.name]
        assert isinstance(row, dict)
        print(
            f"{workload.name:24} {row['ring_per_s']:7.0f}/s, qcow2 {row['qcow2_per_s']:7.0f}/s,"
            f" {row['share']:.0%} of it (goal {workload.goal:.0%})"
            + (f", durable qcow2 {row['durable_per_s']:7.0f}/s" if workload.writes else "")
            + (f", cold {row['cold_per_s']:7.0f}/s" if not workload.writes else "")
        )
    for name, bar in (
        ("snapshot_s", " (bar 0.2)"),
        ("clone_of_image_s", " (bar 0.2)"),
        ("clone_of_volume_s", ""),
    ):
        print(f"{name:24} {results[name]:.3f} s{bar}")
    print(f"fsync {results['fsync']}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _measure(store: AtollStore, folder: Path, args: argparse.Namespace) -> dict[str, object]:
    from compute.nbd.server import NbdServer
    from compute.objects.client import SwiftStore
    from compute.volume.drivers.ring.driver import RingDriver
    from runtime.randomness import SystemRandomness

    size = args.gib * GIB
    objects, nbd = SwiftStore(_Login(store)), NbdServer()
    await nbd.listen_unix(str(folder / "ring"))
    driver = RingDriver(objects, nbd, SystemRandomness())
    local = [_qcow2(folder, "local", size, "writeback")]
    local.append(_qcow2(folder, "durable", size, "writethrough"))
    results: dict[str, dict[str, float]] = {}
    workloads = [each._replace(requests=each.requests // args.share) for each in WORKLOADS]
    try:
        for name in ("local", "durable"):
            await asyncio.to_thread(_wait_for, folder / name)
        await driver.create("v", size)
        await driver.attach("v", "v", read_only=False)
        ring = f"nbd+unix:///v?socket={folder}/ring"
        qcow2 = f"nbd+unix:///?socket={folder}/local"
        for workload in workloads:
            turns = (qcow2, ring, qcow2, ring)
            rates = [await _rate(workload, uri, size, args.flush) for uri in turns]
            there, here = max(rates[0], rates[2]), max(rates[1], rates[3])
            row = {"qcow2_per_s": there, "ring_per_s": here, "share": here / there}
            if workload.writes:
                uri = f"nbd+unix:///?socket={folder}/durable"
                row["durable_per_s"] = await _rate(workload, uri, size, args.flush)
            results[workload.name] = row
        await driver.detach("v", "v")
        for workload in workloads:
            if not workload.writes:
                other = RingDriver(objects, nbd, SystemRandomness())
                await other.attach("v", "v", read_only=True)
                results[workload.name]["cold_per_s"] = await _rate(workload, ring, size, args.flush)
                await other.close()
        await driver.attach("v", "v", read_only=False)
        await _rate(workloads[2], ring, size, args.flush)
        return {**results, **await _constant_time(driver, objects)}
    finally:
        for process in local:
            process.terminate()
            process.wait()
        await driver.close()
        await nbd.close()
        await objects.close()


class _Login:
    """The demo user."""

    def __init__(self, store: AtollStore) -> None:
        self._store = store

    async def place(self, *, renew: bool = False) -> Place:
        headers = {"X-Auth-User": SWIFT_USER, "X-Auth-Key": self._store.server.secret_key}
        url = f"{self._store.server.endpoint}/auth/v1.0"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own
        answer = await asyncio.to_thread(urllib.request.urlopen, request)
        with answer:
            return Place(answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"])


def _qcow2(folder: Path, name: str, size: int, cache: str) -> subprocess.Popen[bytes]:
    image = folder / f"{name}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), str(size)], check=True)
    words = ["qemu-nbd", "-t", "-k", str(folder / name), "-f", "qcow2", "--discard=unmap"]
    return subprocess.Popen([*words, f"--cache={cache}", str(image)])


def _wait_for(path: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)


async def _rate(workload: Workload, uri: str, size: int, flush: int) -> float:
    """Requests a second."""
    words = ["qemu-img", "bench", "-f", "raw", "-c", str(workload.requests), "-d", str(workload.depth)]
    words += ["-s", str(workload.size_bytes)]
    if workload.is_random:
        words += ["-S", str(STRIDE_BYTES % size)]
    if workload.writes:
        # a flush once in a while; --no-drain: it is under way beside the writes
        words += ["-w", "--pattern", "7", "--flush-interval", str(max(flush, workload.depth))]
        words += ["--no-drain"]
    process = await asyncio.create_subprocess_exec(
        *words, uri, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, wrong = await process.communicate()
    took = TOOK.search(told.decode())
    if took is None:
        raise RuntimeError(f"qemu-img bench failed: {wrong.decode()}")
    return workload.requests / float(took[1])


async def _constant_time(driver: object, objects: object) -> dict[str, object]:
    from compute.objects.client import SwiftStore
    from compute.volume.drivers.contract import ImageSource, Piece
    from compute.volume.drivers.ring.driver import RingDriver

    assert isinstance(driver, RingDriver)
    assert isinstance(objects, SwiftStore)
    await objects.make_container("images")
    await objects.put("images", "i", secrets.token_bytes(MIB))
    # the pieces name the same bytes again and again: what they hold is not read for a clone
    pieces = tuple(Piece("images", "i", 0, MIB) for _ in range(2 * GIB // MIB))

    async def nothing() -> None:
        """An image that is raw is not read."""

    image = ImageSource("i", "raw", 2 * GIB, 2 * GIB, pieces, nothing)  # type: ignore[arg-type]
    return {
        "snapshot_s": await _timed(driver.snapshot("s", "v")),
        "clone_of_image_s": await _timed(driver.create_from_image("of-image", image, 2 * GIB)),
        "clone_of_volume_s": await _timed(driver.clone("of-volume", "v", 2 * GIB)),
    }


async def _timed(work: Awaitable[None]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun

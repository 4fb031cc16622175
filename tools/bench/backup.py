"""`atoll bench backup`: a full and an incremental backup of a large, mostly empty volume.

A store that this command starts, a `ring` volume of 100 GiB in it with 200 MiB of bytes that nothing
compresses, at eight places. Then 10 MiB of it change, in pieces of 16 KiB. Told are the time of each
backup and what it added to the containers of backups.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from tools.bench.servers import SWIFT_USER, AtollStore, free_port

GIB: Final = 1 << 30
MIB: Final = 1 << 20
PIECE: Final = 16 * 1024
PLACES: Final = 8
VOLUME: Final = "00000000-0000-4000-8000-000000000001"


class Measured(NamedTuple):
    """seconds: of the backup; stored: bytes that it added; data: bytes that were written before."""

    name: str
    seconds: float
    stored: int
    data: int


def run(argv: list[str]) -> int:
    """The command line after `backup`; the exit status."""
    parser = argparse.ArgumentParser(prog="atoll bench backup", description=__doc__)
    parser.add_argument("--size-gib", type=int, default=100)
    parser.add_argument("--data-mib", type=int, default=200)
    parser.add_argument("--changed-mib", type=int, default=10)
    parser.add_argument("--encrypted", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="atoll-backup-") as folder:
        store = AtollStore(Path(folder) / "store", free_port())
        store.start()
        try:
            rows = asyncio.run(_measure(Path(folder), store, args))
        finally:
            store.close()
    if args.json:
        print(json.dumps({row.name: row._asdict() for row in rows}))
        return 0
    for row in rows:
        stored, data = row.stored / MIB, row.data / MIB
        print(f"{row.name:12} {row.seconds:6.2f} s {stored:8.1f} MiB stored of {data:.0f} MiB")
    return 0


class _Login:
    """The demo user of the store."""

    def __init__(self, store: AtollStore) -> None:
        self._store = store

    async def place(self, *, renew: bool = False) -> Any:
        from compute.objects.client import Place

        server = self._store.server
        headers = {"X-Auth-User": SWIFT_USER, "X-Auth-Key": server.secret_key}
        request = urllib.request.Request(f"{server.endpoint}/auth/v1.0", headers=headers)  # noqa: S310
        answer = await asyncio.to_thread(urllib.request.urlopen, request)
        with answer:
            return Place(answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"])


async def _measure(folder: Path, store: AtollStore, args: argparse.Namespace) -> list[Measured]:
    from compute.backup.vault import Vault
    from compute.database.engine import Database
    from compute.database.migrate import upgrade
    from compute.identity.secrets import Sealer
    from compute.nbd.server import NbdServer
    from compute.objects.client import SwiftStore
    from compute.site import Site
    from compute.volume.drivers.ring.driver import RingDriver

    objects, database = SwiftStore(_Login(store)), Database(f"sqlite:///{folder}/cloud.db")
    chance = SystemRandomness()
    driver = RingDriver(objects, NbdServer(), chance)
    try:
        upgrade(database)
        site = Site(
            *(database, cast(Any, None), objects, str(folder), "", "", "bench"),
            *(SystemClock(), chance, lambda purpose: Sealer(b"s" * 32, purpose)),
        )
        vault = Vault(site, encrypts=args.encrypted)
        await driver.create(VOLUME, args.size_gib * GIB)
        await _fill(driver, args)
        full = await _backup(vault, objects, driver, "full", None)
        await _change(driver, args)
        more = await _backup(vault, objects, driver, "incremental", "full")
        return [
            full._replace(data=args.data_mib * MIB),
            more._replace(stored=more.stored - full.stored, data=args.changed_mib * MIB),
        ]
    finally:
        await driver.close()
        await objects.close()
        database.close()


async def _fill(driver: Any, args: argparse.Namespace) -> None:
    chance, each = random.Random(1), args.data_mib // PLACES  # noqa: S311 - content, no secret
    async with driver.open(VOLUME, writable=True) as disk:
        for place in range(PLACES):
            for number in range(each):
                offset = place * args.size_gib * GIB // PLACES + number * MIB
                await disk.write(offset, chance.randbytes(MIB))


async def _change(driver: Any, args: argparse.Namespace) -> None:
    chance, each = random.Random(2), args.data_mib // PLACES  # noqa: S311
    slots = chance.sample(range(args.data_mib * MIB // PIECE), args.changed_mib * MIB // PIECE)
    async with driver.open(VOLUME, writable=True) as disk:
        for slot in slots:
            place, within = divmod(slot * PIECE, each * MIB)
            await disk.write(place * args.size_gib * GIB // PLACES + within, chance.randbytes(PIECE))


async def _backup(vault: Any, objects: Any, driver: Any, name: str, parent: str | None) -> Measured:
    """stored: by all so far."""
    begun = time.perf_counter()
    async with driver.open(VOLUME, writable=False) as disk:
        copy = await vault.take(name, "p", disk, parent_id=parent)
    seconds = time.perf_counter() - begun
    return Measured(name, seconds, await _stored(objects, copy.container), 0)


async def _stored(objects: Any, container: str) -> int:
    """Bytes of all backups."""
    total, after = 0, ""
    while rows := await objects.listing(container, marker=after):
        total += sum(row.size for row in rows)
        after = rows[-1].name
    return total

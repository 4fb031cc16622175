"""A site for the engine: a real database, an object store in memory."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from compute.database.engine import Database
from compute.database.migrate import upgrade
from compute.identity.secrets import Sealer
from compute.objects.contract import ObjectStore
from compute.objects.memory import MemoryStore
from compute.site import Site
from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness

MIB = 1024 * 1024
SECRET = b"s" * 32


def noise(length: int, seed: int) -> bytes:
    """Bytes that nothing compresses."""
    return random.Random(seed).randbytes(length)


def site_on(database: Database, objects: ObjectStore, secret: bytes = SECRET) -> Site:
    """A process's view of it."""
    return Site(
        database,
        cast(Any, None),
        objects,
        "",
        "http://cloud",
        "RegionOne",
        "host",
        SystemClock(),
        SystemRandomness(),
        lambda purpose: Sealer(secret, purpose),
    )


@contextlib.contextmanager
def sites(folder: Path, url: str = "") -> Iterator[Site]:
    """A new one."""
    database = Database(url or f"sqlite:///{folder}/cloud.db")
    try:
        upgrade(database)
        yield site_on(database, MemoryStore())
    finally:
        database.close()


def stored_bytes(site: Site) -> int:
    """Of all objects."""
    objects = cast(MemoryStore, site.objects).containers
    return sum(len(found.data) for names in objects.values() for found in names.values())


def names(site: Site, prefix: str = "") -> set[str]:
    """Of all objects."""
    objects = cast(MemoryStore, site.objects).containers
    return {name for found in objects.values() for name in found if name.startswith(prefix)}

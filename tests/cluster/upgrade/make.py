"""Makes the archives beside this file: data of stores of an earlier version, one stopped, one killed.

    git worktree add ../earlier d1e1ff5
    python -m tests.cluster.upgrade.make ../earlier

d1e1ff5 is the last commit before nodes, keepers and ring epochs. Its store has a clock that began at
BEGINNING, so that no machine finds its stamps in the future, and paths relative to RUN, where its
processes work, which an operator's store does not have: so its data can be put anywhere. (Neither
version has versioned buckets.) The archives are not made anew: what was written does not change.
"""

import asyncio
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from yarl import URL

from tests.api.store import RunningStore, clean_environment
from tests.cluster.devices import all_indexed
from tests.cluster.s3 import S3, connect
from tests.cluster.upgrade.contents import KEYS, body, write_first, write_late
from tools.bench.signing import Credentials, Signer, canonical_path, canonical_query

BEGINNING: Final = datetime(2025, 1, 1, 12, tzinfo=UTC)
ARCHIVES: Final = Path(__file__).parent
RUN: Final = Path("data", "run")
TORN_BYTES: Final = 8_000_000

_EARLIER_STORE: Final = """
import os, sys, time
sys.path.insert(0, {checkout!r})
import msgspec
from runtime.clock import SystemClock
from tools import up
from tools.main import main
SystemClock.now_ns = lambda self: time.time_ns() - {behind_ns}
load = up.load
up.load = lambda *a, **b: msgspec.structs.replace(load(*a, **b), data="..")
sys.argv[0] = "atoll"
sys.exit(main(["up", "--config", {config!r}]))
"""


class EarlierStore(RunningStore):
    """The store of an earlier checkout, on a clock that is behind."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.behind_ns = time.time_ns() - int(BEGINNING.timestamp() * 1e9)
        config = str(folder / "atoll.toml")
        script = _EARLIER_STORE.format(checkout=str(checkout), behind_ns=self.behind_ns, config=config)
        (folder / RUN).mkdir(parents=True)
        # The command that follows is this version's: it becomes the script's arguments.
        wrapper = ("env", "-C", str(folder / RUN), sys.executable, "-P", "-c", script)
        super().__init__(folder, clean_environment(**KEYS), {"part_min_bytes": 1}, wrapper)

    def client(self, s3: S3) -> "EarlierS3":
        """One that signs at the store's time."""
        return EarlierS3(s3, self)


class EarlierS3(S3):
    """A client whose clock is behind as the store's is."""

    def __init__(self, s3: S3, store: EarlierStore) -> None:
        self._keys = Credentials(store.access_key, store.secret_key)
        self._behind_ns = store.behind_ns
        super().__init__(s3.session, s3.endpoint, self._keys)

    def signed(
        self, method: str, bucket: str, key: str = "", query: Iterable[tuple[str, str]] = ()
    ) -> tuple[URL, dict[str, str]]:
        """See S3."""
        path, text = canonical_path(bucket, key), canonical_query(query)
        host = self.endpoint.partition("://")[2]
        now = datetime.fromtimestamp((time.time_ns() - self._behind_ns) / 1e9, UTC)
        headers = Signer(self._keys, host, now).headers(method, path, text)
        return URL(f"{self.endpoint}{path}{'?' + text if text else ''}", encoded=True), headers


async def fill(store: EarlierStore, *, killed: bool) -> None:
    """Write everything and end the store."""
    async with connect(store) as session:
        s3 = store.client(session)
        await write_first(s3)
        await asyncio.to_thread(store.wait_for, lambda: all_indexed(store))
        with begin_torn(store, s3):
            await write_late(s3)
            if killed:
                store.kill()
    if not killed:
        store.stop()


def begin_torn(store: EarlierStore, s3: S3) -> socket.socket:
    """A large object of which half is sent."""
    url, headers = s3.signed("PUT", "plain", "torn")
    lines = [f"PUT {url.raw_path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"content-length: {TORN_BYTES}", "", ""]
    connection = socket.create_connection((store.host, store.port))
    connection.sendall("\r\n".join(lines).encode() + body("torn", TORN_BYTES)[: TORN_BYTES // 2])
    return connection


def pack(data: Path, archive: Path) -> None:
    """What is left of sockets does not belong to it."""
    shutil.rmtree(data / "run", ignore_errors=True)
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        packed.add(data, "data", filter=_nobodys)
    print(f"{archive.name}: {os.path.getsize(archive)} bytes")


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(BEGINNING.timestamp())
    return entry


def main(checkout: str) -> None:
    """Make both."""
    for name in ("stopped", "killed"):
        with tempfile.TemporaryDirectory() as scratch:
            store = EarlierStore(Path(scratch), Path(checkout).resolve())
            store.start()
            try:
                asyncio.run(fill(store, killed=name == "killed"))
            finally:
                store.kill()
            pack(store.data, ARCHIVES / f"{name}.tar.xz")


if __name__ == "__main__":
    main(sys.argv[1])

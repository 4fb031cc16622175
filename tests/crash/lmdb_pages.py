"""LMDB's own writes as a disk's events: which pages a commit wrote, and in which order they may arrive.

LMDB writes its file itself, not through the disk door. So its environment is wrapped: what each commit
changed is found by comparing the file before and after, and taken down in LMDB's order (mdb.c,
mdb_txn_commit): the data pages, an fdatasync, one of the two meta pages, written through to the disk.
What the environment's flags say must be so for that; `Recorder` checks them. Without `sync` LMDB leaves
the order to the kernel, and no syncs are taken down then.

A meta page's change lies within one sector, which arrives or does not (LMDB stands on that).
"""

import itertools
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import patch

import lmdb

from storage.device import index as lmdb_index
from storage.device.index_contract import Index
from tests.crash.crash_images import INDEX_FILE, SECTOR_BYTES, Event
from tests.crash.recording_disk import RecordingDisk

PAGE_BYTES: Final = 4096
MAP_BYTES: Final = 16 * 1024 * 1024
META_PAGES: Final = 2

_numbers = itertools.count()


class Recorder:
    """Opens LMDB indexes with a recording disk's content, each in a directory below `scratch`."""

    def __init__(self, disk: RecordingDisk, scratch: Path, *, sync: bool = True) -> None:
        """sync: false makes LMDB leave out its syncs."""
        self._disk = disk
        self._scratch = scratch
        self._sync = sync

    def open_index(self, path: str) -> Index:
        """See OpenIndex."""
        real = self._scratch / f"index-{next(_numbers)}"
        real.mkdir()
        name = f"{path}/{INDEX_FILE}"
        if name in self._disk.image().files:
            file = self._disk.open(name)
            (real / INDEX_FILE).write_bytes(file.pread(0, file.size()))
        else:
            self._disk.create(name)
        recorded = partial(self._environment, name, lmdb.open)
        with patch.object(lmdb, "open", recorded):
            index = lmdb_index.open_lmdb(str(real), MAP_BYTES)
        return cast(Index, ScratchIndex(index, real))

    def _environment(
        self, name: str, open_lmdb: Callable[..., Any], path: str, **options: Any
    ) -> "RecordedEnvironment":
        """What stands for lmdb.open."""
        env = open_lmdb(path, **options, **({} if self._sync else {"sync": False}))
        flags = env.flags()
        assert flags["sync"] is self._sync
        assert flags["metasync"]
        assert not flags["writemap"]
        assert env.stat()["psize"] == PAGE_BYTES
        return RecordedEnvironment(env, Pages(self._disk, name, Path(path), sync=self._sync))


class Pages:
    """The file as it was last seen."""

    def __init__(self, disk: RecordingDisk, name: str, directory: Path, *, sync: bool) -> None:
        self._disk = disk
        self._inode = disk.inode(name)
        self._file = directory / INDEX_FILE
        self._sync = sync
        self._seen = bytes(self._inode.data)
        self._opened()

    def _opened(self) -> None:
        """A new environment's meta pages are written and not synced."""
        data = self._file.read_bytes()
        if data != self._seen:
            assert not self._seen
            self._write(0, data)
            self._seen = data

    def committed(self) -> None:
        """A transaction was committed."""
        data = self._file.read_bytes()
        pages = {at: data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES)}
        changed = [at for at, page in pages.items() if page != self._seen[at : at + PAGE_BYTES]]
        meta = [at for at in changed if at < META_PAGES * PAGE_BYTES]
        if not changed:
            return
        assert len(meta) == 1, "one commit writes one meta page"
        for at in changed:
            if at not in meta:
                self._write(at, pages[at])
        self._synced()
        self._write(meta[0], pages[meta[0]][:SECTOR_BYTES])
        self._synced()
        assert bytes(self._inode.data) == data, "a meta page's change lies within one sector"
        self._seen = data

    def _write(self, offset: int, data: bytes) -> None:
        content = self._inode.data
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset : offset + len(data)] = data
        self._disk.record(Event("append", self._inode.number, data, offset))

    def _synced(self) -> None:
        if self._sync:
            self._disk.record(Event("sync", self._inode.number))


class RecordedEnvironment:
    """An LMDB environment whose commits are taken down."""

    def __init__(self, env: Any, pages: Pages) -> None:
        self._env = env
        self._pages = pages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def open_db(self, name: bytes) -> Any:
        """Creates a table, in a transaction of its own."""
        db = self._env.open_db(name)
        self._pages.committed()
        return db

    def begin(self, *, write: bool = False) -> Any:
        """A transaction."""
        txn = self._env.begin(write=write)
        return RecordedTransaction(txn, self._pages) if write else txn


class RecordedTransaction:
    """A write transaction."""

    def __init__(self, txn: Any, pages: Pages) -> None:
        self._txn = txn
        self._pages = pages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def commit(self) -> None:
        """Take down what it wrote."""
        self._txn.commit()
        self._pages.committed()


class ScratchIndex:
    """An index whose real directory goes when it is closed."""

    def __init__(self, index: Index, real: Path) -> None:
        self._index = index
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def close(self) -> None:
        """Idempotent."""
        self._index.close()
        shutil.rmtree(self._real, ignore_errors=True)

"""Removes files that are no blobs: what writers and owners left behind when they died.

Called by the blob store at its start, and shelf by shelf by the repair workers. Never touches a file
that the index knows, nor one whose name it would not have written.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from runtime.clock import Clock
from runtime.disk import Disk
from storage.device import blob_format
from storage.device.blob_claims import Claims
from storage.device.blob_format import BlobFormatError
from storage.device.blob_index import BlobIndex
from storage.device.blob_paths import BlobPaths, file_name, parse_file_name
from storage.types import BlobName

SHELVES: Final = 256
"""Directories under `blobs/`, one per first byte of an id."""

ORPHAN_GRACE_S: Final = 24 * 3600
"""A file in place that the index does not know is removed when its header is older than this."""

STAGING_GRACE_S: Final = 3600
"""A staging file is removed when sweeps have seen it for this long: its writer died."""

T = TypeVar("T")


class BlobSweep:
    """Looks for what is left over. claims: shared with the store."""

    def __init__(
        self,
        paths: BlobPaths,
        disk: Disk,
        clock: Clock,
        *,
        index: BlobIndex,
        executor: Executor,
        claims: Claims,
    ) -> None:
        self._paths = paths
        self._disk = disk
        self._clock = clock
        self._index = index
        self._executor = executor
        self._claims = claims
        self._staging_seen: dict[BlobName, float] = {}

    async def clear_staging(self) -> list[BlobName]:
        """Remove every staging file, at the device's start. Writers of other processes fail cleanly:
        their blob is not there, and they are told so when they finish."""
        names = await self._run(self._names, self._paths.staging)
        await self._run(self._remove, [self._paths.staged(name) for name in names])
        return names

    async def staging(self) -> list[BlobName]:
        """Remove staging files whose writers must be dead: seen for STAGING_GRACE_S."""
        now = self._clock.monotonic()
        names = await self._run(self._names, self._paths.staging)
        self._staging_seen = {name: self._staging_seen.get(name, now) for name in names}
        dead = [
            name
            for name, since in self._staging_seen.items()
            if now - since >= STAGING_GRACE_S and not self._claims.held(name)
        ]
        await self._run(self._remove, [self._paths.staged(name) for name in dead])
        return dead

    async def shelf(self, first_byte: int) -> list[BlobName]:
        """Remove the orphans of one shelf (0 to SHELVES - 1) that are older than ORPHAN_GRACE_S.

        Those whose header can't be read go to the quarantine.
        """
        names = await self._run(self._names, self._paths.shelf(first_byte))
        orphans = [name for name in names if self._index.blob_entry(name) is None]
        removed = []
        for name in orphans:
            async with self._claims.hold([name]):
                known = self._index.blob_entry(name) is not None
                if not known and await self._run(self._removed_if_old, name):
                    removed.append(name)
        return removed

    # -- blocking ----------------------------------------------------------------------------------

    def _names(self, directory: str) -> list[BlobName]:
        try:
            texts = self._disk.list_dir(directory)
        except FileNotFoundError:
            return []
        return [name for name in map(_blob_name, texts) if name is not None]

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            try:
                self._disk.unlink(path)
            except FileNotFoundError:
                continue

    def _removed_if_old(self, name: BlobName) -> bool:
        path = self._paths.blob(name)
        try:
            file = self._disk.open(path)
        except FileNotFoundError:
            return False  # a delete was faster
        try:
            header = blob_format.parse_header(file.pread(0, blob_format.HEADER_BYTES))
        except BlobFormatError:
            self._disk.rename(path, self._paths.set_aside(name, self._clock.now_ns()))
            return True
        finally:
            file.close()
        old = self._clock.now_ns() - header.created_ns >= ORPHAN_GRACE_S * 1_000_000_000
        if old:
            self._remove([path])
        return old

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def _blob_name(text: str) -> BlobName | None:
    try:
        name = parse_file_name(text)
    except ValueError:
        return None
    assert file_name(name) == text
    return name

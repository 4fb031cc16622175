"""Where a device's scrubbing stands: one small file, replaced as a whole, `<device>/scrub`.

8 bytes of XXH3-64 over the rest, then the mark's bytes, which are the worker's affair
(`proxy/repair/scrub.py`). Losing it costs a round that begins anew.
"""

import asyncio
from contextlib import suppress
from typing import Final

from xxhash import xxh3_64_digest

from runtime.disk import Disk

NAME: Final = "scrub"
CHECK_BYTES: Final = 8
MARK_MAX_BYTES: Final = 64 * 1024


class ScrubFile:
    """The mark of the device in the directory `path`."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._directory = path

    async def load(self) -> bytes:
        """What was saved last; b"" where nothing was, or it is damaged."""
        return await asyncio.get_running_loop().run_in_executor(None, self._load)

    async def save(self, data: bytes) -> None:
        """Keep it, durably. Raises OSError."""
        await asyncio.get_running_loop().run_in_executor(None, self._save, data)

    def _load(self) -> bytes:
        try:
            file = self._disk.open(f"{self._directory}/{NAME}")
        except OSError:
            return b""
        try:
            text = file.pread(0, MARK_MAX_BYTES)
        except OSError:
            return b""
        finally:
            file.close()
        check, data = text[:CHECK_BYTES], text[CHECK_BYTES:]
        return data if xxh3_64_digest(data) == check else b""

    def _save(self, data: bytes) -> None:
        path = f"{self._directory}/{NAME}"
        with suppress(FileNotFoundError):
            self._disk.unlink(f"{path}.new")
        file = self._disk.create(f"{path}.new")
        try:
            file.append([xxh3_64_digest(data), data])
            file.sync()
        finally:
            file.close()
        self._disk.rename(f"{path}.new", path)
        self._disk.sync_dir(self._directory)

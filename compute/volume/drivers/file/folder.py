"""The folder of a backend: which file is what, and how one comes to be there whole.

A volume is `<volume>.raw`, a snapshot `snapshots/<snapshot>@<volume>.raw`. Files are made below `new/`
and get their names when they are complete and durable; what is below `new/` when a process starts was
left by one that died.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from typing import Final

from compute.volume.drivers.contract import LISTED_MAX, Found
from compute.volume.drivers.errors import Busy, NoSuchVolume
from compute.volume.drivers.file.sparse import sync_folder

SUFFIX: Final = ".raw"
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class Folder:
    """One process's at a time. Its methods block."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._snapshots = os.path.join(path, "snapshots")
        self._new = os.path.join(path, "new")
        self._lock = -1

    def take(self) -> None:
        """Make it, take it for this process, remove what is half made. Raises Busy, OSError."""
        for path in (self.path, self._snapshots, self._new):
            os.makedirs(path, mode=0o700, exist_ok=True)
        self._lock = os.open(os.path.join(self.path, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.leave()
            raise Busy(f"another process uses {self.path}") from error
        for entry in os.scandir(self._new):
            os.unlink(entry.path)

    def leave(self) -> None:
        """Let others take it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def volume(self, volume_id: str) -> str:
        """Its file's path."""
        return os.path.join(self.path, _checked(volume_id) + SUFFIX)

    def snapshot(self, snapshot_id: str, volume_id: str) -> str:
        """The same of a snapshot."""
        name = f"{_checked(snapshot_id)}@{_checked(volume_id)}{SUFFIX}"
        return os.path.join(self._snapshots, name)

    def found_snapshot(self, snapshot_id: str) -> str:
        """The path of a snapshot, whatever volume it is of. Raises NoSuchVolume."""
        for name in os.listdir(self._snapshots):
            if name.partition("@")[0] == snapshot_id:
                return os.path.join(self._snapshots, name)
        raise NoSuchVolume(f"there is no snapshot {snapshot_id}")

    def has_snapshots(self, volume_id: str) -> bool:
        """Whether a volume has any."""
        end = f"@{volume_id}{SUFFIX}"
        return any(name.endswith(end) for name in os.listdir(self._snapshots))

    def rename(self, volume_id: str, new_id: str) -> None:
        """Raises NoSuchVolume."""
        try:
            os.rename(self.volume(volume_id), self.volume(new_id))
        except FileNotFoundError:
            raise NoSuchVolume(f"there is no volume {volume_id}") from None
        sync_folder(self.path)

    def found(self) -> list[Found]:
        """What is there, up to LISTED_MAX volumes, in the order of their names."""
        snapshots: dict[str, list[tuple[str, int]]] = {}
        for entry in os.scandir(self._snapshots):
            ident, _, volume = entry.name.removesuffix(SUFFIX).partition("@")
            snapshots.setdefault(volume, []).append((ident, entry.stat().st_size))
        volumes = [
            Found(name, entry.stat().st_size, tuple(sorted(snapshots.get(name, ()))))
            for entry in os.scandir(self.path)
            if entry.is_file(follow_symlinks=False) and entry.name.endswith(SUFFIX)
            if _ID.fullmatch(name := entry.name.removesuffix(SUFFIX))
        ]
        return sorted(volumes)[:LISTED_MAX]

    @contextlib.contextmanager
    def begun(self, path: str) -> Iterator[int]:
        """The descriptor of a new file that is at `path` after the block, or not at all."""
        temporary = os.path.join(self._new, os.path.basename(path))
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            yield fd
            os.fsync(fd)
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        finally:
            os.close(fd)
        sync_folder(os.path.dirname(path))

    def remove(self, path: str) -> None:
        """A file that need not be there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            sync_folder(os.path.dirname(path))


def _checked(ident: str) -> str:
    """Ids are names of files."""
    assert _ID.fullmatch(ident), f"{ident!r} is no id"
    return ident

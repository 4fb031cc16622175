"""Which repair workers an operator has paused: one empty file for each, `<data>/paused/<name>`.

All processes of a node make and remove the same files, so that nobody reads and writes what another
one is changing; who starts anew finds them.
"""

from collections.abc import Iterable
from contextlib import suppress

from runtime.disk import Disk


class Pauses:
    """Of one node. Methods block, and raise OSError."""

    def __init__(self, directory: str, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk

    def names(self) -> frozenset[str]:
        """The workers that are paused."""
        try:
            return frozenset(self._disk.list_dir(self._directory))
        except FileNotFoundError:
            return frozenset()

    def keep(self, name: str, known: Iterable[str]) -> None:
        """Write down, durably, that one of the known workers is paused. Of another name: nothing."""
        if name in known:
            self._disk.make_dirs(self._directory)
            with suppress(FileExistsError):
                self._disk.create(f"{self._directory}/{name}").close()
            self._disk.sync_dir(self._directory)
            self._disk.sync_dir(self._directory.rpartition("/")[0])

    def forget(self, name: str, known: Iterable[str]) -> None:
        """It is not paused any more."""
        if name in known and name in self.names():
            with suppress(FileNotFoundError):
                self._disk.unlink(f"{self._directory}/{name}")
            self._disk.sync_dir(self._directory)

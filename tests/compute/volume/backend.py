"""A backend that only remembers which volumes and snapshots it has, and fails when it is told to."""

from typing import Any, cast

from compute.objects.errors import StoreAway
from compute.volume.drivers.contract import Driver, Usage


class Remembering:
    """The verbs that groups need. failing: those that fail; away: those that can't be done now."""

    name = "ring"

    def __init__(self) -> None:
        self.volumes: dict[str, str] = {}
        self.snapshots: dict[str, str] = {}
        self.failing: set[str] = set()
        self.away: set[str] = set()

    def _do(self, verb: str) -> None:
        if verb in self.away:
            raise StoreAway("for now")
        if verb in self.failing:
            raise OSError(f"{verb} was told to fail")

    async def usage(self) -> Usage:
        return Usage(None, None)

    async def create_from_snapshot(self, volume_id: str, snapshot_id: str, size_bytes: int) -> None:
        self._do("create_from_snapshot")
        assert snapshot_id in self.snapshots
        self.volumes[volume_id] = f"{snapshot_id} {size_bytes}"

    async def clone(self, volume_id: str, source_id: str, size_bytes: int) -> None:
        self._do("clone")
        assert source_id in self.volumes
        self.volumes[volume_id] = f"{source_id} {size_bytes}"

    async def delete(self, volume_id: str) -> None:
        self._do("delete")
        self.volumes.pop(volume_id, None)

    async def snapshot(self, snapshot_id: str, volume_id: str) -> None:
        self._do("snapshot")
        assert volume_id in self.volumes
        self.snapshots[snapshot_id] = volume_id

    async def delete_snapshot(self, snapshot_id: str, _volume_id: str) -> None:
        self._do("delete_snapshot")
        self.snapshots.pop(snapshot_id, None)

    def driver(self) -> Driver:
        """The same, as what it stands for."""
        return cast(Driver, cast(Any, self))

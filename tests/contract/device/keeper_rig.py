"""The keeper as the register suite's rigs: in this process, and behind the node protocol."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from storage.device.lane import ThreadLane
from storage.keeper import KeeperDevice
from storage.types import BlobName
from tests.contract.device.engine_rig import TankDisk
from tests.contract.device.rigs import Rig, ShiftedClock, wired


class KeeperMisfortunes:
    """What happens to a keeper's file."""

    def __init__(self, directory: Path, disk: TankDisk) -> None:
        self._directory = directory
        self.disk = disk

    def fill(self) -> None:
        self.disk.tank.full = True

    def run_low(self) -> None:
        self.disk.tank.full = True

    def make_room(self) -> None:
        self.disk.tank.full = False

    def damage_row(self, shard: bytes, name: bytes, payload: bytes) -> None:
        raise NotImplementedError("its file is read at the start alone")

    def damage_blob(self, name: BlobName) -> None:
        raise NotImplementedError("a keeper holds no blobs")

    def stop(self) -> None:
        """Take its directory away: the next write fails."""
        shutil.rmtree(self._directory)


@asynccontextmanager
async def keeper_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A new keeper in a directory of its own."""
    clock, disk, directory = ShiftedClock(), TankDisk(), tmp_path / "keeper"
    directory.mkdir()
    KeeperDevice.create(str(directory / "keeper"), disk)
    keeper = KeeperDevice.open(str(directory / "keeper"), disk, clock, ThreadLane("keeper"))
    try:
        yield Rig(keeper, KeeperMisfortunes(directory, disk), clock, is_local=True)
    finally:
        await keeper.close()


@asynccontextmanager
async def wire_keeper_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The keeper behind the node protocol."""
    async with keeper_rig(tmp_path) as inner, wired(inner, tmp_path / "node.sock") as rig:
        yield rig


KEEPER_RIGS = {"keeper": keeper_rig, "wire-keeper": wire_keeper_rig}

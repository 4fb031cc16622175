"""The device engine as the conformance suite's rigs: in this process, and behind the node protocol."""

import errno
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from runtime.disk import Buffer, RealDisk, RealFile
from runtime.randomness import SystemRandomness
from storage.device.engine import Device, DeviceConfig
from storage.types import BlobName
from storage.wire.local_files import LocalFiles
from tests.contract.device.rigs import DEVICE_ID, Rig, ShiftedClock, wired

LOW_BYTES = DeviceConfig().reserve_bytes * 3 // 4
"""Too little for writes, enough for confirmations."""


class Tank:
    """Whether there is room on a disk: low says that the reserve is touched, and takes writes."""

    full = False
    low = False


class TankFile(RealFile):
    """A file of a disk that may be full."""

    def __init__(self, fd: int, tank: Tank) -> None:
        super().__init__(fd)
        self._tank = tank

    def append(self, buffers: Sequence[Buffer]) -> None:
        if self._tank.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        super().append(buffers)


class TankDisk(RealDisk):
    """The machine's disk, full when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.tank = Tank()

    def create(self, path: str) -> RealFile:
        return TankFile(_taken(super().create(path)), self.tank)

    def create_uncached(self, path: str) -> RealFile:
        return self.create(path)

    def open(self, path: str, *, writable: bool = False) -> RealFile:
        return TankFile(_taken(super().open(path, writable=writable)), self.tank)

    def free_bytes(self, path: str) -> int:
        if self.tank.full:
            return 0
        return LOW_BYTES if self.tank.low else super().free_bytes(path)


def _taken(file: RealFile) -> int:
    """The descriptor of a file that is from now on another object's."""
    fd, file._fd = file._fd, -1
    return fd


class EngineMisfortunes:
    """What happens to the files of a device."""

    def __init__(self, device: Device, root: Path, disk: TankDisk) -> None:
        self._device = device
        self._root = root
        self.disk = disk

    def fill(self) -> None:
        self.disk.tank.full = True
        self._device.look_for_room()

    def run_low(self) -> None:
        self.disk.tank.low = True
        self._device.look_for_room()

    def make_room(self) -> None:
        self.disk.tank.full = self.disk.tank.low = False
        self._device.look_for_room()

    def damage_row(self, shard: bytes, name: bytes, payload: bytes) -> None:
        for path in (self._root / "journal").iterdir():
            data = path.read_bytes()
            at = data.find(payload)
            if at >= 0:
                with path.open("r+b") as file:
                    file.seek(at + len(payload) // 2)
                    file.write(bytes([data[at + len(payload) // 2] ^ 0x10]))

    def damage_blob(self, name: BlobName) -> None:
        shelf = self._root / "blobs" / name.id[:1].hex()
        path = shelf / f"{name.id.hex()}.{name.number}"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)

    def stop(self) -> None:
        self._device.stop_serving("stopped by the test")


@asynccontextmanager
async def engine_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The engine over a directory."""
    clock, disk, root = ShiftedClock(), TankDisk(), tmp_path / "device"
    where: dict[str, Any] = {"device_id": DEVICE_ID, "cluster": "suite"}
    device = await Device.open(
        str(root), disk, clock, SystemRandomness(), config=DeviceConfig(), **where
    )
    try:
        yield Rig(device, EngineMisfortunes(device, root, disk), clock, is_local=True)
    finally:
        await device.close()


@asynccontextmanager
async def wire_engine_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The engine behind the node protocol."""
    async with engine_rig(tmp_path) as inner, wired(inner, tmp_path / "node.sock") as rig:
        yield rig


@asynccontextmanager
async def wire_files_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The engine behind the node protocol, with a client that uses its blob files."""
    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(engine_rig(tmp_path))
        assert isinstance(inner.misfortunes, EngineMisfortunes)
        executor = stack.enter_context(ThreadPoolExecutor(4))
        files = LocalFiles(str(tmp_path / "device"), inner.misfortunes.disk, executor)
        yield await stack.enter_async_context(wired(inner, tmp_path / "node.sock", files))


ENGINE_RIGS = {"engine": engine_rig, "wire-engine": wire_engine_rig, "wire-files": wire_files_rig}

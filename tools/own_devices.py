"""The devices that one worker owns: opened when the ring names them, closed when it no longer does."""

import asyncio
import logging
from collections.abc import Collection, Sequence

from ring.lookup import Ring
from ring.types import Device as Member
from runtime.clock import Clock
from runtime.disk import Disk
from runtime.errors import AtollError
from runtime.randomness import Randomness
from storage.contract import DeviceClient
from storage.device.engine import Device, DeviceConfig
from storage.device.identity import DeviceInUse, DeviceRefused
from storage.device.unopened import UnopenedDevice
from tools.formatted import format_new

log = logging.getLogger("atoll")


class OwnDevices:
    """What a worker serves. devices: by id, changed in place: whoever holds it sees them come and go.

    marker: where it is written down which devices were formatted.
    """

    def __init__(
        self, config: DeviceConfig, marker: str, disk: Disk, clock: Clock, randomness: Randomness
    ) -> None:
        self.devices: dict[int, DeviceClient] = {}
        self._opened: dict[int, Device] = {}
        self._config = config
        self._marker = marker
        self._disk = disk
        self._clock = clock
        self._randomness = randomness

    async def open(self, ring: Ring, members: Sequence[Member]) -> None:
        """Open those of `members` that are not. Raises DeviceInUse: another process has one."""
        fresh = [member for member in members if member.id not in self.devices]
        for member in fresh:
            self.devices[member.id] = await self._open(ring.cluster_id, member)

    async def _open(self, cluster_id: str, member: Member) -> Device | UnopenedDevice:
        """A device of ours; one that can't be opened must not keep the others from being served."""
        try:
            await asyncio.to_thread(format_new, [member], cluster_id, self._marker, self._disk)
            device = await Device.open(
                member.path,
                self._disk,
                self._clock,
                self._randomness,
                device_id=member.id,
                cluster=cluster_id,
                incarnation=bytes.fromhex(member.incarnation),
                config=self._config,
            )
        except DeviceInUse:
            raise
        except (DeviceRefused, AtollError, OSError) as error:
            log.error("device %d is offline: %s", member.id, error)
            return UnopenedDevice(member.id, str(error))
        self._opened[member.id] = device
        return device

    async def give_up(self, device_id: int, why: str) -> None:
        """Serve a device no longer, until the next start tries again."""
        log.error("device %d goes offline: %s", device_id, why)
        self.devices[device_id] = UnopenedDevice(device_id, why)
        device = self._opened.pop(device_id, None)
        if device is not None:
            await _try_close(device)

    async def flush(self) -> None:
        """Wait until everything that was taken is durable, or has failed."""
        await asyncio.gather(*(device.flush() for device in self._opened.values()))

    async def close_all_but(self, staying: Collection[int]) -> None:
        """Close the devices that are not of `staying`: the ring has let them go."""
        for device_id in [number for number in self.devices if number not in staying]:
            del self.devices[device_id]
            device = self._opened.pop(device_id, None)
            if device is not None:
                await _try_close(device)

    async def close(self) -> None:
        """Close all of them."""
        await self.close_all_but(())


async def _try_close(device: Device) -> None:
    """One whose disk is gone must not keep the others open, nor a new ring from being followed."""
    try:
        await device.close()
    except Exception:
        log.exception("device %d could not be closed properly", device.device_id)

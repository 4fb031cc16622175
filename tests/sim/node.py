"""One node: a process that serves its devices and is a proxy to all, as `tools/worker.py` wires it."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from proxy.core.errors import StoreError
from proxy.core.guard import Guards
from proxy.core.placement import Placement
from proxy.core.store import CoreStore
from proxy.core.types import Policy
from proxy.repair.throttle import ForegroundLatency
from ring.lookup import Ring
from runtime.clock import HybridClock
from runtime.config import Config
from runtime.randomness import SeededRandomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient
from storage.device.engine import Device, DeviceConfig
from storage.device.unopened import UnopenedDevice
from tests.sim.disk import DiskDoor, SimDisk, SimExecutor, SimLane, SlowDisk
from tests.sim.network import Network, RemoteDevice
from tests.sim.virtual_time import Life, SkewedClock
from tools.repairing import RepairWorkers

T = TypeVar("T")

CLUSTER = "0" * 32


class Dead(Exception):
    """The process is not running, or died under the call."""


class Settings(NamedTuple):
    """What is alike on all nodes."""

    policies: dict[str, Policy]
    device: DeviceConfig
    config: Config


class Node:
    """A machine with disks, and the process that runs on it now, if any.

    on_error: told of what a living process did not take care of.
    """

    def __init__(
        self,
        name: str,
        ring: Ring,
        disks: dict[int, SimDisk],
        network: Network,
        settings: Settings,
        rng: random.Random,
        on_error: Callable[[str, BaseException], None],
    ) -> None:
        self.name = name
        self.ring = ring
        self.disks = disks
        self.settings = settings
        self.ahead_s = 0.0
        self._network = network
        self._rng = rng
        self._on_error = on_error
        self.life: Life | None = None
        self.devices: dict[int, Device | UnopenedDevice] = {}
        self.store: CoreStore | None = None
        self._changing: asyncio.Task[None] | None = None
        self.clock = SkewedClock()
        network.add(self)

    @property
    def running(self) -> bool:
        """The process serves."""
        return self.life is not None and self.life.alive and self.store is not None

    def device(self, device_id: int) -> DeviceClient | None:
        """See Host."""
        return self.devices.get(device_id)

    # -- starting and ending --

    async def start(self) -> None:
        """Start the process; it has opened its devices on return."""
        assert self.life is None or not self.life.alive
        self.life = Life(self.name)
        self.devices, self.store = {}, None
        self.clock = SkewedClock(self.ahead_s)
        self._changing = self.life.spawn(self._open(self.life))
        await self.settled()

    async def settled(self) -> None:
        """Wait until a start or stop under way has ended."""
        changing = self._changing
        if changing is None:
            return
        await asyncio.wait([changing])
        if not changing.cancelled() and (error := changing.exception()) is not None:
            self._task_failed("start or stop", error)

    async def _open(self, life: Life) -> None:
        for device_id, disk in self.disks.items():
            self.devices[device_id] = await self._open_device(life, device_id, disk)
        self._wire(life)

    async def _open_device(self, life: Life, device_id: int, disk: SimDisk) -> Device | UnopenedDevice:
        door = DiskDoor(disk, life)
        slow = SlowDisk(disk, life, random.Random(self._rng.getrandbits(64)))
        try:
            return await Device.open(
                f"d{device_id}",
                door,
                self.clock,
                SeededRandomness(self._rng.getrandbits(64)),
                device_id=device_id,
                cluster=CLUSTER,
                config=self.settings.device,
                lanes=lambda _name: SimLane(slow),
                open_index=door.open_index,
                verify_index=lambda _path: "",
                executor=SimExecutor(slow, life),  # type: ignore[arg-type]
            )
        except OSError as error:
            return UnopenedDevice(device_id, str(error))

    def _wire(self, life: Life) -> None:
        settings, randomness = self.settings, SeededRandomness(self._rng.getrandbits(64))
        guards = Guards(self.clock)
        clients: dict[int, DeviceClient] = {
            member.id: guards.device(
                self.devices.get(member.id)
                or RemoteDevice(self._network, self.name, member.node, member.id)
            )
            for member in self.ring.members
        }
        placement = Placement(self.ring, clients, settings.policies)
        tasks = TaskOwner(self.name, self._task_failed)
        stamps = HybridClock(self.clock, self.incarnation(randomness))
        latency = ForegroundLatency(self.clock)
        store = CoreStore(
            placement,
            settings.policies,
            next(iter(settings.policies)),
            stamps,
            self.clock,
            randomness,
            tasks,
            settings.config.part_min_bytes,
            latency.note,
        )
        repair = RepairWorkers(
            settings.config,
            store,
            placement,
            lambda: self.ring,
            stamps,
            latency,
            self.clock,
            randomness,
            tasks,
        )
        repair.follow(self.devices.values())
        repair.runner.start()
        self.store = store

    def incarnation(self, randomness: SeededRandomness) -> bytes:
        """The random id in this life's stamps."""
        return randomness.token(8)

    def _task_failed(self, name: str, error: BaseException) -> None:
        """A task that met the store's own errors gave up, as it may; anything else is a bug."""
        if self.life is not None and self.life.alive and not isinstance(error, StoreError):
            self._on_error(name, error)

    def kill(self) -> None:
        """End the process without a word; the machine runs on."""
        self._end()
        for disk in self.disks.values():
            disk.process_died()

    def cut_power(self) -> None:
        """The machine is off: what was not synced may be gone."""
        self._end()
        for disk in self.disks.values():
            disk.power_cut()

    def _end(self) -> None:
        life = self.life
        if life is None or not life.alive:
            return
        life.end()
        for device in self.devices.values():
            if isinstance(device, Device):
                life.context.copy().run(device.stop_serving, "the process is dead")
        self.devices, self.store = {}, None

    async def stop(self) -> None:
        """End the process in order: devices write what is queued and close."""
        life = self.life
        if life is None or not life.alive:
            return
        self.store = None

        async def close() -> None:
            for device in self.devices.values():
                if isinstance(device, Device):
                    await device.close()

        self._changing = life.spawn(close())
        await self.settled()
        self.kill()

    # -- use --

    async def carry_out(self, act: Callable[[CoreStore], Coroutine[Any, Any, T]]) -> T:
        """`act` on the store, in the process; Dead where it is not running, or dies meanwhile."""
        life, store = self.life, self.store
        if life is None or store is None or not life.alive:
            raise Dead
        task = life.spawn(act(store))
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and not life.alive:
                raise Dead from None
            task.cancel()
            raise

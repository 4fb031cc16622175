"""One node: a process that serves its devices and is a proxy to all, wired as `tools/joining.py` and
`tools/worker.py` do it."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from proxy.cluster.adoption import Adoption
from proxy.cluster.follower import Follower
from proxy.cluster.register import RingRegister, keeper_rows
from proxy.cluster.settle import Settler
from proxy.core.errors import StoreError
from proxy.core.placement import Placement
from proxy.core.rows import Rows
from proxy.core.store import CoreStore
from proxy.repair import ring_change
from proxy.repair.ring_change import RingChange
from proxy.repair.runner import UnknownWorker
from proxy.repair.sweep import Sweeper
from proxy.repair.throttle import ForegroundLatency
from ring.file import encode
from ring.lookup import Ring
from runtime.clock import HybridClock
from runtime.config import Config
from runtime.randomness import SeededRandomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient, RowDevice
from storage.device.engine import Device, DeviceConfig
from storage.device.unopened import UnopenedDevice
from storage.fence import CLOSED, Fence, FencedDevice
from storage.keeper import KeeperDevice
from storage.node import KEEPER_DEVICE, Progress
from tests.sim.disk import SimDisk
from tests.sim.member import Membership
from tests.sim.network import Network, RemoteNode, RemoteRows
from tests.sim.virtual_time import Life, SkewedClock
from tools.changing import Changing
from tools.repairing import RepairWorkers

T = TypeVar("T")


class Dead(Exception):
    """The process is not running, or died under the call."""


class Settings(NamedTuple):
    """What is alike on all nodes. keepers: the names of those that keep the ring."""

    device: DeviceConfig
    config: Config
    keepers: tuple[str, ...]


class Node:
    """A machine with disks, and the process that runs on it now, if any.

    disks: by the path at which a device is found. home: the disk of the ring's file and the keeper's.
    on_error: told of what a living process did not take care of.
    """

    def __init__(
        self,
        name: str,
        disks: dict[str, SimDisk],
        home: SimDisk,
        network: Network,
        settings: Settings,
        rng: random.Random,
        on_error: Callable[[str, BaseException], None],
    ) -> None:
        self.name = name
        self.disks = disks
        self.home = home
        self.settings = settings
        self.ahead_s = 0.0
        self._network = network
        self._rng = rng
        self._on_error = on_error
        self.life: Life | None = None
        self.store: CoreStore | None = None
        self._changing: asyncio.Task[None] | None = None
        self._lives: list[Life] = []  # what a dead one left hanging is not collected in mid-run
        self.sweeps = True
        """Whether files are swept: on each device 256 directories at every start."""
        self.clock = SkewedClock()
        self.last_problem = ""
        self._forget()
        network.add(self)

    def _forget(self) -> None:
        self.fence = Fence(CLOSED)
        self.member: Membership | None = None
        self.keeper: KeeperDevice | None = None
        self.adoption: Adoption | None = None
        self.register: RingRegister | None = None
        self.workers: RepairWorkers | None = None
        self.poke: Callable[[], None] = lambda: None
        self.progress: Callable[[], Progress] = lambda: Progress(CLOSED)

    @property
    def devices(self) -> dict[int, Device | UnopenedDevice]:
        """Its devices, as they are served now."""
        return self.member.devices if self.member is not None else {}

    @property
    def running(self) -> bool:
        """The process serves."""
        return self.life is not None and self.life.alive and self.store is not None

    @property
    def ring(self) -> Ring:
        """The ring that it uses."""
        assert self.adoption is not None
        return self.adoption.ring

    # -- what others see of it --

    def device(self, device_id: int) -> DeviceClient | None:
        """See Host."""
        if device_id == KEEPER_DEVICE:
            return self.keeper
        device = self.devices.get(device_id)
        return None if device is None else FencedDevice(device, self.fence)

    def heard_of(self, epoch: int) -> None:
        """See Host."""
        if epoch > self.fence.epoch:
            self.poke()

    def newer_ring(self, than: int) -> bytes:
        """See Host."""
        if self.adoption is None or self.ring.epoch <= than:
            return b""
        return encode(self.ring)

    # -- starting and ending --

    async def start(self) -> None:
        """Start the process; it has opened its devices on return."""
        assert self.life is None or not self.life.alive
        self.life = Life(self.name)
        self._lives.append(self.life)
        self.store = None
        self._forget()
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
        config = self.settings.config
        randomness = SeededRandomness(self._rng.getrandbits(64))
        member = self.member = Membership(
            self.name,
            life,
            self.disks,
            self.home,
            self._network,
            self.clock,
            self.settings.device,
            self.fence,
            self._rng,
        )
        if self.name in self.settings.keepers:
            self.keeper = member.open_keeper()
        stamps = HybridClock(self.clock, self.incarnation(randomness))
        rows = keeper_rows(self._keepers(), stamps, self.clock, randomness)
        register = self.register = RingRegister(rows, randomness)
        ring = member.first_ring()
        await member.prepare(ring)
        await member.empty_newcomers(ring)
        await member.keep(ring)
        self.fence.epoch = ring.epoch
        placement = Placement(ring, member.clients, member.policies)
        adoption = self.adoption = Adoption(ring, self.fence, placement, member)
        adoption.on_adopted.append(member.let_go)
        follower = Follower(adoption, register, self._peers, self.clock, randomness, self._problem)
        placement.on_stale = self.poke = follower.poke
        tasks = TaskOwner(self.name, self._task_failed)
        latency = ForegroundLatency(self.clock)
        store = CoreStore(
            placement,
            member.policies,
            next(iter(member.policies)),
            stamps,
            self.clock,
            randomness,
            tasks,
            config.part_min_bytes,
            latency.note,
        )
        workers = RepairWorkers(
            config,
            store,
            placement,
            lambda: adoption.ring,
            stamps,
            latency,
            self.clock,
            randomness,
            tasks,
        )
        changing = self._changing_of(placement, stamps, randomness, workers, tasks)
        if self.keeper is not None:
            change = RingChange(
                register,
                lambda: adoption.ring,
                changing.everyone,
                self.clock,
                workers.runner.throttle.pace(),
                follower.poke,
            )
            workers.runner.add(change, ring_change.LOOK_AGAIN_S)

        async def go_on(present: Ring) -> None:
            workers.follow(member.devices.values())
            await changing.adopted(present)

        await go_on(ring)
        adoption.on_adopted.append(go_on)
        workers.runner.start()
        if not self.sweeps:
            with contextlib.suppress(UnknownWorker):  # where there is no device
                workers.runner.pause(Sweeper.name)
        tasks.spawn("follow the ring", follower.run())
        self.workers = workers
        self.store = store

    def _changing_of(
        self,
        placement: Placement,
        stamps: HybridClock,
        randomness: SeededRandomness,
        workers: RepairWorkers,
        tasks: TaskOwner,
    ) -> Changing:
        """This process's part in ring changes."""
        member = self.member
        assert member is not None
        rows = Rows(placement, stamps, self.clock, randomness)
        settler = Settler(placement, rows, member.own_at, self.clock, self._problem)
        changing = Changing(
            settler,
            member.devices,
            self._peers,
            workers.away,
            lambda: self.fence.epoch,
            self.clock,
            tasks,
        )
        self.progress = changing.progress
        return changing

    def _keepers(self) -> list[RowDevice]:
        return [
            self.keeper
            if name == self.name and self.keeper is not None
            else RemoteRows(self._network, self.name, name, KEEPER_DEVICE, 0)
            for name in self.settings.keepers
        ]

    def _peers(self) -> list[RemoteNode]:
        """The other processes of the ring's nodes."""
        names = dict.fromkeys(member.node for member in self.ring.members)
        return [RemoteNode(self._network, self.name, name) for name in names if name != self.name]

    def incarnation(self, randomness: SeededRandomness) -> bytes:
        """The random id in this life's stamps."""
        return randomness.token(8)

    def _problem(self, problem: Exception) -> None:
        """The ring could not be followed, or a newcomer not be settled: it is tried again."""
        self.last_problem = repr(problem)

    def _task_failed(self, name: str, error: BaseException) -> None:
        """A task that met the store's own errors gave up, as it may; anything else is a bug."""
        if self.life is not None and self.life.alive and not isinstance(error, StoreError):
            self._on_error(name, error)

    def kill(self) -> None:
        """End the process without a word; the machine runs on."""
        self._end()
        for disk in (self.home, *self.disks.values()):
            disk.process_died()

    def cut_power(self) -> None:
        """The machine is off: what was not synced may be gone."""
        self._end()
        for disk in (self.home, *self.disks.values()):
            disk.power_cut()

    def _end(self) -> None:
        life = self.life
        if life is None or not life.alive:
            return
        life.end()
        for device in self.devices.values():
            if isinstance(device, Device):
                life.context.copy().run(device.stop_serving, "the process is dead")
        self.store = None
        self._forget()

    async def stop(self) -> None:
        """End the process in order: devices write what is queued and close."""
        life = self.life
        if life is None or not life.alive:
            return
        self.store = None

        async def close() -> None:
            for device in list(self.devices.values()):  # an adoption under way may bring more
                if isinstance(device, Device):
                    await device.close()

        self._changing = life.spawn(close())
        await self.settled()
        self.kill()

    # -- use --

    async def carry_out(self, act: Callable[[CoreStore], Coroutine[Any, Any, T]]) -> T:
        """`act` on the store, in the process; Dead where it is not running, or dies meanwhile."""
        store = self.store
        if store is None:
            raise Dead
        return await self.run(act(store))

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work in the process; Dead where it is not running, or dies meanwhile."""
        life = self.life
        if life is None or not life.alive:
            work.close()
            raise Dead
        task = life.spawn(work)
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and not life.alive:
                raise Dead from None
            task.cancel()
            raise

"""A whole cluster from one seed: nodes with disks, a network, clients, faults, and what is checked.

Everything that is drawn comes from the seed; everything that happens goes into a running hash, so that
two runs of one seed can be compared.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import xxhash

from proxy.core.errors import NoSuchContainer, NoSuchUpload, StoreError, Unavailable
from proxy.core.store import CoreStore
from proxy.core.types import ListQuery, ObjectInfo
from ring.builder import build
from ring.file import encode, write_bytes
from ring.types import Device as Member
from ring.types import default_placements
from runtime.config import Config
from storage.device.engine import DeviceConfig
from storage.device.identity import Identity
from storage.device.opening import format_device
from storage.keeper import KeeperDevice
from tests.sim.at_rest import Named, untidy
from tests.sim.clients import ACCOUNT, ACTS, PRESENT, Client, Place
from tests.sim.disk import DiskDoor, SimDisk
from tests.sim.faults import Faults
from tests.sim.history import History, Violation
from tests.sim.linearizability import Operation
from tests.sim.member import KEEPER_FILE, RING_FILE
from tests.sim.network import Network
from tests.sim.node import Node, Settings
from tests.sim.reshapes import Reshaper, unfinished
from tests.sim.ring_changes import Operator
from tests.sim.scenes import SCENES, scene_of
from tests.sim.stage import Stage
from tests.sim.virtual_time import Life, run

T = TypeVar("T")

GRACE_S = 40.0
ORPHAN_GRACE_S = 150.0
"""How long the collectors wait. More than any client, plus what clocks may jump."""

CLUSTER = "0" * 32
PART_POWER = 4
SCRUB_DAYS = 0.02
QUIET_S = 30.0
"""After the last fault: no message is on its way any more."""

TIDY_S = 7200.0
"""Repair must be done so long after the last fault."""

EVENTS_SHOWN = 40


@dataclass(frozen=True)
class Outcome:
    """What one seed came to."""

    seed: int
    trace: str
    operations: int
    answered: int
    seconds: float
    faults: int


@dataclass
class Failure(Exception):
    """A seed that found something. Replays with `python -m tests.sim --seed N`."""

    seed: int
    violation: Violation
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.violation}", "", "faults:", *self.faults]
        if self.violation.details:
            lines += ["", "history:", self.violation.details]
        return "\n".join([*lines, "", f"replay: make sim SEED={self.seed}"])


class World:
    """The cluster; to be made inside `virtual_time.run`."""

    def __init__(self, seed: int, verbose: bool = False) -> None:
        self.seed = seed
        self.verbose = verbose
        self._rng = random.Random(seed)
        self._hash = xxhash.xxh3_64()
        self.faults: list[str] = []
        self.errors: list[Violation] = []
        self._unfinished = ""
        self.history = History(self._now)
        self.network = Network(self._stream(), self.trace)
        self._build()
        self._faults = Faults(self, self._stream())
        self._operator = Operator(self, self._stream(), self._rng.choice([4.0, 12.0, 30.0, 1e9]))
        self._reshaper = Reshaper(self, self._stream(), self._rng.choice([4.0, 15.0, 1e9]))
        self.places = self._places()
        pause_max_s = self._rng.choice([0.5, 3.0, 8.0])
        mix = [self._rng.choice([0.2, 1.0, 1.0, 4.0]) for _ in range(ACTS)]
        self.clients = [
            Client(f"c{number}", self, self._stream(), pause_max_s, mix)
            for number in range(self._rng.randint(3, 6))
        ]

    def _stream(self) -> random.Random:
        return random.Random(self._rng.getrandbits(64))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _build(self) -> None:
        rng = self._rng
        devices = rng.choice([3, 5, 6, 6, 7, 8])
        nodes = rng.randint(3, min(6, devices))
        members = [
            Member(n, f"{n + 1:032x}", "r", f"z{n % nodes % 3}", f"n{n % nodes}", "sim", f"d{n}", 1.0)
            for n in range(devices)
        ]
        self.ring = build(
            members,
            default_placements(devices),
            PART_POWER,
            rng.getrandbits(64),
            cluster_id=CLUSTER,
            min_part_hours=1,
        )
        config = DeviceConfig(
            segment_bytes=rng.choice([32, 128, 1024]) * 1024,
            checkpoint_rows=rng.choice([16, 200, 16_384]),
            checkpoint_interval_s=rng.choice([0.5, 5.0, 30.0]),
            reserve_bytes=256 * 1024,
        )
        names = [f"n{number}" for number in range(nodes)]
        settings = Settings(
            config,
            Config(
                collect_grace_s=GRACE_S,
                orphan_grace_s=ORPHAN_GRACE_S,
                part_min_bytes=1024,
                scrub_days=SCRUB_DAYS,
            ),
            tuple(names[: rng.choice([1, 3, 3])]),
        )
        self.disks: list[SimDisk] = []
        self.nodes = [self._node(name, settings) for name in names]
        sweeps = rng.random() < 0.2
        for node in self.nodes:
            node.sweeps = sweeps
        for member in members:
            self.plug_in(member)

    def _node(self, name: str, settings: Settings) -> Node:
        home = SimDisk(f"{name}/home", self._stream())
        door = DiskDoor(home, Life("factory"))
        door.make_dirs("home")
        write_bytes(encode(self.ring), RING_FILE, door)
        KeeperDevice.create(KEEPER_FILE, door)
        return Node(name, {}, home, self.network, settings, self._stream(), self._broken)

    def plug_in(self, member: Member) -> None:
        """Put a new, formatted disk into a node."""
        node = next(node for node in self.nodes if node.name == member.node)
        disk = SimDisk(f"d{member.id}", self._stream())
        disk.reserve_bytes = node.settings.device.reserve_bytes
        who = Identity(member.id, CLUSTER, bytes.fromhex(member.incarnation))
        format_device(member.path, DiskDoor(disk, Life("factory")), who)
        node.disks[member.path] = disk
        self.disks.append(disk)

    def _places(self) -> list[Place]:
        policies = sorted(p.name for p in self.ring.placements if p.name != "rows")
        keys = [f"k/{number}" for number in range(self._rng.randint(1, 4))]
        places = [Place(f"c-{policy}", policy, tuple(keys)) for policy in policies]
        places.append(Place("brief", policies[-1], ("x", "y"), brief=True))
        return places

    # -- what is told --

    def trace(self, *what: object) -> None:
        """Something happened."""
        now = self._now()
        self._hash.update(repr((now, what)).encode())
        if self.verbose:
            print(f"{now:10.4f}", *what)

    def note(self, *what: object) -> None:
        """A fault, or its end."""
        self.faults.append(f"{self._now():9.3f}s {' '.join(map(str, what))}")
        self.trace("fault", *what)

    def _broken(self, name: str, error: BaseException) -> None:
        self.errors.append(Violation("errors", f"task {name} failed: {error!r}"))

    def on_error(self, context: dict[str, Any]) -> None:
        """The loop's exception handler."""
        error = context.get("exception")
        self.errors.append(Violation("errors", f"{context['message']}: {error!r}"))

    def _require_no_errors(self) -> None:
        if self.errors:
            raise self.errors[0]

    # -- the run --

    async def play(self) -> Outcome:
        """Play it all. Violation."""
        self._faults.set_clocks()
        for node in self.nodes:
            await node.start()
        await self._publish_ring()
        await self._create_places()
        await self._play_scene()
        await self._work()
        await self._faults.mend()
        self._require_no_errors()
        await asyncio.sleep(QUIET_S)
        self.require_devices()
        await self._read_everything()
        self.history.check()
        await self._tidy()
        await self._read_everything()
        self.history.check()
        self._require_no_errors()
        operations = sum(map(len, self.history.operations.values()))
        return Outcome(
            self.seed,
            self._hash.hexdigest(),
            operations,
            sum(client.answered for client in self.clients),
            self._now(),
            len(self.faults),
        )

    async def _publish_ring(self) -> None:
        """The keepers' first ring."""
        register = self.nodes[0].register
        assert register is not None
        await self.nodes[0].run(register.replace(self.ring))

    async def _create_places(self) -> None:
        for place in self.places:

            async def create(store: CoreStore, place: Place = place) -> None:
                await store.create_container(ACCOUNT, place.name, policy=place.policy)

            begin = self.history.tick()
            await self.nodes[0].carry_out(create)
            asked = Operation(begin, 0, "create", "", PRESENT.data, who="first")
            self.history.ended((place.name, ""), asked, "ok")

    async def _play_scene(self) -> None:
        name = scene_of(self.seed)
        if name:
            self.note("scene", name)
            await SCENES[name](Stage(self, random.Random(f"{name} {self.seed}")))
            self.note("the scene is over")

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        breaking = loop.create_task(self._faults.run())
        changing = [
            loop.create_task(self._operator.run()),
            loop.create_task(self._reshaper.run()),
        ]
        bursts, steps = self._rng.randint(5, 9), self._rng.randint(5, 10)
        try:
            async with asyncio.TaskGroup() as group:
                for client in self.clients:
                    group.create_task(client.work(bursts, steps))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            tasks = [breaking, *changing, *self._faults.gates]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def bad_disk(self) -> SimDisk:
        """The only one whose bytes may be damaged."""
        return self._faults.bad_disk

    def require_devices(self) -> None:
        """Violation where one is offline."""
        for node in self.nodes:
            for device in node.devices.values():
                status = device.status()
                if status.offline:
                    raise Violation("devices", f"device {status.device_id}: {status.offline}")

    # -- at rest --

    @staticmethod
    async def _surely(node: Node, act: Callable[[CoreStore], Coroutine[Any, Any, T]]) -> T:
        """What must succeed now. Violation."""
        try:
            return await node.carry_out(act)
        except StoreError as error:
            raise Violation("availability", f"at {node.name}: {error!r}") from error

    async def _read_everything(self) -> None:
        """From every node: whatever was acknowledged can be read now, whole."""
        for number, node in enumerate(self.nodes):
            reader = Client(f"r{number}", self, self._stream(), 0.0).on(node)
            for place in self.places:
                if not (await reader.look(place) and await reader.listing(place)):
                    raise Violation("availability", f"{place.name} can't be listed at {node.name}")
                for key in place.keys:
                    if not await self._answered(reader, place, key):
                        raise Violation("availability", f"{place.name} {key} at {node.name}")

    @staticmethod
    async def _answered(reader: Client, place: Place, key: str) -> bool:
        for _ in range(3):
            if await reader.get(place, key):
                return True
        return False

    async def _end_uploads(self) -> None:
        """Uploads that were left half way can be ended by anybody."""
        node = self._rng.choice(self.nodes)

        async def end(store: CoreStore) -> None:
            for place in self.places:
                try:
                    container = await store.container(ACCOUNT, place.name)
                    page = await store.list_uploads(container, ListQuery(), "")
                except NoSuchContainer:
                    continue
                for entry in page.entries:
                    assert not isinstance(entry, str)
                    try:
                        await store.abort_upload(container, entry.head.object_name, entry.head.id)
                    except (NoSuchUpload, Unavailable):
                        continue  # it was half way completed, and is now

        await self._surely(node, end)

    async def _tidy(self) -> None:
        """Until the repair workers have left nothing to do."""
        begun = self._now()
        while True:
            self._hurry()
            await asyncio.sleep(60.0)
            await self._end_uploads()  # also one that a minority had, and repair has brought to light
            self._unfinished = ""
            named = await self._surely(self.nodes[0], self._named)
            left = self._unfinished or await untidy(self, named)
            if not left:
                return
            if self._now() - begun > TIDY_S:
                raise Violation("at rest", left)

    def _hurry(self) -> None:
        """Let every repair worker look at once, as `atoll repair run` does."""
        for node in self.nodes:
            if node.workers is not None:
                for name in sorted({status.name for status in node.workers.runner.statuses()}):
                    node.workers.runner.run_now(name)

    async def _named(self, store: CoreStore) -> Named:
        """The blobs that objects name."""
        named: Named = {}
        for place in self.places:
            try:
                container = await store.container(ACCOUNT, place.name, fresh=True)
                page = await store.list_objects(container, ListQuery())
            except NoSuchContainer:
                continue
            self._unfinished = self._unfinished or unfinished(container)
            for entry in page.entries:
                assert isinstance(entry, ObjectInfo)
                opened = await store.open_object(container, entry.name)
                named |= {blob.id: blob.policy for part in opened.parts for blob in part.blobs}
                opened.close()
        return named


def play(seed: int, verbose: bool = False) -> Outcome:
    """Play one seed. Failure."""
    worlds: list[World] = []

    async def scene() -> Outcome:
        world = World(seed, verbose)
        worlds.append(world)
        return await world.play()

    def on_error(context: dict[str, Any]) -> None:
        if worlds:
            worlds[0].on_error(context)

    try:
        return run(scene(), on_error)
    except Violation as violation:
        faults = worlds[0].faults
        shown = [f"… {len(faults) - EVENTS_SHOWN} before"] if len(faults) > EVENTS_SHOWN else []
        raise Failure(seed, violation, [*shown, *faults[-EVENTS_SHOWN:]]) from violation

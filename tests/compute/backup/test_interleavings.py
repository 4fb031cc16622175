"""Backups, deletions, sweeps and crashes of several processes at once, in any order.

Every step of every process (a transaction, a request to the store) waits until the schedule, which
Hypothesis makes up, lets it go; a process may be stopped for good before any of them. Each copy that
was whole at any moment and not dropped must be there to the last byte, and once all have ended and the
last sweep is through, no object may be left that no copy names.
"""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.backup.errors import NoSuchCopy, TakenOver
from compute.backup.vault import Copy, Vault
from compute.database.engine import Database
from compute.objects.memory import MemoryStore
from compute.site import Site
from tests.compute.backup.disk import MemoryDisk
from tests.compute.backup.site import names, site_on, sites

Result = TypeVar("Result")

REGIONS = 4
SIZE = REGIONS * 1024 * 1024


class Gate:
    """Holds back whoever comes, until it is let through."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def passed(self, process: int) -> None:
        """Wait."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((process, future))
        await future

    def open(self, number: int) -> None:
        """Let one through."""
        _, future = self.waiting.pop(number % len(self.waiting))
        if not future.done():
            future.set_result(None)


class GatedStore:
    """A process's way to the store."""

    def __init__(self, store: MemoryStore, gate: Gate, process: int) -> None:
        self._store, self._gate, self._process = store, gate, process
        self.containers = store.containers

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **named: Any) -> Any:
            await self._gate.passed(self._process)
            return await getattr(self._store, name)(*args, **named)

        return call


class GatedDatabase:
    """A process's way to the database. What has begun is ended, whatever becomes of the process."""

    def __init__(self, database: Database, gate: Gate, process: int) -> None:
        self._database, self._gate, self._process = database, gate, process
        self.read, self.write = database.read, database.write

    async def run(self, work: Callable[[], Result]) -> Result:
        await self._gate.passed(self._process)
        return work()


class World:
    """Processes on one database and one store."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.gate = Gate()
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        self.whole: dict[str, dict[int, bytes]] = {}
        self.copies: dict[str, Copy] = {}
        self.dropped: set[str] = set()

    def vault(self, process: int) -> Vault:
        """A process's own."""
        database = cast(Any, GatedDatabase(self.site.database, self.gate, process))
        store = cast(Any, GatedStore(cast(MemoryStore, self.site.objects), self.gate, process))
        return Vault(site_on(database, store))

    def start(self, work: Callable[[Vault], Coroutine[Any, Any, None]]) -> None:
        """One more process."""
        number = len(self.tasks)
        self.tasks[number] = asyncio.create_task(work(self.vault(number)), name=f"process {number}")

    async def take(self, vault: Vault, name: str, content: list[int], parent: str | None) -> None:
        """A copy of regions that hold nothing else than these numbers."""
        disk = MemoryDisk(SIZE)
        for region, number in enumerate(content):
            if number:
                await disk.write(region * SIZE // REGIONS + 4096, bytes([number]) * 4096)
        try:
            self.copies[name] = await vault.take(name, "p", disk, parent_id=parent)
        except (TakenOver, NoSuchCopy):
            return
        self.whole[name] = disk.content()

    async def settle(self) -> None:
        """Until everybody waits for the gate or has ended."""
        for _ in range(1000):
            await asyncio.sleep(0)
            running = [task for task in self.tasks.values() if not task.done()]
            if not running or len(self.gate.waiting) >= 1:
                await asyncio.sleep(0.0005)
                return

    async def alone(self, process: int) -> None:
        """Let one process come to its end while all others wait."""
        while not self.tasks[process].done():
            await asyncio.sleep(0.0005)
            mine = [at for at, entry in enumerate(self.gate.waiting) if entry[0] == process]
            if mine:
                self.gate.open(mine[0])

    async def crash(self, number: int) -> None:
        """A process ends before its next step."""
        process = number % len(self.tasks)
        self.gate.waiting = [entry for entry in self.gate.waiting if entry[0] != process]
        self.tasks[process].cancel()
        await asyncio.gather(self.tasks[process], return_exceptions=True)

    async def end(self) -> None:
        """Let everybody come to an end."""
        while any(not task.done() for task in self.tasks.values()):
            await self.settle()
            while self.gate.waiting:
                self.gate.open(0)
        for task in self.tasks.values():
            if not task.cancelled() and (error := task.exception()):
                raise error


async def check(world: World) -> None:
    """Nothing is lost."""
    vault = Vault(world.site)
    for name, content in world.whole.items():
        if name not in world.dropped:
            disk = MemoryDisk(SIZE)
            await vault.restore(world.copies[name], disk, is_blank=True)
            assert disk.content() == content, name


contents = st.lists(st.integers(0, 3), min_size=REGIONS, max_size=REGIONS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), contents, st.integers(0, 9)),
        st.tuples(st.just("drop"), st.integers(0, 9)),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("crash"), st.integers(0, 9)),
        st.tuples(st.just("go"), st.lists(st.integers(0, 5), min_size=1, max_size=8)),
        st.tuples(st.just("go"), st.lists(st.integers(0, 5), min_size=1, max_size=8)),
    ),
    min_size=4,
    max_size=24,
)


async def play(world: World, script: list[Any]) -> None:
    """One schedule."""
    made: list[str] = []
    for step in script:
        match step:
            case ("take", content, parent):
                whole = [name for name in world.whole if name not in world.dropped]
                chosen = whole[parent % len(whole)] if whole and parent < 7 else None
                made.append(f"c{len(made)}")
                world.start(partial(world.take, name=made[-1], content=content, parent=chosen))
            case ("drop", number) if made:
                name = made[number % len(made)]
                world.dropped.add(name)
                world.start(partial(_dropped, name=name))
            case ("sweep",):
                world.start(_swept)
            case ("crash", number) if world.tasks:
                await world.crash(number)
            case ("alone", process):
                await world.alone(process)
            case ("go", choices):
                for choice in choices:
                    await world.settle()
                    if world.gate.waiting:
                        world.gate.open(choice)
    await world.end()
    await check(world)
    vault = Vault(world.site)
    for name in made:
        if name not in world.whole or name in world.dropped:
            await vault.drop(
                name
            )  # what crashed is failed by its host; drops that crashed are repeated
    if made:
        await vault.take("last", "p", MemoryDisk(SIZE))
        await vault.drop("last")
    await vault.sweep()
    await check(world)
    for name in world.whole:
        await vault.drop(name)
    await vault.sweep()
    assert names(world.site) == set()


async def _dropped(vault: Vault, name: str) -> None:
    await vault.drop(name)


async def _swept(vault: Vault) -> None:
    await vault.sweep()


@settings(max_examples=60, deadline=None)
@given(script=steps)
def test_nothing_is_lost_and_nothing_is_left(script: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, sites(Path(folder)) as site:
        asyncio.run(_played(site, script))


async def _played(site: Site, script: list[Any]) -> None:
    async with asyncio.timeout(60):
        await play(World(site), script)


@pytest.mark.parametrize("pause", range(24))
def test_a_whole_sweep_in_the_midst_of_a_copy(pause: int) -> None:
    """At each step of the copy: what it has claimed and does not name yet must stay."""
    script = [
        ("take", [3, 0, 0, 0], 9),
        ("alone", 0),
        ("drop", 0),
        ("alone", 1),
        ("take", [1, 2, 3, 1], 9),
        ("go", [0] * pause),
        ("sweep",),
        ("alone", 3),
    ]
    with tempfile.TemporaryDirectory() as folder, sites(Path(folder)) as site:
        asyncio.run(_played(site, script))


@pytest.mark.parametrize("pause", range(30))
def test_content_of_a_dropped_copy_comes_again_while_it_is_swept(pause: int) -> None:
    """The race that content-addressed stores lose data by, at each step of the sweep."""
    content = [1, 2, 3, 1]
    script = [
        ("take", content, 9),
        ("go", [0] * 60),
        ("drop", 0),
        ("go", [0] * 4),
        ("sweep",),
        ("go", [0] * pause),
        ("take", content, 9),
        ("go", [1] * 12),
        ("go", [0] * 60),
    ]
    with tempfile.TemporaryDirectory() as folder, sites(Path(folder)) as site:
        asyncio.run(_played(site, script))

"""Clients: each asks one proxy after the other for this and that, gives up now and then, and notes what
came of it.

Bodies are named after their writers, so that a read tells whose write it saw. Listings are reads of
every key of their container at once.
"""

import asyncio
import random
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from proxy.core.errors import (
    ContainerExists,
    ContainerNotEmpty,
    Full,
    NoSuchContainer,
    NoSuchObject,
    NoSuchUpload,
    Overloaded,
    PolicyConflict,
    PreconditionFailed,
    Unavailable,
)
from proxy.core.store import CoreStore
from proxy.core.types import (
    Buffer,
    CompletedPart,
    Conditions,
    Container,
    ListQuery,
    ObjectAttributes,
    ObjectInfo,
)
from tests.sim.history import History, Violation, state_of
from tests.sim.linearizability import Held, Operation, State
from tests.sim.node import Dead, Node

T = TypeVar("T")

ACCOUNT = "a"
PLAIN = ObjectAttributes("text/plain")
PRESENT = State("there")
"""What a container's own key holds while it exists."""

ACTS = 10
"""How many kinds of operations on objects clients have."""

PATIENCE_MAX_S = 12.0
"""No client waits longer for an answer: a reader must be done before its blobs are collected."""

_MAYBE = (Unavailable, Overloaded, Dead, TimeoutError)
"""What tells nothing of how a write ended."""

_ANSWERS = (
    ContainerExists, ContainerNotEmpty, Full, NoSuchContainer, NoSuchObject, NoSuchUpload,
    PolicyConflict, PreconditionFailed,
)  # fmt: skip
"""What a store that is right may answer, whatever goes wrong below it. Not Damaged, for one."""


class Place(NamedTuple):
    """A container that clients work on. brief: it is deleted and made anew."""

    name: str
    policy: str
    keys: tuple[str, ...]
    brief: bool = False


class SlowBody:
    """A body that comes in pieces, some of them late."""

    def __init__(self, data: bytes, rng: random.Random, pause_max_s: float) -> None:
        self.size_bytes: int | None = len(data) if rng.random() < 0.8 else None
        self._data = data
        self._rng = rng
        self._pause_max_s = pause_max_s
        self._at = 0

    async def read(self) -> Buffer:
        """See Body."""
        await asyncio.sleep(self._rng.uniform(0, self._pause_max_s))
        size = self._rng.randint(1, max(1, len(self._data)))
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece

    async def read_all(self) -> bytes:
        """See Body."""
        return self._data

    def finish(self) -> dict[str, str]:
        """See Body."""
        return {}


class Surroundings(Protocol):
    """What a client needs of the world."""

    history: History
    nodes: list[Node]
    places: list[Place]

    def trace(self, *what: object) -> None:
        """Take down what happened."""


class Client:
    """One client."""

    def __init__(
        self,
        name: str,
        world: Surroundings,
        rng: random.Random,
        pause_max_s: float,
        mix: Sequence[float] = (),
    ) -> None:
        """pause_max_s: between bursts. mix: what each act's usual weight is multiplied by."""
        self.name = name
        self._world = world
        self._history = world.history
        self._rng = rng
        self._pause_max_s = pause_max_s
        self._node = rng.choice(world.nodes)
        self._patience_min_s = 1.0
        self._written = 0
        self._seen: dict[tuple[str, str], Held] = {}
        self.answered = 0
        acts: list[tuple[int, Callable[[Place, str], Coroutine[Any, Any, object]]]] = [
            (10, self.put), (6, self.create), (6, self.replace), (14, self.get), (4, self.head),
            (5, self.delete), (3, self.take), (3, self.post), (6, self.listing), (3, self.multipart),
        ]  # fmt: skip
        self._acts = [act for _, act in acts]
        times = mix or [1.0] * len(acts)
        self._weights = [weight * by for (weight, _), by in zip(acts, times, strict=True)]

    async def work(self, bursts: int, steps: int) -> None:
        """Bursts of operations, and pauses between them."""
        for _ in range(bursts):
            if self._rng.random() < 0.5:
                self._node = self._rng.choice(self._world.nodes)
            for _ in range(steps):
                await self.step()
                await asyncio.sleep(self._rng.uniform(0, self._rng.choice([0.002, 0.01, 0.05, 0.5])))
            await asyncio.sleep(self._rng.uniform(0, self._pause_max_s))

    async def step(self) -> None:
        """One operation on one key, or on a container."""
        place = self._rng.choice(self._world.places)
        if place.brief and self._rng.random() < 0.35:
            await self._rng.choice([self.make, self.remove, self.remove, self.look])(place)
            return
        act = self._rng.choices(self._acts, self._weights)[0]
        await act(place, self._rng.choice(place.keys))

    # -- asking --

    def on(self, node: Node) -> "Client":
        """From now on ask this node, and wait as long as any client may: whoever looks at rest must not
        meet a deletion that waits for the one who began it, and give up."""
        self._node = node
        self._patience_min_s = PATIENCE_MAX_S
        return self

    async def _ask(self, act: Callable[[CoreStore], Coroutine[Any, Any, T]]) -> T:
        if not self._node.running:
            self._node = self._rng.choice(self._world.nodes)
        try:
            async with asyncio.timeout(self._rng.uniform(self._patience_min_s, PATIENCE_MAX_S)):
                return await self._node.carry_out(act)
        except (Violation, *_MAYBE, *_ANSWERS):
            raise
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            raise Violation("errors", f"{self.name} at {self._node.name}: {error!r}", trace) from error

    async def _ask_in(
        self, place: Place, act: Callable[[CoreStore, Container], Coroutine[Any, Any, T]]
    ) -> T:
        async def ask(store: CoreStore) -> T:
            return await act(store, await store.container(ACCOUNT, place.name))

        return await self._ask(ask)

    def _told(self, kind: str, place: Place, key: str, how: object) -> None:
        self._world.trace(self.name, kind, place.name, key, how)
        self.answered += str(how) not in {"unknown", "no answer"}

    async def _read(
        self,
        kind: str,
        place: Place,
        key: str,
        act: Callable[[CoreStore, Container], Coroutine[Any, Any, Held]],
    ) -> bool:
        """A read and what it saw; whether it was answered."""
        begin = self._history.tick()
        try:
            seen = await self._ask_in(place, act)
        except (NoSuchObject, NoSuchContainer):
            seen = None
        except _MAYBE as error:
            self._told(kind, place, key, "no answer")
            self._world.trace(repr(error))
            return False
        self._seen[place.name, key] = seen
        self._history.read((place.name, key), begin, seen, self.name)
        self._told(kind, place, key, seen)
        return True

    async def _write(
        self,
        kind: str,
        place: Place,
        key: str,
        act: Callable[[CoreStore, Container], Coroutine[Any, Any, Held]],
        *,
        data: str = "",
        meta: str = "",
        expected: str = "",
    ) -> None:
        """A write and how it ended. `act` tells what it replaced, where that is known."""
        asked = Operation(self._history.tick(), 0, kind, "", data, meta, expected, who=self.name)
        where = place.name, key
        seen: Held = None
        outcome = "ok"
        try:
            seen = await self._ask_in(place, act)
        except NoSuchContainer:
            # A deletion that met the container's seals may be what made it empty.
            outcome = "unknown" if kind in {"delete", "take"} else "nothing"
            self._history.read(where, asked.begin, None, self.name)
        except PreconditionFailed:
            outcome = "refused"
        except NoSuchObject:
            outcome = "absent"
        except Full:
            outcome = "nothing"
        except _MAYBE:
            outcome = "unknown"
        self._told(kind, place, key, outcome)
        if outcome != "nothing":
            self._history.ended(where, asked, outcome, seen)

    def _new(self, sizes: Sequence[int]) -> tuple[str, list[bytes]]:
        """A name for data, and its parts."""
        self._written += 1
        name = f"{self.name}.{self._written}"
        return name, self._history.bodies.make(name, sizes)

    def _size_bytes(self) -> int:
        roll = self._rng.random()
        if roll < 0.6:
            return self._rng.randint(1, 2_000)
        if roll < 0.7:
            return self._rng.randint(20_000, 65_536)
        if roll < 0.98:
            return self._rng.randint(65_537, 150_000)
        return self._rng.randint(1_000_000, 1_200_000)

    def _body(self) -> tuple[str, SlowBody]:
        name, (data,) = self._new([self._size_bytes()])
        return name, self._slowly(data)

    def _slowly(self, data: bytes) -> SlowBody:
        return SlowBody(data, self._rng, self._rng.choice([0.0, 0.0, 0.01, 0.3]))

    # -- operations on objects --

    async def put(self, place: Place, key: str) -> None:
        """Write, whatever is there."""
        name, body = self._body()

        async def act(store: CoreStore, container: Container) -> None:
            await store.put_object(container, key, body, PLAIN)

        await self._write("put", place, key, act, data=name)

    async def create(self, place: Place, key: str) -> None:
        """Write where there is nothing."""
        await self._put_if("create", place, key, Conditions(if_none_match=("*",)), "")

    async def replace(self, place: Place, key: str) -> None:
        """Write where there is still what was seen last."""
        seen = self._seen.get((place.name, key))
        if seen is None or self._rng.random() < 0.7:
            await self.get(place, key)
            seen = self._seen.get((place.name, key))
        if seen is not None:
            etag = self._history.bodies.etag(seen.data)
            await self._put_if("replace", place, key, Conditions(if_match=(etag,)), seen.data)

    async def _put_if(
        self, kind: str, place: Place, key: str, conditions: Conditions, expected: str
    ) -> None:
        name, body = self._body()

        async def act(store: CoreStore, container: Container) -> None:
            await store.put_object(container, key, body, PLAIN, conditions=conditions)

        await self._write(kind, place, key, act, data=name, expected=expected)

    async def delete(self, place: Place, key: str) -> None:
        """Delete, whatever is there."""

        async def act(store: CoreStore, container: Container) -> None:
            await store.delete_object(container, key)

        await self._write("delete", place, key, act)

    async def take(self, place: Place, key: str) -> None:
        """Delete what is there and be told what it was."""

        async def act(store: CoreStore, container: Container) -> Held:
            info = await store.delete_existing(container, key)
            return self._state(info)

        await self._write("take", place, key, act)

    async def post(self, place: Place, key: str) -> None:
        """Give new metadata."""
        self._written += 1
        meta = f"{self.name}.m{self._written}"

        async def act(store: CoreStore, container: Container) -> None:
            await store.update_object(container, key, ObjectAttributes("text/other", meta={"m": meta}))

        await self._write("post", place, key, act, meta=meta)

    def _state(self, info: ObjectInfo) -> State:
        return state_of(self._history.bodies, info.head.etag, info.head.meta)

    def _pause_in_read_max_s(self) -> float:
        return self._rng.choice([0.0, 0.0, 0.0, 1.0])

    async def get(self, place: Place, key: str) -> bool:
        """Read it all, slowly at times, and look at each byte."""
        pause_max_s = self._pause_in_read_max_s()

        async def act(store: CoreStore, container: Container) -> Held:
            opened = await store.open_object(container, key)
            try:
                state = self._state(opened.info)
                await asyncio.sleep(self._rng.uniform(0, pause_max_s))
                data = await _all(opened.stream(0, opened.info.head.size_bytes))
            finally:
                opened.close()
            self._history.bodies.check(state.data, data)
            return state

        return await self._read("get", place, key, act)

    async def head(self, place: Place, key: str) -> bool:
        """Read what is said of it."""

        async def act(store: CoreStore, container: Container) -> Held:
            return self._state(await store.head_object(container, key))

        return await self._read("head", place, key, act)

    async def listing(self, place: Place, _key: str = "") -> bool:
        """A read of every key at once, in pages at times; whether it was answered."""
        begin = self._history.tick()
        limit = self._rng.choice([1000, 1000, 1, 2])
        held: dict[str, Held] = dict.fromkeys(place.keys)

        async def act(store: CoreStore, container: Container) -> None:
            marker = ""
            while True:
                page = await store.list_objects(container, ListQuery(marker=marker, limit=limit))
                held.update((e.name, self._state(e)) for e in page.entries if isinstance(e, ObjectInfo))
                if not page.truncated:
                    return
                marker = page.next_marker

        try:
            await self._ask_in(place, act)
        except NoSuchContainer:
            held = dict.fromkeys(place.keys)
        except _MAYBE:
            self._told("list", place, "", "no answer")
            return False
        if held.keys() != set(place.keys):
            raise Violation("listing", f"{place.name} lists {sorted(held)}")
        for key, state in held.items():
            self._history.read((place.name, key), begin, state, f"{self.name}.list")
        self._told("list", place, "", sorted(held.items()))
        return True

    async def multipart(self, place: Place, key: str) -> None:
        """An object of parts."""
        sizes = [self._rng.choice([1_500, 70_000, 90_000]) for _ in range(self._rng.randint(2, 3))]
        name, parts = self._new(sizes)
        made: list[CompletedPart] = []
        upload_id = ""

        async def begin(store: CoreStore, container: Container) -> None:
            nonlocal upload_id
            upload_id = (await store.create_upload(container, key, PLAIN)).id
            for number, data in enumerate(parts, 1):
                part = await store.put_part(container, key, upload_id, number, self._slowly(data))
                made.append(CompletedPart(number, part.etag))

        async def complete(store: CoreStore, container: Container) -> None:
            await store.complete_upload(container, key, upload_id, made)

        async def abort(store: CoreStore, container: Container) -> None:
            await store.abort_upload(container, key, upload_id)

        try:
            await self._ask_in(place, begin)
            if self._rng.random() < 0.2:
                await self._ask_in(place, abort)
                return
        except (NoSuchContainer, NoSuchUpload, Full, *_MAYBE):
            return
        await self._complete(place, key, name, complete)

    async def _complete(
        self,
        place: Place,
        key: str,
        name: str,
        act: Callable[[CoreStore, Container], Coroutine[Any, Any, None]],
    ) -> None:
        """Complete an upload; asked for again where the first answer is lost."""
        asked = Operation(self._history.tick(), 0, "put", "", name, who=self.name)
        outcome = "nothing"
        for _ in range(2):
            try:
                await self._ask_in(place, act)
            except _MAYBE:
                outcome = "unknown"
                continue
            except (NoSuchUpload, NoSuchContainer, Full):
                break  # nothing came of it, or it was completed before and written over
            outcome = "ok"
            break
        self._told("complete", place, key, outcome)
        if outcome != "nothing":
            self._history.ended((place.name, key), asked, outcome)

    # -- operations on containers --

    async def make(self, place: Place) -> None:
        """Create the container."""
        asked = Operation(self._history.tick(), 0, "create", "", PRESENT.data, who=self.name)

        async def act(store: CoreStore) -> None:
            await store.create_container(ACCOUNT, place.name, policy=place.policy)

        outcome = "ok"
        try:
            await self._ask(act)
        except (ContainerExists, PolicyConflict):
            outcome = "refused"
        except Full:
            outcome = "nothing"
        except _MAYBE:
            outcome = "unknown"
        self._told("make", place, "", outcome)
        if outcome != "nothing":
            self._history.ended((place.name, ""), asked, outcome)

    async def remove(self, place: Place) -> None:
        """Delete the container: only where it is empty."""
        asked = Operation(self._history.tick(), 0, "take", "", who=self.name)

        async def act(store: CoreStore, container: Container) -> None:
            await store.delete_container(container)

        outcome = "ok"
        try:
            await self._ask_in(place, act)
        except NoSuchContainer:
            outcome = "absent"
        except ContainerNotEmpty:
            self._history.read((place.name, ""), asked.begin, PRESENT, self.name)
            outcome = "nothing"
        except Full:
            outcome = "unknown"
        except _MAYBE:
            outcome = "unknown"
        self._told("remove", place, "", outcome)
        if outcome == "nothing":
            return
        self._history.ended((place.name, ""), asked, outcome, PRESENT if outcome == "ok" else None)
        if outcome == "ok":
            for key in place.keys:
                self._history.read((place.name, key), asked.begin, None, f"{self.name}.remove")

    async def look(self, place: Place) -> bool:
        """Whether the container is there; whether that was answered."""
        begin = self._history.tick()

        async def act(store: CoreStore) -> None:
            await store.container(ACCOUNT, place.name, fresh=True)

        seen: Held = PRESENT
        try:
            await self._ask(act)
        except NoSuchContainer:
            seen = None
        except _MAYBE:
            self._told("look", place, "", "no answer")
            return False
        self._history.read((place.name, ""), begin, seen, self.name)
        self._told("look", place, "", seen)
        return True


async def _all(views: AsyncGenerator[memoryview, None]) -> bytes:
    return b"".join([bytes(view) async for view in views])

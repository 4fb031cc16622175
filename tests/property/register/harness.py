"""Histories of register operations over replicas behind a lossy, repeating, reordering network.

One seed decides everything. Plug in a client side as `Operation`s and a replica side as `Replica`s;
`run` gives a history for `linearizability.linearizable`. Nothing here waits or touches a clock.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from runtime.clock import HybridClock
from storage.memory import MemoryDevice
from storage.replica import RowState, on_accept, on_prepare, on_write
from storage.types import (
    ZERO_VERSION,
    Accept,
    No,
    Ok,
    Prepare,
    Read,
    Row,
    RowAnswer,
    RowMessage,
    Write,
)
from tests.property.register.linearizability import (
    Asked,
    Content,
    Event,
    Get,
    Outcome,
    Put,
    Swap,
)

SHARD = b"shard"
NAME = b"row"
REPLICAS = 3
STEPS_MAX = 4000
PATIENCE_STEPS = 120
"""How long an operation waits for answers of a round before it expires."""
CHURN_PATIENCE_STEPS = 600

STEP_NS = 1_000_000
CLOCK_START_NS = 1_000_000 * STEP_NS
FAR_FUTURE = 1e18


# -- the replica's side ------------------------------------------------------------------------


class Replica(Protocol):
    """One replica of the row; every answer is durable."""

    def handle(self, message: RowMessage, payload: bytes) -> tuple[RowAnswer, bytes]:
        """Carry out one message."""


class Rules(NamedTuple):
    """The three decisions of a replica; a mutant replaces one."""

    write: Callable[..., tuple[RowState | None, Ok | No | None]] = on_write
    accept: Callable[..., tuple[RowState | None, Ok | No | None]] = on_accept
    prepare: Callable[..., tuple[RowState | None, Ok | No | None]] = on_prepare


class RuledReplica:
    """A replica that decides by `Rules` and remembers; nothing else."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._state = RowState()
        self._payload = b""

    def handle(self, message: RowMessage, payload: bytes) -> tuple[RowAnswer, bytes]:
        match message:
            case Read():
                return Row(self._state.version), self._payload
            case Write():
                return self._store(self._rules.write(self._state, message.version), payload)
            case Accept():
                return self._store(self._rules.accept(self._state, message.version), payload)
            case Prepare():
                state, answer = self._rules.prepare(self._state, message.ballot)
                self._state = state or self._state
                return (answer, b"") if answer else (Row(self._state.version), self._payload)
        raise AssertionError(message)

    def _store(
        self, verdict: tuple[RowState | None, Ok | No | None], payload: bytes
    ) -> tuple[RowAnswer, bytes]:
        state, answer = verdict
        assert answer is not None
        if state is not None:
            self._state, self._payload = state, payload
        return answer, b""


class DeviceReplica:
    """A whole in-memory device."""

    def __init__(self, device: MemoryDevice) -> None:
        self._device = device

    def handle(self, message: RowMessage, payload: bytes) -> tuple[RowAnswer, bytes]:
        answers: list[tuple[RowAnswer, bytes]] = []
        self._device.send(message, payload, FAR_FUTURE, lambda *answer: answers.append(answer))
        (answer,) = answers
        return answer


# -- the client's side -------------------------------------------------------------------------


class Round(NamedTuple):
    """Messages to send now as (member, message, payload); answers of earlier rounds no longer count.

    extends: more messages of the present round, whose earlier answers still count.
    """

    messages: Sequence[tuple[int, RowMessage, bytes]]
    extends: bool = False


Step = Round | Outcome | None


class Operation(Protocol):
    """One operation of one client, without I/O."""

    def begin(self) -> Step:
        """The first round."""

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        """Take one answer of the current round; None: wait for more."""

    def expire(self) -> Outcome:
        """Nothing more will come."""


Client = Callable[[Asked, HybridClock], Operation]
"""Makes an operation on the row (SHARD, NAME) of a client whose clock is given."""


def content_of(row: Row, payload: bytes) -> Content:
    """A row as the register's content; tombstones do not occur."""
    return None if row.version == ZERO_VERSION else payload


# -- the world ---------------------------------------------------------------------------------


@dataclass
class SkewedClock:
    """A client's or device's view of the world's time."""

    world: "World"
    skew_steps: int = 0

    def now_ns(self) -> int:
        return CLOCK_START_NS + (self.world.step + self.skew_steps) * STEP_NS

    def monotonic(self) -> float:
        return float(self.world.step)


class Packet(NamedTuple):
    """A request or (with an answer) its answer on the way."""

    client: int
    operation: int
    round: int
    member: int
    message: RowMessage
    payload: bytes
    answer: RowAnswer | None = None


@dataclass
class Running:
    """A client's operation under way."""

    operation: Operation
    number: int
    asked: Asked
    begun: int
    round: int = 0
    changed: int = 0


@dataclass
class World:
    """One seeded run of a few operations per client.

    churn: one client's packets are slow and often repeated, while the others overwrite the row many
    times: what a replica has forgotten matters only then.
    """

    seed: int
    client: Client
    make_replica: Callable[["World"], Replica]
    churn: bool = False
    clients: int = 4
    step: int = 0
    history: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._replicas = [self.make_replica(self) for _ in range(REPLICAS)]
        self._loss = self._random.choice([0, 0.05, 0.2, 0.4])
        self._duplicate = self._random.choice([0, 0.1])
        self._patience_steps = PATIENCE_STEPS
        self._kinds = [Put, Put, Get, Get, Swap, Swap]
        self._clocks = [self._clock(number) for number in range(self.clients)]
        self._left = [self._random.randint(2, 3) for _ in range(self.clients)]
        if self.churn:
            self._churn()
        self._running: dict[int, Running] = {}
        self._packets: list[Packet] = []
        self._contents: list[Content] = [None]
        self._operations = 0

    def _churn(self) -> None:
        self._loss = self._random.choice([0, 0.05])
        self._duplicate = 0.5
        self._patience_steps = CHURN_PATIENCE_STEPS
        self._kinds = [Put, Put, Put, Get, Get]
        self._left = [1] + [self._random.randint(5, 8) for _ in range(1, self.clients)]

    def _clock(self, number: int) -> HybridClock:
        skew = self._random.choice([0, 0, 30, -30, 80])
        return HybridClock(SkewedClock(self, skew), number.to_bytes(8, "big"))

    def run(self) -> list[Event]:
        """Play until every operation has ended; the history in order of their ends."""
        while (any(self._left) or self._running) and self.step < STEPS_MAX:
            self.step += 1
            self._play()
        for client in list(self._running):
            self._expire(client)
        return self.history

    def _play(self) -> None:
        idle = [c for c in range(self.clients) if c not in self._running and self._left[c]]
        if idle and self._random.random() < 0.15:
            self._begin(self._random.choice(idle))
            return
        impatient = [
            client
            for client, running in self._running.items()
            if self.step - running.changed > self._patience_steps
        ]
        if impatient:
            self._expire(impatient[0])
        elif self._packets:
            self._deliver(self._packets.pop(self._pick()))

    def _pick(self) -> int:
        """Which packet arrives next: any; in a churn, one of the slow client's seldom."""
        index = self._random.randrange(len(self._packets))
        if self.churn and self._packets[index].client == 0 and self._random.random() < 0.9:
            index = self._random.randrange(len(self._packets))
        return index

    def _begin(self, client: int) -> None:
        self._left[client] -= 1
        self._operations += 1
        asked = self._invent(Put if self.churn and client == 0 else self._random.choice(self._kinds))
        operation = self.client(asked, self._clocks[client])
        running = Running(operation, self._operations, asked, self.step, changed=self.step)
        self._running[client] = running
        self._advance(client, running.operation.begin())

    def _invent(self, kind: type[Asked]) -> Asked:
        content = b"%d" % self._operations
        if kind is Get:
            return Get()
        expected = self._random.choice(self._contents)
        self._contents.append(content)
        return Put(content) if kind is Put else Swap(expected, content)

    def _advance(self, client: int, step: Step) -> None:
        running = self._running[client]
        if step is None:
            return
        if not isinstance(step, Round):
            self._end(client, step)
            return
        running.round += not step.extends
        running.changed = self.step
        for member, message, payload in step.messages:
            self._packets.append(
                Packet(client, running.number, running.round, member, message, payload)
            )

    def _end(self, client: int, outcome: Outcome) -> None:
        running = self._running.pop(client)
        self.history.append(Event(running.begun, self.step, running.asked, outcome))

    def _expire(self, client: int) -> None:
        self._end(client, self._running[client].operation.expire())

    def _deliver(self, packet: Packet) -> None:
        if self._random.random() < self._loss:
            return
        if self._random.random() < self._duplicate:
            self._packets.append(packet)
        if packet.answer is None:
            answer, payload = self._replicas[packet.member].handle(packet.message, packet.payload)
            self._packets.append(packet._replace(answer=answer, payload=payload))
            return
        running = self._running.get(packet.client)
        if running and (running.number, running.round) == (packet.operation, packet.round):
            step = running.operation.answer(packet.member, packet.answer, packet.payload)
            self._advance(packet.client, step)


def ruled(rules: Rules) -> Callable[[World], Replica]:
    """Replicas that decide by `rules`."""
    return lambda world: RuledReplica(rules)


def in_memory(world: World) -> Replica:
    """Replicas that are whole in-memory devices."""
    return DeviceReplica(MemoryDevice(0, SkewedClock(world)))

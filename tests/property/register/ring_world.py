"""Histories of register operations while the ring changes: one replica is replaced by a newcomer
through a joint epoch, over the same bad network as in `harness.py`, with the core's own machines.

Epoch 0 names replicas 0, 1 and 2, epoch 1 these and 3 (joint), epoch 2 names 0, 1 and 3.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from proxy.core.register import (
    Decision,
    Found,
    Machine,
    QuorumRead,
    Refused,
    Send,
    Step,
    Stored,
    Undone,
    Unknown,
    Value,
    Versioned,
    confirmation,
    joint,
)
from runtime.clock import HybridClock
from storage.replica import Installed, RowState, merged, on_install
from storage.types import Accept, Failed, Fault, Row, RowAnswer, RowMessage, Write
from tests.property.register import linearizability
from tests.property.register.harness import (
    CLOCK_START_NS,
    NAME,
    PATIENCE_STEPS,
    SHARD,
    STEP_NS,
    RuledReplica,
    Rules,
)
from tests.property.register.linearizability import Asked, Event, Get, Put, Saw, Swap

MEMBERS: Final = ((0, 1, 2), (0, 1, 2, 3), (0, 1, 3))
OLD: Final = 0b0111
NEW_IN_JOINT: Final = 0b1011
NEW: Final = 0b111
QUORUMS: Final = (joint(3, 0b111, 0b111), joint(4, OLD, NEW_IN_JOINT), joint(3, NEW, NEW))
NEWCOMER: Final = 3
LEFT: Final = 2
"""The replica that epoch 2 does not name."""

STEPS_MAX: Final = 6000
RENEWALS_MAX: Final = 6
SPREADS: Final = 20
LEARNS: Final = 0.3
"""How often a client looks at the ring by itself before an operation."""


class RingRules(NamedTuple):
    """What mutants switch off."""

    quorums: tuple[object, ...] = QUORUMS
    fence: bool = True
    settle_from: int = 2
    replica: Rules = Rules()
    install: Callable[[RowState, RowState], Installed] = on_install
    hands_on: bool = False
    """No rule, but what `proxy/repair/covering.py` does: in epoch 2 replica 2 tells the others what a
    majority of them lacks."""


class EpochReplica(RuledReplica):
    """A replica that knows its epoch, and can be pulled from and installed into."""

    def __init__(self, rules: RingRules) -> None:
        super().__init__(rules.replica)
        self.epoch = 0
        self._fence = rules.fence
        self._install = rules.install
        self._flags = 0

    def admits(self, epoch: int) -> bool:
        """Whether a message of this epoch is carried out."""
        if self._fence and epoch < self.epoch:
            return False
        self.epoch = max(self.epoch, epoch)
        return True

    def handle(self, message: RowMessage, payload: bytes) -> tuple[RowAnswer, bytes]:
        version = self._state.version
        answer, body = super().handle(message, payload)
        if isinstance(message, Write | Accept) and self._state.version != version:
            self._flags = message.flags
        return (Row(answer.version, self._flags), body) if isinstance(answer, Row) else (answer, body)

    def pulled(self) -> tuple[RowState, bytes]:
        """Everything it knows of the row."""
        return self._state, bytes([self._flags]) + self._payload

    def install(self, state: RowState, payload: bytes) -> bool:
        """Take over what others know; False: the row must be decided anew first."""
        installed = self._install(self._state, state)
        if installed.state is not None:
            if installed.state.version != self._state.version:
                self._payload = payload[1:]
                self._flags = payload[0]
            self._state = installed.state
        return installed.taken


class Packet(NamedTuple):
    """A request or its answer on the way."""

    client: int
    operation: int
    round: int
    member: int
    epoch: int
    message: object
    payload: bytes
    answer: RowAnswer | None = None


@dataclass
class Running:
    """A client's operation under way."""

    machine: Machine
    number: int
    asked: Asked
    begun: int
    epoch: int
    round: int = 0
    changed: int = 0
    renewals: int = 0
    stale: bool = False


@dataclass
class StepClock:
    """A client's view of the world's time."""

    world: "RingWorld"
    skew_steps: int = 0

    def now_ns(self) -> int:
        return CLOCK_START_NS + (self.world.step + self.skew_steps) * STEP_NS

    def monotonic(self) -> float:
        return float(self.world.step)


MakeMachine = Callable[[Asked, object, HybridClock], Machine]


@dataclass
class RingWorld:
    """One seeded run. make: a machine for what was asked, over a quorum, with the client's clock.

    swaps: mostly conditional updates of an early version, on a bad network around the ring's change:
    votes for old ballots matter only then.
    """

    seed: int
    make: MakeMachine
    rules: RingRules = field(default_factory=RingRules)
    swaps: bool = False
    clients: int = 4
    step: int = 0
    handed_on: int = 0
    history: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._replicas = [EpochReplica(self.rules) for _ in range(4)]
        self._loss = self._random.choice([0, 0.05, 0.2, 0.4])
        self._duplicate = self._random.choice([0, 0.1])
        self._clocks = [self._clock(number) for number in range(self.clients + 1)]
        self._epochs = [0] * self.clients + [1]
        self._left = [self._random.randint(3, 4) for _ in range(self.clients)]
        self._running: dict[int, Running] = {}
        self._packets: list[Packet] = []
        self._contents: list[bytes | None] = [None]
        self._operations = 0
        self._change_at = self._random.randint(0, 400)
        self._kinds = [Put, Put, Get, Get, Swap, Swap]
        self._ring = _RingChange(self.rules.settle_from)
        if self.swaps:
            self._kinds = [Swap, Swap, Get]
            self._loss = self._random.choice([0.05, 0.2, 0.3])
            self._change_at = self._random.randint(0, 120)

    def _clock(self, number: int) -> HybridClock:
        skew = self._random.choice([0, 0, 30, -30, 80])
        return HybridClock(StepClock(self, skew), number.to_bytes(8, "big"))

    def run(self) -> list[Event]:
        """Play until every operation has ended; the history in order of their ends."""
        while (any(self._left) or self._running) and self.step < STEPS_MAX:
            self.step += 1
            if self.step >= self._change_at:
                self._change_ring()
            self._play()
        for client in list(self._running):
            self._expire(client)
        return self.history

    # -- the ring's change -----------------------------------------------------------------------

    def _change_ring(self) -> None:
        """Now and then one message of the ring's worker gets through, in whatever order it may."""
        if self._random.random() > 0.1 or self._random.random() < self._loss:
            return
        if self.rules.hands_on and self._ring.epoch == 2 and self._random.random() < 0.5:
            self._hand_on()
        elif self._ring.undecided:
            if self.clients not in self._running:
                self._begin_deciding()
        else:
            self._ring.play(self._replicas, self._random)

    def _hand_on(self) -> None:
        """The replica that has left sends its row to the others, unless most have it, or more."""
        state, body = self._replicas[LEFT].pulled()
        present = [n for n in MEMBERS[2] if self._replicas[n].epoch == 2]
        held = [self._replicas[n].pulled()[0].version >= state.version for n in present]
        if self._replicas[LEFT].epoch == 2 and len(present) >= 2 and sum(held) < 2:
            row = Versioned(state.version, Value(body[0], len(body) - 1, b"", body[1:]))
            message = confirmation(SHARD, NAME, row)
            self._packets += [Packet(-1, 0, 0, n, 2, message, body[1:]) for n in MEMBERS[2]]
            self.handed_on += 1

    def _begin_deciding(self) -> None:
        """The ring's worker decides the row anew, as it is."""
        self._operations += 1
        machine = Decision(self.rules.quorums[1], self._clocks[-1], SHARD, NAME)  # type: ignore[arg-type]
        asked = Get()
        running = Running(machine, self._operations, asked, self.step, 1, changed=self.step)
        self._running[self.clients] = running
        self._advance(self.clients, machine.begin())

    # -- operations ------------------------------------------------------------------------------

    def _play(self) -> None:
        idle = [c for c in range(self.clients) if c not in self._running and self._left[c]]
        if idle and self._random.random() < 0.15:
            self._begin(self._random.choice(idle))
            return
        impatient = [
            client
            for client, running in self._running.items()
            if self.step - running.changed > PATIENCE_STEPS
        ]
        if impatient:
            self._expire(impatient[0])
        elif self._packets:
            self._deliver(self._packets.pop(self._random.randrange(len(self._packets))))

    def _begin(self, client: int) -> None:
        self._left[client] -= 1
        self._operations += 1
        kind = self._random.choice(self._kinds)
        content = b"%d" % self._operations
        asked: Asked = Get()
        if kind is not Get:
            known = self._contents[:2] if self.swaps else self._contents
            expected = self._random.choice(known)
            self._contents.append(content)
            asked = Put(content) if kind is Put else Swap(expected, content)
        if self._random.random() < LEARNS:
            self._epochs[client] = max(self._epochs[client], self._ring.epoch)
        epoch = self._epochs[client]
        machine = self.make(asked, self.rules.quorums[epoch], self._clocks[client])
        running = Running(machine, self._operations, asked, self.step, epoch, changed=self.step)
        self._running[client] = running
        self._advance(client, machine.begin())

    def _advance(self, client: int, step: Step) -> None:
        running = self._running[client]
        if step is None:
            return
        if not isinstance(step, Send):
            self._ended(client, step)
            return
        running.round += not step.extends
        running.changed = self.step
        messages = list(step.messages)
        if isinstance(running.machine, QuorumRead):
            while (more := running.machine.more()) is not None:
                messages += more.messages
        for member, message, payload in messages:
            replica = MEMBERS[running.epoch][member]
            self._packets.append(
                Packet(client, running.number, running.round, replica, running.epoch, message, payload)
            )

    def _ended(self, client: int, end: object) -> None:
        """An operation that met a newer epoch goes on there, as the driver does it."""
        running = self._running[client]
        open_end = isinstance(end, Unknown | Undone)
        if open_end and running.stale and running.renewals < RENEWALS_MAX:
            running.renewals += 1
            running.stale = False
            running.epoch = self._epochs[client]
            self._advance(client, running.machine.renew(self.rules.quorums[running.epoch]))  # type: ignore[arg-type]
            return
        del self._running[client]
        if client == self.clients:
            self._ring.pull_again()
            return
        outcome = _outcome(end)
        self.history.append(Event(running.begun, self.step, running.asked, outcome))

    def _expire(self, client: int) -> None:
        self._ended(client, self._running[client].machine.expire())

    def _deliver(self, packet: Packet) -> None:
        if self._random.random() < self._loss:
            return
        if self._random.random() < self._duplicate:
            self._packets.append(packet)
        if packet.answer is None:
            self._packets.append(self._answered(packet))
            return
        running = self._running.get(packet.client)
        if not running or (running.number, running.round) != (packet.operation, packet.round):
            return
        answer = packet.answer
        if isinstance(answer, Failed) and answer.fault == Fault.EPOCH:
            running.stale = True
            self._epochs[packet.client] = max(self._epochs[packet.client], int(answer.text))
        member = MEMBERS[running.epoch].index(packet.member)
        self._advance(packet.client, running.machine.answer(member, answer, packet.payload))

    def _answered(self, packet: Packet) -> Packet:
        replica = self._replicas[packet.member]
        if not replica.admits(packet.epoch):
            return packet._replace(answer=Failed(Fault.EPOCH, str(replica.epoch)))
        message: RowMessage = packet.message  # type: ignore[assignment]
        answer, payload = replica.handle(message, packet.payload)
        return packet._replace(answer=answer, payload=payload)


class _RingChange:
    """The ring's worker, one message at a time: joint epoch, settling, new epoch."""

    def __init__(self, settle_from: int) -> None:
        self._need = settle_from
        self._pulled: dict[int, tuple[RowState, bytes]] = {}
        self._settled = settle_from == 0
        self._spread = 0
        self.undecided = False
        """The row must be decided anew before the newcomer can take it over."""
        self._joint = False

    @property
    def epoch(self) -> int:
        """What the ring's register holds."""
        return 2 if self._spread else int(self._joint)

    def pull_again(self) -> None:
        """The row has been decided, or was tried to be."""
        self.undecided = False
        self._pulled.clear()

    def play(self, replicas: list[EpochReplica], chance: random.Random) -> None:
        """Let one message through."""
        self._joint = True
        if self._settled:
            if self._spread < SPREADS:
                self._spread += 1
                replicas[chance.randrange(4)].admits(2)
        elif len(self._pulled) < self._need:
            number = chance.randrange(3)
            replicas[NEWCOMER].admits(1)
            replicas[number].admits(1)
            self._pulled.setdefault(number, replicas[number].pulled())
        else:
            states = [state for state, _ in self._pulled.values()]
            state = merged(states)
            payload = next(p for s, p in self._pulled.values() if s.version == state.version)
            self._settled = replicas[NEWCOMER].install(state, payload)
            self.undecided = not self._settled


def _outcome(end: object) -> linearizability.Outcome:
    match end:
        case Stored():
            return linearizability.Done()
        case Found(row, _):
            return Saw(row.value.payload if row.live else None)
        case Refused(reason):
            return Saw(reason.args[0])
        case Undone():
            return linearizability.Nothing()
    return linearizability.Unknown()

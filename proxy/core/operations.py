"""Row operations on their way: one machine or one of its shortcuts, its answers, hedge and deadline.

`rows.py` makes them and waits for them; all timers are one.
"""

import asyncio
import enum
from collections.abc import Callable
from functools import partial
from typing import Final

from proxy.core.guarded import responsive
from proxy.core.latency import Latency
from proxy.core.placement import Replicas
from proxy.core.register import (
    End,
    Machine,
    QuorumRead,
    Send,
    Step,
    Unknown,
    Value,
    Versioned,
)
from runtime.clock import Clock
from runtime.randomness import Randomness
from storage.contract import RowDevice
from storage.types import Failed, Fault, No, Ok, Read, Row, RowAnswer, Sealed

ROW_DEADLINE_S: Final = 10.0
"""A row operation that has not ended by then is given up: Unavailable."""

HEDGE_S: Final = 0.25
"""A read that waits longer than this for its majority asks one more replica."""

HEDGE_MIN_S: Final = 0.01
"""It does so earlier, but not before this, where reads usually take much less (`latency.py`)."""

HEDGES_SHARE: Final = 0.1
HEDGES_MAX: Final = 100.0
"""The share of reads that may be hedged so early, and how many at once after a quiet time."""

_AWAY: Final = frozenset({Fault.OFFLINE, Fault.DEADLINE, Fault.UNREACHABLE})

AGREEING_OF: Final = 3
"""Replicas of a shard whose usual read goes without the machinery: two of three are a majority."""

PAUSE_S: Final = 0.004
"""Base of the random pause of a conditional write that lost a race."""


NoteLatency = Callable[[bool, float], None]
"""Told of each operation that waited for devices: whether it was a write, and its seconds."""


class Operation:
    """One machine on its way. Late answers of earlier rounds are dropped by their round's number."""

    __slots__ = (
        "_devices", "_jitter", "_machine", "_round", "_stale", "begun", "deadline", "end", "future",
    )  # fmt: skip

    def __init__(
        self, machine: Machine, devices: tuple[RowDevice, ...], begun: float, jitter: Randomness
    ) -> None:
        self._machine = machine
        self._devices = devices
        self._jitter = jitter
        self._round = 0
        self._stale = False
        self.begun = begun
        self.deadline = begun + ROW_DEADLINE_S
        self.end: End | None = None
        self.future: asyncio.Future[None] | None = None

    @property
    def writes(self) -> bool:
        """No read."""
        return not isinstance(self._machine, QuorumRead)

    def start(self) -> None:
        self._dispatch(self._machine.begin())

    def renew(self, replicas: Replicas) -> None:
        """Go on among the replicas of a newer epoch, or once more in this one."""
        self.end = None
        self._stale = False
        self._devices = replicas.devices
        self._dispatch(self._machine.renew(replicas.quorum))

    def go_on(self, step: Step) -> None:
        """Start from a step that the machine has got to already."""
        self._take(step)

    def _dispatch(self, step: Send) -> None:
        if self.end is not None:
            return
        if not step.extends:
            self._round += 1
        this_round = self._round
        for member, message, payload in step.messages:
            deliver = partial(self._on_answer, this_round, member)
            self._devices[member].send(message, payload, self.deadline, deliver)

    def _on_answer(self, of_round: int, member: int, answer: RowAnswer, payload: bytes) -> None:
        if of_round == self._round and self.end is None:
            if type(answer) is Failed and answer.fault == Fault.EPOCH:
                self._stale = True
            self._take(self._machine.answer(member, answer, payload))

    def _take(self, step: Step) -> None:
        if step is None:
            return
        if not isinstance(step, Send):
            self.end = step
            if self.future is not None and not self.future.done():
                self.future.set_result(None)
        elif step.pause:
            self._round += 1  # answers still on their way belong to the round that lost
            delay = self._jitter.uniform(PAUSE_S / 4, PAUSE_S * 2)
            asyncio.get_running_loop().call_later(delay, self._dispatch, step._replace(pause=False))
        else:
            self._dispatch(step)

    def abandon(self) -> None:
        """Nobody waits any more: send nothing further. What was sent may still happen."""
        if self.end is None:
            self.end = Unknown()

    def hedge(self) -> None:
        """Ask one more replica of a read that is slow; don't wait for those who may have moved on."""
        if self._stale:
            self.expire()
        elif self.end is None and isinstance(self._machine, QuorumRead):
            self._take(self._machine.more())

    def expire(self) -> None:
        """The deadline has passed."""
        if self.end is None:
            self._take(self._machine.expire())


class AgreeingRead:
    """The usual read, without the machinery: two of three replicas are asked and hold one version.

    One is asked for the row, the other for its version, and the third for the row in place of one that
    is slow or away. Anything else (another version, damage, another epoch) is no answer: the read then
    begins anew as a `QuorumRead`.
    """

    __slots__ = (
        "_message", "_payload", "_row", "_spare", "_spare_asked", "_version", "_waiting", "agreed",
        "begun", "deadline", "future", "over",
    )  # fmt: skip
    writes = False

    def __init__(self, begun: float, message: Read, spare: RowDevice) -> None:
        """message: what is asked for. spare: the third replica."""
        self.begun = begun
        self.deadline = begun + ROW_DEADLINE_S
        self.over = False
        self.future: asyncio.Future[None] | None = None
        self.agreed: Versioned | None = None
        """The row, once two hold the same version of it."""
        self._message = message
        self._spare = spare
        self._spare_asked = False
        self._waiting = 2
        self._row: Row | None = None  # in full, with its payload
        self._payload = b""
        self._version: Row | None = None

    def take_row(self, answer: RowAnswer, payload: bytes) -> None:
        """The answer of a replica that was asked for the row."""
        self._waiting -= 1
        if self.over:
            return
        if type(answer) is not Row:
            self._missed(answer)
        elif self._row is not None:
            self._compare(self._row, answer)
        else:
            self._row = answer
            self._payload = payload
            if self._version is not None:
                self._compare(answer, self._version)
        if not self._waiting and not self.over:
            self._end()

    def take_version(self, answer: RowAnswer, _payload: bytes) -> None:
        """The answer of the replica that was asked for its version."""
        self._waiting -= 1
        if self.over:
            return
        if type(answer) is not Row:
            self._missed(answer)
        elif self._row is not None:
            self._compare(self._row, answer)
        else:
            self._version = answer
        if not self._waiting and not self.over:
            self._end()

    def _compare(self, row: Row, other: Row) -> None:
        if row.version == other.version:
            value = Value(row.flags, row.size, row.head, self._payload)
            self.agreed = Versioned(row.version, value, row.sealed or other.sealed)
        self._end()

    def _missed(self, answer: RowAnswer) -> None:
        """A replica that is away is replaced; what else is wrong is for the machine."""
        if type(answer) is Failed and answer.fault in _AWAY:
            self.hedge()
        else:
            self._end()

    def _end(self) -> None:
        self.over = True
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def hedge(self) -> None:
        """Ask the third replica, too, once."""
        if not self._spare_asked:
            self._spare_asked = True
            self._waiting += 1
            self._spare.send(self._message, b"", self.deadline, self.take_row)

    def expire(self) -> None:
        """Nobody knows: no answer."""
        self._end()


class AgreeingWrite:
    """The usual plain write, without the machinery: two of three replicas say Ok.

    What else they say is for `PlainWrite.resume`.
    """

    __slots__ = ("_never", "_oks", "_sealed", "answers", "begun", "deadline", "future", "over")
    writes = True

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.deadline = begun + ROW_DEADLINE_S
        self.over = False
        self.future: asyncio.Future[None] | None = None
        self.answers: list[RowAnswer] = []
        self._oks = self._never = self._sealed = 0

    def take(self, answer: RowAnswer, _payload: bytes) -> None:
        """A replica's answer; two of a kind, or all three, are enough."""
        self.answers.append(answer)
        if type(answer) is Ok:
            self._oks += 1
        elif type(answer) is No:
            self._never += answer.never_held
        elif type(answer) is Sealed:
            self._sealed += 1
        most = max(self._oks, self._never, self._sealed)
        if most == AGREEING_OF - 1 or len(self.answers) == AGREEING_OF:
            self._end()

    @property
    def stored(self) -> bool:
        """A majority has it."""
        return self._oks >= AGREEING_OF - 1

    def _end(self) -> None:
        self.over = True
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def hedge(self) -> None:
        """All replicas were asked; where one has moved on to another epoch, the others may have."""
        if any(type(answer) is Failed and answer.fault == Fault.EPOCH for answer in self.answers):
            self._end()

    def expire(self) -> None:
        """The deadline has passed."""
        self._end()


Waiting = Operation | AgreeingRead | AgreeingWrite


class Watch:
    """Hedges and expires operations under way; one timer for all of them, none while all is quiet.

    A read is hedged once it takes much longer than reads do of late. Such hedges are a bounded share of
    all reads, so that they don't make an overload worse; at HEDGE_S every operation is.
    """

    def __init__(self, clock: Clock, note_latency: NoteLatency | None) -> None:
        self._clock = clock
        self._note_latency = note_latency
        self._pending: dict[Waiting, _Hedged] = {}  # in order of their beginning
        self._timer: asyncio.TimerHandle | None = None
        self._resting = False
        self._reads = Latency(HEDGE_MIN_S, HEDGE_S)
        self._hedges_left = HEDGES_MAX
        self.hedged = 0
        """Hedges of reads so far."""

    @property
    def waiting(self) -> int:
        """Operations under way."""
        return len(self._pending)

    async def wait(self, operation: Waiting) -> None:
        """Until the operation has ended, by answers or by its deadline."""
        loop = asyncio.get_running_loop()
        operation.future = loop.create_future()
        self._pending[operation] = _Hedged.NOT
        if self._timer is None or self._resting:
            self._arm(HEDGE_MIN_S)
        try:
            await operation.future
        finally:
            del self._pending[operation]
            took_s = self._clock.monotonic() - operation.begun
            if not operation.writes:
                self._reads.saw(took_s)
                self._hedges_left = min(HEDGES_MAX, self._hedges_left + HEDGES_SHARE)
            if self._note_latency is not None:
                self._note_latency(operation.writes, took_s)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        hedge_s = self._reads.hedge_s
        for operation, hedged in list(self._pending.items()):
            waited_s = now - operation.begun
            if waited_s < hedge_s:
                break
            if waited_s >= HEDGE_S and hedged is not _Hedged.SURELY:
                self._hedge(operation, _Hedged.SURELY)
            elif hedged is _Hedged.NOT and not operation.writes and self._hedges_left >= 1.0:
                self._hedges_left -= 1.0
                self._hedge(operation, _Hedged.EARLY)
            if now >= operation.deadline:
                operation.expire()
        if not self._pending:
            self._timer = None
            return
        # Those that were hedged wait for their deadlines alone, which need no such haste.
        hasty = any(hedged is not _Hedged.SURELY for hedged in self._pending.values())
        self._arm(HEDGE_MIN_S if hasty else HEDGE_S)

    def _arm(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._resting = delay_s == HEDGE_S
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _hedge(self, operation: Waiting, how: "_Hedged") -> None:
        self._pending[operation] = how
        self.hedged += not operation.writes
        operation.hedge()


class _Hedged(enum.Enum):
    """Whether an operation was hedged. EARLY: as a read that takes longer than usual."""

    NOT = 0
    EARLY = 1
    SURELY = 2


def prompt_first(replicas: Replicas) -> Replicas:
    """The same replicas, those first in order that answer as far as we know."""
    devices, quorum = replicas.devices, replicas.quorum
    if all(map(responsive, devices)):
        return replicas
    order = tuple(sorted(quorum.order, key=lambda member: not responsive(devices[member])))
    return replicas._replace(quorum=quorum._replace(order=order))

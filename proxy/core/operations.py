"""Row operations on their way: one machine or one of its shortcuts, its answers, hedge and deadline.

`rows.py` makes them and waits for them; all timers are one.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

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
from storage.types import Failed, Fault, No, Ok, Row, RowAnswer, Sealed

ROW_DEADLINE_S: Final = 10.0
"""A row operation that has not ended by then is given up: Unavailable."""

HEDGE_S: Final = 0.25
"""A read that waits longer than this for its majority asks one more replica."""

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

    One is asked for the row, the other for its version. Anything else (another version, a fault, a
    slow answer) is no answer: the read then begins anew as a `QuorumRead`.
    """

    __slots__ = ("_payload", "_row", "_version", "begun", "deadline", "future", "over")
    writes = False

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.deadline = begun + ROW_DEADLINE_S
        self.over = False
        self.future: asyncio.Future[None] | None = None
        self._row: RowAnswer | None = None
        self._payload = b""
        self._version: RowAnswer | None = None

    def take_row(self, answer: RowAnswer, payload: bytes) -> None:
        """The first replica's answer."""
        self._row = answer
        self._payload = payload
        if self._version is not None or type(answer) is not Row:
            self._end()

    def take_version(self, answer: RowAnswer, _payload: bytes) -> None:
        """The second replica's answer."""
        self._version = answer
        if self._row is not None or type(answer) is not Row:
            self._end()

    def _end(self) -> None:
        self.over = True
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def hedge(self) -> None:
        """Slow is as good as no answer."""
        self._end()

    def expire(self) -> None:
        """The same."""
        self._end()

    def agreed(self) -> Versioned | None:
        """The row, where both hold the same version of it."""
        row, other = self._row, self._version
        if type(row) is not Row or type(other) is not Row or row.version != other.version:
            return None
        value = Value(row.flags, row.size, row.head, self._payload)
        return Versioned(row.version, value, row.sealed or other.sealed)


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
    """Hedges and expires operations under way; one timer for all of them, none while all is quiet."""

    def __init__(self, clock: Clock, note_latency: NoteLatency | None) -> None:
        self._clock = clock
        self._note_latency = note_latency
        # In order of their beginning; True once hedged.
        self._pending: dict[Waiting, bool] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, operation: Waiting) -> None:
        """Until the operation has ended, by answers or by its deadline."""
        loop = asyncio.get_running_loop()
        operation.future = loop.create_future()
        self._pending[operation] = False
        if self._timer is None:
            self._timer = loop.call_later(HEDGE_S, self._tick)
        try:
            await operation.future
        finally:
            del self._pending[operation]
            if self._note_latency is not None:
                self._note_latency(operation.writes, self._clock.monotonic() - operation.begun)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        for operation, hedged in list(self._pending.items()):
            if now < operation.begun + HEDGE_S:
                break
            if not hedged:
                self._pending[operation] = True
                operation.hedge()
            if now >= operation.deadline:
                operation.expire()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEDGE_S, self._tick) if self._pending else None

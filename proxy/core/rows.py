"""Rows by quorum: drives the machines of `register.py` over the devices of a shard.

The thin asynchronous part of the row protocol: it sends, counts rounds, keeps deadlines and turns ends
into values or errors. Listings' scans live in `listing.py`, on top of this.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from proxy.core.contention import Contended
from proxy.core.errors import Damaged, Full, StoreError, Unavailable
from proxy.core.placement import Placement, Replicas
from proxy.core.poll import Poll
from proxy.core.register import (
    Decide,
    End,
    Found,
    Machine,
    PlainWrite,
    QuorumRead,
    Refused,
    Send,
    ShardSealed,
    Step,
    Stored,
    Undone,
    Unknown,
    Update,
    Value,
    Versioned,
    confirmation,
)
from runtime.clock import Clock, HybridClock
from runtime.randomness import Randomness
from storage.contract import DeviceClient
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    Count,
    Counts,
    Failed,
    Fault,
    No,
    Ok,
    Read,
    Row,
    RowAnswer,
    RowFlag,
    Sealed,
    Want,
    Write,
)

ROW_DEADLINE_S: Final = 10.0
"""A row operation that has not ended by then is given up: Unavailable."""

HEDGE_S: Final = 0.25
"""A read that waits longer than this for its majority asks one more replica."""

AGREEING_OF: Final = 3
"""Replicas of a shard whose usual read goes without the machinery: two of three are a majority."""

NO_ROOM_S: Final = 0.5
"""Writes to a shard are refused for so long after most of its replicas were full."""

_NO_ROOM: Final = "too few devices have room"

PAUSE_S: Final = 0.004
"""Base of the random pause of a conditional write that lost a race."""


NoteLatency = Callable[[bool, float], None]
"""Told of each operation that waited for devices: whether it was a write, and its seconds."""


class SealedShard(Exception):
    """The shard is sealed: whoever asked must look at the container's row again.

    version: what a plain write was tried under. A replica that was not sealed yet may hold it, so that
    it comes to light once the seal is lifted: it may be tried again there under this version alone.
    """

    def __init__(self, version: bytes = b"") -> None:
        super().__init__()
        self.version = version


class _Operation:
    """One machine on its way. Late answers of earlier rounds are dropped by their round's number."""

    __slots__ = ("_devices", "_jitter", "_machine", "_round", "begun", "deadline", "end", "future")

    def __init__(
        self, machine: Machine, devices: tuple[DeviceClient, ...], begun: float, jitter: Randomness
    ) -> None:
        self._machine = machine
        self._devices = devices
        self._jitter = jitter
        self._round = 0
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
        """Ask one more replica of a read that is slow."""
        if self.end is None and isinstance(self._machine, QuorumRead):
            self._take(self._machine.more())

    def expire(self) -> None:
        """The deadline has passed."""
        if self.end is None:
            self._take(self._machine.expire())


class _AgreeingRead:
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


class _AgreeingWrite:
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
        """All replicas were asked."""

    def expire(self) -> None:
        """The deadline has passed."""
        self._end()


_Waiting = _Operation | _AgreeingRead | _AgreeingWrite


class _Watch:
    """Hedges and expires operations under way; one timer for all of them, none while all is quiet."""

    def __init__(self, clock: Clock, note_latency: NoteLatency | None) -> None:
        self._clock = clock
        self._note_latency = note_latency
        # In order of their beginning; True once hedged.
        self._pending: dict[_Waiting, bool] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, operation: _Waiting) -> None:
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


def _unavailable(end: Unknown | Undone, machine: Machine) -> Unavailable | Full | Damaged:
    """The domain error of an operation without a majority.

    Only one that surely did not happen is anything but Unavailable: who hears Full or Damaged removes
    the blobs that the row would name. A read is never Full, even where it could confirm nothing.
    """
    faults = [Fault(fault.fault) for fault in end.faults]
    if type(end) is Undone and faults:
        if all(fault is Fault.CORRUPT for fault in faults):
            return Damaged("every copy of the row is damaged")
        if all(fault is Fault.FULL for fault in faults) and type(machine) is not QuorumRead:
            return Full(_NO_ROOM)
    said = ", ".join(sorted({fault.name.lower() for fault in faults})) or "no answer in time"
    outcome = "the outcome is unknown" if isinstance(end, Unknown) else "nothing was changed"
    return Unavailable(f"no majority of the row's replicas: {said}; {outcome}")


class Rows:
    """Linearizable rows. Methods raise Unavailable (or Full) without a majority, and SealedShard."""

    def __init__(
        self,
        placement: Placement,
        stamps: HybridClock,
        clock: Clock,
        randomness: Randomness,
        note_latency: NoteLatency | None = None,
    ) -> None:
        self._placement = placement
        self._stamps = stamps
        self._clock = clock
        self._randomness = randomness
        self._watch = _Watch(clock, note_latency)
        self._contended = Contended(clock)
        self._no_room_until: dict[bytes, float] = {}  # by shard, on the monotonic clock

    async def _run(
        self, machine: Machine, replicas: Replicas, *, undone: bool = False, at: Step = None
    ) -> End:
        """Drive a machine, from its beginning or from step `at`, to its end."""
        operation = _Operation(machine, replicas.devices, self._clock.monotonic(), self._randomness)
        if at is None:
            operation.start()
        else:
            operation.go_on(at)
        if operation.end is None:
            try:
                await self._watch.wait(operation)
            except asyncio.CancelledError:
                operation.abandon()
                raise
        end = operation.end
        if type(end) is ShardSealed:
            raise SealedShard(end.version)
        if type(end) is Unknown or (type(end) is Undone and not undone):
            raise _unavailable(end, machine)
        assert end is not None
        return end

    async def write(self, shard: bytes, name: bytes, value: Value, version: bytes = b"") -> bytes:
        """A plain write; the version it became. Durable on a majority.

        version: that of an earlier try of this very write, which met a seal (see `SealedShard`); only
        where it surely was not stored under it may it get another one.
        """
        replicas = self._placement.replicas(shard)
        if self._no_room_until and not version and not value.flags & RowFlag.TOMBSTONE:
            self._require_room(shard)
        if self._contended and not version and self._contended.has(shard, name):
            return await self._write_above(replicas, shard, name, value)
        if replicas.quorum.size == AGREEING_OF:
            return await self._write_agreeing(
                replicas, shard, name, value, version or self.new_version()
            )
        machine = PlainWrite(replicas.quorum, self._stamps, shard, name, value, version)
        end = await self._run(machine, replicas)
        assert type(end) is Stored
        return end.version

    async def _write_above(self, replicas: Replicas, shard: bytes, name: bytes, value: Value) -> bytes:
        """Write a row that others write at the same time: ask for the newest version first."""
        poll = self.poll()
        for number, device in enumerate(replicas.devices):
            poll.ask(number, device, Read(shard, name, Want.VERSION))

        def rows() -> list[Row]:
            return [answer for answer in poll.answers.values() if type(answer) is Row]

        if not await poll.until(lambda: len(rows()) * 2 > len(replicas.devices)):
            raise Unavailable(f"no majority of the row's replicas: {poll.said()}")
        for row in rows():
            self._stamps.saw(row.version)
        machine = PlainWrite(replicas.quorum, self._stamps, shard, name, value, above=True)
        end = await self._run(machine, replicas)
        assert type(end) is Stored
        return end.version

    def _require_room(self, shard: bytes) -> None:
        """Raise Full where most replicas had no room just now.

        Else each try leaves a row on those that have some, which no read may leave alone.
        """
        if self._clock.monotonic() < self._no_room_until.get(shard, 0.0):
            raise Full(_NO_ROOM)

    def _note_room(self, shard: bytes, answers: Sequence[RowAnswer]) -> None:
        full = sum(type(answer) is Failed and answer.fault == Fault.FULL for answer in answers)
        if full * 2 > AGREEING_OF:
            now = self._clock.monotonic()
            kept = {key: until for key, until in self._no_room_until.items() if until > now}
            self._no_room_until = {**kept, shard: now + NO_ROOM_S}

    def new_version(self) -> bytes:
        """A version for `write_as`, above all that this process has seen."""
        return self._stamps.stamp() + ZERO_STAMP

    async def write_as(self, shard: bytes, name: bytes, value: Value, version: bytes) -> bool:
        """Write under a version that was decided before; repeating it is harmless.

        False: surely not stored and never was, because the row is newer. Raises Unavailable.
        """
        replicas = self._placement.replicas(shard)
        machine = PlainWrite(replicas.quorum, self._stamps, shard, name, value, version, only=True)
        return type(await self._run(machine, replicas, undone=True)) is Stored

    async def read(self, shard: bytes, name: bytes, want: int = Want.PAYLOAD) -> Versioned:
        """The row; ZERO_VERSION where it never was. A damaged copy met on the way is written again."""
        replicas = self._placement.replicas(shard)
        if replicas.quorum.size == AGREEING_OF:
            row = await self._read_agreeing(replicas, shard, name, want)
            if row is not None:
                return row
        end = await self._run(QuorumRead(replicas.quorum, self._stamps, shard, name, want), replicas)
        assert type(end) is Found
        if end.heal:
            with contextlib.suppress(StoreError, SealedShard):  # the answer is there without it
                await self.heal(shard, name, end.heal)
        return end.row

    async def _write_agreeing(
        self, replicas: Replicas, shard: bytes, name: bytes, value: Value, version: bytes
    ) -> bytes:
        """Write where two of three replicas will most likely take it at once."""
        write = _AgreeingWrite(self._clock.monotonic())
        message = Write(shard, name, version, value.flags, value.size, value.head)
        for device in replicas.devices:
            device.send(message, value.payload, write.deadline, write.take)
        if not write.over:
            await self._watch.wait(write)
        if write.stored:
            return version
        self._note_room(shard, write.answers)
        if any(type(answer) is No for answer in write.answers):
            self._contended.note(shard, name)
        machine = PlainWrite(replicas.quorum, self._stamps, shard, name, value)
        end = await self._run(machine, replicas, at=machine.resume(version, write.answers))
        assert type(end) is Stored
        return end.version

    async def _read_agreeing(
        self, replicas: Replicas, shard: bytes, name: bytes, want: int
    ) -> Versioned | None:
        """The row, where the two cheapest replicas agree at once; None: ask by the whole protocol."""
        read = _AgreeingRead(self._clock.monotonic())
        devices, order = replicas.devices, replicas.quorum.order
        asked = Read(shard, name, want)
        devices[order[0]].send(asked, b"", read.deadline, read.take_row)
        asked = Read(shard, name, Want.VERSION)
        devices[order[1]].send(asked, b"", read.deadline, read.take_version)
        if not read.over:
            await self._watch.wait(read)
        row = read.agreed()
        if row is not None:
            self._stamps.saw(row.version)
            if row.version[STAMP_BYTES:] != ZERO_STAMP:
                self._stamps.saw(row.version[STAMP_BYTES:])
        return row

    async def heal(self, shard: bytes, name: bytes, members: int) -> None:
        """Write the row again, as it is, on members whose copy failed its checksum."""
        replicas = self._placement.replicas(shard)
        row = await self._read_whole(shard, name, replicas)
        message = confirmation(shard, name, row)
        deadline = self._clock.monotonic() + ROW_DEADLINE_S
        for member, device in enumerate(replicas.devices):
            if members & (1 << member):
                device.send(message, row.value.payload, deadline, lambda _answer, _payload: None)

    async def _read_whole(self, shard: bytes, name: bytes, replicas: Replicas) -> Versioned:
        machine = QuorumRead(replicas.quorum, self._stamps, shard, name, Want.PAYLOAD)
        end = await self._run(machine, replicas)
        assert type(end) is Found
        return end.row

    async def update(self, shard: bytes, name: bytes, decide: Decide) -> bytes:
        """A conditional write; the version it became. Raises what `decide` raises."""
        replicas = self._placement.replicas(shard)
        end = await self._run(Update(replicas.quorum, self._stamps, shard, name, decide), replicas)
        if type(end) is Refused:
            raise end.reason
        assert type(end) is Stored
        return end.version

    def poll(self) -> Poll:
        """For questions to several devices that need no machine."""
        return Poll(self._clock, ROW_DEADLINE_S)

    async def count(self, shard: bytes) -> Counts:
        """Rows and bytes of a shard, as most of its replicas count them.

        Replicas count what they have applied, so those that lag a moment may differ; the answer is the
        count that most agree on, the highest among equals. Raises Unavailable.
        """
        devices = self._placement.replicas(shard).devices
        poll = self.poll()
        for number, device in enumerate(devices):
            poll.ask(number, device, Count(shard))

        def counts() -> list[Counts]:
            return [answer for answer in poll.answers.values() if type(answer) is Counts]

        if not await poll.until(lambda: len(counts()) == len(devices), HEDGE_S):
            await poll.until(lambda: len(counts()) * 2 > len(devices))
        found = counts()
        if len(found) * 2 <= len(devices):
            raise Unavailable(f"no majority of the shard's replicas: {poll.said()}")
        return max(found, key=lambda c: (found.count(c), c.rows, c.size_bytes))

    def replicas(self, shard: bytes) -> Replicas:
        """The devices of a shard."""
        return self._placement.replicas(shard)

"""Rows by quorum: drives the machines of `register.py` over the devices of a shard.

The thin asynchronous part of the row protocol: it sends, counts rounds, keeps deadlines and turns ends
into values or errors. Listings' scans live in `listing.py`, on top of this.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from proxy.core.contention import Contended
from proxy.core.errors import Damaged, Full, StoreError, Unavailable
from proxy.core.guarded import responsive
from proxy.core.operations import (
    AGREEING_OF,
    HEDGE_S,
    ROW_DEADLINE_S,
    AgreeingRead,
    AgreeingWrite,
    NoteLatency,
    Operation,
    Watch,
    prompt_first,
)
from proxy.core.outcomes import Outcomes
from proxy.core.patience import Patience
from proxy.core.placement import Replicas
from proxy.core.poll import Poll
from proxy.core.register import (
    Decide,
    Decision,
    End,
    Found,
    Machine,
    PlainWrite,
    QuorumRead,
    Refused,
    Sent,
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
from proxy.core.transfer import Carry, Promised
from runtime.clock import Clock, HybridClock
from runtime.randomness import Randomness
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    Count,
    Counts,
    Failed,
    Fault,
    No,
    Read,
    Row,
    RowAnswer,
    RowFlag,
    Want,
    Write,
)

NO_ROOM_S: Final = 0.5
"""Writes to a shard are refused for so long after most of its replicas were full."""

_NO_ROOM: Final = "too few devices have room"

EPOCH_PAUSE_S: Final = 0.05
"""How long an operation that met another epoch waits for a newer ring, before it asks again."""

ATTEMPTS_MAX: Final = 40
"""How often a question without a machine is asked, because of that or of devices that come back."""


class RowPlacement(Protocol):
    """What rows need of the ring: `Placement`, or a fixed set of devices."""

    def replicas(self, shard: bytes) -> Replicas:
        """The devices of a shard, of the present epoch."""

    async def newer(self, epoch: int, within_s: float) -> None:
        """Wait for a newer epoch than this, at most so long."""


class SealedShard(Exception):
    """The shard is sealed: whoever asked must look at the container's row again.

    version: what a plain write was tried under. A replica that was not sealed yet may hold it, so that
    it comes to light once the seal is lifted, or moves on with the shard: it may be tried again under
    this version alone. sent: the same of a conditional write.
    """

    def __init__(self, version: bytes = b"", sent: Sent | None = None) -> None:
        super().__init__()
        self.version = version
        self.sent = sent


def _stale(end: Unknown | Undone) -> bool:
    """Whether it ended so because the ring has moved on, here or there."""
    return any(fault.fault == Fault.EPOCH for fault in end.faults)


def _unavailable(
    end: Unknown | Undone, machine: Machine, replicas: int
) -> Unavailable | Full | Damaged:
    """The domain error of an operation without a majority.

    Only one that surely did not happen is anything but Unavailable: who hears Full or Damaged removes
    the blobs that the row would name. A read is never Full, even where it could confirm nothing. What
    a minority of the replicas says of a write is no reason: the others may have failed otherwise.
    """
    faults = [Fault(fault.fault) for fault in end.faults]
    told = type(machine) is QuorumRead or 2 * len(faults) > replicas
    if type(end) is Undone and faults and told:
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
        placement: RowPlacement,
        stamps: HybridClock,
        clock: Clock,
        randomness: Randomness,
        note_latency: NoteLatency | None = None,
    ) -> None:
        self._placement = placement
        self._stamps = stamps
        self._clock = clock
        self._randomness = randomness
        self._watch = Watch(clock, note_latency)
        self.outcomes = Outcomes()
        self._contended = Contended(clock)
        self._no_room_until: dict[bytes, float] = {}  # by shard, on the monotonic clock

    @property
    def waiting(self) -> int:
        """Operations that wait for devices now."""
        return self._watch.waiting

    async def _run(
        self,
        machine: Machine,
        shard: bytes,
        replicas: Replicas,
        *,
        at: Step = None,
        undone: bool = False,
    ) -> End:
        """Drive a machine to its end, begun or from step `at`, through as many epochs as it takes, and
        while devices that it lacks come back.

        undone: where it surely did not happen is an end for the caller, not an error.
        """
        operation = Operation(machine, replicas.devices, self._clock.monotonic(), self._randomness)
        if at is None:
            operation.start()
        else:
            operation.go_on(at)
        end = await self._end_of(operation)
        patience: Patience | None = None
        while isinstance(end, Unknown | Undone) and self._clock.monotonic() < operation.deadline:
            if _stale(end):
                await self._placement.newer(replicas.epoch, EPOCH_PAUSE_S)
                self.outcomes.renewed(machine)
            else:
                patience = patience or Patience(self._clock)
                if not await patience.lasts(replicas.devices, [fault.fault for fault in end.faults]):
                    break
                self.outcomes.waited(machine)
            replicas = self.replicas(shard)
            operation.renew(replicas)
            end = await self._end_of(operation)
        self.outcomes.ended(machine, end)
        if type(end) is ShardSealed:
            raise SealedShard(end.version, end.sent)
        if type(end) is Unknown or (type(end) is Undone and not undone):
            raise _unavailable(end, machine, len(replicas.devices))
        return end

    async def _end_of(self, operation: Operation) -> End:
        if operation.end is None:
            try:
                await self._watch.wait(operation)
            except asyncio.CancelledError:
                operation.abandon()
                raise
        assert operation.end is not None
        return operation.end

    async def write(self, shard: bytes, name: bytes, value: Value, version: bytes = b"") -> bytes:
        """A plain write; the version it became. Durable on a majority.

        version: that of an earlier try of this very write, which met a seal (see `SealedShard`); only
        where it surely was not stored under it may it get another one.
        """
        replicas = self._placement.replicas(shard)
        if self._no_room_until and not version and not value.flags & RowFlag.TOMBSTONE:
            self._require_room(shard)
        if not version and self._asks_first(replicas, shard, name):
            return await self._write_above(replicas, shard, name, value)
        if replicas.quorum.size == AGREEING_OF and not replicas.joint:
            return await self._write_agreeing(
                replicas, shard, name, value, version or self.new_version()
            )
        machine = PlainWrite(replicas.quorum, self._stamps, shard, name, value, version)
        end = await self._run(machine, shard, replicas)
        assert type(end) is Stored
        return end.version

    def _asks_first(self, replicas: Replicas, shard: bytes, name: bytes) -> bool:
        """Whether a write had better know the newest version: where others write the row, too, or where
        one replica is away, because then one refusal of the other two leaves it open what became of
        it."""
        if self._contended and self._contended.has(shard, name):
            return True
        return not all(map(responsive, replicas.devices))

    async def _write_above(self, replicas: Replicas, shard: bytes, name: bytes, value: Value) -> bytes:
        """Ask for the newest version first; a refusal then counts like a success (see PlainWrite)."""
        poll = self.poll()
        for number, device in enumerate(replicas.devices):
            poll.ask(number, device, Read(shard, name, Want.VERSION))
        readable = replicas.quorum.readable
        known = await poll.until(lambda: poll.stale or readable[poll.mask(Row)])
        if not known and len(poll.answers) < len(replicas.devices):  # the time is over
            raise Unavailable(f"no majority of the row's replicas: {poll.said()}")
        for answer in poll.answers.values():
            if type(answer) is Row:
                self._stamps.saw(answer.version)
        above = readable[poll.mask(Row)]
        machine = PlainWrite(replicas.quorum, self._stamps, shard, name, value, above=above)
        end = await self._run(machine, shard, replicas)
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
        return type(await self._run(machine, shard, replicas, undone=True)) is Stored

    async def read(self, shard: bytes, name: bytes, want: int = Want.PAYLOAD) -> Versioned:
        """The row; ZERO_VERSION where it never was. A damaged copy met on the way is written again."""
        replicas = self.replicas(shard)
        if replicas.quorum.size == AGREEING_OF and not replicas.joint:
            row = await self._read_agreeing(replicas, shard, name, want)
            if row is not None:
                self.outcomes.reads_agreed += 1
                return row
        machine = QuorumRead(replicas.quorum, self._stamps, shard, name, want)
        end = await self._run(machine, shard, replicas)
        assert type(end) is Found
        if end.heal:
            with contextlib.suppress(StoreError, SealedShard):  # the answer is there without it
                await self.heal(shard, name, end.heal)
        return end.row

    async def _write_agreeing(
        self, replicas: Replicas, shard: bytes, name: bytes, value: Value, version: bytes
    ) -> bytes:
        """Write where two of three replicas will most likely take it at once."""
        write = AgreeingWrite(self._clock.monotonic())
        message = Write(shard, name, version, value.flags, value.size, value.head)
        for device in replicas.devices:
            device.send(message, value.payload, write.deadline, write.take)
        if not write.over:
            await self._watch.wait(write)
        if write.stored:
            self.outcomes.writes_agreed += 1
            return version
        self._note_room(shard, write.answers)
        if any(type(answer) is No for answer in write.answers):
            self._contended.note(shard, name)
        machine = PlainWrite(replicas.quorum, self._stamps, shard, name, value)
        end = await self._run(machine, shard, replicas, at=machine.resume(version, write.answers))
        assert type(end) is Stored
        return end.version

    async def _read_agreeing(
        self, replicas: Replicas, shard: bytes, name: bytes, want: int
    ) -> Versioned | None:
        """The row, where the two cheapest replicas agree at once; None: ask by the whole protocol."""
        devices, order = replicas.devices, replicas.quorum.order
        asked = Read(shard, name, want)
        read = AgreeingRead(self._clock.monotonic(), asked, devices[order[2]])
        devices[order[0]].send(asked, b"", read.deadline, read.take_row)
        asked = Read(shard, name, Want.VERSION)
        devices[order[1]].send(asked, b"", read.deadline, read.take_version)
        if not read.over:
            await self._watch.wait(read)
        row = read.agreed
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
        end = await self._run(machine, shard, replicas)
        assert type(end) is Found
        return end.row

    async def update(
        self, shard: bytes, name: bytes, decide: Decide, before: Sent | None = None
    ) -> bytes:
        """A conditional write; the version it became. Raises what `decide` raises.

        before: what this very write has sent where it met a seal (see `SealedShard`).
        """
        replicas = self._placement.replicas(shard)
        machine = Update(replicas.quorum, self._stamps, shard, name, decide, before)
        end = await self._run(machine, shard, replicas)
        if type(end) is Refused:
            raise end.reason
        assert type(end) is Stored
        return end.version

    async def decide(self, shard: bytes, name: bytes) -> None:
        """Let the row be decided anew, as it is, under a ballot above all promises."""
        replicas = self._placement.replicas(shard)
        await self._run(Decision(replicas.quorum, self._stamps, shard, name), shard, replicas)

    async def carry(self, shard: bytes, name: bytes, row: Versioned) -> None:
        """Store a row of another shard as it is (`transfer.py`). Raises Contested."""
        replicas = self._placement.replicas(shard)
        machine = Carry(replicas.quorum, self._stamps, shard, name, row)
        end = await self._run(machine, shard, replicas)
        if type(end) is Refused:
            raise end.reason

    async def promised(self, shard: bytes, name: bytes) -> tuple[bytes, Versioned]:
        """A ballot that a majority has promised, and the newest row that they hold."""
        replicas = self._placement.replicas(shard)
        machine = Promised(replicas.quorum, self._stamps, shard, name)
        end = await self._run(machine, shard, replicas)
        assert type(end) is Found
        return machine.ballot, end.row

    def poll(self) -> Poll:
        """For questions to several devices that need no machine."""
        return Poll(self._clock, ROW_DEADLINE_S)

    async def count(self, shard: bytes) -> Counts:
        """Rows and bytes of a shard, as most of its replicas count them.

        Replicas count what they have applied, so those that lag a moment may differ; the answer is the
        count that most agree on, the highest among equals. Raises Unavailable.
        """
        patience = self.patience()
        for _ in range(ATTEMPTS_MAX):
            replicas = self._placement.replicas(shard)
            poll = await self._counts_of(replicas, shard)
            if replicas.quorum.readable[poll.mask(Counts)]:
                found = [answer for answer in poll.answers.values() if type(answer) is Counts]
                most = max(found, key=lambda c: (found.count(c), c.rows, c.size_bytes))
                return msgspec.structs.replace(most, sealed=any(c.sealed for c in found))
            await self.before_asking_again(replicas, poll, patience)
        raise Unavailable("the ring changes too fast")

    async def _counts_of(self, replicas: Replicas, shard: bytes) -> Poll:
        readable = replicas.quorum.readable
        poll = self.poll()
        for number, device in enumerate(replicas.devices):
            poll.ask(number, device, Count(shard))
        everyone = replicas.quorum.everyone
        if not await poll.until(lambda: poll.stale or poll.mask(Counts) == everyone, HEDGE_S):
            await poll.until(lambda: poll.stale or readable[poll.mask(Counts)])
        return poll

    def patience(self) -> Patience:
        """For a question that may meet devices which come back."""
        return Patience(self._clock)

    async def before_asking_again(self, replicas: Replicas, poll: Poll, patience: Patience) -> None:
        """Wait a moment after a poll that was not enough: for a newer ring, where a device was in
        another, or for devices that come back. Raises Unavailable where neither is to be expected."""
        if poll.stale:
            await self._placement.newer(replicas.epoch, EPOCH_PAUSE_S)
        elif not await patience.lasts(replicas.devices, poll.faults):
            raise Unavailable(f"too few of the shard's replicas answer: {poll.said()}")

    def replicas(self, shard: bytes) -> Replicas:
        """The devices of a shard, those first in the quorum's order that answer."""
        return prompt_first(self._placement.replicas(shard))

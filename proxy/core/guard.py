"""A device behind its circuit breaker: the DeviceClient contract, without the wait for a dead device.

A call to a device whose breaker (`breaker.py`) is open fails at once as UNREACHABLE. What opens it:
calls that fail in a row, or silence. A device owes answers to the calls under way; one that has said
nothing for a moment gets a probe, a read that no disk need be asked for, and one that does not even
answer that is taken for dead, 1.5 s after it fell silent. So a sync that takes its time opens
nothing, and a stopped process does. When the breaker opens, blob calls under way fail; row calls are
left to their callers, who ask others meanwhile.

Silence is counted in ticks of our own loop, not in seconds: after a pause of this process, answers that
wait in the sockets are read before the next tick.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, ParamSpec, TypeVar

import msgspec

from proxy.core.breaker import Breaker, Kind, State
from runtime.clock import Clock
from storage.contract import (
    BlobReader,
    BlobWriter,
    Buffer,
    Deliver,
    DeviceClient,
    DeviceFault,
    RowDevice,
)
from storage.types import (
    Accept,
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    GarbageEntry,
    Prepare,
    Read,
    RowAnswer,
    RowMessage,
    Want,
    Write,
)
from storage.wire.client import WireDevice

TICK_S: Final = 0.125
"""How often a device with calls under way is looked at."""

PROBE_AFTER_TICKS: Final = 2
"""After so many ticks of silence a device is probed, and reads go to others first."""

SILENT_TICKS: Final = 12
"""After so many it is taken for dead. With 8, a process that got no processor for a second on a busy
machine was, with all its devices."""

SILENT_NEAR_TICKS: Final = 48
"""The same of another process of this host: a dead one closes its socket at once, so silence is a busy
machine, or a stopped process, and its devices can't be reached in any other way."""

PROBE_TIME_S: Final = 1.0
"""What a probe may take."""

RETURNING_S: Final = 10.0
"""A device that fell away within this time may be about to come back: its process restarts, say."""

SLOW_S: Final = 1.0
"""A blob call that its caller gives up after this long counts as a failure of the device."""

P = ParamSpec("P")
T = TypeVar("T")

Changed = Callable[[int, State], None]
"""Told of a device's id and the new state of its breaker."""

_PROBE: Final = Read(b"", b"", Want.VERSION)
_CHANGING: Final = frozenset({Write, Accept, Prepare})
_DEAD: Final = frozenset({Fault.OFFLINE, Fault.DEADLINE, Fault.UNREACHABLE})
_REFUSED: Final = Failed(Fault.UNREACHABLE, "its circuit breaker is open")


class GuardStatus(msgspec.Struct, frozen=True):
    """What is known of one device from here. since_ns: wall clock of the last change, 0 for none.

    opened: how often the breaker has opened. refused: calls that failed at once because of it.
    """

    device_id: int
    state: str
    since_ns: int
    opened: int
    refused: int
    why: str


class Guard:
    """Watches one device: feeds its breaker and keeps its timer.

    responsive: False while the breaker is not closed, and while the device owes answers for longer
    than a moment; ask others first then.
    """

    def __init__(self, device: DeviceClient, clock: Clock, changed: Changed | None = None) -> None:
        self.device = device
        self.responsive = True
        self.refusing = False
        self.waiting = 0
        """Calls under way."""
        self.era = 0
        """Counts the changes of the breaker's state."""
        self.ticking = False
        self._clock = clock
        self._changed = changed
        near = isinstance(device, WireDevice) and device.near
        self._silent_max = SILENT_NEAR_TICKS if near else SILENT_TICKS
        self._breaker = Breaker()
        self._failing = False
        self._heard = False
        self._silent_ticks = 0
        self._probing = False
        self._trial = False
        self._scopes: dict[asyncio.Timeout, None] = {}
        self._refused = 0
        self._since_ns = 0
        self._away_since = 0.0  # on the monotonic clock: when the breaker was last closed
        self._why = ""

    def status(self) -> GuardStatus:
        """How the device is, seen from here."""
        breaker = self._breaker
        return GuardStatus(
            self.device.device_id,
            breaker.state.value,
            self._since_ns,
            breaker.opened,
            self._refused,
            self._why,
        )

    def hasten(self) -> bool:
        """Somebody lacks it: see at once whether it answers again. True where it may do so soon."""
        if self._breaker.state is State.CLOSED:
            return self._failing
        if self._breaker.state is State.OPEN:
            self._probe()
        return self._clock.monotonic() - self._away_since < RETURNING_S

    # -- calls -----------------------------------------------------------------------------------

    def admits(self, kind: Kind) -> bool:
        """Whether a call may be made while the breaker is not closed."""
        half_open = self._breaker.state is State.HALF_OPEN
        if half_open and (kind is Kind.READING or not self._trial):
            self._trial = self._trial or kind is Kind.CHANGING
            return True
        self._refused += 1
        return False

    def answered(
        self, kind: Kind, era: int, deliver: Deliver, answer: RowAnswer, payload: bytes
    ) -> None:
        """A row call of some era has ended. Failures of an earlier one are known already: calls to a
        stopped device end at their deadlines, when it may long be back."""
        self.waiting -= 1
        if type(answer) is Failed and answer.fault in _DEAD:
            if era == self.era:
                self._bad(kind, answer.text or Fault(answer.fault).name.lower())
        else:
            self._heard = True
            if self._failing:
                self._good(kind)
        deliver(answer, payload)

    async def run(
        self, kind: Kind, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Make a blob call. Raises what it raises, DeviceFault(UNREACHABLE) when the breaker opens."""
        if self.refusing and not self.admits(kind):
            raise DeviceFault(Fault.UNREACHABLE, _REFUSED.text)
        begun = self._clock.monotonic()
        scope = asyncio.timeout(None)
        self.waiting += 1
        self.watch()
        try:
            async with scope:
                self._scopes[scope] = None
                try:
                    value = await call(*args, **kwargs)
                finally:
                    del self._scopes[scope]
        except DeviceFault as fault:
            self._ended(kind, fault)
            raise
        except ValueError:
            self._ended(kind)
            raise
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeviceFault(Fault.UNREACHABLE, self._why) from error
        except asyncio.CancelledError:
            self._trial = False
            if self._clock.monotonic() - begun >= SLOW_S:
                self._bad(kind, "a call was given up")
            raise
        finally:
            self.waiting -= 1
        self._ended(kind)
        return value

    def _ended(self, kind: Kind, fault: DeviceFault | None = None) -> None:
        if fault is not None and fault.fault in _DEAD:
            self._bad(kind, str(fault))
            return
        self._heard = True
        if self._failing:
            self._good(kind)

    # -- the breaker -----------------------------------------------------------------------------

    def _good(self, kind: Kind) -> None:
        self._trial = False
        self._note(self._breaker.good(kind, self._clock.monotonic()), "it answers again")
        self._failing = self._breaker.failing

    def _bad(self, kind: Kind, why: str) -> None:
        self._trial = False
        self._failing = True
        self._note(self._breaker.bad(kind, self._clock.monotonic()), why)

    def _note(self, changed: bool, why: str) -> None:
        if not changed:
            return
        state = self._breaker.state
        if not self.refusing:
            self._away_since = self._clock.monotonic()
        self.era += 1
        self._why = why
        self._since_ns = self._clock.now_ns()
        self.refusing = self._failing = state is not State.CLOSED
        self.responsive = state is State.CLOSED
        if state is State.OPEN:
            self._give_up()
        if state is not State.CLOSED:
            self.watch()
        if self._changed is not None:
            self._changed(self.device.device_id, state)

    def _give_up(self) -> None:
        """End the blob calls under way."""
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(now)

    # -- the watch -------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at the device until nothing is under way and its breaker is closed."""
        if not self.ticking:
            self.ticking = True
            self._silent_ticks = 0
            asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self.ticking = False
        if self._breaker.state is State.OPEN:
            if self._clock.monotonic() >= self._breaker.probe_at:
                self._probe()
        elif self.waiting:
            self._count_silence()
        if self.waiting or self._breaker.state is State.OPEN:
            self.ticking = True
            asyncio.get_running_loop().call_later(TICK_S, self._tick)
        else:
            self.responsive = not self.refusing

    def _count_silence(self) -> None:
        self._silent_ticks = 0 if self._heard else self._silent_ticks + 1
        self._heard = False
        quiet = self._silent_ticks >= PROBE_AFTER_TICKS
        self.responsive = not quiet and not self.refusing
        if self._silent_ticks >= self._silent_max:
            opened = self._breaker.silent(self._clock.monotonic())
            self._note(opened, "it answers nothing")
        elif quiet:
            self._probe()

    def _probe(self) -> None:
        if not self._probing:
            self._probing = True
            deadline = self._clock.monotonic() + PROBE_TIME_S
            self.device.send(_PROBE, b"", deadline, self._probed)

    def _probed(self, answer: RowAnswer, _payload: bytes) -> None:
        self._probing = False
        answered = not (type(answer) is Failed and answer.fault in _DEAD)
        self._heard = self._heard or answered
        if self._breaker.state is State.OPEN:
            changed = self._breaker.probed(self._clock.monotonic(), answered=answered)
            self._note(changed, "it answers again")


class GuardedRows:
    """The rows of a guarded device, as they are asked in one ring epoch."""

    __slots__ = ("_send", "device_id", "guard", "local")

    def __init__(self, inner: RowDevice, guard: Guard) -> None:
        self.device_id = inner.device_id
        self.local = inner.local
        self.guard = guard
        self._send = inner.send

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See RowDevice.send."""
        guard = self.guard
        kind = Kind.CHANGING if type(message) in _CHANGING else Kind.READING
        if guard.refusing and not guard.admits(kind):
            deliver(_REFUSED, b"")
            return
        guard.waiting += 1
        if not guard.ticking:
            guard.watch()
        self._send(message, payload, deadline, partial(guard.answered, kind, guard.era, deliver))


class GuardedDevice(GuardedRows):
    """A device behind its breaker. A wrapper with the DeviceClient contract."""

    __slots__ = ("_inner",)

    def __init__(self, inner: DeviceClient, guard: Guard) -> None:
        super().__init__(inner, guard)
        self._inner = inner

    def at(self, epoch: int) -> GuardedRows:
        """See DeviceClient.at."""
        return GuardedRows(self._inner.at(epoch), self.guard)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        writer = await self.guard.run(Kind.CHANGING, self._inner.create_blob, header, deadline)
        return _GuardedWriter(writer, self.guard)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""
        reader = await self.guard.run(Kind.READING, self._inner.open_blob, name, deadline)
        return _GuardedReader(reader, self.guard)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        await self.guard.run(Kind.CHANGING, self._inner.delete_blob, name, deadline)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        return await self.guard.run(Kind.READING, self._inner.list_blobs, after, limit)

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        call = self._inner.group_blobs
        return await self.guard.run(Kind.READING, call, salt, power, policy, first, count)

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        call = self._inner.list_group
        return await self.guard.run(
            Kind.READING, call, salt, power, policy, partition, number, after, limit
        )

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        return await self.guard.run(Kind.READING, self._inner.list_garbage, after_seq, limit)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        await self.guard.run(Kind.CHANGING, self._inner.forget_garbage, seqs)


class _GuardedWriter:
    """A BlobWriter of a guarded device."""

    def __init__(self, inner: BlobWriter, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def write(self, data: Buffer) -> None:
        """See BlobWriter.write."""
        await self._guard.run(Kind.CHANGING, self._inner.write, data)

    async def commit(self) -> None:
        """See BlobWriter.commit."""
        await self._guard.run(Kind.CHANGING, self._inner.commit)

    async def abort(self) -> None:
        """See BlobWriter.abort."""
        await self._inner.abort()


class _GuardedReader:
    """A BlobReader of a guarded device."""

    def __init__(self, inner: BlobReader, guard: Guard) -> None:
        self.header = inner.header
        self.size_bytes = inner.size_bytes
        self._inner = inner
        self._guard = guard

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        """See BlobReader.read."""
        return await self._guard.run(Kind.READING, self._inner.read, offset, length)

    def close(self) -> None:
        """See BlobReader.close."""
        self._inner.close()


class Guards:
    """The guards of one process, one for each device that it knows."""

    def __init__(self, clock: Clock, changed: Changed | None = None) -> None:
        self._clock = clock
        self._changed = changed
        self._by_device: dict[int, Guard] = {}

    def device(self, inner: DeviceClient) -> GuardedDevice:
        """`inner` behind a breaker of its own; a later client of the same id gets a new one."""
        guard = Guard(inner, self._clock, self._changed)
        self._by_device[inner.device_id] = guard
        return GuardedDevice(inner, guard)

    def forget(self, device_ids: Iterable[int]) -> None:
        """Devices that are no longer in the ring."""
        for device_id in device_ids:
            self._by_device.pop(device_id, None)

    def status(self) -> list[GuardStatus]:
        """All of them, in order of the devices' ids."""
        return [self._by_device[device_id].status() for device_id in sorted(self._by_device)]


def responsive(device: RowDevice) -> bool:
    """Whether a device answers as far as we know: ask others first where it does not."""
    return device.guard.responsive if isinstance(device, GuardedRows) else True


def hasten(devices: Iterable[RowDevice]) -> bool:
    """Look at once whether those that are away answer again; whether any of them may do so soon."""
    soon = [device.guard.hasten() for device in devices if isinstance(device, GuardedRows)]
    return any(soon)

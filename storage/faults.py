"""What goes wrong between a client and a device: loss, delay, repetition, disorder and a cut link.

`FaultyDevice` wraps any DeviceClient and keeps its contract; a `Carrier` decides the fate of each
message and each answer. For tests and simulations; nothing here runs in production.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from runtime.clock import Clock
from runtime.randomness import Randomness
from storage.contract import BlobReader, BlobWriter, Deliver, DeviceClient, DeviceFault, RowDevice
from storage.types import (
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    GarbageEntry,
    RowAnswer,
    RowMessage,
)

Arrive = Callable[[], None]
"""What happens where a message arrives; calling it twice is a repeated message."""

CallAt = Callable[[float, Callable[[], None]], object]
"""Run something at an instant of the monotonic clock, as loop.call_at or a simulation's queue does."""


class Carrier(Protocol):
    """Takes messages from one end to the other."""

    def carry(self, device_id: int, message: RowMessage | RowAnswer, arrive: Arrive) -> None:
        """Call `arrive` never, once or several times, now or later."""


class Direct:
    """Delivers everything at once."""

    def carry(self, device_id: int, message: RowMessage | RowAnswer, arrive: Arrive) -> None:
        arrive()


class InFlight(NamedTuple):
    """A message that a `Holding` carrier has not let through."""

    device_id: int
    message: RowMessage | RowAnswer
    arrive: Arrive


class Holding:
    """Holds every message until a test lets it through, drops it or repeats it."""

    def __init__(self) -> None:
        self.held: list[InFlight] = []

    def carry(self, device_id: int, message: RowMessage | RowAnswer, arrive: Arrive) -> None:
        self.held.append(InFlight(device_id, message, arrive))

    def release(self, index: int = 0, *, keep: bool = False) -> InFlight:
        """Let one message arrive; `keep` leaves a copy in flight, to arrive again."""
        item = self.held[index] if keep else self.held.pop(index)
        item.arrive()
        return item

    def drop(self, index: int = 0) -> InFlight:
        """Lose one message."""
        return self.held.pop(index)

    def release_all(self) -> None:
        """Let everything arrive, also what is sent because of it."""
        while self.held:
            self.release()


class Lossy:
    """Loses, repeats and delays messages at random; delays put them out of order.

    loss, duplicate: probabilities. delay_max_s: each copy takes a uniform time up to this.
    """

    def __init__(
        self,
        randomness: Randomness,
        clock: Clock,
        call_at: CallAt,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        delay_max_s: float = 0.0,
    ) -> None:
        self._randomness = randomness
        self._clock = clock
        self._call_at = call_at
        self._loss = loss
        self._duplicate = duplicate
        self._delay_max_s = delay_max_s

    def carry(self, device_id: int, message: RowMessage | RowAnswer, arrive: Arrive) -> None:
        if self._randomness.uniform(0, 1) < self._loss:
            return
        self._later(arrive)
        if self._randomness.uniform(0, 1) < self._duplicate:
            self._later(arrive)

    def _later(self, arrive: Arrive) -> None:
        delay_s = self._randomness.uniform(0, self._delay_max_s)
        self._call_at(self._clock.monotonic() + delay_s, arrive)


class FaultyDevice:
    """A DeviceClient behind a carrier. Each call is answered once, at its deadline at the latest.

    call_at: how to wait for deadlines; without it a lost call is answered by `expire` alone.
    """

    def __init__(
        self, inner: DeviceClient, carrier: Carrier, clock: Clock, call_at: CallAt | None = None
    ) -> None:
        self.device_id = inner.device_id
        self.local = inner.local
        self._inner = inner
        self._carrier = carrier
        self._clock = clock
        self._call_at = call_at
        self._cut = False
        self._waiting: set[_Pending] = set()

    def cut(self, cut: bool = True) -> None:
        """Cut the link (waiting calls are answered UNREACHABLE) or mend it."""
        self._cut = cut
        if cut:
            self._fail_all(Failed(Fault.UNREACHABLE, "the link was cut"))

    def expire(self) -> None:
        """Answer every waiting call as if its deadline had passed."""
        self._fail_all(Failed(Fault.DEADLINE))

    def _fail_all(self, failed: Failed) -> None:
        for pending in list(self._waiting):
            pending.settle(failed, b"")

    def at(self, epoch: int) -> "FaultyRows":
        """See DeviceClient.at."""
        return FaultyRows(self, self._inner.at(epoch))

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send."""
        self.send_to(self._inner, message, payload, deadline, deliver)

    def send_to(
        self, inner: RowDevice, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver
    ) -> None:
        """Send to the device at the other end, in whatever epoch it is asked there."""
        if self._cut:
            deliver(Failed(Fault.UNREACHABLE, "the link is cut"), b"")
            return
        pending = _Pending(self._waiting, deliver)
        if self._call_at is not None:
            self._call_at(deadline, lambda: pending.settle(Failed(Fault.DEADLINE), b""))
        self._carrier.carry(
            self.device_id, message, lambda: self._arrive(inner, message, payload, deadline, pending)
        )

    def _arrive(
        self,
        inner: RowDevice,
        message: RowMessage,
        payload: bytes,
        deadline: float,
        pending: "_Pending",
    ) -> None:
        def answered(answer: RowAnswer, body: bytes) -> None:
            self._carrier.carry(self.device_id, answer, lambda: pending.settle(answer, body))

        if not self._cut and self._clock.monotonic() < deadline:
            inner.send(message, payload, deadline, answered)

    def _check(self) -> None:
        if self._cut:
            raise DeviceFault(Fault.UNREACHABLE, "the link is cut")

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        self._check()
        return await self._inner.create_blob(header, deadline)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""
        self._check()
        return await self._inner.open_blob(name, deadline)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        self._check()
        await self._inner.delete_blob(name, deadline)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        self._check()
        return await self._inner.list_blobs(after, limit)

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        self._check()
        return await self._inner.group_blobs(salt, power, policy, first, count)

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        self._check()
        return await self._inner.list_group(salt, power, policy, partition, number, after, limit)

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        self._check()
        return await self._inner.list_garbage(after_seq, limit)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        self._check()
        await self._inner.forget_garbage(seqs)


class FaultyRows:
    """A faulty device's rows, asked in one ring epoch."""

    def __init__(self, faulty: FaultyDevice, inner: RowDevice) -> None:
        self.device_id = faulty.device_id
        self.local = faulty.local
        self._faulty = faulty
        self._inner = inner

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See RowDevice.send."""
        self._faulty.send_to(self._inner, message, payload, deadline, deliver)


class _Pending:
    """One call that has not been answered."""

    def __init__(self, waiting: "set[_Pending]", deliver: Deliver) -> None:
        self._waiting = waiting
        self._deliver = deliver
        waiting.add(self)

    def settle(self, answer: RowAnswer, payload: bytes) -> None:
        """Deliver the first answer, ignore the others."""
        if self in self._waiting:
            self._waiting.discard(self)
            self._deliver(answer, payload)

"""A device behind its breaker, in virtual time: dead, stopped, slow and healed."""

import asyncio
from collections.abc import Awaitable

import pytest

from proxy.core.breaker import State
from proxy.core.guard import SILENT_TICKS, TICK_S
from proxy.core.guarded import GuardedDevice, Guards
from storage.contract import BlobWriter, Deliver, DeviceFault, RowDevice
from storage.faults import Direct, FaultyDevice
from storage.memory import MemoryDevice
from storage.types import (
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    Ok,
    Read,
    Row,
    RowAnswer,
    RowMessage,
    Write,
)
from tests.property.core.world import LoopClock, call_at, run

DEAD_WITHIN_S = (SILENT_TICKS + 1) * TICK_S
HEADER = BlobHeader(BlobName(b"b" * 16, 0), 0, "replicated-3", b"s", b"n", b"", "", 3, 0, 65536, 0)


class _Device(FaultyDevice):
    """A device that can be stopped (nothing is answered) or whose disk hangs (no change is)."""

    stopped = False
    hung = False
    syncing_s = 0.0

    def send_to(
        self, inner: RowDevice, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver
    ) -> None:
        changing = type(message) is Write
        if self.stopped or (self.hung and changing):
            call_at(deadline, lambda: deliver(Failed(Fault.DEADLINE), b""))
        elif changing and self.syncing_s:
            call_at(now() + self.syncing_s, lambda: deliver(Ok(), b""))
        else:
            super().send_to(inner, message, payload, deadline, deliver)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        if self.stopped or self.hung:
            await asyncio.get_running_loop().create_future()
        return await super().create_blob(header, deadline)


class Scene:
    """A guarded device and what its breaker went through."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.device = _Device(MemoryDevice(1, self.clock), Direct(), self.clock, call_at)
        self.states: list[State] = []
        self.guards = Guards(self.clock, lambda _device, state: self.states.append(state))
        self.guarded: GuardedDevice = self.guards.device(self.device)

    def ask(self, message: RowMessage) -> "asyncio.Future[RowAnswer]":
        future: asyncio.Future[RowAnswer] = asyncio.get_running_loop().create_future()
        rows = self.guarded.at(1)
        rows.send(message, b"", now() + 10.0, lambda answer, _payload: future.set_result(answer))
        return future

    @property
    def state(self) -> str:
        return self.guards.status()[0].state


def now() -> float:
    return asyncio.get_running_loop().time()


READ = Read(b"s", b"n")


def write(stamp: int = 1) -> Write:
    return Write(b"s", b"n", stamp.to_bytes(16, "big") + bytes(16), 0, 0, b"")


async def fault_of(work: Awaitable[object]) -> Fault:
    with pytest.raises(DeviceFault) as raised:
        await work
    return raised.value.fault


def test_a_stopped_device_is_found_out_within_about_a_second_and_trusted_again() -> None:
    async def scene() -> None:
        one = Scene()
        assert type(await one.ask(READ)) is Row
        one.device.stopped = True
        begun = now()
        silent = one.ask(READ)
        assert await fault_of(one.guarded.create_blob(HEADER, now() + 60)) is Fault.UNREACHABLE
        assert now() - begun <= DEAD_WITHIN_S
        assert one.states == [State.OPEN]
        refused = one.ask(READ)
        assert refused.done()
        assert refused.result().fault == Fault.UNREACHABLE  # type: ignore[union-attr]
        one.device.stopped = False
        await asyncio.sleep(3.0)
        assert one.states == [State.OPEN, State.CLOSED]
        assert type(await one.ask(READ)) is Row
        assert type(await silent) is Failed

    run(scene())


def test_a_sync_that_takes_its_time_opens_nothing() -> None:
    async def scene() -> None:
        one = Scene()
        one.device.syncing_s = 8.0
        assert type(await one.ask(write())) is Ok
        assert one.states == []

    run(scene())


def test_it_is_not_asked_first_as_soon_as_it_has_been_silent_for_a_moment() -> None:
    async def scene() -> None:
        one = Scene()
        guard = one.guarded.guard
        one.device.stopped = True
        one.ask(READ)
        assert guard.responsive
        await asyncio.sleep(4 * TICK_S)
        assert not guard.responsive
        assert one.state == "closed"
        one.device.stopped = False
        one.ask(READ)
        await asyncio.sleep(2 * TICK_S)
        assert guard.responsive

    run(scene())


def test_a_device_that_refuses_is_left_alone_and_probed() -> None:
    async def scene() -> None:
        one = Scene()
        one.device.cut()
        for _ in range(4):
            assert type(await one.ask(READ)) is Failed
            await asyncio.sleep(0.1)
        assert one.states == [State.OPEN]
        await asyncio.sleep(60.0)
        assert one.states == [State.OPEN]
        one.device.cut(False)
        await asyncio.sleep(1.5)
        assert one.states == [State.OPEN, State.CLOSED]

    run(scene())


def test_a_disk_that_hangs_is_found_out_beside_good_reads_and_tried_with_one_change() -> None:
    async def scene() -> None:
        one = Scene()
        one.device.hung = True
        for _ in range(3):
            assert type(await one.ask(READ)) is Row
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await one.guarded.create_blob(HEADER, now() + 60)
        assert one.states == [State.OPEN]
        await asyncio.sleep(1.0)
        assert one.states == [State.OPEN, State.HALF_OPEN]
        trial, other = one.ask(write()), one.ask(write())
        assert other.done()
        assert not trial.done()
        assert type(await one.ask(READ)) is Row
        assert type(await trial) is Failed
        assert one.state == "open"
        one.device.hung = False
        await asyncio.sleep(10.0)
        assert type(await one.ask(write())) is Ok
        assert one.state == "closed"

    run(scene())


def test_an_idle_guard_keeps_no_timer() -> None:
    async def scene() -> None:
        one = Scene()
        await one.ask(READ)
        await asyncio.sleep(1.0)
        assert not one.guarded.guard.ticking

    run(scene())

"""Who runs, who waits and who is refused: the gate by itself, then the queue in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission import (
    DOWNLOADS_MAX,
    RUNNING_MAX,
    RUNNING_MIN,
    UPLOADS_MAX,
    WAIT_INTERVAL_S,
    WAIT_MAX_S,
    WAIT_TARGET_S,
    WAITING_MAX,
    WAITING_MAX_BYTES,
    Admission,
    Gate,
    Slot,
    Verdict,
)
from proxy.core.errors import Overloaded
from tests.property.core.world import run


def full_gate(waiting: int = 1) -> Gate:
    gate = Gate()
    gate.running = gate.limit
    assert gate.arrives(0, lambda: 100.0) is Verdict.WAIT
    gate.waiting = waiting
    return gate


def test_whoever_finds_room_and_no_queue_runs() -> None:
    gate = Gate()
    assert gate.arrives(0, lambda: 1.0) is Verdict.RUN
    gate.waiting = 1
    assert gate.arrives(0, lambda: 0.1) is Verdict.WAIT


def test_the_queue_is_bounded_by_its_number_and_its_bytes() -> None:
    assert full_gate(WAITING_MAX).arrives(0, lambda: 100.0) is Verdict.QUEUE_FULL
    gate = full_gate()
    gate.waiting_bytes = WAITING_MAX_BYTES
    assert gate.arrives(1, lambda: 100.0) is Verdict.QUEUE_FULL
    assert gate.arrives(0, lambda: 100.0) is Verdict.WAIT


def test_a_standing_queue_takes_nobody_until_a_wait_was_short() -> None:
    gate = full_gate()
    late = 100.0 + WAIT_INTERVAL_S * 1.5
    assert gate.arrives(0, lambda: 100.0 + WAIT_INTERVAL_S) is Verdict.WAIT
    gate.waited(WAIT_TARGET_S * 2, late)
    assert gate.arrives(0, lambda: late) is Verdict.QUEUE_SLOW
    gate.waited(WAIT_TARGET_S / 2, late)
    assert gate.arrives(0, lambda: late) is Verdict.WAIT


def test_a_late_loop_cuts_the_limit_and_a_timely_one_gives_it_back() -> None:
    gate = Gate()
    for _ in range(100):
        gate.ticked(1.0)
    assert gate.limit == RUNNING_MIN
    for _ in range(100):
        gate.ticked(0.0)
    assert gate.limit == RUNNING_MAX


class Store:
    """Works on requests that take `work_s` each, as many at once as are admitted."""

    def __init__(self, work_s: float, running_max: int = RUNNING_MAX) -> None:
        self.refusals: Counter[str] = Counter()
        self.admission = Admission(self._count, running_max)
        self.work_s = work_s
        self.done = 0
        self.waits: list[float] = []

    def _count(self, name: str) -> None:
        self.refusals[name] += 1

    async def request(self, body_bytes: int = 0) -> bool:
        begun = asyncio.get_running_loop().time()
        try:
            slot = await self.admission.enter(body_bytes)
        except Overloaded:
            return False
        self.waits.append(asyncio.get_running_loop().time() - begun)
        try:
            await asyncio.sleep(self.work_s)
            self.done += 1
            return True
        finally:
            slot.end()

    def at_rest(self) -> bool:
        status = self.admission.status()
        return not (
            status.running
            or status.waiting
            or status.waiting_bytes
            or status.uploads
            or status.downloads
        )


async def offer(store: Store, rate_s: float, seconds: float) -> None:
    """Requests at a steady rate, whatever becomes of them."""
    async with asyncio.TaskGroup() as group:
        for _ in range(int(rate_s * seconds)):
            group.create_task(store.request())
            await asyncio.sleep(1 / rate_s)


@pytest.mark.parametrize("times", [4, 10])
def test_overload_costs_hardly_any_goodput_and_waits_stay_bounded(times: int) -> None:
    async def scene() -> None:
        capacity_s, seconds = 200.0, 10.0
        store = Store(16 / capacity_s, 16)
        await offer(store, capacity_s * times, seconds)
        assert store.done >= 0.8 * capacity_s * seconds
        assert max(store.waits) <= WAIT_MAX_S + 0.2
        assert sorted(store.waits)[len(store.waits) // 2] < 1.0
        assert store.refusals[Verdict.QUEUE_SLOW] > 0
        assert store.at_rest()

    run(scene())


def test_a_burst_is_refused_nothing() -> None:
    async def scene() -> None:
        store = Store(0.05)
        answers = await asyncio.gather(*(store.request() for _ in range(2000)))
        assert all(answers)
        assert not store.refusals

    run(scene())


def test_clients_that_wait_for_their_answers_are_refused_nothing_at_four_times_the_limit() -> None:
    async def scene() -> None:
        store = Store(0.02)

        async def client() -> None:
            for _ in range(20):
                assert await store.request()

        await asyncio.gather(*(client() for _ in range(4 * RUNNING_MAX)))
        assert not store.refusals

    run(scene())


def test_when_nothing_is_done_any_more_whoever_comes_is_refused_soon() -> None:
    async def scene() -> None:
        store = Store(30.0)
        work = asyncio.ensure_future(offer(store, 500.0, 5.0))
        await asyncio.sleep(2.0)
        before = store.refusals[Verdict.QUEUE_SLOW]
        begun = asyncio.get_running_loop().time()
        assert not await store.request()
        assert asyncio.get_running_loop().time() == begun
        assert store.refusals[Verdict.QUEUE_SLOW] == before + 1
        await work
        assert store.refusals[Verdict.WAITED_LONG] > 0
        assert store.at_rest()

    run(scene())


def test_who_waits_for_its_client_keeps_nobody_out() -> None:
    async def scene() -> None:
        store = Store(0.01)
        slots = [await store.admission.enter(0) for _ in range(RUNNING_MAX)]
        blocked = asyncio.ensure_future(store.request())
        await asyncio.sleep(0.05)
        assert not blocked.done()
        for slot in slots:
            slot.pause()
        assert await blocked
        slots[0].resume()
        assert store.admission.status().running == 1
        for slot in slots:
            slot.end()
        assert store.at_rest()

    run(scene())


@pytest.mark.parametrize(
    ("begin", "most", "verdict"),
    [
        (Slot.upload, UPLOADS_MAX, Verdict.UPLOADS_FULL),
        (Slot.download, DOWNLOADS_MAX, Verdict.DOWNLOADS_FULL),
    ],
)
def test_uploads_and_downloads_are_bounded(
    begin: Callable[[Slot], None], most: int, verdict: Verdict
) -> None:
    async def scene() -> None:
        store = Store(0.0)
        slots = []
        for _ in range(most):
            slots.append(await store.admission.enter(0))
            begin(slots[-1])
            slots[-1].pause()
        late = await store.admission.enter(0)
        with pytest.raises(Overloaded):
            begin(late)
        assert store.refusals == {verdict: 1}
        slots.pop().end()
        begin(late)
        for slot in [*slots, late]:
            slot.end()
            slot.end()
        assert store.at_rest()

    run(scene())


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "cancel", "pause", "resume", "end", "wait"]), st.integers(0, 20)
    )
)


@given(_STEPS)
def test_whatever_requests_do_the_counts_are_right_in_the_end(steps: list[tuple[str, int]]) -> None:
    async def scene() -> None:
        admission = Admission(lambda _name: None)
        admission.gate.limit = 3
        entering: list[asyncio.Task[Slot]] = []
        for step, number in steps:
            if step == "enter":
                entering.append(asyncio.ensure_future(admission.enter(10)))
            elif step == "wait":
                await asyncio.sleep(number / 20)
            elif entering:
                task = entering[number % len(entering)]
                if step == "cancel":
                    task.cancel()
                elif task.done() and not task.cancelled() and task.exception() is None:
                    {"pause": Slot.pause, "resume": Slot.resume, "end": Slot.end}[step](task.result())
        for task in entering:
            task.cancel()
        await asyncio.gather(*entering, return_exceptions=True)
        for task in entering:
            if not task.cancelled() and task.exception() is None:
                task.result().end()
        await asyncio.sleep(1.0)
        status = admission.status()
        assert (status.running, status.waiting, status.waiting_bytes) == (0, 0, 0)

    run(scene())

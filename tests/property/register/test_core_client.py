"""The proxy's own state machines over lossy, repeating, reordering networks: every history is
linearizable, and without any one of their rules it is not.

A failing seed is printed; `World(seed, core_client(...), ruled(Rules()))` replays it.
"""

from collections.abc import Callable, Iterator

import pytest

from proxy.core.register import (
    Found,
    Machine,
    PlainWrite,
    QuorumRead,
    Refused,
    Send,
    Stored,
    Undone,
    Update,
    Value,
    Versioned,
    majority,
)
from proxy.core.register import (
    Step as MachineStep,
)
from runtime.clock import HybridClock
from storage.types import RowAnswer, Want
from tests.property.register.harness import (
    NAME,
    REPLICAS,
    SHARD,
    Client,
    Round,
    Rules,
    Step,
    World,
    in_memory,
    ruled,
)
from tests.property.register.linearizability import (
    Asked,
    Content,
    Done,
    Get,
    Nothing,
    Outcome,
    Put,
    Saw,
    Swap,
    Unknown,
    linearizable,
)

RUNS = 1500
QUORUM = majority(REPLICAS)


class Mismatch(Exception):
    """The row does not hold what a Swap expected."""

    def __init__(self, content: Content) -> None:
        super().__init__(content)
        self.content = content


def content_of(row: Versioned) -> Content:
    return row.value.payload if row.live else None


def value_of(content: Content) -> Value:
    return Value(0, 0, b"", content or b"")


class Machines:
    """Which machines a client uses; mutants replace one."""

    write: type[PlainWrite] = PlainWrite
    read: type[QuorumRead] = QuorumRead
    update: type[Update] = Update


class CoreOperation:
    """A machine of the core as the harness's Operation."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def begin(self) -> Step:
        return self._translate(self._machine.begin())

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        return self._translate(self._machine.answer(member, answer, payload))

    def expire(self) -> Outcome:
        return self._outcome(self._machine.expire())

    def _translate(self, step: MachineStep) -> Step:
        if step is None:
            return None
        if not isinstance(step, Send):
            return self._outcome(step)
        messages = list(step.messages)
        if isinstance(self._machine, QuorumRead):
            while (more := self._machine.more()) is not None:
                messages += more.messages  # as if every read were hedged at once
        return Round(messages, step.extends)

    def _outcome(self, end: object) -> Outcome:
        match end:
            case Stored():
                return Done()
            case Found(row, _):
                return Saw(content_of(row))
            case Refused(Mismatch() as mismatch):
                return Saw(mismatch.content)
            case Undone():
                return Nothing()
        return Unknown()


def core_client(machines: type[Machines]) -> Client:
    """A client of the harness that runs the core's machines."""

    def client(asked: Asked, clock: HybridClock) -> CoreOperation:
        match asked:
            case Put(content):
                write = machines.write(QUORUM, clock, SHARD, NAME, value_of(content))
                return CoreOperation(write)
            case Get():
                return CoreOperation(machines.read(QUORUM, clock, SHARD, NAME, Want.PAYLOAD))
            case Swap(expected, content):
                decide = _swap(expected, content)
                return CoreOperation(machines.update(QUORUM, clock, SHARD, NAME, decide))

    return client


def _swap(expected: Content, content: Content) -> Callable[[Versioned], Value]:
    def decide(row: Versioned) -> Value:
        if content_of(row) != expected:
            raise Mismatch(content_of(row))
        return value_of(content)

    return decide


def violations(machines: type[Machines], runs: int, *, churn: bool = False) -> Iterator[int]:
    """Seeds whose histories are not linearizable."""
    for seed in range(runs):
        history = World(seed, core_client(machines), ruled(Rules()), churn).run()
        if not linearizable(history):
            yield seed


@pytest.mark.parametrize("churn", [False, True])
def test_every_history_is_linearizable(churn: bool) -> None:
    assert list(violations(Machines, RUNS, churn=churn)) == []


def test_every_history_over_in_memory_devices_is_linearizable() -> None:
    for seed in range(RUNS // 3):
        history = World(seed, core_client(Machines), in_memory).run()
        assert linearizable(history), f"seed {seed}"


def test_most_operations_end_with_an_answer() -> None:
    ends: dict[type, int] = {}
    for seed in range(300):
        for event in World(seed, core_client(Machines), ruled(Rules())).run():
            ends[type(event.outcome)] = ends.get(type(event.outcome), 0) + 1
    assert len(ends) == 4
    assert ends[Unknown] + ends[Nothing] < 0.4 * sum(ends.values())


# -- mutants -----------------------------------------------------------------------------------


class StaleIsSuccess(PlainWrite):
    """Takes a majority of any answers for success."""

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> MachineStep:
        step = super().answer(member, answer, payload)
        tally = self._tally
        done = step is None and QUORUM.enough[tally.ok | tally.no]
        return Stored(self._version) if done else step


class EagerRetry(PlainWrite):
    """Tries again with a higher stamp after the first refusal."""

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> MachineStep:
        step = super().answer(member, answer, payload)
        if step is None and self._tally.no and self._attempts < 5:
            self._tally.clear()
            return self.begin()
        return step


class NoWriteBack(QuorumRead):
    """Answers the highest version without confirming it."""

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> MachineStep:
        step = super().answer(member, answer, payload)
        if isinstance(step, Send) and self._state in ("fetch", "confirm"):
            best = max(self._rows.values(), key=lambda row: row.version)
            return Found(best)
        return step


class ReadOne(QuorumRead):
    """Takes the first replica's word."""

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> MachineStep:
        step = super().answer(member, answer, payload)
        if self._state == "ask" and self._rows:
            return Found(next(iter(self._rows.values())))
        return step


class TryAgain(Update):
    """Forgets that an accept was sent, and decides anew."""

    def begin(self) -> Send:
        self._sent = False
        return super().begin()


class UnconfirmedRefusal(Update):
    """Answers a failed condition on a version that no majority has confirmed."""

    def _refuse(self, best: Versioned, reason: Exception) -> MachineStep:
        return Refused(reason)


def _with(**changes: type) -> type[Machines]:
    return type("Mutant", (Machines,), changes)


MUTANTS = {
    "stale_is_success": _with(write=StaleIsSuccess),
    "eager_retry": _with(write=EagerRetry),
    "no_write_back": _with(read=NoWriteBack),
    "read_one": _with(read=ReadOne),
    "try_again": _with(update=TryAgain),
    "unconfirmed_refusal": _with(update=UnconfirmedRefusal),
}


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_client_without_one_of_its_rules_is_caught(mutant: str) -> None:
    assert next(violations(MUTANTS[mutant], 6 * RUNS), None) is not None

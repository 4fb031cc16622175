"""The replica's decisions keep every row a linearizable register; without any one of them they do not.

A failing seed is printed; `World(seed, model_client, ...)` replays it.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from storage.replica import RowState, Verdict, on_accept, on_prepare, on_write
from storage.types import STAMP_BYTES, No, Ok
from tests.property.register.harness import Replica, Rules, World, in_memory, ruled
from tests.property.register.linearizability import Unknown, linearizable
from tests.property.register.model_client import model_client

RUNS = 1500


def violations(
    make_replica: Callable[[World], Replica], runs: int, *, churn: bool = False
) -> Iterator[int]:
    """Seeds whose histories are not linearizable."""
    for seed in range(runs):
        if not linearizable(World(seed, model_client, make_replica, churn).run()):
            yield seed


@pytest.mark.parametrize("churn", [False, True])
def test_every_history_is_linearizable(churn: bool) -> None:
    assert list(violations(ruled(Rules()), RUNS, churn=churn)) == []


@pytest.mark.parametrize("churn", [False, True])
def test_every_history_over_in_memory_devices_is_linearizable(churn: bool) -> None:
    assert list(violations(in_memory, RUNS // 3, churn=churn)) == []


def test_histories_are_worth_checking() -> None:
    """Most operations end with an answer, and there are all kinds of ends."""
    ends: dict[type, int] = {}
    for seed in range(200):
        for event in World(seed, model_client, ruled(Rules())).run():
            ends[type(event.outcome)] = ends.get(type(event.outcome), 0) + 1
    assert len(ends) == 4
    assert ends[Unknown] < sum(ends.values()) / 4


def test_the_device_and_the_bare_rules_give_the_same_histories() -> None:
    for seed in range(100):
        bare = World(seed, model_client, ruled(Rules())).run()
        assert bare == World(seed, model_client, in_memory).run()


# -- mutants -----------------------------------------------------------------------------------


def no_history_check(state: RowState, version: bytes) -> Verdict:
    """Claims that whatever it does not remember was never held."""
    verdict = on_write(state, version)
    if isinstance(verdict.answer, No):
        return Verdict(None, No(verdict.answer.highest, never_held=True))
    return verdict


def no_history(state: RowState, version: bytes) -> Verdict:
    """Remembers the present version alone, and claims that no other was ever held."""
    return no_history_check(state._replace(earlier=()), version)


def no_promise_check(state: RowState, version: bytes) -> Verdict:
    """Accepts below its promise."""
    return on_accept(state._replace(promised=bytes(STAMP_BYTES)), version)


def accept_over_newer_write(state: RowState, version: bytes) -> Verdict:
    """Accepts a ballot on top of a stamp that was overwritten, as if it were on top of the new one."""
    if version[STAMP_BYTES:] >= state.promised and version[:STAMP_BYTES] < state.version[:STAMP_BYTES]:
        return Verdict(RowState(version, version[STAMP_BYTES:], state.earlier), Ok())
    return on_accept(state, version)


def write_over_newer_write(state: RowState, version: bytes) -> Verdict:
    """Stores whatever comes last."""
    if version in {state.version, *state.earlier}:
        return Verdict(None, Ok())
    return Verdict(RowState(version, state.promised, (*state.earlier, state.version)[-3:]), Ok())


def promise_forgotten(state: RowState, ballot: bytes) -> Verdict:
    """Promises, but keeps no note of it."""
    verdict = on_prepare(state, ballot)
    return Verdict(None, verdict.answer)


MUTANTS = {
    "no_history_check": Rules(write=no_history_check),
    "no_history": Rules(write=no_history),
    "no_promise_check": Rules(accept=no_promise_check),
    "accept_over_newer_write": Rules(accept=accept_over_newer_write),
    "write_over_newer_write": Rules(write=write_over_newer_write),
    "promise_forgotten": Rules(prepare=promise_forgotten),
}


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_replica_without_one_of_its_rules_is_caught(mutant: str) -> None:
    replicas = ruled(MUTANTS[mutant])
    caught = chain(violations(replicas, RUNS), violations(replicas, 4 * RUNS, churn=True))
    assert next(caught, None) is not None

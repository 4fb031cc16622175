"""The core's machines while the ring changes: every history is linearizable, and without any one of
the rules of a joint epoch it is not. A failing seed is printed; `RingWorld(seed, make)` replays it.
"""

from collections.abc import Iterator

import pytest

from proxy.core.register import (
    Machine,
    PlainWrite,
    Quorum,
    QuorumRead,
    Send,
    Update,
    joint,
)
from runtime.clock import HybridClock
from storage.types import Want
from tests.property.register.harness import NAME, SHARD
from tests.property.register.linearizability import Asked, Get, Put, linearizable
from tests.property.register.ring_world import (
    NEW_IN_JOINT,
    OLD,
    QUORUMS,
    RingRules,
    RingWorld,
)
from tests.property.register.test_core_client import _swap, value_of

RUNS = 2500
HANDING_RUNS = 600


class Machines:
    """Which machines a client uses; mutants replace one."""

    write: type[PlainWrite] = PlainWrite
    read: type[QuorumRead] = QuorumRead
    update: type[Update] = Update

    @classmethod
    def make(cls, asked: Asked, quorum: object, clock: HybridClock) -> Machine:
        """The machine for what was asked."""
        assert isinstance(quorum, Quorum)
        if isinstance(asked, Put):
            return cls.write(quorum, clock, SHARD, NAME, value_of(asked.content))
        if isinstance(asked, Get):
            return cls.read(quorum, clock, SHARD, NAME, Want.PAYLOAD)
        return cls.update(quorum, clock, SHARD, NAME, _swap(asked.expected, asked.content))


def violations(
    runs: int,
    rules: RingRules | None = None,
    machines: type[Machines] = Machines,
    *,
    swaps: bool = False,
) -> Iterator[int]:
    """Seeds whose histories are not linearizable."""
    for seed in range(runs):
        if not linearizable(RingWorld(seed, machines.make, rules or RingRules(), swaps).run()):
            yield seed


@pytest.mark.parametrize("swaps", [False, True])
def test_every_history_is_linearizable(swaps: bool) -> None:
    assert list(violations(RUNS, swaps=swaps)) == []


@pytest.mark.parametrize("swaps", [False, True])
def test_what_a_replica_that_has_left_hands_on_is_as_if_its_writer_had_come_late(swaps: bool) -> None:
    handed_on = 0
    for seed in range(HANDING_RUNS):
        world = RingWorld(seed, Machines.make, RingRules(hands_on=True), swaps)
        assert linearizable(world.run()), seed
        handed_on += world.handed_on > 0
    assert handed_on > HANDING_RUNS // 50


class FreshStamp(PlainWrite):
    """In a newer epoch it writes under a new stamp, though the old one may have been seen."""

    def renew(self, quorum: Quorum) -> Send:
        super().renew(quorum)
        self._first = b""
        return self.begin()


class ForgetfulUpdate(Update):
    """In a newer epoch it forgets that an accept was sent."""

    def renew(self, quorum: Quorum) -> Send:
        self._sent = False
        return super().renew(quorum)


OLD_ALONE = joint(4, OLD, OLD)
NEW_ALONE = joint(4, NEW_IN_JOINT, NEW_IN_JOINT)
WRITES_OLD_ALONE = QUORUMS[1]._replace(enough=OLD_ALONE.enough)
READS_NEW = QUORUMS[1]._replace(readable=NEW_ALONE.readable)

MUTANTS = {
    "no fence": (RingRules(fence=False), Machines),
    "a newcomer that never pulls": (RingRules(settle_from=0), Machines),
    "a newcomer that pulls from one": (RingRules(settle_from=1), Machines),
    "the old majority alone": (RingRules((QUORUMS[0], WRITES_OLD_ALONE, QUORUMS[2])), Machines),
    "the new majority alone": (RingRules((QUORUMS[0], NEW_ALONE, QUORUMS[2])), Machines),
    "reads of the new set": (RingRules((QUORUMS[0], READS_NEW, QUORUMS[2])), Machines),
    "a new stamp in a newer epoch": (RingRules(), type("M", (Machines,), {"write": FreshStamp})),
    "a forgotten accept": (RingRules(), type("M", (Machines,), {"update": ForgetfulUpdate})),
}


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_ring_change_without_one_of_its_rules_is_caught(mutant: str) -> None:
    """Those of `storage.replica.on_install` are too rare for chance: tests/unit/core/test_joint.py."""
    rules, machines = MUTANTS[mutant]
    assert next(violations(10 * RUNS, rules, machines), None) is not None

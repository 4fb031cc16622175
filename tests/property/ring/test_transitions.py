"""Random sequences of changes to small rings: every step keeps the invariants, every end is settled."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ring.builder import Plan, apply, build, plan
from ring.draft import AddDevice, Change, Draft, RemoveDevice, SetWeight, target_of
from ring.file import decode, encode
from ring.lookup import Ring
from ring.types import NO_DEVICE, ROWS, Device, DeviceState, Placement, default_placements
from ring.verify import verify
from tests.unit.ring.clusters import CLUSTER_ID, assert_settled, device, usable

HOUR_S = 3600
STEPS_MAX = 40
DEVICES_MAX = 9

WEIGHTS = st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0, 10.0])
PLACES = st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from("12"))


def placed(device_id: int, place: tuple[str, str, str], weight: float) -> Device:
    """A device at a place of the small world."""
    region, zone, node = place
    return device(device_id, weight, region=region, zone=region + zone, node=region + zone + node)


class Transitions(RuleBasedStateMachine):
    """A ring, its draft, and a clock."""

    @initialize(
        places=st.lists(st.tuples(PLACES, WEIGHTS), min_size=1, max_size=7),
        part_power=st.integers(0, 6),
        min_part_hours=st.integers(0, 3),
        salt=st.integers(0, 2**64 - 1),
    )
    def begin(
        self,
        places: list[tuple[tuple[str, str, str], float]],
        part_power: int,
        min_part_hours: int,
        salt: int,
    ) -> None:
        """A fresh ring, which is settled from the start."""
        devices = [placed(i, place, weight) for i, (place, weight) in enumerate(places)]
        self.now_s = 1_000_000
        self.changes: list[Change] = []
        self.ring = build(
            devices,
            [*default_placements(len(devices)), Placement("wide", 4)],
            part_power,
            salt,
            cluster_id=CLUSTER_ID,
            min_part_hours=min_part_hours,
        )
        self.settled = True

    @property
    def draft(self) -> Draft:
        """What is pending."""
        return Draft(self.ring.epoch, tuple(self.changes))

    def active(self) -> list[Device]:
        """Devices that are to stay, by the draft."""
        devices = target_of(self.ring, self.draft).devices
        return [d for d in devices if d.share_weight > 0]

    @precondition(lambda self: len(self.active()) < DEVICES_MAX)
    @rule(place=PLACES, weight=WEIGHTS)
    def add(self, place: tuple[str, str, str], weight: float) -> None:
        """A device more."""
        new_id = target_of(self.ring, self.draft).next_device_id
        self.changes.append(AddDevice(placed(new_id, place, weight)))

    @precondition(lambda self: len(self.active()) > self.ring.placement(ROWS).replicas)
    @rule(data=st.data(), lost=st.booleans())
    def remove(self, data: st.DataObject, lost: bool) -> None:
        """A device less."""
        gone = data.draw(st.sampled_from(self.active()))
        self.changes.append(RemoveDevice(gone.id, lost))

    @precondition(lambda self: len(self.active()) > 0)
    @rule(data=st.data(), weight=WEIGHTS)
    def reweight(self, data: st.DataObject, weight: float) -> None:
        """Another weight."""
        chosen = data.draw(st.sampled_from(self.active()))
        self.changes.append(SetWeight(chosen.id, weight))

    @rule(hours=st.integers(0, 3))
    def wait(self, hours: int) -> None:
        """Time passes."""
        self.now_s += hours * HOUR_S

    @rule()
    def step(self) -> None:
        """One step towards what is asked for."""
        self.one_step()

    @rule()
    def settle(self) -> None:
        """As many steps as it takes, with time enough between them."""
        for _ in range(STEPS_MAX):
            self.now_s += (self.ring.min_part_hours + 1) * HOUR_S
            if not self.one_step().changes_ring:
                break
        else:
            raise AssertionError("the ring doesn't settle")
        assert_settled(self.ring)
        assert verify(self.ring).sound
        self.settled = True

    def one_step(self) -> Plan:
        """Plan, apply, and compare the two epochs."""
        before, step = self.ring, plan(self.ring, self.draft, self.now_s)
        after = apply(before, step)
        assert after.epoch == before.epoch + 1
        for part in step.parts:
            if part.placement.name in before.tables:
                self.compare(before, after, part.placement.name, step)
            assert len(part.moves) >= part.lower_bound - part.left
        self.ring, self.changes, self.settled = after, [], False
        return step

    def compare(self, before: Ring, after: Ring, name: str, step: Plan) -> None:
        """At most one replica of a partition moves, and none that moved lately."""
        old, new = before.tables[name], after.tables[name]
        moved = new[: len(old)] != old
        assert moved.sum(axis=0).max(initial=0) <= 1
        (part,) = (part for part in step.parts if part.placement.name == name)
        assert len(part.moves) == moved.sum() + (len(new) - len(old)) * new.shape[1]
        states = {d.id: d.state for d in target_of(before, self.draft).devices}
        window_s = before.min_part_hours * HOUR_S
        for recent in before.steps[name]:
            if recent.at_s > self.now_s - window_s:
                for r, p in np.argwhere(moved[:, recent.partitions]).tolist():
                    source = int(old[r, recent.partitions[p]])
                    assert states[source] is DeviceState.LOST
        grown = part.moves.sources == NO_DEVICE
        assert (part.moves.replicas[grown] >= len(old)).all()

    @invariant()
    def whole(self) -> None:
        """Known devices, distinct where that can be, the same after a trip through a file."""
        ring = self.ring
        known = {d.id for d in ring.members}
        for placement in ring.placements:
            table = ring.tables[placement.name]
            assert set(np.unique(table).tolist()) <= known
            enough = len(usable(ring.members, placement)) >= placement.replicas
            if self.settled and enough:
                assert all(len(set(column)) == len(column) for column in table.T.tolist())
        assert encode(decode(encode(ring))) == encode(ring)


Transitions.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestTransitions = Transitions.TestCase

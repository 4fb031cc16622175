"""The breaker's decisions, event by event, without a device or a clock."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.breaker import (
    FAILING_MIN_S,
    FAILURES_MIN,
    PROBE_FIRST_S,
    PROBE_MAX_S,
    RELAPSE_S,
    TRIAL_WAIT_MAX_S,
    Breaker,
    Kind,
    State,
)

READ, CHANGE = Kind.READING, Kind.CHANGING


def state(breaker: Breaker) -> State:
    return breaker.state


def opened(kind: Kind = READ, at: float = 100.0) -> Breaker:
    breaker = Breaker()
    for n in range(FAILURES_MIN):
        breaker.bad(kind, at + n * FAILING_MIN_S)
    assert breaker.state is State.OPEN
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    assert [breaker.bad(READ, t) for t in (0.0, 0.2, 0.4)] == [False, False, True]
    assert breaker.opened == 1
    assert breaker.probe_at == 0.4 + PROBE_FIRST_S


def test_a_burst_of_refusals_does_not() -> None:
    breaker = Breaker()
    for _ in range(1000):
        breaker.bad(CHANGE, 5.0)
    assert breaker.state is State.CLOSED
    breaker.good(CHANGE, 5.1)
    assert not breaker.bad(CHANGE, 5.0 + FAILING_MIN_S)


def test_good_answers_of_another_kind_hide_nothing() -> None:
    breaker = Breaker()
    for t in (0.0, 0.2, 0.4):
        breaker.good(READ, t)
        breaker.bad(CHANGE, t)
    assert breaker.state is State.OPEN


def test_a_probe_closes_it_where_reads_had_failed() -> None:
    breaker = opened(READ)
    assert breaker.probed(101.0, answered=True)
    assert breaker.state is State.CLOSED
    assert not breaker.failing


def test_where_changes_had_failed_one_must_go_well_first() -> None:
    breaker = opened(CHANGE)
    assert breaker.probed(101.0, answered=True)
    assert breaker.state is State.HALF_OPEN
    breaker.good(READ, 101.0)
    assert state(breaker) is State.HALF_OPEN
    assert breaker.good(CHANGE, 101.1)
    assert state(breaker) is State.CLOSED


def test_probes_become_rarer_up_to_a_limit() -> None:
    breaker = opened()
    waits, now = [], breaker.probe_at
    for _ in range(6):
        breaker.probed(now, answered=False)
        waits.append(breaker.probe_at - now)
        now = breaker.probe_at
    assert waits[0] < waits[-1] == PROBE_MAX_S


def test_who_fails_each_trial_is_tried_ever_more_rarely() -> None:
    breaker = opened(CHANGE)
    waits = []
    for _ in range(8):
        now = breaker.probe_at
        breaker.probed(now, answered=True)
        breaker.bad(CHANGE, now)
        waits.append(breaker.probe_at - now)
    assert waits == sorted(waits)
    assert waits[-1] == TRIAL_WAIT_MAX_S


def test_a_failure_long_after_the_last_waits_no_longer_than_a_first_one() -> None:
    breaker = opened()
    for _ in range(5):
        breaker.probed(breaker.probe_at, answered=False)
    healed = breaker.probe_at
    breaker.probed(healed, answered=True)
    breaker.silent(healed + RELAPSE_S)
    assert breaker.probe_at == healed + RELAPSE_S + PROBE_FIRST_S


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["good", "bad", "silent", "answered", "unanswered"]),
        st.sampled_from(Kind),
        st.floats(0.0, 5.0),
    ),
    max_size=60,
)


def _apply(breaker: Breaker, event: str, kind: Kind, now: float) -> bool:
    match event:
        case "good":
            return breaker.good(kind, now)
        case "bad":
            return breaker.bad(kind, now)
        case "silent":
            return breaker.silent(now)
    return breaker.state is State.OPEN and breaker.probed(now, answered=event == "answered")


@given(_EVENTS)
def test_whatever_happens_changes_are_told_and_it_can_be_closed_again(
    events: list[tuple[str, Kind, float]],
) -> None:
    breaker, now = Breaker(), 0.0
    for event, kind, step in events:
        now += step
        before = breaker.state
        told = _apply(breaker, event, kind, now)
        assert told == (breaker.state is not before)
        assert breaker.failing or breaker.state is State.CLOSED
        if breaker.state is State.OPEN:
            assert breaker.probe_at <= now + TRIAL_WAIT_MAX_S + PROBE_MAX_S
    breaker.good(READ, now)
    breaker.good(CHANGE, now)
    assert breaker.state is State.CLOSED

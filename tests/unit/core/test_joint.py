"""The rules of a joint epoch that random histories miss: who may vote for an old ballot, and when.

Members 0, 1, 2 are the old set, 0, 1, 3 the new one. An update under ballot 1 reached member 1 alone
before members 0 and 2 promised ballot 2. It must not be decided by the newcomer's vote any more.
"""

from proxy.core.register import Found, QuorumRead, Send, Stored, Update, Value, Versioned, joint
from runtime.clock import HybridClock
from storage.replica import Installed, RowState, merged, on_accept, on_install, on_write
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    Accept,
    No,
    Ok,
    Prepare,
    Read,
    Row,
    Want,
)
from tests.property.register.harness import CLOCK_START_NS

QUORUM = joint(4, 0b0111, 0b1011)
STAMP = b"s" * STAMP_BYTES
BALLOT_1, BALLOT_2 = b"\1" * STAMP_BYTES, b"\2" * STAMP_BYTES
DECIDED = STAMP + ZERO_STAMP
ACCEPTED = STAMP + BALLOT_1
AHEAD = RowState(ACCEPTED, BALLOT_1, (DECIDED,))
PROMISED = RowState(DECIDED, BALLOT_2)


class Now:
    def now_ns(self) -> int:
        return CLOCK_START_NS

    def monotonic(self) -> float:
        return 0.0


def stamps() -> HybridClock:
    return HybridClock(Now(), b"client-1")


def test_a_newcomer_does_not_vote_for_a_ballot_below_a_promise() -> None:
    both = merged([AHEAD, PROMISED])
    assert both == RowState(ACCEPTED, BALLOT_2, (DECIDED,))
    assert on_install(RowState(), both) == Installed(RowState(promised=BALLOT_2), taken=False)


def test_a_newcomer_s_own_promise_counts_as_well() -> None:
    own = RowState(promised=BALLOT_2)
    assert on_install(own, AHEAD) == Installed(None, taken=False)


def test_a_newcomer_takes_over_promises() -> None:
    installed = on_install(RowState(), merged([PROMISED, RowState(DECIDED)]))
    assert installed == Installed(PROMISED, taken=True)
    assert installed.state is not None
    assert type(on_accept(installed.state, ACCEPTED).answer) is No


def test_what_others_held_answers_for_its_stamp_alone() -> None:
    newer = RowState(b"t" * STAMP_BYTES + ZERO_STAMP, BALLOT_2, (DECIDED, ACCEPTED))
    state = on_install(RowState(), newer).state
    assert state is not None
    assert type(on_write(state, DECIDED).answer) is Ok
    assert type(on_accept(state, ACCEPTED).answer) is No


def test_installing_again_changes_nothing() -> None:
    state = on_install(RowState(), merged([PROMISED])).state
    assert state is not None
    assert on_install(state, merged([PROMISED])) == Installed(None, taken=True)
    assert on_install(RowState(), RowState()) == Installed(None, taken=True)
    assert ZERO_VERSION not in state.earlier


def _reader_that_met_the_accepted_version() -> tuple[QuorumRead, object]:
    read = QuorumRead(QUORUM, stamps(), b"shard", b"name", Want.PAYLOAD)
    read.begin()
    read.answer(0, Row(DECIDED), b"old")
    read.answer(1, Row(ACCEPTED), b"new")
    return read, read.answer(1, Row(ACCEPTED), b"new")


def test_in_a_joint_epoch_a_reader_lets_a_conditional_version_be_decided_anew() -> None:
    read, step = _reader_that_met_the_accepted_version()
    assert isinstance(step, Send)
    assert {type(message) for _, message, _ in step.messages} == {Prepare}
    for member in (0, 1):
        step = read.answer(member, Row(ACCEPTED if member == 1 else DECIDED), b"new")
    assert isinstance(step, Send)
    versions = {m.version for _, m, _ in step.messages if isinstance(m, Accept)}
    assert len(versions) == 1
    assert versions.pop()[STAMP_BYTES:] > BALLOT_2
    read.answer(0, Ok(), b"")
    assert read.answer(3, Ok(), b"") is None  # a majority of the new set, not of the old one
    end = read.answer(1, Ok(), b"")
    assert isinstance(end, Found)
    assert end.row.value.payload == b"new"


def test_a_read_asks_the_old_set_and_answers_what_both_hold() -> None:
    read = QuorumRead(QUORUM, stamps(), b"shard", b"name", Want.PAYLOAD)
    asked = {member for member, _, _ in read.begin().messages}
    assert asked == {0, 1}
    read.answer(0, Row(DECIDED), b"x")
    end = read.answer(1, Row(DECIDED), b"")
    assert isinstance(end, Found)


def test_what_the_old_set_alone_agrees_on_is_confirmed_first() -> None:
    order = (0, 2, 1, 3)
    read = QuorumRead(joint(4, 0b0111, 0b1011, order), stamps(), b"shard", b"name", Want.PAYLOAD)
    read.begin()
    read.answer(0, Row(DECIDED), b"x")
    step = read.answer(2, Row(DECIDED), b"")
    assert isinstance(step, Send)
    assert type(step.messages[0][1]) is Read


def test_an_update_goes_on_in_a_newer_epoch_and_knows_its_own_value() -> None:
    value = Value(0, 0, b"nonce", b"mine")

    def decide(row: Versioned) -> Value:
        return value

    update = Update(joint(3, 7, 7), stamps(), b"shard", b"name", decide)
    update.begin()
    update.answer(0, Row(ZERO_VERSION), b"")
    update.answer(1, Row(ZERO_VERSION), b"")  # the accept is out
    update.renew(QUORUM)
    sent = ZERO_STAMP + BALLOT_1
    mine = Row(sent, 0, 0, b"nonce")
    update.answer(0, mine, b"mine")
    step = update.answer(1, Row(ZERO_VERSION), b"")
    assert isinstance(step, Send)
    assert {m.head for _, m, _ in step.messages if isinstance(m, Accept)} == {b"nonce"}
    update.answer(0, Ok(), b"")
    assert isinstance(update.answer(1, Ok(), b""), Stored)

"""Taking a row from one shard to another, as it is: two more machines of the row protocol.

Nobody reads the new shard before its container's row says so. A version that a majority of the old
shard holds was decided there, and is stored under its own stamp and ballot (`Carry`); repeated, late
or by two at once it is the same. So is a plain version that only few hold: as if its write came late.

A conditional version that only few hold was perhaps decided, and then must be carried on, and perhaps
not, and then others may carry on another. That is a decision of its own, among the new shard's
replicas: a ballot is prepared there (`Promised`), *then* it is made sure that the old shard still
counts, and then the version is carried over under this new ballot. Whoever decides later meets the
promise.
"""

from proxy.core.register import (
    NO_ROW,
    UPDATE_ATTEMPTS,
    End,
    Found,
    Quorum,
    Refused,
    Send,
    Step,
    Stored,
    Undone,
    Value,
    Versioned,
)
from runtime.clock import HybridClock
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    Accept,
    Failed,
    Fault,
    No,
    Ok,
    Prepare,
    Row,
    RowAnswer,
    Write,
)


class Contested(Exception):
    """The new shard's replicas hold, or promised, something newer: it has to be decided there."""


class _Answers:
    """One round's answers, as masks and faults."""

    def __init__(self, quorum: Quorum) -> None:
        self.quorum = quorum
        self.good = 0
        self.no = 0
        self.faults: list[Failed] = []

    def add(self, clock: HybridClock, member: int, answer: RowAnswer, *, good: bool) -> None:
        if good:
            self.good |= 1 << member
        elif type(answer) is No:
            clock.saw(answer.highest)
            self.no |= 1 << member
        else:
            self.faults.append(answer if type(answer) is Failed else Failed(Fault.CORRUPT))

    @property
    def lost(self) -> bool:
        """No majority is good, or will be."""
        answered = (self.good | self.no).bit_count() + len(self.faults)
        return self.quorum.hopeless[self.no] or answered >= self.quorum.size


class Carry:
    """Stores a row under the version that it has. Ends Stored, Refused(Contested) or Undone; where that
    is wrong, storing it again does no harm."""

    def __init__(
        self, quorum: Quorum, clock: HybridClock, shard: bytes, name: bytes, row: Versioned
    ) -> None:
        self._clock = clock
        self._conditional = row.version[STAMP_BYTES:] != ZERO_STAMP
        self._payload = row.value.payload
        self._version = row.version
        # No confirmation, which a replica without room would take.
        kind = Accept if self._conditional else Write
        flags, size, head, _ = row.value
        self._message = kind(shard, name, row.version, flags, size, head)
        self._answers = _Answers(quorum)

    def begin(self) -> Send:
        """See Machine."""
        return Send([(m, self._message, self._payload) for m in self._answers.quorum.order])

    def renew(self, quorum: Quorum) -> Send:
        """See Machine."""
        self._answers = _Answers(quorum)
        return self.begin()

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        """See Machine."""
        answers = self._answers
        answers.add(self._clock, member, answer, good=type(answer) is Ok)
        if answers.quorum.joint and self._conditional:
            return Refused(Contested())  # a newcomer's vote for an old ballot decides nothing
        if answers.quorum.enough[answers.good]:
            return Stored(self._version)
        if not answers.lost:
            return None
        return Refused(Contested()) if answers.no else Undone(tuple(answers.faults))

    def expire(self) -> End:
        """See Machine."""
        return Undone((*self._answers.faults, Failed(Fault.DEADLINE)))


class Promised:
    """Has a majority promise a new ballot; ends Found: the newest row, `ballot` beside it."""

    def __init__(self, quorum: Quorum, clock: HybridClock, shard: bytes, name: bytes) -> None:
        self._clock = clock
        self._shard = shard
        self._name = name
        self._quorum = quorum
        self._attempts = 0
        self.ballot = b""

    def begin(self) -> Send:
        """See Machine."""
        self._attempts += 1
        self._answers = _Answers(self._quorum)
        self._best = NO_ROW
        self.ballot = self._clock.stamp()
        message = Prepare(self._shard, self._name, self.ballot)
        return Send([(m, message, b"") for m in self._quorum.order], pause=self._attempts > 1)

    def renew(self, quorum: Quorum) -> Send:
        """See Machine."""
        self._quorum = quorum
        return self.begin()

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        """See Machine."""
        answers = self._answers
        answers.add(self._clock, member, answer, good=type(answer) is Row)
        if type(answer) is Row:
            value = Value(answer.flags, answer.size, answer.head, payload)
            self._best = max(self._best, Versioned(answer.version, value), key=lambda row: row.version)
            self._clock.saw(answer.version)
            self._clock.saw(answer.version[STAMP_BYTES:])
        if answers.quorum.enough[answers.good]:
            return Found(self._best)
        if not answers.lost:
            return None
        if answers.no and self._attempts < UPDATE_ATTEMPTS:
            return self.begin()
        return Undone(tuple(answers.faults))

    def expire(self) -> End:
        """See Machine."""
        return Undone((*self._answers.faults, Failed(Fault.DEADLINE)))


def carried(best: Versioned, source: Versioned, ballot: bytes) -> Versioned:
    """What is decided in the new shard, under the ballot that its replicas promised.

    best: the newest that they hold. source: the old shard's. A version that an earlier move which came
    to nothing left under the same stamp counts for nothing. One of a higher stamp is a plain write that
    few replicas of the old shard held, and what was made of it: their outcome is open, so it stays.
    """
    later = best.version[:STAMP_BYTES] > source.version[:STAMP_BYTES]
    winner = best if later else source
    return Versioned(winner.version[:STAMP_BYTES] + ballot, winner.value)

"""The proxy's side of the row protocol: three state machines without I/O (DESIGN section 5).

A machine is begun, fed the answers of the current round and says what to send next or how it ended.
`proxy/core/rows.py` drives them over devices; the property tests drive the same code over a lossy,
reordering network and check every history for linearizability.

A round's answers are counted as bit masks over the members of a `Quorum`, all in one ring epoch. Where
the ring has moved on meanwhile, the driver gives the machine the newer epoch's quorum (`renew`), and it
begins its round there, a plain write under the same stamp.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final, NamedTuple, Protocol

from runtime.clock import HybridClock
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    Accept,
    Failed,
    Fault,
    No,
    Ok,
    Prepare,
    Read,
    Row,
    RowAnswer,
    RowFlag,
    RowMessage,
    Sealed,
    Want,
    Write,
)

WRITE_ATTEMPTS: Final = 5
READ_ATTEMPTS: Final = 6
UPDATE_ATTEMPTS: Final = 12
CONFIRM_REFUSALS_MAX: Final = 2


class Quorum(NamedTuple):
    """Who must agree, in one epoch. Members are numbered; masks have a bit for each.

    enough: by mask, whether these members make a majority, in a joint epoch one of the old set and one
    of the new. readable: whether what they hold is enough to know the newest version: a majority of the
    old set. hopeless: whether without them no majority is left. order: members, the cheapest to ask
    first.
    """

    size: int
    enough: tuple[bool, ...]
    order: tuple[int, ...]
    readable: tuple[bool, ...]
    hopeless: tuple[bool, ...]

    @property
    def joint(self) -> bool:
        """Whether two sets must agree."""
        return self.readable != self.enough

    @property
    def everyone(self) -> int:
        """The mask of all members."""
        return (1 << self.size) - 1


@cache
def majority(size: int, order: tuple[int, ...] | None = None) -> Quorum:
    """A quorum of more than half of `size` members."""
    everyone = (1 << size) - 1
    return joint(size, everyone, everyone, order)


@cache
def joint(size: int, old: int, new: int, order: tuple[int, ...] | None = None) -> Quorum:
    """The quorum of a joint epoch over `size` members; old, new: masks of the two sets.

    A read asks a majority of the old set, because a newcomer may not have pulled its rows yet; what it
    answers must be on both, because the next epoch asks the new set alone.
    """
    masks = range(1 << size)
    of_old = tuple((mask & old).bit_count() * 2 > old.bit_count() for mask in masks)
    of_new = tuple((mask & new).bit_count() * 2 > new.bit_count() for mask in masks)
    both = tuple(a and b for a, b in zip(of_old, of_new, strict=True))
    either = tuple(a or b for a, b in zip(of_old, of_new, strict=True))
    return Quorum(size, both, order if order is not None else tuple(range(size)), of_old, either)


class Value(NamedTuple):
    """A row without its version; two values are one write's iff they are equal (see `Update`)."""

    flags: int
    size: int
    head: bytes
    payload: bytes


def tombstone(nonce: bytes = b"") -> Value:
    """The value of a deleted row."""
    return Value(RowFlag.TOMBSTONE, 0, nonce, b"")


class Versioned(NamedTuple):
    """A row as the protocol decided it. sealed: the shard it lives in is being given up."""

    version: bytes
    value: Value
    sealed: bool = False

    @property
    def live(self) -> bool:
        """True for a row that exists."""
        return self.version != ZERO_VERSION and not self.value.flags & RowFlag.TOMBSTONE


NO_VALUE: Final = Value(0, 0, b"", b"")
NO_ROW: Final = Versioned(ZERO_VERSION, NO_VALUE)


class Send(NamedTuple):
    """Send each (member, message, payload); answers of earlier rounds no longer count.

    pause: the round before lost a race; wait a little, so that one of the racers gets through.
    extends: more members of the present round, whose earlier answers still count.
    """

    messages: list[tuple[int, RowMessage, bytes]]
    pause: bool = False
    extends: bool = False


class Stored(NamedTuple):
    """The write is durable on a majority; `version` is what it became."""

    version: bytes


class Found(NamedTuple):
    """The read's answer; heal: members whose own copy was damaged and may be written again."""

    row: Versioned
    heal: int = 0


class Refused(NamedTuple):
    """A conditional write whose condition does not hold; `reason` is what `decide` raised."""

    reason: Exception


class Unknown(NamedTuple):
    """The operation may or may not have happened. faults: what devices answered."""

    faults: tuple[Failed, ...] = ()


class Undone(NamedTuple):
    """The operation surely did not happen."""

    faults: tuple[Failed, ...] = ()


class Sent(NamedTuple):
    """What a conditional write has sent that met a seal: its own value, and the row it was made of."""

    own: Value
    base: Versioned


class ShardSealed(NamedTuple):
    """A majority has sealed the shard: the container is gone or moved, ask its row again.

    version: what a plain write was sent under, else b"". sent: what a conditional one has sent, if any.
    """

    version: bytes = b""
    sent: Sent | None = None


End = Stored | Found | Refused | Unknown | Undone | ShardSealed
Step = Send | End | None


class Machine(Protocol):
    """What the driver needs of an operation."""

    def begin(self) -> Send:
        """The first round."""

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        """Take one answer of the current round; None: wait for more."""

    def renew(self, quorum: Quorum) -> Send:
        """The round anew among the members of a newer epoch."""

    def expire(self) -> End:
        """The deadline has passed: how does it end?"""


_NOTHING_WRITTEN: Final = frozenset({Fault.FULL, Fault.SKEW, Fault.EPOCH, Fault.TOO_LARGE})
"""A device that answers so has surely not carried the message out."""

_SILENCE: Final = Failed(Fault.DEADLINE, "no answer in time")


def _fault(answer: RowAnswer) -> Failed:
    """A device's fault; an answer of another call's kind is one, too."""
    return answer if type(answer) is Failed else Failed(Fault.CORRUPT, "odd answer")


class _Tally:
    """The answers of one round, as masks."""

    __slots__ = ("faults", "never", "no", "ok", "quorum", "sealed")

    def __init__(self, quorum: Quorum) -> None:
        self.quorum = quorum
        self.clear()

    def clear(self) -> None:
        self.ok = self.no = self.never = self.sealed = 0
        self.faults: list[Failed] = []

    def add(self, clock: HybridClock, member: int, answer: RowAnswer) -> None:
        bit = 1 << member
        if type(answer) is Ok:
            self.ok |= bit
        elif type(answer) is No:
            self.no |= bit
            clock.saw(answer.highest)
            if answer.never_held:
                self.never |= bit
        elif type(answer) is Sealed:
            self.sealed |= bit
        else:
            self.faults.append(
                answer if type(answer) is Failed else Failed(Fault.CORRUPT, "odd answer")
            )

    @property
    def complete(self) -> bool:
        answered = (self.ok | self.no | self.sealed).bit_count() + len(self.faults)
        return answered >= self.quorum.size

    @property
    def surely_nowhere(self) -> bool:
        """Everyone has answered, and no one holds what was sent, nor will."""
        refused = self.complete and self.ok == 0 and self.no == self.never
        return refused and all(fault.fault in _NOTHING_WRITTEN for fault in self.faults)


class PlainWrite:
    """PUT or DELETE of a row: one round, success on a majority of Ok.

    Only when a majority surely never held the stamp may it be tried with a higher one: then no reader
    can have seen it. Where nobody stored it, for want of room say, it is Undone; any other end without
    a majority is Unknown.

    From the second round on the stamp is above all that was acknowledged before the write began, for a
    majority has told. Then a replica with a newer stamp counts like one that stores it: what is newer
    there comes from a write that was not over when this one began, and takes its place just after it
    (the second phase of an ABD write with many writers; Lynch and Shvartsman, 1997).
    """

    __slots__ = (
        "_above", "_attempts", "_clock", "_first", "_name", "_only", "_shard", "_tally", "_value",
        "_version",
    )  # fmt: skip

    def __init__(
        self,
        quorum: Quorum,
        clock: HybridClock,
        shard: bytes,
        name: bytes,
        value: Value,
        version: bytes = b"",
        *,
        only: bool = False,
        above: bool = False,
    ) -> None:
        """version: what to try first, decided before, instead of a new one; `only` that.

        above: the clock has seen, since the write was asked for, what a majority holds.
        """
        self._clock = clock
        self._shard = shard
        self._name = name
        self._value = value
        self._first = version
        self._only = only
        self._above = above
        self._attempts = 0
        self._tally = _Tally(quorum)

    def begin(self) -> Send:
        self._attempts += 1
        self._version = self._first or self._clock.stamp() + ZERO_STAMP
        flags, size, head, payload = self._value
        message = Write(self._shard, self._name, self._version, flags, size, head)
        return Send([(member, message, payload) for member in self._tally.quorum.order])

    def renew(self, quorum: Quorum) -> Send:
        """The same stamp: those who took it in the older epoch hold it."""
        self._tally = _Tally(quorum)
        self._first = self._version
        self._attempts -= 1
        return self.begin()

    def resume(self, version: bytes, answers: Sequence[RowAnswer]) -> Step:
        """Go on from a first round under `version` that was sent elsewhere and got these answers;
        a member that gave none is as good as silent till the deadline."""
        self._attempts = 1
        self._version = version
        for member, answer in enumerate(answers):
            step = self.answer(member, answer, b"")
            if step is not None:
                return step
        return self.expire()

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        tally = self._tally
        tally.add(self._clock, member, answer)
        enough = tally.quorum.enough
        if enough[tally.ok] or (self._above and enough[tally.ok | tally.no]):
            return Stored(self._version)
        if enough[tally.never]:
            if self._only or self._attempts >= WRITE_ATTEMPTS:
                return Undone(tuple(tally.faults))
            tally.clear()
            self._first = b""
            self._above = True
            return self.begin()
        if tally.quorum.hopeless[tally.sealed]:
            return ShardSealed(self._version)
        if tally.surely_nowhere:
            return Undone(tuple(tally.faults))
        return Unknown(tuple(tally.faults)) if tally.complete else None

    def expire(self) -> End:
        return Unknown((*self._tally.faults, _SILENCE))


def confirmation(shard: bytes, name: bytes, row: Versioned) -> RowMessage:
    """The message that stores `row` again, as it is, on members that lack it."""
    flags, size, head, _ = row.value
    kind = Write if row.version[STAMP_BYTES:] == ZERO_STAMP else Accept
    return kind(shard, name, row.version, flags | RowFlag.CONFIRMS, size, head)


def _mask(members: Iterable[int]) -> int:
    mask = 0
    for member in members:
        mask |= 1 << member
    return mask


class _KeptError(Exception):
    """What a read's update raises: nothing is to be changed."""


class QuorumRead:
    """A linearizable read.

    The cheapest majority is asked, one member for the row and the others for their version alone. If
    the versions agree, that is the answer; else the highest is confirmed on a majority, or the read
    begins again. A member that fails is replaced by the next one. Where members have promised not to
    take the highest version any more, to an update that never came, an update that changes nothing
    confirms its value.

    In a joint epoch such an update confirms every conditional version. A newcomer would take one under
    its own ballot although members of the old set have promised a higher one: it does not know of their
    promises yet. Beside an old member's vote that makes a majority of the new set, and two values could
    be decided.
    """

    __slots__ = (
        "_asked", "_attempts", "_best", "_clock", "_corrupt", "_faults", "_full", "_left_out", "_name",
        "_quorum", "_refusals", "_rows", "_sealed", "_shard", "_state", "_tally", "_update", "_want",
    )  # fmt: skip

    def __init__(
        self, quorum: Quorum, clock: HybridClock, shard: bytes, name: bytes, want: int
    ) -> None:
        self._quorum = quorum
        self._clock = clock
        self._shard = shard
        self._name = name
        self._want = want
        self._attempts = 0
        self._refusals = 0
        self._corrupt = 0
        self._sealed = False

    def renew(self, quorum: Quorum) -> Send:
        self._quorum = quorum
        self._corrupt = 0
        self._attempts -= 1
        return self.begin()

    def begin(self) -> Send:
        self._attempts += 1
        self._state = "ask"
        self._rows: dict[int, Versioned] = {}
        self._full = 0
        self._asked = 0
        self._faults: list[Failed] = []
        self._left_out = 0
        messages: list[tuple[int, RowMessage, bytes]] = []
        for member in self._quorum.order:
            if self._quorum.readable[self._asked]:
                break
            messages.append(self._ask(member, Want.VERSION if messages else self._want))
        return Send(messages)

    def _ask(self, member: int, want: int) -> tuple[int, RowMessage, bytes]:
        self._asked |= 1 << member
        if want >= self._want:
            self._full |= 1 << member
        return (member, Read(self._shard, self._name, want), b"")

    def more(self) -> Send | None:
        """Ask one more member in this round, in place of a failed or slow one; None: no one is left."""
        if self._state == "ask":
            for member in self._quorum.order:
                if not self._asked & (1 << member):
                    return Send([self._ask(member, self._want)], extends=True)
        return None

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        if self._state == "confirm":
            return self._on_confirmed(member, answer)
        if self._state == "settle":
            return self._on_settling(self._update.answer(member, answer, payload))
        if type(answer) is not Row:
            return self._on_fault(member, answer)
        self._sealed = self._sealed or answer.sealed
        value = Value(answer.flags, answer.size, answer.head, payload)
        self._rows[member] = Versioned(answer.version, value)
        if self._state == "fetch":
            return self._confirm_if_whole(member)
        return self._decide()

    def _on_fault(self, member: int, answer: RowAnswer) -> Step:
        fault = _fault(answer)
        damaged = fault.fault == Fault.CORRUPT
        if damaged:
            self._corrupt |= 1 << member
        if self._state == "fetch":
            return self._fetch() if damaged else self._again()
        if damaged and self._full & (1 << member) and self._want >= Want.PAYLOAD:
            # It still knows which version it holds, and that counts: one good copy is enough.
            self._full &= ~(1 << member)
            message = Read(self._shard, self._name, Want.VERSION)
            return Send([(member, message, b"")], extends=True)
        self._faults.append(fault)
        return self.more() or self._unless_all_answered()

    def _unless_all_answered(self) -> Undone | None:
        answered = len(self._rows) + len(self._faults) + self._left_out
        waiting = self._asked.bit_count() - answered
        return None if waiting > 0 else Undone(tuple(self._faults))

    def _decide(self) -> Step:
        if not self._quorum.readable[_mask(self._rows)]:
            return self._unless_all_answered()
        best = self._best_version()
        self._clock.saw(best)
        self._clock.saw(best[STAMP_BYTES:])
        agreed = 0
        for member, row in self._rows.items():
            if row.version == best:
                agreed |= 1 << member
        whole = agreed & self._full
        if whole and self._quorum.enough[agreed]:
            return self._found(self._rows[whole.bit_length() - 1])
        return self._fetch()

    def _best_version(self) -> bytes:
        return max(row.version for row in self._rows.values())

    def _fetch(self) -> Step:
        """Get the whole row from a member that holds the highest version, to confirm it."""
        best = self._best_version()
        for member, row in self._rows.items():
            if row.version == best and not self._corrupt & (1 << member):
                self._state = "fetch"
                return Send([(member, Read(self._shard, self._name, Want.PAYLOAD), b"")])
        return self._without_a_good_copy()

    def _without_a_good_copy(self) -> Step:
        """All known copies of the highest version are damaged: is there another?

        Where everyone has answered, and a majority holds older versions, nobody was ever told of it:
        its write did not get through, and the row is what it was before.
        """
        asking, self._state = self._state == "ask", "ask"
        spare = self.more()
        if spare is not None:
            return spare
        if self._unless_all_answered() is None:  # somebody may have it, and just be slow
            return None if asking else self._again()
        best = self._best_version()
        older = {member: row for member, row in self._rows.items() if row.version < best}
        if self._faults or not self._quorum.enough[_mask(older)]:
            return Undone((*self._faults, Failed(Fault.CORRUPT)))
        self._left_out += len(self._rows) - len(older)
        self._rows = older
        return self._decide()

    def _confirm_if_whole(self, member: int) -> Step:
        if self._rows[member].version < self._best_version():
            return self._again()  # it was set aside there meanwhile
        self._best = self._rows[member]
        if self._quorum.joint and self._best.version[STAMP_BYTES:] != ZERO_STAMP:
            return self._settle()
        self._state = "confirm"
        self._tally = _Tally(self._quorum)
        message = confirmation(self._shard, self._name, self._best)
        return Send([(m, message, self._best.value.payload) for m in self._quorum.order])

    def _on_confirmed(self, member: int, answer: RowAnswer) -> Step:
        tally = self._tally
        tally.add(self._clock, member, answer)
        if self._quorum.enough[tally.ok]:
            return self._found(self._best)
        if self._quorum.hopeless[tally.no]:
            return self._refused()
        if self._quorum.hopeless[tally.sealed]:
            return ShardSealed()
        if tally.complete and tally.sealed:
            return ShardSealed()  # with one away there is no majority of any answer
        if tally.complete:
            self._faults = tally.faults
            return self._refused() if tally.no else self._again()
        return None

    def _refused(self) -> Step:
        """Most likely the row is newer by now; a second time the reason may be a promise."""
        self._refusals += 1
        if self._refusals < CONFIRM_REFUSALS_MAX or self._best.version[STAMP_BYTES:] == ZERO_STAMP:
            return self._again()
        return self._settle()

    def _settle(self) -> Send:
        self._state = "settle"
        self._update = Update(self._quorum, self._clock, self._shard, self._name, self._keep)
        return self._update.begin()

    def _keep(self, row: Versioned) -> Value:
        self._best = row
        raise _KeptError

    def _on_settling(self, step: Step) -> Step:
        if isinstance(step, Refused):
            return self._found(self._best)
        return Undone(step.faults) if isinstance(step, Unknown) else step

    def _found(self, row: Versioned) -> Found:
        return Found(row._replace(sealed=self._sealed), self._corrupt)

    def _again(self) -> Step:
        if self._attempts >= READ_ATTEMPTS:
            return Undone(tuple(self._faults))
        return self.begin()._replace(pause=self._attempts > 2)

    def expire(self) -> End:
        return Undone((*self._faults, _SILENCE))


Decide = Callable[[Versioned], Value]
"""Looks at the row as it is and returns the new value, or raises why it must not be written.

A value must be unlike any other write's, so that its writer knows it again: heads of conditional
writes carry a nonce. It may be called more than once, and must be pure.
"""


class Update:
    """A conditional write: single-decree Paxos on top of the last plain write.

    `before`: what it has sent in a shard whose rows have moved on to this one. Where a majority here
    holds the very row that it was made of, nobody has taken it over and nobody will: it did not happen.
    """

    __slots__ = (
        "_attempts", "_ballot", "_base", "_before", "_clock", "_decide", "_name", "_own", "_promises",
        "_quorum", "_refusal", "_sent", "_shard", "_state", "_tally", "_version",
    )  # fmt: skip

    def __init__(
        self,
        quorum: Quorum,
        clock: HybridClock,
        shard: bytes,
        name: bytes,
        decide: Decide,
        before: Sent | None = None,
    ) -> None:
        self._quorum = quorum
        self._clock = clock
        self._shard = shard
        self._name = name
        self._decide = decide
        self._attempts = 0
        self._before = before
        self._base = before.base if before is not None else NO_ROW
        self._sent = before is not None
        self._own: Value | None = before.own if before is not None else None
        self._tally = _Tally(quorum)

    def renew(self, quorum: Quorum) -> Send:
        """A new ballot; what was sent before still may win, and is looked for."""
        self._quorum = quorum
        self._tally = _Tally(quorum)
        self._attempts -= 1
        return self.begin()

    def begin(self) -> Send:
        self._attempts += 1
        self._state = "prepare"
        self._promises: dict[int, Versioned] = {}
        self._refusal: Exception | None = None
        self._tally.clear()
        self._ballot = self._clock.stamp()
        message = Prepare(self._shard, self._name, self._ballot)
        return Send([(m, message, b"") for m in self._quorum.order], pause=self._attempts > 1)

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        if self._state == "accept":
            return self._on_accepted(member, answer)
        if type(answer) is Row:
            value = Value(answer.flags, answer.size, answer.head, payload)
            self._promises[member] = Versioned(answer.version, value)
            return self._on_promised()
        self._tally.add(self._clock, member, answer)
        return self._unless_lost(len(self._promises))

    def _unless_lost(self, others: int) -> Step:
        """What follows from the refusals of a round in which `others` members did not refuse."""
        tally, hopeless = self._tally, self._quorum.hopeless
        if hopeless[tally.sealed]:
            return ShardSealed(sent=Sent(self._own, self._base) if self._own is not None else None)
        if hopeless[tally.no]:
            return self._again()
        answered = (tally.ok | tally.no | tally.sealed).bit_count() + len(tally.faults) + others
        return self._again() if answered >= self._quorum.size else None

    def _again(self) -> Step:
        hopeless = self._tally.faults and not self._tally.no
        if hopeless or self._attempts >= UPDATE_ATTEMPTS:
            return self._failed()
        return self.begin()

    def _on_promised(self) -> Step:
        if not self._quorum.enough[_mask(self._promises)]:
            return self._unless_lost(len(self._promises))
        best = max(self._promises.values(), key=lambda row: row.version)
        self._clock.saw(best.version)
        self._clock.saw(best.version[STAMP_BYTES:])
        if self._sent and best.value == self._own:
            return self._accept(best, best.value)
        if self._sent and not self._never_taken(best):
            return (
                Unknown()
            )  # an accept is out, and only our own value in its place tells how that ended
        try:
            own = self._decide(best)
        except Exception as reason:
            return Unknown() if self._before is not None else self._refuse(best, reason)
        self._own, self._base, self._before, self._sent = own, best, None, True
        return self._accept(best, self._own)

    def _never_taken(self, best: Versioned) -> bool:
        """Whether what was sent elsewhere found no one. Its base may be here under another ballot."""
        if self._before is None:
            return False
        base = self._before.base
        stamps = best.version[:STAMP_BYTES], base.version[:STAMP_BYTES]
        return stamps[0] == stamps[1] and best.value == base.value

    def _refuse(self, best: Versioned, reason: Exception) -> Step:
        """A failed condition is answered only once the version it saw is on a majority."""
        if all(row.version == best.version for row in self._promises.values()):
            return Refused(reason)
        self._refusal = reason
        return self._accept(best, best.value)

    def _accept(self, best: Versioned, value: Value) -> Send:
        self._state = "accept"
        self._tally.clear()
        self._version = best.version[:STAMP_BYTES] + self._ballot
        message = Accept(self._shard, self._name, self._version, value.flags, value.size, value.head)
        return Send([(m, message, value.payload) for m in self._quorum.order])

    def _on_accepted(self, member: int, answer: RowAnswer) -> Step:
        self._tally.add(self._clock, member, answer)
        if self._quorum.enough[self._tally.ok]:
            return Refused(self._refusal) if self._refusal is not None else Stored(self._version)
        return self._unless_lost(0)

    def expire(self) -> End:
        return self._failed(_SILENCE)

    def _failed(self, *silence: Failed) -> End:
        faults = (*self._tally.faults, *silence)
        return Unknown(faults) if self._sent else Undone(faults)


class _KeptRow(Exception):
    """What a decision raises instead of a new value: the row stays as it is."""


def _keep(_row: Versioned) -> Value:
    raise _KeptRow


class Decision(Update):
    """Decides a row anew under a new ballot, as it is; ends as Refused where it is decided.

    Afterwards a majority has the row under a ballot that is as high as their promises, until the next
    conditional write promises more. A row that never was is decided as a tombstone.
    """

    __slots__ = ()

    def __init__(self, quorum: Quorum, clock: HybridClock, shard: bytes, name: bytes) -> None:
        super().__init__(quorum, clock, shard, name, _keep)

    def _refuse(self, best: Versioned, reason: Exception) -> Step:
        self._refusal = reason
        return self._accept(best, best.value if best.version != ZERO_VERSION else tombstone())

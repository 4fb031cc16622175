"""The model of the protocol's client side, for testing replicas without the proxy's code.

Each operation is a generator: it yields a Round to send, or None to wait, and is sent
(member, answer, payload), or None when it expires; it returns its Outcome. Answers may repeat.
"""

from collections.abc import Callable, Generator

from runtime.clock import HybridClock
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    Accept,
    No,
    Ok,
    Prepare,
    Read,
    Row,
    RowAnswer,
    RowMessage,
    Write,
)
from tests.property.register.harness import (
    NAME,
    REPLICAS,
    SHARD,
    Round,
    Step,
    content_of,
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
)

MAJORITY = REPLICAS // 2 + 1
ATTEMPTS = 5

Reply = tuple[int, RowAnswer, bytes] | None
Steps = Generator[Round | None, Reply, Outcome]
Held = tuple[bytes, Content]
"""A version and the content under it."""


class ModelOperation:
    """Drives one generator; an `Operation` of the harness."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def begin(self) -> Step:
        return next(self._steps)

    def answer(self, member: int, answer: RowAnswer, payload: bytes) -> Step:
        return self._send((member, answer, payload))

    def expire(self) -> Outcome:
        step = self._send(None)
        assert step is not None
        assert not isinstance(step, Round)
        return step

    def _send(self, reply: Reply) -> Step:
        try:
            return self._steps.send(reply)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def model_client(asked: Asked, clock: HybridClock) -> ModelOperation:
    """A `Client` of the harness."""
    match asked:
        case Put(content):
            return ModelOperation(_put(content, clock))
        case Get():
            return ModelOperation(_get(clock))
        case Swap(expected, content):
            return ModelOperation(_swap(expected, content, clock))


def _to_all(message: RowMessage, content: Content = None) -> Round:
    return Round([(member, message, content or b"") for member in range(REPLICAS)])


class _Votes:
    """Who said what in a round of Write or Accept."""

    def __init__(self) -> None:
        self.ok: set[int] = set()
        self.no: set[int] = set()
        self.never: set[int] = set()

    def add(self, clock: HybridClock, member: int, answer: RowAnswer) -> None:
        match answer:
            case Ok():
                self.ok.add(member)
            case No(highest, never_held):
                clock.saw(highest)
                self.no.add(member)
                if never_held:
                    self.never.add(member)
            case _:
                raise AssertionError(answer)


def _vote(
    round_: Round, clock: HybridClock, over: "Over"
) -> Generator[Round | None, Reply, _Votes | None]:
    """Send and collect until `over` the votes; None where it expired."""
    votes = _Votes()
    reply = yield round_
    while reply is not None:
        member, answer, _ = reply
        votes.add(clock, member, answer)
        if over(votes):
            return votes
        reply = yield None
    return None


Over = Callable[[_Votes], bool]


def _decided(votes: _Votes) -> bool:
    return len(votes.ok) >= MAJORITY or len(votes.no) >= MAJORITY


def _put_decided(votes: _Votes) -> bool:
    everyone = len(votes.ok | votes.no) == REPLICAS
    return len(votes.ok) >= MAJORITY or len(votes.never) >= MAJORITY or everyone


def _put(content: Content, clock: HybridClock) -> Steps:
    for _ in range(ATTEMPTS):
        message = Write(SHARD, NAME, clock.stamp() + ZERO_STAMP, 0, 0, b"")
        votes = yield from _vote(_to_all(message, content), clock, _put_decided)
        if votes is None:
            return Unknown()
        if len(votes.ok) >= MAJORITY:
            return Done()
        if len(votes.never) < MAJORITY:
            return Unknown()
    return Unknown()


def _rows(round_: Round, clock: HybridClock) -> Generator[Round | None, Reply, dict[int, Held] | None]:
    """A majority's rows, or {} where a majority refused, or None where it expired."""
    rows: dict[int, Held] = {}
    refused: set[int] = set()
    reply = yield round_
    while reply is not None:
        member, answer, payload = reply
        if isinstance(answer, Row):
            rows[member] = (answer.version, content_of(answer, payload))
        else:
            assert isinstance(answer, No)
            clock.saw(answer.highest)
            refused.add(member)
        if len(rows) >= MAJORITY:
            return rows
        if len(refused) >= MAJORITY:
            return {}
        reply = yield None
    return None


def _highest(rows: dict[int, Held], clock: HybridClock) -> Held:
    best = max(rows.values(), key=lambda held: held[0])
    clock.saw(max(best[0][:STAMP_BYTES], best[0][STAMP_BYTES:]))
    return best


def _agree(rows: dict[int, Held]) -> bool:
    return len({version for version, _ in rows.values()}) == 1


def _confirming(version: bytes) -> RowMessage:
    kind = Write if version[STAMP_BYTES:] == ZERO_STAMP else Accept
    return kind(SHARD, NAME, version, 0, 0, b"")


def _get(clock: HybridClock) -> Steps:
    for _ in range(ATTEMPTS):
        rows = yield from _rows(_to_all(Read(SHARD, NAME)), clock)
        if rows is None:
            return Nothing()
        version, content = _highest(rows, clock)
        if _agree(rows):
            return Saw(content)
        votes = yield from _vote(_to_all(_confirming(version), content), clock, _decided)
        if votes is None:
            return Nothing()
        if len(votes.ok) >= MAJORITY:
            return Saw(content)
    return Nothing()


def _swap(expected: Content, content: Content, clock: HybridClock) -> Steps:
    """Once an accept with the own content was sent, an end that does not find it is unknown."""
    sent = False
    for _ in range(ATTEMPTS):
        ballot = clock.stamp()
        rows = yield from _rows(_to_all(Prepare(SHARD, NAME, ballot)), clock)
        if rows is None:
            break
        if not rows:
            continue
        version, found = _highest(rows, clock)
        if sent and found != content:
            return Unknown()
        ours = content in {found} or found == expected
        sent = sent or ours
        if not ours and _agree(rows):
            return Saw(found)
        proposed = content if ours else found
        message = Accept(SHARD, NAME, version[:STAMP_BYTES] + ballot, 0, 0, b"")
        votes = yield from _vote(_to_all(message, proposed), clock, _decided)
        if votes is None:
            break
        if len(votes.ok) >= MAJORITY:
            return Done() if ours else Saw(found)
    return Unknown() if sent else Nothing()

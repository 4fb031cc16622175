"""What clients asked and saw, by key, and the bytes that belong to each name of data."""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.sim.linearizability import (
    FOREVER,
    Held,
    Operation,
    State,
    Undecided,
    linearizable,
    told,
)

HISTORY_SHOWN = 60


class Violation(Exception):
    """The store did what it must not. checker: which one noticed. details: for the report."""

    def __init__(self, checker: str, text: str, details: str = "") -> None:
        super().__init__(f"{checker}: {text}")
        self.checker = checker
        self.text = text
        self.details = details


class Stored(NamedTuple):
    """How data look from outside."""

    size_bytes: int
    digest: bytes


class Bodies:
    """All bodies that were ever sent, found by name or by ETag."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}
        self._by_etag: dict[str, str] = {}

    def make(self, name: str, sizes: Sequence[int]) -> list[bytes]:
        """The parts of a body called `name`; one part for an object that is put whole."""
        rng = random.Random(name)
        parts = [rng.randbytes(size) for size in sizes]
        hashes = [hashlib.md5(part, usedforsecurity=False).digest() for part in parts]
        etag = hashes[0].hex()
        if len(sizes) > 1:
            etag = f"{hashlib.md5(b''.join(hashes), usedforsecurity=False).hexdigest()}-{len(sizes)}"
        self._stored[name] = Stored(sum(sizes), hashlib.blake2b(b"".join(parts)).digest())
        self._by_etag[etag] = name
        return parts

    def named(self, etag: str) -> str:
        """The name of the data with an ETag. Violation where nobody sent any."""
        name = self._by_etag.get(etag)
        if name is None:
            raise Violation("bytes", f"an object has ETag {etag}, which nobody wrote")
        return name

    def etag(self, name: str) -> str:
        """The inverse of `named`, of a body that was put whole."""
        return next(etag for etag, known in self._by_etag.items() if known == name)

    def check(self, name: str, data: bytes) -> None:
        """Violation where these are not the bytes of `name`."""
        if Stored(len(data), hashlib.blake2b(data).digest()) != self._stored[name]:
            raise Violation("bytes", f"{name} was read with wrong bytes ({len(data)} of them)")


class History:
    """Operations by key. A key is (container, object name), or (container, "") for the container."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.bodies = Bodies()
        self._now = now
        self._tick = 0
        self._times: list[float] = []
        self.operations: dict[tuple[str, str], list[Operation]] = {}

    def tick(self) -> int:
        """An instant, unlike all others."""
        self._times.append(self._now())
        self._tick += 1
        return self._tick

    def note(self, key: tuple[str, str], operation: Operation) -> None:
        """Take down an operation that has ended."""
        self.operations.setdefault(key, []).append(operation)

    def read(self, key: tuple[str, str], begin: int, seen: Held, who: str) -> None:
        """Take down a read, or what tells as much."""
        self.note(key, Operation(begin, self.tick(), "read", seen=seen, who=who))

    def ended(self, key: tuple[str, str], asked: Operation, outcome: str, seen: Held = None) -> None:
        """Take down how `asked` ended."""
        end = FOREVER if outcome == "unknown" else self.tick()
        self.note(key, asked._replace(end=end, outcome=outcome, seen=seen))

    def check(self) -> None:
        """Violation where some key's operations fit no order."""
        for key, operations in sorted(self.operations.items()):
            try:
                fits = linearizable(operations)
            except Undecided as error:
                raise Violation("undecided", f"{key}: {error}", self.told(key)) from error
            if not fits:
                first = _shortest_bad(operations)
                raise Violation("linearizability", f"{key}", self.told(key, first))

    def told(self, key: tuple[str, str], operations: list[Operation] | None = None) -> str:
        """A key's history with the times of its instants."""
        shown = operations or self.operations[key]
        lines = told(shown).splitlines()
        began = sorted(operation.begin for operation in shown)
        return "\n".join(
            f"{self._times[begin - 1]:9.3f}s {line}" for begin, line in zip(began, lines, strict=True)
        )


def _shortest_bad(operations: list[Operation]) -> list[Operation]:
    """The history up to the first end at which it fits no order any more."""
    ends = sorted(int(op.end) for op in operations if op.end != FOREVER)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            good = linearizable(_until(operations, ends[middle]))
        except Undecided:
            return operations
        if good:
            low = middle + 1
        else:
            high = middle
    return _until(operations, ends[low])


def _until(operations: list[Operation], instant: int) -> list[Operation]:
    """What was known at an instant: reads that were still under way had told nothing."""
    known = []
    for operation in operations:
        if operation.end <= instant:
            known.append(operation)
        elif operation.begin <= instant and operation.kind != "read":
            known.append(operation._replace(end=FOREVER, outcome="unknown", seen=None))
    return known


def state_of(bodies: Bodies, etag: str, meta: dict[str, str]) -> State:
    """What an object's head tells of it."""
    return State(bodies.named(etag), meta.get("m", ""))

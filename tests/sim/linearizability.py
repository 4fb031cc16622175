"""Is what clients saw of one key explained by one order of their operations?

The search of Wing & Gong (1993) with Lowe's memory of configurations (2017), as Porcupine does it:
depth first over which operation takes effect next, and never twice from the same set of operations left
and the same state. An operation with an unknown outcome may take effect at any time after its begin, or
never. Those are most of the cost, so that the search first leaves out the ones whose value nobody saw;
what can be explained without them can be explained with them.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

FOREVER: Final = float("inf")

CONFIGURATIONS_MAX: Final = 1_000_000
"""The search gives up after so many."""


class State(NamedTuple):
    """What a key holds: the name of its data, and of the metadata set since."""

    data: str
    meta: str = ""


Held = State | None
"""None: there is no object."""


class Operation(NamedTuple):
    """One operation on a key, from `begin` to `end` on the observer's clock.

    kind: read | put | create (if absent) | replace (if it holds `expected`) | delete | take (delete
    what is there, and tell) | post (new metadata). outcome: ok | refused (its condition did not hold) |
    absent (there was nothing) | unknown. seen: what a read or take told. who: for reports.
    """

    begin: int
    end: float
    kind: str
    outcome: str = "ok"
    data: str = ""
    meta: str = ""
    expected: str = ""
    seen: Held = None
    who: str = ""

    @property
    def unknown(self) -> bool:
        """Whether it may have happened, or not."""
        return self.outcome == "unknown"


class Undecided(Exception):
    """The search gave up."""


def after(operation: Operation, held: Held) -> tuple[Held, ...]:
    """What the key may hold after `operation` took its place; empty: not with that outcome."""
    if operation.kind == "read":
        return (held,) if held == operation.seen else ()
    met = _met(operation, held)
    made = _made(operation, held)
    match operation.outcome:
        case "ok":
            return (made,) if met else ()
        case "refused":
            return () if met or held is None else (held,)
        case "absent":
            return (held,) if held is None else ()
    return (made, held) if met else (held,)


def _met(operation: Operation, held: Held) -> bool:
    """Whether the operation's own condition holds."""
    match operation.kind:
        case "put" | "delete":
            return True
        case "create":
            return held is None
        case "replace":
            return held is not None and held.data == operation.expected
        case "take":
            return held is not None and (operation.unknown or held == operation.seen)
        case "post":
            return held is not None
    raise AssertionError(operation.kind)


def _made(operation: Operation, held: Held) -> Held:
    if operation.kind in {"delete", "take"}:
        return None
    if operation.kind == "post":
        return held and State(held.data, operation.meta)
    return State(operation.data, operation.meta)


def linearizable(history: Iterable[Operation]) -> bool:
    """True where some order, true to the operations' times, explains every outcome. Undecided."""
    operations = sorted(history, key=lambda operation: operation.begin)
    met = _Met(operations)
    known = [op for op in operations if not op.unknown]
    open_ended = [met.anonymous(op) for op in operations if op.unknown]
    named = [op for op in open_ended if UNSEEN not in (op.data, op.meta)]
    with_deletes = [op for op in named if op.kind in {"put", "create", "replace", "post"}]
    tried = None
    for some in (with_deletes, named, open_ended):
        if some != tried and _Search(known + some).succeeds():
            return True
        tried = some
    return False


UNSEEN: Final = "?"
"""Data or metadata that nobody met: what is one operation's and what another's makes no difference."""


class _Met:
    """The data and metadata that somebody met."""

    def __init__(self, operations: list[Operation]) -> None:
        seen = [op.seen for op in operations if op.seen is not None]
        self._data = {state.data for state in seen} | {op.expected for op in operations}
        self._meta = {state.meta for state in seen}

    def anonymous(self, unknown: Operation) -> Operation:
        """The operation without the names that nobody met."""
        data = unknown.data if not unknown.data or unknown.data in self._data else UNSEEN
        meta = unknown.meta if not unknown.meta or unknown.meta in self._meta else UNSEEN
        kind = "delete" if unknown.kind == "take" else unknown.kind
        return unknown._replace(kind=kind, data=data, meta=meta, who="")


class _Search:
    """One search. Of unknown operations with the same effect, the earlier one is used first: whatever
    needs the later one can have the earlier one as well."""

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = sorted(operations, key=lambda operation: operation.begin)
        self._bits = [1 << number for number in range(len(operations))]
        self._twin = [0] * len(operations)
        self._known = 0
        latest: dict[Operation, int] = {}
        for number, op in enumerate(self._operations):
            if not op.unknown:
                self._known |= self._bits[number]
                continue
            alike = op._replace(begin=0)
            self._twin[number] = latest.get(alike, 0)
            latest[alike] = self._bits[number]

    def succeeds(self) -> bool:
        """Whether there is such an order. Undecided."""
        seen: set[tuple[int, Held]] = set()
        todo: list[tuple[int, Held]] = [(sum(self._bits), None)]
        while todo:
            left, held = todo.pop()
            if not left & self._known:
                return True
            if (left, held) in seen:
                continue
            seen.add((left, held))
            if len(seen) > CONFIGURATIONS_MAX:
                raise Undecided(f"after {CONFIGURATIONS_MAX} configurations")
            todo += self._next(left, held)
        return False

    def _next(self, left: int, held: Held) -> list[tuple[int, Held]]:
        """The configurations that may follow; those to be tried first come last."""
        certain: list[tuple[int, Held]] = []
        perhaps: list[tuple[int, Held]] = []
        for number in self._able(left):
            rest = left ^ self._bits[number]
            operation = self._operations[number]
            later = after(operation, held)
            if not operation.unknown:
                certain += [(rest, new) for new in later]
            elif not left & self._twin[number]:
                perhaps += [(rest, new) for new in later if new != held]
        return perhaps + certain[::-1]

    def _able(self, left: int) -> list[int]:
        """The operations that may be next: whoever is began before all that are left had ended."""
        first_end = FOREVER
        able: list[int] = []
        lowest = (left & -left).bit_length() - 1
        for number in range(lowest, len(self._operations)):
            operation = self._operations[number]
            if operation.begin > first_end:
                break
            if left & self._bits[number]:
                able.append(number)
                if not operation.unknown:
                    first_end = min(first_end, operation.end)
        return [number for number in able if self._operations[number].begin <= first_end]


def told(history: Iterable[Operation]) -> str:
    """A history for a failure's text, in the order of its beginnings."""
    lines = []
    for op in sorted(history, key=lambda operation: operation.begin):
        end = "   …" if op.end == FOREVER else f"{int(op.end):4d}"
        words = [op.kind, op.data, f"+{op.meta}" if op.meta else ""]
        words += [f"if {op.expected}" if op.expected else ""]
        if op.kind in {"read", "take"}:
            words.append("-> " + ("nothing" if op.seen is None else "+".join(filter(None, op.seen))))
        words.append("" if op.outcome == "ok" else f"({op.outcome})")
        lines.append(f"{op.begin:5d} {end} {op.who:8} " + " ".join(filter(None, words)))
    return "\n".join(lines)

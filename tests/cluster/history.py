"""Is what clients saw of a key explained by one order of its operations? Wing & Gong's search (1993).

An operation is its times and what it makes of a content. One without an answer may have happened, or
happen yet: a replica that holds it may be asked only later. But it took its stamp while somebody was at
work on it, so it never happens after a plain write that began when nobody was any more (`fence`); a
swap keeps the stamp of the write that it saw, and may be followed by it.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

Content = str | None
"""Name of the value that a key holds; None: there is no object."""

ANYTHING: Final = "*"
"""As an expectation: any object, but one."""


FOREVER: Final = float("inf")

ORDERS_MAX: Final = 1_000_000
"""The search gives up after so many states."""


class Operation(NamedTuple):
    """One operation on a key.

    kind: "read": saw `content`. "write": wrote `content`, whatever was there. "swap": wrote `content`
    where the key held `expected`. done: it was acknowledged; else it may have happened.
    refused: of a swap: it found something else. fence: when nobody was at work on it any more.
    """

    begin: float
    end: float
    kind: str
    content: Content
    expected: Content = None
    done: bool = True
    refused: bool = False
    fence: float = FOREVER

    @property
    def unknown(self) -> bool:
        """Whether it may have happened, or not."""
        return not self.done and not self.refused

    def effects(self, before: Content) -> tuple[Content, ...]:
        """What the key may hold after it took its place; empty where it can't have been there."""
        if self.kind == "read":
            return (before,) if before == self.content else ()
        if self.kind == "swap":
            return self._swapped(before)
        return (self.content,) if self.done else (self.content, before)

    def _swapped(self, before: Content) -> tuple[Content, ...]:
        met = before is not None if self.expected == ANYTHING else before == self.expected
        if self.refused:
            return () if met else (before,)
        if not met:
            return () if self.done else (before,)
        return (self.content,) if self.done else (self.content, before)


def explained(history: Iterable[Operation], first: Content = None) -> bool:
    """True where some order, true to the operations' times, explains every answer.

    first: what the key held before. What may have happened is put into the order only where its
    content may be of use to what follows: else the orders would be too many.
    """
    operations = sorted(history, key=lambda operation: operation.begin)
    bits = [1 << number for number in range(len(operations))]
    known = sum(bit for bit, op in zip(bits, operations, strict=True) if not op.unknown)
    superseding = [_mask(operations, operation) for operation in operations]
    wanted = [_wanting(operations, operation.content) for operation in operations]
    seen: set[tuple[int, Content]] = set()
    todo: list[tuple[int, Content]] = [(sum(bits), first)]
    while todo:
        left, content = todo.pop()
        if not left & known:
            return True
        if (left, content) in seen:
            continue
        seen.add((left, content))
        if len(seen) > ORDERS_MAX:
            raise AssertionError(f"undecided after {ORDERS_MAX} states:\n{told(operations)}")
        first_end = min(op.end for bit, op in zip(bits, operations, strict=True) if left & known & bit)
        later: list[tuple[int, Content]] = []
        for bit, op, supersedes, wants in zip(bits, operations, superseding, wanted, strict=True):
            if op.begin > first_end:
                break
            if not left & bit:
                continue
            if not op.unknown:
                later += [(left ^ bit, after) for after in op.effects(content)]
            elif wants & left & ~bit and not supersedes & ~left:
                todo += [(left ^ bit, after) for after in op.effects(content) if after != content]
        todo += reversed(later)  # what surely happened is tried first, in the order of its beginning
    return False


def _wanting(operations: list[Operation], content: Content) -> int:
    """The operations, as bits, that a write of `content` before them may explain."""
    found = 0
    for number, op in enumerate(operations):
        expects = op.content if op.kind == "read" else op.expected
        anything = op.refused or expects == ANYTHING
        if op.kind != "write" and (anything or expects == content):
            found |= 1 << number
    return found


def _mask(operations: list[Operation], unknown: Operation) -> int:
    """The acknowledged plain writes, as bits, after which `unknown` can't happen any more."""
    if not unknown.unknown:
        return 0
    writes = (
        1 << number
        for number, op in enumerate(operations)
        if op.kind == "write" and op.done and op.begin > unknown.fence
    )
    return sum(writes)


def still_open(history: Iterable[Operation], held: Content) -> list[Operation]:
    """The operations that may happen yet, where the key now holds `held`."""
    operations = list(history)
    return [op for op in operations if op.unknown and op.content != held and not _mask(operations, op)]


def told(history: Iterable[Operation]) -> str:
    """A history for a failure's text, in the order of its beginnings."""
    ordered = sorted(history, key=lambda operation: operation.begin)
    start = ordered[0].begin if ordered else 0.0
    return "\n".join(
        f"{op.begin - start:9.4f} {op.end - start:9.4f} {op.kind} {op.content}"
        f"{f' if {op.expected}' if op.kind == 'swap' else ''}"
        f"{' refused' if op.refused else ''}{'' if op.done else ' unknown'}"
        for op in ordered
    )

"""Is a history of one register linearizable? By brute force over all orders (Wing & Gong, 1993).

An operation whose outcome is unknown may have happened at any time after its begin, or never.
"""

from functools import cache
from typing import NamedTuple

Content = bytes | None
"""A register's content; None: no row."""


class Put(NamedTuple):
    """Write unconditionally."""

    content: Content


class Get(NamedTuple):
    """Read."""


class Swap(NamedTuple):
    """Write `content` iff the register holds `expected`."""

    expected: Content
    content: Content


Asked = Put | Get | Swap


class Done(NamedTuple):
    """The write is in place."""


class Saw(NamedTuple):
    """A read's answer, or what a refused Swap found instead of what it expected."""

    content: Content


class Unknown(NamedTuple):
    """It may have happened, or happen yet, or not."""


class Nothing(NamedTuple):
    """It surely did not happen; of a read: no answer."""


Outcome = Done | Saw | Unknown | Nothing


class Event(NamedTuple):
    """One operation of a history, from `begin` to `end` on the observer's clock."""

    begin: int
    end: int
    asked: Asked
    outcome: Outcome


def effects(event: Event, content: Content) -> list[Content]:
    """The register's possible contents after `event` took its place where it held `content`.

    Empty where it can't have taken place there with that outcome.
    """
    asked, outcome = event.asked, event.outcome
    match asked, outcome:
        case Get(), Saw(seen):
            return [content] if seen == content else []
        case Put(new), Done():
            return [new]
        case Put(new), Unknown():
            return [new, content]
        case Swap(expected, new), Done():
            return [new] if content == expected else []
        case Swap(expected, _), Saw(seen):
            return [content] if seen == content != expected else []
        case Swap(expected, new), Unknown():
            return [new, content] if content == expected else [content]
    raise AssertionError(f"{asked} can't end with {outcome}")


def linearizable(history: list[Event]) -> bool:
    """True where some order of the operations, true to their times, explains every outcome."""
    events = [event for event in history if not isinstance(event.outcome, Nothing)]
    open_ended = [isinstance(event.outcome, Unknown) for event in events]
    everyone = frozenset(range(len(events)))

    @cache
    def explain(left: frozenset[int], content: Content) -> bool:
        known = [index for index in left if not open_ended[index]]
        if not known:
            return True
        # Whoever comes next began before every operation that is still to come had ended.
        first_end = min(events[index].end for index in known)
        return any(
            explain(left - {index}, after)
            for index in left
            if events[index].begin <= first_end
            for after in effects(events[index], content)
        )

    return explain(everyone, None)

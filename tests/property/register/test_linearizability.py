"""The checker itself, on histories whose verdict is plain to see."""

import pytest

from tests.property.register.linearizability import (
    Done,
    Event,
    Get,
    Nothing,
    Put,
    Saw,
    Swap,
    Unknown,
    linearizable,
)

A, B = b"a", b"b"

GOOD = {
    "nothing": [],
    "read of nothing": [Event(1, 2, Get(), Saw(None))],
    "write then read": [Event(1, 2, Put(A), Done()), Event(3, 4, Get(), Saw(A))],
    "read during write, old": [Event(1, 4, Put(A), Done()), Event(2, 3, Get(), Saw(None))],
    "read during write, new": [Event(1, 4, Put(A), Done()), Event(2, 3, Get(), Saw(A))],
    "two writes at once": [
        Event(1, 4, Put(A), Done()),
        Event(2, 5, Put(B), Done()),
        Event(6, 7, Get(), Saw(A)),
    ],
    "unknown write seen late": [
        Event(1, 2, Put(A), Unknown()),
        Event(3, 4, Get(), Saw(None)),
        Event(5, 6, Get(), Saw(A)),
    ],
    "unknown write never seen": [Event(1, 2, Put(A), Unknown()), Event(3, 4, Get(), Saw(None))],
    "nothing happened": [Event(1, 2, Swap(None, A), Nothing()), Event(3, 4, Get(), Saw(None))],
    "swap": [Event(1, 2, Swap(None, A), Done()), Event(3, 4, Swap(A, B), Done())],
    "refused swap": [Event(1, 2, Put(A), Done()), Event(3, 4, Swap(B, B), Saw(A))],
}

BAD = {
    "read of what nobody wrote": [Event(1, 2, Get(), Saw(A))],
    "lost write": [Event(1, 2, Put(A), Done()), Event(3, 4, Get(), Saw(None))],
    "new then old": [
        Event(1, 9, Put(A), Done()),
        Event(2, 3, Get(), Saw(A)),
        Event(4, 5, Get(), Saw(None)),
    ],
    "unknown write seen and gone": [
        Event(1, 2, Put(A), Unknown()),
        Event(3, 4, Get(), Saw(A)),
        Event(5, 6, Get(), Saw(None)),
    ],
    "seen before it began": [Event(1, 2, Get(), Saw(A)), Event(3, 4, Put(A), Done())],
    "both swaps won": [Event(1, 4, Swap(None, A), Done()), Event(2, 3, Swap(None, B), Done())],
    "refused although it held": [Event(1, 2, Put(A), Done()), Event(3, 4, Swap(A, B), Saw(A))],
    "it did happen": [Event(1, 2, Swap(None, A), Nothing()), Event(3, 4, Get(), Saw(A))],
    "twice": [
        Event(1, 2, Put(A), Done()),
        Event(3, 4, Put(B), Done()),
        Event(5, 6, Get(), Saw(A)),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_good(history: list[Event]) -> None:
    assert linearizable(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD.keys())
def test_bad(history: list[Event]) -> None:
    assert not linearizable(history)

"""The judge of the tests here is judged first: it must find what it is there to find."""

from tests.cluster.history import ANYTHING, FOREVER, Operation, explained, still_open, told


def write(begin: float, end: float, content: str | None, *, done: bool = True) -> Operation:
    return Operation(begin, end, "write", content, done=done)


def read(begin: float, end: float, content: str | None) -> Operation:
    return Operation(begin, end, "read", content)


def test_what_was_acknowledged_last_is_read() -> None:
    assert explained([write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "b")])
    assert explained([write(0, 1, "a"), write(2, 3, None), read(4, 5, None)])
    assert explained([read(0, 1, "x")], first="x")


def test_a_lost_write_is_found() -> None:
    assert not explained([write(0, 1, "a"), read(2, 3, None)])
    assert not explained([write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a")])
    assert not explained([write(0, 1, "a"), write(2, 3, None), read(4, 5, "a")])
    assert not explained([read(0, 1, None)], first="x")


def test_concurrent_writes_may_end_either_way_but_not_both_ways() -> None:
    both = [write(0, 3, "a"), write(1, 2, "b")]
    assert explained([*both, read(4, 5, "a")])
    assert explained([*both, read(4, 5, "b")])
    assert not explained([*both, read(4, 5, "a"), read(6, 7, "b")])


def test_an_unknown_write_may_have_happened_or_happen_yet() -> None:
    unknown = write(0, FOREVER, "a", done=False)
    for seen in ("a", None):
        assert explained([unknown, read(11, 12, seen)])
    assert explained([unknown, read(1, 2, None), read(3, 4, "a")])
    assert not explained([unknown, read(1, 2, "a"), read(3, 4, None)])
    assert not explained([unknown, read(1, 2, "a"), read(3, 4, None), read(5, 6, "a")])


def test_an_unknown_write_does_not_happen_after_one_that_began_when_it_was_over() -> None:
    unknown = write(0, FOREVER, "a", done=False)._replace(fence=5)
    later = write(6, 7, "b")
    assert explained([unknown, read(8, 9, "a")])
    assert explained([unknown, write(3, 4, "b"), read(8, 9, "a")])
    assert explained([unknown, later, read(8, 9, "b")])
    assert not explained([unknown, later, read(8, 9, "a")])
    assert not explained([unknown, later, read(8, 9, "b"), read(10, 11, "a")])
    swapped = Operation(6, 7, "swap", "b", expected=None)
    assert explained([unknown, swapped, read(8, 9, "b"), read(10, 11, "a")])


def test_what_may_happen_yet_is_carried_on() -> None:
    unknown = write(0, FOREVER, "a", done=False)._replace(fence=5)
    assert still_open([unknown, read(6, 7, None)], None) == [unknown]
    assert still_open([unknown, read(6, 7, "a")], "a") == []
    assert still_open([unknown, write(6, 7, "b")], "b") == []
    assert still_open([unknown, write(3, 4, "b")], "b") == [unknown]


def test_a_swap_needs_what_it_expected() -> None:
    created = Operation(2, 3, "swap", "b", expected=None)
    assert explained([created, read(4, 5, "b")])
    assert not explained([write(0, 1, "a"), created])
    assert explained([write(0, 1, "a"), created._replace(refused=True), read(4, 5, "a")])
    assert not explained([created._replace(refused=True)])
    assert not explained([created, created._replace(content="c")])
    replaced = Operation(2, 3, "swap", "b", expected="a")
    assert explained([write(0, 1, "a"), replaced, read(4, 5, "b")])
    assert not explained([write(0, 1, "c"), replaced])
    unknown = replaced._replace(done=False)
    assert explained([write(0, 1, "a"), unknown, read(4, 5, "b")])
    assert explained([write(0, 1, "a"), unknown, read(4, 5, "a")])
    assert not explained([write(0, 1, "c"), unknown, read(4, 5, "b")])
    anything = Operation(2, 3, "swap", "b", expected=ANYTHING)
    assert explained([write(0, 1, "a"), anything])
    assert not explained([anything])


def test_a_history_can_be_read() -> None:
    assert told([write(5, 6, "a"), read(7, 8, "a")]).splitlines() == [
        "   0.0000    1.0000 write a",
        "   2.0000    3.0000 read a",
    ]

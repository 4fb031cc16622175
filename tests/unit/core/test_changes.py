"""The log of changed names gives up where nobody fetches it."""

from storage.changes import CHANGED_BYTES_MAX, CHANGED_NAMES_MAX, ChangeLog


def test_too_many_names_are_given_up() -> None:
    log = ChangeLog(b"token")
    begin = log.cursor
    for number in range(CHANGED_NAMES_MAX):
        log.note(b"%d" % number)
    assert len(log.since(begin) or ()) == CHANGED_NAMES_MAX
    log.note(b"one more")
    assert log.overflown
    assert log.since(begin) is None


def test_too_long_names_are_given_up() -> None:
    log = ChangeLog(b"token")
    for number in range(CHANGED_BYTES_MAX // 1000 + 2):
        log.note(b"%01000d" % number)
    assert log.overflown


def test_a_log_that_is_fetched_goes_on_for_ever() -> None:
    log = ChangeLog(b"token")
    cursor = log.cursor
    for number in range(3 * CHANGED_NAMES_MAX):
        log.note(b"%d" % number)
        if number % 1000 == 0:
            assert log.since(cursor) is not None
            cursor = log.cursor
    assert not log.overflown


def test_a_name_counts_once() -> None:
    log = ChangeLog(b"token")
    begin = log.cursor
    for _ in range(2 * CHANGED_NAMES_MAX):
        log.note(b"same")
    assert log.since(begin) == [b"same"]

"""A warning that comes up all the time is logged now and then."""

import logging

import pytest

from tests.unit.repair.rows_grid import SetClock
from tools.warning_log import AGAIN_S, REMEMBERED_MAX, WarningLog


def test_the_same_warning_is_not_repeated_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    clock = SetClock()
    warnings = WarningLog(clock)
    with caplog.at_level(logging.WARNING, "atoll"):
        for text in ("a", "a", "b", "a"):
            warnings.say(text)
        clock.seconds += AGAIN_S
        warnings.say("a")
    assert caplog.messages == ["a", "b", "a"]


def test_what_is_remembered_is_bounded() -> None:
    warnings = WarningLog(SetClock())
    for number in range(10 * REMEMBERED_MAX):
        warnings.say(f"problem {number}")
    assert len(warnings._until) <= REMEMBERED_MAX

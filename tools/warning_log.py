"""Warnings about what is tried again and again: each is logged once, and not again for a while."""

import logging
from typing import Final

from runtime.clock import Clock

AGAIN_S: Final = 60.0
"""The same warning is not logged again before this."""

REMEMBERED_MAX: Final = 100
"""Different warnings in that time; of more than these some are logged more often."""

log = logging.getLogger("atoll")


class WarningLog:
    """Logs warnings sparingly."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Log a warning, unless just this one was logged a short while ago."""
        now = self._clock.monotonic()
        if self._until.get(text, now) > now:
            return
        if len(self._until) >= REMEMBERED_MAX:
            self._until.clear()
        self._until[text] = now + AGAIN_S
        log.warning("%s", text)

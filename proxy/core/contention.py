"""Rows that writers of several processes write at once, as far as this process has met them.

A plain write takes one round because its stamp is most likely the newest. Where others write the same
row at the same time it often is not, and what then became of it can't always be told; there it is
better to ask first. `rows.py` notes what it meets here.
"""

from collections import OrderedDict
from typing import Final

from runtime.clock import Clock

CONTENDED_S: Final = 30.0
"""A row is asked about first for this long after it was last contended."""

CONTENDED_ROWS_MAX: Final = 10_000


class Contended:
    """Remembers contended rows for a while; the oldest are forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._until)

    def note(self, shard: bytes, name: bytes) -> None:
        """A write of this row met a newer one."""
        self._until[shard, name] = self._clock.monotonic() + CONTENDED_S
        self._until.move_to_end((shard, name))
        if len(self._until) > CONTENDED_ROWS_MAX:
            self._until.popitem(last=False)

    def has(self, shard: bytes, name: bytes) -> bool:
        """Whether the row was contended lately."""
        until = self._until.get((shard, name))
        if until is None:
            return False
        if until < self._clock.monotonic():
            del self._until[shard, name]
            return False
        return True

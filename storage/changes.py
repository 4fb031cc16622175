"""Which rows of a shard have changed: what a replica remembers for somebody who copies them meanwhile.

In memory only: a replica that has started anew, or forgotten, says so, and the copying begins again.
Kept by the device engine and the in-memory twin alike.
"""

from typing import Final

CHANGED_NAMES_MAX: Final = 10_000
CHANGED_BYTES_MAX: Final = 2 * 1024 * 1024
"""With more names, or bytes of names, than this that nobody has fetched, the log is given up."""

_SEQ_BYTES: Final = 8


class ChangeLog:
    """Names by the number of their last change; token: unlike that of any other log of the shard."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._names: dict[bytes, int] = {}  # in order of their numbers
        self._seq = 0
        self._fetched = 0
        self._bytes = 0
        self.overflown = False

    def note(self, name: bytes) -> None:
        """The row has changed, durably."""
        self._seq += 1
        if self._names.pop(name, None) is None:
            self._bytes += len(name)
        self._names[name] = self._seq
        if len(self._names) > CHANGED_NAMES_MAX or self._bytes > CHANGED_BYTES_MAX:
            self.overflown = True
            self._names = {}
            self._bytes = 0

    @property
    def cursor(self) -> bytes:
        """Where the log ends now."""
        return self._token + self._seq.to_bytes(_SEQ_BYTES, "big")

    def since(self, cursor: bytes) -> list[bytes] | None:
        """Names that changed after `cursor`; None where that is not known. Older ones are forgotten."""
        if cursor[:-_SEQ_BYTES] != self._token or len(cursor) != len(self._token) + _SEQ_BYTES:
            return None
        seq = int.from_bytes(cursor[-_SEQ_BYTES:], "big")
        if seq < self._fetched or self.overflown:
            return None
        self._fetched = seq
        self._names = {name: number for name, number in self._names.items() if number > seq}
        self._bytes = sum(map(len, self._names))
        return list(self._names)

"""How row operations end at their replicas: the counts behind `atoll_quorum_outcomes`.

agreed: the usual way, two of three at once. confirmed: by the whole protocol. refused: a condition did
not hold. sealed: the shard takes no writes. undone: surely nothing happened, for want of a majority.
unknown: nobody can say. epoch_retry: the ring has moved on and the operation goes on in the newer
epoch, where it ends in one of the others. waited: it lacked a majority, and asks again after a moment.
"""

from typing import Final

from proxy.core.register import (
    Decision,
    End,
    Found,
    Machine,
    PlainWrite,
    QuorumRead,
    Refused,
    ShardSealed,
    Stored,
    Undone,
    Unknown,
    Update,
)

_OPERATIONS: Final[dict[type, str]] = {
    QuorumRead: "read",
    PlainWrite: "write",
    Update: "update",
    Decision: "decide",
}
_ENDS: Final[dict[type, str]] = {
    Found: "confirmed",
    Stored: "confirmed",
    Refused: "refused",
    ShardSealed: "sealed",
    Undone: "undone",
    Unknown: "unknown",
}


class Outcomes:
    """Counts of one process. The two common ends are plain attributes, on the way of every request."""

    __slots__ = ("_counts", "reads_agreed", "writes_agreed")

    def __init__(self) -> None:
        self.reads_agreed = 0
        self.writes_agreed = 0
        self._counts: dict[str, int] = {}

    def ended(self, machine: Machine, end: End) -> None:
        """An operation that took the whole protocol has ended."""
        self._count(machine, _ENDS.get(type(end), "unknown"))

    def renewed(self, machine: Machine) -> None:
        """One goes on in a newer epoch."""
        self._count(machine, "epoch_retry")

    def waited(self, machine: Machine) -> None:
        """One asks again, because devices may be coming back."""
        self._count(machine, "waited")

    def _count(self, machine: Machine, outcome: str) -> None:
        key = f"{_OPERATIONS.get(type(machine), 'other')} {outcome}"
        self._counts[key] = self._counts.get(key, 0) + 1

    def counts(self) -> dict[str, int]:
        """By "operation outcome"."""
        agreed = {"read agreed": self.reads_agreed, "write agreed": self.writes_agreed}
        return agreed | self._counts

"""What a workload was told by its device: what every legal state of the disk must bear out.

The workload records it among the disk's events, so a prefix of the events says what was known when the
power was cut.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from storage.types import (
    ZERO_VERSION,
    Accept,
    BlobEntry,
    BlobName,
    Failed,
    Fault,
    GarbageEntry,
    No,
    Ok,
    Prepare,
    Read,
    Row,
    Write,
)

RowKey = tuple[bytes, bytes]


@lru_cache(maxsize=10_000)
def body_of(seed: bytes, size: int) -> bytes:
    """The payload that belongs to a version or a blob, so that a torn or foreign one is seen."""
    return random.Random(seed).randbytes(size)


@dataclass
class Versions:
    """One row. sent: what each version holds, as flags and size; least: it has this one or a newer one.

    refused: sends of a version that were answered FULL, of how many.
    """

    sent: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    least: bytes = ZERO_VERSION
    sends: dict[bytes, int] = field(default_factory=dict)
    refused: dict[bytes, int] = field(default_factory=dict)
    promised: bytes = b""
    late: list[Write] = field(default_factory=list)

    def never_written(self) -> set[bytes]:
        """Versions that were refused for want of room as often as they were sent."""
        return {version for version, times in self.sends.items() if self.refused.get(version) == times}


@dataclass
class Ledger:
    """blobs: what the index may say of each name. hints: those that must be there; gone: those that
    must not."""

    rows: dict[RowKey, Versions] = field(default_factory=dict)
    blobs: dict[BlobName, set[BlobEntry | None]] = field(default_factory=dict)
    hints: dict[int, GarbageEntry] = field(default_factory=dict)
    leaving: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, acknowledged: Iterable[Any]) -> "Ledger":
        """The ledger after what was recorded."""
        ledger = cls()
        for told in acknowledged:
            ledger.tell(told)
        return ledger

    def row(self, message: Any) -> Versions:
        """The row that a message is about."""
        return self.rows.setdefault((message.shard, message.name), Versions())

    def tell(self, told: Any) -> None:
        """Something was sent, or answered."""
        match told:
            case ("sent", Write() | Accept() as message, int(size)):
                row = self.row(message)
                row.sent[message.version] = message.flags, size
                row.sends[message.version] = row.sends.get(message.version, 0) + 1
            case ("sent", _, _):
                pass
            case ("answer", message, answer):
                self._answer(message, answer)
            case ("blob begins", entry):
                self.blobs.setdefault(entry.header.name, {None}).add(entry)
            case ("blob", entry):
                self.blobs[entry.header.name] = {entry}
            case ("no blob", entry):
                self.blobs[entry.header.name].discard(entry)
            case ("removal", name):
                self.blobs[name].add(None)
            case ("removed", name):
                self.blobs[name] = {None}
            case ("hints", hints):
                self.hints |= {hint.seq: hint for hint in hints if hint.seq not in self.leaving}
            case ("forget", seqs):
                self.leaving |= set(seqs)
                for seq in seqs:
                    self.hints.pop(seq, None)
            case ("forgotten", seqs):
                self.gone |= set(seqs)
            case _:
                raise AssertionError(told)

    def _answer(self, message: Any, answer: Any) -> None:
        row = self.row(message)
        match message, answer:
            case (Write() | Accept(), Ok()):
                row.least = max(row.least, message.version)
            case (Read(), Row()):
                row.least = max(row.least, answer.version)
            case (Write() | Accept(), Failed(Fault.FULL)):
                row.refused[message.version] = row.refused.get(message.version, 0) + 1
            case (Prepare(), Row()):
                row.least = max(row.least, answer.version)
                row.promised = max(row.promised, message.ballot)
            case (Write(), No(_, True)):
                row.late.append(message)
            case _:
                pass

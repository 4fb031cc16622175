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
    Drop,
    Failed,
    Fault,
    Forget,
    GarbageEntry,
    Install,
    Installed,
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

    optional: it may also be gone, because a Forget or a Drop is under way or may have been carried out.
    leaving: versions that a Drop under way takes. void: those surely taken away. refused: how often the
    sends of a version were answered FULL.
    """

    sent: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    least: bytes = ZERO_VERSION
    optional: bool = False
    leaving: set[bytes] = field(default_factory=set)
    void: set[bytes] = field(default_factory=set)
    sends: dict[bytes, int] = field(default_factory=dict)
    refused: dict[bytes, int] = field(default_factory=dict)
    promised: bytes = b""
    late: list[Write] = field(default_factory=list)

    def note(self, version: bytes, flags: int, size: int) -> None:
        """A version was sent."""
        self.sent[version] = flags, size
        self.sends[version] = self.sends.get(version, 0) + 1
        self.void.discard(version)

    def holds(self, version: bytes) -> None:
        """It was said to hold this version, or a newer one."""
        if version != ZERO_VERSION:
            self.optional = self.optional and (version <= self.least or version in self.leaving)
            self.least = max(self.least, version)
        elif self.optional:
            self.gone({sent for sent in self.sent if sent <= self.least})

    def leaves(self, *, dropped: bool) -> None:
        """It is perhaps taken away; all of it where its shard is dropped."""
        self.optional, self.promised, self.late = True, b"", []
        self.leaving = set(self.sent) if dropped else set()

    def gone(self, versions: set[bytes]) -> None:
        """It was taken away, these versions with it."""
        self.void |= versions
        self.leaving = set()
        if self.least in self.void:
            self.least, self.optional = ZERO_VERSION, False

    def never_written(self) -> set[bytes]:
        """Versions that were refused for want of room as often as they were sent."""
        return {version for version, times in self.sends.items() if self.refused.get(version) == times}


@dataclass
class Ledger:
    """blobs: what the index may say of each name. hints: those that must be there; gone: those that
    must not."""

    rows: dict[RowKey, Versions] = field(default_factory=dict)
    blobs: dict[BlobName, set[BlobEntry | None]] = field(default_factory=dict)
    drops: dict[bytes, list[Versions]] = field(default_factory=dict)
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
        return self.row_of(message.shard, message.name)

    def row_of(self, shard: bytes, name: bytes) -> Versions:
        """A row."""
        return self.rows.setdefault((shard, name), Versions())

    def _shard(self, key: bytes) -> list[Versions]:
        return [row for (shard, _), row in self.rows.items() if shard == key]

    def tell(self, told: Any) -> None:
        """Something was sent, or answered."""
        match told:
            case ("sent", Write() | Accept() as message, int(size)):
                self.row(message).note(message.version, message.flags, size)
            case ("sent", Install() as message, _):
                for pulled in message.rows:
                    row = self.row_of(message.shard, pulled.name)
                    row.note(pulled.version, pulled.flags, pulled.payload_bytes)
            case ("sent", Forget() as message, _):
                for name, _ in message.rows:
                    self.row_of(message.shard, name).leaves(dropped=False)
            case ("sent", Drop() as message, _):
                rows = self._shard(message.shard)
                self.drops[message.shard] = rows
                for row in rows:
                    row.leaves(dropped=True)
            case ("sent", message, _):
                self.row(message)
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
        match message, answer:
            case (Drop(), Ok()):
                for row in self.drops[message.shard]:
                    row.gone(row.leaving)
            case (Install(), Installed()):
                for pulled in message.rows:
                    if pulled.name not in answer.refused:
                        row = self.row_of(message.shard, pulled.name)
                        row.holds(pulled.version)
                        if not row.optional:
                            row.promised = max(row.promised, pulled.promised)
            case (Forget() | Drop() | Install(), _):
                pass
            case _:
                self._row_answer(message, answer)

    def _row_answer(self, message: Any, answer: Any) -> None:
        row = self.row(message)
        match message, answer:
            case (Write() | Accept(), Ok()):
                row.holds(message.version)
            case (Read(), Row()):
                row.holds(answer.version)
            case (Write() | Accept(), Failed(Fault.FULL)):
                row.refused[message.version] = row.refused.get(message.version, 0) + 1
            case (Prepare(), Row()):
                row.holds(answer.version)
                if not row.optional:
                    row.promised = max(row.promised, message.ballot)
            case (Write(), No(_, True)) if not row.optional:
                row.late.append(message)
            case _:
                pass

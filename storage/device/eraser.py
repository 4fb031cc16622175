"""Takes rows away for good: tombstones that everybody has (Forget), and whole shards (Drop).

Both are one record in the journal (`erasures.py`), durable before anything else happens. Forgotten
rows are gone with it. A dropped shard's rows are void with it, and then removed in slices; until that
is done nothing else happens in the shard, and the shard's item in the index says so, so that the next
start goes on where a crash left it.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Final

from runtime.clock import stamp_ns
from runtime.tasks import TaskOwner
from storage.contract import Deliver
from storage.device.erasures import Erasure, ErasureTable, encode_erasure
from storage.device.held import GONE, Held, remnant
from storage.device.items import Waiter
from storage.device.journal import Journal
from storage.device.payloads import Payloads
from storage.device.record import Kind, Position
from storage.device.register import ERASING, RowTable
from storage.device.shards import Shard
from storage.device.walk import walk_known
from storage.types import (
    SEAL_NAME,
    STAMP_BYTES,
    ZERO_VERSION,
    Clear,
    Drop,
    Failed,
    Fault,
    Forget,
    Ok,
    RowAnswer,
    RowFlag,
)

UNINDEXED_ROWS_MAX: Final = 65_536
"""A drop waits for a checkpoint while the index lacks more rows than this."""

WAIT_S: Final = 0.02

_OK: Final = Ok()


class _Erased:
    """An erasure on its way to the disk. on_durable: shows its effect; on_lost: takes it back."""

    __slots__ = ("_on_durable", "_on_lost", "deadline", "deliver")

    def __init__(
        self,
        on_durable: Callable[[], None],
        on_lost: Callable[[Failed], None],
        deadline: float,
        deliver: Deliver | None,
    ) -> None:
        self._on_durable = on_durable
        self._on_lost = on_lost
        self.deadline = deadline
        self.deliver = deliver

    def apply(self) -> None:
        self._on_durable()

    def answer(self) -> None:
        self._tell(_OK)

    def fail(self, failed: Failed) -> None:
        self._on_lost(failed)
        self._tell(failed)

    def expire(self) -> None:
        self._tell(Failed(Fault.DEADLINE))

    def _tell(self, answer: RowAnswer) -> None:
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            deliver(answer, b"")


class Eraser:
    """Forget and Drop. Belongs to the loop's thread; may raise IndexDamagedError.

    on_failure: told of a removal's error. on_rows: told that a checkpoint may be due.
    """

    def __init__(
        self,
        rows: RowTable,
        erasures: ErasureTable,
        journal: Journal,
        payloads: Payloads,
        on_failure: Callable[[str, BaseException], None],
        on_rows: Callable[[], None],
        rows_per_turn: int,
    ) -> None:
        self._rows = rows
        self._erasures = erasures
        self._journal = journal
        self._payloads = payloads
        self._on_rows = on_rows
        self._rows_per_turn = rows_per_turn
        self._drops: dict[bytes, list[Deliver]] = {}
        self._tasks = TaskOwner("eraser", on_failure)

    async def close(self) -> None:
        """Leave what is being removed to the next start, and say so to who waits."""
        await self._tasks.close()
        for key in list(self._drops):
            self._dropped(key, Failed(Fault.OFFLINE, "closed"))

    def _append(self, shard: bytes, names: list[bytes] | None) -> tuple[Position, int]:
        """Append an erasure; its place and its head's length."""
        head = encode_erasure(Erasure(shard, names))
        segment, offset, _ = self._journal.append(Kind.ERASED, head, b"")
        return Position(segment, offset), len(head)

    # -- forget ------------------------------------------------------------------------------------

    def forget(self, message: Forget, _payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Drop old tombstones and damaged rows, those that still are what the message says."""
        shard = self._rows.shard(message.shard)
        if shard.erasing:
            deliver(ERASING, b"")
            return
        before_ns, olds = message.before_ns, dict[bytes, Held]()
        for name, version in message.rows:
            held = self._rows.newest(shard, name)
            if (
                held is not None
                and name not in shard.pending
                and _forgettable(held, version, before_ns, bad=self._payloads.is_bad(held))
            ):
                olds[name] = held
        self._forget(shard, olds, deadline, deliver)

    def clear(self, message: Clear, _payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Drop rows of a sealed shard, those that still are what the message says."""
        shard = self._rows.shard(message.shard)
        if shard.erasing:
            deliver(ERASING, b"")
            return
        olds = dict[bytes, Held]()
        for name, version in message.rows if shard.sealed and shard.sealing else ():
            held = self._rows.newest(shard, name)
            if held is None or name in shard.pending or name == SEAL_NAME:
                continue
            if held.state.version == version != ZERO_VERSION:
                olds[name] = held
        self._forget(shard, olds, deadline, deliver)

    def _forget(self, shard: Shard, olds: dict[bytes, Held], deadline: float, deliver: Deliver) -> None:
        if not olds:
            self._journal.follow(Waiter(_OK, deadline, deliver))
            return
        place, head_bytes = self._append(shard.key, list(olds))
        shard.pending.update(dict.fromkeys(olds, GONE))
        self._journal.follow(
            _Erased(
                lambda: self._forgotten(shard, olds, place, head_bytes),
                lambda _failed: _take_back(shard, olds),
                deadline,
                deliver,
            )
        )

    def _forgotten(
        self, shard: Shard, olds: dict[bytes, Held], place: Position, head_bytes: int
    ) -> None:
        _take_back(shard, olds)
        for name, held in olds.items():
            self._rows.install(shard, name, held, GONE, None)
        self._erasures.add(place, *place, head_bytes)

    # -- drop --------------------------------------------------------------------------------------

    def drop(self, message: Drop, _payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Remove a shard; the answer comes when it is gone."""
        key = message.shard
        shard = self._rows.shard(key)
        if shard.erasing:
            self._drops.setdefault(key, []).append(deliver)
            return
        if not shard.names and not shard.pending:
            deliver(_OK, b"")
            return
        shard.erasing = True
        self._drops[key] = [deliver]
        place, head_bytes = self._append(key, None)
        self._journal.follow(
            _Erased(
                lambda: self._begin_removal(shard, place, head_bytes),
                partial(self._drop_lost, shard),
                deadline,
                None,
            )
        )

    def _drop_lost(self, shard: Shard, failed: Failed) -> None:
        shard.erasing = False
        self._dropped(shard.key, failed)

    def _dropped(self, key: bytes, answer: RowAnswer) -> None:
        for deliver in self._drops.pop(key, []):
            deliver(answer, b"")

    def _begin_removal(self, shard: Shard, place: Position, head_bytes: int) -> None:
        self._erasures.add(place, *place, head_bytes)
        self._rows.touch(shard)
        self._tasks.spawn("drop", self._remove(shard))

    async def _remove(self, shard: Shard) -> None:
        answer: RowAnswer = Failed(Fault.OFFLINE, "the device stopped answering")
        try:
            start = self.remove_some(shard, b"")
            while start:
                self._on_rows()
                behind = self._rows.dirty_rows > UNINDEXED_ROWS_MAX
                await asyncio.sleep(WAIT_S if behind else 0)
                if not behind:
                    start = self.remove_some(shard, start)
            self._on_rows()
            answer = _OK
        finally:
            self._dropped(shard.key, answer)

    def remove_some(self, shard: Shard, start: bytes) -> bytes:
        """Remove some rows of a shard that is being erased; where to go on, b"" when it is empty."""
        some = list(islice(walk_known(self._rows.index, shard, start), self._rows_per_turn))
        for name, held in some:
            self._rows.install(shard, name, held, GONE, None)
        if len(some) == self._rows_per_turn:
            return some[-1][0] + b"\0"
        shard.erasing = False
        self._rows.touch(shard)
        return b""

    # -- replay ------------------------------------------------------------------------------------

    def replay(self, erasure: Erasure, segment: int, offset: int, head_bytes: int) -> None:
        """Apply an ERASED record that was found at a place."""
        shard = self._rows.shard(erasure.shard)
        origin = erasure.origin(segment, offset)
        for name, held in self._concerned(shard, erasure):
            left = remnant(held, *origin)
            if left is not held:
                self._rows.install(shard, name, held, left, None)
        self._erasures.add(origin, segment, offset, head_bytes)

    def _concerned(self, shard: Shard, erasure: Erasure) -> list[tuple[bytes, Held]]:
        if erasure.names is None:
            return list(walk_known(self._rows.index, shard, b""))
        known = ((name, self._rows.durable(shard, name)) for name in erasure.names)
        return [(name, held) for name, held in known if held is not None]


def _take_back(shard: Shard, olds: dict[bytes, Held]) -> None:
    """The erasure of these rows is not pending any more."""
    for name in olds:
        if shard.pending.get(name) is GONE:
            del shard.pending[name]


def _forgettable(held: Held, version: bytes, before_ns: int, *, bad: bool) -> bool:
    """True for just this version, a tombstone or a row that can't be read, of which all stamps are old.
    Pure. bad: its payload has failed its checksum."""
    stamps = version, version[STAMP_BYTES:], held.state.promised
    return (
        held.state.version == version != ZERO_VERSION
        and (bad or held.flags & RowFlag.TOMBSTONE != 0)
        and max(stamp_ns(stamp) for stamp in stamps) < before_ns
    )

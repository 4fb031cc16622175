"""A device's rows: decides each message against the newest state, queues what must become durable, and
applies it when it is.

Decisions look at pending states, so that messages take effect in the order of their arrival. Reads
never do: a state that a power cut could take back has not been held, and a reader that counted it
towards its majority would report a value that nobody keeps. So a read answers the last durable state,
as if it had come before the write; and an answer that rests on a pending state (a refusal, an Ok for
what is held) waits until that state is durable, because `never_held` promises that it will not be
stored later.
"""

from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from runtime.clock import Clock
from storage import replica
from storage.changes import ChangeLog
from storage.contract import Deliver
from storage.device.catalog import ShardCatalog
from storage.device.garbage import GarbageTable
from storage.device.held import (
    EMPTY,
    GONE,
    Held,
    Replaced,
    decode_value,
    encode_row_head,
)
from storage.device.index_contract import Index, Table
from storage.device.items import Waiter
from storage.device.journal import Journal
from storage.device.page import (
    build_page,
    indexed_rows,
    merged_rows,
    name_range,
    prefix_end,
    recent_rows,
)
from storage.device.record import Kind, Position
from storage.device.shards import SHARDS_MAX, Shard
from storage.device.usage import SegmentUsage
from storage.replica import RowState, Verdict
from storage.types import (
    SEAL_NAME,
    ZERO_VERSION,
    Accept,
    Changed,
    Changes,
    Count,
    Counts,
    Failed,
    Fault,
    No,
    Ok,
    Page,
    Prepare,
    PulledRow,
    Read,
    Row,
    RowAnswer,
    RowFlag,
    Scan,
    Sealed,
    Want,
    Write,
)

_OK: Final = Ok()
_SEALED: Final = Sealed()

ERASING: Final = Failed(Fault.OFFLINE, "the shard is being removed from this device")
"""The answer to all that is asked of a shard while a Drop removes it."""


class PayloadReader(Protocol):
    """Reads payloads for answers."""

    def deliver(self, row: Row, held: Held, deliver: Deliver) -> None:
        """Deliver `row` with its payload, verified, or Failed(CORRUPT)."""

    def is_bad(self, held: Held) -> bool:
        """True for a payload that failed its checksum."""


class Room(Protocol):
    """Knows whether the disk takes more."""

    def refusal(self, *, confirms: bool = False) -> Failed | None:
        """Failed(FULL) where only what frees room is taken, else None.

        confirms: of a confirmation, which is taken a little longer: reads depend on it.
        """


class RowItem:
    """A row's new state on its way to the disk."""

    __slots__ = ("_new", "_old", "_replaced", "_rows", "deadline", "deliver", "name", "shard")

    def __init__(
        self,
        rows: "RowTable",
        shard: Shard,
        name: bytes,
        old: Held | None,
        new: Held,
        replaced: Replaced | None,
        deadline: float,
        deliver: Deliver | None,
    ) -> None:
        self._rows = rows
        self.shard = shard
        self.name = name
        self._old = old
        self._new = new
        self._replaced = replaced
        self.deadline = deadline
        self.deliver = deliver

    def apply(self) -> None:
        shard, name, new = self.shard, self.name, self._new
        pending = shard.pending
        if pending.get(name) is new:
            del pending[name]
        self._rows.install(shard, name, self._old, new, self._replaced)

    def answer(self) -> None:
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            deliver(_OK, b"")

    def fail(self, failed: Failed) -> None:
        shard, name = self.shard, self.name
        if shard.pending.get(name) is self._new:
            del shard.pending[name]
        if name == SEAL_NAME:
            shard.sealing = shard.sealed
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            deliver(failed, b"")

    def expire(self) -> None:
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            deliver(Failed(Fault.DEADLINE), b"")


class PromiseItem(RowItem):
    """A promise on its way to the disk; its answer is the row."""

    __slots__ = ()

    def answer(self) -> None:
        deliver, self.deliver = self.deliver, None
        if deliver is not None:
            self._rows.deliver_row(self.shard, self._new, Want.PAYLOAD, deliver)


class RowTable:
    """All rows of a device. Belongs to the loop's thread; may raise IndexDamagedError."""

    def __init__(
        self,
        index: Index,
        journal: Journal,
        clock: Clock,
        room: Room,
        payloads: PayloadReader,
        usage: SegmentUsage,
        garbage: GarbageTable,
    ) -> None:
        self.index = index
        self._journal = journal
        self._clock = clock
        self._room = room
        self._payloads = payloads
        self._usage = usage
        self._garbage = garbage
        self._shards: dict[bytes, Shard] = {}
        self._dirty: list[Shard] = []
        self.dirty_rows = 0
        self.catalog = ShardCatalog()

    # -- messages ------------------------------------------------------------------------------

    def read(self, message: Read, _payload: bytes, _deadline: float, deliver: Deliver) -> None:
        """Answer the last durable state."""
        shard = self._shards.get(message.shard) or self._load(message.shard)
        if shard.erasing:
            deliver(ERASING, b"")
            return
        held = self._certain(shard, message.name)
        if held is None:
            deliver(Row(ZERO_VERSION, 0, 0, b"", shard.sealed), b"")
        else:
            self.deliver_row(shard, held, message.want, deliver)

    def write(self, message: Write, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Decide a plain write; see storage.replica.on_write."""
        self._store(message, payload, deadline, deliver, replica.on_write)

    def accept(self, message: Accept, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Decide an accept; see storage.replica.on_accept."""
        self._store(message, payload, deadline, deliver, replica.on_accept)

    def _store(
        self,
        message: Write | Accept,
        payload: bytes,
        deadline: float,
        deliver: Deliver,
        decide: Callable[[RowState, bytes], Verdict],
    ) -> None:
        shard = self._shards.get(message.shard) or self._load(message.shard)
        if shard.erasing:
            deliver(ERASING, b"")
            return
        name = message.name
        old = shard.pending.get(name) or self._durable(shard, name)
        state, answer = decide(EMPTY if old is None else old.state, message.version)
        if state is None and type(answer) is Ok and not self._heals(old, message, payload):
            self._answer(shard, name, answer, deadline, deliver)
        elif shard.sealing and name != SEAL_NAME:
            self._answer(shard, SEAL_NAME, _SEALED, deadline, deliver)
        elif type(answer) is No:
            self._answer(shard, name, answer, deadline, deliver)
        elif (refused := self._refusal(message.flags)) is not None:
            deliver(refused, b"")
        else:
            self._put(shard, name, old, state or _state(old), message, payload, deadline, deliver)

    def _refusal(self, flags: int) -> Failed | None:
        if flags & RowFlag.TOMBSTONE:
            return None
        return self._room.refusal(confirms=flags & RowFlag.CONFIRMS != 0)

    def _heals(self, old: Held | None, message: Write | Accept | PulledRow, payload: bytes) -> bool:
        """True where the held copy of just this version is bad, and here is a good one."""
        return (
            old is not None
            and old.state.version == message.version
            and self._payloads.is_bad(old)
            and len(payload) == old.length
        )

    def _put(
        self,
        shard: Shard,
        name: bytes,
        old: Held | None,
        state: RowState,
        message: Write | Accept | PulledRow,
        payload: bytes,
        deadline: float,
        deliver: Deliver | None,
    ) -> None:
        flags, size, head = message.flags & ~RowFlag.CONFIRMS, message.size, message.head
        replaced = None
        owned = old is not None and old.flags & RowFlag.BLOBS and not flags & RowFlag.TAKEN_OVER
        if old is not None and owned and old.state.version != state.version:
            replaced = Replaced(self._clock.now_ns(), old.segment, old.offset, old.length, old.checksum)
        record = encode_row_head(shard.prefix + name, state, flags, size, head, replaced)
        segment, offset, checksum = self._journal.append(Kind.ROW, record, payload)
        new = Held(state, flags, size, head, segment, offset, len(payload), checksum)
        shard.pending[name] = new
        if name == SEAL_NAME:
            shard.sealing = new.live
        self._journal.follow(RowItem(self, shard, name, old, new, replaced, deadline, deliver))

    def prepare(self, message: Prepare, _payload: bytes, deadline: float, deliver: Deliver) -> None:
        """Decide a promise; it is taken even where the disk is full, because a delete may need it."""
        shard = self._shards.get(message.shard) or self._load(message.shard)
        name = message.name
        if shard.erasing:
            deliver(ERASING, b"")
            return
        if shard.sealing and name != SEAL_NAME:
            self._answer(shard, SEAL_NAME, _SEALED, deadline, deliver)
            return
        old = shard.pending.get(name) or self._certain(shard, name)
        state, answer = replica.on_prepare(_state(old), message.ballot)
        if state is None:
            assert answer is not None
            self._answer(shard, name, answer, deadline, deliver)
            return
        new = self._put_state(shard, name, old, state)
        self._journal.follow(PromiseItem(self, shard, name, old, new, None, deadline, deliver))

    def _put_state(self, shard: Shard, name: bytes, old: Held | None, state: RowState) -> Held:
        """Append a new state of a row whose value stays."""
        base = old or GONE
        record = encode_row_head(shard.prefix + name, state, base.flags, base.size, base.head, None)
        segment, offset, _ = self._journal.append(Kind.PROMISE, record, b"")
        new = shard.pending[name] = promised(base, state, segment, offset)
        return new

    def take_over(self, shard: Shard, row: PulledRow, payload: bytes) -> bool:
        """Take over what other replicas know of a row; see storage.replica.on_install.

        False where its version must be decided anew first. A seal keeps nothing out.
        """
        name = row.name
        old = shard.pending.get(name) or self._durable(shard, name)
        known = _state(old)
        incoming = RowState(row.version, row.promised, tuple(row.earlier))
        sealed = shard.sealing and name != SEAL_NAME
        state, taken = replica.on_install(known, incoming, sealed=sealed)
        if (taken and row.version > known.version) or self._heals(old, row, payload):
            self._put(shard, name, old, state or known, row, payload, inf, None)
        elif state is not None:
            new = self._put_state(shard, name, old, state)
            self._journal.follow(RowItem(self, shard, name, old, new, None, inf, None))
        return taken

    def scan(self, message: Scan, _payload: bytes, _deadline: float, deliver: Deliver) -> None:
        """Answer a page of durable rows."""
        shard = self._shards.get(message.shard) or self._load(message.shard)
        deliver(ERASING if shard.erasing else self._page(shard, message), b"")

    def _page(self, shard: Shard, message: Scan) -> Page:
        start, end = name_range(message)
        if end and end <= start:
            return build_page((), message, shard.sealed)
        prefix = shard.prefix
        items = self.index.scan(Table.ROWS, prefix + start, prefix + end if end else prefix_end(prefix))
        rows = merged_rows(indexed_rows(len(prefix), items), recent_rows(shard, start, end))
        return build_page(rows, message, shard.sealed)

    def count(self, message: Count, _payload: bytes, _deadline: float, deliver: Deliver) -> None:
        """Answer a shard's counts."""
        shard = self._shards.get(message.shard) or self._load(message.shard)
        counts = Counts(shard.rows, shard.size_bytes, shard.sealed)
        deliver(ERASING if shard.erasing else counts, b"")

    def changed(self, message: Changed, _payload: bytes, _deadline: float, deliver: Deliver) -> None:
        """Tell which rows have changed durably."""
        shard = self._shards.get(message.shard) or self._load(message.shard)
        if shard.erasing:
            deliver(ERASING, b"")
            return
        log = shard.changes
        names = log.since(message.since) if log is not None else None
        if log is None or log.overflown:
            log = shard.changes = ChangeLog(self._clock.now_ns().to_bytes(8, "big"))
        held = ((name, self._durable(shard, name)) for name in names or ())
        rows = [(name, row.state.version if row is not None else ZERO_VERSION) for name, row in held]
        deliver(Changes(rows, log.cursor, names is not None, shard.sealed), b"")

    def deliver_row(self, shard: Shard, held: Held, want: int, deliver: Deliver) -> None:
        """Answer a row, with as much of it as is wanted."""
        head = held.head if want else b""
        row = Row(held.state.version, held.flags, held.size, head, shard.sealed)
        if want >= Want.PAYLOAD and held.length:
            self._payloads.deliver(row, held, deliver)
        else:
            deliver(row, b"")

    def _answer(
        self, shard: Shard, name: bytes, answer: RowAnswer, deadline: float, deliver: Deliver
    ) -> None:
        """Answer now, or, where the answer rests on a pending state of `name`, once it is durable."""
        if name in shard.pending:
            self._journal.follow(Waiter(answer, deadline, deliver))
        else:
            deliver(answer, b"")

    # -- states --------------------------------------------------------------------------------

    def _load(self, key: bytes) -> Shard:
        """A shard that is not in memory."""
        shard = self._shards[key] = self._read(key)
        return shard

    def _read(self, key: bytes) -> Shard:
        shard = Shard(key)
        if (guarded := self.index.get(Table.SHARDS, shard.prefix)) is not None:
            shard.restore(guarded)
        seal = self._indexed(shard, SEAL_NAME)
        shard.sealed = shard.sealing = seal is not None and seal.live
        return shard

    def look(self, key: bytes) -> Shard:
        """A shard to look at, which memory need not keep."""
        return self._shards.get(key) or self._read(key)

    def shard(self, key: bytes) -> Shard:
        """A shard, from memory or the index."""
        return self._shards.get(key) or self._load(key)

    def _certain(self, shard: Shard, name: bytes) -> Held | None:
        """The durable state; where there seems to be none, the index is looked at closely.

        A key that was damaged is not found. A plain write goes ahead without this look: it costs two
        microseconds, and a row that was lost is what a write makes good.
        """
        held = self._durable(shard, name)
        if held is None:
            for key, value in self.index.neighbours(Table.ROWS, shard.prefix + name):
                decode_value(key, value)
        return held

    def _durable(self, shard: Shard, name: bytes) -> Held | None:
        held = shard.recent(name)
        if held is None:
            return self._indexed(shard, name)
        return None if held is GONE else held

    def _indexed(self, shard: Shard, name: bytes) -> Held | None:
        key = shard.prefix + name
        value = self.index.get(Table.ROWS, key)
        return None if value is None else decode_value(key, value)

    def newest(self, shard: Shard, name: bytes) -> Held | None:
        """The newest state of a row, durable or not."""
        return shard.pending.get(name) or self._durable(shard, name)

    def durable(self, shard: Shard, name: bytes) -> Held | None:
        """The durable state of a row."""
        return self._durable(shard, name)

    def install(
        self, shard: Shard, name: bytes, old: Held | None, new: Held, replaced: Replaced | None
    ) -> None:
        """`new` is durable: it takes the place of `old`, the state before it. Either may be GONE."""
        shard.active.by_name[name] = new
        self.touch(shard)
        if name == SEAL_NAME:
            shard.sealed = new.live
            if SEAL_NAME not in shard.pending:
                shard.sealing = shard.sealed
        shard.count(name, old, new)
        self._usage.replace(len(shard.prefix) + len(name), old, new)
        if shard.changes is not None:
            shard.changes.note(name)
        if replaced is not None:
            assert old is not None
            seq = Position(new.segment, new.offset).seq
            self._garbage.add(seq, shard.prefix + name, old.state.version, replaced)

    def touch(self, shard: Shard) -> None:
        """Something of a shard changed: the next checkpoint writes it."""
        self.dirty_rows += 1
        if not shard.dirty:
            shard.dirty = True
            self._dirty.append(shard)

    def noted(self) -> ShardCatalog:
        """The catalog, with all that is durable."""
        for shard in self._dirty:
            self.catalog.note(shard)
        return self.catalog

    def move(self, shard: Shard, name: bytes, held: Held, payload: bytes) -> None:
        """Write a row's newest state again at the journal's end. payload: its own, verified."""
        key = shard.prefix + name
        record = encode_row_head(key, held.state, held.flags, held.size, held.head, None)
        segment, offset, checksum = self._journal.append(Kind.ROW, record, payload)
        new = Held(
            held.state, held.flags, held.size, held.head, segment, offset, len(payload), checksum
        )
        shard.pending[name] = new
        self._journal.follow(RowItem(self, shard, name, held, new, None, inf, None))

    def move_promise(self, shard: Shard, name: bytes, held: Held) -> None:
        """Write a row's promise again at the journal's end."""
        key = shard.prefix + name
        record = encode_row_head(key, held.state, held.flags, held.size, held.head, None)
        segment, offset, _ = self._journal.append(Kind.PROMISE, record, b"")
        new = promised(held, held.state, segment, offset)
        shard.pending[name] = new
        self._journal.follow(RowItem(self, shard, name, held, new, None, inf, None))

    # -- checkpoints ---------------------------------------------------------------------------

    def freeze(self) -> list[Shard]:
        """All rows that the index lacks go on their way; the shards that have some, in key order."""
        shards, self._dirty, self.dirty_rows = self._dirty, [], 0
        for shard in shards:
            self.catalog.note(shard)
            shard.freeze()
        return sorted(shards, key=lambda shard: shard.prefix)

    def thaw(self, shards: list[Shard]) -> list[dict[bytes, Held]]:
        """The index has what `freeze` gave. Returns the rows that nobody looks at any more."""
        spent = [shard.frozen.by_name for shard in shards if shard.frozen is not None]
        for shard in shards:
            shard.frozen = None
        if len(self._shards) > SHARDS_MAX:
            self._shards = {k: shard for k, shard in self._shards.items() if not shard.forgettable}
        return spent


def promised(base: Held, state: RowState, segment: int, offset: int) -> Held:
    """`base` with the promise that a promise record at (segment, offset) holds."""
    return Held(
        state,
        base.flags,
        base.size,
        base.head,
        base.segment,
        base.offset,
        base.length,
        base.checksum,
        segment,
        offset,
    )


def _state(held: Held | None) -> RowState:
    return EMPTY if held is None else held.state

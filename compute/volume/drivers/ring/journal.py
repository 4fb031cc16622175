"""A volume's journal: slots that are put in a strict order, each where nothing is.

*Acknowledged is durable*: a record counts as written when its slot and all before it are in the store.
Many records that come at once share a slot, and a few slots are under way at a time.

*One writer*: who takes a volume over puts a seal into the first free slot of the last epoch, and begins
the next one. The store lets only one of two put a slot, so the earlier writer's next slot fails, and it
knows that its writes count no more; what it had put beyond the seal was never acknowledged, and is not
read. Nothing depends on clocks or on anyone being told.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from compute.objects.contract import ObjectStore
from compute.objects.errors import Exists, NoSuchObject, StoreAway
from compute.volume.drivers.errors import Fenced
from compute.volume.drivers.ring import names
from compute.volume.drivers.ring.names import Position
from compute.volume.drivers.ring.records import (
    VERSION,
    Begin,
    Record,
    Seal,
    Slot,
    Write,
    encoded,
    slot_of,
)

SLOT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Data in one slot, unless a single record has more."""
SLOTS_UNDER_WAY: Final = 4
SLOT_BYTES_SOON: Final = 1024 * 1024
"""While a slot is under way, the next one waits for as much: what comes meanwhile shares it."""
GATHER_S: Final = 0.001
"""How long a slot is waited with for clients who were just answered: they are likely to write on."""
PUT_TRIES: Final = 60
"""Times that a slot is put, each with the own tries of the client: for over a minute."""
READS_AT_ONCE: Final = 8
LEAPS: Final = (0, 4, 16, 64, 256, 1024, 4096)
DELETES_AT_ONCE: Final = 8


class Entry(NamedTuple):
    """A slot's records and where it is."""

    position: Position
    records: Sequence[Record]


class Journal:
    """The writing end.

    applied: called with each slot's records, in order, when they are durable. failed: called once.
    """

    def __init__(
        self,
        objects: ObjectStore,
        container: str,
        volume_id: str,
        writer: str,
        begin: Position,
        applied: Callable[[Entry], None],
        failed: Callable[[], None],
    ) -> None:
        self._objects = objects
        self._container = container
        self._volume_id = volume_id
        self._writer = writer
        self._applied = applied
        self._on_failed = failed
        self._next = begin
        self._waiting: deque[tuple[Record, asyncio.Future[Position]]] = deque()
        self._waiting_bytes = 0
        self._expected = 0
        self._soon: asyncio.Handle | None = None
        self._under_way = 0
        self._last: asyncio.Task[None] | None = None
        self.failed: Exception | None = None
        self.durable = Position(begin.epoch, begin.slot - 1)
        """The newest slot that counts."""

    async def append(self, record: Record) -> Position:
        """Returns when the record is durable. Raises Fenced, StoreAway: and then always."""
        if self.failed is not None:
            raise self.failed
        future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, future))
        self._waiting_bytes += _bytes(record)
        self._begin_soon()
        return await asyncio.shield(future)

    async def idle(self) -> None:
        """Returns when all that was appended is durable or has failed."""
        while self._soon is not None or (self._last is not None and not self._last.done()):
            if self._soon is not None or self._last is None:
                await asyncio.sleep(GATHER_S)
            else:
                await asyncio.wait([self._last])

    def _begin_soon(self) -> None:
        """In the loop's next turn; or when those are back who were answered last, if they are quick."""
        loop = asyncio.get_running_loop()
        if self._under_way == 0 and len(self._waiting) < self._expected:
            if self._soon is None:
                self._soon = loop.call_later(GATHER_S, self._begin_slots)
            return
        if self._soon is not None:
            self._soon.cancel()
        self._soon = loop.call_soon(self._begin_slots)

    def _begin_slots(self) -> None:
        self._soon, self._expected = None, 0
        while self._waiting and self._is_time() and self.failed is None:
            batch, size = [], 0
            while self._waiting and size < SLOT_BYTES_MAX:
                record, future = self._waiting.popleft()
                size += _bytes(record)
                batch.append((record, future))
            self._waiting_bytes -= size
            position, self._next = self._next, self._next.next
            self._under_way += 1
            self._last = asyncio.ensure_future(self._write(position, batch, self._last))

    def _is_time(self) -> bool:
        if self._under_way == 0:
            return True
        return self._under_way < SLOTS_UNDER_WAY and self._waiting_bytes >= SLOT_BYTES_SOON

    async def _write(
        self,
        position: Position,
        batch: list[tuple[Record, asyncio.Future[Position]]],
        before: asyncio.Task[None] | None,
    ) -> None:
        records = [record for record, _ in batch]
        error: Exception | None = None
        try:
            await self._put(position, records)
        except asyncio.CancelledError:  # what follows must not count without this slot
            self._fail(StoreAway(f"writing volume {self._volume_id} was broken off"))
            for _, future in batch:
                _settle(future, position, self.failed)
            raise
        except Exception as failure:
            error = failure
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._under_way -= 1
        error = self.failed or error
        if error is None:
            self.durable = position
            self._applied(Entry(position, records))
        else:
            self._fail(error)
        for _, future in batch:
            _settle(future, position, error)
        self._expected = len(batch) + len(self._waiting)
        self._begin_soon()

    def _fail(self, error: Exception) -> None:
        """From now on nothing is written: what is under way may not count."""
        if self.failed is not None:
            return
        self.failed = error
        self._on_failed()
        while self._waiting:
            _settle(self._waiting.popleft()[1], self.durable, error)

    async def _put(self, position: Position, records: list[Record]) -> None:
        raw = encoded(Slot(VERSION, self._writer, records))
        name = names.journal(self._volume_id, position)
        for number in range(PUT_TRIES):
            try:
                await self._objects.put(self._container, name, raw, if_none_match=True)
                return
            except Exists as error:
                if number and await self._is_ours(name, raw):
                    return
                raise Fenced(f"volume {self._volume_id} was taken over") from error
            except StoreAway:
                if number == PUT_TRIES - 1:
                    raise

    async def _is_ours(self, name: str, raw: bytes) -> bool:
        """Whether an earlier try, of which no answer came, has put the slot after all."""
        try:
            return await self._objects.get(self._container, name) == raw
        except NoSuchObject:
            return False  # sealed, folded and deleted by whoever took over

    async def forget(self, positions: Sequence[Position]) -> None:
        """Delete slots that all is folded of."""
        gate = asyncio.Semaphore(DELETES_AT_ONCE)

        async def delete(position: Position) -> None:
            async with gate:
                await self._objects.delete(self._container, names.journal(self._volume_id, position))

        await asyncio.gather(*map(delete, positions))


def _bytes(record: Record) -> int:
    return len(record.data) if isinstance(record, Write) else 0


def _settle(future: asyncio.Future[Position], position: Position, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(position)
    else:
        future.set_exception(error)
        future.exception()  # whoever waited may have gone: then nobody asks


# -- reading ------------------------------------------------------------------------------------------


class Read(NamedTuple):
    """What a journal says. end: the first free slot of its last epoch."""

    entries: list[Entry]
    end: Position


async def read(
    objects: ObjectStore, container: str, volume_id: str, listed: Sequence[str], folded: Position
) -> Read:
    """The slots after `folded`, of those that were listed. Raises NoSuchObject: folded meanwhile."""
    there = {names.position_of(name) for name in listed}
    entries: list[Entry] = []
    at = folded.next
    while True:
        run = []
        while at in there:
            run.append(at)
            at = at.next
        found, sealed_at = await _slots(objects, container, volume_id, run)
        entries += found
        if sealed_at is None:
            return Read(entries, at)
        at = Position(sealed_at.epoch + 1, 0)


async def _slots(
    objects: ObjectStore, container: str, volume_id: str, run: list[Position]
) -> tuple[list[Entry], Position | None]:
    """The entries of a run, up to a seal; where the seal is."""
    gate = asyncio.Semaphore(READS_AT_ONCE)

    async def one(position: Position) -> Entry:
        async with gate:
            raw = await objects.get(container, names.journal(volume_id, position))
        return Entry(position, slot_of(raw).records)

    entries = await asyncio.gather(*map(one, run))
    for number, entry in enumerate(entries):
        if any(isinstance(record, Seal) for record in entry.records):
            return entries[: number + 1], entry.position
    return list(entries), None


class Taken(NamedTuple):
    """sealed: where the last epoch ends, at or after what was read. first: our first slot."""

    sealed: Position
    first: Position


async def take_over(
    objects: ObjectStore, container: str, volume_id: str, writer: str, end: Position
) -> Taken | None:
    """Seal the last epoch, whose first free slot was `end`, and begin the next. None: lost a race.

    A writer that goes on meanwhile may be at every slot before us. So a seal is put farther and farther
    ahead until one is put where it has not been; it can't pass that, and the first slot that it has not
    reached is sealed then.
    """

    async def put(position: Position, record: Record) -> bool:
        raw = encoded(Slot(VERSION, writer, [record]))
        try:
            await objects.put(container, names.journal(volume_id, position), raw, if_none_match=True)
        except Exists:
            return False
        return True

    sealed = None
    for leap in LEAPS:
        if await put(Position(end.epoch, end.slot + leap), Seal()):
            sealed = Position(end.epoch, end.slot + leap)
            break
    if sealed is None:
        return None
    for slot in range(end.slot, sealed.slot):
        if await put(Position(end.epoch, slot), Seal()):
            sealed = Position(end.epoch, slot)
            break
    begin = Position(end.epoch + 1, 0)
    return Taken(sealed, begin.next) if await put(begin, Begin()) else None


async def read_between(
    objects: ObjectStore, container: str, volume_id: str, start: Position, end: Position
) -> list[Entry]:
    """The slots of an epoch from `start` up to before `end`, which are all there."""
    run = [Position(start.epoch, slot) for slot in range(start.slot, end.slot)]
    found, _ = await _slots(objects, container, volume_id, run)
    return found

"""A volume's journal where answers are lost."""

import asyncio

import pytest

from compute.objects.contract import Data, Stored
from compute.objects.errors import StoreAway
from compute.objects.memory import MemoryStore
from compute.volume.drivers.errors import Fenced
from compute.volume.drivers.ring import names
from compute.volume.drivers.ring.journal import Entry, Journal
from compute.volume.drivers.ring.names import Position
from compute.volume.drivers.ring.records import Seal, Slot, Write, encoded

BEGIN = Position(1, 1)


class Losing(MemoryStore):
    """So many answers to a PUT are lost: what was asked for is done."""

    def __init__(self, lost: int) -> None:
        super().__init__()
        self.lost = lost

    async def put(self, container: str, name: str, data: Data, **more: object) -> Stored:
        stored = await super().put(container, name, data, **more)  # type: ignore[arg-type]
        if self.lost:
            self.lost -= 1
            raise StoreAway("the answer was lost")
        return stored


def journal_on(store: MemoryStore, applied: list[Entry]) -> Journal:
    return Journal(store, "c", "v", "writer", BEGIN, applied.append, lambda: None)


async def test_a_slot_whose_answer_was_lost_is_ours() -> None:
    store, applied = Losing(1), list[Entry]()
    await store.make_container("c")
    journal = journal_on(store, applied)
    assert await journal.append(Write(0, b"one")) == BEGIN
    assert await journal.append(Write(3, b"two")) == BEGIN.next
    assert [entry.position for entry in applied] == [BEGIN, BEGIN.next]


async def test_a_seal_of_another_writer_is_not() -> None:
    store, applied = Losing(0), list[Entry]()
    await store.make_container("c")
    seal = encoded(Slot(1, "other", [Seal()]))
    await store.put("c", names.journal("v", BEGIN), seal)
    store.lost = 1

    class Away(Losing):
        """The first try does not come through at all."""

        tries = 0

        async def put(self, container: str, name: str, data: Data, **more: object) -> Stored:
            self.tries += 1
            if self.tries == 1:
                raise StoreAway("away")
            return await store.put(container, name, data, **more)

    away = Away(0)
    away.containers = store.containers
    journal = journal_on(away, applied)
    with pytest.raises(Fenced):
        await journal.append(Write(0, b"one"))
    assert not applied


async def test_writes_that_come_together_share_a_slot() -> None:
    store, applied = Losing(0), list[Entry]()
    await store.make_container("c")
    journal = journal_on(store, applied)
    for _ in range(3):
        await asyncio.gather(*(journal.append(Write(at, b"x")) for at in range(16)))
    assert [len(entry.records) for entry in applied] == [16, 16, 16]

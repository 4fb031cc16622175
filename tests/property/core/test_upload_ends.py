"""Uploads whose end is cut off after any message, raced or disturbed: nothing lost, nothing left."""

import asyncio
import itertools
import os
from collections.abc import Awaitable
from typing import Any

import pytest

from proxy.core.errors import (
    ContainerNotEmpty,
    InvalidPart,
    NoSuchObject,
    NoSuchUpload,
    PreconditionFailed,
    StoreError,
    Unavailable,
)
from proxy.core.shards import part_name, parts_shard
from proxy.core.store import CoreStore
from proxy.core.types import (
    NO_CONDITIONS,
    CompletedPart,
    Conditions,
    Container,
    ListQuery,
    ObjectAttributes,
    ObjectInfo,
)
from proxy.core.upload_ends import REOPEN_AFTER_S
from storage.faults import Arrive
from storage.types import Page, RowAnswer, RowMessage, Write
from tests.grid import BytesBody, whole
from tests.property.core.world import World, run

PLAIN = ObjectAttributes("text/plain")
ABSENT = Conditions(if_none_match=("*",))
LARGE = 100_000
DATA = [os.urandom(LARGE), os.urandom(2_000), os.urandom(10)]
Message = RowMessage | RowAnswer


async def outcome(work: Awaitable[object]) -> Any:
    """Its value, or the error that it raised."""
    try:
        return await work
    except StoreError as error:
        return error


async def content(store: CoreStore, container: Container, name: str) -> bytes | None:
    try:
        opened = await store.open_object(container, name)
    except NoSuchObject:
        return None
    try:
        return await whole(opened.stream(0, opened.info.head.size_bytes))
    finally:
        opened.close()


class Scene:
    """A world with an upload of three parts, one of them in blobs."""

    def __init__(self, seed: int = 0, *, delay_max_s: float = 0.001) -> None:
        self.world = World(seed, delay_max_s=delay_max_s)
        self.first, self.second = self.world.proxy(), self.world.proxy()

    async def begin(self) -> "Scene":
        self.container = await self.first.create_container("a", "c")
        self.id = (await self.first.create_upload(self.container, "o", PLAIN)).id
        self.parts = []
        for number, data in enumerate(DATA, 1):
            head = await self.first.put_part(self.container, "o", self.id, number, BytesBody(data))
            self.parts.append(CompletedPart(number, head.etag))
        return self

    async def complete(self, store: CoreStore, conditions: Conditions = NO_CONDITIONS) -> ObjectInfo:
        return await store.complete_upload(
            self.container, "o", self.id, self.parts, conditions=conditions
        )

    def cut_after(self, messages: int) -> None:
        """The first proxy's messages are lost after so many more, as if it were killed."""
        left = itertools.count(messages, -1)

        def lose(_device_id: int, _message: Message, _arrive: Arrive) -> bool:
            return next(left) <= 0

        self.world.links[0].script = lose

    async def collect(self) -> None:
        """Rounds of all collectors, without any grace, until nothing changes."""
        self.world.links[0].script = None
        await self.world.idle()
        before: set[bytes] = set()
        while (now := await self.world.blob_ids()) != before:
            before = now
            await self.world.collector(self.second).round()

    async def rows_of_parts(self) -> list[int]:
        shard = parts_shard(self.id)
        found = []
        for number in range(1, 5):
            row = await self.second.rows.read(shard, part_name(number))
            found += [number] if row.live else []
        return found


@pytest.mark.parametrize("conditions", [NO_CONDITIONS, ABSENT], ids=["plain", "conditional"])
@pytest.mark.parametrize("then", ["complete", "abort"])
def test_a_completion_cut_off_after_any_message_can_be_ended(then: str, conditions: Conditions) -> None:
    async def scene(messages: int) -> bool:
        one = await Scene(messages).begin()
        one.cut_after(messages)
        ended = await outcome(one.complete(one.first, conditions))
        whole_object = b"".join(DATA)
        uncut = isinstance(ended, ObjectInfo)
        for wait_s in (0, REOPEN_AFTER_S):
            await asyncio.sleep(wait_s)
            if then == "complete":
                again = await outcome(one.complete(one.second, conditions))
            else:
                again = await outcome(one.second.abort_upload(one.container, "o", one.id))
            if not isinstance(again, Unavailable):
                break
            assert conditions is not NO_CONDITIONS
        shown = await content(one.second, one.container, "o")
        if then == "complete":
            assert isinstance(again, ObjectInfo)
            assert shown == whole_object
        else:
            assert again is None or isinstance(again, NoSuchUpload)
            assert shown == (whole_object if again is not None else None)
            assert not (uncut and again is None)
        await one.collect()
        assert (await one.second.list_uploads(one.container, ListQuery(), "")).entries == []
        assert len(await one.world.blob_ids()) == (1 if shown else 0)
        assert await content(one.second, one.container, "o") == shown
        if shown is None or not uncut:
            assert await one.rows_of_parts() == []
        return uncut

    step = 1 if conditions is NO_CONDITIONS else 2
    for messages in itertools.count(0, step):
        if run(scene(messages)) and messages > 80:
            break


@pytest.mark.parametrize("conditions", [NO_CONDITIONS, ABSENT], ids=["plain", "conditional"])
def test_two_requests_to_complete_both_succeed(conditions: Conditions) -> None:
    async def scene(seed: int) -> None:
        one = await Scene(seed, delay_max_s=0.002).begin()

        async def second() -> Any:
            await asyncio.sleep(seed * 0.0005)
            return await outcome(one.complete(one.second, conditions))

        ended = await asyncio.gather(outcome(one.complete(one.first, conditions)), second())
        assert all(isinstance(end, ObjectInfo) for end in ended), ended
        assert await content(one.first, one.container, "o") == b"".join(DATA)
        await one.collect()
        assert len(await one.world.blob_ids()) == 1

    for seed in range(40):
        run(scene(seed))


def test_complete_against_abort_ends_in_one_of_both() -> None:
    async def scene(seed: int) -> str:
        one = await Scene(seed).begin()

        async def abort() -> Any:
            await asyncio.sleep(seed * 0.0005)
            return await outcome(one.second.abort_upload(one.container, "o", one.id))

        completed, aborted = await asyncio.gather(outcome(one.complete(one.first)), abort())
        await one.collect()
        shown = await content(one.second, one.container, "o")
        if isinstance(completed, ObjectInfo):
            assert shown == b"".join(DATA)
            assert isinstance(aborted, NoSuchUpload)
        else:
            assert isinstance(completed, NoSuchUpload | InvalidPart), completed
            assert aborted is None
            assert shown is None
        assert len(await one.world.blob_ids()) == (1 if shown else 0)
        assert await one.rows_of_parts() == []
        return type(completed).__name__

    assert len({run(scene(seed)) for seed in range(40)}) > 1


def test_parts_replaced_while_they_are_completed_and_collected() -> None:
    """The collector never takes what a completion has chosen; the part that came too late goes."""

    async def scene(seed: int) -> None:
        one = await Scene(seed, delay_max_s=0.004).begin()
        done = asyncio.Event()

        async def replace() -> Any:
            await asyncio.sleep(seed * 0.0007)
            body = BytesBody(os.urandom(LARGE))
            return await outcome(one.second.put_part(one.container, "o", one.id, 1, body))

        async def collect() -> None:
            collector = one.world.collector(one.world.proxy())
            while not done.is_set():
                await collector.round()
                await asyncio.sleep(0.001)

        collecting = asyncio.ensure_future(collect())
        completed, _ = await asyncio.gather(outcome(one.complete(one.first)), replace())
        done.set()
        await collecting
        shown = await content(one.second, one.container, "o")
        if isinstance(completed, ObjectInfo):
            assert shown == b"".join(DATA)
        else:
            assert isinstance(completed, InvalidPart), completed
            assert shown is None
            await one.second.abort_upload(one.container, "o", one.id)
        await one.collect()
        assert await content(one.second, one.container, "o") == shown
        assert len(await one.world.blob_ids()) == (1 if shown else 0)

    for seed in range(60):
        run(scene(seed))


def test_a_part_against_an_abort_leaves_nothing() -> None:
    async def scene(seed: int) -> None:
        one = await Scene(seed).begin()

        async def abort() -> None:
            await asyncio.sleep(seed * 0.0004)
            await one.first.abort_upload(one.container, "o", one.id)

        body = BytesBody(os.urandom(LARGE))
        put, _ = await asyncio.gather(
            outcome(one.second.put_part(one.container, "o", one.id, 4, body)), abort()
        )
        assert not isinstance(put, Unavailable)
        await one.collect()
        assert await one.world.blob_ids() == set()
        assert await one.rows_of_parts() == []

    for seed in range(40):
        run(scene(seed))


def test_a_refused_condition_leaves_the_upload_as_it_was() -> None:
    async def scene() -> None:
        one = await Scene().begin()
        await one.first.put_object(one.container, "o", BytesBody(b"there"), PLAIN)
        assert isinstance(await outcome(one.complete(one.second, ABSENT)), PreconditionFailed)
        assert await content(one.first, one.container, "o") == b"there"
        await one.first.delete_object(one.container, "o")
        await one.complete(one.second, ABSENT)
        assert await content(one.first, one.container, "o") == b"".join(DATA)

    run(scene())


def test_a_refused_deletion_of_the_container_does_not_disturb_uploads() -> None:
    async def scene(seed: int) -> None:
        one = await Scene(seed).begin()
        await one.first.put_object(one.container, "keeps it", BytesBody(b"x"), PLAIN)

        async def delete() -> Any:
            await asyncio.sleep(seed * 0.0005)
            return await outcome(one.second.delete_container(one.container))

        async def work() -> ObjectInfo:
            body = BytesBody(DATA[0])
            await one.first.put_part(one.container, "o", one.id, 1, body)
            assert len((await one.first.list_uploads(one.container, ListQuery(), "")).entries) == 1
            parts = await one.first.list_parts(one.container, "o", one.id, 0, 10)
            assert len(parts.parts) == 3
            return await one.complete(one.first)

        completed, deleted = await asyncio.gather(outcome(work()), delete())
        assert isinstance(deleted, ContainerNotEmpty), deleted
        assert isinstance(completed, ObjectInfo | Unavailable), completed
        await one.complete(one.first)
        assert await content(one.first, one.container, "o") == b"".join(DATA)

    for seed in range(40):
        run(scene(seed))


def test_an_upload_goes_with_its_container_even_for_those_who_remember_that() -> None:
    async def scene(again: bool) -> None:
        one = await Scene().begin()
        stale = await one.second.container("a", "c")
        await one.first.delete_container(one.container)
        if again:
            await one.first.create_container("a", "c")
        for work in (
            one.second.put_part(stale, "o", one.id, 4, BytesBody(b"x")),
            one.second.upload(stale, "o", one.id),
            one.second.list_parts(stale, "o", one.id, 0, 10),
            one.complete(one.second),
            one.second.abort_upload(stale, "o", one.id),
        ):
            ended = await outcome(work)
            assert type(ended).__name__ in ("NoSuchUpload", "NoSuchContainer"), ended
        if again:
            assert (await one.second.list_uploads(stale, ListQuery(), "")).entries == []
        await one.collect()
        assert await one.world.blob_ids() == set()

    run(scene(again=False))
    run(scene(again=True))


def test_those_who_remember_an_earlier_container_find_the_uploads_of_the_present_one() -> None:
    async def scene() -> None:
        one = Scene()
        old = await one.first.create_container("a", "c")
        await one.second.container("a", "c")
        await one.first.delete_container(old)
        await one.begin()
        stale = await one.second.container("a", "c")
        assert stale.head.id == old.head.id
        head = await one.second.put_part(stale, "o", one.id, 3, BytesBody(DATA[2]))
        one.parts[2] = CompletedPart(3, head.etag)
        assert len((await one.second.list_parts(stale, "o", one.id, 0, 10)).parts) == 3
        one.container = stale
        await one.complete(one.second)
        await one.collect()
        assert await content(one.first, stale, "o") == b"".join(DATA)

    run(scene())


def test_a_completion_is_not_robbed_between_two_looks_of_the_collector() -> None:
    """The object takes its blobs over while the collector asks one row after the other."""

    async def scene(seed: int) -> None:
        one = await Scene(seed).begin()
        body = BytesBody(os.urandom(LARGE))
        head = await one.first.put_part(one.container, "o", one.id, 1, body)
        one.parts[0] = CompletedPart(1, head.etag)
        slow = one.world.proxy()
        one.world.links[-1].delay_max_s = 0.02

        async def complete() -> Any:
            await asyncio.sleep(seed * 0.002)
            return await outcome(one.complete(one.first))

        collecting = one.world.collector(slow).round()
        completed, _ = await asyncio.gather(complete(), collecting)
        assert isinstance(completed, ObjectInfo)
        assert await content(one.first, one.container, "o") is not None
        assert len(await one.world.blob_ids()) >= 1

    for seed in range(60):
        run(scene(seed))


def test_a_late_page_of_parts_does_not_hold_up_a_completion() -> None:
    async def scene() -> None:
        one = await Scene().begin()
        silent = one.world.row_devices(parts_shard(one.id))[0]

        def lose(device_id: int, message: Message, _arrive: Arrive) -> bool:
            return device_id == silent and type(message) is Page

        one.world.links[0].script = lose
        begun = asyncio.get_running_loop().time()
        await one.complete(one.first)
        assert asyncio.get_running_loop().time() - begun < 1.0

    run(scene())


def test_what_names_no_upload_is_not_found_and_markers_beyond_all_parts_show_none() -> None:
    async def scene() -> None:
        one = await Scene().begin()
        for upload_id in ("", "x", "0" * 5000, "\udcff", "../" * 16, one.id + "\n"):
            for work in (
                one.first.upload(one.container, "o", upload_id),
                one.first.put_part(one.container, "o", upload_id, 1, BytesBody(b"x")),
                one.first.abort_upload(one.container, "o", upload_id),
                one.first.complete_upload(one.container, "o", upload_id, one.parts),
            ):
                assert isinstance(await outcome(work), NoSuchUpload)
        for after in (10_000, 2**32, 10**30):
            page = await one.first.list_parts(one.container, "o", one.id, after, 10)
            assert (page.parts, page.truncated) == ([], False)
        assert len((await one.first.list_parts(one.container, "o", one.id, -5, 10)).parts) == 3

    run(scene())


def test_a_delimiter_is_not_looked_for_in_upload_ids() -> None:
    async def scene() -> None:
        one = await Scene().begin()
        for delimiter in "0123456789abcdef\0":
            page = await one.first.list_uploads(one.container, ListQuery(delimiter=delimiter), "")
            (entry,) = page.entries
            assert not isinstance(entry, str)
            assert entry.head.id == one.id

    run(scene())


def test_a_lost_answer_of_the_write_does_not_make_a_completion_happen_twice() -> None:
    """Others write between the completion and its repetition: what they wrote stays."""

    async def scene(writes: int) -> None:
        one = await Scene().begin()

        def lose(_device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Write and message.name == b"o":
                arrive()  # it is stored, but no answer comes any more
                one.cut_after(0)
                return True
            return False

        one.world.links[0].script = lose
        assert isinstance(await outcome(one.complete(one.first)), Unavailable)
        one.world.links[0].script = None
        seen = await content(one.second, one.container, "o")
        for number in range(writes):
            await one.second.put_object(one.container, "o", BytesBody(b"%d" % number), PLAIN)
        again = await outcome(one.complete(one.second))
        assert isinstance(again, ObjectInfo)
        shown = await content(one.second, one.container, "o")
        if seen is not None and writes:
            assert shown == b"%d" % (writes - 1)
        one_of_them.append(seen)

    one_of_them: list[bytes | None] = []
    for writes in (0, 1, 3, 10):
        run(scene(writes))
    assert any(one_of_them)

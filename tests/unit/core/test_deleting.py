"""Deleting a container against everything else at once: no acknowledged object goes with it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.core.errors import (
    BucketNameTaken,
    ContainerNotEmpty,
    NoSuchContainer,
    StoreError,
    Unavailable,
)
from proxy.core.seals import Superseded
from proxy.core.shards import bucket_name_shard, containers_shard
from proxy.core.store import CoreStore
from proxy.core.types import Container, ListQuery, ObjectAttributes, ObjectInfo
from storage.contract import Deliver, RowDevice
from storage.faults import Arrive, FaultyDevice
from storage.types import (
    SEAL_NAME,
    Accept,
    Failed,
    Fault,
    Page,
    Prepare,
    RowAnswer,
    RowMessage,
    Scan,
    Write,
)
from tests.grid import BytesBody
from tests.property.core.world import START_NS, World, run

PLAIN = ObjectAttributes("text/plain")
Message = RowMessage | RowAnswer


async def outcome(work: Awaitable[object]) -> StoreError | None:
    """What `work` raised; None where it went well."""
    try:
        await work
    except StoreError as error:
        return error
    return None


def shard_of(container: Container, name: str) -> bytes:
    return container.head.layout.shard_of(name.encode())


@pytest.mark.parametrize("page_late_s", [0.05, 60.0])
def test_a_replica_that_missed_the_seal_does_not_say_that_the_container_is_empty(
    page_late_s: float,
) -> None:
    """The first replica lacks the row, the second both row and seal, and the third is slow to say."""

    async def scene() -> None:
        world = World()
        writer, deleter = world.proxy(), world.proxy()
        container = await writer.create_container("a", "c")
        stale = await deleter.container("a", "c")
        shard = shard_of(container, "o")
        _, second, third = world.row_devices(shard)
        late: list[Arrive] = []

        def writing(device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Write and message.shard == shard and device_id != third:
                late.extend([arrive] if device_id == second else [])
                return True
            return False

        def sealing(device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Page and device_id == third:
                asyncio.get_running_loop().call_later(page_late_s, arrive)
                return True
            to_seal = type(message) in (Prepare, Accept) and getattr(message, "name", b"-") == SEAL_NAME
            return to_seal and device_id == second

        world.links[0].script, world.links[1].script = writing, sealing
        put = asyncio.ensure_future(outcome(writer.put_object(container, "o", BytesBody(b"x"), PLAIN)))
        await asyncio.sleep(0.1)
        deleting = asyncio.ensure_future(outcome(deleter.delete_container(stale)))
        await asyncio.sleep(1.0)
        for arrive in late:
            arrive()
        assert (await put) is None
        deleted = await deleting
        assert isinstance(deleted, ContainerNotEmpty if page_late_s < 1 else Unavailable)
        assert (await deleter.head_object(stale, "o")).head.size_bytes == 1

    run(scene())


def test_an_older_deletion_does_not_lift_the_seals_of_a_newer_one() -> None:
    """They disagree whether the container is empty: for one of them its object has expired."""

    async def scene() -> None:
        world = World()
        slow, fast, writer = world.proxy(), world.proxy(ahead_s=55.0), world.proxy()
        container = await writer.create_container("a", "c")
        soon = ObjectAttributes("text/plain", delete_at_s=START_NS // 10**9 + 50)
        await writer.put_object(container, "expires", BytesBody(b"x"), soon)
        seals: list[Arrive] = []
        burials: list[Arrive] = []
        scanned: list[Message] = []

        def hold_seals(_device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Prepare and message.name == SEAL_NAME:
                seals.append(arrive)
                return True
            return False

        def hold_burial(_device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Scan:
                scanned.append(message)
            if scanned and type(message) is Prepare and message.shard == containers_shard("a"):
                burials.append(arrive)
                return True
            return False

        world.links[0].script, world.links[1].script = hold_seals, hold_burial
        first = asyncio.ensure_future(outcome(slow.delete_container(container)))
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(outcome(fast.delete_container(container)))
        await asyncio.sleep(0.1)
        world.links[0].script = None
        for arrive in seals:
            arrive()
        await asyncio.sleep(0.1)
        put = asyncio.ensure_future(outcome(writer.put_object(container, "x", BytesBody(b"x"), PLAIN)))
        await asyncio.sleep(0.1)
        world.links[1].script = None
        for arrive in burials:
            arrive()
        ended = await asyncio.gather(first, second, put)
        written = ended[2] is None
        assert not (written and None in ended[:2]), ended
        if written:
            assert (await writer.head_object(container, "x")).head.size_bytes == 1

    run(scene())


def test_a_write_that_met_a_seal_happens_once() -> None:
    """It reached one replica before the seal; when it is tried again others must not see it twice."""

    async def scene() -> None:
        world = World()
        writer, deleter, other = world.proxy(), world.proxy(), world.proxy()
        container = await writer.create_container("a", "c")
        await writer.put_object(container, "keeps it", BytesBody(b"x"), PLAIN)
        shard = shard_of(container, "o")
        first, _, _ = world.row_devices(shard)
        held: list[tuple[int, Arrive]] = []
        versions: list[bytes] = []
        unseal: list[Arrive] = []

        def writing(device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Write and message.name == b"o":
                versions.append(message.version)
                if len(held) < 2 and device_id != first:
                    held.append((device_id, arrive))
                    return True
            return False

        def unsealing(_device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Accept and message.name == SEAL_NAME and message.flags & 1 and unseal:
                unseal.append(arrive)
                return True
            return False

        world.links[0].script = writing
        world.links[1].script = unsealing
        unseal.append(lambda: None)  # hold what lifts the seals
        put = asyncio.ensure_future(outcome(writer.put_object(container, "o", BytesBody(b"1"), PLAIN)))
        await asyncio.sleep(0.1)
        deleting = asyncio.ensure_future(outcome(deleter.delete_container(container)))
        await asyncio.sleep(0.1)
        for _, arrive in held:
            arrive()  # both are refused: sealed
        await asyncio.sleep(0.1)
        lifts, unseal[:] = unseal[1:], []
        for arrive in lifts:
            arrive()
        assert isinstance(await deleting, ContainerNotEmpty)
        await other.head_object(container, "o")
        assert (await put) is None
        assert len(set(versions)) == 1

    run(scene())


def test_a_listing_waits_for_a_deletion_that_fails() -> None:
    """A row that one replica has can't be confirmed under a seal: the listing comes again."""

    async def scene() -> None:
        world = World()
        writer, deleter, lister = world.proxy(), world.proxy(), world.proxy()
        container = await writer.create_container("a", "c")
        seen = await lister.container("a", "c")
        await writer.put_object(container, "keeps it", BytesBody(b"x"), PLAIN)
        shard = shard_of(container, "o")
        _, second, third = world.row_devices(shard)
        for device_id in (second, third):
            world.wires[0][device_id].cut()
        with pytest.raises(Unavailable):
            await writer.put_object(container, "o", BytesBody(b"1"), PLAIN)
        reopening: list[Arrive] = []

        def hold(_device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Accept and message.name == SEAL_NAME and message.flags & 1:
                reopening.append(arrive)
                return True
            return False

        world.links[1].script = hold
        deleting = asyncio.ensure_future(outcome(deleter.delete_container(container)))
        await asyncio.sleep(0.5)
        listing = asyncio.ensure_future(lister.list_objects(seen, ListQuery()))
        await asyncio.sleep(0.5)
        world.links[1].script = None
        for arrive in reopening:
            arrive()
        assert isinstance(await deleting, ContainerNotEmpty)
        names = [e.name for e in (await listing).entries if isinstance(e, ObjectInfo)]
        assert names == ["keeps it", "o"]

    run(scene())


def test_those_who_find_a_deletion_half_way_finish_it_and_do_not_stop_each_other() -> None:
    """They come faster than one deletion takes."""

    async def scene() -> None:
        world = World(delay_max_s=0.02)
        stores = [world.proxy() for _ in range(4)]
        container = await stores[0].create_container("a", "c")

        def sealing(_device_id: int, message: Message, _arrive: Arrive) -> bool:
            return type(message) is Prepare and message.name == SEAL_NAME

        world.links[0].script = sealing
        with pytest.raises(Unavailable):
            await stores[0].delete_container(container)

        async def ask(number: int) -> StoreError | None:
            await asyncio.sleep(number * 0.01)
            return await outcome(stores[1 + number % 3].container("a", "c", fresh=True))

        begun = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*map(ask, range(300)))
        assert {type(error) for error in outcomes} == {NoSuchContainer}
        assert asyncio.get_running_loop().time() - begun < 4.0

    run(scene())


def test_two_deletions_at_once_end_like_one_after_the_other() -> None:
    async def scene(delay_s: float) -> None:
        world = World()
        one, two = world.proxy(), world.proxy()
        container = await one.create_container("a", "c")

        async def second() -> StoreError | None:
            await asyncio.sleep(delay_s)
            return await outcome(two.delete_container(container))

        ended = await asyncio.gather(outcome(one.delete_container(container)), second())
        assert ended.count(None) == 1
        # Unavailable: its first step was replaced by the other's before it knew that it had happened.
        assert {type(error) for error in ended} <= {type(None), NoSuchContainer, Unavailable}

    for step in range(12):
        run(scene(step * 0.0007))


async def begin_deleting(
    world: World, container: Container, deleter: CoreStore
) -> tuple[asyncio.Task[StoreError | None], Callable[[], None]]:
    """A deletion through the first proxy of `world` whose seals are held up, and what lets them go."""
    late: list[Arrive] = []

    def sealing(_device_id: int, message: Message, arrive: Arrive) -> bool:
        if type(message) is Prepare and message.name == SEAL_NAME:
            late.append(arrive)
            return True
        return False

    def let_go() -> None:
        world.links[0].script = None
        for arrive in late:
            arrive()

    world.links[0].script = sealing
    deleting = asyncio.ensure_future(outcome(deleter.delete_container(container)))
    await asyncio.sleep(0.1)
    return deleting, let_go


@pytest.mark.parametrize(("anew", "gone_again"), [(False, False), (True, False), (True, True)])
def test_a_deletion_that_others_carried_on_deletes_nothing_else(anew: bool, gone_again: bool) -> None:
    """Its messages are held up until the container is gone, and perhaps another one has its name, or
    had it: who is told that nothing was there would take it that this deletion changed nothing."""

    async def scene() -> None:
        world = World()
        deleter, other = world.proxy(), world.proxy()
        container = await deleter.create_container("a", "c")
        deleting, let_go = await begin_deleting(world, container, deleter)
        with pytest.raises(NoSuchContainer):
            await other.container("a", "c", fresh=True)
        if anew:
            second = await other.create_container("a", "c")
            if gone_again:
                await other.delete_container(second)
        let_go()
        assert type(await deleting) is (Unavailable if anew else type(None))
        if anew and not gone_again:
            await other.container("a", "c", fresh=True)

    run(scene())


def test_a_deletion_is_told_that_it_happened_where_the_row_was_changed_meanwhile() -> None:
    """What workers note in the row of a container stops its deletion; it is begun again as the same."""

    async def scene() -> None:
        world = World()
        deleter, other = world.proxy(), world.proxy()
        container = await deleter.create_container("a", "c")
        deleting, let_go = await begin_deleting(world, container, deleter)
        await other._containers.wants_repolicy(container)
        let_go()
        assert await deleting is None
        with pytest.raises(NoSuchContainer):
            await other.container("a", "c", fresh=True)

    run(scene())


def test_who_looks_at_a_container_half_deleted_on_full_devices_is_not_told_that_they_are_full() -> None:
    async def scene() -> None:
        world = World()
        store, other = world.proxy(), world.proxy()
        container = await store.create_container("a", "c")
        await store._containers._deletion._begin(container, bytes(8))
        for wire in world.wires[1].values():
            has_no_room_at_all(wire)
        with pytest.raises(Unavailable, match="being deleted"):
            await other.container("a", "c", fresh=True)

    run(scene())


def has_no_room_at_all(wire: FaultyDevice) -> None:
    """Not even for a promise."""
    carry_out = wire.send_to

    def send_to(
        inner: RowDevice, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver
    ) -> None:
        if type(message) is Prepare:
            deliver(Failed(Fault.FULL), b"")
        else:
            carry_out(inner, message, payload, deadline, deliver)

    setattr(wire, "send_to", send_to)  # noqa: B010


def test_a_deletion_that_has_ended_is_not_carried_on() -> None:
    async def scene() -> None:
        world = World()
        store, other = world.proxy(), world.proxy()
        container = await store.create_container("a", "c")
        deletion = store._containers._deletion
        head = await deletion._begin(container, bytes(8))
        found = Container("a", "c", head)
        await deletion._reopen(container, head)
        with pytest.raises(Superseded):
            await deletion.carry_on(found)
        await other.container("a", "c", fresh=True)

    run(scene())


def test_who_remembers_an_earlier_container_of_that_name_deletes_and_changes_the_present_one() -> None:
    async def scene() -> None:
        world = World()
        one, two = world.proxy(), world.proxy()
        old = await one.create_container("a", "c")
        await two.container("a", "c")
        await one.delete_container(old)
        await one.create_container("a", "c")
        stale = await two.container("a", "c")
        assert stale.head.id == old.head.id
        changed = await two.update_container(stale, {"colour": "blue"}, {})
        assert (await one.container("a", "c", fresh=True)).head.meta == {"colour": "blue"}
        assert changed.head.id != old.head.id
        await two.delete_container(stale)
        with pytest.raises(NoSuchContainer):
            await one.container("a", "c", fresh=True)

    run(scene())


def test_a_bucket_name_is_not_given_up_when_its_container_was_made_anew() -> None:
    async def scene() -> None:
        world = World()
        one, two = world.proxy(), world.proxy()
        container = await one.create_container("a", "c")
        held: list[Arrive] = []

        def hold_release(_device_id: int, message: Message, arrive: Arrive) -> bool:
            if type(message) is Prepare and message.shard == bucket_name_shard(b"c"):
                held.append(arrive)
                return True
            return False

        world.links[0].script = hold_release
        deleting = asyncio.ensure_future(outcome(one.delete_container(container)))
        await asyncio.sleep(0.5)
        again = await two.create_container("a", "c", must_be_bucket=True)
        world.links[0].script = None
        for arrive in held:
            arrive()
        assert await deleting is None
        found = await two.bucket("c", fresh=True)
        assert found.head.id == again.head.id

    run(scene())


def test_a_deleted_containers_name_is_free_for_others_at_once() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c", must_be_bucket=True)
        with pytest.raises(BucketNameTaken):
            await store.create_container("b", "c", must_be_bucket=True)
        await store.delete_container(container)
        await store.create_container("b", "c", must_be_bucket=True)
        assert (await store.bucket("c", fresh=True)).account == "b"

    run(scene())


def test_an_account_finds_its_own_container_before_anothers_bucket() -> None:
    async def scene() -> None:
        world = World()
        one, two = world.proxy(), world.proxy()
        await one.create_container("a", "c")
        assert (await one.bucket("c", "b")).account == "a"
        await two.create_container("b", "c")
        assert (await one.bucket("c", "b")).account == "b"
        assert (await one.bucket("c")).account == "a"

    run(scene())


def test_the_scan_of_a_deletion_needs_sealed_replicas_but_not_all() -> None:
    async def scene() -> None:
        world = World()
        store = world.proxy()
        container = await store.create_container("a", "c")
        down = world.row_devices(shard_of(container, "o"))[0]

        def silent(device_id: int, message: Message, _arrive: Arrive) -> bool:
            return device_id == down and type(message) is Scan

        world.links[0].script = silent
        begun = asyncio.get_running_loop().time()
        await store.delete_container(container)
        assert asyncio.get_running_loop().time() - begun < 3.0

    run(scene())

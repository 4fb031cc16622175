"""Two hosts on one PostgreSQL are asked for what excludes each other, at once: one of them wins."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from compute.objects.memory import MemoryStore
from tests.compute.conftest import MakeDatabase
from tests.compute.volume.hosts import OTHER, PROJECT, Host, Told, objects_left, running

TIMES: Final = 4


@pytest.fixture
async def hosts(postgres: MakeDatabase, tmp_path: Path) -> AsyncIterator[Sequence[Host]]:
    """Two; at the end all is deleted, and nothing is left."""
    url, store = postgres(tmp_path), MemoryStore()
    async with contextlib.AsyncExitStack() as stack:
        both = [await stack.enter_async_context(running(url, store, name=name)) for name in "ab"]
        yield both
        await work(both)
        await both[0].check_usage()
        await remove_all(both)
        assert both[0].rows_left() == {}
    assert objects_left(store) == []


async def work(both: Sequence[Host]) -> None:
    """Of both, until nothing is under way."""
    for _ in range(12):
        await asyncio.gather(*(host.round() for host in both))
        if not await both[0].under_way():
            return
    raise AssertionError(await both[0].under_way())


async def remove_all(both: Sequence[Host]) -> None:
    """All volumes, with their snapshots."""
    for project in (PROJECT, OTHER):
        for row in (await both[0].ok("GET", "/volumes/detail", project=project))["volumes"]:
            where = f"/volumes/{row['id']}?cascade=true"
            await both[0].ok("DELETE", where, project=project)
    await work(both)


async def volume(both: Sequence[Host]) -> str:
    """A new one, on either host."""
    made = await both[0].ok("POST", "/volumes", {"volume": {"size": 1}})
    await work(both)
    return str(made["volume"]["id"])


async def at_once(both: Sequence[Host], *asked: tuple[str, str, Any]) -> list[int]:
    """Statuses of requests, each to the next host."""
    calls = [both[number % 2].call(*words) for number, words in enumerate(asked)]
    told: list[Told] = await asyncio.gather(*calls)
    return [one.status for one in told]


async def test_two_deletions(hosts: Sequence[Host]) -> None:
    for _ in range(TIMES):
        where = f"/volumes/{await volume(hosts)}"
        told = await at_once(hosts, ("DELETE", where, None), ("DELETE", where, None))
        assert sorted(told) == [202, 400]
        await work(hosts)
        assert (await hosts[0].call("GET", where)).status == 404


async def test_a_deletion_and_a_snapshot(hosts: Sequence[Host]) -> None:
    for number in range(TIMES):
        ident = await volume(hosts)
        asked: list[tuple[str, str, Any]] = [
            ("DELETE", f"/volumes/{ident}", None),
            ("POST", "/snapshots", {"snapshot": {"volume_id": ident}}),
        ]
        told = await at_once(hosts, *(asked if number % 2 else asked[::-1]))
        assert sorted(told) == [202, 400]
        await work(hosts)


async def test_a_deletion_and_an_attachment(hosts: Sequence[Host]) -> None:
    for _ in range(TIMES):
        ident = await volume(hosts)
        fields = {"volume_uuid": ident, "instance_uuid": ident}
        told = await at_once(
            hosts,
            ("DELETE", f"/volumes/{ident}", None),
            ("POST", "/attachments", {"attachment": fields}),
        )
        assert sorted(told) in ([200, 400], [202, 400])
        for row in (await hosts[0].ok("GET", "/attachments"))["attachments"]:
            await hosts[1].ok("DELETE", f"/attachments/{row['id']}")
        await work(hosts)


async def test_two_extensions(hosts: Sequence[Host]) -> None:
    for size in range(2, 2 + TIMES):
        ident = await volume(hosts)
        asked = ("POST", f"/volumes/{ident}/action", {"os-extend": {"new_size": size}})
        assert sorted(await at_once(hosts, asked, asked)) == [202, 400]
        await work(hosts)
        assert (await hosts[1].show("volumes", ident))["size"] == size


async def test_an_extension_and_a_snapshot(hosts: Sequence[Host]) -> None:
    for _ in range(TIMES):
        ident = await volume(hosts)
        told = await at_once(
            hosts,
            ("POST", f"/volumes/{ident}/action", {"os-extend": {"new_size": 2}}),
            ("POST", "/snapshots", {"snapshot": {"volume_id": ident, "name": ident}}),
        )
        assert told[0] == 202  # a snapshot does not keep its volume from growing
        found = (await hosts[0].ok("GET", f"/snapshots?name={ident}"))["snapshots"]
        assert [row["size"] for row in found] == ([1] if told[1] == 202 else [])
        await work(hosts)


async def test_the_last_room_of_a_quota(hosts: Sequence[Host]) -> None:
    await hosts[0].ok("PUT", f"/os-quota-sets/{PROJECT}", {"quota_set": {"volumes": 3}})
    asked = ("POST", "/volumes", {"volume": {"size": 1}})
    told = await at_once(hosts, *([asked] * 8))
    assert sorted(told) == [202] * 3 + [413] * 5


async def test_a_transfer_is_accepted_once(hosts: Sequence[Host]) -> None:
    for _ in range(TIMES):
        fields = {"volume_id": await volume(hosts)}
        made = (await hosts[0].ok("POST", "/volume-transfers", {"transfer": fields}))["transfer"]
        where, body = (
            f"/volume-transfers/{made['id']}/accept",
            {"accept": {"auth_key": made["auth_key"]}},
        )
        calls = [host.call("POST", where, body, project=OTHER) for host in hosts]
        assert sorted(told.status for told in await asyncio.gather(*calls)) == [202, 404]

"""Blobs by partition: what two devices compare to find what one of them lacks."""

import asyncio
import random

import msgspec
import pytest
from xxhash import xxh3_64_intdigest

from storage.contract import DeviceFault
from storage.types import GROUP_PARTITIONS_MAX, BlobEntry, BlobGroup, BlobName, Fault
from tests.contract.device.rigs import Rig
from tests.contract.device.words import blob_header

SALT = 2**63 + 11
POWER = 4


def place(name: BlobName) -> int:
    return xxh3_64_intdigest(name.id, SALT)


async def put(rig: Rig, name: BlobName, policy: str, size: int = 3) -> BlobEntry:
    header = msgspec.structs.replace(blob_header(name), policy=policy)
    writer = await rig.device.create_blob(header, rig.deadline())
    await writer.write(bytes(size))
    await writer.commit()
    return BlobEntry(header, size)


async def stock(rig: Rig, count: int = 60) -> list[BlobEntry]:
    """Blobs of two policies and some numbers."""
    seeded = random.Random(5)
    entries = []
    for _ in range(count):
        name = BlobName(seeded.randbytes(16), seeded.choice([0, 2]))
        entries.append(await put(rig, name, seeded.choice(["ec-4-2", "replicated-3"]), 5))
    return entries


def expected(entries: list[BlobEntry], power: int = POWER) -> list[BlobGroup]:
    groups: dict[tuple[int, str, int], list[int]] = {}
    for entry in entries:
        of = place(entry.header.name)
        groups.setdefault(
            (of >> (64 - power), entry.header.policy, entry.header.name.number), []
        ).append(of)
    made = []
    for (partition, policy, number), places in groups.items():
        digest = 0
        for one in places:
            digest ^= one
        made.append(BlobGroup(policy, partition, number, len(places), 5 * len(places), digest))
    return made


def sort(groups: list[BlobGroup]) -> list[BlobGroup]:
    return sorted(groups, key=lambda g: (g.partition, g.policy, g.number))


async def groups(rig: Rig, policy: str = "", power: int = POWER) -> list[BlobGroup]:
    found = await rig.device.group_blobs(SALT, power, policy, 0, 1 << power)
    assert [g.partition for g in found] == sorted(g.partition for g in found)
    return sort(found)


async def test_an_empty_device_has_no_groups(rig: Rig) -> None:
    assert await groups(rig) == []
    assert await rig.device.list_group(SALT, POWER, "replicated-3", 0, 0, b"", 10) == []


async def test_every_blob_is_in_its_partitions_group(rig: Rig) -> None:
    entries = await stock(rig)
    assert await groups(rig) == sort(expected(entries))
    coded = [entry for entry in entries if entry.header.policy == "ec-4-2"]
    assert await groups(rig, "ec-4-2") == sort(expected(coded))
    assert await groups(rig, "unknown") == []
    assert await groups(rig, power=5) == sort(expected(entries, 5))


async def test_a_range_has_its_own_partitions_alone(rig: Rig) -> None:
    entries = await stock(rig)
    for first, count in ((0, 1), (3, 5), (15, 1)):
        found = await rig.device.group_blobs(SALT, POWER, "", first, count)
        inside = [g for g in expected(entries) if first <= g.partition < first + count]
        assert sort(found) == sort(inside)


async def test_groups_follow_what_is_written_and_deleted(rig: Rig) -> None:
    entries = await stock(rig, 20)
    assert await groups(rig) == sort(expected(entries))
    for entry in entries[::3]:
        await rig.device.delete_blob(entry.header.name, rig.deadline())
    left = [entry for entry in entries if entry not in entries[::3]]
    left += [await put(rig, entries[0].header.name, "ec-4-2", 5)]  # it comes back, elsewhere
    assert await groups(rig) == sort(expected(left))
    left += [await put(rig, BlobName(bytes(16), 7), "replicated-3", 5)]
    await rig.device.delete_blob(left[0].header.name, rig.deadline())
    assert await groups(rig) == sort(expected(left[1:]))


async def test_a_group_is_listed_in_order_and_in_pages(rig: Rig) -> None:
    entries = await stock(rig)
    for group in expected(entries):
        mine = sorted(
            (
                entry
                for entry in entries
                if place(entry.header.name) >> (64 - POWER) == group.partition
                and entry.header.policy == group.policy
                and entry.header.name.number == group.number
            ),
            key=lambda entry: entry.header.name.id,
        )
        found: list[BlobEntry] = []
        page = mine
        while page:
            after = found[-1].header.name.id if found else b""
            page = await rig.device.list_group(
                SALT, POWER, group.policy, group.partition, group.number, after, 2
            )
            found += page
        assert found == mine


async def test_questions_at_once_while_blobs_come_and_go(rig: Rig) -> None:
    entries = await stock(rig, 20)
    asked = [asyncio.ensure_future(groups(rig)) for _ in range(5)]
    late = await put(rig, BlobName(bytes(15) + b"x", 1), "replicated-3", 5)
    await rig.device.delete_blob(entries[0].header.name, rig.deadline())
    await asyncio.gather(*asked)
    assert await groups(rig) == sort(expected([*entries[1:], late]))


@pytest.mark.parametrize(
    ("salt", "power", "first", "count"),
    [
        (-1, 4, 0, 1),
        (1 << 64, 4, 0, 1),
        (0, 0, 0, 1),
        (0, 33, 0, 1),
        (0, 4, 15, 2),
        (0, 4, -1, 1),
        (0, 4, 0, 0),
        (0, 20, 0, GROUP_PARTITIONS_MAX + 1),
    ],
)
async def test_what_no_ring_has_is_a_value_error(
    rig: Rig, salt: int, power: int, first: int, count: int
) -> None:
    with pytest.raises((ValueError, OverflowError)):
        await rig.device.group_blobs(salt, power, "", first, count)


async def test_a_stopped_device_says_so(rig: Rig) -> None:
    rig.misfortunes.stop()
    for call in (groups(rig), rig.device.list_group(SALT, POWER, "ec-4-2", 0, 0, b"", 1)):
        with pytest.raises(DeviceFault) as caught:
            await call
        assert caught.value.fault is Fault.OFFLINE

"""What the cluster must look like when nothing goes wrong any more and repair has had its time.

Looks at the devices themselves, not through the proxies: every replica of every row alike, every copy
and fragment of every named blob at home and whole, and nothing else.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from ring.epochs import is_joint
from ring.lookup import Ring
from ring.types import ROWS
from storage.contract import DeviceFault
from storage.device.engine import Device
from storage.types import (
    BlobName,
    ListShards,
    RowMessage,
    ShardList,
    ShardSummary,
    Summarize,
    Summary,
)
from tests.sim.node import Node

CALL_TIME_S = 60.0

Named = dict[bytes, str]
"""The policies of all blobs that rows name, by id."""


class Surroundings(Protocol):
    """What is looked at."""

    nodes: list[Node]


async def untidy(world: Surroundings, named: Named) -> str:
    """What is not as it should be, "" where all is."""
    epochs = {node.ring.epoch for node in world.nodes}
    if len(epochs) > 1:
        return f"nodes at ring epochs {sorted(epochs)}: {_problems(world.nodes)}"
    ring = world.nodes[0].ring
    if is_joint(ring, ROWS):
        return f"epoch {ring.epoch} has not settled: {_problems(world.nodes)}"
    devices = {d.device_id: d for node in world.nodes for d in node.devices.values()}
    opened = {number: device for number, device in devices.items() if isinstance(device, Device)}
    found = await _rows(ring, opened) or await _places(ring, opened, named)
    return found or await _bytes(ring, opened, named)


def _problems(nodes: Iterable[Node]) -> str:
    return "; ".join(f"{node.name}: {node.last_problem or 'no problem'}" for node in nodes)


async def _ask(device: Device, message: RowMessage) -> Any:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    deadline = asyncio.get_running_loop().time() + CALL_TIME_S
    device.send(message, b"", deadline, lambda answer, _payload: answered.set_result(answer))
    return await answered


# -- rows ------------------------------------------------------------------------------------------


async def _rows(ring: Ring, devices: dict[int, Device]) -> str:
    for partition in range(ring.partition_count):
        homes = ring.devices(ROWS, partition)
        for number, device in devices.items():
            if number not in homes:
                summary = await _ask(device, Summarize(ring.salt, ring.part_power, partition, 1))
                assert isinstance(summary, Summary), summary
                if any(one.rows for one in summary.partitions):
                    return f"device {number} has rows of partition {partition}, and should not"
        found = await _differing(ring, partition, [devices[number] for number in homes])
        if found:
            return found
    return ""


async def _differing(ring: Ring, partition: int, homes: list[Device]) -> str:
    """A shard whose replicas differ. Those of a sealed one may: what one alone has stays there."""
    by_device: list[dict[bytes, ShardSummary]] = []
    for device in homes:
        listed = await _ask(device, ListShards(ring.salt, ring.part_power, partition))
        assert isinstance(listed, ShardList), listed
        by_device.append({shard.key: shard for shard in listed.shards})
    for key in sorted(set().union(*by_device)):
        held = [shards.get(key) for shards in by_device]
        if any(shard is not None and shard.sealed for shard in held):
            continue
        digests = [shard.digest if shard is not None else 0 for shard in held]
        if len(set(digests)) > 1:
            rows = [shard.rows if shard is not None else 0 for shard in held]
            return f"the replicas of shard {key.hex()} differ (rows: {rows}, partition {partition})"
    return ""


# -- blobs -----------------------------------------------------------------------------------------


async def _places(ring: Ring, devices: dict[int, Device], named: Named) -> str:
    expected: set[tuple[int, BlobName]] = set()
    for blob_id, policy in named.items():
        homes = ring.devices(policy, ring.partition(blob_id))
        expected |= {(device, BlobName(blob_id, number)) for number, device in enumerate(homes)}
    held = {
        (number, entry.header.name)
        for number, device in devices.items()
        for entry in await device.list_blobs(None, 1_000_000)
    }
    orphans = {name.id for _, name in held if name.id not in named}
    if orphans:
        return f"{len(orphans)} blobs that no row names: {sorted(orphans)[0].hex()}"
    missing, astray = expected - held, held - expected
    if missing:
        return f"{len(missing)} copies are missing: {_told(missing)}"
    return f"{len(astray)} copies are not at home: {_told(astray)}" if astray else ""


def _told(copies: set[tuple[int, BlobName]]) -> str:
    device, name = min(copies, key=lambda copy: (copy[0], copy[1].id, copy[1].number))
    return f"{name.id.hex()}.{name.number} on device {device}"


async def _bytes(ring: Ring, devices: dict[int, Device], named: Named) -> str:
    deadline = asyncio.get_running_loop().time() + CALL_TIME_S
    for blob_id, policy in named.items():
        for number, home in enumerate(ring.devices(policy, ring.partition(blob_id))):
            name = BlobName(blob_id, number)
            try:
                reader = await devices[home].open_blob(name, deadline)
                await reader.read(0, reader.size_bytes)
                reader.close()
            except DeviceFault as fault:
                return f"{_told({(home, name)})}: {fault}"
    return ""

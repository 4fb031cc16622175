"""Questions to single devices, for those that ask replicas by themselves: settling and repair.

Where answers are to be counted while they come in, it is `poll.py`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import DeviceFault, RowDevice
from storage.types import (
    Failed,
    Fault,
    ListShards,
    RowAnswer,
    RowMessage,
    ShardList,
    ShardSummary,
    VersionList,
    Versions,
)

ASK_TIME_S: Final = 10.0
"""How long a replica may take to answer a worker."""

WALK_TIME_S: Final = 30.0
"""How long a device of the own process may take, for a worker that walks over its rows."""

T = TypeVar("T")

_SILENCE: Final = Failed(Fault.DEADLINE, "no answer in time")


class Partitioned(Protocol):
    """A ring, as far as devices are asked by its partitions."""

    @property
    def salt(self) -> int:
        """What names are hashed with."""

    @property
    def part_power(self) -> int:
        """Of its partitions' number."""


async def ask(
    clock: Clock, within_s: float, device: RowDevice, message: RowMessage, payload: bytes = b""
) -> tuple[RowAnswer, bytes]:
    """The answer and its payload; Failed(DEADLINE) where none comes in time."""
    answered: asyncio.Future[tuple[RowAnswer, bytes]] = asyncio.get_running_loop().create_future()

    def deliver(answer: RowAnswer, body: bytes) -> None:
        if not answered.done():
            answered.set_result((answer, body))

    device.send(message, payload, clock.monotonic() + within_s, deliver)
    try:
        async with asyncio.timeout(within_s):
            return await answered
    except TimeoutError:
        return _SILENCE, b""


async def ask_all(
    clock: Clock, within_s: float, asked: Iterable[tuple[RowDevice, RowMessage]]
) -> list[RowAnswer]:
    """Several questions at once; the answers in their order."""
    answers = await together(ask(clock, within_s, device, message) for device, message in asked)
    return [answer for answer, _ in answers]


async def told(
    clock: Clock,
    within_s: float,
    device: RowDevice,
    message: RowMessage,
    kind: type[T],
    payload: bytes = b"",
) -> T:
    """The answer, of this kind. Raises DeviceFault for any other."""
    return (await told_with(clock, within_s, device, message, kind, payload))[0]


async def told_with(
    clock: Clock,
    within_s: float,
    device: RowDevice,
    message: RowMessage,
    kind: type[T],
    payload: bytes = b"",
) -> tuple[T, bytes]:
    """The same with the answer's payload."""
    answer, body = await ask(clock, within_s, device, message, payload)
    if isinstance(answer, kind):
        return answer, body
    if isinstance(answer, Failed):
        raise DeviceFault(Fault(answer.fault), answer.text)
    raise DeviceFault(Fault.UNREACHABLE, f"an unexpected answer: {type(answer).__name__}")


async def shards_of(
    clock: Clock, within_s: float, device: RowDevice, ring: Partitioned, partition: int
) -> list[ShardSummary]:
    """All shards of a partition that a device knows, in order of their keys. Raises DeviceFault.

    within_s: for each page of them.
    """
    found: list[ShardSummary] = []
    more = True
    while more:
        after = found[-1].key if found else b""
        message = ListShards(ring.salt, ring.part_power, partition, after)
        listed = await told(clock, within_s, device, message, ShardList)
        found += listed.shards
        more = listed.more
    return found


async def versions_of(
    clock: Clock, within_s: float, device: RowDevice, shard: bytes, leaves: Sequence[int]
) -> dict[bytes, bytes]:
    """Versions by name of all rows in some leaves of a device's shard. Raises DeviceFault.

    within_s: for each page of them.
    """
    found: dict[bytes, bytes] = {}
    start, more = b"", True
    while more:
        message = Versions(shard, list(leaves), start)
        listed = await told(clock, within_s, device, message, VersionList)
        found |= dict(listed.rows)
        start, more = listed.next_start, listed.next_start != b""
    return found

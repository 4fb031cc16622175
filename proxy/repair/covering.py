"""Proves that nothing is lost with a replica's copy of a shard which the ring places elsewhere.

Everything that was acknowledged is on a majority of the present replicas, in the version that the copy
has or in a newer one: that is what settling is for, and what is proven here before the copy goes. Where
a majority of them has the copy's digest, that is proof enough; else leaves are compared, and rows of
those that differ.

What they lack was never acknowledged: a write that reached this device alone. It is given to them, as
a reader who had met it would do, so that a mistake of ours elsewhere would cost nothing. Not so what is
old: its deletion may have been reclaimed since, and its blobs collected, because nobody who was asked
named them. An old tombstone is needed by no one. An old row stays, and the copy with it, until somebody
has looked at it. In a sealed shard nothing is given; its rows are of use until the shard is spent.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from proxy.core.asking import ASK_TIME_S, ask, ask_all, shards_of, told, told_with, versions_of
from proxy.core.errors import StoreError
from proxy.core.placement import Placement, Replicas
from proxy.core.register import Value, Versioned, confirmation
from proxy.core.rows import Rows, SealedShard
from proxy.repair.reclaim import RECLAIM_AGE_S, is_old
from proxy.repair.spent import is_spent
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import DeviceFault, RowDevice
from storage.types import (
    STAMP_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    Fault,
    LeafDigests,
    Leaves,
    Read,
    Row,
    RowFlag,
    ShardSummary,
    Want,
)

LEAVES_AT_ONCE: Final = 32

_Versions = Mapping[bytes, bytes]


class Uncovered(Exception):
    """The present replicas lack something of a shard, and it can't be given to them now."""


class Ages(NamedTuple):
    """Up to which age rows are given, in seconds. naming: those that name blobs."""

    plain: float
    naming: float


def ages(orphan_grace_s: float, reclaim_age_s: float = RECLAIM_AGE_S) -> Ages:
    """Well below the ages at which tombstones are reclaimed and blobs that no row names removed."""
    return Ages(reclaim_age_s / 2, min(orphan_grace_s, reclaim_age_s) / 2)


def uncovered(ours: _Versions, held: Sequence[_Versions], majority: int) -> list[bytes]:
    """Names of which fewer than a majority of the replicas have our version or a newer one. Pure."""

    def holders(name: bytes, version: bytes) -> int:
        return sum(of_one.get(name, ZERO_VERSION) >= version for of_one in held)

    return [name for name, version in sorted(ours.items()) if holders(name, version) < majority]


def differing(ours: Sequence[int], others: Sequence[Sequence[int]], majority: int) -> list[int]:
    """Numbers of our leaves that fewer than a majority of the replicas have just so. Pure."""
    return [
        leaf
        for leaf, digest in enumerate(ours)
        if digest and sum(of_one[leaf] == digest for of_one in others) < majority
    ]


class Present(NamedTuple):
    """The present replicas of a partition that answer, a majority, and their shards by key.

    majority: how many are one.
    """

    devices: list[RowDevice]
    shards: list[dict[bytes, ShardSummary]]
    majority: int

    def as_ours(self, shard: ShardSummary) -> int:
        """How many hold just what we hold of a shard."""
        found = [shards.get(shard.key) for shards in self.shards]
        return sum((one.digest if one is not None else 0) == shard.digest for one in found)

    def sealed(self, shard: bytes) -> bool:
        """Whether one has a seal on it."""
        return any(shard in shards and shards[shard].sealed for shards in self.shards)


class Covering:
    """Compares, and gives what is lacking. given: how many rows."""

    def __init__(self, placement: Placement, rows: Rows, clock: Clock, give: Ages) -> None:
        self._placement = placement
        self._rows = rows
        self._clock = clock
        self._give = give
        self.given = 0

    async def present(self, ring: Ring, partition: int) -> Present:
        """Ask the replicas. DeviceFault where no majority answers in this ring's epoch."""
        replicas = self._placement.replicas_of(partition)
        listed = await together(self._list(device, ring, partition) for device in replicas.devices)
        known = [n for n, shards in enumerate(listed) if shards is not None]
        enough = replicas.quorum.enough[sum(1 << number for number in known)]
        if not enough or replicas.joint or replicas.epoch != ring.epoch:
            raise DeviceFault(Fault.UNREACHABLE, f"no majority of partition {partition} in this epoch")
        return Present(
            [replicas.devices[number] for number in known],
            [shards for shards in listed if shards is not None],
            _majority(replicas),
        )

    async def _list(
        self, device: RowDevice, ring: Ring, partition: int
    ) -> dict[bytes, ShardSummary] | None:
        try:
            listed = await shards_of(self._clock, ASK_TIME_S, device, ring, partition)
        except DeviceFault:
            return None
        return {shard.key: shard for shard in listed}

    async def cover(self, own: RowDevice, shard: ShardSummary, present: Present) -> None:
        """See to it that a majority has all of a copy. Raises Uncovered, DeviceFault."""
        if present.as_ours(shard) >= present.majority:
            return
        lacking = await self._lacking(own, shard.key, present)
        if not lacking:
            return
        if present.sealed(shard.key):
            if await is_spent(self._rows, shard.key):
                return
            raise Uncovered("a sealed shard has rows here that it lacks elsewhere")
        for name in lacking:
            await self._give_row(own, shard.key, name, present)

    async def _lacking(self, own: RowDevice, shard: bytes, present: Present) -> list[bytes]:
        """Names of rows that a majority does not have as we have them."""
        ours = await told(self._clock, ASK_TIME_S, own, Leaves(shard), LeafDigests)
        asked = ((device, Leaves(shard)) for device in present.devices)
        answers = await ask_all(self._clock, ASK_TIME_S, asked)
        others = [one.digests for one in answers if type(one) is LeafDigests]
        leaves = differing(ours.digests, others, present.majority)
        found: list[bytes] = []
        for at in range(0, len(leaves), LEAVES_AT_ONCE):
            some = leaves[at : at + LEAVES_AT_ONCE]
            mine, *held = await together(
                versions_of(self._clock, ASK_TIME_S, device, shard, some)
                for device in (own, *present.devices)
            )
            found += uncovered(mine, held, present.majority)
        return found

    async def _give_row(self, own: RowDevice, shard: bytes, name: bytes, present: Present) -> None:
        asked = Read(shard, name, Want.PAYLOAD)
        row, payload = await told_with(self._clock, ASK_TIME_S, own, asked, Row)
        value = Value(row.flags, row.size, row.head, payload)
        if not self._may_be_given(row):
            if row.flags & RowFlag.TOMBSTONE:
                return
            raise Uncovered("a row that is old is only here: it may have been deleted since")
        message = confirmation(shard, name, Versioned(row.version, value))
        await together(
            ask(self._clock, ASK_TIME_S, device, message, payload) for device in present.devices
        )
        asked = Read(shard, name, Want.VERSION)
        answers = await ask_all(self._clock, ASK_TIME_S, ((d, asked) for d in present.devices))
        held = [one.version for one in answers if type(one) is Row and one.version >= row.version]
        if len(held) >= present.majority:
            self.given += 1
            return
        if row.version[STAMP_BYTES:] != ZERO_STAMP:  # a promise to another update stands before it
            with contextlib.suppress(StoreError, SealedShard):
                await self._rows.decide(shard, name)
        raise Uncovered("a row that is only here was not taken yet")

    def _may_be_given(self, row: Row) -> bool:
        age_s = self._give.naming if row.flags & RowFlag.BLOBS else self._give.plain
        return not is_old(row.version, self._clock.now_ns() - int(age_s * 1e9))


def _majority(replicas: Replicas) -> int:
    return len(replicas.devices) // 2 + 1

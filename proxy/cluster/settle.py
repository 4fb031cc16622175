"""Settling a newcomer: it pulls the rows of its partitions from a majority of the old replicas.

Row by row the pulls of that majority are merged before the newcomer takes anything. Whatever was
acknowledged or promised before they knew of this epoch is known to one of them, and they take nothing
of an older epoch any more. A conditional version below a promise can't be taken over as it is
(`storage.replica.on_install`): it is decided anew among old and new replicas, and pulled again.

All of it may be repeated. What has been settled is kept in memory: after a restart a process settles
its newcomers again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from proxy.cluster.newcomers import newcomers
from proxy.core.asking import shards_of, told, told_with
from proxy.core.errors import StoreError
from proxy.core.placement import Placement, Replicas
from proxy.core.rows import Rows, SealedShard
from ring.epochs import is_joint
from ring.lookup import Ring
from ring.types import ROWS
from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import DeviceFault, RowDevice
from storage.replica import RowState, merged
from storage.types import (
    DAMAGED,
    PULL_ROWS_MAX,
    STAMP_BYTES,
    Install,
    Installed,
    Pull,
    Pulled,
    PulledRow,
)

PULL_TIME_S: Final = 30.0
PARTITIONS_AT_ONCE: Final = 4
"""How many partitions one process settles at the same time."""

DECISIONS_MAX: Final = 8
"""How often a row is decided anew before its partition is left for later."""

RETRY_S: Final = 0.5
"""Before a partition that could not be settled is tried again."""


class Unsettled(Exception):
    """A partition can't be settled now."""


class _Newcomer(NamedTuple):
    """A partition-replica to be settled. not_before: when, on the monotonic clock."""

    device_id: int
    partition: int
    not_before: float = 0.0


class _Known(NamedTuple):
    """What a majority knows of one row together, and the payload of its highest version."""

    row: PulledRow
    payload: bytes


class _Page(NamedTuple):
    """One replica's rows of a shard up to `upto`, b"" for the end, with their payloads."""

    rows: list[tuple[PulledRow, bytes]]
    upto: bytes


def known_together(found: Sequence[tuple[PulledRow, bytes]]) -> _Known:
    """One row as several replicas know it. Unsettled where no copy of its payload is good."""
    state = merged(RowState(row.version, row.promised, tuple(row.earlier)) for row, _ in found)
    for row, payload in found:
        if row.version == state.version and row.payload_bytes != DAMAGED:
            whole = PulledRow(
                row.name,
                state.version,
                state.promised,
                list(state.earlier),
                row.flags,
                row.size,
                row.head,
                len(payload),
            )
            return _Known(whole, payload)
    raise Unsettled(f"no good copy of a row's payload among {len(found)} replicas")


def _cut(pulled: Pulled, body: bytes) -> _Page:
    rows, at = [], 0
    for row in pulled.rows:
        end = at + max(0, row.payload_bytes)
        rows.append((row, body[at:end]))
        at = end
    return _Page(rows, pulled.next_start)


def _up_to(pages: Sequence[_Page]) -> bytes:
    """Up to which name all pages speak; b"" for the end."""
    return min((page.upto for page in pages if page.upto), default=b"")


class Settler:
    """Settles the newcomers of one process. own: its devices by id, as they are asked in an epoch."""

    def __init__(
        self,
        placement: Placement,
        rows: Rows,
        own: Callable[[int, int], RowDevice | None],
        clock: Clock,
        on_problem: Callable[[Exception], None],
    ) -> None:
        self._placement = placement
        self._rows = rows
        self._own = own
        self._clock = clock
        self._on_problem = on_problem
        self.epoch = 0
        self.joint = False
        """Whether this epoch moves rows."""
        self.settled = 0
        self.unsettled = 0
        """Partition-replicas of this epoch, with and without all their rows."""

    async def settle(self, ring: Ring, device_ids: Iterable[int]) -> None:
        """Settle all newcomers of the ring's epoch among these devices; cancel it for a newer ring."""
        left = deque(_Newcomer(*one) for one in newcomers(ring, device_ids))
        self.epoch, self.joint = ring.epoch, is_joint(ring, ROWS)
        self.settled, self.unsettled = 0, len(left)
        await together(self._work_off(ring, left) for _ in range(min(PARTITIONS_AT_ONCE, len(left))))

    async def _work_off(self, ring: Ring, left: deque[_Newcomer]) -> None:
        """Settle one after the other. What can't be settled now goes behind all others."""
        while left:
            one = left.popleft()
            await asyncio.sleep(max(0.0, one.not_before - self._clock.monotonic()))
            try:
                await self._partition(ring, one.device_id, one.partition)
            except (Unsettled, StoreError) as problem:
                self._on_problem(problem)
                left.append(one._replace(not_before=self._clock.monotonic() + RETRY_S))
            else:
                self.settled += 1
                self.unsettled -= 1

    async def _partition(self, ring: Ring, device_id: int, partition: int) -> None:
        newcomer = self._own(device_id, ring.epoch)
        replicas = self._placement.replicas_of(partition)
        if newcomer is None or replicas.epoch != ring.epoch:
            raise Unsettled("another ring is in use")
        old = self._placement.old_members(partition)
        members, shards = await self._shards(replicas, old, ring, partition)
        for shard in shards:
            await self._shard(members, newcomer, shard)

    async def _shards(
        self, replicas: Replicas, old: Sequence[int], ring: Ring, partition: int
    ) -> tuple[list[RowDevice], list[bytes]]:
        """A majority of the old members, and all shards that one of them knows in the partition."""
        listed = await together(self._listed(replicas.devices[n], ring, partition) for n in old)
        answers = dict(zip(old, listed, strict=True))
        found = {n: keys for n, keys in answers.items() if not isinstance(keys, DeviceFault)}
        if not replicas.quorum.readable[sum(1 << number for number in found)]:
            failed = ", ".join(str(one) for one in listed if isinstance(one, DeviceFault))
            raise Unsettled(f"no majority of the old replicas: {failed}")
        chosen = list(found)
        while len(chosen) > 1 and replicas.quorum.readable[sum(1 << n for n in chosen[:-1])]:
            chosen.pop()
        keys = sorted(set().union(*(found[number] for number in chosen)))
        return [replicas.devices[number] for number in chosen], keys

    async def _listed(self, device: RowDevice, ring: Ring, partition: int) -> set[bytes] | DeviceFault:
        try:
            found = await shards_of(self._clock, PULL_TIME_S, device, ring, partition)
        except DeviceFault as fault:
            return fault
        return {shard.key for shard in found}

    async def _shard(self, members: list[RowDevice], newcomer: RowDevice, shard: bytes) -> None:
        start, more = b"", True
        while more:
            pages = await self._pull(members, shard, start, PULL_ROWS_MAX)
            upto = _up_to(pages)
            by_name: dict[bytes, list[tuple[PulledRow, bytes]]] = {}
            for page in pages:
                for row, payload in page.rows:
                    if not upto or row.name < upto:
                        by_name.setdefault(row.name, []).append((row, payload))
            known = [known_together(by_name[name]) for name in sorted(by_name)]
            refused = await self._install(newcomer, shard, known)
            for name in refused:
                await self._decide(members, newcomer, shard, name)
            start, more = upto, upto != b""

    async def _pull(
        self, members: list[RowDevice], shard: bytes, start: bytes, limit: int
    ) -> list[_Page]:
        """The same rows of every member."""
        pull = Pull(shard, start, limit)
        try:
            pulled = await together(
                told_with(self._clock, PULL_TIME_S, member, pull, Pulled) for member in members
            )
        except DeviceFault as fault:
            raise Unsettled(f"a pull failed: {fault}") from fault
        return [_cut(*one) for one in pulled]

    async def _install(self, newcomer: RowDevice, shard: bytes, known: Sequence[_Known]) -> list[bytes]:
        """The names that the newcomer could not take over."""
        if not known:
            return []
        body = b"".join(one.payload for one in known)
        install = Install(shard, [one.row for one in known])
        try:
            done = await told(self._clock, PULL_TIME_S, newcomer, install, Installed, body)
        except DeviceFault as fault:
            raise Unsettled(f"an install failed: {fault}") from fault
        return done.refused

    async def _decide(
        self, members: list[RowDevice], newcomer: RowDevice, shard: bytes, name: bytes
    ) -> None:
        """Take over a row that must be decided anew first."""
        for _ in range(DECISIONS_MAX):
            try:
                await self._rows.decide(shard, name)
            except SealedShard:
                await self._take_sealed(members, newcomer, shard, name)
                return
            known = await self._one(members, shard, name)
            if not await self._install(newcomer, shard, [known]):
                return
        raise Unsettled("a row was being written all the time")

    async def _take_sealed(
        self, members: list[RowDevice], newcomer: RowDevice, shard: bytes, name: bytes
    ) -> None:
        """In a sealed shard nothing is decided any more, and the newest version is what readers take:
        so the newcomer takes it, too, and no promise with it."""
        row, payload = await self._one(members, shard, name)
        unpromised = PulledRow(
            row.name,
            row.version,
            row.version[STAMP_BYTES:],
            row.earlier,
            row.flags,
            row.size,
            row.head,
            row.payload_bytes,
        )
        if await self._install(newcomer, shard, [_Known(unpromised, payload)]):
            raise Unsettled("a sealed shard's row was promised to an update")

    async def _one(self, members: list[RowDevice], shard: bytes, name: bytes) -> _Known:
        pages = await self._pull(members, shard, name, 1)
        found = [(row, payload) for page in pages for row, payload in page.rows if row.name == name]
        if not found:
            raise Unsettled("a row that was there is gone")
        return known_together(found)

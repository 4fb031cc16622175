"""Deleting a container: seal its shards, look whether they are empty, decide.

The container's row decides. It goes from open to deleting, with a number and a nonce of the deletion's
own, and from there to a tombstone or back to open; only the deletion that the row names takes the last
step. Whoever finds it half way begins a newer one (`seals.py`). A move of one of its shards
(`resharding.py`) that is under way is given up by that.
"""

import contextlib
from typing import Final

import msgspec

from proxy.core.errors import ContainerNotEmpty, Full, NoSuchContainer, Unavailable
from proxy.core.register import Decide, Value, Versioned, tombstone
from proxy.core.rows import Rows
from proxy.core.seals import Seals, Superseded
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import bucket_name_shard, containers_shard, uploads_shard
from proxy.core.types import BucketHead, Container, ContainerHead, ObjectHead, Reshard, SealHead
from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tasks import together
from storage.types import Scan, ScannedRow, Want

OPEN: Final = "open"
DELETING: Final = "deleting"

ROWS_PER_PAGE: Final = 1000

NONCE_BYTES: Final = 16
ORIGIN_BYTES: Final = 8
"""The part of a deletion's nonce that it has in common with those who carry it on: who asked for it
can tell then that it was carried out."""

_encode = msgspec.msgpack.Encoder().encode
_decode_container = msgspec.msgpack.Decoder(ContainerHead).decode
_decode_bucket = msgspec.msgpack.Decoder(BucketHead).decode
_decode_object = msgspec.msgpack.Decoder(ObjectHead).decode


class _KeepAsIs(Exception):
    """Raised by a decision that finds nothing to change."""


def same_container(row: Versioned, container: Container) -> ContainerHead:
    """The head of a container's row where it is still this very container. Raises NoSuchContainer."""
    head = _decode_container(row.value.head) if row.live else None
    if head is None or head.id != container.head.id:
        raise NoSuchContainer(container.name)
    return head


def _require_own(row: Versioned, deleting: ContainerHead) -> None:
    """Raise Superseded unless the row still names this very deletion."""
    if not row.live or _decode_container(row.value.head).nonce != deleting.nonce:
        raise Superseded


def changed_nonce(head: ContainerHead, nonce: bytes) -> bytes:
    """The nonce of a container's row after a change that is not a deletion's, made of a new one. A
    deletion under way has to be begun again after that, but stays that of who asked for it."""
    return head.nonce[:ORIGIN_BYTES] + nonce[ORIGIN_BYTES:] if head.state == DELETING else nonce


def without_move(reshard: Reshard | None) -> Reshard | None:
    """The same, no move under way."""
    return None if reshard is None else msgspec.structs.replace(reshard, move=b"")


def sealed_shards(head: ContainerHead) -> list[bytes]:
    """The shards that go with a container."""
    return [*head.layout.all_shards(), uploads_shard(head.id)]


class Deletion:
    """Deletes containers."""

    def __init__(self, rows: Rows, clock: Clock, randomness: Randomness) -> None:
        self._rows = rows
        self._scan = ShardScan(rows)
        self._seals = Seals(rows)
        self._clock = clock
        self._randomness = randomness

    async def carry_out(self, container: Container) -> None:
        """Delete it if it is empty, else leave it open.

        Raises ContainerNotEmpty, NoSuchContainer, Superseded, Unavailable (it stays half way then).
        """
        head = await self._begin(container, self._randomness.token(ORIGIN_BYTES))
        try:
            await self._go_on(container, head)
        except Superseded:
            raise Superseded(head.nonce) from None

    async def carry_on(self, container: Container) -> None:
        """Carry the deletion that the container's head names to its end, on behalf of who asked for it.

        Raises as `carry_out`; Superseded also where that deletion has ended by now.
        """
        origin = container.head.nonce[:ORIGIN_BYTES]
        await self._go_on(container, await self._begin(container, origin, container.head.nonce))

    async def carried_out(self, container: Container, nonce: bytes) -> bool:
        """Whether a container that is gone went by the deletion `nonce`, whoever carried it on.

        Raises Unavailable where its name was taken again, so that nobody can tell. The tombstone names
        the container: the one that had its name afterwards may be gone, too.
        """
        row = await self._rows.read(
            containers_shard(container.account), container.name.encode(), Want.HEAD
        )
        # Tombstones of before they named a container are taken for that of this one.
        if row.live or row.value.head[NONCE_BYTES:] not in (container.head.id, b""):
            raise Unavailable("the container was replaced meanwhile; the outcome is unknown")
        return row.value.head[:ORIGIN_BYTES] == nonce[:ORIGIN_BYTES]

    async def _go_on(self, container: Container, head: ContainerHead) -> None:
        seal = SealHead(head.deletions, head.nonce, container.account, container.name)
        shards = sealed_shards(head)
        await together(self._seals.set(shard, seal) for shard in shards)
        if await self._empty(head):
            await self._bury(container, head)
            await self._try_release_name(container.name, head)
            return
        await together(self._seals.lift(shard, seal) for shard in shards)
        await self._reopen(container, head)
        raise ContainerNotEmpty(container.name)

    # -- the container's row --

    async def _begin(
        self, container: Container, origin: bytes, found: bytes | None = None
    ) -> ContainerHead:
        """Take the row to deleting, by a deletion of our own; the head that it has then.

        found: the nonce of the deletion that is carried on; Superseded where the row has gone on.
        """
        nonce = origin + self._randomness.token(NONCE_BYTES - ORIGIN_BYTES)
        begun: list[ContainerHead] = []

        def decide(row: Versioned) -> Value:
            head = same_container(row, container)
            if found is not None and head.nonce != found:
                raise Superseded
            head = msgspec.structs.replace(
                head,
                state=DELETING,
                nonce=nonce,
                deletions=head.deletions + 1,
                reshard=without_move(head.reshard),
            )
            begun.append(head)
            return Value(0, 0, _encode(head), b"")

        await self._update_row(container, decide)
        return begun[-1]

    async def _reopen(self, container: Container, deleting: ContainerHead) -> None:
        nonce = self._randomness.token(NONCE_BYTES)

        def decide(row: Versioned) -> Value:
            _require_own(row, deleting)
            return Value(0, 0, _encode(msgspec.structs.replace(deleting, state=OPEN, nonce=nonce)), b"")

        await self._update_row(container, decide)

    async def _bury(self, container: Container, deleting: ContainerHead) -> None:
        def decide(row: Versioned) -> Value:
            _require_own(row, deleting)
            return tombstone(deleting.nonce + deleting.id)

        await self._update_row(container, decide)

    async def _update_row(self, container: Container, decide: Decide) -> None:
        shard = containers_shard(container.account)
        await self._rows.update(shard, container.name.encode(), decide)

    # -- stale seals --

    async def lift_stale_seals(self, container: Container) -> None:
        """Lift what seals an open container still has, whatever has left them; not those of a move
        that is under way."""
        for shard in sealed_shards(container.head):
            seal = await self._seals.on(shard)
            if seal is None:
                continue
            row = await self._rows.read(
                containers_shard(container.account), container.name.encode(), Want.HEAD
            )
            if not row.live or (head := same_container(row, container)).state != OPEN:
                return
            moves = head.reshard is not None and head.reshard.move == seal.nonce
            if shard in sealed_shards(head) and not moves:
                await self._seals.lift(shard, seal)

    # -- the question --

    async def _empty(self, head: ContainerHead) -> bool:
        """Whether the sealed shards hold no object that is not past its expiry."""
        return all(await together(self._shard_empty(shard) for shard in head.layout.all_shards()))

    async def _shard_empty(self, shard: bytes) -> bool:
        now_s = self._clock.now_ns() // 10**9
        start, more = b"", True
        while more:
            page = await self._scan.sealed_page(Scan(shard, start, b"", ROWS_PER_PAGE))
            if any(not _expired(row, now_s) for row in page.rows):
                return False
            start, more = page.covered_to, page.covered_to != b""
        return True

    # -- the bucket's name --

    async def _try_release_name(self, name: str, head: ContainerHead) -> None:
        """Give up the bucket name that the container was made under, and no later claim to it.

        The container is gone: where this fails the claim is free again once it is stale.
        """
        raw = name.encode()

        def decide(row: Versioned) -> Value:
            if not row.live or _decode_bucket(row.value.head).nonce != head.claim:
                raise _KeepAsIs
            return tombstone(head.nonce)

        if head.claim:
            with contextlib.suppress(_KeepAsIs, Unavailable, Full):
                await self._rows.update(bucket_name_shard(raw), raw, decide)


def _expired(row: ScannedRow, now_s: int) -> bool:
    delete_at_s = _decode_object(row.head).delete_at_s
    return delete_at_s != 0 and delete_at_s <= now_s

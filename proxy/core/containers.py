"""Containers, accounts and bucket names.

There are no transactions over rows: the container's row decides. It goes from nothing to open, and by
way of deleting (with a nonce of the deletion's own) to a tombstone; whoever finds it deleting carries
the deletion on under a nonce of its own. The bucket name's row only says where S3 clients look.
"""

import asyncio
import contextlib
from collections import OrderedDict
from typing import Final

import msgspec

from proxy.core.errors import (
    BucketNameTaken,
    ContainerExists,
    ContainerNotEmpty,
    NoSuchContainer,
    PolicyConflict,
    Unavailable,
)
from proxy.core.listing import Listed, ShardScan, list_rows
from proxy.core.names import check_meta, container_name, merged
from proxy.core.placement import Placement
from proxy.core.register import Value, Versioned
from proxy.core.rows import Rows
from proxy.core.shards import (
    ACCOUNT_NAME,
    OBJECT_SHARDS,
    account_shard,
    bucket_name_shard,
    containers_shard,
    object_shard_keys,
    uploads_shard,
)
from proxy.core.types import (
    AccountStat,
    BucketHead,
    Container,
    ContainerHead,
    ContainerPage,
    ContainerStat,
    ListQuery,
    ObjectHead,
    PolicyUsage,
)
from runtime.clock import Clock
from runtime.randomness import Randomness
from storage.types import SEAL_NAME, RowFlag, Scan, ScannedRow, Want

CACHED_CONTAINERS_MAX: Final = 100_000
CLAIM_STALE_S: Final = 60.0
"""A bucket name claimed this long ago for a container that never came is free again."""

DELETE_WAIT_S: Final = 0.05
TAKE_OVER_AFTER: Final = 20
"""How often a deletion by another request is waited for before it is carried on here."""

DELETE_ATTEMPTS: Final = 5
STAT_CONCURRENCY_MAX: Final = 32

_encode = msgspec.msgpack.Encoder().encode
_decode_container = msgspec.msgpack.Decoder(ContainerHead).decode
_decode_bucket = msgspec.msgpack.Decoder(BucketHead).decode
_decode_meta = msgspec.msgpack.Decoder(dict[str, str]).decode
_decode_object = msgspec.msgpack.Decoder(ObjectHead).decode

OPEN: Final = "open"
DELETING: Final = "deleting"


class _KeepAsIs(Exception):
    """Raised by a decision that finds nothing to change."""


def tombstone(nonce: bytes = b"") -> Value:
    """The value of a deleted row."""
    return Value(RowFlag.TOMBSTONE, 0, nonce, b"")


class Containers:
    """Accounts, containers and bucket names over rows."""

    def __init__(
        self,
        rows: Rows,
        placement: Placement,
        clock: Clock,
        randomness: Randomness,
        default_policy: str,
    ) -> None:
        self._rows = rows
        self._placement = placement
        self._clock = clock
        self._randomness = randomness
        self._default_policy = default_policy
        self._scan = ShardScan(rows)
        self._cache: OrderedDict[tuple[str, str], Container] = OrderedDict()
        self._buckets: OrderedDict[str, str] = OrderedDict()  # bucket name -> account

    # -- looking up --

    async def get(self, account: str, name: str, *, fresh: bool = False) -> Container:
        """See `Store.container`. The cache is safe for ids, policies and shards without any expiry: a
        deleted container's shards are sealed, so whoever uses a stale id is told so by a majority."""
        if not fresh and (cached := self._cache.get((account, name))) is not None:
            return cached
        container = await self._settled(account, name)
        if container is None:
            self.forget(account, name)
            raise NoSuchContainer(name)
        self._remember(container)
        return container

    async def _settled(self, account: str, name: str) -> Container | None:
        """The container once no deletion is under way; one that does not end is carried on."""
        container = await self._read(account, name)
        for attempt in range(TAKE_OVER_AFTER + DELETE_ATTEMPTS):
            if container is None or container.head.state == OPEN:
                return container
            if attempt < TAKE_OVER_AFTER:
                await asyncio.sleep(DELETE_WAIT_S)
            else:
                with contextlib.suppress(ContainerNotEmpty, NoSuchContainer):
                    await self.delete(container)
            container = await self._read(account, name)
        raise Unavailable("the container is being deleted")

    async def _read(self, account: str, name: str) -> Container | None:
        row = await self._rows.read(containers_shard(account), container_name(name), Want.HEAD)
        return Container(account, name, _decode_container(row.value.head)) if row.live else None

    def _remember(self, container: Container) -> None:
        self._cache[container.account, container.name] = container
        if len(self._cache) > CACHED_CONTAINERS_MAX:
            self._cache.popitem(last=False)

    def forget(self, account: str, name: str) -> None:
        """Drop what is cached of a container."""
        self._cache.pop((account, name), None)
        self._buckets.pop(name, None)

    async def bucket(self, name: str, account: str = "", *, fresh: bool = False) -> Container:
        """See `Store.bucket`."""
        if not fresh and (cached := self._cache.get((account, name))) is not None:
            return cached
        holder = None if fresh else self._buckets.get(name)
        if holder is not None:
            return await self.get(holder, name)
        if account:
            with contextlib.suppress(NoSuchContainer):
                return await self.get(account, name, fresh=True)
        raw = container_name(name)
        row = await self._rows.read(bucket_name_shard(raw), raw, Want.HEAD)
        if not row.live:
            raise NoSuchContainer(name)
        holder = _decode_bucket(row.value.head).account
        container = await self.get(holder, name, fresh=True)
        self._buckets[name] = holder
        if len(self._buckets) > CACHED_CONTAINERS_MAX:
            self._buckets.popitem(last=False)
        return container

    # -- creating and changing --

    async def create(
        self,
        account: str,
        name: str,
        *,
        policy: str,
        meta: dict[str, str],
        system: dict[str, str],
        must_be_bucket: bool,
    ) -> Container:
        """See `Store.create_container`."""
        raw = container_name(name)
        check_meta(meta, system)
        if policy:
            self._placement.policy(policy)
        with contextlib.suppress(NoSuchContainer):
            self._refuse_existing(await self.get(account, name, fresh=True), policy)
        is_bucket = await self._claim_name(account, name, raw, must_be_bucket=must_be_bucket)
        head = ContainerHead(
            id=self._randomness.token(16),
            created_ns=self._clock.now_ns(),
            policy=policy or self._default_policy,
            shards=OBJECT_SHARDS,
            meta=merged({}, meta),
            system=merged({}, system),
            bucket=is_bucket,
            nonce=self._randomness.token(16),
        )
        container = Container(account, name, head)
        value = Value(0, 0, _encode(head), b"")

        def decide(row: Versioned) -> Value:
            if row.live:
                self._refuse_existing(
                    Container(account, name, _decode_container(row.value.head)), policy
                )
            return value

        await self._rows.update(containers_shard(account), raw, decide)
        self._remember(container)
        return container

    def _refuse_existing(self, existing: Container, policy: str) -> None:
        if existing.head.state == DELETING:
            raise Unavailable("the container is being deleted")
        if policy and existing.head.policy != policy:
            raise PolicyConflict(existing.head.policy)
        raise ContainerExists(existing.name)

    async def _claim_name(self, account: str, name: str, raw: bytes, *, must_be_bucket: bool) -> bool:
        """Claim the bucket name; False where another account has it and it need not be one."""
        shard = bucket_name_shard(raw)
        claim = Value(
            0,
            0,
            _encode(BucketHead(account, self._clock.now_ns(), self._randomness.token(16))),
            b"",
        )
        stale = await self._stale_claim(shard, raw, name)

        def decide(row: Versioned) -> Value:
            if not row.live or row.value.head == stale:
                return claim
            if _decode_bucket(row.value.head).account == account:
                raise _KeepAsIs
            raise BucketNameTaken(name)

        try:
            await self._rows.update(shard, raw, decide)
        except _KeepAsIs:
            return True
        except BucketNameTaken:
            if must_be_bucket:
                raise
            return False
        return True

    async def _stale_claim(self, shard: bytes, raw: bytes, name: str) -> bytes:
        """The head of a claim whose container never came, else b""."""
        row = await self._rows.read(shard, raw, Want.HEAD)
        if not row.live:
            return b""
        claim = _decode_bucket(row.value.head)
        age_s = (self._clock.now_ns() - claim.claimed_ns) / 1e9
        if age_s < CLAIM_STALE_S or await self._read(claim.account, name) is not None:
            return b""
        return row.value.head

    async def update(
        self, container: Container, meta: dict[str, str], system: dict[str, str]
    ) -> Container:
        """See `Store.update_container`."""
        nonce = self._randomness.token(16)
        made: list[ContainerHead] = []

        def decide(row: Versioned) -> Value:
            head = self._same(row, container)
            if head.state == DELETING:
                raise Unavailable("the container is being deleted")
            new = msgspec.structs.replace(
                head, meta=merged(head.meta, meta), system=merged(head.system, system), nonce=nonce
            )
            check_meta(new.meta, new.system)
            made.append(new)
            return Value(0, 0, _encode(new), b"")

        await self._rows.update(containers_shard(container.account), container.name.encode(), decide)
        changed = Container(container.account, container.name, made[-1])
        self._remember(changed)
        return changed

    def _same(self, row: Versioned, container: Container) -> ContainerHead:
        """The row's head where it is still this very container. Raises NoSuchContainer."""
        head = _decode_container(row.value.head) if row.live else None
        if head is None or head.id != container.head.id:
            raise NoSuchContainer(container.name)
        return head

    # -- deleting --

    async def delete(self, container: Container) -> None:
        """See `Store.delete_container`: seal the shards, look whether they are empty, decide."""
        self.forget(container.account, container.name)
        nonce = self._randomness.token(16)
        await self._set_state(container, DELETING, nonce)
        shards = self._shards(container)
        await asyncio.gather(*(self._seal(shard, nonce) for shard in shards))
        if await self._empty(container):
            await self._bury(container, nonce)
            return
        await asyncio.gather(*(self._unseal(shard, nonce) for shard in shards))
        await self._set_state(container, OPEN, nonce, only_from=nonce)
        raise ContainerNotEmpty(container.name)

    def _shards(self, container: Container) -> list[bytes]:
        head = container.head
        return [*object_shard_keys(head.id, head.shards), uploads_shard(head.id)]

    async def _set_state(
        self, container: Container, state: str, nonce: bytes, only_from: bytes = b""
    ) -> None:
        """Move the container's row; only_from: only while it has this nonce, else leave it."""

        def decide(row: Versioned) -> Value:
            head = self._same(row, container)
            if only_from and head.nonce != only_from:
                raise _KeepAsIs
            fresh = nonce if state == DELETING else nonce[::-1]
            return Value(0, 0, _encode(msgspec.structs.replace(head, state=state, nonce=fresh)), b"")

        with contextlib.suppress(_KeepAsIs):
            await self._rows.update(
                containers_shard(container.account), container.name.encode(), decide
            )

    async def _seal(self, shard: bytes, nonce: bytes) -> None:
        await self._rows.update(shard, SEAL_NAME, lambda _row: Value(RowFlag.UNCOUNTED, 0, nonce, b""))

    async def _unseal(self, shard: bytes, nonce: bytes) -> None:
        """Lift the seal that was set with `nonce`, and no other."""

        def decide(row: Versioned) -> Value:
            if not row.live or row.value.head != nonce:
                raise _KeepAsIs
            return tombstone(nonce)

        with contextlib.suppress(_KeepAsIs):
            await self._rows.update(shard, SEAL_NAME, decide)

    async def lift_stale_seals(self, container: Container) -> None:
        """Lift seals that a deletion which lost its race left on an open container."""
        for shard in self._shards(container):
            row = await self._rows.read(shard, SEAL_NAME, Want.HEAD)
            current = await self._read(container.account, container.name)
            if current is None or current.head.state != OPEN:
                return
            if row.live:
                await self._unseal(shard, row.value.head)

    async def _empty(self, container: Container) -> bool:
        """Whether sealed shards hold no object that is not past its expiry."""
        now_s = self._clock.now_ns() // 10**9
        for shard in object_shard_keys(container.head.id, container.head.shards):
            start, more = b"", True
            while more:
                page = await self._scan.page(Scan(shard, start, b"", 1000), confirm=False)
                if not page.sealed:
                    raise Unavailable("the container is being deleted by another request")
                if any(not _expired(row, now_s) for row in page.rows):
                    return False
                start, more = page.covered_to, page.covered_to != b""
        return True

    async def _bury(self, container: Container, nonce: bytes) -> None:
        def decide(row: Versioned) -> Value:
            head = self._same(row, container)
            if head.nonce != nonce:
                raise Unavailable("the container is being deleted by another request")
            return tombstone(nonce)

        await self._rows.update(containers_shard(container.account), container.name.encode(), decide)
        await self._release_name(container, nonce)

    async def _release_name(self, container: Container, nonce: bytes) -> None:
        raw = container.name.encode()

        def decide(row: Versioned) -> Value:
            if not row.live or _decode_bucket(row.value.head).account != container.account:
                raise _KeepAsIs
            return tombstone(nonce)

        with contextlib.suppress(_KeepAsIs):
            await self._rows.update(bucket_name_shard(raw), raw, decide)

    # -- listing and counting --

    async def page(self, account: str, query: ListQuery) -> ContainerPage:
        """See `Store.list_containers`."""

        def decode(row: ScannedRow) -> Container | None:
            return Container(account, row.name.decode(), _decode_container(row.head))

        listed: Listed[Container] = await list_rows(
            self._scan, [containers_shard(account)], query, decode
        )
        return ContainerPage(listed.entries, listed.next_marker)

    async def stat(self, container: Container) -> ContainerStat:
        """See `Store.container_stat`."""
        head = container.head
        counts = await asyncio.gather(*map(self._rows.count, object_shard_keys(head.id, head.shards)))
        return ContainerStat(
            sum(count.rows for count in counts), sum(count.size_bytes for count in counts)
        )

    async def account_meta(self, account: str) -> dict[str, str]:
        """See `Store.account_meta`."""
        row = await self._rows.read(account_shard(account), ACCOUNT_NAME, Want.HEAD)
        meta = _decode_meta(row.value.head) if row.live else {}
        meta.pop(_NONCE, None)
        return meta

    async def account_stat(self, account: str) -> AccountStat:
        """See `Store.account_stat`."""
        meta = await self.account_meta(account)
        totals = PolicyUsage(0, 0, 0)
        by_policy: dict[str, PolicyUsage] = {}
        created_ns = 0
        marker, more = "", True
        limit = asyncio.Semaphore(STAT_CONCURRENCY_MAX)

        async def stat(container: Container) -> ContainerStat:
            async with limit:
                return await self.stat(container)

        while more:
            page = await self.page(account, ListQuery(marker=marker, limit=1000))
            found = [entry for entry in page.entries if not isinstance(entry, str)]
            for one, count in zip(found, await asyncio.gather(*map(stat, found)), strict=True):
                totals = _plus(totals, count)
                policy = one.head.policy
                by_policy[policy] = _plus(by_policy.get(policy, PolicyUsage(0, 0, 0)), count)
            oldest = min((c.head.created_ns for c in found), default=0)
            created_ns = min(filter(None, (created_ns, oldest)), default=0)
            marker, more = page.next_marker, page.next_marker != ""
        return AccountStat(
            totals.containers, totals.objects, totals.size_bytes, meta, created_ns, by_policy
        )

    async def update_account(self, account: str, changes: dict[str, str]) -> None:
        """See `Store.update_account`."""
        nonce = self._randomness.token(16).hex()

        def decide(row: Versioned) -> Value:
            meta = merged(_decode_meta(row.value.head) if row.live else {}, changes)
            meta.pop(_NONCE, None)
            check_meta(meta)
            return Value(0, 0, _encode({**meta, _NONCE: nonce}), b"")

        await self._rows.update(account_shard(account), ACCOUNT_NAME, decide)


_NONCE: Final = "\0nonce"
"""The key of an account row's nonce; no metadata name has a NUL."""


def _plus(usage: PolicyUsage, container: ContainerStat) -> PolicyUsage:
    """`usage` with one more container."""
    return PolicyUsage(
        usage.containers + 1,
        usage.objects + container.objects,
        usage.size_bytes + container.size_bytes,
    )


def _expired(row: ScannedRow, now_s: int) -> bool:
    delete_at_s = _decode_object(row.head).delete_at_s
    return delete_at_s != 0 and delete_at_s <= now_s

"""Containers, accounts and bucket names.

There are no transactions over rows: the container's row decides. It goes from nothing to open, and by
way of deleting to a tombstone (`deletion.py`). The bucket name's row only says where S3 clients look.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar

import msgspec

from proxy.core.deletion import DELETING, OPEN, Deletion, same_container
from proxy.core.errors import (
    BucketNameTaken,
    ContainerExists,
    ContainerNotEmpty,
    Full,
    NoSuchContainer,
    PolicyConflict,
    Unavailable,
)
from proxy.core.listing import Listed, list_rows
from proxy.core.names import check_meta, container_name, merged
from proxy.core.placement import Placement
from proxy.core.register import Value, Versioned
from proxy.core.resharding import ContainerRow, Resharding
from proxy.core.rows import Rows
from proxy.core.seals import Superseded
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import (
    ACCOUNT_NAME,
    OBJECT_SHARDS,
    account_shard,
    bucket_name_shard,
    containers_shard,
)
from proxy.core.types import (
    AccountStat,
    BucketHead,
    Container,
    ContainerHead,
    ContainerPage,
    ContainerStat,
    ListQuery,
    PolicyUsage,
    Repolicy,
)
from runtime.clock import Clock
from runtime.randomness import Randomness
from storage.types import ScannedRow, Want

CACHED_CONTAINERS_MAX: Final = 100_000
CONTAINER_FRESH_S: Final = 30.0
"""A remembered container's row is read again after this long: its policy may have changed."""

CLAIM_STALE_S: Final = 60.0
"""A bucket name claimed this long ago for a container that never came is free again."""

DELETE_WAIT_S: Final = 0.05
TAKE_OVER_AFTER: Final = 20
"""How often a deletion by another request is waited for before it is carried on here."""

SETTLE_ATTEMPTS: Final = 200
"""How often all in all a container under deletion is looked at before that is given up."""

STALE_ATTEMPTS: Final = 4
STAT_CONCURRENCY_MAX: Final = 32

_encode = msgspec.msgpack.Encoder().encode
_decode_container = msgspec.msgpack.Decoder(ContainerHead).decode
_decode_bucket = msgspec.msgpack.Decoder(BucketHead).decode
_decode_meta = msgspec.msgpack.Decoder(dict[str, str]).decode
T = TypeVar("T")


class _Cached(NamedTuple):
    """fresh_until: on the monotonic clock."""

    container: Container
    fresh_until: float


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
        self._deletion = Deletion(rows, clock, randomness)
        self._resharding = Resharding(rows, clock, randomness)
        self._cache: OrderedDict[tuple[str, str], _Cached] = OrderedDict()
        self._buckets: OrderedDict[str, str] = OrderedDict()  # bucket name -> account

    # -- looking up --

    async def get(self, account: str, name: str, *, fresh: bool = False) -> Container:
        """See `Store.container`. The cache is safe for ids and shards without any expiry: a deleted
        container's shards are sealed, and so are those that have split, so whoever uses a stale one is
        told so by a majority. What else it says is at most CONTAINER_FRESH_S old while the row can be
        read."""
        cached = None if fresh else self._cache.get((account, name))
        if cached is not None and self._clock.monotonic() < cached.fresh_until:
            return cached.container
        try:
            container = await self._settled(account, name)
        except Unavailable:
            if cached is None:
                raise
            return cached.container
        if container is None:
            self.forget(account, name)
            raise NoSuchContainer(name)
        self._remember(container)
        return container

    async def _settled(self, account: str, name: str) -> Container | None:
        """The container once no deletion is under way. One that does not move is carried on, but not
        one that another request has just taken over: they would only stop each other."""
        container = await self._read(account, name)
        nonce, waited = b"", 0
        for _ in range(SETTLE_ATTEMPTS):
            if container is None or container.head.state == OPEN:
                return container
            if container.head.nonce != nonce:
                nonce, waited = container.head.nonce, 0
            if waited < TAKE_OVER_AFTER:
                waited += 1
                await asyncio.sleep(self._randomness.uniform(0.5, 1.5) * DELETE_WAIT_S)
            else:
                await self._carry_on(container)
            container = await self._read(account, name)
        raise Unavailable("the container is being deleted")

    async def _carry_on(self, container: Container) -> None:
        try:
            with contextlib.suppress(ContainerNotEmpty, NoSuchContainer, Superseded):
                await self._deletion.carry_on(container)
        except Full as error:  # who asks may only want to read
            raise Unavailable("the container is being deleted, and devices are full") from error

    async def present(self, account: str, name: str) -> Container:
        """The container as its row says now, also while it is being deleted. Raises NoSuchContainer."""
        container = await self._read(account, name)
        if container is None:
            self.forget(account, name)
            raise NoSuchContainer(name)
        if container.head.state == OPEN:
            self._remember(container)
        return container

    async def _read(self, account: str, name: str) -> Container | None:
        row = await self._rows.read(containers_shard(account), container_name(name), Want.HEAD)
        return Container(account, name, _decode_container(row.value.head)) if row.live else None

    def _remember(self, container: Container) -> None:
        fresh_until = self._clock.monotonic() + CONTAINER_FRESH_S
        self._cache[container.account, container.name] = _Cached(container, fresh_until)
        if len(self._cache) > CACHED_CONTAINERS_MAX:
            self._cache.popitem(last=False)

    def forget(self, account: str, name: str) -> None:
        """Drop what is cached of a container."""
        self._cache.pop((account, name), None)
        self._buckets.pop(name, None)

    async def bucket(self, name: str, account: str = "", *, fresh: bool = False) -> Container:
        """See `Store.bucket`."""
        if not fresh and (account, name) in self._cache:
            return await self.get(account, name)
        holder = None if fresh else self._buckets.get(name)
        if holder is not None and account in ("", holder):
            return await self.get(holder, name)  # others may have got a container of their own since
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
        claim = await self._claim_name(account, name, raw, must_be_bucket=must_be_bucket)
        head = ContainerHead(
            id=self._randomness.token(16),
            created_ns=self._clock.now_ns(),
            policy=policy or self._default_policy,
            shards=OBJECT_SHARDS,
            meta=merged({}, meta),
            system=merged({}, system),
            bucket=claim != b"",
            nonce=self._randomness.token(16),
            claim=claim,
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

    async def _claim_name(self, account: str, name: str, raw: bytes, *, must_be_bucket: bool) -> bytes:
        """Claim the bucket name; the claim's nonce, b"" where another account has the name and this
        one need not be a bucket.

        The account's own claim is replaced: it is that of a container which is gone, or of a request
        like this one, and whoever still deletes that container must not give up ours.
        """
        shard = bucket_name_shard(raw)
        nonce = self._randomness.token(16)
        claim = Value(0, 0, _encode(BucketHead(account, self._clock.now_ns(), nonce)), b"")
        stale = await self._stale_claim(shard, raw, name)

        def decide(row: Versioned) -> Value:
            own = row.live and _decode_bucket(row.value.head).account == account
            if not row.live or own or row.value.head == stale:
                return claim
            raise BucketNameTaken(name)

        try:
            await self._rows.update(shard, raw, decide)
        except BucketNameTaken:
            if must_be_bucket:
                raise
            return b""
        return nonce

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
        return await self._on_present(container, lambda c: self._update(c, meta, system))

    async def _update(
        self, container: Container, meta: dict[str, str], system: dict[str, str]
    ) -> Container:
        nonce = self._randomness.token(16)
        made: list[ContainerHead] = []

        def decide(row: Versioned) -> Value:
            head = same_container(row, container)
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

    # -- deleting --

    async def delete(self, container: Container) -> None:
        """See `Store.delete_container`."""
        await self._on_present(container, self._delete)

    async def _delete(self, container: Container) -> None:
        self.forget(container.account, container.name)
        try:
            await self._deletion.carry_out(container)
        except Superseded as error:  # another request's deletion tells how ours ends, too
            present = await self._settled(container.account, container.name)
            if present is not None and present.head.id == container.head.id:
                raise ContainerNotEmpty(container.name) from error
            if not await self._deletion.carried_out(container, error.nonce):
                raise NoSuchContainer(container.name) from error

    async def lift_stale_seals(self, container: Container) -> None:
        """See `Deletion.lift_stale_seals`."""
        await self._deletion.lift_stale_seals(container)

    async def wants_repolicy(self, container: Container) -> None:
        """An object was written to it under another policy than it has now: have it looked for."""
        now_ns = self._clock.now_ns()

        def step(head: ContainerHead) -> ContainerHead:
            again = head.repolicy or Repolicy(now_ns, now_ns)
            return msgspec.structs.replace(head, repolicy=msgspec.structs.replace(again, clean=False))

        await self._resharding.update(_row_of(container), step)

    async def give_up_move(self, container: Container) -> None:
        """Take the shard back from the move that the container's head names. Raises Superseded."""
        assert container.head.reshard is not None
        await self._resharding.give_up(_row_of(container), container.head.reshard.move)

    async def _on_present(self, container: Container, act: Callable[[Container], Awaitable[T]]) -> T:
        """`act` on the container, or on the one that has its name now: what was cached may be stale."""
        for _ in range(STALE_ATTEMPTS):
            try:
                return await act(container)
            except NoSuchContainer:
                present = await self.get(container.account, container.name, fresh=True)
                if present.head.id == container.head.id:
                    raise
            container = present
        raise Unavailable("the container is being replaced")

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
        layout = container.head.layout
        counts = await asyncio.gather(*map(self._rows.count, layout.all_shards()))
        if any(count.sealed for count in counts):  # it may be gone, or its rows have moved on
            present = await self.get(container.account, container.name, fresh=True)
            if present.head.layout != layout:
                return await self.stat(present)
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


def _row_of(container: Container) -> ContainerRow:
    name = container.name.encode()
    return ContainerRow(containers_shard(container.account), name, container.head.id)


_NONCE: Final = "\0nonce"
"""The key of an account row's nonce; no metadata name has a NUL."""


def _plus(usage: PolicyUsage, container: ContainerStat) -> PolicyUsage:
    """`usage` with one more container."""
    return PolicyUsage(
        usage.containers + 1,
        usage.objects + container.objects,
        usage.size_bytes + container.size_bytes,
    )

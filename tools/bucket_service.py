"""What `atoll bucket` asks of a process of the store, on its socket: show, reshard, change the policy.

The answer to each is what the container's row says then. The work itself is the repair workers', of
this or another process.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from proxy.core.errors import StoreError
from proxy.core.placement import Placement
from proxy.core.resharding import BadShards, ContainerRow, Resharding
from proxy.core.seals import Superseded
from proxy.core.shards import containers_shard
from proxy.core.store import CoreStore
from proxy.core.types import Container, ContainerHead
from proxy.repair.repolicy import Repolicier, begun
from proxy.repair.reshard import Resharder
from runtime.clock import Clock


class Asked(msgspec.Struct):
    """A request. account: "" for the one that has the bucket's name. shards: 0 for twice as many."""

    action: Literal["show", "reshard", "policy"]
    name: str
    account: str = ""
    policy: str = ""
    shards: int = 0


class ReshardShown(msgspec.Struct):
    """How far a reshard is."""

    target: int
    moved: int
    of: int
    started_ns: int


class RepolicyShown(msgspec.Struct):
    """How far a change of policy is. marker: names up to it are done in this pass."""

    since_ns: int
    passes: int
    marker: str
    objects: int
    size_bytes: int
    failed: int


class Shown(msgspec.Struct):
    """A container."""

    account: str
    name: str
    policy: str
    shards: int
    objects: int
    size_bytes: int
    reshard: ReshardShown | None = None
    repolicy: RepolicyShown | None = None


class Refused(msgspec.Struct):
    """Why it was not done."""

    error: str


class BucketService:
    """Carries out what is asked. run_now: wakes a repair worker of this process."""

    def __init__(
        self,
        store: CoreStore,
        placement: Placement,
        rows: Resharding,
        resharder: Resharder,
        repolicier: Repolicier,
        clock: Clock,
        run_now: Callable[[str], None],
    ) -> None:
        self._store = store
        self._placement = placement
        self._rows = rows
        self._resharder = resharder
        self._repolicier = repolicier
        self._clock = clock
        self._run_now = run_now

    async def answer(self, body: bytes) -> tuple[int, bytes]:
        """HTTP status and JSON: `Shown`, or `Refused` with 400 (wrong) or 503 (not now)."""
        try:
            shown = await self._carry_out(msgspec.json.decode(body, type=Asked))
        except (msgspec.MsgspecError, BadShards) as error:
            return 400, msgspec.json.encode(Refused(str(error)))
        except Superseded:
            return 503, msgspec.json.encode(Refused("the container is being deleted"))
        except StoreError as error:
            known = type(error).__name__ in ("NoSuchContainer", "UnknownPolicy")
            text = f"{_WORDS.get(type(error).__name__, type(error).__name__)}: {error.detail}"
            return 400 if known else 503, msgspec.json.encode(Refused(text))
        return 200, msgspec.json.encode(shown)

    async def _carry_out(self, asked: Asked) -> Shown:
        container = await self._found(asked)
        shard = containers_shard(container.account)
        row = ContainerRow(shard, container.name.encode(), container.head.id)
        head = container.head
        if asked.action == "reshard":
            target = asked.shards or 2 * head.shards
            head = await self._rows.ask(row, target)
            self._resharder.ask(row)
            self._run_now(Resharder.name)
        elif asked.action == "policy":
            self._placement.policy(asked.policy)
            now_ns = self._clock.now_ns()
            head = await self._rows.update(row, lambda there: begun(there, asked.policy, now_ns))
            self._repolicier.ask(row)
            self._run_now(Repolicier.name)
        return await self._shown(Container(container.account, container.name, head))

    async def _found(self, asked: Asked) -> Container:
        if asked.account:
            return await self._store.container(asked.account, asked.name, fresh=True)
        return await self._store.bucket(asked.name, fresh=True)

    async def _shown(self, container: Container) -> Shown:
        head = container.head
        stat = await self._store.container_stat(container)
        return Shown(
            container.account,
            container.name,
            head.policy,
            head.shards,
            stat.objects,
            stat.size_bytes,
            _reshard(head),
            _repolicy(head),
        )


_WORDS = {"NoSuchContainer": "there is no such bucket", "UnknownPolicy": "the ring has no such policy"}


def _reshard(head: ContainerHead) -> ReshardShown | None:
    there = head.reshard
    if there is None:
        return None
    return ReshardShown(there.target, there.moved, head.shards, there.started_ns)


def _repolicy(head: ContainerHead) -> RepolicyShown | None:
    there = head.repolicy
    if there is None:
        return None
    return RepolicyShown(
        there.since_ns, there.passes, there.marker, there.objects, there.size_bytes, there.failed
    )

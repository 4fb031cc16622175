"""Doubling a container's object shards while it is used: the steps that its row takes.

Shard n of generation g splits into n and n + S of generation g + 1 (`shards.Layout`), one shard after
the other. The container's row decides, by conditional updates:

1. *ask*: `reshard` says how many shards there will be.
2. *begin*: the move of the next shard, with a number and a nonce of its own. Its rows were copied
   before, while they were written; what has changed since is known by name.
3. The old shard is sealed (`seals.py`): no write succeeds there any more that has not yet, so whatever
   any majority of its sealed replicas hold, newest first, is all that was acknowledged, and more. What
   changed is copied, until a majority of the new shard's replicas has it all.
4. *switch*: `moved` goes up by one, if the row still names this very move. From then on the new shards
   are read and written. The old one stays sealed for ever, which tells all who remember an older row.
5. After the last shard `shards` is doubled and `generation` goes up.

A write that meets the seal waits for the switch (`living.py`), a few hundredths of a second. Where it
does not come, because whoever moved the shard was killed, the waiting give the move up and lift its
seal: then it can't switch any more, and another one begins later. So no step needs its author, and two
reshardings of one container only take the moves out of each other's hands.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from proxy.core.deletion import NONCE_BYTES, OPEN, changed_nonce, without_move
from proxy.core.errors import NoSuchContainer
from proxy.core.register import Value, Versioned
from proxy.core.rows import Rows
from proxy.core.seals import Seals, Superseded
from proxy.core.shards import OBJECT_SHARDS_MAX
from proxy.core.types import ContainerHead, Reshard, SealHead
from runtime.clock import Clock
from runtime.errors import AtollError
from runtime.randomness import Randomness
from storage.types import Want

PATIENCE_S: Final = 1.0
PATIENCE_MAX_S: Final = 8.0
"""A write waits so long for a move before it gives it up; twice as long for each time that it was begun
before, but well below a row operation's deadline."""

Step = Callable[[ContainerHead], ContainerHead]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ContainerHead).decode


class BadShards(AtollError):
    """The number of shards asked for is no power of two, or not more than there are."""


def patience_s(reshard: Reshard) -> float:
    """How long to wait for the move under way."""
    return float(min(PATIENCE_MAX_S, PATIENCE_S * 2 ** min(max(0, reshard.tries - 1), 10)))


def asked(head: ContainerHead, target: int, now_ns: int) -> ContainerHead:
    """The head with a reshard to `target` shards under way. Raises BadShards."""
    if target < 2 or target & (target - 1) or target > OBJECT_SHARDS_MAX:
        raise BadShards(f"shards are a power of two, at most {OBJECT_SHARDS_MAX}")
    under_way = head.reshard
    if target <= head.shards or (under_way is not None and target < under_way.target):
        raise BadShards(f"the container has, or will have, {head.shards} shards or more already")
    if under_way is not None:
        under_way = msgspec.structs.replace(under_way, target=target)
    return msgspec.structs.replace(head, reshard=under_way or Reshard(target, now_ns))


def switched(head: ContainerHead) -> ContainerHead:
    """The head after the move under way."""
    reshard = head.reshard
    assert reshard is not None
    if reshard.moved + 1 < head.shards:
        after = msgspec.structs.replace(reshard, moved=reshard.moved + 1, move=b"", tries=0)
        return msgspec.structs.replace(head, reshard=after)
    shards = 2 * head.shards
    left = msgspec.structs.replace(reshard, moved=0, move=b"", tries=0)
    return msgspec.structs.replace(
        head,
        shards=shards,
        generation=head.generation + 1,
        reshard=left if left.target > shards else None,
    )


class ContainerRow(NamedTuple):
    """The row of one container, whose account's name need not be known.

    shard, name: where the row is. id: which container it must be.
    """

    shard: bytes
    name: bytes
    id: bytes


class Resharding:
    """The steps of a container's row."""

    def __init__(self, rows: Rows, clock: Clock, randomness: Randomness) -> None:
        self._rows = rows
        self._seals = Seals(rows)
        self._clock = clock
        self._randomness = randomness

    async def read(self, row: ContainerRow) -> ContainerHead:
        """The container's head. Raises NoSuchContainer where it is gone."""
        return self._head(row, await self._rows.read(row.shard, row.name, Want.HEAD))

    def _head(self, row: ContainerRow, found: Versioned) -> ContainerHead:
        head = _decode(found.value.head) if found.live else None
        if head is None or head.id != row.id:
            raise NoSuchContainer(row.name.decode())
        return head

    async def ask(self, row: ContainerRow, target: int) -> ContainerHead:
        """Have the container get `target` shards. Raises BadShards, NoSuchContainer."""
        now_ns = self._clock.now_ns()
        return await self.update(row, lambda head: asked(_open(head), target, now_ns))

    async def begin(self, row: ContainerRow, number: int, generation: int) -> SealHead:
        """Begin to move shard `number`; the seal for it. Raises Superseded where it is not the next."""
        move = self._randomness.token(16)

        def begun(head: ContainerHead) -> ContainerHead:
            reshard = _open(head).reshard
            if reshard is None or (reshard.moved, head.generation) != (number, generation):
                raise Superseded
            under_way = msgspec.structs.replace(reshard, move=move, tries=reshard.tries + 1)
            return msgspec.structs.replace(head, reshard=under_way, deletions=head.deletions + 1)

        head = await self.update(row, begun)
        return SealHead(head.deletions, move, "", row.name.decode(), row.shard)

    async def switch(self, row: ContainerRow, move: bytes) -> ContainerHead:
        """End the move: from now on the new shards count. Raises Superseded where it was given up."""

        def step(head: ContainerHead) -> ContainerHead:
            if _open(head).reshard is None or head.reshard is None or head.reshard.move != move:
                raise Superseded
            return switched(head)

        return await self.update(row, step)

    async def give_up(self, row: ContainerRow, move: bytes) -> ContainerHead:
        """Take the shard back from a move that does not end; its seal is lifted if it has one."""

        def step(head: ContainerHead) -> ContainerHead:
            if head.reshard is None or head.reshard.move != move:
                raise Superseded
            return msgspec.structs.replace(head, reshard=without_move(head.reshard))

        head = await self.update(row, step)
        assert head.reshard is not None
        shard = head.layout.key(head.reshard.moved)
        seal = await self._seals.on(shard)
        if seal is not None and seal.nonce == move:
            await self._seals.lift(shard, seal)
        return head

    async def update(self, row: ContainerRow, step: Step) -> ContainerHead:
        """Change the row by `step`, also while the container is being deleted: it may stay."""
        token = self._randomness.token(NONCE_BYTES)
        made: list[ContainerHead] = []

        def decide(found: Versioned) -> Value:
            head = self._head(row, found)
            made.append(msgspec.structs.replace(step(head), nonce=changed_nonce(head, token)))
            return Value(0, 0, _encode(made[-1]), b"")

        await self._rows.update(row.shard, row.name, decide)
        return made[-1]


def _open(head: ContainerHead) -> ContainerHead:
    if head.state != OPEN:
        raise Superseded
    return head

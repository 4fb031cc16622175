"""Sealing shards: what takes no write any more, because its container is being deleted or it moves on.

A seal has a number and a nonce: those of the deletion or move that set it, which the container's row
counts (`ContainerHead.deletions`). A newer one's seals replace an older one's, never the other way
round: while the row names a deletion or move, nothing lifts the seals that it has set.
"""

import contextlib

import msgspec

from proxy.core.register import Value, Versioned, tombstone
from proxy.core.rows import Rows
from proxy.core.shards import containers_shard
from proxy.core.types import SealHead
from storage.types import SEAL_NAME, RowFlag, Want

_encode = msgspec.msgpack.Encoder().encode
decode_seal = msgspec.msgpack.Decoder(SealHead).decode


class Superseded(Exception):
    """A newer deletion or move of the same container has taken over. nonce: of the overtaken one."""

    def __init__(self, nonce: bytes = b"") -> None:
        super().__init__()
        self.nonce = nonce


class _KeepAsIs(Exception):
    """Raised by a decision that finds nothing to change."""


def sealed_container(seal: SealHead) -> tuple[bytes, bytes]:
    """Shard and name of the row of the container whose shard it is that has this seal."""
    return seal.containers or containers_shard(seal.account), seal.container.encode()


class Seals:
    """Sets, lifts and reads seals."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def set(self, shard: bytes, seal: SealHead) -> None:
        """Seal a shard. Raises Superseded where a newer seal is, or was, on it."""
        value = Value(RowFlag.UNCOUNTED, 0, _encode(seal), b"")

        def decide(row: Versioned) -> Value:
            if row.value.head and decode_seal(row.value.head).deletion > seal.deletion:
                raise Superseded
            return value

        await self._rows.update(shard, SEAL_NAME, decide)

    async def lift(self, shard: bytes, seal: SealHead) -> None:
        """Lift just this seal, and no other; its number stays."""
        value = tombstone(_encode(seal))

        def decide(row: Versioned) -> Value:
            if not row.live or row.value.head != value.head:
                raise _KeepAsIs
            return value

        with contextlib.suppress(_KeepAsIs):
            await self._rows.update(shard, SEAL_NAME, decide)

    async def on(self, shard: bytes) -> SealHead | None:
        """The seal that a shard has, None where it is open."""
        row = await self._rows.read(shard, SEAL_NAME, Want.HEAD)
        return decode_seal(row.value.head) if row.live else None

"""The nodes of a cluster as they have announced themselves: one row on the keepers.

Each node writes who it is and which devices it has when it starts. `atoll ring add --node` takes its
devices from there; for a new cluster, the first keeper makes a ring of them. All nodes are one row:
they are few, change rarely, and are read together by the row protocol, where a listing would not be.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.register import Value, Versioned
from proxy.core.rows import Rows
from runtime.errors import AtollError
from runtime.randomness import Randomness
from storage.types import RowFlag, Want

NODES_SHARD: Final = b"\0nodes"
NODES_NAME: Final = b"nodes"
NODES_MAX: Final = 4096


class TooManyNodes(AtollError):
    """No more nodes can be announced."""


class Announced(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of itself. paths: its devices' directories, in its own order."""

    node: str
    region: str
    zone: str
    address: str
    paths: list[str]


class _Unchanged(Exception):
    """The row says it already."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Announced]).decode


class NodeRegister:
    """The announced nodes. Methods raise Unavailable without a majority of keepers."""

    def __init__(self, rows: Rows, randomness: Randomness) -> None:
        """rows: those of the keepers."""
        self._rows = rows
        self._randomness = randomness

    async def read(self) -> list[Announced]:
        """All nodes, in order of their names."""
        return _nodes(await self._rows.read(NODES_SHARD, NODES_NAME, Want.PAYLOAD))

    async def announce(self, node: Announced) -> None:
        """Take a node in, in the place of what it said before. Raises TooManyNodes."""

        def decide(row: Versioned) -> Value:
            others = [other for other in _nodes(row) if other.node != node.node]
            if node in _nodes(row):
                raise _Unchanged
            return self._value([*others, node])

        try:
            await self._rows.update(NODES_SHARD, NODES_NAME, decide)
        except _Unchanged:
            return

    def _value(self, nodes: Sequence[Announced]) -> Value:
        if len(nodes) > NODES_MAX:
            raise TooManyNodes(f"a cluster has at most {NODES_MAX} nodes")
        payload = _encode(sorted(nodes, key=lambda node: node.node))
        return Value(RowFlag.NONE, len(payload), self._randomness.token(16), payload)


def _nodes(row: Versioned) -> list[Announced]:
    return _decode(row.value.payload) if row.live else []

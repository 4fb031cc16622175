"""The ring's register: one row on the keepers, changed by conditional writes alone.

Whoever makes an epoch says which one it follows, so two makers can't both win, and every process can
ask for the newest ring and be told the truth by a majority of keepers. A keeper knows no epochs, and
the set of keepers is what the configuration says.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.placement import Replicas
from proxy.core.register import Value, Versioned, majority
from proxy.core.rows import Rows
from ring import file
from ring.lookup import Ring
from runtime.clock import Clock, HybridClock
from runtime.errors import AtollError
from runtime.randomness import Randomness
from storage.contract import RowDevice
from storage.types import ROW_PAYLOAD_MAX_BYTES, RowFlag, Want

RING_SHARD: Final = b"\0ring"
RING_NAME: Final = b"ring"

RING_MAX_BYTES: Final = ROW_PAYLOAD_MAX_BYTES
"""The largest ring that fits its row: 2^20 partitions of `rows` and one policy of three replicas."""

_NO_EPOCHS: Final = 0


class StaleRing(AtollError):
    """Somebody else has made the next epoch. epoch: the register's."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the ring is at epoch {epoch} by now")
        self.epoch = epoch


class ForeignRing(AtollError):
    """The keepers hold the ring of another cluster."""


class RingTooLarge(AtollError):
    """The ring does not fit its row."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"a ring of {size_bytes:,} bytes does not fit; {RING_MAX_BYTES:,} do")


class RingHead(msgspec.Struct, frozen=True, array_like=True):
    """The head of the ring's row. nonce: its writer knows its own value again by it."""

    epoch: int
    cluster_id: str
    nonce: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(RingHead).decode


class KeeperSeats:
    """The keepers as the replicas of every row that is asked here."""

    def __init__(self, keepers: Sequence[RowDevice]) -> None:
        order = sorted(range(len(keepers)), key=lambda n: not keepers[n].local)
        quorum = majority(len(keepers), tuple(order))
        self._replicas = Replicas(tuple(keepers), quorum, _NO_EPOCHS, False)

    def replicas(self, shard: bytes) -> Replicas:
        """All keepers."""
        return self._replicas

    async def newer(self, epoch: int, within_s: float) -> None:
        """There are no epochs."""


def keeper_rows(
    keepers: Sequence[RowDevice], stamps: HybridClock, clock: Clock, randomness: Randomness
) -> Rows:
    """Rows on the keepers."""
    return Rows(KeeperSeats(keepers), stamps, clock, randomness)


class RingRegister:
    """The newest ring, as a majority of keepers has it. Methods raise Unavailable without one."""

    def __init__(self, rows: Rows, randomness: Randomness) -> None:
        """rows: `keeper_rows`."""
        self._rows = rows
        self._randomness = randomness

    async def epoch(self) -> int:
        """The newest ring's epoch, 0 where there is none."""
        row = await self._rows.read(RING_SHARD, RING_NAME, Want.HEAD)
        return _decode(row.value.head).epoch if row.live else 0

    async def read(self) -> Ring | None:
        """The newest ring."""
        row = await self._rows.read(RING_SHARD, RING_NAME, Want.PAYLOAD)
        return file.decode(row.value.payload) if row.live else None

    async def replace(self, ring: Ring) -> None:
        """Make `ring` the newest: the first one, or the one after the newest, of the same cluster.

        Raises StaleRing, ForeignRing, RingTooLarge. Unavailable may mean that it was made.
        """
        payload = file.encode(ring)
        if len(payload) > RING_MAX_BYTES:
            raise RingTooLarge(len(payload))
        head = RingHead(ring.epoch, ring.cluster_id, self._randomness.token(16))
        value = Value(RowFlag.NONE, len(payload), _encode(head), payload)

        def decide(row: Versioned) -> Value:
            if row.live:
                present = _decode(row.value.head)
                if present.cluster_id != ring.cluster_id:
                    raise ForeignRing(f"the keepers hold the ring of cluster {present.cluster_id}")
                if present.epoch != ring.epoch - 1:
                    raise StaleRing(present.epoch)
            return value

        await self._rows.update(RING_SHARD, RING_NAME, decide)

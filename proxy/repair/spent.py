"""Whether the rows of a sealed shard are of use to anybody: asked before they are taken away."""

import msgspec

from proxy.core.errors import StoreError
from proxy.core.rows import Rows, SealedShard
from proxy.core.seals import Seals, sealed_container
from proxy.core.shards import container_id, is_object_shard
from proxy.core.types import ContainerHead
from storage.types import Want

_decode_container = msgspec.msgpack.Decoder(ContainerHead).decode


async def is_spent(rows: Rows, shard: bytes) -> bool:
    """Whether a sealed shard's rows are elsewhere for good, or their container is gone.

    That can't change again. False where it can't be told now.
    """
    try:
        seal = await Seals(rows).on(shard)
        if seal is None:
            return False
        containers, name = sealed_container(seal)
        row = await rows.read(containers, name, Want.HEAD)
    except (StoreError, SealedShard):
        return False
    head = _decode_container(row.value.head) if row.live else None
    if head is None or head.id != container_id(shard):
        return True
    return is_object_shard(shard) and shard not in head.layout.all_shards()

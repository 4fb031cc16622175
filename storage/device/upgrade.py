"""Brings an index that an earlier release wrote to the newest format, once, when the device opens.

Format 1 knew no digests: each shard's item is made anew from its rows, in one transaction, so that a
device that loses power half way starts over. 100,000 rows take about a fifth of a second.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import Final

from storage.device.checkpoint import put_position
from storage.device.held import decode_value
from storage.device.index_contract import Index, IndexFullError, Table
from storage.device.record import Position
from storage.device.shards import Shard, split_key

SLICE_ROWS: Final = 1000
"""Rows counted per turn of the loop."""


async def from_format_1(index: Index, position: Position) -> None:
    """Write shards' items with names and digests. IndexDamagedError, OSError."""
    items = [item async for item in _items(index)]
    old = [key for key, _ in index.scan(Table.SHARDS, b"", b"")]
    while True:
        writer = index.begin()
        try:
            for key in old:
                writer.remove(Table.SHARDS, key)
            writer.put(Table.SHARDS, items)
            put_position(writer, position)
            writer.commit()
        except IndexFullError:
            writer.abort()
            index.grow()
            continue
        index.publish()
        return


async def _items(index: Index) -> AsyncIterator[tuple[bytes, bytes]]:
    """The item of each shard, counted from its rows."""
    rows = index.scan(Table.ROWS, b"", b"")
    shard: Shard | None = None
    while some := list(islice(rows, SLICE_ROWS)):
        for key, value in some:
            shard_key, name = split_key(key)
            if shard is None or shard.key != shard_key:
                if shard is not None:
                    yield _item(shard)
                shard = Shard(shard_key)
            shard.count(name, None, decode_value(key, value))
        await asyncio.sleep(0)
    if shard is not None:
        yield _item(shard)


def _item(shard: Shard) -> tuple[bytes, bytes]:
    key, value = shard.item()
    assert value is not None
    return key, value

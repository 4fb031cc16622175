"""What of a region is to be written, and where its blocks are then. Pure functions."""

from typing import NamedTuple

from compute.backup.format import (
    BLOCK_BYTES,
    CHUNKS_MAX,
    NOWHERE,
    PRINT_BYTES,
    Ref,
    Region,
    Run,
)
from compute.backup.seal import Keys

OWN = -2
"""In a plan: in the chunk that is to be written."""


class Plan(NamedTuple):
    """content: of the chunk to write, None for none. places: of each block, (chunk, block in it).

    old: the chunks that the places count.
    """

    prints: bytes
    content: bytes | None
    digest: bytes
    places: tuple[tuple[int, int], ...]
    old: tuple[Ref, ...]

    @property
    def is_empty(self) -> bool:
        """Whether it is zero all over."""
        return all(chunk == NOWHERE for chunk, _ in self.places)


def plan(keys: Keys, data: bytearray, old: Region | None) -> Plan:
    """A region's bytes, in whole blocks, compared with what the last copy has of it."""
    prints = keys.prints(data)
    count = len(prints) // PRINT_BYTES
    found = [_found(keys, prints, block, old) for block in range(count)]
    fresh = [block for block in range(count) if found[block] is None]
    used = {place[0] for place in found if place is not None and place[0] >= 0}
    if old is not None and fresh and (len(fresh) * 2 > count or len(used) >= CHUNKS_MAX):
        return plan(keys, data, None)
    for own, block in enumerate(fresh):
        found[block] = (OWN, own)
    places = tuple(place for place in found if place is not None)
    content = _joined(data, fresh) if fresh else None
    digest = keys.digest(content) if content is not None else b""
    return Plan(prints, content, digest, places, old.chunks if old else ())


def _found(keys: Keys, prints: bytes, block: int, old: Region | None) -> tuple[int, int] | None:
    """Where a block is already; None if it is to be written."""
    own = prints[block * PRINT_BYTES : (block + 1) * PRINT_BYTES]
    if own == keys.zero_print:
        return (NOWHERE, 0)
    if old is None or block >= old.blocks or old.print_of(block) != own:
        return None
    return place_of(old, block)


def place_of(region: Region, block: int) -> tuple[int, int]:
    """The chunk that a block is in, and which of its blocks it is."""
    at = 0
    for run in region.runs:
        if block < at + run.blocks:
            return (run.chunk, run.first + block - at if run.chunk != NOWHERE else 0)
        at += run.blocks
    raise AssertionError("the runs cover all blocks")


def _joined(data: bytearray, blocks: list[int]) -> bytes:
    if len(blocks) * BLOCK_BYTES == len(data):
        return bytes(data)
    view = memoryview(data)
    return b"".join(view[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES] for block in blocks)


def region_of(made: Plan, own: Ref | None) -> Region:
    """The region as it is written down, with only the chunks that it is in. own: the new chunk."""
    chunks: list[Ref] = []
    numbers: dict[int, int] = {NOWHERE: NOWHERE}
    runs: list[Run] = []
    for chunk, first in made.places:
        if chunk not in numbers:
            numbers[chunk] = len(chunks)
            ref = own if chunk == OWN else made.old[chunk]
            assert ref is not None
            chunks.append(ref)
        _lengthen(runs, numbers[chunk], first)
    return Region(made.prints, tuple(chunks), tuple(runs))


def _lengthen(runs: list[Run], chunk: int, first: int) -> None:
    if runs and runs[-1].chunk == chunk:
        last = runs[-1]
        if chunk == NOWHERE or last.first + last.blocks == first:
            runs[-1] = last._replace(blocks=last.blocks + 1)
            return
    runs.append(Run(chunk, first, 1))

"""Layers: what a volume is made of, from the one that is written down to an image or nothing.

An extent that a layer has is there whole: it is looked for from the top down, and the first one counts.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from compute.objects.contract import ObjectStore
from compute.objects.errors import NoSuchObject
from compute.volume.drivers.contract import Piece
from compute.volume.drivers.errors import NoSuchVolume
from compute.volume.drivers.ring import names
from compute.volume.drivers.ring.blocks import Blocks
from compute.volume.drivers.ring.names import Position
from compute.volume.drivers.ring.overlay import Overlay
from compute.volume.drivers.ring.records import About, about_of

EXTENT_BYTES: Final = 4 * 1024 * 1024
LISTED_MAX: Final = 10_000
DEPTH_MAX: Final = 512
"""Layers in a chain: far more than snapshots that anyone keeps; a guard against a cycle."""


class StoredExtent(NamedTuple):
    """An extent in the store. size: what follows, up to EXTENT_BYTES, is zeroes."""

    position: Position
    size: int


class Layer:
    """A layer as a process knows it. overlays: what the journal has and the layer has not yet."""

    def __init__(self, layer_id: str, about: About, extents: dict[int, StoredExtent]) -> None:
        self.id = layer_id
        self.about = about
        self.extents = extents
        self.overlays: dict[int, list[Overlay]] = {}


class Shelf:
    """Where layers are: the container of an object store."""

    def __init__(self, objects: ObjectStore, container: str, blocks: Blocks) -> None:
        self.objects = objects
        self.container = container
        self.blocks = blocks

    async def listed(self, prefix: str) -> list[tuple[str, int]]:
        """Names and sizes of all objects with a prefix."""
        found: list[tuple[str, int]] = []
        marker = ""
        while True:
            rows = await self.objects.listing(self.container, prefix, marker, LISTED_MAX)
            found += [(row.name, row.size) for row in rows]
            if len(rows) < LISTED_MAX:
                return found
            marker = rows[-1].name

    async def extents_of(self, layer_id: str) -> dict[int, StoredExtent]:
        """The newest of each extent."""
        extents: dict[int, StoredExtent] = {}
        for name, size in await self.listed(names.extents(layer_id)):  # in the order of positions
            number, position = names.extent_parsed(name)
            extents[number] = StoredExtent(position, size)
        return extents

    async def about(self, layer_id: str) -> About | None:
        """What a layer stands on; None where there is no such layer."""
        try:
            return about_of(await self.objects.get(self.container, names.about(layer_id)))
        except NoSuchObject:
            return None

    async def layer(self, layer_id: str) -> Layer:
        """Raises NoSuchVolume."""
        about = await self.about(layer_id)
        if about is None:
            raise NoSuchVolume(f"layer {layer_id} is gone")
        return Layer(layer_id, about, await self.extents_of(layer_id))

    async def chain(self, layer_id: str) -> list[Layer]:
        """A layer and all that it stands on."""
        layers = [await self.layer(layer_id)]
        while layers[-1].about.parent:
            layers.append(await self.layer(layers[-1].about.parent))
            assert len(layers) <= DEPTH_MAX, "layers stand on each other"
        return layers

    async def extent(self, chain: Sequence[Layer], number: int, start: int, length: int) -> bytearray:
        """A range of an extent, as seen from the top of a chain.

        Where an object is gone, another process has folded anew: the layer is looked at again.
        """
        while True:
            stack: list[list[Overlay]] = []
            seen = length
            below: Layer | None = None
            for layer in chain:
                stack.append(layer.overlays.get(number, []))
                if number in layer.extents or (stack[-1] and stack[-1][-1].covers(start, start + seen)):
                    below = layer
                    break
                bound = layer.about.parent_bytes - number * EXTENT_BYTES - start
                if layer.about.parent or layer.about.pieces:
                    seen = max(min(seen, bound), 0)
            known = below.extents.get(number) if below is not None else None
            try:
                raw = await self._base(chain, below, number, start, seen, stack[-1])
            except NoSuchObject:
                if below is None:
                    raise
                fresh = await self.extents_of(below.id)
                if fresh.get(number) == known:
                    raise
                below.extents = fresh
                continue
            return _composed(chain, stack, raw, number, start, length)

    async def _base(
        self,
        chain: Sequence[Layer],
        layer: Layer | None,
        number: int,
        start: int,
        length: int,
        overlays: list[Overlay],
    ) -> bytes:
        """What the overlays lie on: an extent, the image, or nothing."""
        if length <= 0 or (overlays and overlays[-1].covers(start, start + length)):
            return b""
        if layer is not None:
            stored = layer.extents[number]
            length = min(length, stored.size - start)
            if length <= 0:
                return b""
            name = names.extent(layer.id, number, stored.position)
            return await self.blocks.read(self.container, name, stored.size, start, length)
        pieces = chain[-1].about.base
        return await self._image(pieces, number * EXTENT_BYTES + start, length) if pieces else b""

    async def _image(self, pieces: tuple[Piece, ...], offset: int, length: int) -> bytes:
        parts = []
        at = 0
        for piece in pieces:
            low, high = max(offset, at), min(offset + length, at + piece.length)
            if low < high:
                start = piece.offset + low - at
                size = piece.offset + piece.length
                parts.append(
                    await self.blocks.read(piece.container, piece.name, size, start, high - low)
                )
            at += piece.length
        return b"".join(parts)


def _composed(
    chain: Sequence[Layer],
    stack: list[list[Overlay]],
    raw: bytes,
    number: int,
    start: int,
    length: int,
) -> bytearray:
    """The base with the overlays of each layer over it, as far as each is seen from the one above."""
    whole = bytearray(length)
    whole[: len(raw)] = raw
    for depth in range(len(stack) - 1, -1, -1):
        for overlay in stack[depth]:
            overlay.lay_on(whole, start)
        if depth:
            seen = max(chain[depth - 1].about.parent_bytes - number * EXTENT_BYTES - start, 0)
            if seen < length:
                whole[seen:] = bytes(length - seen)
    return whole

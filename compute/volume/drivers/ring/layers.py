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
from compute.volume.drivers.ring.cache import Cache
from compute.volume.drivers.ring.names import Position
from compute.volume.drivers.ring.overlay import Overlay
from compute.volume.drivers.ring.records import About, Slot, Write, Zero, about_of, slot_of

EXTENT_BYTES: Final = 4 * 1024 * 1024
LISTED_MAX: Final = 10_000
DEPTH_MAX: Final = 512
"""Layers in a chain: far more than snapshots that anyone keeps; a guard against a cycle."""


_NONE: Final[list[Overlay]] = []


class StoredExtent(NamedTuple):
    """An extent in the store. size: what follows, up to EXTENT_BYTES, is zeroes."""

    position: Position
    size: int


class Layer:
    """A layer as a process knows it.

    overlays: by extents, what the journal or the layer's carry has and the extents have not yet.
    is_carried: whether there is a carry.
    """

    def __init__(self, layer_id: str, about: About, extents: dict[int, StoredExtent]) -> None:
        self.id = layer_id
        self.about = about
        self.extents = extents
        self.overlays: dict[int, list[Overlay]] = {}
        self.is_carried = False

    @property
    def held_bytes(self) -> int:
        """What the overlays' data take in memory."""
        return sum(each.held_bytes for overlays in self.overlays.values() for each in overlays)

    def lay(self, record: Write | Zero) -> None:
        """A write or zeroes, over what is there."""
        data = memoryview(record.data) if isinstance(record, Write) else None
        length = record.length if isinstance(record, Zero) else len(record.data)
        for number, start, at, part in split(record.offset, length):
            overlays = self.overlays.setdefault(number, [])
            if not overlays:
                overlays.append(Overlay())
            overlays[-1].put(start, part, None if data is None else data[at : at + part])

    def laid(self) -> list[Write | Zero]:
        """The overlays, as writes that make them."""
        return [
            Zero(number * EXTENT_BYTES + piece.start, piece.end - piece.start)
            if piece.data is None
            else Write(number * EXTENT_BYTES + piece.start, bytes(piece.data))
            for number, overlays in self.overlays.items()
            for overlay in overlays
            for piece in overlay.pieces()
        ]


class Reach(NamedTuple):
    """A range of an object. container: empty for the volumes' own. size: of the object, in bytes."""

    container: str
    name: str
    size: int
    offset: int
    length: int


class Seen(NamedTuple):
    """What a range is made of. stack: overlays from the top down. layer: which has it; none: the image.

    ranges: what the overlays lie on; where they end, zeroes follow.
    """

    stack: list[list[Overlay]]
    layer: Layer | None
    ranges: list[Reach]


class Shelf:
    """Where layers are: the container of an object store."""

    def __init__(self, objects: ObjectStore, container: str, cache: Cache) -> None:
        self.objects = objects
        self.container = container
        self.cache = cache

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
        carry = await self._carry(layer_id)  # before the extents: it goes when they have it
        layer = Layer(layer_id, about, await self.extents_of(layer_id))
        if carry is not None:
            layer.is_carried = True
            for record in carry.records:
                assert isinstance(record, Write | Zero), "a carry has writes"
                layer.lay(record)
        return layer

    async def _carry(self, layer_id: str) -> Slot | None:
        try:
            return slot_of(await self.objects.get(self.container, names.carry(layer_id)))
        except NoSuchObject:
            return None

    async def chain(self, layer_id: str) -> list[Layer]:
        """A layer and all that it stands on."""
        layers = [await self.layer(layer_id)]
        while layers[-1].about.parent:
            layers.append(await self.layer(layers[-1].about.parent))
            assert len(layers) <= DEPTH_MAX, "layers stand on each other"
        return layers

    def now(self, chain: Sequence[Layer], number: int, start: int, length: int) -> bytes | None:
        """A range of an extent, as seen from the top of a chain, where it is at hand."""
        seen = _seen(chain, number, start, length)
        parts = []
        for reach in seen.ranges:
            found = self.cache.now(*self._named(reach))
            if found is None:
                return None
            parts.append(found)
        raw = parts[0] if len(parts) == 1 else b"".join(parts)
        return _composed(chain, seen.stack, raw, number, start, length)

    async def extent(self, chain: Sequence[Layer], number: int, start: int, length: int) -> bytes:
        """A range of an extent, as seen from the top of a chain.

        Where an object is gone, another process has folded anew: the layer is looked at again.
        """
        while True:
            seen = _seen(chain, number, start, length)
            known = seen.layer.extents.get(number) if seen.layer is not None else None
            try:
                raw = b"".join([await self.cache.read(*self._named(reach)) for reach in seen.ranges])
            except NoSuchObject:
                if seen.layer is None:
                    raise
                fresh = await self.extents_of(seen.layer.id)
                if fresh.get(number) == known:
                    raise
                seen.layer.extents = fresh
                continue
            return _composed(chain, seen.stack, raw, number, start, length)

    def ahead(self, chain: Sequence[Layer], number: int) -> None:
        """Begin to fetch an extent that is likely to be read soon."""
        for reach in _seen(chain, number, 0, EXTENT_BYTES).ranges:
            self.cache.ahead(*self._named(reach))

    def _named(self, reach: Reach) -> Reach:
        return reach if reach.container else reach._replace(container=self.container)


class Ahead:
    """Of one open volume or snapshot: where it is read from one extent to the next, goes ahead."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._last = -1

    def read(self, chain: Sequence[Layer], number: int) -> None:
        """An extent is read."""
        if number == self._last:
            return
        if number == self._last + 1 and number:
            self._shelf.ahead(chain, number + 1)
        self._last = number


def _seen(chain: Sequence[Layer], number: int, start: int, length: int) -> Seen:
    """What is seen of a range from the top of a chain."""
    stack: list[list[Overlay]] = []
    seen = length
    below: Layer | None = None
    for layer in chain:
        stack.append(layer.overlays.get(number, _NONE))
        if number in layer.extents:
            below = layer
            break
        if stack[-1] and stack[-1][-1].covers(start, start + seen):
            return Seen(stack, layer, [])
        about = layer.about
        if about.parent or about.pieces:
            seen = max(min(seen, about.parent_bytes - number * EXTENT_BYTES - start), 0)
    if seen <= 0 or (stack[-1] and stack[-1][-1].covers(start, start + seen)):
        return Seen(stack, below, [])
    if below is None:
        pieces = chain[-1].about.base
        return Seen(stack, None, _of_image(pieces, number * EXTENT_BYTES + start, seen))
    stored = below.extents[number]
    seen = min(seen, stored.size - start)
    if seen <= 0:
        return Seen(stack, below, [])
    name = names.extent(below.id, number, stored.position)
    return Seen(stack, below, [Reach("", name, stored.size, start, seen)])


def _of_image(pieces: tuple[Piece, ...], offset: int, length: int) -> list[Reach]:
    found = []
    at = 0
    for piece in pieces:
        low, high = max(offset, at), min(offset + length, at + piece.length)
        if low < high:
            size = piece.offset + piece.length
            start = piece.offset + low - at
            found.append(Reach(piece.container, piece.name, size, start, high - low))
        at += piece.length
    return found


def _composed(
    chain: Sequence[Layer],
    stack: list[list[Overlay]],
    raw: bytes,
    number: int,
    start: int,
    length: int,
) -> bytes:
    """The base with the overlays of each layer over it, as far as each is seen from the one above."""
    if not any(stack):
        return raw if len(raw) == length else raw.ljust(length, b"\0")
    whole = bytearray(length)
    whole[: len(raw)] = raw
    for depth in range(len(stack) - 1, -1, -1):
        for overlay in stack[depth]:
            overlay.lay_on(whole, start)
        if depth:
            seen = max(chain[depth - 1].about.parent_bytes - number * EXTENT_BYTES - start, 0)
            if seen < length:
                whole[seen:] = bytes(length - seen)
    return bytes(whole)


def split(offset: int, length: int) -> list[tuple[int, int, int, int]]:
    """A range by extents: number, start within it, how far into the range, length."""
    parts = []
    at = 0
    while at < length:
        number, start = divmod(offset + at, EXTENT_BYTES)
        part = min(EXTENT_BYTES - start, length - at)
        parts.append((number, start, at, part))
        at += part
    return parts

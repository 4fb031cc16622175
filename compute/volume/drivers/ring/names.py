"""The names of a volume's objects, which order them: nothing is ever overwritten.

A *position* is a moment of a volume's life: the epoch of its writer and the slot of its journal. What
is folded or changed is put under a new name that ends in its position, and the newest name counts. So
a writer that was fenced off can put what it likes, late: it is older than what its successor puts.

    volumes/<volume>/journal/<position>            what was written, in order
    volumes/<volume>/head/<position>               size, layers, snapshots
    layers/<layer>/extents/<number>-<position>     4 MiB, whole; shorter where zeroes follow
    layers/<layer>/references/<holder>             who needs the layer
    layers/<layer>/about                           its parent; deleted last
    layers/<layer>/settled                         nothing of it is in a journal alone
    layers/<layer>/carry                           what was not folded when it was settled
"""

from typing import NamedTuple


class Position(NamedTuple):
    """Where in a volume's life. Compared by epoch, then by slot."""

    epoch: int
    slot: int

    @property
    def text(self) -> str:
        """As names end, in the order of positions."""
        return f"{self.epoch:08x}{self.slot:010x}"

    @classmethod
    def parsed(cls, text: str) -> "Position":
        """The inverse of `text`."""
        return cls(int(text[:8], 16), int(text[8:], 16))

    @property
    def next(self) -> "Position":
        """The following slot."""
        return Position(self.epoch, self.slot + 1)


BEFORE_ALL = Position(0, 0)
VOLUMES = "volumes/"


def volume(volume_id: str) -> str:
    """The prefix of all that is a volume's own."""
    return f"volumes/{volume_id}/"


def journal(volume_id: str, position: Position | None = None) -> str:
    """A slot's name, or the prefix of all."""
    return f"volumes/{volume_id}/journal/{position.text if position else ''}"


def head(volume_id: str, position: Position | None = None) -> str:
    """A head's name, or the prefix of all."""
    return f"volumes/{volume_id}/head/{position.text if position else ''}"


def layer(layer_id: str) -> str:
    """The prefix of all of a layer."""
    return f"layers/{layer_id}/"


def extents(layer_id: str) -> str:
    """The prefix of a layer's extents."""
    return f"layers/{layer_id}/extents/"


def extent(layer_id: str, number: int, position: Position) -> str:
    """An extent's name."""
    return f"{extents(layer_id)}{number:08x}-{position.text}"


def extent_parsed(name: str) -> tuple[int, Position]:
    """An extent's number and position, of its name."""
    number, _, position = name.rpartition("/")[2].partition("-")
    return int(number, 16), Position.parsed(position)


def about(layer_id: str) -> str:
    """What a layer stands on."""
    return f"layers/{layer_id}/about"


def settled(layer_id: str) -> str:
    """The mark of a layer that needs no journal."""
    return f"layers/{layer_id}/settled"


def carry(layer_id: str) -> str:
    """The writes of a settled layer that its extents may not have yet."""
    return f"layers/{layer_id}/carry"


def references(layer_id: str) -> str:
    """The prefix of a layer's references."""
    return f"layers/{layer_id}/references/"


def position_of(name: str) -> Position:
    """The position that a journal's or head's name ends in."""
    return Position.parsed(name.rpartition("/")[2])

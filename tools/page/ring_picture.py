"""The ring as a circle: each device's part of it is its share of the partitions. Pure geometry.

With many devices each arc is a node, with very many a zone: an arc must be wide enough to be seen.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

ARCS_MAX: Final = 240

OUTER: Final = 96.0
INNER: Final = 66.0
"""Radii, in a picture of 200 by 200 around its middle."""

GAP: Final = 0.012
"""Between zones, in radians."""

HUES: Final = 8
"""Zones beyond so many begin with the first colour again."""


class Slot(NamedTuple):
    """A device's place. share: partition-replicas. tone: what is wrong with it, "" for nothing."""

    zone: str
    node: str
    name: str
    share: int
    tone: str


class Arc(NamedTuple):
    """One piece. hue: of its zone, 0 … HUES - 1. even: neighbours differ in it. path: SVG's `d`."""

    label: str
    hue: int
    even: bool
    tone: str
    path: str


def arcs(slots: Sequence[Slot]) -> list[Arc]:
    """The circle's pieces, zone by zone from the top, clockwise."""
    pieces = _pieces([slot for slot in slots if slot.share])
    zones = list(dict.fromkeys(piece.zone for piece in pieces))
    total = sum(piece.share for piece in pieces)
    if not total:
        return []
    room = 2 * math.pi - (GAP * len(zones) if len(zones) > 1 else 0.0)
    found: list[Arc] = []
    at, zone = 0.0, pieces[0].zone
    for number, piece in enumerate(pieces):
        if piece.zone != zone:
            at, zone = at + GAP, piece.zone
        width = room * piece.share / total
        hue = zones.index(piece.zone) % HUES
        share = f"{100 * piece.share / total:.1f} %"
        label = f"{piece.name}, {share}" + (f", {piece.tone}" if piece.tone else "")
        found.append(Arc(label, hue, number % 2 == 0, piece.tone, _path(at, at + width)))
        at += width
    return found


def _pieces(slots: Sequence[Slot]) -> list[Slot]:
    """Devices, or nodes or zones where those are too many."""
    ordered = sorted(slots, key=lambda slot: (slot.zone, slot.node))
    if len(ordered) > ARCS_MAX:
        ordered = _merged(ordered, lambda slot: (slot.zone, slot.node))
    if len(ordered) > ARCS_MAX:
        ordered = _merged(ordered, lambda slot: (slot.zone, ""))
    return ordered


def _merged(slots: Sequence[Slot], key: Callable[[Slot], tuple[str, str]]) -> list[Slot]:
    groups: dict[tuple[str, str], list[Slot]] = {}
    for slot in slots:
        groups.setdefault(key(slot), []).append(slot)
    found = []
    for (zone, node), members in groups.items():
        tones = {slot.tone for slot in members}
        tone = tones.pop() if len(tones) == 1 else "partly"
        name = f"node {node}" if node else f"zone {zone}"
        share = sum(slot.share for slot in members)
        found.append(Slot(zone, node, name, share, tone if any(s.tone for s in members) else ""))
    return found


def _path(begin: float, end: float) -> str:
    """A ring's sector between two angles from the top; a whole ring as two halves."""
    if end - begin > 2 * math.pi - 1e-6:
        half = begin + math.pi
        return f"{_sector(begin, half)} {_sector(half, end)}"
    return _sector(begin, end)


def _sector(begin: float, end: float) -> str:
    large = 1 if end - begin > math.pi else 0
    a, b = _point(OUTER, begin), _point(OUTER, end)
    c, d = _point(INNER, end), _point(INNER, begin)
    outer, inner = f"A{OUTER:g} {OUTER:g} 0 {large} 1 {b}", f"A{INNER:g} {INNER:g} 0 {large} 0 {d}"
    return f"M{a} {outer} L{c} {inner} Z"


def _point(radius: float, angle: float) -> str:
    return f"{radius * math.sin(angle):.2f} {-radius * math.cos(angle):.2f}"

"""The rest of a rebalancing step: shortest chains of moves where no single move is legal.

A replica goes from a leaf above its quota to another leaf, which passes one of its own on, until one
that lacks a replica is reached: an augmenting path, found breadth first. A partition that this step
has moved already may be sent elsewhere, sent back, or be moved off another of its leaves instead,
which costs nothing. Each visit looks at all slots of a leaf, so this is for the few replicas that
`ring.matching` leaves over.
"""

from dataclasses import dataclass

import numpy as np

from ring.board import VACANT, Board
from ring.types import BoolArray, IntArray

VISITS_MAX = 512
"""Leaves fully looked at in the search of one chain. Only rings of more devices can reach it."""
FAILURES_MAX = 64
"""Searches in vain after which a step leaves the rest to the next one."""
CHAINS_MAX = 4096
"""Searches of one step; the next one goes on."""
CELLS_MAX = 1 << 22
"""Slots x targets that are checked in one batch."""


@dataclass(frozen=True)
class Link:
    """Replica r of partition p leaves `source` for `target`; before: the link that freed its slot."""

    p: int
    r: int
    source: int
    target: int
    before: "Link | None"

    def partitions(self) -> set[int]:
        """All partitions of the chain up to here."""
        return {self.p} | (self.before.partitions() if self.before else set())


def settle_chains(board: Board, rng: np.random.Generator) -> None:
    """Bring leaves above their quota down to it as far as chains of moves can."""
    failures = chains = 0
    stuck = np.zeros(len(board.quota), dtype=np.bool_)
    while failures < FAILURES_MAX and chains < CHAINS_MAX:
        chains += 1
        surplus = board.surplus()
        starts = np.flatnonzero((surplus > 0) & ~stuck)
        if not len(starts) or not (surplus < 0).any():
            return
        start = int(rng.choice(starts))
        chain = _search(board, rng, start)
        if chain is None or not _carry_out(board, chain):
            stuck[start] = True
            failures += 1


def _search(board: Board, rng: np.random.Generator, start: int) -> Link | None:
    """The last link of a shortest chain from `start` to a leaf that lacks a replica."""
    lacking = np.unique(board.lacking())
    unseen = board.quota > 0
    unseen[start] = False
    frontier: dict[int, Link | None] = {start: None}
    visits = 0
    while frontier:
        for leaf, before in frontier.items():
            found = _links(board, rng, leaf, lacking, before)
            if found:
                return found[0]
            visits += 1
            if visits >= VISITS_MAX:
                return None
        frontier = _reached(board, rng, frontier, unseen)
    return None


def _reached(
    board: Board, rng: np.random.Generator, frontier: dict[int, Link | None], unseen: BoolArray
) -> dict[int, Link | None]:
    """All leaves one link beyond the frontier that were not seen before; marks them seen."""
    reached: dict[int, Link | None] = {}
    for leaf, before in frontier.items():
        for link in _links(board, rng, leaf, np.flatnonzero(unseen), before):
            reached[link.target] = link
            unseen[link.target] = False
        if not unseen.any():
            break
    return reached


def _links(
    board: Board,
    rng: np.random.Generator,
    leaf: int,
    targets: IntArray,
    before: Link | None,
) -> list[Link]:
    """One link from `leaf` to each of `targets` that one of its replicas may go to."""
    r, p = np.nonzero(board.table == leaf)
    order = rng.permutation(len(p))
    r, p = r[order], p[order]
    if before is not None:
        unused = ~np.isin(p, list(before.partitions()))
        r, p = r[unused], p[unused]
    links: list[Link] = []
    size = max(1, CELLS_MAX // max(1, len(p)))
    for start in range(0, len(targets), size):
        part = targets[start : start + size]
        legal = _legal(board, p, r, part)
        for column in np.flatnonzero(legal.any(axis=0)).tolist():
            slot = int(legal[:, column].argmax())
            links.append(Link(int(p[slot]), int(r[slot]), leaf, int(part[column]), before))
    return links


def _legal(board: Board, p: IntArray, r: IntArray, targets: IntArray) -> BoolArray:
    """Slots x targets: whether the slot's replica may go there in this step."""
    moved = board.moved[p]
    free = board.movable(p, r) | (moved == r)
    origin = np.where(moved >= 0, board.home[moved, p], VACANT)
    instead = (moved >= 0) & (moved != r) & ~board.frozen[p]
    allowed = free[:, None] | (instead[:, None] & (origin[:, None] == targets[None, :]))
    row, column = np.nonzero(allowed)
    legal = np.zeros(allowed.shape, dtype=np.bool_)
    legal[row, column] = board.fits(p[row], r[row], targets[column])
    return legal


def _carry_out(board: Board, last: Link) -> bool:
    """Make the moves of a chain, the last first; False if one turned out illegal."""
    link: Link | None = last
    while link is not None:
        p, r, new = np.array([link.p]), np.array([link.r]), np.array([link.target])
        if not board.fits(p, r, new)[0]:
            return False
        if board.moved[link.p] in (-1, link.r):
            board.put(p, r, new)
        else:
            board.put_instead(p, r)
        link = link.before
    return True

"""The replica's side of the row protocol, as pure decisions (DESIGN section 5).

A row is an ABD register (Attiya, Bar-Noy, Dolev, 1995) for plain writes with single-decree Paxos for
conditional ones on top. A version is a stamp (last plain write) followed by a ballot (conditional
update on top of it, or zero); versions compare as bytes. The device engine and the in-memory twin
call these functions, make the outcome durable and only then answer.
"""

from collections.abc import Iterable
from typing import NamedTuple

from storage.types import (
    HISTORY_VERSIONS,
    STAMP_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    No,
    Ok,
)


class RowState(NamedTuple):
    """What a replica knows of a row's versions, without its value.

    version: 32 bytes, ZERO_VERSION where it holds none. promised: 16 bytes, the highest ballot it
    promised. earlier: the versions held before `version`, oldest first, at most
    HISTORY_VERSIONS - 1; ZERO_VERSION, which every row begins with, is left out.
    """

    version: bytes = ZERO_VERSION
    promised: bytes = ZERO_STAMP
    earlier: tuple[bytes, ...] = ()


class Verdict(NamedTuple):
    """state: what to make durable before answering, or None where nothing changes."""

    state: RowState | None
    answer: Ok | No | None


OK = Ok()


def _highest(state: RowState) -> bytes:
    return max(state.version[:STAMP_BYTES], state.version[STAMP_BYTES:], state.promised)


def _stored(state: RowState, version: bytes, promised: bytes) -> RowState:
    if state.version == ZERO_VERSION:
        return RowState(version, promised, ())
    earlier = (*state.earlier, state.version)[-(HISTORY_VERSIONS - 1) :]
    return RowState(version, promised, earlier)


def _surely_never_held(state: RowState, stamp: bytes) -> bool:
    """True where the remembered history reaches back below `stamp` and does not hold it.

    The history is complete while it still begins with the empty row: with fewer than
    HISTORY_VERSIONS - 1 real predecessors the zero version is among the last HISTORY_VERSIONS.
    """
    if len(state.earlier) < HISTORY_VERSIONS - 1:
        return True
    return state.earlier[0][:STAMP_BYTES] < stamp


def on_write(state: RowState, version: bytes) -> Verdict:
    """A plain write: stored iff its stamp is above the row's own. It does not look at promises."""
    stamp = version[:STAMP_BYTES]
    own = state.version[:STAMP_BYTES]
    if stamp > own:
        return Verdict(_stored(state, version, state.promised), OK)
    if stamp == own or any(held[:STAMP_BYTES] == stamp for held in state.earlier):
        return Verdict(None, OK)
    return Verdict(None, No(_highest(state), _surely_never_held(state, stamp)))


def on_prepare(state: RowState, ballot: bytes) -> Verdict:
    """A conditional write's prepare; answer None means: promised, give the row."""
    if ballot > state.promised:
        return Verdict(state._replace(promised=ballot), None)
    return Verdict(None, No(_highest(state), never_held=False))


def on_accept(state: RowState, version: bytes) -> Verdict:
    """A conditional write's accept, or a reader confirming one under its own ballot."""
    stamp, ballot = version[:STAMP_BYTES], version[STAMP_BYTES:]
    if version == state.version or version in state.earlier:
        return Verdict(None, OK)
    if stamp < state.version[:STAMP_BYTES]:
        return Verdict(None, No(_highest(state), never_held=False))
    if ballot >= state.promised and version > state.version:
        return Verdict(_stored(state, version, max(state.promised, ballot)), OK)
    return Verdict(None, No(_highest(state), never_held=False))


class Installed(NamedTuple):
    """state: what to make durable before answering, or None. taken: whether the version was taken."""

    state: RowState | None
    taken: bool


def on_install(state: RowState, incoming: RowState, *, sealed: bool = False) -> Installed:
    """A newcomer takes over what a majority of the old replicas knows of a row, merged by `merged`.

    A conditional version counts as this replica's vote for its ballot, so it is taken only where no
    higher ballot is promised, by it or by any of them: two majorities could decide two values else.
    Then the row must be decided anew first. What others have held answers for its stamps, and is no
    vote for its ballots; it counts also where this replica has a newer version: it must not say
    "never held" of what one of those that it stands for held and let a reader see.

    sealed: this replica has sealed the row's shard. Nothing is decided there any more, so that no
    promise stands against what readers take anyway.
    """
    promised = max(state.promised, incoming.promised)
    ballot = incoming.version[STAMP_BYTES:]
    newer = incoming.version > state.version
    taken = sealed or not newer or ballot == ZERO_STAMP or ballot >= promised
    version = incoming.version if newer and taken else state.version
    stamps = {held[:STAMP_BYTES] for held in (*incoming.earlier, incoming.version)}
    of_others = {stamp + ZERO_STAMP for stamp in stamps if stamp < version[:STAMP_BYTES]}
    earlier = _history(version, {*state.earlier, state.version, *of_others}, (state, incoming))
    installed = RowState(version, promised, earlier)
    return Installed(None if installed == state else installed, taken)


def merged(states: Iterable[RowState]) -> RowState:
    """What several replicas know of a row together."""
    known = list(states)
    version = max(state.version for state in known)
    held = {v for state in known for v in (*state.earlier, state.version)}
    return RowState(version, max(state.promised for state in known), _history(version, held, known))


def _history(version: bytes, held: Iterable[bytes], states: Iterable[RowState]) -> tuple[bytes, ...]:
    """The versions before `version` among `held`, reaching back no further than each of `states` does.

    A full history says that there may have been more before it (`_surely_never_held`), so one that
    reaches back to a stamp and has fewer versions since is filled up with that stamp.
    """
    full = [state.earlier[0] for state in states if len(state.earlier) == HISTORY_VERSIONS - 1]
    reach = max((first[:STAMP_BYTES] for first in full), default=ZERO_STAMP)
    earlier = sorted(v for v in held if ZERO_VERSION < v < version and v[:STAMP_BYTES] >= reach)
    lowest = min(reach, version[:STAMP_BYTES]) + ZERO_STAMP
    if lowest != ZERO_VERSION:
        earlier = [lowest] * (HISTORY_VERSIONS - 1 - len(earlier)) + earlier
    return tuple(earlier[-(HISTORY_VERSIONS - 1) :])

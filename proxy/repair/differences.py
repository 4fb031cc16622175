"""What replicas differ in, and what each of them is to be given. Pure.

In an open shard the highest version of a row wins: whoever lacks it gets it by the message with which a
reader would confirm it, so replicas that have promised or hold more refuse by themselves.

In a sealed shard that would be wrong. A write that reached one replica before the seal must not reach
a second one after it: its writer, who asks again, would count a majority, and the scan of the sealed
shard that decided whether the container was empty, or what went into its new shards, may have asked the
two others. What a majority holds every such scan has seen. So of a sealed shard each replica is given
the highest version that a majority, all sealed, holds or is ahead of. What one replica alone holds
stays there: it ends with the shard, or is an ordinary difference again when the seal is lifted.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from storage.types import ZERO_VERSION

Key = TypeVar("Key", bound=Hashable)

Versions = Mapping[bytes, bytes]
"""Versions by name, of one replica."""


class Gift(NamedTuple):
    """A row's version, who holds it and who is to get it, by their numbers among the replicas."""

    name: bytes
    version: bytes
    holders: tuple[int, ...]
    lacking: tuple[int, ...]


def differing(digests: Sequence[Mapping[Key, int]]) -> list[Key]:
    """The keys under which not all replicas have the same digest; none is 0."""
    keys = {key for of_one in digests for key in of_one}
    return [key for key in keys if len({of_one.get(key, 0) for of_one in digests}) > 1]


def differing_leaves(digests: Sequence[Sequence[int]]) -> list[int]:
    """The numbers of the leaves that not all replicas agree on."""
    return [leaf for leaf, found in enumerate(zip(*digests, strict=True)) if len(set(found)) > 1]


def gifts(held: Sequence[Versions]) -> list[Gift]:
    """What the replicas of an open shard are to get, in order of names."""
    return list(_gifts(held, 1))


def sealed_gifts(held: Sequence[Versions], replicas: int) -> list[Gift]:
    """What those of a sealed one are to get. held: of those that are sealed, of `replicas` in all."""
    majority = replicas // 2 + 1
    return list(_gifts(held, majority)) if len(held) >= majority else []


def _gifts(held: Sequence[Versions], rank: int) -> Iterator[Gift]:
    """Everyone is to have the version that comes `rank`-th from above, or a higher one."""
    for name in sorted({name for of_one in held for name in of_one}):
        versions = [of_one.get(name, ZERO_VERSION) for of_one in held]
        version = sorted(versions, reverse=True)[rank - 1]
        lacking = tuple(number for number, own in enumerate(versions) if own < version)
        if lacking:
            holders = tuple(number for number, own in enumerate(versions) if own == version)
            yield Gift(name, version, holders, lacking)

"""Workers that are wrong in one way each: the worlds of `test_worlds.py` find every one."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.types import Blob
from proxy.repair.collect import Collector
from proxy.repair.rebuild import Rebuilder
from tests.property.core.world import run
from tests.property.repair.store_world import StoreWorld
from tests.property.repair.test_worlds import live

SEEDS = 20


class HalfBlind(Rebuilder):
    """Makes fragments under the wrong number."""

    async def _make(self, one: Any, blob: Blob) -> None:
        source = self._blobs.source(blob)
        try:
            wrong = (one.seat.number + 1) % self._placement.policy(blob.policy).width
            await self._copies.make(self._device, one.header, source.rebuilt(wrong))
        finally:
            source.close()


class NoGrace(Collector):
    """Removes what was replaced at once."""

    def __init__(self, *arguments: Any) -> None:
        *others, _grace_s = arguments
        super().__init__(*others, 0.0)  # type: ignore[call-arg]


def with_half_blind(seed: int) -> StoreWorld:
    return StoreWorld(seed, rebuilder=HalfBlind)


def with_no_grace(seed: int) -> StoreWorld:
    return StoreWorld(seed, collector=NoGrace)


@pytest.mark.parametrize("make", [with_half_blind, with_no_grace])
def test_a_wrong_worker_is_caught(make: Callable[[int], StoreWorld]) -> None:
    for seed in range(SEEDS):
        try:
            run(live(make(seed)))
        except Exception:
            return
    raise AssertionError(f"nothing was noticed in {SEEDS} worlds")

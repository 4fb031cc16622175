"""The simulation on a number of seeds; `make sim SEEDS=…` plays more. See doc/simulation.md."""

import os
import subprocess
import sys

import pytest

from tests.sim.mutants import MUTANTS, Mutant, applied
from tests.sim.scenes import SCENES, scene_of
from tests.sim.world import play

SEEDS = 50


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_seed(seed: int) -> None:
    play(seed)


def test_every_scene_is_played() -> None:
    assert {scene_of(seed) for seed in range(SEEDS)} == {"", *SCENES}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_still_has_something_to_replace(mutant: Mutant) -> None:
    """That it is found is for `make sim-mutants` to say."""
    assert mutant.scene in {"", *SCENES}
    with applied(mutant):
        assert all(vars(change.owner)[change.name] for change in mutant.changes)


def test_a_seed_replays_exactly() -> None:
    """In this process again, and in one whose sets and dictionaries hash in another way."""
    trace = play(7).trace
    assert play(7).trace == trace
    program = "from tests.sim.world import play; print(play(7).trace)"
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert elsewhere.stdout.strip() == trace

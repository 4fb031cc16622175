"""`python -m tests.sim`: plays seeds, prints what they came to, and how to replay one that fails."""

import argparse
import sys
import time

from tests.sim.mutants import MUTANTS, hunt
from tests.sim.world import Failure, play


def _hunt(names: list[str], seeds: range) -> int:
    """Find a seed for every mutant; 1 where one gets through."""
    survivors = 0
    all_begun = time.process_time()
    for mutant in MUTANTS:
        if names and mutant.name not in names:
            continue
        begun = time.process_time()
        failure = hunt(mutant, seeds)
        took = f"{time.process_time() - begun:.0f} s"
        if failure is None:
            survivors += 1
            print(f"{mutant.name}: SURVIVED {len(seeds)} seeds, {took} ({mutant.what})", flush=True)
        else:
            print(f"{mutant.name}: seed {failure.seed}, {took}, {failure.violation}"[:160], flush=True)
    print(f"{survivors} survived, {time.process_time() - all_begun:.0f} s of CPU")
    return 1 if survivors else 0


def main() -> int:
    """The exit status: 1 where a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this seed alone")
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--verbose", action="store_true", help="print everything that happens")
    parser.add_argument("--keep-going", action="store_true", help="play the others after a failure")
    parser.add_argument("--mutants", nargs="*", help="put these bugs in (none named: each of them)")
    options = parser.parse_args()
    if options.mutants is not None:
        return _hunt(options.mutants, range(options.first, options.first + options.seeds))
    seeds = (
        [options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.seeds)
    )
    failed = 0
    begun = time.process_time()
    for seed in seeds:
        try:
            outcome = play(seed, options.verbose)
        except Failure as failure:
            failed += 1
            print(failure, flush=True)
            if not options.keep_going:
                return 1
            continue
        print(
            f"seed {seed}: {outcome.operations} operations, {outcome.answered} answered, "
            f"{outcome.faults} faults, {outcome.seconds:.0f} s; trace {outcome.trace}",
            flush=True,
        )
    print(f"{len(seeds)} seeds, {failed} failed, {time.process_time() - begun:.1f} s of CPU")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

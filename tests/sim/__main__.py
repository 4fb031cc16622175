"""`python -m tests.sim`: plays seeds, prints what they came to, and how to replay one that fails."""

import argparse
import sys
import time

from tests.sim.world import Failure, play


def main() -> int:
    """The exit status: 1 where a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this seed alone")
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--verbose", action="store_true", help="print everything that happens")
    parser.add_argument("--keep-going", action="store_true", help="play the others after a failure")
    options = parser.parse_args()
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

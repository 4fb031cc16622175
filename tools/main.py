"""The `atoll` command: one file per subcommand, each with `add_parser`.

Exit status: 0 done, 1 a clear reason on standard error, 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence

from runtime.errors import AtollError
from tools import bench, bucket, cloud, doctor, node, repair, ring, status, up, user

COMMANDS = (up, user, bucket, cloud, ring, node, status, doctor, repair, bench)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="atoll", description="A strongly consistent object store.")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    args = parser().parse_args(argv)
    try:
        status_code: int = args.func(args)
    except (AtollError, OSError) as error:
        print(f"atoll {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status_code


if __name__ == "__main__":
    sys.exit(main())

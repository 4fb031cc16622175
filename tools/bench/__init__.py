"""`atoll bench`: the fixed workloads, on a store that it starts, on the prototype, on any S3 server.

Registers the subcommands; what they do is in `s3_command`, `ring`, `device`, `cluster`,
`rebuild`, `sync`, `identity`, `image`, `volume` and `backup`, imported when called.
"""

import argparse
import importlib
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register `bench` and its subcommands on the command line's subparsers."""
    bench = subparsers.add_parser("bench", help="measure the store, the ring builder or a device")
    kinds = bench.add_subparsers(
        dest="kind",
        required=True,
        metavar="s3|ring|device|cluster|rebuild|sync|identity|image|volume|backup|all",
    )
    s3 = kinds.add_parser("s3", help="S3 workloads on a store that this command starts")
    _add_s3_arguments(s3)
    s3.set_defaults(func=_run_s3)
    everything = kinds.add_parser(
        "all", help="the ring builder, the cluster, repair, then the S3 workloads"
    )
    _add_s3_arguments(everything)
    everything.set_defaults(func=_run_all)
    for name, text in (
        ("ring", "build and change a large ring"),
        ("device", "one device's engine"),
        ("cluster", "a node of four dies: how long until nobody notices"),
        ("rebuild", "make anew what a lost device held"),
        ("sync", "two replicas of a million rows that differ in ten"),
        ("identity", "the validation of tokens by the add-on"),
        ("image", "images up and down, beside the store itself"),
        ("volume", "a volume of the object store beside a local qcow2 file"),
        ("backup", "backups of a large volume that holds little"),
    ):
        # Each has options of its own, which its module parses; -h goes there, too.
        kind = kinds.add_parser(name, help=text, add_help=False, prefix_chars="\0")
        kind.add_argument("rest", nargs=argparse.REMAINDER)
        kind.set_defaults(func=_run_elsewhere)


def _add_s3_arguments(parser: argparse.ArgumentParser) -> None:
    from tools.bench.arguments import add_arguments

    add_arguments(parser)


def _run_s3(args: argparse.Namespace) -> int:
    from tools.bench.s3_command import run

    return run(args)


def _run_all(args: argparse.Namespace) -> int:
    from tools.bench.s3_command import run_all

    return run_all(args)


def _run_elsewhere(args: argparse.Namespace) -> int:
    """The module of the same name parses the rest; it has `run(argv) -> int`."""
    module = importlib.import_module(f"tools.bench.{args.kind}")
    return int(module.run(args.rest))

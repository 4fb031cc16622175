"""`atoll node`: the nodes of a cluster, and what they know each other by.

Exit status: 0 done, 1 a clear reason on standard error, 2 wrong usage.
"""

import argparse
from typing import Any

from tools.node_certificate import add_certificate, add_secret


def add_parser(subparsers: Any) -> None:
    """Register `node` and its subcommands."""
    parser = subparsers.add_parser(
        "node",
        help="nodes of a cluster, their certificates and secret",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="node_command", required=True, metavar="COMMAND")
    add_secret(commands)
    add_certificate(commands)

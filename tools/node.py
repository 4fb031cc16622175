"""`atoll node`: the nodes of a cluster, a device in the place of a lost one, and what nodes know each
other by.

`list` and `replace` ask the running node of the data directory, any of the cluster.
Exit status: 0 done, 1 a clear reason on standard error, 2 wrong usage.
"""

import argparse
import json
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ring.errors import InvalidChange
from ring.replace import replaced
from runtime.clock import Clock, SystemClock
from runtime.randomness import Randomness, SystemRandomness
from tools.control import NodeState
from tools.control_client import ControlClient
from tools.node_certificate import add_certificate, add_secret
from tools.ring import DATA_DEFAULT

NS_PER_S = 1_000_000_000
TABLE_WIDTH = 160


def add_parser(subparsers: Any) -> None:
    """Register `node` and its subcommands."""
    parser = subparsers.add_parser(
        "node",
        help="nodes of a cluster, their certificates and secret",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="node_command", required=True, metavar="COMMAND")
    text = "names, zones, addresses, epochs and devices, and who does not answer"
    listing = _command(commands, "list", text)
    listing.add_argument("--json", action="store_true", help="one JSON object for machines")
    listing.set_defaults(func=_list)
    text = "put a new device in the place of one that was wiped or whose disk was exchanged"
    replacing = _command(commands, "replace", text)
    replacing.add_argument("device", type=int, metavar="DEVICE", help="the lost device's id")
    replacing.set_defaults(func=_replace)
    add_secret(commands)
    add_certificate(commands)


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--data", metavar="DIR", default=DATA_DEFAULT, help=f"({DATA_DEFAULT})")
    return parser


def _list(args: argparse.Namespace) -> int:
    nodes = ControlClient(args.data).nodes()
    if args.json:
        print(json.dumps({"nodes": msgspec.to_builtins(nodes, str_keys=True)}, indent=2))
        return 0
    table = Table("node", "region/zone", "address", "epoch", "release", "devices", "")
    for node in nodes:
        table.add_row(*map(escape, _row(node)))
    Console(width=TABLE_WIDTH).print(table)
    return 0


def _row(node: NodeState) -> tuple[str, ...]:
    offline = {number: why for number, why in node.devices.items() if why}
    devices = f"{len(node.devices) - len(offline)} of {len(node.devices)} serve"
    remark = node.why or "; ".join(f"device {number}: {why}" for number, why in offline.items())
    if not node.devices:
        devices = f"{len(node.paths)} not in the ring"
        remark = remark or f"`atoll ring add --node {node.node}` takes them in"
    epoch = str(node.epoch) if node.epoch else "away"
    place = f"{node.region}/{node.zone}"
    return (node.node, place, node.address, epoch, node.version, devices, remark)


def _replace(args: argparse.Namespace) -> int:
    replace(ControlClient(args.data), args.device, SystemClock(), SystemRandomness())
    return 0


def replace(client: ControlClient, device_id: int, clock: Clock, randomness: Randomness) -> None:
    """Make the epoch. Raises InvalidChange where the device still serves, and what `replaced` does."""
    ring = client.ring()
    old = ring.device(device_id)
    serving = [node for node in client.nodes() if node.devices.get(device_id, "absent") == ""]
    if serving:
        raise InvalidChange(
            f"device {device_id} serves at {old.path} of node {serving[0].node}: nothing was lost. "
            f"`atoll ring remove {device_id}` drains a device"
        )
    now_s = clock.now_ns() // NS_PER_S
    after = replaced(ring, device_id, randomness.token(16).hex(), now_s)
    client.replace_ring(after)
    print(
        f"the ring is at epoch {after.epoch}: device {after.next_device_id - 1} takes the place of "
        f"device {device_id} at {old.path} of node {old.node} and gets its data from the others. "
        "The directory must be empty"
    )

"""`atoll bench ring`: how long a large ring takes to build, how even it is, what its changes move.

Devices of mixed weights, ten to a node, nodes dealt out over the zones. The changes start from the
built ring: a node more, a node less, a node of twice the weight; each goes on step by step until
nothing is left to move. Prints a table or, with --json, one object.
"""

import argparse
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ring.builder import Plan, apply, build, plan
from ring.draft import AddDevice, Change, Draft, RemoveDevice, SetWeight
from ring.errors import RingError
from ring.file import decode, encode
from ring.lookup import Ring
from ring.types import DEVICES_MAX, PART_POWER_MAX, ROWS, Device, Placement
from ring.verify import verify
from tools.bench.ring_plans import PlanTimes, measure_plans

WEIGHTS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 20.0)
NODE_DEVICES = 10
LOOKUPS = 200_000
STEPS_MAX = 20
NAME = "replicated-3"
BUILD_BAR_S = 60.0
DEVIATION_BAR = 1.0
MOVES_BAR = 1.05


@dataclass(frozen=True)
class ChangeResult:
    """One change, from the first plan to the last."""

    change: str
    moves: int
    lower_bound: int
    ratio: float
    steps: int
    seconds: float
    deviation_worst: float
    sound: bool


@dataclass(frozen=True)
class RingResult:
    """What the benchmark found; times in seconds, deviation in partition-replicas."""

    devices: int
    zones: int
    part_power: int
    replicas: int
    build_s: float
    deviation_worst: float
    deviation_worst_percent: float
    partitions_badly_spread: int
    peak_memory_mib: float
    file_mib: float
    encode_s: float
    load_s: float
    lookup_us: float
    changes: list[ChangeResult]
    plans: PlanTimes
    meets_bars: bool


def run(argv: Sequence[str]) -> int:
    """Run the benchmark with command-line arguments; 0 if it ran and met its bars, else 1."""
    args = _parser().parse_args(argv)
    try:
        result = measure_ring(args.devices, args.zones, args.part_power, args.replicas, args.seed)
    except RingError as error:
        print(f"atoll bench ring: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        _print(result)
    return 0 if result.meets_bars else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="atoll bench ring", description=__doc__)
    parser.add_argument("--devices", type=_between(1, DEVICES_MAX), default=1000)
    parser.add_argument("--part-power", type=_between(0, PART_POWER_MAX), default=16)
    parser.add_argument("--zones", type=_between(1, 1000), default=5)
    parser.add_argument("--replicas", type=_between(1, 32), default=3)
    parser.add_argument("--seed", type=_between(0, 1 << 63), default=1)
    parser.add_argument("--json", action="store_true")
    return parser


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not within {low} … {high}")
        return value

    return parse


def mixed_devices(count: int, zones: int, seed: int) -> list[Device]:
    """Devices of random weights, NODE_DEVICES to a node, nodes dealt out over zones."""
    rng = np.random.default_rng(seed)
    weights = rng.choice(WEIGHTS, count).tolist()
    return [_device(i, i // NODE_DEVICES, zones, weights[i]) for i in range(count)]


def _device(device_id: int, node: int, zones: int, weight: float) -> Device:
    return Device(
        id=device_id,
        incarnation=f"{device_id:032x}",
        region="region-1",
        zone=f"zone-{node % zones}",
        node=f"node-{node}",
        address=f"node-{node}:7000",
        path=f"/srv/atoll/{device_id}",
        weight=weight,
    )


def measure_ring(
    device_count: int, zones: int, part_power: int, replicas: int, seed: int
) -> RingResult:
    """Build, measure, change. Raises RingError for impossible numbers."""
    devices = mixed_devices(device_count, zones, seed)
    started = time.perf_counter()
    ring = build(devices, [Placement(NAME, replicas)], part_power, salt=seed, cluster_id=f"{seed:032x}")
    build_s = time.perf_counter() - started
    measured = verify(ring).measures[NAME]
    encode_s, load_s, size_bytes = _time_file(ring)
    lookup_us = _time_lookup(ring)
    changes = [_follow(ring, name, change) for name, change in _changes(ring, zones).items()]
    rows = build(devices, [Placement(ROWS, 3)], part_power, salt=seed, cluster_id=f"{seed:032x}")
    plans = measure_plans(rows, _node_more(rows, zones))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return RingResult(
        devices=device_count,
        zones=zones,
        part_power=part_power,
        replicas=replicas,
        build_s=round(build_s, 3),
        deviation_worst=round(measured.worst, 4),
        deviation_worst_percent=round(100 * measured.worst_ratio, 4),
        partitions_badly_spread=measured.broken_total,
        peak_memory_mib=round(peak_mib, 1),
        file_mib=round(size_bytes / 2**20, 2),
        encode_s=round(encode_s, 4),
        load_s=round(load_s, 4),
        lookup_us=round(lookup_us, 3),
        changes=changes,
        plans=plans,
        meets_bars=build_s < BUILD_BAR_S
        and measured.worst <= DEVIATION_BAR
        and not measured.broken_total
        and all(change.sound and change.ratio <= MOVES_BAR for change in changes),
    )


def _time_file(ring: Ring) -> tuple[float, float, int]:
    started = time.perf_counter()
    data = encode(ring)
    encoded = time.perf_counter()
    decode(data)
    return encoded - started, time.perf_counter() - encoded, len(data)


def _time_lookup(ring: Ring) -> float:
    """Microseconds per name looked up, on names of which few repeat."""
    names = [b"AUTH_demo/container/object-%d" % i for i in range(LOOKUPS)]
    started = time.perf_counter()
    for name in names:
        ring.devices(NAME, ring.partition(name))
    return (time.perf_counter() - started) / LOOKUPS * 1e6


def _changes(ring: Ring, zones: int) -> dict[str, list[Change]]:
    """The three changes of the bars, on the second node or what there is of it."""
    last = len(ring.members) // NODE_DEVICES
    node = ring.members[-1].node if last < 2 else "node-1"
    of_node = [device for device in ring.members if device.node == node]
    changes: dict[str, list[Change]] = {
        "add a node": [AddDevice(device) for device in _node_more(ring, zones)],
        "reweight a node": [SetWeight(device.id, device.weight * 2) for device in of_node],
    }
    if len(of_node) < len(ring.members):
        changes["remove a node"] = [RemoveDevice(device.id) for device in of_node]
    return changes


def _node_more(ring: Ring, zones: int) -> list[Device]:
    """The devices of a node that the ring does not have."""
    node = len(ring.members) // NODE_DEVICES + 1
    first_id, size = ring.next_device_id, min(NODE_DEVICES, len(ring.members))
    return [_device(first_id + i, node, zones, WEIGHTS[i % len(WEIGHTS)]) for i in range(size)]


def _follow(ring: Ring, name: str, changes: list[Change]) -> ChangeResult:
    """Apply a change step by step until it is done, counting what moves."""
    started = time.perf_counter()
    step = plan(ring, Draft(ring.epoch, tuple(changes)), now_s=0)
    least, moves, steps = step.lower_bound, step.moves, 1
    after = apply(ring, step)
    while _unfinished(step) and steps < STEPS_MAX:
        step = plan(after, None, now_s=steps * 3600 * (ring.min_part_hours + 1))
        after = apply(after, step)
        moves, steps = moves + step.moves, steps + 1
    seconds = time.perf_counter() - started
    report = verify(after)
    return ChangeResult(
        change=name,
        moves=moves,
        lower_bound=least,
        ratio=round(moves / least, 4) if least else 1.0 if not moves else float("inf"),
        steps=steps,
        seconds=round(seconds, 3),
        deviation_worst=round(report.measures[NAME].worst, 4),
        sound=report.sound,
    )


def _unfinished(step: Plan) -> bool:
    return any(part.left or part.after.broken_total or part.after.worst > 1 for part in step.parts)


def _print(result: RingResult) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    facts = Table("ring", "", title=f"{result.devices} devices, 2^{result.part_power} partitions")
    for field in dataclasses.fields(result):
        if field.name not in ("changes", "plans"):
            facts.add_row(field.name.replace("_", " "), str(getattr(result, field.name)))
    console.print(facts)
    table = Table("change", "moves", "lower bound", "ratio", "steps", "s", "worst device", "sound")
    for change in result.changes:
        table.add_row(*(str(value) for value in dataclasses.astuple(change)))
    console.print(table)
    plans = Table("a process's plans, a node having joined", "")
    for name, value in dataclasses.asdict(result.plans).items():
        plans.add_row(name.replace("_", " "), str(value))
    console.print(plans)

"""`atoll ring`: make a ring, ask for changes, see what they would move, apply them, check the result.

On a running node of a cluster, any of them, the ring is the cluster's: what is applied travels by
itself. Changes are collected in a draft in this node's data directory; only `init`, `apply`, `double`
and `revert` make a ring. The decisions are in `ring/`, the words for people in `tools.ring_report`.
Exit status: 0 done, 1 a clear reason on standard error, 2 wrong usage.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import json
import math
import os
import sys
from collections.abc import Callable, Iterator

from ring.builder import MIN_PART_HOURS_DEFAULT, Plan, apply, build, plan
from ring.draft import (
    AddDevice,
    AddPlacement,
    Change,
    Draft,
    RemoveDevice,
    SetWeight,
    discard_draft,
    load_draft,
    save_draft,
    target_of,
)
from ring.epochs import doubled, reverted
from ring.errors import InvalidChange, RingFileMissing, StalePlan
from ring.file import save
from ring.lookup import Ring
from ring.types import ROWS, default_placements
from ring.verify import verify
from runtime.clock import Clock, SystemClock
from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from tools import ring_report
from tools.ring_place import RingPlace, estimate, place_of
from tools.ring_spec import (
    DEVICE_SPEC,
    PLACEMENT_SPEC,
    devices_of_node,
    parse_device,
    parse_placement,
)

RING_FILE = "ring"

"""Name of the ring file in a data directory."""
DATA_DEFAULT = "./atoll-data"
PART_POWER_DEFAULT = 10
PROGRESS_PARTITIONS = 1 << 17
"""Partition-replicas from which on planning may take longer than two seconds."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register `ring` and its subcommands."""
    parser = subparsers.add_parser(
        "ring",
        help="show and change where the data is placed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="ring_command", required=True, metavar="COMMAND")
    _add_init(commands)
    _command(commands, "show", _show, "devices, placements and pending changes", with_json=True)
    _add_changes(commands)
    _command(commands, "plan", _plan, "what applying the changes would move", with_json=True)
    applying = _command(commands, "apply", _apply, "make the next epoch of the ring", with_json=True)
    applying.add_argument(
        "--now", action="store_true", help="also while blobs of the change before are still moving"
    )
    _command(commands, "double", _double, "make twice the partitions; no data move")
    _command(commands, "revert", _revert, "take back a change whose rows are still moving")
    _command(commands, "discard", _discard, "forget the pending changes")
    _command(commands, "verify", _verify, "check the ring's checksum and invariants", with_json=True)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    perform: Callable[[argparse.Namespace], int],
    text: str,
    *,
    with_json: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--ring", metavar="FILE", help="the ring file")
    place.add_argument(
        "--data", metavar="DIR", default=DATA_DEFAULT, help=f"its data directory ({DATA_DEFAULT})"
    )
    if with_json:
        parser.add_argument("--json", action="store_true", help="one JSON object for machines")

    def guarded(args: argparse.Namespace) -> int:
        try:
            return perform(args)
        except StalePlan as error:
            return _fail(f"{error}; forget it with `atoll ring discard`")
        except AtollError as error:
            return _fail(str(error))
        except OSError as error:
            return _fail(f"{error.filename or ring_path(args)}: {error.strerror}")

    parser.set_defaults(func=guarded)
    return parser


def _add_init(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "init", _init, "make a new ring")
    parser.add_argument("--part-power", type=int, default=PART_POWER_DEFAULT)
    parser.add_argument("--min-part-hours", type=int, default=MIN_PART_HOURS_DEFAULT)
    parser.add_argument(
        "--overload",
        type=float,
        default=math.inf,
        help="how far a device may be filled above its share for dispersion (0.1: 10 %%)",
    )
    parser.add_argument(
        "--device", action="append", default=[], metavar="SPEC", help=DEVICE_SPEC, required=True
    )
    parser.add_argument(
        "--placement",
        action="append",
        default=[],
        type=parse_placement,
        metavar=PLACEMENT_SPEC,
        help="instead of the defaults; rows is added where it is missing",
    )


def _add_changes(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add = _command(commands, "add", _add, "add devices or a placement to the draft")
    add.add_argument("--device", action="append", default=[], metavar="SPEC", help=DEVICE_SPEC)
    add.add_argument(
        "--placement", action="append", default=[], type=parse_placement, metavar=PLACEMENT_SPEC
    )
    add.add_argument(
        "--node", action="append", default=[], metavar="NAME", help="all devices of a running node"
    )
    away = _command(commands, "remove", _remove, "drain devices and let them go")
    away.add_argument("device", type=int, nargs="+", metavar="ID")
    away.add_argument("--lost", action="store_true", help="they are gone: don't wait, don't read")
    weight = _command(commands, "weight", _weight, "give devices another weight, 0 drains them")
    weight.add_argument("device", type=int, nargs="+", metavar="ID")
    weight.add_argument("weight", type=float, metavar="WEIGHT")


def ring_path(args: argparse.Namespace) -> str:
    """The ring file that the arguments name."""
    return str(args.ring) if args.ring else os.path.join(args.data, RING_FILE)


def place(args: argparse.Namespace) -> RingPlace:
    """Where the ring is that the arguments name."""
    return place_of(ring_path(args), None if args.ring else args.data)


def _fail(reason: str) -> int:
    print(f"atoll ring: {reason}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def _only_writer(path: str) -> Iterator[None]:
    """Hold a lock on the ring's directory: two writers at once would lose one's changes."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InvalidChange("another atoll ring command is changing this ring") from None
    finally:
        os.close(fd)


def _init(args: argparse.Namespace) -> int:
    path = ring_path(args)
    randomness = SystemRandomness()
    devices = [parse_device(spec, i, (), randomness) for i, spec in enumerate(args.device)]
    placements = args.placement or list(default_placements(len(devices)))
    if all(placement.name != ROWS for placement in placements):
        placements.insert(0, default_placements(len(devices))[0])
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    with _only_writer(path):
        if os.path.exists(path):
            raise InvalidChange(f"there is a ring at {path} already")
        ring = build(
            devices,
            placements,
            args.part_power,
            int.from_bytes(randomness.token(8), "big"),
            cluster_id=randomness.token(16).hex(),
            min_part_hours=args.min_part_hours,
            overload=args.overload,
        )
        save(ring, path)
    print(f"made {path}: epoch 1, {len(devices)} devices, 2^{args.part_power} partitions")
    return 0


def _pending(ring: Ring, path: str) -> Draft:
    """The draft beside the ring, an empty one where there is none."""
    try:
        return load_draft(path)
    except RingFileMissing:
        return Draft(ring.epoch)


def _change(args: argparse.Namespace, make: Callable[[Ring, Draft], list[Change]]) -> int:
    """Put changes into the draft, all or none."""
    path = ring_path(args)
    ring = place(args).load()
    with _only_writer(path):
        draft = _pending(ring, path)
        changes = make(ring, draft)
        for change in changes:
            draft = draft.with_change(ring, change)
        save_draft(draft, path)
    for change in changes:
        print(ring_report.change_sentence(change))
    print("nothing has moved yet: see `atoll ring plan`, then `atoll ring apply`")
    return 0


def _add(args: argparse.Namespace) -> int:
    if not args.device and not args.placement and not args.node:
        print("atoll ring add: name a --node, a --device or a --placement", file=sys.stderr)
        return 2
    known = place(args).nodes() if args.node else []

    def make(ring: Ring, draft: Draft) -> list[Change]:
        target, randomness = target_of(ring, draft), SystemRandomness()
        devices = [
            parse_device(spec, target.next_device_id + i, target.devices, randomness)
            for i, spec in enumerate(args.device)
        ]
        for name in args.node:
            present = (*target.devices, *devices)
            first_id = target.next_device_id + len(devices)
            devices += devices_of_node(name, known, present, first_id, randomness)
        return [*map(AddDevice, devices), *map(AddPlacement, args.placement)]

    return _change(args, make)


def _remove(args: argparse.Namespace) -> int:
    return _change(args, lambda _ring, _draft: [RemoveDevice(i, args.lost) for i in args.device])


def _weight(args: argparse.Namespace) -> int:
    return _change(args, lambda _ring, _draft: [SetWeight(i, args.weight) for i in args.device])


def _discard(args: argparse.Namespace) -> int:
    path = ring_path(args)
    with _only_writer(path):
        discard_draft(path)
    print("no changes are pending")
    return 0


def _show(args: argparse.Namespace) -> int:
    ring = place(args).load()
    draft = _pending(ring, ring_path(args))
    if args.json:
        print(json.dumps(ring_report.ring_document(ring, draft), indent=2))
    else:
        ring_report.print_ring(ring, draft)
    return 0


def _planned(ring: Ring, path: str, clock: Clock) -> Plan:
    """Plan the pending changes, with a progress bar where it takes a while."""
    draft = _pending(ring, path)
    now_s = clock.now_ns() // 1_000_000_000
    slots = sum(table.size for table in ring.tables.values())
    names = len(target_of(ring, draft).placements)
    with ring_report.progress("planning", names, shown=slots >= PROGRESS_PARTITIONS) as advance:
        return plan(ring, draft, now_s, advance)


def _plan(args: argparse.Namespace) -> int:
    where = place(args)
    ring = where.load()
    step = _planned(ring, ring_path(args), SystemClock())
    sizes = where.sizes()
    expected = None if sizes is None else estimate(step, sizes)
    if args.json:
        print(json.dumps(ring_report.plan_document(step, ring, expected), indent=2))
    else:
        ring_report.print_plan(step, ring, expected)
    return 0


def _apply(args: argparse.Namespace) -> int:
    path, where = ring_path(args), place(args)
    with _only_writer(path):
        ring = where.load()
        step = _planned(ring, path, SystemClock())
        if step.changes_ring:
            where.require_rest(now=args.now)
            ring = apply(ring, step)
            where.save(ring)
        discard_draft(path)
    if args.json:
        document = ring_report.plan_document(step, ring)
        print(json.dumps({**document, "applied": step.changes_ring}, indent=2))
    else:
        ring_report.print_applied(step, ring)
    return 0


def _double(args: argparse.Namespace) -> int:
    ring = _make_next(args, doubled)
    print(f"the ring is at epoch {ring.epoch}: 2^{ring.part_power} partitions, nothing moves")
    return 0


def _revert(args: argparse.Namespace) -> int:
    ring = _make_next(args, reverted)
    print(f"the ring is at epoch {ring.epoch}: the partitions are on their old devices again")
    return 0


def _make_next(args: argparse.Namespace, make: Callable[[Ring], Ring]) -> Ring:
    """Make an epoch that no draft asks for. InvalidChange where there are pending changes."""
    path, where = ring_path(args), place(args)
    with _only_writer(path):
        ring = where.load()
        if _pending(ring, path).changes:
            raise InvalidChange("changes are pending: apply or discard them first")
        ring = make(ring)
        where.save(ring)
        discard_draft(path)
    return ring


def _verify(args: argparse.Namespace) -> int:
    ring = place(args).load()
    report = verify(ring)
    if args.json:
        measures = {name: dataclasses.asdict(m) for name, m in report.measures.items()}
        document = {
            "epoch": ring.epoch,
            "sound": report.sound,
            "faults": list(report.faults),
            "placements": measures,
        }
        print(json.dumps(document, indent=2))
    else:
        ring_report.print_report(ring, report)
    if report.sound:
        return 0
    more = f" (and {len(report.faults) - 1} more)" if len(report.faults) > 1 else ""
    return _fail(report.faults[0] + more)

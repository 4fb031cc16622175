"""`atoll ring`: make a ring, ask for changes, see what they would move, apply them, check the result.

Changes are collected in a draft beside the ring file; only `init` and `apply` write the ring. The
decisions are in `ring.builder`, the words for people in `tools.ring_report`.
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
from ring.errors import InvalidChange, RingError, RingFileMissing, StalePlan
from ring.file import load, save
from ring.lookup import Ring
from ring.types import ROWS, default_placements
from ring.verify import verify
from runtime.clock import Clock, SystemClock
from runtime.randomness import SystemRandomness
from storage.device import identity
from tools import ring_report
from tools.ring_spec import DEVICE_SPEC, PLACEMENT_SPEC, parse_device, parse_placement

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
    _command(commands, "apply", _apply, "make the next epoch of the ring", with_json=True)
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
        except RingError as error:
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
    away = _command(commands, "remove", _remove, "drain devices and let them go")
    away.add_argument("device", type=int, nargs="+", metavar="ID")
    away.add_argument("--lost", action="store_true", help="they are gone: don't wait, don't read")
    weight = _command(commands, "weight", _weight, "give devices another weight, 0 drains them")
    weight.add_argument("device", type=int, nargs="+", metavar="ID")
    weight.add_argument("weight", type=float, metavar="WEIGHT")


def ring_path(args: argparse.Namespace) -> str:
    """The ring file that the arguments name."""
    return str(args.ring) if args.ring else os.path.join(args.data, RING_FILE)


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
    ring = load(path)
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
    if not args.device and not args.placement:
        print("atoll ring add: name a --device or a --placement", file=sys.stderr)
        return 2

    def make(ring: Ring, draft: Draft) -> list[Change]:
        target, randomness = target_of(ring, draft), SystemRandomness()
        devices = [
            parse_device(spec, target.next_device_id + i, target.devices, randomness)
            for i, spec in enumerate(args.device)
        ]
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
    path = ring_path(args)
    ring = load(path)
    draft = _pending(ring, path)
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
    path = ring_path(args)
    ring = load(path)
    step = _planned(ring, path, SystemClock())
    if args.json:
        print(json.dumps(ring_report.plan_document(step, ring), indent=2))
    else:
        ring_report.print_plan(step, ring)
    return 0


def _apply(args: argparse.Namespace) -> int:
    path = ring_path(args)
    with _only_writer(path):
        ring = load(path)
        step = _planned(ring, path, SystemClock())
        if step.changes_ring:
            _refuse_with_data(ring)
            ring = apply(ring, step)
            save(ring, path)
        discard_draft(path)
    if args.json:
        document = ring_report.plan_document(step, ring)
        print(json.dumps({**document, "applied": step.changes_ring}, indent=2))
    else:
        ring_report.print_applied(step, ring)
    return 0


def _refuse_with_data(ring: Ring) -> None:
    """Nothing moves data to a new ring yet: one whose devices hold data must stay as it is."""
    for member in ring.members:
        if os.path.exists(os.path.join(member.path, identity.FILE_NAME)):
            raise InvalidChange(
                f"device {member.id} at {member.path} is in use, and nothing moves data to a new ring "
                "yet: it would be looked for where it is not. The ring was not changed"
            )


def _verify(args: argparse.Namespace) -> int:
    ring = load(ring_path(args))
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

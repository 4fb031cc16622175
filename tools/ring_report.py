"""What `atoll ring` prints: tables and sentences for people, documents for machines."""

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ring.draft import AddDevice, AddPlacement, Change, Draft, RemoveDevice, SetWeight
from ring.lookup import Ring
from ring.plan import PlacementPlan, Plan
from ring.types import Device, DeviceState
from ring.verify import Report
from tools.ring_place import RATE_BYTES_PER_S, Estimate

DEVICES_SHOWN_MAX = 200
"""Rows of the device table; --json has them all."""
PIPE_WIDTH = 240
"""Columns of a table that doesn't go to a terminal."""


@contextlib.contextmanager
def progress(title: str, total: int, *, shown: bool) -> Iterator[Callable[[str], None] | None]:
    """A bar over so many placements, on a terminal only; yields what to call as each begins."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        begun = -1

        def begin(name: str) -> None:
            nonlocal begun
            begun += 1
            bar.update(task, completed=begun, description=f"{title} {name}")

        yield begin


def change_sentence(change: Change) -> str:
    """One line about a pending change."""
    match change:
        case AddDevice(device):
            return f"add device {device.id} ({_place(device)}, weight {device.weight:g})"
        case RemoveDevice(device_id, lost):
            return f"remove device {device_id}" + (" at once, it is lost" if lost else "")
        case SetWeight(device_id, weight):
            return f"set the weight of device {device_id} to {weight:g}"
        case AddPlacement(placement):
            return f"add placement {placement.name} of {placement.replicas} replicas"


def _console() -> Console:
    """Tables are cut to fit a terminal, never a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)


def _place(device: Device) -> str:
    return f"{device.region}/{device.zone}/{device.node} {device.path}"


def ring_document(ring: Ring, draft: Draft) -> dict[str, Any]:
    """The ring and its pending changes for machines."""
    held = {placement.name: ring.held(placement.name) for placement in ring.placements}
    return {
        "epoch": ring.epoch,
        "cluster_id": ring.cluster_id,
        "part_power": ring.part_power,
        "partitions": ring.partition_count,
        "min_part_hours": ring.min_part_hours,
        "overload": None if math.isinf(ring.overload) else ring.overload,
        "placements": [dataclasses.asdict(placement) for placement in ring.placements],
        "devices": [
            {
                **dataclasses.asdict(device),
                "state": device.state.name.lower(),
                "partitions": {name: counts[device.id] for name, counts in held.items()},
            }
            for device in ring.members
        ],
        "pending": [change_sentence(change) for change in draft.changes],
    }


def print_ring(ring: Ring, draft: Draft) -> None:
    """The ring and its pending changes for people."""
    console = _console()
    console.print(
        f"epoch {ring.epoch}, 2^{ring.part_power} partitions, cluster {ring.cluster_id}, "
        f"min_part_hours {ring.min_part_hours}",
        highlight=False,
    )
    names = [placement.name for placement in ring.placements]
    columns = ("id", "region/zone/node", "address", "path", "class", "weight", "state")
    table = Table(*columns, *names)
    held = {name: ring.held(name) for name in names}
    for device in ring.members[:DEVICES_SHOWN_MAX]:
        counts = [str(held[name][device.id]) for name in names]
        table.add_row(*map(escape, _device_row(device)), *counts)
    console.print(table)
    if len(ring.members) > DEVICES_SHOWN_MAX:
        print(f"… and {len(ring.members) - DEVICES_SHOWN_MAX} more devices (--json has all)")
    for change in draft.changes:
        print(f"pending: {change_sentence(change)}")


def _device_row(device: Device) -> tuple[str, ...]:
    return (
        str(device.id),
        f"{device.region}/{device.zone}/{device.node}",
        device.address,
        device.path,
        device.device_class,
        f"{device.weight:g}",
        device.state.name.lower(),
    )


def plan_document(step: Plan, ring: Ring, expected: Estimate | None = None) -> dict[str, Any]:
    """A plan for machines."""
    measured = {} if expected is None else {"bytes": expected.size_bytes, "time_s": expected.time_s}
    return {
        **measured,
        "epoch": step.epoch,
        "next_epoch": step.epoch + 1 if step.changes_ring else step.epoch,
        "changes_ring": step.changes_ring,
        "moves": step.moves,
        "lower_bound": step.lower_bound,
        "moves_left_at_least": step.left,
        "min_part_hours": ring.min_part_hours,
        "dropped_devices": list(step.dropped),
        "placements": {part.placement.name: _part_document(part) for part in step.parts},
    }


def _part_document(part: PlacementPlan) -> dict[str, Any]:
    return {
        "replicas": part.placement.replicas,
        "moves": len(part.moves),
        "lower_bound": part.lower_bound,
        "moves_left_at_least": part.left,
        "partitions_frozen": part.frozen,
        "balance": {"before": _balance(part, "before"), "after": _balance(part, "after")},
        "dispersion": {"before": part.before.broken, "after": part.after.broken},
        "overfilled": {str(key): round(times, 3) for key, times in part.overfilled.items()},
    }


def _balance(part: PlacementPlan, when: str) -> dict[str, Any]:
    found = part.before if when == "before" else part.after
    return {
        "worst_partitions": round(found.worst, 4),
        "worst_percent": round(100 * found.worst_ratio, 4),
        "worst_device": found.worst_id,
    }


def print_plan(step: Plan, ring: Ring, expected: Estimate | None = None) -> None:
    """A plan for people."""
    if not step.changes_ring:
        print(f"nothing to do: {_rest(step, ring) or 'the ring is as it is to be'}")
        return
    table = Table("placement", "moves", "at least", "worst device now", "then", "badly spread", "then")
    for part in step.parts:
        table.add_row(
            part.placement.name,
            str(len(part.moves)),
            str(part.lower_bound),
            f"{part.before.worst:.1f} off",
            f"{part.after.worst:.1f} off",
            str(part.before.broken_total),
            str(part.after.broken_total),
        )
    _console().print(table)
    for part in step.parts:
        for line in _overfilled(part):
            print(line)
    print(_moves_sentence(step, ring))
    if expected is not None:
        print(_expected_sentence(expected))


def _expected_sentence(expected: Estimate) -> str:
    minutes, seconds = divmod(round(expected.time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"about {expected.size_bytes / 1e9:,.3f} GB are copied, in about "
        f"{hours}:{minutes:02}:{seconds:02} h at {RATE_BYTES_PER_S / 1e6:.0f} MB/s for each device"
    )


def _overfilled(part: PlacementPlan) -> Iterator[str]:
    worst = sorted(part.overfilled.items(), key=lambda item: -item[1])
    for device_id, times in worst[:5]:
        yield (
            f"note: placement {part.placement.name} fills device {device_id} {times:.1f} times its "
            "share by weight, to spread replicas as widely as possible"
        )


def _moves_sentence(step: Plan, ring: Ring) -> str:
    share = step.moves / sum(part.table.size for part in step.parts)
    text = f"{step.moves} partition-replicas move ({100 * share:.2f} % of all)"
    if step.dropped:
        text += f"; device {', '.join(map(str, step.dropped))} leaves the ring"
    if rest := _rest(step, ring):
        text += f"; {rest}"
    return text + _leaving(step)


def _leaving(step: Plan) -> str:
    """Drained devices stay listed for a while: their replicas are still copied from there."""
    leaving = [str(d.id) for d in step.devices if d.state is not DeviceState.ACTIVE]
    return f"; to leave once it is empty and copied: device {', '.join(leaving)}" if leaving else ""


def _rest(step: Plan, ring: Ring) -> str:
    if not step.left:
        return ""
    hours = f"{ring.min_part_hours} h"
    return f"{step.left} or more are left for later: apply again once {hours} have passed"


def print_applied(step: Plan, ring: Ring) -> None:
    """What `apply` did."""
    if not step.changes_ring:
        print(f"nothing to do, the ring stays at epoch {ring.epoch}")
        if rest := _rest(step, ring):
            print(rest)
        return
    print(f"the ring is at epoch {ring.epoch}: {_moves_sentence(step, ring)}")


def print_report(ring: Ring, report: Report) -> None:
    """What `verify` found."""
    table = Table("placement", "worst device", "of its share", "badly spread partitions")
    for name, found in report.measures.items():
        table.add_row(
            name,
            f"{found.worst:.2f} off (device {found.worst_id})",
            f"{100 * found.worst_ratio:.3f} %",
            str(found.broken_total),
        )
    _console().print(table)
    if report.sound:
        print(f"epoch {ring.epoch} is sound: checksum, devices, dispersion and balance")

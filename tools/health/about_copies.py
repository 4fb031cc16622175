"""Sentences about objects and blobs: at how many of how many copies, because of what, done when."""

from collections.abc import Iterator
from typing import Any

from proxy.core.errors import UnknownPolicy
from proxy.core.policies import policy_named
from ring.types import ROWS
from tools.finding import Finding, danger, ok, problem, unknown
from tools.health import words
from tools.health.copies import Copies, Shortfall, copies, needed, tally
from tools.health.devices import Condition
from tools.health.scene import Scene, causes_text, progress_text


def all_copies(scene: Scene) -> list[Copies]:
    """Each placement of the ring against its devices; the rows first."""
    gone = [
        view.member.id
        for view in scene.devices
        if view.condition in {Condition.OFFLINE, Condition.UNREACHABLE}
    ]
    doubted = [view.member.id for view in scene.devices if view.condition is Condition.UNKNOWN]
    censuses = [report.census for report in scene.report.reports if report.census is not None]
    names = sorted((placement.name for placement in scene.ring.placements), key=lambda n: n != ROWS)
    return [
        copies(scene.ring, name, tally(censuses, name, scene.ring.part_power), gone, doubted)
        for name in names
    ]


def data_fragments(placement: str) -> int:
    """How many copies of a policy's blobs must be there to read them."""
    try:
        policy = policy_named(placement)
    except UnknownPolicy:
        return 1
    return policy.k if policy.erasure_coded else 1


def about_copies(scene: Scene, found: list[Copies]) -> Iterator[Finding]:
    """The headline first."""
    damaged = list(_damaged(scene))
    if all(one.full for one in found) and not damaged:
        yield ok("objects", _all_well(found[0]))
        return
    for one in found:
        for shortfall in one.short:
            yield _short(scene, one, shortfall)
    yield from damaged
    for one in found:
        yield from _doubts(scene, one)
    yield from _rest(found[0])


def _all_well(rows: Copies) -> str:
    if not rows.counted:
        return "all objects at full copies; they are being counted" + (
            f", {words.number(rows.total)} so far" if rows.total else ""
        )
    if rows.total == 1:
        return "the 1 object at full copies"
    return f"all {words.number(rows.total)} objects at full copies" if rows.total else "no objects yet"


def _things(placement: str, count: int) -> str:
    if placement == ROWS:
        return words.counted(count, "object")
    return f"{words.counted(count, 'blob')} ({placement})"


def _short(scene: Scene, one: Copies, found: Shortfall) -> Finding:
    about = "objects" if one.placement == ROWS else "blobs"
    least = needed(one.placement, one.of, data_fragments(one.placement))
    subject = _things(one.placement, found.things)
    if not found.things:
        subject = f"what {words.counted(found.uncounted, 'partition')} of {one.placement} hold"
    because = causes_text(scene, found.causes)
    reason = f" because {because}" if because else " until newcomers have settled"
    text = f"{subject} at {found.have} of {one.of}{reason}"
    if found.things and found.uncounted:
        text += (
            f" (and what {words.counted(found.uncounted, 'partition')} hold that nobody has counted)"
        )
    if found.have < least:
        what = "read or written" if one.placement == ROWS else "read"
        return danger(about, f"{text}; fewer than {least}: they can't be {what} now")
    rebuild = scene.repair("rebuild")
    if rebuild is not None and rebuild.busy:
        text += f"; {progress_text(scene, rebuild)}"
    return problem(about, text)


def _damaged(scene: Scene) -> Iterator[Finding]:
    """Copies missing from devices that serve: what reads met, and what the rebuild worker has found."""
    for name, what in (
        ("rebuild", "of blobs to be made anew"),
        ("mend", "that reads found missing or damaged to be made anew; other copies answered"),
    ):
        repair = scene.repair(name)
        if repair is not None and repair.left:
            text = f"{words.counted(repair.left, 'copy', 'copies')} {what}"
            if repair.busy:
                text += f"; {progress_text(scene, repair)}"
            yield problem("blobs", text)


def _doubts(scene: Scene, one: Copies) -> Iterator[Finding]:
    if one.doubted:
        count = _things(one.placement, one.unknown)
        because = causes_text(scene, one.doubted)
        yield unknown(
            "objects" if one.placement == ROWS else "blobs",
            f"whether {count} are at full copies is not known: {because}",
        )


def _rest(rows: Copies) -> Iterator[Finding]:
    rest = rows.total - sum(found.things for found in rows.short) - rows.unknown
    if rows.total and rest and not rows.full:
        yield ok(
            "objects", f"{words.number(rest)} of {words.number(rows.total)} objects at full copies"
        )


def facts_of(found: list[Copies]) -> dict[str, Any]:
    """By placement."""
    return {
        one.placement: {
            "copies": one.of,
            "total": one.total,
            "counted": one.counted,
            "unknown": one.unknown,
            "short": [
                {
                    "have": short.have,
                    "count": short.things,
                    "uncounted_partitions": short.uncounted,
                    "devices": list(short.causes),
                }
                for short in one.short
            ],
        }
        for one in found
    }

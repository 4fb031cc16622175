"""Sentences about a ring change under way and about the repair workers."""

from collections.abc import Iterator
from typing import Any

from ring.types import ROWS
from storage.node import Progress
from tools.finding import Finding, ok, problem, size_text, warning
from tools.health import words
from tools.health.repairs import Repair
from tools.health.scene import Scene, progress_text

SCRUB = "scrub"


def moving_of(scene: Scene) -> Progress:
    """What the ring change still has to do, over all that answered."""
    parts = [report.moving for report in scene.report.reports]
    return Progress(
        scene.ring.epoch,
        sum(part.settled for part in parts),
        sum(part.unsettled for part in parts),
        sum(part.leftovers for part in parts),
        sum(part.misplaced for part in parts),
        sum(part.misplaced_bytes for part in parts),
    )


def moved_rows(scene: Scene) -> int:
    """Partition-replicas of rows that this very epoch moves."""
    step = scene.ring.moved_in_epoch(ROWS)
    return len(step) if step is not None else 0


def about_ring(scene: Scene) -> Iterator[Finding]:
    """The change under way, and processes that have not heard of it."""
    moving, total = moving_of(scene), moved_rows(scene)
    least = "at least " if scene.report.silent else ""
    if total:
        settled = max(0, total - moving.unsettled)
        share = 100 * settled // total
        yield ok(
            "ring",
            f"epoch {scene.ring.epoch} moves rows: {words.number(settled)} of {words.number(total)} "
            f"partition-replicas have settled ({share} %)",
        )
    if moving.misplaced:
        rebalance = scene.repair("rebalance")
        text = (
            f"{least}{words.counted(moving.misplaced, 'blob')} ({size_text(moving.misplaced_bytes)}) "
            "are not yet where the ring places them; they are found where they are"
        )
        if rebalance is not None and rebalance.busy:
            text += f"; {progress_text(scene, rebalance)}"
        yield ok("ring", text)
    if moving.leftovers:
        shards = words.counted(moving.leftovers, "shard")
        yield ok("ring", f"{least}{shards} wait to be removed from devices that gave them up")
    yield from _behind(scene)


def _behind(scene: Scene) -> Iterator[Finding]:
    epochs: dict[int, set[str]] = {}
    for report in scene.report.reports:
        epochs.setdefault(report.epoch, set()).add(report.node)
    newest = max(epochs, default=0)
    for epoch, nodes in sorted(epochs.items()):
        if epoch < newest:
            yield warning(
                "ring",
                f"node {words.listed(sorted(nodes))} serves by ring epoch {epoch}, the newest is "
                f"{newest}; it fetches that by itself as soon as it hears of it",
            )


def about_repairs(scene: Scene) -> Iterator[Finding]:
    """Each kind of work that has something to say."""
    for repair in scene.repairs:
        yield from _about(scene, repair)


def _about(scene: Scene, repair: Repair) -> Iterator[Finding]:
    if repair.failing:
        yield problem(
            "repair",
            f"{repair.name} fails in {words.counted(repair.failing, 'place')}: {repair.error}; "
            "it is tried again",
        )
    if repair.paused:
        yield warning(
            "repair",
            f"{repair.name} is paused in {words.counted(repair.paused, 'place')}; "
            f"`atoll repair resume {repair.name}` lets it go on",
        )
    if repair.name == SCRUB and repair.ends_s:
        date = words.day(int(repair.ends_s * 1e9), scene.zone)
        yield ok("scrub", f"everything stored will have been read and checked by {date}")
    elif repair.busy and repair.left:
        amount = size_text(repair.left_bytes) if repair.left_bytes else words.number(repair.left)
        yield ok("repair", f"{progress_text(scene, repair)}; {amount} left")


def facts_of(scene: Scene) -> list[dict[str, Any]]:
    """The work of each name."""
    return [
        {
            "name": repair.name,
            "working": repair.working,
            "paused": repair.paused,
            "failing": repair.failing,
            "devices": repair.places,
            "done": repair.done,
            "left": repair.left,
            "left_bytes": repair.left_bytes,
            "bytes_per_s": round(repair.rate_bytes_s),
            "ends_s": repair.ends_s,
        }
        for repair in scene.repairs
    ]

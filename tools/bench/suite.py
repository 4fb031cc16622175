"""The run as a whole: which workloads, in which order, on servers that it starts and ends.

A row that a server refuses is reported and the run goes on; a server that does not start ends it.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.driver import Generator
from tools.bench.large_objects import EC_BUCKET, run_large, run_multipart, run_streams
from tools.bench.lifecycle import run_idle_memory, run_restart, run_start
from tools.bench.overload import run_overload
from tools.bench.reshard import run_reshard
from tools.bench.rows import RowResult
from tools.bench.scale import Scale
from tools.bench.servers import AtollStore, Endpoint, Prototype, ServerFailed, Target, free_port
from tools.bench.session import Reporter, Session
from tools.bench.small_objects import BUCKET, SmallObjects, run_list, run_small

KIB = 1 << 10


@dataclass(frozen=True)
class Plan:
    """What a run is asked for. port 0: any free one. own_store: start a store of ours."""

    data: Path
    scale: Scale
    selected: frozenset[str]
    own_store: bool = True
    port: int = 0
    prototype: Path | None = None
    endpoints: Sequence[Endpoint] = ()


@dataclass(frozen=True)
class Outcome:
    """Rows, and the workloads that could not run at all, in sentences."""

    results: list[RowResult]
    broken: list[str]


def run(plan: Plan, reporter: Reporter) -> Outcome:
    """Run a plan. The data directory is removed at the end. Raises ServerFailed."""
    with _work_directory(plan.data), contextlib.ExitStack() as stack:
        generator = stack.enter_context(Generator())
        targets = _targets(plan, stack)
        session = Session(generator, targets, plan.scale, plan.selected, reporter)
        for store in session.own_stores():
            run_start(session, store)
        for workload in workloads(plan.scale):
            workload(session)
    return Outcome(session.results, session.broken)


def workloads(scale: Scale) -> list[Callable[[Session], None]]:
    """In the order in which they run: the restart, which kills the store, comes last."""
    small = SmallObjects("4k", 4 * KIB, scale.put_4k, scale.read_4k)
    medium = SmallObjects("64k", 64 * KIB, scale.put_64k, scale.read_64k)
    return [
        run_idle_memory,
        lambda session: run_small(session, small),
        lambda session: run_small(session, medium),
        lambda session: run_large(session, "", BUCKET),
        lambda session: run_large(session, "-ec", EC_BUCKET),
        run_overload,
        run_list,
        run_reshard,
        run_multipart,
        run_streams,
        run_restart,
    ]


def _targets(plan: Plan, stack: contextlib.ExitStack) -> list[Target]:
    """All servers of the plan, ended by `stack`; our own store is not started yet."""
    targets: list[Target] = []
    if plan.own_store:
        targets.append(AtollStore(plan.data / "store", plan.port or free_port()))
    if plan.prototype is not None:
        (plan.data / "prototype").mkdir()
        targets.append(Prototype(plan.prototype, plan.data / "prototype", free_port()))
    targets.extend(plan.endpoints)
    for target in targets:
        stack.callback(target.close)
    return targets


@contextlib.contextmanager
def _work_directory(path: Path) -> Iterator[None]:
    """A new directory for the run's data; one that holds something is refused, not emptied."""
    if path.exists() and any(path.iterdir()):
        raise ServerFailed(f"{path} is not empty; the benchmark removes its directory at the end")
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(path)

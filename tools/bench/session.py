"""One run: its generator, its servers, its scale and the rows measured so far.

`measure` is the one place where a load becomes a row; the workload modules call it and decide only
what is sent.
"""

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tools.bench.accounting import CpuUse, Memory, read_memory, try_reset_peaks
from tools.bench.control import RequestRefused
from tools.bench.driver import Generator, Stopwatch
from tools.bench.latency import worst
from tools.bench.load import Load, LoadResult
from tools.bench.rows import GIB, MIB, ONLY_OWN_STORE, PROTOTYPE_ROWS, RowResult
from tools.bench.scale import Scale
from tools.bench.servers import AtollStore, Prototype, ServerFailed, Target

FILL_BATCH = 25_000
"""Requests that are built at once while a bucket is filled; bounds the generator's memory."""


class Reporter:
    """Is told what goes on; the terminal's is in `report`. This one says nothing."""

    def step(self, text: str) -> None:
        """Something begins that is worth a line of status."""

    def row(self, result: RowResult) -> None:
        """A row is done."""


@dataclass
class Session:
    """See the module. selected: names of the rows that are wanted."""

    generator: Generator
    targets: Sequence[Target]
    scale: Scale
    selected: frozenset[str]
    reporter: Reporter
    results: list[RowResult] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def guard(self, row: str, target: Target) -> Iterator[None]:
        """What a server refuses ends its row and is kept as a sentence; the run goes on."""
        try:
            yield
        except (RequestRefused, ServerFailed, OSError, http.client.HTTPException) as error:
            self.broken.append(f"{row} on {target.name}: {error}")

    def wants(self, *rows: str) -> bool:
        """Any of the rows is selected."""
        return any(row in self.selected for row in rows)

    def targets_for(self, row: str) -> list[Target]:
        """The servers that a row applies to."""
        return [target for target in self.targets if applies(row, target)]

    def own_stores(self) -> list[AtollStore]:
        """The stores that this run started itself."""
        return [target for target in self.targets if isinstance(target, AtollStore)]

    def keep(self, result: RowResult) -> None:
        """A finished row."""
        self.results.append(result)
        self.reporter.row(result)

    def measure(
        self,
        row: str,
        target: Target,
        loads: Sequence[Load],
        *,
        just_before: Callable[[], object] | None = None,
        finish: Callable[[LoadResult], None] | None = None,
    ) -> list[LoadResult]:
        """Run the loads one after the other as one row, and keep it if it is selected.

        just_before: called before each load, after all else is prepared. finish: called with each
        load's result; what it does belongs to the row, its time included.
        """
        self.reporter.step(f"{row} on {target.name}")
        meter = RowMeter(self.generator, target) if row in self.selected else None
        results = []
        for load in loads:
            self.generator.prepare(load)
            if meter:
                meter.resume()
            if just_before:
                just_before()
            result = self.generator.go()
            results.append(_finished(result, finish) if finish else result)
            if meter:
                meter.pause()
        if meter:
            self.keep(meter.result(row, combine(results)))
        return results

    def annotate(self, row: str, target: Target, note: str) -> None:
        """Add a remark to a kept row; nothing where the row wasn't selected."""
        for result in self.results:
            if (result.row, result.target) == (row, target.name):
                result.note = "; ".join(filter(None, [result.note, note]))

    def rate(self, row: str, target: Target, goodput_ratio: float, note: str) -> None:
        """Add to a kept row how its goodput compares to the peak's."""
        for result in self.results:
            if (result.row, result.target) == (row, target.name):
                result.goodput_ratio = goodput_ratio
        self.annotate(row, target, note)

    def forgive(self, row: str, target: Target, kind: str) -> None:
        """Take one kind of answers from a kept row's failures: they are right there."""
        for result in self.results:
            if (result.row, result.target) == (row, target.name):
                result.failures = {k: n for k, n in result.failures.items() if k != kind}
                if not result.failures:
                    result.first_failure = ""

    def amend(self, row: str, target: Target, later: LoadResult) -> None:
        """Add what went wrong after a row to the row itself."""
        for result in self.results:
            if (result.row, result.target) == (row, target.name):
                result.failures = combine_failures([result.failures, later.failures])
                result.first_failure = result.first_failure or later.first_failure

    def fill(self, target: Target, load: Load) -> LoadResult:
        """Store `load.count` objects, a batch at a time; stops at the first batch with failures."""
        results: list[LoadResult] = []
        for first in range(0, load.count, FILL_BATCH):
            count = min(FILL_BATCH, load.count - first)
            self.reporter.step(f"storing objects on {target.name}: {first:,} of {load.count:,}")
            results.append(self.generator.run(_part_of(load, first, count)))
            if results[-1].failures:
                break
        return combine(results)


class RowMeter:
    """Adds up the processor time of a row's measured stretches, and reads the memory at its end."""

    def __init__(self, generator: Generator, target: Target) -> None:
        self._generator = generator
        self._target = target
        self._uses: list[CpuUse] = []
        self._watch: Stopwatch | None = None
        self._memory: list[Memory] = []
        self._peaks_are_own = try_reset_peaks(target.pids())

    def resume(self) -> None:
        """A stretch begins."""
        self._watch = Stopwatch(self._generator, self._target.pids())

    def pause(self) -> None:
        """It ends."""
        assert self._watch is not None
        self._memory = [read_memory(pid) for pid in self._target.worker_pids()]
        self._uses.append(self._watch.stop())

    def result(self, row: str, load: LoadResult) -> RowResult:
        """The row of all stretches."""
        result = client_view(row, self._target, load)
        add_cpu(result, self._uses, knows_processes=bool(self._target.pids()))
        if self._memory:
            result.peak_mib = max(each.peak_mib for each in self._memory)
            result.private_mib = max(each.private_mib for each in self._memory)
            result.pss_mib = sum(each.pss_mib for each in self._memory)
            result.note = "" if self._peaks_are_own else "the peak is since the start"
        return result


def applies(row: str, target: Target) -> bool:
    """Whether a row can run on a server at all."""
    if isinstance(target, AtollStore):
        return True
    if isinstance(target, Prototype):
        return row in PROTOTYPE_ROWS
    return row not in ONLY_OWN_STORE


def combine(results: Sequence[LoadResult]) -> LoadResult:
    """Several loads as one."""
    return LoadResult(
        issued=sum(result.issued for result in results),
        finished=sum(result.finished for result in results),
        payload_bytes=sum(result.payload_bytes for result in results),
        wall_s=sum(result.wall_s for result in results),
        checked=sum(result.checked for result in results),
        latency=worst([result.latency for result in results if result.latency]),
        failures=combine_failures([result.failures for result in results]),
        first_failure=next((each.first_failure for each in results if each.first_failure), ""),
    )


def combine_failures(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Failures of several loads, added up by kind."""
    total: dict[str, int] = {}
    for part in parts:
        for kind, count in part.items():
            total[kind] = total.get(kind, 0) + count
    return total


def client_view(row: str, target: Target, load: LoadResult) -> RowResult:
    """What the clients saw."""
    wall = load.wall_s or None
    return RowResult(
        row=row,
        target=target.name,
        operations=load.finished,
        payload_bytes=load.payload_bytes,
        wall_s=load.wall_s,
        ops_s=load.finished / wall if wall else None,
        mb_s=load.payload_bytes / wall / 1e6 if wall else None,
        p50_ms=load.latency.p50_ms if load.latency else None,
        p99_ms=load.latency.p99_ms if load.latency else None,
        fsync=target.fsync,
        filesystem=target.filesystem,
        failures=load.failures,
        first_failure=load.first_failure,
    )


def add_cpu(result: RowResult, uses: Sequence[CpuUse], *, knows_processes: bool) -> None:
    """Per operation, and per GiB where the payloads are large."""
    wall = sum(use.wall_s for use in uses)
    if not uses or not result.operations or not wall:
        return
    server = sum(use.server_s for use in uses)
    # On a machine with other work the idle business is a guess; the servers' own time is a floor.
    machine = max(server, sum(use.machine_s for use in uses))
    result.machine_cpu_us = machine / result.operations * 1e6
    result.generator_cpu_us = sum(use.generator_s for use in uses) / result.operations * 1e6
    result.idle_cores = max(use.idle_cores for use in uses)
    result.stolen_cores = sum(use.stolen_s for use in uses) / wall
    if knows_processes:
        result.server_cpu_us = server / result.operations * 1e6
    if result.payload_bytes >= result.operations * MIB:
        result.machine_cpu_s_gib = machine / (result.payload_bytes / GIB)
        result.server_cpu_s_gib = server / (result.payload_bytes / GIB) if knows_processes else None


def _finished(result: LoadResult, finish: Callable[[LoadResult], None]) -> LoadResult:
    began = time.perf_counter()
    finish(result)
    return msgspec.structs.replace(result, wall_s=result.wall_s + time.perf_counter() - began)


def _part_of(load: Load, first: int, count: int) -> Load:
    return msgspec.structs.replace(load, first=load.first + first, count=count, requests=count)

"""Every metric that the admin port shows, in one table: name, kind, labels, help, and where from.

doc/metrics.md is this table for people, and a test holds one against the other; a second one sees to it
that the dashboard shows each of them, or that its row says why not. Metrics are of one node: Prometheus
asks every node and adds up.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from proxy.admission import DOWNLOADS_MAX, UPLOADS_MAX
from proxy.core.breaker import State
from proxy.repair.contract import WorkerState, WorkerStatus
from storage.device.config import DeviceStatus
from tools.health.report import ProcessReport

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

Sample = tuple[tuple[str, ...], float]
"""Label values in the order of the metric's labels, and the value."""


class Metric(NamedTuple):
    """One metric. Of a counter the name stands without its `_total`. samples: of one process; samples
    of several processes with the same labels are added up. None for the request histogram, which
    `tools.metrics` makes. hidden: why the dashboard does not show it, "" where it does."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    samples: Callable[[ProcessReport], Iterator[Sample]] | None
    hidden: str = ""


def _process(value: Callable[[ProcessReport], float]) -> Callable[[ProcessReport], Iterator[Sample]]:
    def samples(report: ProcessReport) -> Iterator[Sample]:
        yield (str(report.worker),), float(value(report))

    return samples


def _device(value: Callable[[DeviceStatus], float]) -> Callable[[ProcessReport], Iterator[Sample]]:
    """Of devices that are open; one that is offline has no figures."""

    def samples(report: ProcessReport) -> Iterator[Sample]:
        for number, status in report.devices.items():
            if not status.offline:
                yield (str(number),), float(value(status))

    return samples


def _repair(
    value: Callable[[WorkerStatus], float | None],
) -> Callable[[ProcessReport], Iterator[Sample]]:
    """Of each repair worker that can tell; scope is the device, or the process."""

    def samples(report: ProcessReport) -> Iterator[Sample]:
        for status in report.repair:
            found = value(status)
            if found is not None:
                yield (status.name, _scope(report, status)), float(found)

    return samples


def _scope(report: ProcessReport, status: WorkerStatus) -> str:
    return status.scope or f"worker{report.worker}"


def _repair_state(report: ProcessReport) -> Iterator[Sample]:
    for status in report.repair:
        for state in WorkerState:
            yield (
                (status.name, _scope(report, status), state.value),
                float(status.state is state),
            )


def _repair_counts(report: ProcessReport) -> Iterator[Sample]:
    for status in report.repair:
        for name, count in status.counts.items():
            yield (status.name, _scope(report, status), name), float(count)


def _moving(value: Callable[[ProcessReport], float]) -> Callable[[ProcessReport], Iterator[Sample]]:
    def samples(report: ProcessReport) -> Iterator[Sample]:
        yield (), float(value(report))

    return samples


def _device_up(report: ProcessReport) -> Iterator[Sample]:
    for number, status in report.devices.items():
        yield (str(number),), 0.0 if status.offline else 1.0


_BREAKER: Final = {State.CLOSED.value: 0.0, State.HALF_OPEN.value: 1.0, State.OPEN.value: 2.0}


def _breaker(value: str) -> Callable[[ProcessReport], Iterator[Sample]]:
    def samples(report: ProcessReport) -> Iterator[Sample]:
        for guard in report.guards:
            found = _BREAKER.get(guard.state, 2.0) if value == "state" else getattr(guard, value)
            yield (str(report.worker), str(guard.device_id)), float(found)

    return samples


def _events(report: ProcessReport) -> Iterator[Sample]:
    for name, count in report.counts.events.items():
        yield (name,), float(count)


def _queues(report: ProcessReport) -> Iterator[Sample]:
    for name, length in report.queues.items():
        yield (str(report.worker), name), float(length)
    if report.admission is not None:
        yield (str(report.worker), "requests"), float(report.admission.waiting)


def _waiting_bytes(report: ProcessReport) -> Iterator[Sample]:
    if report.admission is not None:
        yield (str(report.worker),), float(report.admission.waiting_bytes)


def _admitted(report: ProcessReport) -> Iterator[Sample]:
    found = report.admission
    if found is not None:
        yield (str(report.worker), "requests"), float(found.running)
        yield (str(report.worker), "uploads"), float(found.uploads)
        yield (str(report.worker), "downloads"), float(found.downloads)


def _admitted_max(report: ProcessReport) -> Iterator[Sample]:
    if report.admission is not None:
        yield (str(report.worker), "requests"), float(report.admission.limit)
        yield (str(report.worker), "uploads"), float(UPLOADS_MAX)
        yield (str(report.worker), "downloads"), float(DOWNLOADS_MAX)


def _quorums(report: ProcessReport) -> Iterator[Sample]:
    for key, count in report.quorums.items():
        operation, _, outcome = key.partition(" ")
        yield (operation, outcome), float(count)


def _build(report: ProcessReport) -> Iterator[Sample]:
    yield (report.version or "unknown",), 1.0


METRICS: Final = (
    # -- requests --
    Metric(
        "atoll_request_seconds",
        HISTOGRAM,
        ("api", "verb", "status"),
        "Time from a request's head to its answer's last byte",
        None,
    ),
    Metric("atoll_events", COUNTER, ("event",), "Things that happened, by name", _events),
    # -- rows --
    Metric(
        "atoll_quorum_outcomes",
        COUNTER,
        ("operation", "outcome"),
        "Row operations by how they ended at the replicas",
        _quorums,
    ),
    # -- processes --
    Metric(
        "atoll_build_info",
        GAUGE,
        ("version",),
        "Processes of this node by the release that they run",
        _build,
    ),
    Metric(
        "atoll_process_resident_bytes",
        GAUGE,
        ("worker",),
        "Memory of a worker process",
        _process(lambda report: report.rss_bytes),
    ),
    Metric(
        "atoll_process_start_time_seconds",
        GAUGE,
        ("worker",),
        "When a worker process began, Unix time",
        _process(lambda report: report.started_ns / 1e9),
        "a date; restarts show in the uptime, which is computed from it elsewhere",
    ),
    Metric(
        "atoll_peers",
        GAUGE,
        ("worker",),
        "Other processes of the cluster that a worker knows",
        _process(lambda report: report.peers),
    ),
    Metric(
        "atoll_peers_unreached",
        GAUGE,
        ("worker",),
        "Those of them that did not answer its last ping",
        _process(lambda report: max(report.unreached_count, len(report.unreached))),
    ),
    Metric(
        "atoll_peer_round_trip_seconds",
        GAUGE,
        ("worker",),
        "The slowest ping of those that answered",
        _process(lambda report: report.round_trip_s),
    ),
    Metric(
        "atoll_queue_length",
        GAUGE,
        ("worker", "queue"),
        "What waits in a worker, by queue",
        _queues,
    ),
    Metric(
        "atoll_requests_waiting_bytes",
        GAUGE,
        ("worker",),
        "What may be buffered of the bodies of the requests that wait",
        _waiting_bytes,
        "bounded, and next to nothing unless requests wait",
    ),
    Metric(
        "atoll_admitted",
        GAUGE,
        ("worker", "work"),
        "What a worker works on at once",
        _admitted,
    ),
    Metric(
        "atoll_admitted_max",
        GAUGE,
        ("worker", "work"),
        "How many of these it takes on now; further requests wait, or get 503",
        _admitted_max,
    ),
    # -- devices --
    Metric(
        "atoll_device_up",
        GAUGE,
        ("device",),
        "1 where the device serves, 0 where it is offline",
        _device_up,
    ),
    Metric(
        "atoll_device_full",
        GAUGE,
        ("device",),
        "1 where the device refuses writes for want of room",
        _device(lambda status: status.full),
    ),
    Metric(
        "atoll_device_free_bytes",
        GAUGE,
        ("device",),
        "Free room of the device's file system",
        _device(lambda status: status.free_bytes),
    ),
    Metric(
        "atoll_device_journal_bytes",
        GAUGE,
        ("device",),
        "The journal's segments together",
        _device(lambda status: status.journal_bytes),
    ),
    Metric(
        "atoll_device_journal_live_bytes",
        GAUGE,
        ("device",),
        "What of them is still needed",
        _device(lambda status: status.live_bytes),
    ),
    Metric(
        "atoll_device_journal_segments",
        GAUGE,
        ("device",),
        "Segments of the journal",
        _device(lambda status: status.journal_segments),
        "follows from the journal's bytes",
    ),
    Metric(
        "atoll_device_journal_queue",
        GAUGE,
        ("device",),
        "Batches of records that wait to be written or are being written",
        _device(lambda status: status.journal_queue),
    ),
    Metric(
        "atoll_device_syncs",
        COUNTER,
        ("device",),
        "Group commits of the journal",
        _device(lambda status: status.syncs),
    ),
    Metric(
        "atoll_device_sync_seconds",
        COUNTER,
        ("device",),
        "Time that they took, writing included",
        _device(lambda status: status.sync_total_s),
    ),
    Metric(
        "atoll_device_written_bytes",
        COUNTER,
        ("device",),
        "Bytes that they wrote",
        _device(lambda status: status.synced_bytes),
    ),
    Metric(
        "atoll_device_index_bytes",
        GAUGE,
        ("device",),
        "The index's file",
        _device(lambda status: status.index_bytes),
    ),
    Metric(
        "atoll_device_rows",
        GAUGE,
        ("device",),
        "Rows in the index, tombstones included",
        _device(lambda status: status.indexed_rows),
    ),
    Metric(
        "atoll_device_unindexed_rows",
        GAUGE,
        ("device",),
        "Rows that are in the journal only",
        _device(lambda status: status.unindexed_rows),
    ),
    Metric(
        "atoll_device_checkpoint_age_seconds",
        GAUGE,
        ("device",),
        "Since the last checkpoint; absent before the first",
        lambda report: (
            ((str(number),), status.checkpoint_age_s)
            for number, status in report.devices.items()
            if status.checkpoint_age_s is not None
        ),
        "grows while nothing is written; rows in the journal only say more",
    ),
    Metric(
        "atoll_device_corrupt",
        COUNTER,
        ("device",),
        "Checksums that failed on this device",
        _device(lambda status: status.corrupt_count),
    ),
    Metric(
        "atoll_breaker_state",
        GAUGE,
        ("worker", "device"),
        "A worker's breaker before a device: 0 closed, 1 half-open, 2 open; absent if it never opened",
        _breaker("state"),
    ),
    Metric(
        "atoll_breaker_opened",
        COUNTER,
        ("worker", "device"),
        "How often it has opened",
        _breaker("opened"),
        "the state and what was refused say it",
    ),
    Metric(
        "atoll_breaker_refused",
        COUNTER,
        ("worker", "device"),
        "Calls that failed at once because it was open",
        _breaker("refused"),
    ),
    # -- repair --
    Metric(
        "atoll_repair_state",
        GAUGE,
        ("repair", "scope", "state"),
        "1 for the state that a repair worker is in",
        _repair_state,
    ),
    Metric(
        "atoll_repair_left",
        GAUGE,
        ("repair", "scope"),
        "Items that it has still to do; absent where nobody can tell",
        _repair(lambda status: status.left),
    ),
    Metric(
        "atoll_repair_left_bytes",
        GAUGE,
        ("repair", "scope"),
        "The same in bytes",
        _repair(lambda status: status.left_bytes),
    ),
    Metric(
        "atoll_repair_bytes_per_second",
        GAUGE,
        ("repair", "scope"),
        "Its rate of late",
        _repair(lambda status: status.rate_bytes_s),
    ),
    Metric(
        "atoll_repair_end_time_seconds",
        GAUGE,
        ("repair", "scope"),
        "When its round will be done at this rate, Unix time; absent where that can't be told",
        _repair(lambda status: status.eta_s),
    ),
    Metric(
        "atoll_repair_counts",
        COUNTER,
        ("repair", "scope", "count"),
        "What it has done since the process began, by name",
        _repair_counts,
    ),
    # -- the ring --
    Metric(
        "atoll_ring_epoch",
        GAUGE,
        ("worker",),
        "The ring epoch that a worker serves by",
        _process(lambda report: report.epoch),
    ),
    Metric(
        "atoll_ring_unsettled",
        GAUGE,
        (),
        "Row partition-replicas of this node that are newcomers and have not all rows yet",
        _moving(lambda report: report.moving.unsettled),
    ),
    Metric(
        "atoll_ring_leftovers",
        GAUGE,
        (),
        "Shards on devices of this node where the ring does not place them any more",
        _moving(lambda report: report.moving.leftovers),
    ),
    Metric(
        "atoll_ring_misplaced_blobs",
        GAUGE,
        (),
        "Blobs on this node that are away from where the ring places them",
        _moving(lambda report: report.moving.misplaced),
    ),
    Metric(
        "atoll_ring_misplaced_bytes",
        GAUGE,
        (),
        "Their bytes",
        _moving(lambda report: report.moving.misplaced_bytes),
    ),
)

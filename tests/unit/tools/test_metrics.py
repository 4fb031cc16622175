"""Every metric is documented, shown, and has the value that the reports have."""

import re
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.admission import DOWNLOADS_MAX, AdmissionStatus
from proxy.core.guard import GuardStatus
from proxy.repair.contract import WorkerState, WorkerStatus
from runtime.telemetry import Telemetry
from storage.node import Progress
from tests.unit.health.clusters import Cluster, status
from tools.health.report import ProcessReport, Unreached
from tools.metric_table import COUNTER, METRICS
from tools.metrics import prometheus_text

DOCUMENT = Path(__file__).parents[3] / "doc" / "metrics.md"


def documented() -> list[tuple[str, ...]]:
    return re.findall(r"^\| `(atoll_\w+)` \| (\w+) \| (.+?) \| (.+) \|$", DOCUMENT.read_text(), re.M)


def test_every_metric_is_documented_in_order() -> None:
    rows = [
        (
            metric.name,
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels) or "–",
            f"{metric.help}." + (f" Not on the dashboard: {metric.hidden}." if metric.hidden else ""),
        )
        for metric in METRICS
    ]
    assert documented() == rows


def busy() -> ProcessReport:
    """A process that has something to say in every metric."""
    telemetry = Telemetry()
    telemetry.request("s3", "get_object", 200, 0.003)
    telemetry.request("s3", "get_object", 200, 2.0)
    telemetry.event("task_failed", 2)
    report = Cluster().device(0, syncs=7, sync_total_s=0.5, offline="").processes["a"]
    work = WorkerStatus(
        name="rebuild",
        scope="d0",
        state=WorkerState.WORKING,
        left=3,
        left_bytes=4,
        rate_bytes_s=5,
        eta_s=6.0,
        counts={"blobs": 7},
    )
    return msgspec.structs.replace(
        report,
        counts=telemetry.counts,
        repair=[work],
        guards=[GuardStatus(4, "open", 1, 2, 3, "why")],
        unreached=[Unreached(node="b", worker=0, since_ns=1)],
        queues={"peer_calls": 9},
        admission=AdmissionStatus(5, 256, 11, 12, 3, 2),
        quorums={"read agreed": 10, "write unknown": 1},
        moving=Progress(1, 1, 2, 3, 4, 5),
    )


def samples(*reports: ProcessReport) -> dict[str, float]:
    """By "name{label=value,...}"."""
    found = {}
    for family in text_string_to_metric_families(prometheus_text(reports).decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_every_metric_is_there_when_there_is_something_to_say() -> None:
    said = {name.partition("{")[0] for name in samples(busy())}
    endings = {"histogram": "_count", COUNTER: "_total"}
    assert {metric.name + endings.get(metric.kind, "") for metric in METRICS} <= said


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        ("atoll_request_seconds_count{api=s3,status=200,verb=get_object}", 2),
        ("atoll_request_seconds_bucket{api=s3,le=0.005,status=200,verb=get_object}", 1),
        ("atoll_request_seconds_sum{api=s3,status=200,verb=get_object}", 2.003),
        ("atoll_events_total{event=task_failed}", 2),
        ("atoll_quorum_outcomes_total{operation=read,outcome=agreed}", 10),
        ("atoll_device_syncs_total{device=0}", 7),
        ("atoll_device_up{device=1}", 1),
        ("atoll_breaker_state{device=4,worker=0}", 2),
        ("atoll_breaker_opened_total{device=4,worker=0}", 2),
        ("atoll_repair_state{repair=rebuild,scope=d0,state=working}", 1),
        ("atoll_repair_state{repair=rebuild,scope=d0,state=idle}", 0),
        ("atoll_repair_counts_total{count=blobs,repair=rebuild,scope=d0}", 7),
        ("atoll_peers_unreached{worker=0}", 1),
        ("atoll_ring_unsettled{}", 2),
        ("atoll_ring_misplaced_bytes{}", 5),
        ("atoll_queue_length{queue=peer_calls,worker=0}", 9),
        ("atoll_queue_length{queue=requests,worker=0}", 11),
        ("atoll_requests_waiting_bytes{worker=0}", 12),
        ("atoll_admitted{work=requests,worker=0}", 5),
        ("atoll_admitted{work=uploads,worker=0}", 3),
        ("atoll_admitted_max{work=requests,worker=0}", 256),
        ("atoll_admitted_max{work=downloads,worker=0}", DOWNLOADS_MAX),
    ],
)
def test_values(sample: str, value: float) -> None:
    assert samples(busy())[sample] == value


def test_processes_of_a_node_are_added_up() -> None:
    other = msgspec.structs.replace(busy(), worker=1, devices={9: status(device_id=9)}, repair=[])
    found = samples(busy(), other)
    assert found["atoll_request_seconds_count{api=s3,status=200,verb=get_object}"] == 4
    assert found["atoll_ring_unsettled{}"] == 4
    assert found["atoll_queue_length{queue=peer_calls,worker=1}"] == 9
    assert found["atoll_device_up{device=9}"] == 1


def test_an_offline_device_has_no_figures_but_is_there() -> None:
    found = samples(Cluster().device(2, offline="EIO").processes["a"])
    assert found["atoll_device_up{device=2}"] == 0
    assert "atoll_device_free_bytes{device=2}" not in found
    assert "atoll_device_free_bytes{device=1}" in found

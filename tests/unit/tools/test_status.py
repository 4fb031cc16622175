"""What a node's report means, in sentences."""

from typing import Any

import msgspec
import pytest

from runtime.errors import AtollError
from runtime.telemetry import Counts
from storage.device.config import DeviceStatus
from tools.admin import NodeReport, WorkerReport
from tools.finding import Finding, Level, healthy
from tools.status import SYNC_SLOW_S, ask, judge

WELL = DeviceStatus(
    device_id=0,
    incarnation="00" * 16,
    offline="",
    full=False,
    free_bytes=10 << 30,
    journal_segments=1,
    journal_bytes=1000,
    live_bytes=900,
    index_bytes=32768,
    unindexed_rows=3,
    checkpoint_age_s=0.5,
    sync_latency_s=0.001,
    corrupt_count=0,
    replayed_rows=0,
    notes=(),
)


def report(*, missing: tuple[int, ...] = (), fsync: str = "on", **changes: Any) -> NodeReport:
    """One worker with device 0 as `changes` say and device 1 well."""
    changed = {**msgspec.to_builtins(WELL), **changes}
    devices = {"0": changed, "1": {**msgspec.to_builtins(WELL), "device_id": 1}}
    worker = WorkerReport(0, 100, 50 << 20, devices, Counts({}, {}))
    return NodeReport("http://127.0.0.1:8080", fsync, [worker], list(missing))


def about(findings: list[Finding], word: str) -> list[tuple[Level, str]]:
    return [(found.level, found.text) for found in findings if found.about == word]


def test_all_well() -> None:
    findings = list(judge(report()))
    assert healthy(findings)
    assert {found.level for found in findings} == {Level.OK}
    assert "all 2 devices, all 1 workers" in findings[0].text


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"offline": "a sync failed: EIO"}, Level.PROBLEM, "stopped serving: a sync failed: EIO"),
        ({"full": True, "free_bytes": 1 << 20}, Level.PROBLEM, "is full (1.0 MiB free)"),
        ({"corrupt_count": 7}, Level.WARNING, "failed 7 checksums"),
        ({"sync_latency_s": SYNC_SLOW_S * 2}, Level.WARNING, "its disk is slow: a sync takes 1000 ms"),
        ({"notes": ["the index was rebuilt"]}, Level.WARNING, "the index was rebuilt"),
    ],
)
def test_a_device_in_trouble_says_which(changes: dict[str, Any], level: Level, words: str) -> None:
    findings = list(judge(report(**changes)))
    assert any(found[0] is level and words in found[1] for found in about(findings, "device 0"))
    assert {found[0] for found in about(findings, "device 1")} == {Level.OK}
    assert healthy(findings) == (level is Level.WARNING)


def test_a_device_that_stopped_is_counted_out() -> None:
    findings = list(judge(report(offline="closed")))
    assert findings[0].level is Level.PROBLEM
    assert "1 of 2 known devices" in findings[0].text


def test_a_missing_worker_and_a_store_without_syncs_are_problems() -> None:
    findings = list(judge(report(missing=(1,))))
    assert [level for level, _ in about(findings, "worker")] == [Level.PROBLEM, Level.OK]
    findings = list(judge(report(fsync="off")))
    assert about(findings, "fsync")[0][0] is Level.PROBLEM


def test_events_are_added_up() -> None:
    made = report()
    made.workers[0].counts.events["task_failed"] = 2
    assert about(list(judge(made)), "events") == [
        (Level.WARNING, "2 background tasks failed; the log names them")
    ]


def test_a_report_of_another_version_is_an_error() -> None:
    made = report()
    made.workers[0].devices["0"] = {"colour": "blue"}
    with pytest.raises(AtollError, match="device 0 is of another version"):
        list(judge(made))


@pytest.mark.parametrize("url", ["https://127.0.0.1:8081", "nonsense", "http://", "http://x:port"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AtollError, match=r"admin port's URL|no store answers"):
        ask(url)

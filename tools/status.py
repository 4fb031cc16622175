"""`atoll status`: asks a running store's admin port and says in sentences how it is.

Exit status: 0 healthy, 1 not healthy or not running (the reason is on standard error), 2 wrong usage.
"""

import argparse
import http.client
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from runtime.config import Config, load
from runtime.errors import AtollError
from storage.device.config import DeviceStatus
from tools.admin import NodeReport, WorkerReport
from tools.finding import (
    Finding,
    documents,
    healthy,
    ok,
    print_findings,
    problem,
    size_text,
    warning,
)

ASK_TIMEOUT_S: Final = 15.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
SYNC_SLOW_S: Final = 0.5
"""A device whose syncs take longer than this is called slow."""


def add_parser(subparsers: Any) -> None:
    """Register `status`."""
    parser = subparsers.add_parser(
        "status",
        help="say how the running store is",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file; names the admin port")
    parser.add_argument("--admin-url", metavar="URL", help="the admin port (http://127.0.0.1:8081)")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Ask, judge, print."""
    url = args.admin_url or _configured_url(args.config)
    report = ask(url)
    findings = list(judge(report))
    if args.json:
        document = {
            "healthy": healthy(findings),
            "findings": documents(findings),
            "report": msgspec.to_builtins(report),
        }
        print(json.dumps(document, indent=2))
    else:
        print_findings(findings)
    return 0 if healthy(findings) else 1


def _configured_url(path: str | None) -> str:
    config = load(path)
    if not config.admin_port:
        raise AtollError("the configuration has no admin port (admin_port = 0), so nobody can be asked")
    return admin_url(config)


def admin_url(config: Config) -> str:
    """The admin port's URL for this host."""
    host = f"[{config.admin_listen}]" if ":" in config.admin_listen else config.admin_listen
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{host}:{config.admin_port}"


# ---- asking --------------------------------------------------------------------------------------


def ask(url: str) -> NodeReport:
    """The report behind an admin port's URL. Raises AtollError with what to do about it."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise AtollError(f"{url!r} is no admin port's URL; it looks like http://127.0.0.1:8081")
    try:
        status, body = _get(parts.hostname, parts.port or 80)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AtollError(
            f"no store answers at {url} ({error}); `atoll up` starts one, --admin-url asks elsewhere"
        ) from error
    if status != 200:
        raise AtollError(f"{url}/status answered {status}: this is not an Atoll admin port")
    try:
        return msgspec.json.decode(body, type=NodeReport)
    except msgspec.MsgspecError as error:
        raise AtollError(f"{url}/status is not an Atoll report: {error}") from error


def _get(host: str, port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        return response.status, response.read(ANSWER_BYTES_MAX)
    finally:
        connection.close()


# ---- judging -------------------------------------------------------------------------------------


def judge(report: NodeReport) -> Iterator[Finding]:
    """What a report means, most important first."""
    devices = list(_devices(report))
    serving = [status for _, status in devices if not status.offline]
    yield _overall(report, len(devices), len(serving))
    for number in report.missing:
        yield problem(
            "worker",
            f"worker {number} does not answer; its devices are not served until it is back "
            "(the supervisor starts it again; its log says why it ended)",
        )
    if report.fsync != "on":
        yield problem(
            "fsync", f"fsync is {report.fsync}: acknowledged writes can be lost when power fails"
        )
    for worker in report.workers:
        yield ok(
            "worker",
            f"worker {worker.worker} (pid {worker.pid}) serves {len(worker.devices)} devices in "
            f"{size_text(worker.rss_bytes)} of memory",
        )
    for name, status in devices:
        yield from _device(name, status)
    yield from _events(report.workers)


def _overall(report: NodeReport, known: int, serving: int) -> Finding:
    workers = len(report.workers) + len(report.missing)
    if serving == known and not report.missing:
        return ok("store", f"{report.endpoint} serves: all {known} devices, all {workers} workers")
    return problem(
        "store",
        f"{report.endpoint} serves with {serving} of {known} known devices and "
        f"{len(report.workers)} of {workers} workers",
    )


def _devices(report: NodeReport) -> Iterator[tuple[str, DeviceStatus]]:
    """All devices by number. Raises AtollError for a report of another version."""
    found = [item for worker in report.workers for item in worker.devices.items()]
    for name, fields in sorted(found, key=lambda item: (len(item[0]), item[0])):
        try:
            yield name, msgspec.convert(fields, DeviceStatus)
        except msgspec.ValidationError as error:
            raise AtollError(f"the report on device {name} is of another version: {error}") from error


def _device(name: str, status: DeviceStatus) -> Iterator[Finding]:
    about = f"device {name}"
    if status.offline:
        yield problem(
            about, f"stopped serving: {status.offline}. Replace it, or repair its disk and restart"
        )
        return
    yield ok(about, _device_figures(status))
    if status.full:
        yield problem(
            about,
            f"is full ({size_text(status.free_bytes)} free): it refuses writes until objects are "
            "deleted or room is made",
        )
    if status.corrupt_count:
        yield warning(
            about,
            f"failed {status.corrupt_count} checksums since it started; other copies answered. "
            "Look at its quarantine directory and at its disk's health",
        )
    if status.sync_latency_s > SYNC_SLOW_S:
        yield warning(about, f"its disk is slow: a sync takes {status.sync_latency_s * 1000:.0f} ms")
    for note in status.notes:
        yield warning(about, note)


def _device_figures(status: DeviceStatus) -> str:
    sync = (
        f"a sync takes {status.sync_latency_s * 1000:.1f} ms"
        if status.sync_latency_s
        else "no sync yet"
    )
    return (
        f"serves; journal {size_text(status.journal_bytes)} in {status.journal_segments} segments "
        f"({size_text(status.live_bytes)} live), index {size_text(status.index_bytes)}, "
        f"{size_text(status.free_bytes)} free, {sync}, "
        f"{status.unindexed_rows} rows in the journal only"
    )


_TROUBLES: Final = {
    "task_failed": "background tasks failed; the log names them",
    "users_file_invalid": "times the user file could not be read; the last good users stay in place",
}


def _events(workers: list[WorkerReport]) -> Iterator[Finding]:
    for name, text in _TROUBLES.items():
        count = sum(worker.counts.events.get(name, 0) for worker in workers)
        if count:
            yield warning("events", f"{count} {text}")

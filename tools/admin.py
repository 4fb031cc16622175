"""The admin port: /status as JSON and /metrics for Prometheus, read-only, for the whole node.

Each worker answers for itself on a socket in the run directory; worker 0 owns the port and adds up.
What changes anything (`atoll repair pause`) is asked of each worker's socket alone, which only the
store's own user can open.
"""

import asyncio
import contextlib
import os
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

from proxy.repair.contract import WorkerStatus
from proxy.repair.runner import Runner, UnknownWorker
from runtime.config import Config
from runtime.telemetry import Counts, Telemetry, prometheus_text
from storage.contract import DeviceClient
from storage.wire.server import TellsStatus, WireServer

ASK_TIMEOUT_S: Final = 5.0


class WorkerReport(msgspec.Struct):
    """What one worker says of itself. devices: by id, what each says of itself. repair: its background
    work."""

    worker: int
    pid: int
    rss_bytes: int
    devices: dict[str, Any]
    counts: Counts
    repair: list[WorkerStatus] = []


class NodeReport(msgspec.Struct):
    """What /status answers. missing: workers that did not answer."""

    endpoint: str
    fsync: str
    workers: list[WorkerReport]
    missing: list[int]


def admin_socket(worker: int) -> str:
    """A worker's admin socket, relative to the run directory."""
    return f"a{worker}.sock"


class Admin:
    """One worker's part of the admin port."""

    def __init__(
        self,
        config: Config,
        number: int,
        workers: int,
        clients: dict[int, DeviceClient],
        wire: WireServer,
        telemetry: Telemetry,
        repair: Runner,
    ) -> None:
        self._repair = repair
        self._config = config
        self._number = number
        self._workers = workers
        self._owned = {n: client for n, client in clients.items() if n in wire.devices}
        self._telemetry = telemetry

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Listen on the worker's socket, and on the admin port where this is worker 0."""
        path = admin_socket(self._number)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        own = web.Server(self._answer_own, access_log=None)
        await self._serve(stack, own, asyncio.get_running_loop().create_unix_server(own, path))
        os.chmod(path, 0o600)
        if self._number == 0 and self._config.admin_port:
            node = web.Server(self._answer_node, access_log=None)
            listening = asyncio.get_running_loop().create_server(
                node, self._config.admin_listen, self._config.admin_port
            )
            await self._serve(stack, node, listening)

    async def _serve(
        self, stack: contextlib.AsyncExitStack, server: web.Server, listening: Any
    ) -> None:
        listener = await listening
        stack.push_async_callback(server.shutdown, 0)
        stack.callback(listener.close)

    def _own_report(self) -> WorkerReport:
        devices = {
            str(number): device.status()
            for number, device in self._owned.items()
            if isinstance(device, TellsStatus)
        }
        return WorkerReport(
            self._number,
            os.getpid(),
            _rss_bytes(),
            devices,
            self._telemetry.counts,
            self._repair.statuses(),
        )

    async def _answer_own(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return self._control(request.path)
        return _json(self._own_report())

    def _control(self, path: str) -> web.Response:
        """`/repair/<action>/<name>`, as `atoll repair` sends it."""
        acts = {"pause": self._repair.pause, "resume": self._repair.resume, "run": self._repair.run_now}
        _, _, rest = path.partition("/repair/")
        action, _, name = rest.partition("/")
        if action not in acts:
            return web.Response(status=404, text="there is no such action\n")
        try:
            acts[action](name)
        except UnknownWorker:
            return web.Response(status=404, text=f"there is no repair worker {name!r}\n")
        return web.Response(text="done\n")

    async def _answer_node(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="read-only\n")
        if request.path == "/status":
            return _json(await self._node_report())
        if request.path == "/metrics":
            report = await self._node_report()
            text = prometheus_text([worker.counts for worker in report.workers])
            return web.Response(body=text, content_type="text/plain")
        if request.path == "/healthcheck":
            return web.Response(text="OK")
        return web.Response(status=404, text="try /status or /metrics\n")

    async def _node_report(self) -> NodeReport:
        others = [n for n in range(self._workers) if n != self._number]
        answers = await asyncio.gather(*map(self._try_ask, others))
        workers = [self._own_report(), *(report for report in answers if report is not None)]
        missing = [n for n, report in zip(others, answers, strict=True) if report is None]
        return NodeReport(self._config.endpoint, "on", workers, missing)

    async def _try_ask(self, worker: int) -> WorkerReport | None:
        connector = aiohttp.UnixConnector(path=admin_socket(worker))
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get("http://worker/") as response,
            ):
                return msgspec.json.decode(await response.read(), type=WorkerReport)
        except (OSError, aiohttp.ClientError, TimeoutError):
            self._telemetry.event("worker_unreachable")
            return None


def _json(report: WorkerReport | NodeReport) -> web.Response:
    return web.Response(body=msgspec.json.encode(report), content_type="application/json")


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

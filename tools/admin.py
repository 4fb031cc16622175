"""The admin port, read-only: the operators' page, health in sentences, reports, metrics.

Each process answers for itself on a socket in the run directory; worker 0 of a node owns the port and
asks the others: those of its node there, those of other nodes by the node protocol. Whoever shows the
cluster shows it from here; the port of any node will do. What changes anything (`atoll repair pause`)
is asked of each process's socket alone, which only the store's own user can open.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any, Final, Generic, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from proxy.repair.runner import Runner, UnknownWorker
from ring.lookup import Ring
from runtime.config import Config
from runtime.private_socket import private_socket
from storage.node import NodeClient
from tools.finding import lines
from tools.gather import Ask, gather
from tools.health.health import Health, Level
from tools.health.judge import judge
from tools.health.report import ClusterReport, ProcessReport, encode
from tools.metrics import prometheus_text
from tools.page.render import Rendered, render
from tools.page.view import page_of
from tools.pauses import Pauses
from tools.reach import ProcessName
from tools.reporter import Reporter, without_census

ASK_TIMEOUT_S: Final = 5.0

FRESH_S: Final = 1.0
"""A gathered report is shown again for so long: many pages may be open."""


T = TypeVar("T")


class OncePerReport(Generic[T]):
    """What is made of a report, on a thread: of a large cluster it takes a second, which requests shall
    not wait. Made once, however many ask: anybody may, again and again."""

    def __init__(self, make: Callable[[ClusterReport, Ring], T]) -> None:
        self._make = make
        self._making = asyncio.Lock()
        self._made: tuple[ClusterReport, T] | None = None

    async def of(self, report: ClusterReport, ring: Ring) -> T:
        """Of this very report; ring: as it is now."""
        async with self._making:
            if self._made is None or self._made[0] is not report:
                self._made = report, await asyncio.to_thread(self._make, report, ring)
            return self._made[1]


class NodeReport(msgspec.Struct):
    """What /status answers: this node alone. missing: workers that did not answer."""

    endpoint: str
    fsync: str
    node: str
    workers: list[ProcessReport]
    missing: list[int]


def admin_socket(worker: int) -> str:
    """A worker's admin socket, relative to the run directory."""
    return f"a{worker}.sock"


def no_other_nodes() -> dict[ProcessName, NodeClient]:
    """Of a node that is alone."""
    return {}


AnswerBucket = Callable[[bytes], Awaitable[tuple[int, bytes]]]
"""Answers `atoll bucket`: HTTP status and JSON."""


async def _no_buckets(_body: bytes) -> tuple[int, bytes]:
    return 404, b"{}"


class Admin:
    """One process's part of the admin port. elsewhere: other nodes' processes, as they are now."""

    def __init__(
        self,
        config: Config,
        workers: int,
        reporter: Reporter,
        repair: Runner,
        pauses: Pauses,
        elsewhere: Callable[[], Mapping[ProcessName, NodeClient]] = no_other_nodes,
        bucket: AnswerBucket | None = None,
    ) -> None:
        self._config = config
        self._workers = workers
        self._reporter = reporter
        self._repair = repair
        self._pauses = pauses
        self._elsewhere = elsewhere
        self._bucket = bucket or _no_buckets
        self._judged = OncePerReport(_health_of)
        self._rendered = OncePerReport(_rendered)
        self._gathering = asyncio.Lock()
        self._gathered: ClusterReport | None = None
        self._gathered_at = 0.0

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Listen on the worker's socket, and on the admin port where this is worker 0."""
        path = admin_socket(self._reporter.who.worker)
        own = web.Server(self._answer_own, access_log=None)
        listening = asyncio.get_running_loop().create_unix_server(own, sock=private_socket(path))
        await self._serve(stack, own, listening)
        if self._reporter.who.worker == 0 and self._config.admin_port:
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

    # ---- answering -------------------------------------------------------------------------------

    async def _answer_own(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST" and request.path == "/bucket":
            status, body = await self._bucket(await request.read())
            return _json(body, status)
        if request.method == "POST":
            return await self._control(request.path)
        return _json(self._reporter.report_bytes())

    async def _control(self, path: str) -> web.Response:
        """`/repair/<action>/<name>`, as `atoll repair` sends it."""
        repair = self._repair
        acts = {"pause": repair.pause, "resume": repair.resume, "run": repair.run_now}
        _, _, rest = path.partition("/repair/")
        action, _, name = rest.partition("/")
        if action not in acts:
            return web.Response(status=404, text="there is no such action\n")
        try:
            await self._remember(action, name)
            acts[action](name)
        except UnknownWorker:
            return web.Response(status=404, text=f"there is no repair worker {name!r}\n")
        except OSError as error:
            return web.Response(status=500, text=f"it can't be written down: {error}\n")
        return web.Response(text="done\n")

    async def _remember(self, action: str, name: str) -> None:
        """Write down who is paused, for the next start. Raises OSError."""
        if action == "pause":
            await asyncio.to_thread(self._pauses.keep, name, self._repair.names)
        elif action == "resume":
            await asyncio.to_thread(self._pauses.forget, name, self._repair.names)

    async def _answer_node(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="read-only\n")
        answer = self._routes().get(request.path)
        if answer is None:
            return web.Response(status=404, text=f"try {', '.join(self._routes())}\n")
        return await answer()

    def _routes(self) -> dict[str, Callable[[], Awaitable[web.StreamResponse]]]:
        return {
            "/": self._page,
            "/health": self._health_text,
            "/health.json": self._health_json,
            "/status": self._status,
            "/metrics": self._metrics,
            "/healthcheck": self._healthcheck,
        }

    async def _page(self) -> web.StreamResponse:
        report, ring = await self.cluster_report(), self._reporter.ring()
        body, headers = await self._rendered.of(report, ring)
        return web.Response(text=body, content_type="text/html", headers=headers)

    async def _health_text(self) -> web.StreamResponse:
        health = await self._health()
        text = "".join(f"{line}\n" for line in (health.level.value, *lines(health.findings)))
        return web.Response(status=_status_code(health), text=text)

    async def _health_json(self) -> web.StreamResponse:
        health = await self._health()
        return _json(msgspec.json.encode(health), _status_code(health))

    async def _status(self) -> web.StreamResponse:
        report = await self._node_report()
        report.workers = list(map(without_census, report.workers))
        return _json(encode(report))

    async def _metrics(self) -> web.StreamResponse:
        return web.Response(
            body=prometheus_text((await self._node_report()).workers), content_type="text/plain"
        )

    async def _healthcheck(self) -> web.StreamResponse:
        return web.Response(text="OK")

    # ---- asking ----------------------------------------------------------------------------------

    async def _health(self) -> Health:
        report, ring = await self.cluster_report(), self._reporter.ring()
        return await self._judged.of(report, ring)

    async def cluster_report(self) -> ClusterReport:
        """The reports of all processes of the cluster, at most FRESH_S old."""
        async with self._gathering:
            now = self._reporter.clock.monotonic()
            if self._gathered is None or now - self._gathered_at > FRESH_S:
                asked = {**self._workers_here(), **self._workers_elsewhere()}
                self._gathered = await gather(
                    self._reporter.report(), asked, self._config.endpoint, self._reporter.clock
                )
                self._gathered_at = self._reporter.clock.monotonic()
            return self._gathered

    def _workers_here(self) -> dict[ProcessName, Ask]:
        who = self._reporter.who
        others = (number for number in range(self._workers) if number != who.worker)
        return {ProcessName(who.node, number): partial(_ask_here, number) for number in others}

    def _workers_elsewhere(self) -> dict[ProcessName, Ask]:
        return {name: client.report for name, client in self._elsewhere().items()}

    async def _node_report(self) -> NodeReport:
        own = self._reporter.report()
        found = await gather(own, self._workers_here(), self._config.endpoint, self._reporter.clock)
        missing = [silent.worker for silent in found.silent]
        return NodeReport(self._config.endpoint, own.fsync, own.node, found.reports, missing)


async def _ask_here(worker: int, deadline: float) -> bytes:
    """The report of another process of this node. Raises OSError, TimeoutError."""
    connector = aiohttp.UnixConnector(path=admin_socket(worker))
    timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://worker/") as response,
        ):
            return await response.read()
    except aiohttp.ClientError as error:
        raise OSError(0, str(error)) from error


def _health_of(report: ClusterReport, ring: Ring) -> Health:
    return judge(report, ring, _zone(report))


def _rendered(report: ClusterReport, ring: Ring) -> Rendered:
    zone = _zone(report)
    return render(page_of(report, ring, judge(report, ring, zone), zone))


def _zone(report: ClusterReport) -> tzinfo:
    """This machine's time zone, with the offset that it has now."""
    return datetime.fromtimestamp(report.now_ns / 1e9, UTC).astimezone().tzinfo or UTC


def _status_code(health: Health) -> int:
    """For checks that only look at the status: 503 where something can't be read or written."""
    return 503 if health.level is Level.DANGER else 200


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")

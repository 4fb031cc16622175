"""Clients of several nodes at once, who note when each request began and ended.

They run in the process of the benchmark itself, which does nothing else meanwhile; requests are signed
before and answers checked as those of the generator's rows are.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from tools.bench.connection import Recorder
from tools.bench.generator import keep_connected
from tools.bench.load import Load, Operation, Server
from tools.bench.payload import Payloads
from tools.bench.response import ResponseReader
from tools.bench.work import Exchange, build

OBJECTS: Final = 2048
OBJECT_BYTES: Final = 4096
PREFIX: Final = "object/"
SECONDS_MAX: Final = 3600.0
REQUESTS_MAX: Final = 10**9
PUT: Final[Operation] = "put"
GET: Final[Operation] = "get"


class Sample(NamedTuple):
    """One right answer."""

    verb: str
    began: float
    ended: float


class _Trace(Recorder):
    """Keeps each request and not only their statistics."""

    def __init__(self, load: Load, payloads: Payloads, clients: "Clients") -> None:
        super().__init__(load, build(load, payloads, datetime.now(UTC)), time.perf_counter)
        self._verb = load.operation
        self._clients = clients

    def exhausted(self) -> bool:
        return self._clients.ended

    def answered(self, exchange: Exchange, answer: ResponseReader, began: float) -> None:
        right = self.finished
        super().answered(exchange, answer, began)
        if self.finished > right:
            self._clients.samples.append(Sample(self._verb, began, self.clock()))

    def failed(self, kind: str, detail: str = "") -> None:
        super().failed(kind, detail)
        self._clients.failures.append(self.clock())
        self._clients.kinds.append(f"{self._verb}: {kind} {detail}"[:200])


class Clients:
    """`connections` for each server and verb; all servers serve the same objects.

    samples: in order of their ends. failures: when. kinds: why.
    """

    def __init__(self, servers: Sequence[Server], bucket: str, connections: int) -> None:
        self._servers = servers
        self._bucket = bucket
        self._connections = connections
        self._payloads = Payloads()
        self.samples: list[Sample] = []
        self.failures: list[float] = []
        self.kinds: list[str] = []
        self.ended = False

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """They work while this is open; requests under way at its end are waited for."""
        await self._fill()
        gc.collect()
        gc.disable()  # it would walk through all samples again and again
        try:
            async with asyncio.TaskGroup() as group:
                for server in self._servers:
                    for verb in (PUT, GET):
                        self._begin(group, server, verb)
                try:
                    yield
                finally:
                    self.ended = True
        finally:
            gc.enable()

    async def _fill(self) -> None:
        """Put every object once."""
        load = self._load(self._servers[0], PUT)
        filling = Recorder(load, build(load, self._payloads, datetime.now(UTC)), time.perf_counter)
        async with asyncio.TaskGroup() as group:
            for _ in range(load.connections):
                group.create_task(keep_connected(load, filling))

    def _begin(self, group: asyncio.TaskGroup, server: Server, verb: Operation) -> None:
        load = self._load(server, verb)
        trace = _Trace(load, self._payloads, self)
        for _ in range(self._connections):
            group.create_task(keep_connected(load, trace))

    def _load(self, server: Server, verb: Operation) -> Load:
        return Load(
            operation=verb,
            server=server,
            bucket=self._bucket,
            key_prefix=PREFIX,
            count=OBJECTS,
            requests=OBJECTS,
            size_bytes=OBJECT_BYTES,
            connections=16,
            max_seconds=SECONDS_MAX,
        )

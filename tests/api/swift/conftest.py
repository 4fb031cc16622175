"""A Swift endpoint: the real door, front ends and core over in-memory devices, in a thread."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from swiftclient import client as swiftclient

from proxy.auth.users import MemoryUsers, User
from proxy.core.store import CoreStore
from proxy.door import Door
from proxy.http import READ_BUFFER_BYTES
from proxy.s3.app import S3App
from proxy.swift.app import SwiftApp
from runtime.clock import SystemClock
from runtime.telemetry import Telemetry
from tests.api.swift.wire import Wire
from tests.grid import Grid

USERS = (
    User("demo", "AUTH_demo", "demo-key", "demo-secret", "demo:demo"),
    User("other", "AUTH_other", "other-key", "other-secret", "other:other"),
    User("root", "AUTH_root", "root-key", "root-secret", "root:root", admin=True),
)
TOKEN_SECRET = b"a secret of the cluster, for tests"


class Endpoint(NamedTuple):
    """A running endpoint. faults: the errors it could not name; a test that leaves one fails."""

    host: str
    port: int
    store: CoreStore
    grid: Grid
    loop: asyncio.AbstractEventLoop
    faults: list[Exception]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


class _Thread:
    """The thread that serves."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self.endpoint: Endpoint | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        grid = Grid()
        store = grid.store()
        users, clock, faults = MemoryUsers(USERS), SystemClock(), list[Exception]()
        swift = SwiftApp(store, users, clock, TOKEN_SECRET, on_fault=faults.append)
        door = Door(S3App(store, users, clock), swift, Telemetry())
        server = web.Server(
            door.handle,
            access_log=None,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_field_size=16 * 1024,
            max_line_size=16 * 1024,
            lingering_time=2.0,
        )
        listener = await loop.create_server(server, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        self.endpoint = Endpoint("127.0.0.1", port, store, grid, loop, faults)
        self._started.set()
        await stop.wait()
        listener.close()
        await server.shutdown(1.0)

    def __enter__(self) -> Endpoint:
        self._thread.start()
        assert self._started.wait(30)
        assert self.endpoint is not None
        return self.endpoint

    def __exit__(self, *_exc: object) -> None:
        self._stop()
        self._thread.join(30)


@pytest.fixture(scope="session")
def running() -> Iterator[Endpoint]:
    with _Thread() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(running: Endpoint) -> Iterator[Endpoint]:
    yield running
    faults = list(running.faults)
    running.faults.clear()
    assert faults == []


def connect(endpoint: Endpoint, user: User = USERS[0]) -> swiftclient.Connection:
    return swiftclient.Connection(
        authurl=f"{endpoint.url}/auth/v1.0",
        user=user.swift_login,
        key=user.secret_key,
        auth_version="1",
        retries=0,
    )


@pytest.fixture
def swift(endpoint: Endpoint) -> Iterator[swiftclient.Connection]:
    connection = connect(endpoint)
    yield connection
    connection.close()


@pytest.fixture
def container(swift: swiftclient.Connection, request: pytest.FixtureRequest) -> str:
    name = f"c-{abs(hash(request.node.nodeid)) % 10**12}"
    swift.put_container(name)
    return name


@pytest.fixture
def wire(endpoint: Endpoint) -> Iterator[Wire]:
    """Requests of the demo user over a plain socket."""
    connection = Wire(endpoint.host, endpoint.port)
    connection.log_in("demo:demo", "demo-secret")
    yield connection
    connection.close()


@pytest.fixture
def stranger(endpoint: Endpoint) -> Iterator[Wire]:
    """Requests of the user of another account."""
    connection = Wire(endpoint.host, endpoint.port)
    connection.log_in("other:other", "other-secret")
    yield connection
    connection.close()


@pytest.fixture
def nobody(endpoint: Endpoint) -> Iterator[Wire]:
    """Requests without a token."""
    connection = Wire(endpoint.host, endpoint.port)
    yield connection
    connection.close()

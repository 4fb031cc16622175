"""An S3 endpoint of the real front end and core over in-memory devices, in a thread of this process."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import boto3
import pytest
from aiohttp import web
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError

from proxy.auth.users import MemoryUsers, User
from proxy.core.store import CoreStore
from proxy.http import READ_BUFFER_BYTES
from proxy.s3.app import S3App
from runtime.clock import SystemClock
from tests.api.s3.wire import Wire
from tests.grid import Grid

USERS = (
    User("demo", "AUTH_demo", "demo-key", "demo-secret", "demo:demo"),
    User("other", "AUTH_other", "other-key", "other-secret", "other:other"),
)


class Endpoint(NamedTuple):
    """A running endpoint, and how to run something in its loop."""

    host: str
    port: int
    store: CoreStore
    grid: Grid
    loop: asyncio.AbstractEventLoop

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
        app = S3App(store, MemoryUsers(USERS), SystemClock(), domains=("s3.test",))
        server = web.Server(
            app.handle,
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
        self.endpoint = Endpoint("127.0.0.1", port, store, grid, loop)
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
def endpoint() -> Iterator[Endpoint]:
    with _Thread() as running:
        yield running


def make_client(endpoint: Endpoint, user: User = USERS[0], **config: Any) -> BaseClient:
    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=user.access_key,
        aws_secret_access_key=user.secret_key,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}, **config),
    )


@pytest.fixture(scope="session")
def s3(endpoint: Endpoint) -> Iterator[Any]:
    client = make_client(endpoint)
    yield client
    client.close()


@pytest.fixture(scope="session")
def stranger(endpoint: Endpoint) -> Iterator[Any]:
    client = make_client(endpoint, USERS[1])
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = f"b-{abs(hash(request.node.nodeid)) % 10**12}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def wire(endpoint: Endpoint) -> Iterator[Wire]:
    connection = Wire(endpoint.host, endpoint.port)
    yield connection
    connection.close()


@contextlib.contextmanager
def refused(code: str, status: int) -> Iterator[None]:
    """The call in this block is answered with that error."""
    with pytest.raises(ClientError) as caught:
        yield
    answer: Any = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)

"""The same as `links.py` for who may make no network namespace: a proxy stands before each node.

All nodes are on loopback, and each tells the others its proxy's address (`cluster_address`). The proxy
knows who calls by the mark in the environment of the process whose socket it is, so a node's cable can
be cut and slowed in both directions. Only what nodes say to each other goes through it; clients don't.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.api.store import free_ports

LOOPBACK: Final = "127.0.0.1"
MARK: Final = "TESTS_HOST"
"""An environment variable with the number of a node's host."""
PIECE_BYTES: Final = 16 << 10
SLOW_DELAY_S: Final = 0.01
"""What a slowed cable adds to each piece, beside the time that its bytes take."""
_CALL_WITHIN_S: Final = 30.0


class Cable:
    """One host's, of the proxies' loop. Its two directions don't share what it carries."""

    def __init__(self) -> None:
        self.whole = asyncio.Event()
        self.whole.set()
        self.bytes_s = 0.0
        """What it carries; 0: all that comes."""
        self._free_at = {"in": 0.0, "out": 0.0}

    async def carry(self, direction: str, size: int) -> None:
        """Until so many bytes have passed; what is under way while it is cut waits."""
        if self.bytes_s:
            now = asyncio.get_running_loop().time()
            done = max(now, self._free_at[direction]) + size / self.bytes_s
            self._free_at[direction] = done
            await asyncio.sleep(done - now + SLOW_DELAY_S)
        await self.whole.wait()


class Proxies:
    """Some hosts, all of them this one. addresses, wrappers: as those of `links.Hosts`."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.addresses = [LOOPBACK] * count
        self.wrappers = [["env", f"{MARK}={number}"] for number in range(count)]
        self._cables = [Cable() for _ in range(count)]
        self._loop = loop
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    def cluster_address(self, number: int, port: int, workers: int) -> str:
        """Where the others find the node that listens on `port` and those behind it."""
        return f"{LOOPBACK}:{self._call(self._listen(number, port, workers))}"

    def cut(self, number: int) -> None:
        """Nothing passes any more, and nobody is told."""
        self._call(self._set(number, whole=False))

    def mend(self, number: int) -> None:
        """Take `cut` back."""
        self._call(self._set(number, whole=True))

    def slow(self, number: int, kbit_s: int) -> None:
        """Let a cable carry no more than this in either direction."""
        self._call(self._set(number, bytes_s=kbit_s * 1000 / 8))

    def quicken(self, number: int) -> None:
        """Take `slow` back."""
        self._call(self._set(number, bytes_s=0.0))

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_WITHIN_S)

    async def _set(
        self, number: int, *, whole: bool | None = None, bytes_s: float | None = None
    ) -> None:
        cable = self._cables[number]
        if whole is not None:
            cable.whole.set() if whole else cable.whole.clear()
        if bytes_s is not None:
            cable.bytes_s = bytes_s

    # -- in the proxies' loop --

    async def _listen(self, number: int, port: int, workers: int) -> int:
        """On as many ports in a row; the first."""
        while True:
            first, servers = free_ports(workers), []
            try:
                for worker in range(workers):
                    servers.append(await self._listen_for(number, first + worker, port + worker))
            except OSError:
                for server in servers:
                    server.close()
                continue
            self._servers += servers
            return first

    async def _listen_for(self, number: int, at: int, port: int) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                with suppress(OSError, asyncio.CancelledError):
                    await self._serve(number, port, reader, writer)
            finally:
                self._connections.discard(task)
                writer.transport.abort()

        return await asyncio.start_server(connected, LOOPBACK, at)

    async def _serve(
        self, number: int, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        source = writer.get_extra_info("peername")[1]
        caller = self._cables[await asyncio.to_thread(host_of, source)]
        called = self._cables[number]
        await caller.whole.wait()
        await called.whole.wait()
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)
        ways = [
            asyncio.ensure_future(_pump(reader, far_writer, caller, called)),
            asyncio.ensure_future(_pump(far_reader, writer, called, caller)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()

    async def close(self) -> None:
        """Listen no more, and end all connections."""
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed one turn later


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: Cable, target: Cable
) -> None:
    while piece := await reader.read(PIECE_BYTES):
        await source.carry("out", len(piece))
        await target.carry("in", len(piece))
        writer.write(piece)
        await writer.drain()


def host_of(port: int) -> int:
    """The host of the process whose TCP socket has this port. Raises OSError without one."""
    wanted = f"socket:[{_inode(port)}]"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            mark = _mark(entry)
            if mark is None or wanted not in {os.readlink(fd) for fd in (entry / "fd").iterdir()}:
                continue
        except OSError:
            continue  # it ended, or is another user's
        return mark
    raise ConnectionAbortedError(f"the caller at port {port} is gone")


def _inode(port: int) -> str:
    """Of proc_net(5): local and remote address, state …, the inode in the tenth column."""
    address = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == address:
            return fields[9]
    raise ConnectionAbortedError(f"nobody has port {port}")


def _mark(process: Path) -> int | None:
    for line in (process / "environ").read_bytes().split(b"\0"):
        name, _, value = line.partition(b"=")
        if name == MARK.encode():
            return int(value)
    return None


@contextmanager
def proxied_hosts(count: int) -> Iterator[Proxies]:
    """So many hosts, and a thread with their proxies; nothing is left afterwards."""
    with ExitStack() as stack:
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(lambda: loop.call_soon_threadsafe(loop.stop))
        proxies = Proxies(count, loop)
        stack.callback(lambda: proxies._call(proxies.close()))
        yield proxies

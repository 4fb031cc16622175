"""A client that has chosen its export: its requests, many at once, and their replies."""

import asyncio
import errno
import logging
import struct
from collections.abc import Awaitable
from typing import Final, NamedTuple

from compute.nbd.negotiation import Chosen
from compute.nbd.protocol import (
    CHUNK,
    CHUNK_DONE,
    CONTEXT_ID,
    REQUEST,
    REQUEST_BYTES_MAX,
    REQUEST_MAGIC,
    SIMPLE,
    SIMPLE_MAGIC,
    STATE_HOLE_ZERO,
    STRUCTURED_MAGIC,
    ChunkType,
    Command,
    CommandFlag,
    Errno,
    Gone,
)

REQUESTS_MAX: Final = 128
"""Under way on a connection; the next one is read when one of them is done."""
BYTES_MAX: Final = 2 * REQUEST_BYTES_MAX
"""Of data of requests under way on a connection."""
EXTENTS_MAX: Final = 4096
IN_A_ROW: Final = 32
"""Replies at hand; then others have their turn."""

log = logging.getLogger("atoll.cloud.nbd")


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno.name)
        self.errno = errno


class Request(NamedTuple):
    """One request. data: of a write."""

    flags: int
    command: int
    cookie: int
    offset: int
    length: int
    data: bytes


KNOWN_FLAGS: Final = {
    Command.READ: CommandFlag.DF | CommandFlag.FUA,
    Command.WRITE: CommandFlag.FUA,
    Command.FLUSH: CommandFlag.FUA,
    Command.TRIM: CommandFlag.FUA,
    Command.WRITE_ZEROES: CommandFlag.FUA | CommandFlag.NO_HOLE | CommandFlag.FAST_ZERO,
    Command.BLOCK_STATUS: CommandFlag.REQ_ONE | CommandFlag.FUA,
}
READ_FLAGS: Final = int(KNOWN_FLAGS[Command.READ])
CHANGES: Final = frozenset({Command.WRITE, Command.TRIM, Command.WRITE_ZEROES})


class Connection:
    """Serves one client until it goes away, breaks the protocol, or `run` is cancelled."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chosen: Chosen
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._export = chosen.export
        self._disk = chosen.export.disk
        self._structured = chosen.structured
        self._has_context = chosen.has_context
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._in_a_row = 0
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Raises Gone, IncompleteReadError. Requests under way are finished before it ends."""
        try:
            while (request := await self._next()) is not None:
                if (reply := self._at_hand(request)) is not None:
                    await self._sent_now(reply)
                    continue
                await self._wait_for_room(request.length)
                self._bytes += request.length
                task = asyncio.ensure_future(self._serve(request))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
        finally:
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _at_hand(self, request: Request) -> list[bytes] | None:
        """The reply to a read whose bytes need no waiting. What is wrong is told on the usual way."""
        if request.command != Command.READ or request.flags & ~READ_FLAGS:
            return None
        if request.offset + request.length > self._disk.size_bytes or not request.length:
            return None
        if request.length > REQUEST_BYTES_MAX:
            return None
        try:
            data = self._disk.read_now(request.offset, request.length)
        except Exception as error:
            log.warning("export %s: %s", self._export.name, error or type(error).__name__)
            return None
        return None if data is None else self._data(request, data)

    async def _sent_now(self, reply: list[bytes]) -> None:
        self._writer.writelines(reply)
        self._in_a_row += 1
        if self._in_a_row % IN_A_ROW == 0:
            await asyncio.sleep(0)
        await self._writer.drain()

    async def _wait_for_room(self, length: int) -> None:
        while len(self._tasks) >= REQUESTS_MAX or (self._tasks and self._bytes + length > BYTES_MAX):
            self._room.clear()
            await self._room.wait()

    async def _next(self) -> Request | None:
        """The next request; None where the client says goodbye."""
        header = await self._reader.readexactly(REQUEST.size)
        magic, flags, command, cookie, offset, length = REQUEST.unpack(header)
        if magic != REQUEST_MAGIC:
            raise Gone("no request where one must be")
        if command == Command.DISC:
            return None
        data = b""
        if command == Command.WRITE:
            if length > REQUEST_BYTES_MAX:
                raise Gone(f"a write of {length} bytes")
            data = await self._reader.readexactly(length)
        return Request(flags, command, cookie, offset, length, data)

    async def _serve(self, request: Request) -> None:
        try:
            await self._answered(request)
        except (ConnectionError, OSError) as error:
            log.info("an NBD client went away: %s", error)
        finally:
            self._bytes -= request.length

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.set()

    async def _answered(self, request: Request) -> None:
        try:
            self._check(request)
            reply = await self._done(request)
        except Refused as refused:
            reply = self._error(request, refused.errno)
        except Exception as error:
            log.warning("export %s: %s", self._export.name, error or type(error).__name__)
            is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            reply = self._error(request, Errno.ENOSPC if is_full else Errno.EIO)
        async with self._sending:
            self._writer.writelines(reply)
            await self._writer.drain()

    def _check(self, request: Request) -> None:
        """Raises Refused for what can't be done."""
        known = KNOWN_FLAGS.get(Command(request.command)) if request.command in _COMMANDS else None
        if known is None or request.flags & ~int(known):
            raise Refused(Errno.EINVAL)
        if request.command in CHANGES and self._export.read_only:
            raise Refused(Errno.EPERM)
        if request.command == Command.FLUSH:
            if request.offset or request.length:
                raise Refused(Errno.EINVAL)
            return
        if request.offset + request.length > self._disk.size_bytes:
            too_far = Errno.ENOSPC if request.command in CHANGES else Errno.EINVAL
            raise Refused(too_far)
        if request.command == Command.READ and request.length > REQUEST_BYTES_MAX:
            raise Refused(Errno.EOVERFLOW if self._structured else Errno.EINVAL)
        if request.command == Command.BLOCK_STATUS and not (self._has_context and request.length):
            raise Refused(Errno.EINVAL)

    async def _done(self, request: Request) -> list[bytes]:
        """The reply's frames."""
        if request.command == Command.READ:
            return self._data(request, await self._disk.read(request.offset, request.length))
        if request.command == Command.BLOCK_STATUS:
            return await self._status(request)
        fua = bool(request.flags & CommandFlag.FUA)
        work: Awaitable[None]
        if request.command == Command.WRITE:
            work = self._disk.write(request.offset, request.data, fua=fua)
        elif request.command == Command.FLUSH:
            work = self._disk.flush()
        else:
            work = self._disk.zero(request.offset, request.length, fua=fua)
        await work
        return self._ok(request)

    # -- frames --

    def _ok(self, request: Request) -> list[bytes]:
        if self._structured:
            return [CHUNK.pack(STRUCTURED_MAGIC, CHUNK_DONE, ChunkType.NONE, request.cookie, 0)]
        return [SIMPLE.pack(SIMPLE_MAGIC, 0, request.cookie)]

    def _error(self, request: Request, errno: Errno) -> list[bytes]:
        if not self._structured:
            return [SIMPLE.pack(SIMPLE_MAGIC, errno, request.cookie)]
        body = struct.pack(">IH", errno, 0)
        head = CHUNK.pack(STRUCTURED_MAGIC, CHUNK_DONE, ChunkType.ERROR, request.cookie, len(body))
        return [head, body]

    def _data(self, request: Request, data: bytes) -> list[bytes]:
        if not self._structured:
            return [SIMPLE.pack(SIMPLE_MAGIC, 0, request.cookie), data]
        if not data:
            return self._ok(request)
        kind = ChunkType.OFFSET_DATA
        head = CHUNK.pack(STRUCTURED_MAGIC, CHUNK_DONE, kind, request.cookie, 8 + len(data))
        return [head, struct.pack(">Q", request.offset), data]

    async def _status(self, request: Request) -> list[bytes]:
        found: list[tuple[int, int]] = []
        one = bool(request.flags & CommandFlag.REQ_ONE)
        async for _, length, has_data in self._disk.extents(request.offset, request.length):
            state = 0 if has_data else STATE_HOLE_ZERO
            if found and found[-1][1] == state:
                found[-1] = (found[-1][0] + length, state)
            elif len(found) >= (1 if one else EXTENTS_MAX):
                break
            else:
                found.append((length, state))
        body = struct.pack(">I", CONTEXT_ID) + b"".join(struct.pack(">II", *each) for each in found)
        kind = ChunkType.BLOCK_STATUS
        head = CHUNK.pack(STRUCTURED_MAGIC, CHUNK_DONE, kind, request.cookie, len(body))
        return [head, body]


_COMMANDS: Final = frozenset(Command)

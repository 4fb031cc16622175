"""Blobs over the wire: a pool of connections for bulk bytes, and writers and readers on it.

Bulk has connections of its own so that large bodies never stand before small calls. A blob stays on
one of them; windows bound what is under way for each blob, so many share a connection.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from runtime.clock import Clock
from storage.contract import Buffer
from storage.types import BlobHeader, BlobName
from storage.wire.connection import Connection, outcome
from storage.wire.messages import (
    CLOSE_BLOB,
    COMMIT_BLOB,
    CREATE_BLOB,
    OPEN_BLOB,
    PIECE_MAX_BYTES,
    READ_BLOB,
    READ_WINDOW,
    WRITE_BLOB,
    WRITE_WINDOW,
    CloseBlob,
    CommitBlob,
    CreateBlob,
    OpenBlob,
    Opened,
    ReadBlob,
    WriteBlob,
)

BULK_CONNECTIONS_MAX: Final = 4
"""Bulk connections to one peer."""

BLOBS_PER_CONNECTION: Final = 4
"""A further connection is made, up to the most, once each has so many open blobs."""

PIECE_TIME_S: Final = 30.0
"""How long one piece of a blob may take to be written or read."""

COMMIT_TIME_S: Final = 60.0
"""How long a blob may take to become durable."""

Answer = tuple[Any, bytes]


class BulkPool:
    """Up to BULK_CONNECTIONS_MAX connections to one peer, made when they are needed."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._open_blobs: dict[Connection, int] = {}
        self._last_handle = 0

    async def lease(self, deadline: float) -> "BlobHandle":
        """A place for one blob on the least busy connection. Raises DeviceFault(UNREACHABLE)."""
        connection = self._choose()
        self._open_blobs[connection] += 1
        self._last_handle += 1
        handle = BlobHandle(self, connection, self._last_handle)
        try:
            await connection.ready(deadline)
        except BaseException:
            self.release(connection)
            raise
        return handle

    def _choose(self) -> Connection:
        counts = self._open_blobs
        least = min(counts, key=counts.__getitem__, default=None)
        if least is not None and (
            counts[least] < BLOBS_PER_CONNECTION or len(counts) >= BULK_CONNECTIONS_MAX
        ):
            return least
        connection = self._connect()
        counts[connection] = 0
        return connection

    def release(self, connection: Connection) -> None:
        """A blob on `connection` has ended."""
        self._open_blobs[connection] -= 1

    def close(self) -> None:
        """Close all connections. Idempotent."""
        for connection in self._open_blobs:
            connection.close()


class BlobHandle:
    """One blob's place on a bulk connection. The client numbers it, so it can end it at any time."""

    def __init__(self, pool: BulkPool, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self._pool = pool
        self._ended = False

    def end(self, device_id: int, *, tell: bool) -> None:
        """Give the place back; `tell` the peer to drop what it has under the handle. Idempotent."""
        if self._ended:
            return
        self._ended = True
        if tell:
            self.connection.tell(CLOSE_BLOB, device_id, CloseBlob(self.number))
        self._pool.release(self.connection)


class WireBlobWriter:
    """A BlobWriter that streams to a remote device."""

    def __init__(self, handle: BlobHandle, device_id: int, clock: Clock) -> None:
        self._handle = handle
        self._device_id = device_id
        self._clock = clock
        self._unanswered: deque[asyncio.Future[Answer]] = deque()
        self._ended = False

    @classmethod
    async def create(
        cls, pool: BulkPool, device_id: int, header: BlobHeader, deadline: float, clock: Clock
    ) -> "WireBlobWriter":
        """Begin a blob at the peer. Raises DeviceFault, ValueError where the name exists."""
        handle = await pool.lease(deadline)
        message = CreateBlob(handle.number, header)
        try:
            await handle.connection.request(CREATE_BLOB, device_id, message, deadline)
        except BaseException:
            handle.end(device_id, tell=True)
            raise
        return cls(handle, device_id, clock)

    async def write(self, data: Buffer) -> None:
        """See BlobWriter.write. A failure may be reported by a later write or the commit.

        Fastest with `bytes`: what nobody can change is sent while the caller goes on.
        """
        self._must_be_open()
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PIECE_MAX_BYTES):
            await self._answers(down_to=WRITE_WINDOW - 1)
            self._send(view[at : at + PIECE_MAX_BYTES])
        if not isinstance(view.obj, bytes):
            await self._answers(down_to=0)  # only then is the caller's buffer surely out of use

    def _send(self, piece: memoryview) -> None:
        deadline = self._clock.monotonic() + PIECE_TIME_S
        message = WriteBlob(self._handle.number)
        begin = self._handle.connection.begin
        self._unanswered.append(begin(WRITE_BLOB, self._device_id, message, deadline, piece))

    async def _answers(self, down_to: int) -> None:
        """Wait until at most `down_to` pieces are unanswered. Raises DeviceFault."""
        while len(self._unanswered) > down_to:
            outcome(*await self._unanswered[0])
            self._unanswered.popleft()

    async def commit(self) -> None:
        """See BlobWriter.commit."""
        self._must_be_open()
        await self._answers(down_to=0)
        deadline = self._clock.monotonic() + COMMIT_TIME_S
        message = CommitBlob(self._handle.number)
        committing = self._handle.connection.begin(COMMIT_BLOB, self._device_id, message, deadline)
        self._ended = True
        try:
            outcome(*await committing)
        finally:
            self._handle.end(self._device_id, tell=False)

    async def abort(self) -> None:
        """See BlobWriter.abort."""
        self._ended = True
        self._handle.end(self._device_id, tell=True)

    def _must_be_open(self) -> None:
        if self._ended:
            raise ValueError("the blob was committed or aborted")


class WireBlobReader:
    """A BlobReader of a remote device; the bytes were verified there."""

    def __init__(self, handle: BlobHandle, device_id: int, opened: Opened, clock: Clock) -> None:
        self.header = opened.header
        self.size_bytes = opened.size_bytes
        self._handle = handle
        self._device_id = device_id
        self._clock = clock
        self._closed = False

    @classmethod
    async def open(
        cls, pool: BulkPool, device_id: int, name: BlobName, deadline: float, clock: Clock
    ) -> "WireBlobReader":
        """Open a blob at the peer. Raises DeviceFault."""
        handle = await pool.lease(deadline)
        message = OpenBlob(handle.number, name)
        try:
            opened, _ = await handle.connection.request(OPEN_BLOB, device_id, message, deadline)
        except BaseException:
            handle.end(device_id, tell=True)
            raise
        return cls(handle, device_id, opened, clock)

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        """See BlobReader.read."""
        if self._closed:
            raise ValueError("the blob reader is closed")
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise ValueError(f"range {offset}+{length} is outside a blob of {self.size_bytes} bytes")
        views: list[memoryview] = []
        asked: deque[asyncio.Future[Answer]] = deque()
        at, end = offset, offset + length
        while at < end or asked:
            while at < end and len(asked) < READ_WINDOW:
                piece_bytes = min(PIECE_MAX_BYTES, end - at)
                asked.append(self._ask(at, piece_bytes))
                at += piece_bytes
            _, body = outcome(*await asked.popleft())
            views.append(memoryview(body))
        return views

    def _ask(self, offset: int, length: int) -> "asyncio.Future[Answer]":
        deadline = self._clock.monotonic() + PIECE_TIME_S
        message = ReadBlob(self._handle.number, offset, length)
        return self._handle.connection.begin(READ_BLOB, self._device_id, message, deadline)

    def close(self) -> None:
        """See BlobReader.close."""
        self._closed = True
        self._handle.end(self._device_id, tell=True)

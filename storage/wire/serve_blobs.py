"""The serving end of blob streams: each handle of a connection is a task that takes its frames in turn.

Called by `server.py`'s sessions. A window bounds what waits before a task, so a slow device slows
down its client and nobody else; when the connection is lost, what is not committed is aborted.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, Protocol

from storage.contract import BlobReader, BlobWriter, DeviceClient, DeviceFault
from storage.types import Failed, Fault
from storage.wire.frames import Bytes, Frame, FrameError
from storage.wire.messages import (
    PIECE_MAX_BYTES,
    READ_WINDOW,
    WRITE_WINDOW,
    CloseBlob,
    CommitBlob,
    CreateBlob,
    Done,
    OpenBlob,
    Opened,
    ReadBlob,
    WriteBlob,
)

HANDLES_MAX: Final = 4096
"""The most open blobs of one connection; further ones are refused as overloaded."""

WAITING_MAX: Final = max(READ_WINDOW, WRITE_WINDOW) + 2
"""Frames of one handle that may wait: a full window, a commit and a close."""


_NOT_OPEN: Final = Failed(Fault.UNREACHABLE, "the blob is not open any more")


class StreamHost(Protocol):
    """What a stream needs of its connection (`server.Session`)."""

    def answer(self, frame: Frame, answer: Any, body: Bytes = b"") -> None:
        """Answer a call."""

    async def attempt(self, frame: Frame, work: Awaitable[tuple[Any, Bytes]]) -> bool:
        """Answer a call with what `work` gives, or with its error; True where it succeeded."""

    def deadline_of(self, frame: Frame) -> float:
        """When the caller gives up."""

    def begun(self) -> None:
        """One more call is under way."""

    def ended(self) -> None:
        """One call less is under way."""

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run `work` as a task of the server."""


class BlobStreams:
    """The open blobs of one connection."""

    def __init__(self, session: StreamHost) -> None:
        self._session = session
        self._streams: dict[int, _Stream] = {}

    def take(self, frame: Frame, device: DeviceClient, message: Any) -> None:
        """One frame of a blob. Raises FrameError where a window is overrun or a handle begun twice."""
        stream = self._streams.get(message.handle)
        if isinstance(message, CreateBlob | OpenBlob):
            if stream is not None:
                raise FrameError(f"handle {message.handle} is in use")
            if len(self._streams) >= HANDLES_MAX:
                self._session.answer(frame, Failed(Fault.UNREACHABLE, "overloaded"))
                return
            stream = self._begin(message.handle, device)
        if stream is None:
            self._session.answer(frame, _NOT_OPEN)
            return
        stream.put(frame, message)

    def _begin(self, handle: int, device: DeviceClient) -> "_Stream":
        stream = self._streams[handle] = _Stream(self._session, device)
        task = self._session.spawn(f"blob {handle}", stream.run())
        task.add_done_callback(lambda _: self._streams.pop(handle, None))
        return stream

    def close(self) -> None:
        """The connection is lost: end every stream."""
        for stream in self._streams.values():
            stream.stop()


class _Stream:
    """One blob: its frames in order, one at a time."""

    def __init__(self, session: StreamHost, device: DeviceClient) -> None:
        self._session = session
        self._device = device
        self._waiting: deque[tuple[Frame, Any]] = deque()
        self._arrived = asyncio.Event()
        self._stopped = False
        self._writer: BlobWriter | None = None
        self._reader: BlobReader | None = None

    def put(self, frame: Frame, message: Any) -> None:
        if self._stopped:
            self._session.answer(frame, _NOT_OPEN)
            return
        if len(self._waiting) >= WAITING_MAX:
            raise FrameError("more pieces at once than the window allows")
        self._session.begun()
        self._waiting.append((frame, message))
        self._arrived.set()

    def stop(self) -> None:
        self._stopped = True
        self._arrived.set()

    async def run(self) -> None:
        try:
            while not self._stopped:
                await self._arrived.wait()
                self._arrived.clear()
                await self._take_all()
        finally:
            for frame, _ in self._waiting:
                self._session.answer(frame, _NOT_OPEN)
                self._session.ended()
            self._waiting.clear()
            await self._let_go()

    async def _take_all(self) -> None:
        while self._waiting and not self._stopped:
            frame, message = self._waiting.popleft()
            try:
                await self._take(frame, message)
            finally:
                self._session.ended()

    async def _take(self, frame: Frame, message: Any) -> None:
        if isinstance(message, CloseBlob):
            self._stopped = True
            return
        succeeded = await self._session.attempt(frame, self._carry_out(frame, message))
        # Without a blob there is nothing more to say under this handle.
        begins = isinstance(message, CreateBlob | OpenBlob)
        if isinstance(message, CommitBlob) or (begins and not succeeded):
            self._stopped = True

    async def _carry_out(self, frame: Frame, message: Any) -> tuple[Any, Bytes]:
        match message:
            case CreateBlob(_, header):
                deadline = self._session.deadline_of(frame)
                self._writer = await self._device.create_blob(header, deadline)
            case OpenBlob(_, name):
                deadline = self._session.deadline_of(frame)
                self._reader = reader = await self._device.open_blob(name, deadline)
                return Opened(reader.header, reader.size_bytes), b""
            case WriteBlob():
                await self._writing().write(frame.body)
            case CommitBlob():
                await self._commit()
            case ReadBlob(_, offset, length):
                return Done(), await self._read(offset, length)
        return Done(), b""

    async def _commit(self) -> None:
        writer = self._writing()
        await writer.commit()
        self._writer = None

    async def _read(self, offset: int, length: int) -> Bytes:
        if self._reader is None:
            raise DeviceFault(Fault.UNREACHABLE, "the handle is not open for reading")
        if length > PIECE_MAX_BYTES:
            raise DeviceFault(Fault.TOO_LARGE, f"a piece is at most {PIECE_MAX_BYTES} bytes")
        views = await self._reader.read(offset, length)
        return views[0] if len(views) == 1 else b"".join(views)

    def _writing(self) -> BlobWriter:
        if self._writer is None:
            raise DeviceFault(Fault.UNREACHABLE, "the handle is not open for writing")
        return self._writer

    async def _let_go(self) -> None:
        """A failed commit is aborted, too: the blob is there whole or not at all, its room is freed."""
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            await self._writer.abort()

"""The serving end of the node protocol: this process's devices for its peers.

One `WireServer` per process listens on a Unix socket and, between machines, on TCP. Row messages go
straight to the device; other calls run as tasks; blob streams are `serve_blobs.py`.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient, DeviceFault
from storage.types import BlobName, Failed, Fault, RowAnswer
from storage.wire.frames import (
    ANSWER_BIT,
    BODY_MAX_BYTES,
    EPOCH_SERIALS,
    NO_CALL,
    TICK_S,
    Bytes,
    Frame,
    FrameError,
    older_epoch,
)
from storage.wire.handshake import HANDSHAKE_TIME_S, ServerHandshake, check_secret
from storage.wire.link import Link
from storage.wire.messages import (
    CALLS,
    CLOSE_BLOB,
    COMMIT_BLOB,
    CREATE_BLOB,
    ENTRIES_PER_CALL_MAX,
    OPEN_BLOB,
    PING,
    READ_BLOB,
    ROW,
    WRITE_BLOB,
    AdoptBlob,
    DeleteBlob,
    Done,
    ForgetGarbage,
    Invalid,
    ListBlobs,
    Listed,
    ListGarbage,
    Pong,
    ReportCorruptBlob,
    StageBlob,
    Status,
    StatusOf,
    encode,
    request_decoder,
)
from storage.wire.serve_blobs import BlobStreams

IN_FLIGHT_MAX: Final = 1024
"""A connection with more calls under way is not read until half of them are answered."""

HANDSHAKES_MAX: Final = 256
"""Connections that have not proven anything yet; further ones are closed at once."""

DRAIN_TIME_S: Final = 5.0
"""How long a closing server waits for the calls under way."""

FLUSH_TIME_S: Final = 1.0
"""How long it then waits for its peers to take the answers."""

BLOB_KINDS: Final = frozenset(
    call.kind for call in (CREATE_BLOB, WRITE_BLOB, COMMIT_BLOB, OPEN_BLOB, READ_BLOB, CLOSE_BLOB)
)


@runtime_checkable
class TellsStatus(Protocol):
    """A device that can say how it is."""

    def status(self) -> object:
        """A dataclass, struct or dict of plain values."""


class OwnedBlobs(Protocol):
    """A device's blob store, as clients on the same host use it."""

    async def adopt(self, name: BlobName) -> object:
        """Make a finished staging file a committed blob. Raises DeviceFault."""

    async def report_corrupt(self, name: BlobName, chunk: int | None) -> object:
        """Look at a blob that a client found bad, and set it aside where it is."""


@runtime_checkable
class SharesFiles(Protocol):
    """A device whose files clients on the same host read and stage themselves."""

    @property
    def blobs(self) -> OwnedBlobs:
        """The owner's side of those files."""


class WireServer:
    """Serves devices to peers that know the cluster secret.

    devices: looked up by id at each call, so devices may come and go. on_failure: called with
    (what, error) for a call that failed by a bug of ours.
    """

    def __init__(
        self,
        devices: Mapping[int, DeviceClient],
        secret: bytes,
        clock: Clock,
        randomness: Randomness,
        on_failure: Callable[[str, BaseException], None],
        *,
        version: str = "",
    ) -> None:
        self.devices = devices
        self.clock = clock
        self.version = version
        self.epoch = 0
        """The ring epoch; calls made in an older one are refused. Whoever follows the ring sets it."""
        self.on_failure = on_failure
        self.tasks = TaskOwner("node protocol", on_failure)
        self._secret = check_secret(secret)
        self._randomness = randomness
        self._listeners: list[asyncio.Server] = []
        self.sessions: set[Session] = set()

    async def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket that this user alone may connect to; replaces a stale one."""
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_unix_server(self._accept, path))
        os.chmod(path, 0o600)

    async def listen_tcp(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on TCP, with TLS where a context is given; returns the port (a free one for 0)."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._accept,
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_TIME_S if tls else None,
        )
        self._listeners.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    def _accept(self) -> Link:
        return Session(self, ServerHandshake(self._secret, self._randomness)).link

    @property
    def unproven(self) -> int:
        """Connections whose handshake is not through."""
        return sum(not session.link.ready for session in self.sessions)

    async def close(self) -> None:
        """Stop listening, let the calls under way be answered (up to DRAIN_TIME_S), close all."""
        for listener in self._listeners:
            listener.close()
        sessions = list(self.sessions)
        for session in sessions:
            session.drain()
        if sessions:
            await asyncio.wait([session.idle for session in sessions], timeout=DRAIN_TIME_S)
        for session in sessions:
            session.link.close("the server stops")
        if sessions:
            await asyncio.wait([session.gone for session in sessions], timeout=FLUSH_TIME_S)
        for session in sessions:
            session.link.fail("the server stopped")
        await self.tasks.close()
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()


class Session:
    """One peer's connection, as the server sees it."""

    def __init__(self, server: WireServer, handshake: ServerHandshake) -> None:
        self._server = server
        self._in_flight = 0
        self._held = False
        self._congested = False
        self._draining = False
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the session drains and nothing is under way."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is lost."""
        self.link = Link(handshake, self)
        self._blobs = BlobStreams(self)

    # -- what the link calls ----------------------------------------------------------------------

    def link_made(self) -> None:
        crowded = self._server.unproven >= HANDSHAKES_MAX
        self._server.sessions.add(self)
        if crowded:
            self.link.fail("too many handshakes")

    def link_ready(self) -> None:
        """Nothing to do before the first frame."""

    def link_congested(self, congested: bool) -> None:
        """Who does not read answers is not read either. (Clients always read, so this can't lock.)"""
        self._congested = congested
        self._regulate()

    def link_lost(self, reason: str) -> None:
        self._server.sessions.discard(self)
        self._blobs.close()
        for future in (self.idle, self.gone):
            if not future.done():
                future.set_result(None)

    def frame_received(self, frame: Frame) -> None:
        if not frame.ticks:
            return  # its deadline had passed when it was sent
        decoder = _DECODERS.get(frame.kind)
        if decoder is None:
            raise FrameError(f"unknown call {frame.kind}")
        try:
            device_id, message = decoder(frame.head)
        except (ValueError, RecursionError) as error:
            raise FrameError(f"undecodable request: {error}") from error
        if frame.kind == PING.kind:
            self._pong(frame)
            return
        device = self._server.devices.get(device_id)
        if self._draining:
            self.answer(frame, Failed(Fault.OFFLINE, "the server stops"))
        elif device is None:
            self.answer(frame, Failed(Fault.OFFLINE, f"device {device_id} is not served here"))
        elif older_epoch(frame.epoch, self._server.epoch % EPOCH_SERIALS):
            self.answer(frame, Failed(Fault.EPOCH))
        elif frame.kind == ROW.kind:
            self._row(frame, device, message)
        elif frame.kind in BLOB_KINDS:
            self._blobs.take(frame, device, message)
        else:
            self.spawn(f"call {frame.kind}", self._serve(frame, device, message))

    # -- answers -----------------------------------------------------------------------------------

    def deadline_of(self, frame: Frame) -> float:
        """The instant on our clock after which the caller has given up."""
        return self._server.clock.monotonic() + frame.ticks * TICK_S

    def answer(self, frame: Frame, answer: Any, body: Bytes = b"") -> None:
        """Answer a call, unless nobody waits for it."""
        if frame.call == NO_CALL:
            return
        epoch = self._server.epoch % EPOCH_SERIALS
        kind = frame.kind | ANSWER_BIT
        head = encode(answer)
        try:
            self.link.send(kind, head, body, call=frame.call, epoch=epoch, ticks=0)
        except FrameError as error:
            head = encode(Failed(Fault.TOO_LARGE, f"the answer: {error}"))
            self.link.send(kind, head, call=frame.call, epoch=epoch, ticks=0)

    def begun(self) -> None:
        """One more call is under way."""
        self._in_flight += 1
        if self._in_flight > IN_FLIGHT_MAX and not self._held:
            self._regulate()

    def ended(self) -> None:
        """One call less is under way."""
        self._in_flight -= 1
        if self._held or self._draining:
            self._regulate()

    def _regulate(self) -> None:
        """Read on or not, as it should be now."""
        busy = self._in_flight > (IN_FLIGHT_MAX // 2 if self._held else IN_FLIGHT_MAX)
        hold = self._congested or busy
        if hold != self._held:
            self._held = hold
            self.link.hold_reading() if hold else self.link.release_reading()
        if self._draining and not self._in_flight and not self.idle.done():
            self.idle.set_result(None)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run `work` as a task of the server."""
        return self._server.tasks.spawn(name, work)

    def drain(self) -> None:
        """Refuse further calls; `idle` when those under way are answered."""
        self._draining = True
        self._regulate()

    # -- calls -------------------------------------------------------------------------------------

    def _pong(self, frame: Frame) -> None:
        server = self._server
        self.answer(frame, Pong(server.version, server.epoch, sorted(server.devices)))

    def _row(self, frame: Frame, device: DeviceClient, message: Any) -> None:
        self.begun()
        try:
            device.send(message, frame.body, self.deadline_of(frame), partial(self._row_answer, frame))
        except Exception as error:
            self.failed(frame, error)
            self.ended()

    def _row_answer(self, frame: Frame, answer: RowAnswer, payload: bytes) -> None:
        self.answer(frame, answer, payload)
        self.ended()

    async def _serve(self, frame: Frame, device: DeviceClient, message: Any) -> None:
        self.begun()
        try:
            await self.attempt(frame, self._carry_out(frame, device, message))
        finally:
            self.ended()

    async def attempt(self, frame: Frame, work: Awaitable[tuple[Any, Bytes]]) -> bool:
        """Answer `frame` with what `work` gives, or with its error; True where it succeeded."""
        try:
            answer, body = await work
        except DeviceFault as error:
            self.answer(frame, Failed(error.fault, error.text))
        except ValueError as error:
            self.answer(frame, Invalid(str(error)))
        except Exception as error:
            self.failed(frame, error)
        else:
            self.answer(frame, answer, body)
            return True
        return False

    def failed(self, frame: Frame, error: Exception) -> None:
        """A bug of ours: reported here, and an unknown outcome for the caller."""
        self._server.on_failure(f"call {frame.kind}", error)
        self.answer(frame, Failed(Fault.UNREACHABLE, f"internal error: {type(error).__name__}"))

    async def _carry_out(self, frame: Frame, device: DeviceClient, message: Any) -> tuple[Any, Bytes]:
        match message:
            case DeleteBlob(name):
                await device.delete_blob(name, self.deadline_of(frame))
            case ListBlobs() | ListGarbage():
                return await _listed(device, message)
            case ForgetGarbage(seqs):
                await device.forget_garbage(seqs)
            case Status():
                status = device.status() if isinstance(device, TellsStatus) else {}
                return StatusOf(msgspec.to_builtins(status)), b""
            case StageBlob(header):
                await (await device.create_blob(header, self.deadline_of(frame))).abort()
            case AdoptBlob() | ReportCorruptBlob():
                await _share(device, message)
        return Done(), b""


async def _listed(device: DeviceClient, message: ListBlobs | ListGarbage) -> tuple[Listed, bytes]:
    """As many entries as fit a frame, at least one where there are any."""
    limit = max(0, min(message.limit, ENTRIES_PER_CALL_MAX))
    entries: list[Any]
    if isinstance(message, ListBlobs):
        entries = list(await device.list_blobs(message.after, limit))
    else:
        entries = list(await device.list_garbage(message.after_seq, limit))
    more = len(entries) == limit
    body = encode(entries)
    while len(body) > BODY_MAX_BYTES and len(entries) > 1:
        entries = entries[: len(entries) // 2]
        more = True
        body = encode(entries)
    return Listed(more), body


async def _share(device: DeviceClient, message: AdoptBlob | ReportCorruptBlob) -> None:
    if not isinstance(device, SharesFiles):
        raise ValueError("the device does not share its files")
    if isinstance(message, AdoptBlob):
        await device.blobs.adopt(message.name)
    else:
        await device.blobs.report_corrupt(message.name, message.chunk)


_DECODERS: Final = {call.kind: request_decoder(call).decode for call in CALLS}

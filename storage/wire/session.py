"""One peer's connection, as the server sees it: takes its calls and answers them.

`server.py` makes one per connection; rows go straight to the device, blob streams to `serve_blobs.py`,
all else to `serve_calls.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol

from runtime.clock import Clock
from runtime.tasks import TaskOwner
from storage.contract import DeviceClient, DeviceFault
from storage.fence import CLOSED
from storage.node import KEEPER_DEVICE, NodeService
from storage.types import Failed, Fault, RowAnswer
from storage.wire.frames import (
    ANSWER_BIT,
    EPOCH_SERIALS,
    NO_CALL,
    TICK_S,
    Bytes,
    Frame,
    FrameError,
    newer_epoch,
)
from storage.wire.handshake import ServerHandshake
from storage.wire.link import Link
from storage.wire.messages import (
    CALLS,
    CLOSE_BLOB,
    COMMIT_BLOB,
    CREATE_BLOB,
    OPEN_BLOB,
    PING,
    READ_BLOB,
    ROW,
    WRITE_BLOB,
    Invalid,
    Pong,
    encode,
    request_decoder,
)
from storage.wire.serve_blobs import BlobStreams
from storage.wire.serve_calls import carry_out
from storage.wire.serve_node import NODE_KINDS, node_answer

IN_FLIGHT_MAX: Final = 1024
"""A connection with more calls under way is not read until half of them are answered."""

HANDSHAKES_MAX: Final = 256
"""Connections that have not proven anything yet; further ones are closed at once."""

BLOB_KINDS: Final = frozenset(
    call.kind for call in (CREATE_BLOB, WRITE_BLOB, COMMIT_BLOB, OPEN_BLOB, READ_BLOB, CLOSE_BLOB)
)


class Host(Protocol):
    """What a session needs of its server."""

    devices: Mapping[int, DeviceClient]
    clock: Clock
    version: str
    service: NodeService
    tasks: TaskOwner
    on_failure: Callable[[str, BaseException], None]

    @property
    def unproven(self) -> int:
        """Connections whose handshake is not through."""

    def session_made(self, session: "Session") -> None:
        """A peer has connected."""

    def session_lost(self, session: "Session") -> None:
        """Its connection is gone."""


class Session:
    """One peer's connection, as the server sees it."""

    def __init__(self, server: Host, handshake: ServerHandshake) -> None:
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
        self._server.session_made(self)
        if crowded:
            self.link.fail("too many handshakes")

    def link_ready(self) -> None:
        """Nothing to do before the first frame."""

    def link_congested(self, congested: bool) -> None:
        """Who does not read answers is not read either. (Clients always read, so this can't lock.)"""
        self._congested = congested
        self._regulate()

    def link_lost(self, reason: str) -> None:
        self._server.session_lost(self)
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
        if frame.kind in NODE_KINDS:
            self._node(frame, message)
            return
        device = self._server.devices.get(device_id)
        if self._draining:
            self.answer(frame, Failed(Fault.OFFLINE, "the server stops"))
        elif device is None:
            self.answer(frame, Failed(Fault.OFFLINE, f"device {device_id} is not served here"))
        elif frame.kind == ROW.kind:
            if device_id == KEEPER_DEVICE or self._of_our_epoch(frame):
                self._row(frame, device, message)
        elif frame.kind in BLOB_KINDS:
            self._blobs.take(frame, device, message)
        else:
            self.begun()
            self.spawn(f"call {frame.kind}", self._serve(frame, device, message))

    # -- answers -----------------------------------------------------------------------------------

    def deadline_of(self, frame: Frame) -> float:
        """The instant on our clock after which the caller has given up."""
        return self._server.clock.monotonic() + frame.ticks * TICK_S

    def answer(self, frame: Frame, answer: Any, body: Bytes = b"") -> None:
        """Answer a call, unless nobody waits for it."""
        if frame.call == NO_CALL:
            return
        epoch = self._server.service.epoch % EPOCH_SERIALS
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

    def _node(self, frame: Frame, message: Any) -> None:
        """A call to the process itself. It is answered while we drain, too."""
        server = self._server
        try:
            if frame.kind == PING.kind:
                devices = sorted(server.devices)
                self.answer(frame, Pong(server.version, server.service.epoch, devices))
            else:
                self.answer(frame, *node_answer(server.service, message))
        except Exception as error:
            self.failed(frame, error)

    def _of_our_epoch(self, frame: Frame) -> bool:
        """Whether a row call may be carried out. It is refused in any other epoch, so that each round
        of the row protocol is counted in one; a newer one says that there is a ring to fetch."""
        service = self._server.service
        ours = service.epoch % EPOCH_SERIALS
        if service.epoch != CLOSED:
            if frame.epoch == ours:
                return True
            if newer_epoch(frame.epoch, ours):
                service.heard_of_newer()
        self.answer(frame, Failed(Fault.EPOCH))
        return False

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
        try:
            await self.attempt(frame, carry_out(device, message, self.deadline_of(frame)))
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


_DECODERS: Final = {call.kind: request_decoder(call).decode for call in CALLS}

"""One connection of the node protocol as an asyncio protocol: handshake, then frames both ways.

Both ends use it; what frames mean is told to a `LinkHandler` (`client.py`, `server.py`). Frames
written in one turn of the loop leave in one write.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from storage.wire.frames import Bytes, Frame, FrameError, FrameParser, encode_prefix
from storage.wire.handshake import HANDSHAKE_TIME_S, Handshake, HandshakeError, Role
from storage.wire.in_place import InPlaceParser

JOIN_MAX_BYTES: Final = 16 * 1024
"""Bodies up to this size are copied into one buffer with their neighbours, longer ones are not."""

WRITE_BUFFER_BYTES: Final = {Role.CALLS: 32 * 1024 * 1024, Role.BULK: 8 * 1024 * 1024}
"""A connection with more unsent is congested: a client refuses calls, a server reads no more."""


class LinkHandler(Protocol):
    """Whoever reads a link."""

    def link_made(self) -> None:
        """There is a connection. It may be lost before the handshake is through."""

    def link_ready(self) -> None:
        """The handshake has succeeded: frames may be sent."""

    def frame_received(self, frame: Frame) -> None:
        """One frame. Raises FrameError where it makes no sense: the link is closed then."""

    def link_congested(self, congested: bool) -> None:
        """The peer does not read as fast as we write, or does again."""

    def link_lost(self, reason: str) -> None:
        """The link was made and is gone, ready or not; the last call."""


class Link(asyncio.Protocol):
    """One end of one connection."""

    def __init__(
        self,
        handshake: Handshake,
        handler: LinkHandler,
        handshake_time_s: float = HANDSHAKE_TIME_S,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._handshake = handshake
        self._handler = handler
        self._handshake_time_s = handshake_time_s
        self._parser = FrameParser()
        self._transport: asyncio.Transport | None = None
        self._take: Callable[[bytes], None] = self._shake
        self._timer: asyncio.TimerHandle | None = None
        self._out: list[Bytes] = []
        self._joinable = True
        self._read_holds = 0
        self._reason = "closed by the peer"
        self.ready = False
        self.congested = False
        self.heard = False
        """Set with every byte received; whoever watches for silence clears it."""

    @property
    def role(self) -> Role:
        """What the connection is for; known once it is ready."""
        return self._handshake.role

    # -- what asyncio calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by name
        self._timer = self._loop.call_later(
            self._handshake_time_s, self.fail, "handshake took too long"
        )
        if first := self._handshake.begin():
            transport.write(first)
        self._handler.link_made()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        self._take(data)

    def pause_writing(self) -> None:
        self.congested = True
        self._handler.link_congested(True)

    def resume_writing(self) -> None:
        self.congested = False
        self._handler.link_congested(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_handshake()
        self.ready = False
        self._transport = None
        self._out.clear()
        self._take = _ignore
        self._handler.link_lost(f"{self._reason}: {exc}" if exc is not None else self._reason)

    # -- receiving -----------------------------------------------------------------------------

    def _shake(self, data: bytes) -> None:
        try:
            reply, rest = self._handshake.feed(data)
        except HandshakeError as error:
            self.fail(str(error))
            return
        if self._transport is not None and reply:
            self._transport.write(reply)
        if rest is not None:
            self._begin_frames(rest)

    def _begin_frames(self, rest: bytes) -> None:
        self._end_handshake()
        self._take = self._parse
        self.ready = True
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES[self.role])
            if self.role is Role.BULK:
                self._receive_in_place(self._transport)
        self._handler.link_ready()
        if rest:
            self._take(rest)

    def _parse(self, data: bytes) -> None:
        try:
            self.take_frames(self._parser.feed(data))
        except FrameError as error:
            self.fail(str(error))

    def _receive_in_place(self, transport: asyncio.Transport) -> None:
        """Bulk is received by a buffered protocol from now on. Reading pauses for the change: uvloop
        looks at the protocol's kind when it begins to read."""
        transport.pause_reading()
        receiver = _InPlaceReceiver(self)
        self._take = receiver.feed
        transport.set_protocol(receiver)
        transport.resume_reading()

    def take_frames(self, frames: list[Frame]) -> None:
        """Hand frames to the handler. Raises FrameError."""
        receive = self._handler.frame_received
        for frame in frames:
            receive(frame)

    def _end_handshake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- sending -------------------------------------------------------------------------------

    def send(
        self, kind: int, head: bytes, body: Bytes = b"", *, call: int, epoch: int, ticks: int
    ) -> None:
        """Send a frame with this turn's others. Dropped where the link is lost.

        Raises FrameError where it is over the limits.
        """
        body_bytes = len(body)
        prefix = encode_prefix(kind, head, body_bytes, call=call, epoch=epoch, ticks=ticks)
        if not self.ready:
            return
        out = self._out
        if not out:
            self._loop.call_soon(self.flush)
        out.append(prefix)
        if body_bytes:
            out.append(body)
            if body_bytes > JOIN_MAX_BYTES:
                self._joinable = False

    def flush(self) -> None:
        """Hand what was sent to the transport now."""
        out = self._out
        if not out or self._transport is None:
            return
        self._out = []
        if self._joinable:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            return
        self._joinable = True
        self._transport.writelines(out)

    # -- flow control and the end -----------------------------------------------------------------

    def hold_reading(self) -> None:
        """Read no more until as many `release_reading` were called."""
        self._read_holds += 1
        if self._read_holds == 1 and self._transport is not None:
            self._transport.pause_reading()

    def release_reading(self) -> None:
        """Undo one `hold_reading`."""
        self._read_holds -= 1
        if self._read_holds == 0 and self._transport is not None:
            self._transport.resume_reading()

    def fail(self, reason: str) -> None:
        """Close at once, dropping what was not sent; `link_lost` follows with the reason."""
        if self._transport is None:
            return
        self._reason = reason
        self.ready = False
        self._take = _ignore
        self._out.clear()
        self._transport.abort()

    def close(self, reason: str = "closed") -> None:
        """Close when what was sent has left; `link_lost` follows."""
        if self._transport is None:
            return
        self.flush()
        self._reason = reason
        self.ready = False
        self._take = _ignore
        self._transport.close()


class _InPlaceReceiver(asyncio.BufferedProtocol):
    """The receiving side of a ready bulk link; everything else is the link's."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._parser = InPlaceParser()

    def pause_writing(self) -> None:
        self._link.pause_writing()

    def resume_writing(self) -> None:
        self._link.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._parser.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        link = self._link
        link.heard = True
        if not link.ready:
            return  # it is being closed
        try:
            link.take_frames(self._parser.received(nbytes))
        except FrameError as error:
            link.fail(str(error))

    def feed(self, data: bytes) -> None:
        """What arrived together with the end of the handshake."""
        view = memoryview(data)
        while view and self._link.ready:
            buffer = self._parser.buffer()
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            view = view[count:]
            self.buffer_updated(count)


def _ignore(data: bytes) -> None:
    """What arrives after the end."""

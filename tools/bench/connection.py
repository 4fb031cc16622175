"""The generator's connections: callbacks only, so that a request costs as little as possible.

A connection sends its next request from the very callback that saw the last byte of the answer
before; no task wakes up between them. `Recorder` is what all connections of a row share.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from tools.bench.latency import summarise
from tools.bench.load import Load, LoadResult
from tools.bench.response import BadResponse, ResponseReader
from tools.bench.work import Exchange, Work

RECEIVE_BUFFER_BYTES = 256 << 10
WRITE_BUFFER_BYTES = 2 << 20
FAILURES_MAX = 200
"""A row that failed this often is over: it will not become right by going on."""


class Recorder:
    """Hands out the requests of a row and keeps what became of them."""

    def __init__(self, load: Load, work: Work, clock: Callable[[], float]) -> None:
        self._load = load
        self._work = work
        self.clock = clock
        self._began = clock()
        self._last = self._began
        self._issued = 0
        self._bytes = 0
        self._checked = 0
        self._seconds: list[float] = []
        self._failures: dict[str, int] = {}
        self._failed = 0
        self._first_failure = ""
        self._etags: dict[int, str] = {}
        self._over_at = self._began + load.max_seconds

    def take(self) -> Exchange | None:
        """The next request; None when the row is over."""
        if self.exhausted():
            return None
        sequence = self._issued
        self._issued += 1
        return self._work.exchange(sequence)

    def exhausted(self) -> bool:
        """No request is left to hand out."""
        return (
            self._issued >= self._load.requests
            or self.clock() >= self._over_at
            or self._failed >= FAILURES_MAX
        )

    def answered(self, exchange: Exchange, answer: ResponseReader, began: float) -> None:
        """An answer is complete."""
        now = self._last = self.clock()
        fault = self._work.fault(exchange, answer)
        if fault:
            self.failed(fault, bytes(answer.error_body).decode("utf-8", "replace"))
            return
        self._seconds.append(now - began)
        self._checked += exchange.sink is not None
        sends = exchange.small is not None or exchange.windows is not None
        self._bytes += self._load.size_bytes if sends else answer.received_bytes
        if self._load.operation == "part":
            self._etags[exchange.index] = answer.etag

    def failed(self, kind: str, detail: str = "") -> None:
        """A request had no answer, or a wrong one."""
        self._failed += 1
        self._failures[kind] = self._failures.get(kind, 0) + 1
        self._first_failure = self._first_failure or f"{kind}: {detail}".rstrip(": ")

    @property
    def finished(self) -> int:
        """Right answers so far."""
        return len(self._seconds)

    def result(self) -> LoadResult:
        """The row's figures; the wall time ends with the last answer."""
        return LoadResult(
            issued=self._issued,
            finished=len(self._seconds),
            payload_bytes=self._bytes,
            wall_s=self._last - self._began,
            checked=self._checked,
            latency=summarise(self._seconds),
            failures=self._failures,
            first_failure=self._first_failure,
            etags=self._etags,
        )


class Connection(asyncio.BufferedProtocol):
    """One keep-alive connection that works until the recorder has no more requests.

    closed: done when the connection is gone, whether by us or by the server.
    """

    def __init__(self, recorder: Recorder, loop: asyncio.AbstractEventLoop) -> None:
        self._recorder = recorder
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER_BYTES))
        self._reader = ResponseReader()
        self._exchange: Exchange | None = None
        self._began = 0.0
        self._may_write = True
        self.closed: asyncio.Future[None] = loop.create_future()

    def abort(self) -> None:
        """Drop the connection; no error where it is gone already."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if exc is None and self._reader.end_of_stream():
                self._recorder.answered(exchange, self._reader, self._began)
            else:
                self._recorder.failed("connection lost", str(exc or "closed by the server"))
        if not self.closed.done():
            self.closed.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:
            self._transport.abort()
            return
        try:
            complete = self._reader.feed(self._buffer[:nbytes])
        except BadResponse as error:
            self._exchange = None
            self._recorder.failed("bad response", str(error))
            self._transport.abort()
            return
        if complete:
            self._finish(exchange)

    def eof_received(self) -> bool:
        return False  # close; connection_lost tells whether that was the end of an answer

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._send_windows()

    def _next(self) -> None:
        exchange = self._exchange = self._recorder.take()
        if exchange is None:
            self._transport.close()
            return
        self._reader.begin(bodyless=exchange.bodyless, sink=exchange.sink)
        self._began = self._recorder.clock()
        if exchange.small is not None:
            self._transport.writelines((exchange.head, exchange.small))
        else:
            self._transport.write(exchange.head)
            self._send_windows()

    def _send_windows(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.windows is None:
            return
        while self._may_write:
            window = next(exchange.windows, None)
            if window is None:
                exchange.windows = iter(())
                return
            self._transport.write(window)

    def _finish(self, exchange: Exchange) -> None:
        # An answer before the whole body was sent is an error's, and the rest of the body would be
        # taken for the next request.
        cut_short = exchange.windows is not None and next(exchange.windows, None) is not None
        self._exchange = None
        self._recorder.answered(exchange, self._reader, self._began)
        if self._reader.keep_alive and not cut_short:
            self._next()
        else:
            self._transport.close()

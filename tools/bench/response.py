"""Reads one HTTP/1.1 response at a time off a connection: framing only, no I/O.

Fed with whatever arrived, it finds status and length, decodes chunked bodies and passes the body's
bytes to a sink (a hash, or a collector), or only counts them. The generator never pipelines, so a
byte after the end of a response is an error. Framing follows RFC 9112, section 6.
"""

from typing import Protocol

HEAD_BYTES_MAX = 64 << 10
"""A response head above this is refused."""

_READ_HEAD, _READ_LENGTH, _READ_CHUNKS, _READ_TO_END, _COMPLETE = range(5)


class BadResponse(Exception):
    """What the server sent is no HTTP/1.1 response."""


class Sink(Protocol):
    """Takes the bytes of a body in order."""

    def update(self, data: memoryview, /) -> None:
        """Take some more; the memory is only valid during the call."""


class Collector:
    """A sink that keeps the bytes."""

    def __init__(self) -> None:
        self.body = bytearray()

    def update(self, data: memoryview, /) -> None:
        self.body += data


class ChunkDecoder:
    """Takes apart a body in the chunked transfer coding (RFC 9112, section 7.1); drops trailers."""

    def __init__(self) -> None:
        self._left = 0  # of the current chunk, its CRLF included
        self._line = b""
        self._in_trailer = False
        self.complete = False

    def feed(self, data: memoryview) -> list[memoryview]:
        """The content among `data`. Raises BadResponse for a malformed or overlong stream."""
        content: list[memoryview] = []
        while data:
            if self.complete:
                raise BadResponse("bytes after the last chunk")
            data = self._take_chunk(data, content) if self._left else self._take_line(data)
        return content

    def _take_chunk(self, data: memoryview, content: list[memoryview]) -> memoryview:
        payload = max(0, self._left - 2)
        if piece := data[:payload]:
            content.append(piece)
        taken = min(self._left, len(data))
        self._left -= taken
        return data[taken:]

    def _take_line(self, data: memoryview) -> memoryview:
        raw = self._line + bytes(data[:HEAD_BYTES_MAX])
        end = raw.find(b"\r\n")
        if end < 0:
            if len(raw) > HEAD_BYTES_MAX:
                raise BadResponse("a chunk's size line without an end")
            self._line = raw
            return data[len(data) :]
        taken = end + 2 - len(self._line)
        self._line = b""
        self._read_line(raw[:end])
        return data[taken:]

    def _read_line(self, line: bytes) -> None:
        if self._in_trailer:
            self.complete = not line
            return
        size = _parse_number(line.split(b";", 1)[0], 16, "chunk size")
        self._in_trailer = size == 0
        self._left = size + 2 if size else 0


class ResponseReader:
    """The state of one connection's response."""

    def __init__(self) -> None:
        self.begin(bodyless=False, sink=None)

    def begin(self, *, bodyless: bool, sink: Sink | None) -> None:
        """Expect a new response; bodyless: it answers a HEAD."""
        self.status = 0
        self.received_bytes = 0
        self.declared_bytes: int | None = None
        self.keep_alive = True
        self.etag = ""
        self.error_body = bytearray()
        self._bodyless = bodyless
        self._sink = sink
        self._state = _READ_HEAD
        self._head = b""
        self._left = 0
        self._chunks: ChunkDecoder | None = None

    def feed(self, data: memoryview) -> bool:
        """Take what arrived; True once the response is complete. Raises BadResponse."""
        if self._state == _READ_LENGTH:
            return self._take_length(data)
        if self._state == _READ_HEAD:
            return self._take_head(data)
        if self._state == _READ_CHUNKS:
            return self._take_chunks(data)
        if self._state == _READ_TO_END:
            self._content(data)
            return False
        raise BadResponse("bytes after the end of a response")

    def end_of_stream(self) -> bool:
        """The server closed the connection; True when that is what ends this response."""
        if self._state == _READ_TO_END:
            self._state = _COMPLETE
            return True
        return False

    def _content(self, data: memoryview) -> None:
        self.received_bytes += len(data)
        if self.status >= 300:
            self.error_body += data[: max(0, 2048 - len(self.error_body))]
        elif self._sink is not None:
            self._sink.update(data)

    def _take_length(self, data: memoryview) -> bool:
        size = len(data)
        if size > self._left:
            raise BadResponse("a body longer than its Content-Length")
        self._content(data)
        self._left -= size
        if self._left:
            return False
        self._state = _COMPLETE
        return True

    def _take_chunks(self, data: memoryview) -> bool:
        assert self._chunks is not None
        for piece in self._chunks.feed(data):
            self._content(piece)
        if not self._chunks.complete:
            return False
        self._state = _COMPLETE
        return True

    def _take_head(self, data: memoryview) -> bool:
        raw = self._head + bytes(data[:HEAD_BYTES_MAX])
        end = raw.find(b"\r\n\r\n")
        if end < 0:
            if len(raw) > HEAD_BYTES_MAX:
                raise BadResponse("a response head without an end")
            self._head = raw
            return False
        rest = data[end + 4 - len(self._head) :]
        self._head = b""
        self._read_head(raw[: end + 2])
        if 100 <= self.status < 200:
            self._state = _READ_HEAD
            return self._take_head(rest) if rest else False
        return self._begin_body(rest)

    def _begin_body(self, rest: memoryview) -> bool:
        if self._state == _READ_LENGTH:
            return self._take_length(rest)
        if self._state == _COMPLETE:
            if rest:
                raise BadResponse("a body where there must be none")
            return True
        return self.feed(rest) if rest else False

    def _read_head(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1."):
            raise BadResponse("no HTTP/1.1 status line")
        self.status = _parse_number(head[9:12], 10, "status")
        lower = head.lower()
        length = _field(lower, b"\r\ncontent-length:")
        self.declared_bytes = None if length is None else _parse_number(length, 10, "length")
        self.keep_alive = _field(lower, b"\r\nconnection:") != b"close"
        self.etag = (_field(head, b"\r\nETag:") or _field(lower, b"\r\netag:") or b"").decode("latin-1")
        self._choose_framing(lower)

    def _choose_framing(self, lower: bytes) -> None:
        if self._bodyless or self.status in {204, 304} or self.status < 200:
            self._state = _COMPLETE
        elif (coding := _field(lower, b"\r\ntransfer-encoding:")) is not None:
            if coding != b"chunked":
                raise BadResponse(f"transfer coding {coding.decode('latin-1')!r}")
            self._chunks = ChunkDecoder()
            self._state = _READ_CHUNKS
        elif self.declared_bytes is not None:
            self._left = self.declared_bytes
            self._state = _READ_LENGTH
        else:
            self.keep_alive = False
            self._state = _READ_TO_END


def _field(head: bytes, marker: bytes) -> bytes | None:
    start = head.find(marker)
    if start < 0:
        return None
    start += len(marker)
    return head[start : head.index(b"\r\n", start)].strip()


def _parse_number(text: bytes, base: int, what: str) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        raise BadResponse(f"{what} {text[:40]!r} is no number")
    return number

"""Framing of responses, wherever the network cuts them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.response import BadResponse, ChunkDecoder, Collector, ResponseReader

LENGTH = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "abc"\r\n\r\n0123456789'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;name=value\r\n0123\r\nA\r\n456789abcd\r\n0\r\nx-trailer: 1\r\n\r\n"
)
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH


def _read(
    stream: bytes, cuts: list[int], *, bodyless: bool = False
) -> tuple[ResponseReader, bytes, bool]:
    reader, sink = ResponseReader(), Collector()
    reader.begin(bodyless=bodyless, sink=sink)
    edges = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    pieces = [stream[low:high] for low, high in itertools.pairwise(edges) if low < high]
    complete = [reader.feed(memoryview(piece)) for piece in pieces]
    assert not any(complete[:-1]), "complete before the last byte"
    return reader, bytes(sink.body), complete[-1]


@given(st.lists(st.integers(0, 500), max_size=12))
def test_length_framing_at_any_cut(cuts: list[int]) -> None:
    reader, body, complete = _read(LENGTH, cuts)
    assert (complete, reader.status, body, reader.etag) == (True, 200, b"0123456789", '"abc"')
    assert reader.received_bytes == reader.declared_bytes == 10
    assert reader.keep_alive


@given(st.lists(st.integers(0, 500), max_size=12))
def test_chunks_at_any_cut(cuts: list[int]) -> None:
    reader, body, complete = _read(CHUNKED, cuts)
    assert (complete, body, reader.received_bytes) == (True, b"0123456789abcd", 14)


@given(st.lists(st.integers(0, 500), max_size=12))
def test_an_interim_response_is_passed_over(cuts: list[int]) -> None:
    reader, body, complete = _read(CONTINUED, cuts)
    assert (complete, reader.status, body) == (True, 200, b"0123456789")


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(0, 1000)))
def test_chunk_decoder_gives_back_what_was_chunked(chunks: list[bytes], cuts: list[int]) -> None:
    coded = b"".join(b"%X\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    decoder, found = ChunkDecoder(), b""
    edges = [0, *sorted(cut % len(coded) for cut in cuts), len(coded)]
    for low, high in itertools.pairwise(edges):
        found += b"".join(bytes(piece) for piece in decoder.feed(memoryview(coded[low:high])))
    assert found == b"".join(chunks)
    assert decoder.complete


def test_an_answer_to_head_has_no_body() -> None:
    reader, _, complete = _read(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n", [], bodyless=True)
    assert (complete, reader.declared_bytes, reader.received_bytes) == (True, 4096, 0)


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    assert _read(b"HTTP/1.1 %d X\r\n\r\n" % status, [])[2]


def test_without_framing_the_body_ends_with_the_connection() -> None:
    reader, body, complete = _read(b"HTTP/1.1 200 OK\r\n\r\nabc", [])
    assert not complete
    assert not reader.keep_alive
    assert reader.end_of_stream()
    assert body == b"abc"


def test_a_connection_that_closes_too_early_is_no_end() -> None:
    reader, _, complete = _read(LENGTH[:-1], [])
    assert not complete
    assert not reader.end_of_stream()


def test_connection_close_is_seen() -> None:
    assert not _read(LENGTH.replace(b"ETag", b"Connection: Close\r\nETag"), [])[0].keep_alive


def test_an_errors_body_is_kept_and_not_taken_for_content() -> None:
    reader, body, _ = _read(LENGTH.replace(b"200", b"503"), [])
    assert (body, bytes(reader.error_body)) == (b"", b"0123456789")


@pytest.mark.parametrize(
    "stream",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        b"HTTP/1.1 204 No\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    ],
)
def test_what_is_no_response_is_refused(stream: bytes) -> None:
    reader = ResponseReader()
    reader.begin(bodyless=False, sink=None)
    pieces = [memoryview(stream[start : start + 40_000]) for start in range(0, len(stream), 40_000)]
    for piece in pieces[:-1]:
        reader.feed(piece)
    with pytest.raises(BadResponse):
        reader.feed(pieces[-1])


def test_bytes_after_the_end_are_refused() -> None:
    reader, _, _ = _read(LENGTH, [])
    with pytest.raises(BadResponse, match="after the end"):
        reader.feed(memoryview(b"x"))

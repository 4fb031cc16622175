"""The frame parser under random splits, cuts and garbage; the handshake under the same."""

import contextlib
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.randomness import SeededRandomness
from storage.wire.frames import (
    BODY_MAX_BYTES,
    HEAD_MAX_BYTES,
    HEADER_BYTES,
    Frame,
    FrameError,
    FrameParser,
    encode_prefix,
)
from storage.wire.handshake import ClientHandshake, HandshakeError, Role, ServerHandshake
from storage.wire.in_place import LARGE_BODY_BYTES, SMALL_BUFFER_BYTES, InPlaceParser

frames = st.builds(
    Frame,
    kind=st.integers(0, 255),
    call=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 2**16 - 1),
    ticks=st.integers(0, 2**16 - 1),
    head=st.binary(max_size=200),
    body=st.binary(max_size=400),
)


def encoded(frame: Frame) -> bytes:
    prefix = encode_prefix(
        frame.kind,
        frame.head,
        len(frame.body),
        call=frame.call,
        epoch=frame.epoch,
        ticks=frame.ticks,
    )
    return prefix + frame.body


class InPlace:
    """An InPlaceParser that is fed as the copying one is."""

    def __init__(self) -> None:
        self._parser = InPlaceParser()

    def feed(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        while data:
            buffer = self._parser.buffer()
            count = min(len(buffer), len(data))
            assert count > 0
            buffer[:count] = data[:count]
            data = data[count:]
            frames += self._parser.received(count)
        return frames


large_frames = st.builds(
    Frame,
    kind=st.integers(0, 255),
    call=st.integers(0, 2**32 - 1),
    epoch=st.just(0),
    ticks=st.just(1),
    head=st.sampled_from([b"", b"head", bytes(70_000), bytes(SMALL_BUFFER_BYTES - HEADER_BYTES)]),
    body=st.sampled_from(
        [b"", b"body", bytes(LARGE_BODY_BYTES - 1), bytes(LARGE_BODY_BYTES), b"x" * 100_000]
    ),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


splits = st.lists(st.integers(0, 10_000), max_size=30)


@given(st.lists(frames, max_size=12), splits)
def test_however_it_is_split_the_frames_come_out(sent: list[Frame], cuts: list[int]) -> None:
    parser = FrameParser()
    data = b"".join(map(encoded, sent))
    received = [frame for piece in pieces(data, cuts) for frame in parser.feed(piece)]
    assert received == sent
    assert parser.held_bytes == 0


@settings(deadline=None)
@given(st.lists(frames | large_frames, max_size=8), splits)
def test_received_in_place_they_are_the_same(sent: list[Frame], cuts: list[int]) -> None:
    parser, data = InPlace(), b"".join(map(encoded, sent))
    cuts = [cut * 37 for cut in cuts]
    received = [frame for piece in pieces(data, cuts) for frame in parser.feed(piece)]
    assert received == sent


@given(st.binary(max_size=3000), splits)
def test_both_parsers_refuse_the_same_garbage(data: bytes, cuts: list[int]) -> None:
    assert all_of(FrameParser(), pieces(data, cuts)) == all_of(InPlace(), pieces(data, cuts))


def all_of(parser: FrameParser | InPlace, given_pieces: list[bytes]) -> tuple[list[Frame], bool]:
    """The frames up to the piece with an error, and whether there was one."""
    frames: list[Frame] = []
    for piece in given_pieces:
        try:
            frames += parser.feed(piece)
        except FrameError:
            return frames, True
    return frames, False


@given(st.lists(frames, min_size=1, max_size=5), st.integers(1, 600), splits)
def test_a_cut_stream_gives_the_whole_frames_alone(
    sent: list[Frame], missing: int, cuts: list[int]
) -> None:
    parser = FrameParser()
    data = b"".join(map(encoded, sent))
    data = data[: max(0, len(data) - missing)]
    received = [frame for piece in pieces(data, cuts) for frame in parser.feed(piece)]
    assert received == sent[: len(received)]
    rest = len(data) - sum(len(encoded(frame)) for frame in received)
    assert parser.held_bytes == rest


@given(st.binary(max_size=3000), splits)
def test_garbage_is_refused_or_waited_for(data: bytes, cuts: list[int]) -> None:
    parser = FrameParser()
    given_bytes = taken_bytes = 0
    with contextlib.suppress(FrameError):
        for piece in pieces(data, cuts):
            given_bytes += len(piece)
            for frame in parser.feed(piece):
                assert len(frame.head) <= HEAD_MAX_BYTES
                assert len(frame.body) <= BODY_MAX_BYTES
                taken_bytes += HEADER_BYTES + len(frame.head) + len(frame.body)
            assert parser.held_bytes == given_bytes - taken_bytes


@given(st.binary(max_size=300), splits, st.booleans())
def test_no_garbage_shakes_hands(data: bytes, cuts: list[int], at_client: bool) -> None:
    end: ClientHandshake | ServerHandshake
    end = (
        ClientHandshake(b"s" * 16, Role.CALLS, SeededRandomness(1))
        if at_client
        else ServerHandshake(b"s" * 16, SeededRandomness(1))
    )
    with contextlib.suppress(HandshakeError):
        for piece in pieces(data, cuts):
            _, rest = end.feed(piece)
            assert rest is None

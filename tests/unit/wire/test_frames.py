"""Frames: what is refused, how deadlines and epochs are put in a header."""

import pytest

from storage.wire.frames import (
    BODY_MAX_BYTES,
    HEAD_MAX_BYTES,
    HEADER,
    TICK_S,
    TICKS_MAX,
    Frame,
    FrameError,
    FrameParser,
    encode_prefix,
    newer_epoch,
    ticks_of,
)


def test_a_frame_comes_back() -> None:
    data = encode_prefix(3, b"head", 4, call=9, epoch=65_535, ticks=7) + b"body"
    assert FrameParser().feed(data) == [Frame(3, 9, 65_535, 7, b"head", b"body")]


def test_a_head_or_body_over_its_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="over the limit"):
        encode_prefix(1, bytes(HEAD_MAX_BYTES + 1), 0, call=1, epoch=0, ticks=1)
    with pytest.raises(FrameError, match="over the limit"):
        encode_prefix(1, b"", BODY_MAX_BYTES + 1, call=1, epoch=0, ticks=1)


@pytest.mark.parametrize(("head", "body"), [(HEAD_MAX_BYTES + 1, 0), (0, BODY_MAX_BYTES + 1)])
def test_an_announced_length_over_its_limit_is_refused_before_it_arrives(head: int, body: int) -> None:
    parser = FrameParser()
    with pytest.raises(FrameError):
        parser.feed(HEADER.pack(1 | head << 8, body, 1, 0, 1))
    assert parser.held_bytes == 0


def test_ticks_round_up_and_end() -> None:
    assert ticks_of(-1.0) == ticks_of(0.0) == 0
    assert ticks_of(TICK_S / 100) == 1
    assert ticks_of(1.0) in {100, 101}
    assert ticks_of(1e9) == TICKS_MAX


@pytest.mark.parametrize(
    ("than", "serial", "newer"),
    [
        (0, 0, False),
        (0, 1, True),
        (1, 0, False),
        (65_535, 0, True),
        (0, 65_535, False),
        (5, 32_000, True),
    ],
)
def test_epochs_are_compared_as_serial_numbers(serial: int, than: int, newer: bool) -> None:
    assert newer_epoch(serial, than) is newer

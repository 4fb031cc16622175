"""Heads from strangers: whatever bytes they are, decoding ends with a message or a FrameError.

A session and a connection are driven without sockets: a link's frames go straight in.
"""

import asyncio
import contextlib
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.clock import SystemClock
from runtime.randomness import SeededRandomness
from storage.contract import DeviceClient
from storage.memory import MemoryDevice
from storage.types import PulledRow, RowMessage
from storage.wire.frames import Frame, FrameError
from storage.wire.handshake import ServerHandshake
from storage.wire.messages import CALLS, ROW, answer_decoder, encode, request_decoder
from storage.wire.server import WireServer
from storage.wire.session import Session

CLOCK = SystemClock()
SECRET = b"the cluster's own secret"

plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
integers = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 10)


def instances(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Messages of one kind, their integers as large as msgpack allows."""
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, **{f.name: FIELDS[f.type] for f in fields if f.type in FIELDS})


FIELDS: dict[Any, st.SearchStrategy[Any]] = {int: integers, list[int]: st.lists(integers, max_size=3)}
FIELDS[list[PulledRow]] = st.lists(instances(PulledRow), max_size=3)


row_messages = st.one_of(*map(instances, RowMessage.__args__))
row_heads = st.tuples(st.integers(0, 2), row_messages).map(encode)
odd_heads = st.binary(max_size=60) | plain.map(encode) | row_heads


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good row request with a few bytes changed."""
    head = bytearray(draw(row_heads))
    for _ in range(draw(st.integers(1, 3))):
        head[draw(st.integers(0, len(head) - 1))] = draw(st.integers(0, 255))
    return bytes(head)


@settings(deadline=None)
@given(st.sampled_from(CALLS), odd_heads | mutated())
def test_decoding_ends_with_a_message_or_an_error(call: Any, head: bytes) -> None:
    for decoder in (request_decoder(call), answer_decoder(call)):
        with contextlib.suppress(ValueError, RecursionError):
            decoder.decode(head)


@given(row_messages)
def test_row_messages_come_back(message: Any) -> None:
    assert request_decoder(ROW).decode(encode((5, message))) == (5, message)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 3), odd_heads | mutated(), st.binary(max_size=20)),
        max_size=8,
    )
)
def test_a_session_takes_any_frame_or_refuses_it(
    frames: list[tuple[int, int, bytes, bytes]],
) -> None:
    failures = asyncio.run(feed(frames))
    assert failures == []


async def feed(frames: list[tuple[int, int, bytes, bytes]]) -> list[object]:
    failures: list[object] = []
    devices: dict[int, DeviceClient] = {1: MemoryDevice(1, CLOCK)}
    server = WireServer(
        devices, SECRET, CLOCK, SeededRandomness(1), lambda *failure: failures.append(failure)
    )
    session = Session(server, ServerHandshake(SECRET, SeededRandomness(2)))
    for kind, call, head, body in frames:
        with contextlib.suppress(FrameError):
            session.frame_received(Frame(kind, call, 0, 100, head, body))
    for _ in range(5):
        await asyncio.sleep(0)
    session.link_lost("the test ends")
    await server.tasks.close()
    return failures


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    head = b"\x91" * 100_000 + b"\xc0"
    with contextlib.suppress(ValueError, RecursionError):
        msgspec.msgpack.Decoder(tuple[int, Any]).decode(head)

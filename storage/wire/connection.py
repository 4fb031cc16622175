"""The calling end of a connection: calls with deadlines, many at a time, over one link that comes back.

`client.py` builds devices and blob streams on it. A connection is shared by all devices of one peer.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceFault
from storage.types import Failed, Fault
from storage.wire.dialer import Address, Dialer, TcpAddress, UnixAddress
from storage.wire.frames import (
    CALL_ID_MAX,
    EPOCH_SERIALS,
    NO_CALL,
    TICKS_MAX,
    Bytes,
    Frame,
    FrameError,
    ticks_of,
)
from storage.wire.handshake import Role
from storage.wire.link import Link
from storage.wire.messages import CALLS, PING, Call, Invalid, Ping, answer_decoder, encode

__all__ = ["Address", "Connection", "TcpAddress", "UnixAddress", "fault_of", "outcome"]

OUTSTANDING_MAX: Final = 4096
"""Calls of one connection without an answer; more are refused as overloaded."""

SWEEP_S: Final = 0.05
"""How often deadlines are looked at: an answer DEADLINE comes at most this late."""

SILENCE_MAX_S: Final = 10.0
"""A link that stays silent for so long with calls outstanding, pings included, is given up."""

UNREACHABLE: Final = Fault.UNREACHABLE

AnswerTo = Callable[[Any, bytes], None]
"""Takes the answer (of the call's type, Failed or Invalid) and its body."""


class _Outstanding(NamedTuple):
    """A call that waits for its answer."""

    deadline: float
    decode: Callable[[bytes], Any]
    deliver: AnswerTo


class Connection:
    """Calls to one peer.

    keep: connect again by itself, with back-off, whenever the link is lost; otherwise a lost link
    comes back with the next `ready`. A call while there is no link is answered UNREACHABLE at once.
    """

    def __init__(
        self,
        address: Address,
        secret: bytes,
        clock: Clock,
        randomness: Randomness,
        tasks: TaskOwner,
        *,
        role: Role = Role.CALLS,
        keep: bool = True,
        version: str = "",
        silence_max_s: float = SILENCE_MAX_S,
    ) -> None:
        self.on_link: Callable[[], None] | None = None
        """Called whenever there is a link again, before any call is made over it."""
        self._clock = clock
        self._role = role
        self._version = version
        self._silence_max_s = silence_max_s
        self._dialer = Dialer(address, secret, clock, randomness, tasks, self, role=role, keep=keep)
        self._link: Link | None = None
        self._outstanding: dict[int, _Outstanding] = {}
        self._last_call = NO_CALL
        self._sweeper: asyncio.TimerHandle | None = None
        self._silent_sweeps = 0

    # -- the link ------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """True while calls can be sent."""
        return self._link is not None

    @property
    def outstanding(self) -> int:
        """Calls without an answer."""
        return len(self._outstanding)

    def start(self) -> None:
        """Begin to connect, unless it is or does already. Needs a running loop."""
        self._dialer.start()

    async def ready(self, deadline: float) -> None:
        """Wait for the link. Raises DeviceFault(UNREACHABLE) at `deadline`, or where it can't be."""
        await self._dialer.ready(deadline)

    def close(self) -> None:
        """Close for good; outstanding calls are answered UNREACHABLE. Idempotent."""
        self._dialer.close()

    def link_made(self, link: Link) -> None:
        """See LinkOwner."""
        self._link = link
        self._silent_sweeps = 0
        if self.on_link is not None:
            self.on_link()

    def link_lost(self) -> None:
        """See LinkOwner."""
        self._link = None
        lost, self._outstanding = self._outstanding, {}
        for entry in lost.values():
            self._deliver(entry, Failed(UNREACHABLE, self._dialer.why_not))

    # -- calls ---------------------------------------------------------------------------------

    def call(
        self,
        kind: int,
        head: bytes,
        body: Bytes,
        deadline: float,
        *,
        decode: Callable[[bytes], Any],
        deliver: AnswerTo,
        epoch: int = 0,
    ) -> None:
        """Make one call; `deliver` is called exactly once, possibly before this returns.

        decode: of the answer's head. epoch: the ring epoch that a row call was begun in; others have
        none. Failed(UNREACHABLE) without a link or when it is lost,
        Failed(DEADLINE) at the deadline: then an answer that comes later is ignored.
        """
        link = self._link
        if link is None:
            deliver(Failed(UNREACHABLE, self._dialer.why_not), b"")
            return
        outstanding = self._outstanding
        if len(outstanding) >= OUTSTANDING_MAX or (link.congested and self._role is Role.CALLS):
            deliver(Failed(UNREACHABLE, "overloaded"), b"")
            return
        ticks = ticks_of(deadline - self._clock.monotonic())
        if not ticks:
            deliver(Failed(Fault.DEADLINE), b"")
            return
        call = self._last_call = self._last_call + 1 if self._last_call < CALL_ID_MAX else 1
        try:
            link.send(kind, head, body, call=call, epoch=epoch % EPOCH_SERIALS, ticks=ticks)
        except FrameError as error:
            deliver(Failed(Fault.TOO_LARGE, str(error)), b"")
            return
        outstanding[call] = _Outstanding(deadline, decode, deliver)
        if self._sweeper is None:
            self._arm()

    def tell(self, call: Call, device_id: int, message: Any) -> None:
        """Send a message that has no answer; lost where there is no link."""
        if self._link is not None:
            head = encode((device_id, message))
            self._link.send(call.kind, head, call=NO_CALL, epoch=0, ticks=TICKS_MAX)

    async def request(
        self, call: Call, device_id: int, message: Any, deadline: float, body: Bytes = b""
    ) -> tuple[Any, bytes]:
        """Make one call and wait: (answer, body). Raises DeviceFault, or ValueError for Invalid.

        Cancelled, the call may still be carried out.
        """
        future = self.begin(call, device_id, message, deadline, body)
        return outcome(*await future)

    def begin(
        self, call: Call, device_id: int, message: Any, deadline: float, body: Bytes = b""
    ) -> "asyncio.Future[tuple[Any, bytes]]":
        """Like `request`, but the future holds the raw answer for `outcome`."""
        future: asyncio.Future[tuple[Any, bytes]] = asyncio.get_running_loop().create_future()
        head = encode((device_id, message))
        decode = _DECODERS[call.kind].decode
        self.call(call.kind, head, body, deadline, decode=decode, deliver=partial(_settle, future))
        return future

    def frame_received(self, frame: Frame) -> None:
        """An answer. Raises FrameError where it can't be read."""
        entry = self._outstanding.pop(frame.call, None)
        if entry is None:
            return  # it came after its deadline
        try:
            answer = entry.decode(frame.head)
        except (ValueError, RecursionError) as error:
            self._deliver(entry, Failed(UNREACHABLE, "undecodable answer"))
            raise FrameError(f"undecodable answer: {error}") from error
        try:
            entry.deliver(answer, frame.body)
        except Exception as error:
            self._callback_failed(error)

    def _deliver(self, entry: _Outstanding, failed: Failed) -> None:
        try:
            entry.deliver(failed, b"")
        except Exception as error:
            self._callback_failed(error)

    def _callback_failed(self, error: Exception) -> None:
        """A caller's bug goes to the loop's handler of such; the other calls go on."""
        context = {"message": "the receiver of an answer failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)

    # -- deadlines -----------------------------------------------------------------------------

    def _arm(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """One timer for all calls: a timer handle for each would cost more than the call."""
        self._sweeper = None
        now = self._clock.monotonic()
        late = [call for call, entry in self._outstanding.items() if entry.deadline <= now]
        for call in late:
            if (entry := self._outstanding.pop(call, None)) is not None:
                self._deliver(entry, Failed(Fault.DEADLINE))
        if late or self._outstanding:
            self._watch_silence()
        if self._outstanding and self._sweeper is None:
            self._arm()

    def _watch_silence(self) -> None:
        link = self._link
        if link is None:
            return
        self._silent_sweeps = 0 if link.heard else self._silent_sweeps + 1
        link.heard = False
        silent_s = self._silent_sweeps * SWEEP_S
        if silent_s >= self._silence_max_s:
            link.fail(f"no answer, not even to a ping, for {self._silence_max_s:.1f} s")
        elif self._silent_sweeps == int(self._silence_max_s / SWEEP_S / 2):
            deadline = self._clock.monotonic() + self._silence_max_s
            self.begin(PING, 0, Ping(self._version), deadline)


def _settle(future: "asyncio.Future[tuple[Any, bytes]]", answer: Any, body: bytes) -> None:
    if not future.done():
        future.set_result((answer, body))


def outcome(answer: Any, body: bytes) -> tuple[Any, bytes]:
    """A call's answer, or the error that it is."""
    if type(answer) is Failed:
        raise DeviceFault(fault_of(answer.fault), answer.text)
    if type(answer) is Invalid:
        raise ValueError(answer.text)
    return answer, body


def fault_of(number: int) -> Fault:
    """A fault by its number; UNREACHABLE (outcome unknown) for one that this release does not know."""
    try:
        return Fault(number)
    except ValueError:
        return UNREACHABLE


_DECODERS: "Final[dict[int, msgspec.msgpack.Decoder[Any]]]" = {
    call.kind: answer_decoder(call) for call in CALLS
}

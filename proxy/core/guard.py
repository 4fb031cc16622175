"""The guard of one device: its circuit breaker and its timer, so that nobody waits for a dead device.

A call to a device whose breaker (`breaker.py`) is open fails at once as UNREACHABLE. What opens it:
calls that fail in a row, or silence. A device owes answers to the calls under way; one that has said
nothing for a moment gets a probe, a read that no disk need be asked for, and one that does not even
answer that is taken for dead, 1.5 s after it fell silent. So a sync that takes its time opens
nothing, and a stopped process does. When the breaker opens, blob calls under way fail; row calls are
left to their callers, who ask others meanwhile.

Silence is counted in ticks of our own loop, not in seconds: after a pause of this process, answers that
wait in the sockets are read before the next tick.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeVar

import msgspec

from proxy.core.breaker import Breaker, Kind, State
from runtime.clock import Clock
from storage.contract import (
    Deliver,
    DeviceClient,
    DeviceFault,
)
from storage.types import (
    Failed,
    Fault,
    Read,
    RowAnswer,
    Want,
)
from storage.wire.client import WireDevice

TICK_S: Final = 0.125
"""How often a device with calls under way is looked at."""

PROBE_AFTER_TICKS: Final = 2
"""After so many ticks of silence a device is probed, and reads go to others first."""

SILENT_TICKS: Final = 12
"""After so many it is taken for dead. With 8, a process that got no processor for a second on a busy
machine was, with all its devices."""

SILENT_NEAR_TICKS: Final = 48
"""The same of another process of this host: a dead one closes its socket at once, so silence is a busy
machine, or a stopped process, and its devices can't be reached in any other way."""

PROBE_TIME_S: Final = 1.0
"""What a probe may take."""

RETURNING_S: Final = 10.0
"""A device that fell away within this time may be about to come back: its process restarts, say."""

SLOW_S: Final = 1.0
"""A blob call that its caller gives up after this long counts as a failure of the device."""

P = ParamSpec("P")
T = TypeVar("T")

Changed = Callable[[int, State], None]
"""Told of a device's id and the new state of its breaker."""

_PROBE: Final = Read(b"", b"", Want.VERSION)
_DEAD: Final = frozenset({Fault.OFFLINE, Fault.DEADLINE, Fault.UNREACHABLE})
REFUSED: Final = Failed(Fault.UNREACHABLE, "its circuit breaker is open")


class GuardStatus(msgspec.Struct, frozen=True):
    """What is known of one device from here. since_ns: wall clock of the last change, 0 for none.

    opened: how often the breaker has opened. refused: calls that failed at once because of it.
    """

    device_id: int
    state: str
    since_ns: int
    opened: int
    refused: int
    why: str


class Guard:
    """Watches one device: feeds its breaker and keeps its timer.

    responsive: False while the breaker is not closed, and while the device owes answers for longer
    than a moment; ask others first then.
    """

    def __init__(self, device: DeviceClient, clock: Clock, changed: Changed | None = None) -> None:
        self.device = device
        self.responsive = True
        self.refusing = False
        self.waiting = 0
        """Calls under way."""
        self.era = 0
        """Counts the changes of the breaker's state."""
        self.ticking = False
        self._clock = clock
        self._changed = changed
        near = isinstance(device, WireDevice) and device.near
        self._silent_max = SILENT_NEAR_TICKS if near else SILENT_TICKS
        self._breaker = Breaker()
        self._failing = False
        self._heard = False
        self._silent_ticks = 0
        self._probing = False
        self._trial = False
        self._scopes: dict[asyncio.Timeout, None] = {}
        self._refused = 0
        self._since_ns = 0
        self._away_since = 0.0  # on the monotonic clock: when the breaker was last closed
        self._why = ""

    def status(self) -> GuardStatus:
        """How the device is, seen from here."""
        breaker = self._breaker
        return GuardStatus(
            self.device.device_id,
            breaker.state.value,
            self._since_ns,
            breaker.opened,
            self._refused,
            self._why,
        )

    def hasten(self) -> bool:
        """Somebody lacks it: see at once whether it answers again. True where it may do so soon."""
        if self._breaker.state is State.CLOSED:
            return self._failing
        if self._breaker.state is State.OPEN:
            self._probe()
        return self._clock.monotonic() - self._away_since < RETURNING_S

    # -- calls -----------------------------------------------------------------------------------

    def admits(self, kind: Kind) -> bool:
        """Whether a call may be made while the breaker is not closed."""
        half_open = self._breaker.state is State.HALF_OPEN
        if half_open and (kind is Kind.READING or not self._trial):
            self._trial = self._trial or kind is Kind.CHANGING
            return True
        self._refused += 1
        return False

    def answered(
        self, kind: Kind, era: int, deliver: Deliver, answer: RowAnswer, payload: bytes
    ) -> None:
        """A row call of some era has ended. Failures of an earlier one are known already: calls to a
        stopped device end at their deadlines, when it may long be back."""
        self.waiting -= 1
        if type(answer) is Failed and answer.fault in _DEAD:
            if era == self.era:
                self._bad(kind, answer.text or Fault(answer.fault).name.lower())
        else:
            self._heard = True
            if self._failing:
                self._good(kind)
        deliver(answer, payload)

    async def run(
        self, kind: Kind, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Make a blob call. Raises what it raises, DeviceFault(UNREACHABLE) when the breaker opens."""
        if self.refusing and not self.admits(kind):
            raise DeviceFault(Fault.UNREACHABLE, REFUSED.text)
        begun = self._clock.monotonic()
        scope = asyncio.timeout(None)
        self.waiting += 1
        self.watch()
        try:
            async with scope:
                self._scopes[scope] = None
                try:
                    value = await call(*args, **kwargs)
                finally:
                    del self._scopes[scope]
        except DeviceFault as fault:
            self._ended(kind, fault)
            raise
        except ValueError:
            self._ended(kind)
            raise
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise DeviceFault(Fault.UNREACHABLE, self._why) from error
        except asyncio.CancelledError:
            self._trial = False
            if self._clock.monotonic() - begun >= SLOW_S:
                self._bad(kind, "a call was given up")
            raise
        finally:
            self.waiting -= 1
        self._ended(kind)
        return value

    def _ended(self, kind: Kind, fault: DeviceFault | None = None) -> None:
        if fault is not None and fault.fault in _DEAD:
            self._bad(kind, str(fault))
            return
        self._heard = True
        if self._failing:
            self._good(kind)

    # -- the breaker -----------------------------------------------------------------------------

    def _good(self, kind: Kind) -> None:
        self._trial = False
        self._note(self._breaker.good(kind, self._clock.monotonic()), "it answers again")
        self._failing = self._breaker.failing

    def _bad(self, kind: Kind, why: str) -> None:
        self._trial = False
        self._failing = True
        self._note(self._breaker.bad(kind, self._clock.monotonic()), why)

    def _note(self, changed: bool, why: str) -> None:
        if not changed:
            return
        state = self._breaker.state
        if not self.refusing:
            self._away_since = self._clock.monotonic()
        self.era += 1
        self._why = why
        self._since_ns = self._clock.now_ns()
        self.refusing = self._failing = state is not State.CLOSED
        self.responsive = state is State.CLOSED
        if state is State.OPEN:
            self._give_up()
        if state is not State.CLOSED:
            self.watch()
        if self._changed is not None:
            self._changed(self.device.device_id, state)

    def _give_up(self) -> None:
        """End the blob calls under way."""
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(now)

    # -- the watch -------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at the device until nothing is under way and its breaker is closed."""
        if not self.ticking:
            self.ticking = True
            self._silent_ticks = 0
            asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self.ticking = False
        if self._breaker.state is State.OPEN:
            if self._clock.monotonic() >= self._breaker.probe_at:
                self._probe()
        elif self.waiting:
            self._count_silence()
        if self.waiting or self._breaker.state is State.OPEN:
            self.ticking = True
            asyncio.get_running_loop().call_later(TICK_S, self._tick)
        else:
            self.responsive = not self.refusing

    def _count_silence(self) -> None:
        self._silent_ticks = 0 if self._heard else self._silent_ticks + 1
        self._heard = False
        quiet = self._silent_ticks >= PROBE_AFTER_TICKS
        self.responsive = not quiet and not self.refusing
        if self._silent_ticks >= self._silent_max:
            opened = self._breaker.silent(self._clock.monotonic())
            self._note(opened, "it answers nothing")
        elif quiet:
            self._probe()

    def _probe(self) -> None:
        if not self._probing:
            self._probing = True
            deadline = self._clock.monotonic() + PROBE_TIME_S
            self.device.send(_PROBE, b"", deadline, self._probed)

    def _probed(self, answer: RowAnswer, _payload: bytes) -> None:
        self._probing = False
        answered = not (type(answer) is Failed and answer.fault in _DEAD)
        self._heard = self._heard or answered
        if self._breaker.state is State.OPEN:
            changed = self._breaker.probed(self._clock.monotonic(), answered=answered)
            self._note(changed, "it answers again")

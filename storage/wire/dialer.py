"""A link to one peer that comes back: connecting, the handshake, and backing off.

`connection.py` makes its calls over it.
"""

import asyncio
import ssl
from typing import Final, NamedTuple, Protocol

from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.contract import DeviceFault
from storage.types import Fault
from storage.wire.frames import Frame
from storage.wire.handshake import ClientHandshake, Role, check_secret
from storage.wire.link import Link

CONNECT_TIME_S: Final = 5.0
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 2.0
BACKOFF_MAX_LOCAL_S: Final = 0.25
"""On this host a try costs some 50 us, and a restarted worker should be found at once."""


class UnixAddress(NamedTuple):
    """A peer on this host."""

    path: str


class TcpAddress(NamedTuple):
    """A peer anywhere; with `tls` the connection is encrypted and the server's certificate checked."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


Address = UnixAddress | TcpAddress


class LinkOwner(Protocol):
    """Who makes calls over the link."""

    def link_made(self, link: Link) -> None:
        """There is a link, its handshake done."""

    def link_lost(self) -> None:
        """It is gone; `Dialer.why_not` says why."""

    def frame_received(self, frame: Frame) -> None:
        """A frame came. Raises FrameError where it makes no sense."""


class Dialer:
    """Connects to one peer. link: the present link, or None; why_not: why there is none.

    keep: connect again by itself, with back-off, whenever the link is lost; otherwise a lost link
    comes back with the next `ready`.
    """

    def __init__(
        self,
        address: Address,
        secret: bytes,
        clock: Clock,
        randomness: Randomness,
        tasks: TaskOwner,
        owner: LinkOwner,
        *,
        role: Role,
        keep: bool,
    ) -> None:
        self.link: Link | None = None
        self.why_not = "not connected yet"
        self._address = address
        self._secret = check_secret(secret)
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._owner = owner
        self._role = role
        self._keep = keep
        self._linked_at = 0.0
        self._backoff_s = 0.0
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    def start(self) -> None:
        """Begin to connect, unless it is or does already. Needs a running loop."""
        if self._closed or self.link is not None or self._connecting is not None:
            return
        self._connecting = self._tasks.spawn(f"connect {self._address!r:.80}", self._connect())

    async def ready(self, deadline: float) -> None:
        """Wait for the link. Raises DeviceFault(UNREACHABLE) at `deadline`, or where it can't be."""
        if self.link is not None:
            return
        if self._closed:
            raise DeviceFault(Fault.UNREACHABLE, "the connection was closed")
        self.start()
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await waiter
        except TimeoutError:
            raise DeviceFault(Fault.UNREACHABLE, self.why_not) from None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    async def _connect(self) -> None:
        try:
            await self._back_off()
            while not await self._try_connect() and self._keep:
                self._lengthen_backoff()
                await self._back_off()
        finally:
            self._connecting = None

    async def _back_off(self) -> None:
        if self._backoff_s:
            await asyncio.sleep(self._randomness.uniform(self._backoff_s / 2, self._backoff_s))

    def _lengthen_backoff(self) -> None:
        local = isinstance(self._address, UnixAddress)
        most_s = BACKOFF_MAX_LOCAL_S if local else BACKOFF_MAX_S
        self._backoff_s = min(most_s, max(BACKOFF_MIN_S, self._backoff_s * 2))

    async def _try_connect(self) -> bool:
        """True where there is a link now: it may be made and lost again before this task runs on."""
        attempt = _Attempt(self)
        try:
            async with asyncio.timeout(CONNECT_TIME_S):
                await self._open(attempt)
                await attempt.shaken
        except (OSError, TimeoutError, DeviceFault) as error:
            attempt.give_up()
            self.why_not = f"cannot connect: {error or type(error).__name__}"
            self._fail_waiting()
            return False
        except BaseException:
            attempt.give_up()
            raise
        return self.link is not None

    async def _open(self, attempt: "_Attempt") -> None:
        loop = asyncio.get_running_loop()
        match self._address:
            case UnixAddress(path):
                await loop.create_unix_connection(lambda: attempt.link, path)
            case TcpAddress(host, port, tls):
                await loop.create_connection(lambda: attempt.link, host, port, ssl=tls)

    def _fail_waiting(self) -> None:
        if self._keep:
            return  # it goes on trying: who waits may wait until the deadline
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(DeviceFault(Fault.UNREACHABLE, self.why_not))

    def _linked(self, link: Link) -> None:
        self.link = link
        self._linked_at = self._clock.monotonic()
        self._owner.link_made(link)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _unlinked(self, reason: str) -> None:
        self.link = None
        # A peer that drops us as soon as we are there must not be asked in a tight loop.
        if self._clock.monotonic() - self._linked_at >= BACKOFF_MAX_S:
            self._backoff_s = 0.0
        else:
            self._lengthen_backoff()
        self.why_not = f"connection lost: {reason}"
        self._owner.link_lost()
        if self._keep:
            self.start()

    def close(self) -> None:
        """Close for good. Idempotent."""
        self._closed = True
        self._keep = False
        if self._connecting is not None:
            self._connecting.cancel()
        if self.link is not None:
            self.link.fail("closed")


class _Attempt:
    """One try to connect; afterwards the link's handler, which ignores all but the present link."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self.shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        handshake = ClientHandshake(dialer._secret, dialer._role, dialer._randomness)
        self.link = Link(handshake, self)
        self.frame_received = dialer._owner.frame_received

    def link_made(self) -> None:
        """Nothing to do before the handshake."""

    def link_ready(self) -> None:
        if not self.shaken.done():
            self.shaken.set_result(None)
            self._dialer._linked(self.link)

    def link_congested(self, congested: bool) -> None:
        """`Connection.call` looks at the link's flag."""

    def link_lost(self, reason: str) -> None:
        if not self.shaken.done():
            self.shaken.set_exception(DeviceFault(Fault.UNREACHABLE, reason))
            self.shaken.exception()  # retrieved, also where nobody waits any more
        elif self._dialer.link is self.link:
            self._dialer._unlinked(reason)

    def give_up(self) -> None:
        self.shaken.cancel()
        self.link.fail("gave up connecting")

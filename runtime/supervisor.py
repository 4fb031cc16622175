"""The supervisor: forks one process per worker, restarts those that die, ends them all on SIGTERM.

It forks before any thread or event loop exists, so workers share what was imported. A worker whose
supervisor is gone is told so by the kernel (PR_SET_PDEATHSIG) and ends.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

RESTART_DELAY_S: Final = 0.2
"""A worker that dies is started again after this long, twice as long each time, up to the next."""
RESTART_DELAY_MAX_S: Final = 10.0
STEADY_S: Final = 30.0
"""A worker that lived this long is restarted without delay when it dies."""
KILL_AFTER_S: Final = 5.0
"""Time beyond the drain after which workers are killed."""

RELEASE: Final = signal.SIGUSR1
"""Tells a drained worker to end: until then the requests of others may need its devices."""

_PR_SET_PDEATHSIG: Final = 1
_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

RunWorker = Callable[[int, Callable[[], None]], int]
"""Takes the worker's number and what it calls once it serves, and again once it has drained.

Returns the exit status. After SIGTERM a worker drains, says so, and ends upon RELEASE.
"""


def _tell(ready_write: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, as the kernel has said
        os.write(ready_write, b"r")


def _end_with_parent(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)  # it was gone before the kernel was asked


class _Slot:
    """One worker: its process and when it may be started again."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.ready_fd = -1
        self.told = 0
        self.started_at = 0.0
        self.delay_s = RESTART_DELAY_S
        self.start_at = 0.0

    @property
    def ready(self) -> bool:
        """It serves, or has served."""
        return self.told > 0

    @property
    def drained(self) -> bool:
        """Nothing of it needs the others any more."""
        return self.told > 1

    def hear(self) -> None:
        """Take what the worker has told: that it serves, that it has drained."""
        with contextlib.suppress(BlockingIOError):
            self.told += len(os.read(self.ready_fd, 2))


class Supervisor:
    """Runs `count` workers until a signal.

    on_ready: called once, when all workers serve. say: prints a line for the operator.
    """

    def __init__(
        self,
        count: int,
        run: RunWorker,
        on_ready: Callable[[], None],
        say: Callable[[str], None],
        drain_s: float,
    ) -> None:
        self._slots = [_Slot(number) for number in range(count)]
        self._run = run
        self._on_ready = on_ready
        self._say = say
        self._drain_s = drain_s
        self._stopping = False
        self._announced = False
        self._failed_to_start = False

    def main(self) -> int:
        """Until all workers have ended. Exit status: 0 after a signal, 1 where none could start."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            while not self._stopping:
                self._start_due()
                self._wait(wake_read)
                self._reap()
            self._end_all()
        finally:
            signal.set_wakeup_fd(-1)
            os.close(wake_read)
            os.close(wake_write)
        return 1 if self._failed_to_start else 0

    def _stop(self) -> None:
        self._stopping = True

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.pid == 0 and now >= slot.start_at:
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        parent = os.getpid()
        # A signal that came between would be taken by the child with handlers that are not its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        pid = os.fork()
        if pid == 0:
            for fd in (ready_read, *(other.ready_fd for other in self._slots if other.pid)):
                os.close(fd)  # so that only the supervisor's end is left, and its death is noticed
            self._in_child(slot.number, parent, ready_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        os.close(ready_write)
        slot.pid, slot.ready_fd, slot.told = pid, ready_read, 0
        slot.started_at = time.monotonic()

    def _in_child(self, number: int, parent: int, ready_write: int) -> NoReturn:
        """The worker's process: whatever happens in it, it ends here."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for which in _HANDLED:
                signal.signal(which, signal.SIG_DFL)
            signal.signal(RELEASE, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            _end_with_parent(parent)
            status = self._run(number, lambda: _tell(ready_write))
        except KeyboardInterrupt:
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _wait(self, wake_read: int) -> None:
        waiting = [slot.ready_fd for slot in self._slots if slot.pid and not slot.ready]
        delays = [slot.start_at - time.monotonic() for slot in self._slots if slot.pid == 0]
        timeout = max(0.0, min(delays)) if delays else None
        readable, _, _ = select.select([wake_read, *waiting], [], [], timeout)
        if wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
        for slot in self._slots:
            if slot.ready_fd in readable:
                slot.hear()
        if not self._announced and all(slot.ready for slot in self._slots):
            self._announced = True
            self._on_ready()

    def _reap(self) -> None:
        for slot in self._slots:
            if not slot.pid:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid == 0:
                continue
            self._forget(slot)
            self._died(slot, os.waitstatus_to_exitcode(status))

    def _forget(self, slot: _Slot) -> None:
        os.close(slot.ready_fd)
        slot.pid, slot.ready_fd, slot.told = 0, -1, 0

    def _died(self, slot: _Slot, status: int) -> None:
        if self._stopping:
            return
        if not self._announced:
            self._failed_to_start = self._stopping = True  # it has said why itself
            return
        lived_s = time.monotonic() - slot.started_at
        slot.delay_s = RESTART_DELAY_S if lived_s > STEADY_S else slot.delay_s * 2
        slot.delay_s = min(slot.delay_s, RESTART_DELAY_MAX_S)
        slot.start_at = time.monotonic() + (0 if lived_s > STEADY_S else slot.delay_s)
        how = f"signal {-status}" if status < 0 else f"status {status}"
        self._say(f"worker {slot.number} ended with {how}; starting it again")

    def _end_all(self) -> None:
        deadline = time.monotonic() + self._drain_s + KILL_AFTER_S
        self._signal_all(signal.SIGTERM)
        released = False
        while any(slot.pid for slot in self._slots) and time.monotonic() < deadline:
            if not released and all(self._has_drained(slot) for slot in self._slots):
                released = True
                self._signal_all(RELEASE)
            time.sleep(0.01)
            self._reap()
        self._signal_all(signal.SIGKILL)
        for slot in self._slots:
            if slot.pid:
                os.waitpid(slot.pid, 0)
                self._forget(slot)

    def _has_drained(self, slot: _Slot) -> bool:
        """Whether nothing of the worker's needs the others any more."""
        if slot.pid and not slot.drained:
            slot.hear()
        return slot.drained or not slot.pid

    def _signal_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(slot.pid, number)

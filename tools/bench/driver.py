"""The harness's end of the generator process: starts it, hands it loads, reads the machine around them.

The generator is a child of its own so that its processor time can be told from the servers' and so
that the harness, which draws a progress bar and reads `/proc`, never stands between request and
answer.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import msgspec

import tools
from tools.bench.accounting import CpuUse, Reading, cpu_use, read_cpu
from tools.bench.generator import GO, READY
from tools.bench.load import Load, LoadResult

BASELINE_S = 0.5
"""How long the machine's idle business is watched before each row."""
SETTLE_STEP_S = 0.2
SETTLE_MAX_S = 3.0
SETTLED_CORES = 0.05
"""A server that uses less than this after a row is quiet; until then its work counts to the row."""


class GeneratorDied(Exception):
    """The generator process ended in the middle of a row; its own error is on standard error."""


class Generator:
    """A running generator process. Use as a context manager."""

    def __init__(self) -> None:
        root = str(Path(next(iter(tools.__path__))).parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.bench.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> "Generator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the generator process."""
        return self._process.pid

    def close(self) -> None:
        """End the process; idempotent."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()

    def run(self, load: Load) -> LoadResult:
        """Prepare and run a load without looking at the machine."""
        self.prepare(load)
        return self.go()

    def prepare(self, load: Load) -> None:
        """Have all requests built and signed."""
        self._send(msgspec.json.encode(load))
        if (answer := self._receive()) != READY:
            raise GeneratorDied(f"expected ready, got {answer[:80]!r}")

    def go(self) -> LoadResult:
        """Run what was prepared."""
        self._send(GO)
        return msgspec.json.decode(self._receive(), type=LoadResult)

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise GeneratorDied("the generator process has ended") from error

    def _receive(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise GeneratorDied(f"the generator process ended with {self._process.wait()}")
        return line.strip()


class Stopwatch:
    """Reads the machine before and after a row; the servers' trailing work counts to the row.

    A server that acknowledges first and writes its index a second later must not look cheaper than
    it is, so after the last answer the watch runs on until the servers are quiet, at most SETTLE_MAX_S.
    """

    def __init__(self, generator: Generator, server_pids: Sequence[int]) -> None:
        self._pids = list(server_pids)
        self._generator = generator
        self._settle()
        quiet_from = self._read()
        time.sleep(BASELINE_S)
        self._before = self._read()
        self._idle_cores = cpu_use(quiet_from, self._before, idle_cores=0.0).machine_cores

    def stop(self) -> CpuUse:
        """The processor time of the row."""
        self._settle()
        return cpu_use(self._before, self._read(), idle_cores=self._idle_cores)

    def _read(self) -> Reading:
        return read_cpu(self._pids, self._generator.pid)

    def _settle(self) -> None:
        """Wait for quiet servers; where their processes are unknown there is nothing to wait for."""
        give_up = time.monotonic() + SETTLE_MAX_S
        while self._pids and time.monotonic() < give_up:
            before = self._read()
            time.sleep(SETTLE_STEP_S)
            if cpu_use(before, self._read(), idle_cores=0.0).server_cores < SETTLED_CORES:
                return


class Sampler:
    """Calls `sample` every `period_s` on a thread while a row runs, and once more at its end."""

    def __init__(self, sample: Callable[[], None], period_s: float) -> None:
        self._sample = sample
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the last sample and end."""
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._sample()

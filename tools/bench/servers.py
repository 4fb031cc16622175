"""The servers under test: our own store on a directory, the prototype, any other S3 endpoint.

Own servers run in a process group of their own and are ended by its id, so that no child outlives
the run. All keys go through the environment or standard input, never through an argument list.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import tools
from tools.bench import control
from tools.bench.accounting import is_alive, process_group, process_tree
from tools.bench.load import Server

READY_WITHIN_S = 120.0
BANNER_WITHIN_S = 5.0
DRAIN_WITHIN_S = 30.0
GONE_WITHIN_S = 10.0
POLL_S = 0.01
WORKERS = 2
DEVICES = 6
SWIFT_USER = "demo:demo"
EC_POLICY = "ec-4-2"
EC_FRAGMENTS = 6
_FRAGMENT = re.compile(r"(?P<blob>.+)\.(?P<number>\d+)$")
_FSYNC = re.compile(r"f(?:data)?sync\W+(?:is\W+)?(on|off)\b", re.IGNORECASE)


class ServerFailed(Exception):
    """A server under test did not start, or ended by itself; the text has the end of its log."""


class Target(Protocol):
    """One server of a run."""

    name: str
    server: Server
    fsync: str
    filesystem: str

    def pids(self) -> list[int]:
        """All its processes; empty where they are not ours to see."""

    def worker_pids(self) -> list[int]:
        """Those of them that serve requests."""

    def close(self) -> None:
        """End it, if it is ours. Idempotent."""


class Endpoint:
    """A server that somebody else started; only what its clients see is measured."""

    def __init__(self, name: str, server: Server, fsync: str = "unknown") -> None:
        self.name = name
        self.server = server
        self.fsync = fsync
        self.filesystem = "unknown"

    def pids(self) -> list[int]:
        """None that we know."""
        return []

    def worker_pids(self) -> list[int]:
        """None that we know."""
        return []

    def close(self) -> None:
        """It is not ours to end."""


class OwnProcess:
    """A server process with its group, its log and its end."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._log_path = log
        log.touch(mode=0o600)  # a store prints the keys of its demo user
        self._log: IO[bytes] = log.open("ab")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the first process, which is also its group's id."""
        return self._process.pid

    def log_text(self) -> str:
        """All that it has printed."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, ready: Callable[[], bool]) -> float:
        """Seconds until `ready`; raises ServerFailed when it ends before, or takes READY_WITHIN_S."""
        began = time.monotonic()
        while not ready():
            if (code := self._process.poll()) is not None:
                raise ServerFailed(f"{self.name} ended with {code}:\n{self.log_text()[-2000:]}")
            if time.monotonic() - began > READY_WITHIN_S:
                raise ServerFailed(f"{self.name} did not answer:\n{self.log_text()[-2000:]}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def terminate(self) -> int | None:
        """SIGTERM and wait; the exit code, or None where it had to be killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code: int | None = self._process.wait(DRAIN_WITHIN_S)
        except subprocess.TimeoutExpired:
            code = None
        self.kill()
        return code

    def kill(self) -> None:
        """SIGKILL for the group and all descendants, and wait until all of them are gone."""
        doomed = {*process_tree(self.pid), *process_group(self.pid)}
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + GONE_WITHIN_S
        while any(is_alive(pid) for pid in doomed) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._log.close()


class AtollStore:
    """A store of ours: `atoll up` on a directory, as DESIGN's commands say."""

    def __init__(self, data: Path, port: int, name: str = "atoll") -> None:
        self.name = name
        self.data = data
        self.filesystem = filesystem_of(data)
        self.fsync = "unknown"
        self.server = Server(f"http://127.0.0.1:{port}", secrets.token_hex(10), secrets.token_hex(20))
        self._port = port
        self._process: OwnProcess | None = None

    def start(self) -> float:
        """Start on what is in the directory; seconds until it has carried out a signed write."""
        environment = {
            **os.environ,
            "ATOLL_ACCESS_KEY": self.server.access_key,
            "ATOLL_SECRET_KEY": self.server.secret_key,
            "PYTHONPATH": os.pathsep.join(filter(None, [_root(), os.environ.get("PYTHONPATH", "")])),
        }
        self._process = OwnProcess(self.name, self._command(), environment, self._log_path())
        seconds = self._process.wait_until(lambda: control.try_write(self.server, timeout_s=5.0))
        self.fsync = self._wait_for_banner(self._process)
        return seconds

    def _wait_for_banner(self, process: OwnProcess) -> str:
        """What the store says of fsync; it says it once all of its workers serve."""
        deadline = time.monotonic() + BANNER_WITHIN_S
        while (found := _FSYNC.search(process.log_text())) is None:
            if time.monotonic() > deadline:
                return "unknown"
            time.sleep(POLL_S)
        return found.group(1).lower()

    def _command(self) -> list[str]:
        options = {
            "--data": str(self.data),
            "--port": self._port,
            "--admin-port": 0,
            "--workers": WORKERS,
            "--devices": DEVICES,
        }
        words = [str(word) for option in options.items() for word in option]
        return [sys.executable, "-m", "tools.main", "up", *words]

    def _log_path(self) -> Path:
        return self.data.with_name(f"{self.data.name}.log")

    def pids(self) -> list[int]:
        """Supervisor and workers."""
        return process_tree(self._running().pid)

    def worker_pids(self) -> list[int]:
        """The supervisor's descendants; itself where it has none."""
        return self.pids()[1:] or self.pids()

    def kill(self) -> None:
        """kill -9 of all its processes at once."""
        self._running().kill()

    def close(self) -> None:
        """See Target."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()

    def remove_fragments(self, numbers: tuple[int, ...]) -> int:
        """Unlink the given fragments of every blob that has EC_FRAGMENTS; how many files went."""
        doomed = fragments_to_remove(_blob_files(self.data), numbers)
        for path in doomed:
            os.unlink(path)
        return len(doomed)

    def _running(self) -> OwnProcess:
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process


class Prototype:
    """The measuring rig that the bars' ratios refer to; it forks its workers and never ends itself."""

    def __init__(self, script: Path, data: Path, port: int) -> None:
        self.name = "prototype"
        self.filesystem = filesystem_of(data)
        self.fsync = "on"
        self.server = Server(f"http://127.0.0.1:{port}", "a", "secret")
        words = [str(script), str(data), str(DEVICES), "sync", str(port), str(WORKERS)]
        log = data.with_name(f"{data.name}.log")
        self._process = OwnProcess(self.name, [sys.executable, *words], dict(os.environ), log)
        try:
            self._process.wait_until(lambda: _listens(port))
        except ServerFailed:
            self._process.kill()
            raise

    def pids(self) -> list[int]:
        """The parent and its workers."""
        return process_group(self._process.pid)

    def worker_pids(self) -> list[int]:
        """Its workers."""
        return [pid for pid in self.pids() if pid != self._process.pid]

    def close(self) -> None:
        """Its workers know no signal but the last."""
        self._process.kill()


def fragments_to_remove(paths: list[str], numbers: tuple[int, ...]) -> list[str]:
    """Those of `paths` (`…/<blob>.<number>`) that are fragment `numbers` of a whole coded blob.

    A blob with fewer than EC_FRAGMENTS files is replicated, or has lost fragments already.
    """
    blobs: dict[str, dict[int, str]] = {}
    for path in paths:
        if found := _FRAGMENT.match(os.path.basename(path)):
            blobs.setdefault(found["blob"], {})[int(found["number"])] = path
    whole = [files for files in blobs.values() if len(files) == EC_FRAGMENTS]
    return [files[sorted(files)[number]] for files in whole for number in numbers]


def _blob_files(data: Path) -> list[str]:
    return [str(path) for path in sorted(data.glob("devices/*/blobs/*/*"))]


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def filesystem_of(path: Path) -> str:
    """The type of the file system that `path` is or will be on, from /proc/self/mountinfo."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return longest_mount(mounts, str(path.absolute()))


def longest_mount(mounts: list[str], path: str) -> str:
    """The type of the mount with the longest matching mount point (proc(5), mountinfo)."""
    best = ("", "unknown")
    for line in mounts:
        left, right = line.split(" - ", 1)
        point = left.split()[4]
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, right.split()[0])
    return best[1]


def require_room(path: Path, wanted_bytes: int) -> None:
    """Raises ServerFailed when the file system of `path` has less than `wanted_bytes` left."""
    left = shutil.disk_usage(path).free
    if left < wanted_bytes:
        raise ServerFailed(f"{path} has {left >> 30} GiB left, this needs {wanted_bytes >> 30} GiB")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _root() -> str:
    return str(Path(next(iter(tools.__path__))).parent)

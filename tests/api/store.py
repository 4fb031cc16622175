"""A real store for tests: `atoll up` as a process of its own, on free ports, in a directory of its own.

What the tests of this rung and the README's examples run against. `start_store` ends it with SIGTERM
and checks that it exits 0 and leaves no process; `kill` and `restart` are for crash tests.
"""

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
START_DEADLINE_S: Final = 120.0
STOP_DEADLINE_S: Final = 60.0
"""For a busy machine: what takes long is not wrong here, and the benchmarks measure."""
POLL_S: Final = 0.02
PORTS: Final = range(20000, 32000)
"""Below Linux's ephemeral ports, so that no client's own port is in the way of a restart."""
PORTS_CLAIMED: Final = 1000
"""What one process of tests has for itself of them."""
BANNER_END: Final = "Ctrl-C stops it; data stay."


class StoreFailed(AssertionError):
    """The store did not start or did not end as it should; the text has its output."""


def free_port() -> int:
    """A port of the loopback interface on which nobody listens and that no other test is given."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many such ports in a row."""
    while True:
        ports = list(itertools.islice(_numbers, count))
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in ports:
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            if ports[-1] - ports[0] == count - 1:
                return ports[0]


def _claimed_numbers() -> Iterator[int]:
    """Numbers of ports that no other process of tests is given, over and over.

    The claim is an abstract socket's name, which Linux gives back when this process ends.
    """
    for start in PORTS[::PORTS_CLAIMED]:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0atoll-test-ports-{start}")
        except OSError:
            claim.close()
            continue
        with claim:
            yield from itertools.cycle(range(start, start + PORTS_CLAIMED))
    raise StoreFailed("all ports for tests are claimed")


_numbers: Final = _claimed_numbers()


def clean_environment(**added: str) -> dict[str, str]:
    """This process's environment without what would change a store's or a client's behaviour."""
    prefixes = ("ATOLL_", "AWS_", "RCLONE_", "RESTIC_", "ST_", "OS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
    return kept | added


class RunningStore:
    """One `atoll up`. folder: has its configuration, data and output. options: configuration keys.

    wrapper: a command that runs the one after it in its own place, in a namespace for example.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        options: Mapping[str, object],
        wrapper: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "atoll.toml"
        self.output = folder / "up.log"
        self.host = "127.0.0.1"
        self.port = free_port()
        self.admin_port = free_port()
        self._environment = dict(environment)
        self._wrapper = tuple(wrapper)
        self._options = {
            "data": "data",
            "workers": 2,
            "port": self.port,
            "admin_port": self.admin_port,
            **options,
        }
        self._secure = "tls_certificate" in options
        self._process: subprocess.Popen[bytes] | None = None

    # ---- what clients need -----------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The public URL."""
        return f"{'https' if self._secure else 'http'}://{self.host}:{self.port}"

    @property
    def admin_url(self) -> str:
        """The admin port's URL."""
        return f"http://{self.host}:{self.admin_port}"

    @property
    def banner(self) -> str:
        """What it has printed since it was last started."""
        return self.output.read_text()

    @property
    def access_key(self) -> str:
        """The demo user's, as the banner tells it."""
        return self._told("access key")

    @property
    def secret_key(self) -> str:
        """The demo user's, as the banner tells it."""
        return self._told("secret key")

    def _told(self, what: str) -> str:
        match = re.search(rf"^  {what} +(\S+)$", self.banner, re.MULTILINE)
        assert match, self.banner
        return match[1]

    def exports(self) -> dict[str, str]:
        """The environment that the banner tells people to export."""
        lines = re.findall(r"^  export (.+)$", self.banner, re.MULTILINE)
        return dict(word.split("=", 1) for line in lines for word in line.split())

    # ---- life ------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The supervisor's process, and the number of the group of all of them."""
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """The workers' processes, by worker."""
        report = json.loads(self.ask_admin("/status"))
        return [worker["pid"] for worker in sorted(report["workers"], key=lambda w: w["worker"])]

    def ask_admin(self, path: str) -> bytes:
        """A GET on the admin port."""
        connection = http.client.HTTPConnection(self.host, self.admin_port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status == 200, body
        return body

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.config.write_text(self._config_text())
        command = [sys.executable, "-m", "tools.main", "up", "--config", str(self.config)]
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._wrapper, *command],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while not (BANNER_END in self.banner and self.serves()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise StoreFailed(f"the store did not start:\n{self.banner}")
            time.sleep(POLL_S)

    def _config_text(self) -> str:
        lines = [f"{key} = {json.dumps(value)}" for key, value in self._options.items()]
        return "\n".join(lines) + "\n"

    def serves(self) -> bool:
        """Whether /healthcheck is answered."""
        connection: http.client.HTTPConnection
        if self._secure:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=5, context=context)
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/healthcheck")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor, as a terminal or an init system does."""
        os.kill(self.pid, number)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Ask until it holds; StoreFailed where it does not within START_DEADLINE_S."""
        deadline = time.monotonic() + START_DEADLINE_S
        while not condition():
            if time.monotonic() > deadline:
                raise StoreFailed(f"what was waited for did not come:\n{self.banner}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """SIGTERM, as an operator does; see `wait_for_end`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self.wait_for_end()

    def wait_for_end(self) -> None:
        """After SIGTERM: it must exit 0 and take its workers with it."""
        assert self._process is not None
        try:
            status = self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StoreFailed(f"the store did not stop:\n{self.banner}") from None
        left = self._group_lives()
        self.kill()
        if status != 0 or left:
            raise StoreFailed(f"exit status {status}, processes left: {left}\n{self.banner}")

    def kill(self) -> None:
        """SIGKILL to all its processes at once, and wait until they are gone. Idempotent."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(STOP_DEADLINE_S)
        deadline = time.monotonic() + STOP_DEADLINE_S
        while self._group_lives() and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def lives(self, pid: int) -> bool:
        """Whether a process of this store has not ended."""
        return _runs_in_group(pid, self.pid)

    def _group_lives(self) -> bool:
        """Whether any process of the group runs; one that nobody waits for (a zombie) does not."""
        return any(
            _runs_in_group(int(name), self.pid) for name in os.listdir("/proc") if name.isdigit()
        )

    def restart(self) -> None:
        """Start again on the same data and ports, after `stop` or `kill`."""
        self.start()

    @property
    def started(self) -> bool:
        """Whether it was ever started."""
        return self._process is not None

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None


def _runs_in_group(pid: int, group: int) -> bool:
    """Of proc(5): /proc/<pid>/stat, after the name in brackets: state, parent, process group."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False  # it ended meanwhile
    return int(fields[2]) == group and fields[0] not in "ZX"


@contextlib.contextmanager
def start_store(
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    prepare: Callable[[RunningStore], object] = lambda store: None,
    **options: object,
) -> Iterator[RunningStore]:
    """A store that serves; at the end it is stopped and checked.

    folder: a directory, empty or with the data of an earlier store. environment: of its processes,
    beside a clean one. options: configuration keys (doc/configuration.md). wrapper: see RunningStore.
    prepare: called before it is started.
    """
    store = RunningStore(folder, clean_environment(**(environment or {})), options, wrapper)
    prepare(store)
    store.start()
    try:
        yield store
    except BaseException:
        store.kill()
        raise
    if store.runs:
        store.stop()

"""`atoll bench cluster`: four nodes in four zones, and what clients of three feel when the fourth goes.

Starts what `make cluster` starts. Clients put and get 4 KiB objects over the first three nodes, each
with one request under way, all the time. The fourth node is ended by SIGKILL in the middle of that,
started again, and stopped by SIGSTOP and let go on. For each of the two is printed:

healthy, gone, back   p50 and p99 of requests begun before it, from one second after it on, and from one
                      second after the node's return on; all in ms
ratio                 p99 when gone to p99 when healthy; the bar is 2
slow                  requests begun when it was gone that took more than twice the healthy p99
first_answer_s        from the signal to the first right answer to a request begun after it
full_service_s        from the signal until the last slow request of the disturbance ended: of those
                      begun before the first quarter of a second in which each verb's p99 is within
                      twice the healthy one
longest_ms            of any request of the scene
failed                requests without a right answer, of the whole scene; the bar is 0

Exit status: 0; 1 where a bar is missed, or it could not run.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Final

import uvloop

from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from tools.bench import control
from tools.bench.cluster_load import Clients, Sample
from tools.bench.latency import percentile
from tools.bench.load import Server
from tools.cluster import (
    ACCESS_KEY,
    PORTS,
    Node,
    end,
    nodes_in,
    prepare,
    require_ports,
    running,
    start,
    wait_until_ready,
)

SCENE_S: Final = 10.0
"""How long it is healthy, gone and back again, if not told otherwise."""

FIRST_SECOND_S: Final = 1.0
"""What the bar does not look at: a node is taken for dead after a while only."""

WINDOW_S: Final = 0.25
TIMES_MAX: Final = 2.0
CONNECTIONS: Final = 2
"""Of each node and verb."""

PORT_TRIES: Final = 20
FAILURES_SHOWN: Final = 5
BUCKET: Final = "atoll-bench-cluster"
OPERATIONS: Final = ("put", "get")

Figures = dict[str, float]


class Scene:
    """What clients saw around one signal; times are those of the clients' clock."""

    def __init__(self, samples: Sequence[Sample], failures: Sequence[float], times: "Times") -> None:
        self._samples = samples
        self._failures = [at for at in failures if times.began <= at < times.ended]
        self._times = times
        self._limits = {
            verb: self._p(verb, times.began, times.gone, 99) * TIMES_MAX for verb in OPERATIONS
        }

    def figures(self) -> Figures:
        """See the module."""
        times, found = self._times, Figures()
        calm = times.gone + FIRST_SECOND_S, times.back
        for verb in OPERATIONS:
            for state, (since, until) in (
                ("healthy", (times.began, times.gone)),
                ("gone", calm),
                ("back", (times.returned + FIRST_SECOND_S, times.ended)),
            ):
                for percent in (50, 99):
                    figure = self._p(verb, since, until, percent)
                    found[f"{verb}_{state}_p{percent}_ms"] = figure * 1e3
            found[f"{verb}_ratio"] = 2 * self._p(verb, *calm, 99) / self._limits[verb]
            found[f"{verb}_slow"] = len(self._slow(verb, times.gone, times.back))
            found[f"{verb}_begun_when_gone"] = len(self._of(verb, times.gone, times.back))
        found["first_answer_s"] = (
            min(s.ended for s in self._samples if s.began >= times.gone) - times.gone
        )
        found["full_service_s"] = self._full_service_s()
        found["longest_ms"] = 1e3 * max(
            s.ended - s.began for s in self._samples if times.began <= s.began < times.ended
        )
        found["failed"] = len(self._failures)
        return found

    def _of(self, verb: str, since: float, until: float) -> list[float]:
        return sorted(
            s.ended - s.began for s in self._samples if s.verb == verb and since <= s.began < until
        )

    def _p(self, verb: str, since: float, until: float, percent: float) -> float:
        took = self._of(verb, since, until)
        return percentile(took, percent) if took else 0.0

    def _slow(self, verb: str, since: float, until: float) -> list[Sample]:
        limit = self._limits[verb]
        return [
            s for s in self._samples
            if s.verb == verb and since <= s.began < until and s.ended - s.began > limit
        ]  # fmt: skip

    def _full_service_s(self) -> float:
        """Requests that were under way at the signal belong to the first window."""
        times = self._times
        since = times.gone
        while since < times.back and not self._fine(since):
            since += WINDOW_S
        slow = [
            sample.ended
            for verb in OPERATIONS
            for sample in self._slow(verb, times.began, since)
            if sample.ended > times.gone
        ]
        return max(slow, default=times.gone) - times.gone

    def _fine(self, since: float) -> bool:
        until = since + WINDOW_S
        if any(since <= at < until for at in self._failures):
            return False
        return all(
            self._of(verb, since, until) and self._p(verb, since, until, 99) <= self._limits[verb]
            for verb in OPERATIONS
        )


class Times:
    """When a scene began, the node was gone, was told to come back, served again; when it ended."""

    began = gone = back = returned = ended = 0.0


class Bench:
    """Four running nodes and the clients of three."""

    def __init__(
        self,
        nodes: Sequence[Node],
        processes: dict[str, subprocess.Popen[bytes]],
        keys: dict[str, str],
        scene_s: float,
        connections: int,
    ) -> None:
        self._last = nodes[-1]
        self._processes = processes
        self._keys = keys
        self._scene_s = scene_s
        servers = [
            Server(f"http://127.0.0.1:{node.port}", ACCESS_KEY, keys["ATOLL_SECRET_KEY"])
            for node in nodes[:-1]
        ]
        control.create_bucket(servers[0], BUCKET)
        self._clients = Clients(servers, BUCKET, connections)

    async def run(self) -> dict[str, Figures]:
        """Both scenes."""
        found: dict[str, Figures] = {}
        async with self._clients.working():
            await asyncio.sleep(self._scene_s / 2)  # caches and connections
            for name, gone, back in (
                ("killed", self._kill, self._start),
                ("stopped", self._stop, self._go_on),
            ):
                found[name] = await self._scene(gone, back)
        for why in self._clients.kinds[:FAILURES_SHOWN]:
            print(f"failed: {why}", file=sys.stderr)
        return found

    async def _scene(self, gone: Callable[[], None], back: Callable[[], None]) -> Figures:
        clock, times = time.perf_counter, Times()
        times.began = clock()
        await asyncio.sleep(self._scene_s)
        times.gone = clock()
        gone()
        await asyncio.sleep(self._scene_s + FIRST_SECOND_S)
        times.back = clock()
        await asyncio.to_thread(back)
        times.returned = clock()
        await asyncio.sleep(self._scene_s + FIRST_SECOND_S)
        times.ended = clock()
        return Scene(self._clients.samples, self._clients.failures, times).figures()

    def _signal(self, number: int) -> None:
        os.killpg(self._processes[self._last.name].pid, number)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _start(self) -> None:
        end(self._processes[self._last.name])
        self._processes[self._last.name] = start(self._last, self._keys)
        wait_until_ready([self._last], self._processes)

    def _stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def _go_on(self) -> None:
        self._signal(signal.SIGCONT)


def measure(scene_s: float, connections: int) -> dict[str, Figures]:
    """Start, measure, end and remove everything. Raises AtollError, RequestRefused, OSError."""
    folder = tempfile.mkdtemp(prefix="atoll-bench-")
    try:
        nodes = nodes_in(folder, _free_ports())
        keys = {
            "ATOLL_ACCESS_KEY": ACCESS_KEY,
            "ATOLL_SECRET_KEY": SystemRandomness().token(20).hex(),
        }
        prepare(nodes, folder, tls=False)
        with running(nodes, keys) as processes:
            wait_until_ready(nodes, processes)
            return uvloop.run(Bench(nodes, processes, keys, scene_s, connections).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> int:
    """The first of PORTS ports that nothing listens on right now."""
    for _ in range(PORT_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1]) - PORTS
        try:
            require_ports(nodes_in("", first))
        except AtollError:
            continue
        return first
    raise AtollError(f"there are no {PORTS} free ports")


def meets_bars(found: dict[str, Figures]) -> bool:
    """No request failed, and none of the verbs is slower than twice the healthy p99."""
    return all(
        not scene["failed"] and all(scene[f"{verb}_ratio"] <= TIMES_MAX for verb in OPERATIONS)
        for scene in found.values()
    )


def run(argv: Sequence[str]) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="atoll bench cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=SCENE_S, help="of each state (10)")
    parser.add_argument(
        "--connections", type=int, default=CONNECTIONS, help="of each node and verb (2)"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    try:
        found = measure(args.seconds, args.connections)
    except (AtollError, control.RequestRefused, OSError) as error:
        print(f"atoll bench cluster: {error}", file=sys.stderr)
        return 1
    met = meets_bars(found)
    if args.json:
        print(json.dumps({**found, "meets_bars": met}))
    else:
        _print(found, met)
    return 0 if met else 1


def _print(found: dict[str, Figures], met: bool) -> None:
    print(f"{'':28}" + "".join(f"{name:>12}" for name in found))
    for figure in next(iter(found.values())):
        print(f"{figure:28}" + "".join(f"{scene[figure]:12,.2f}" for scene in found.values()))
    print("the bars are met" if met else "a bar is MISSED")

"""One worker process, wired: its part in the cluster, the store, the front ends, the ports.

The parts: `joining.py` (devices, peers, the ring), `repairing.py` (background work), `reporter.py` and
`admin.py` (what it says of itself), `public_port.py`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable
from typing import Final

import uvloop

from proxy.auth.keystone import Keystone
from proxy.auth.keystone_keys import KeystoneKeys
from proxy.auth.user_file import FileUsers
from proxy.cluster.settle import Settler
from proxy.core.breaker import State as BreakerState
from proxy.core.guarded import Guards
from proxy.core.placement import Placement
from proxy.core.rows import Rows
from proxy.core.store import CoreStore
from proxy.door import Door
from proxy.keystone_transport import HttpTransport
from proxy.repair import ring_change
from proxy.repair.ring_change import RingChange
from proxy.repair.runner import Runner
from proxy.repair.throttle import ForegroundLatency
from proxy.s3.app import S3App
from proxy.swift.app import SwiftApp
from ring.lookup import Ring
from runtime.clock import HybridClock, SystemClock
from runtime.config import Config
from runtime.disk import RealDisk
from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from runtime.supervisor import RELEASE
from runtime.tasks import TaskOwner
from runtime.telemetry import Telemetry
from storage.node import NodeFacts
from tools.admin import Admin
from tools.bucket_service import BucketService
from tools.census import AGAIN_S, CensusTaker
from tools.changing import Changing
from tools.control import Control
from tools.data import Data, device_paths
from tools.joining import Doors, Joined, Joining
from tools.keystone import keystone_of
from tools.pauses import Pauses
from tools.peers import is_own
from tools.public_port import listen
from tools.reach import ProcessName, Reach
from tools.repairing import RepairWorkers
from tools.reporter import Reporter
from tools.warning_log import WarningLog

SWITCH_INTERVAL_S: Final = 0.001
"""How long a thread that has synced waits for the interpreter beside a busy event loop, at most."""

GC_ALLOCATIONS: Final = 50_000
"""Container objects made, less those freed, before the cycle collector looks at the youngest."""

log = logging.getLogger("atoll")


def worker_count(config: Config, ring: Ring | None) -> int:
    """One per core, and never more than devices, because each worker owns some."""
    cores = config.workers or len(os.sched_getaffinity(0))
    own = [m for m in ring.members if is_own(config, m)] if ring is not None else device_paths(config)
    return max(1, min(cores, len(own)))


def owners(config: Config, ring: Ring | None, workers: int) -> dict[int, int]:
    """Which worker owns each of the node's devices, by their position: as evenly as can be.

    Decided once at the node's start: what comes later must not change who owns the others.
    """
    members = ring.members if ring is not None else ()
    own = sorted(member.id for member in members if is_own(config, member))
    return {device_id: position % workers for position, device_id in enumerate(own)}


def run_worker(config: Config, data: Data, me: NodeFacts, ready: Callable[[], None]) -> int:
    """The worker's whole life; the exit status."""
    os.chdir(data.run)
    try:
        return uvloop.run(_Worker(config, data, me).main(ready))
    except (AtollError, OSError) as error:
        log.error("worker %d: %s", me.worker, error)
        return 1


def _quieten_collector() -> None:
    """Keep the cycle collector off what stays: loaded code, and rows that wait for their checkpoint.

    The store's own objects are freed by reference counts; cycles come from exceptions and libraries.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)


class _Worker:
    """What one worker is made of."""

    def __init__(self, config: Config, data: Data, me: NodeFacts) -> None:
        self._config = config
        self._data = data
        self._me = me
        clock, randomness = SystemClock(), SystemRandomness()
        stamps = HybridClock(clock, randomness.token(8))
        self._doors = Doors(clock, RealDisk(), randomness, stamps)
        self._latency = ForegroundLatency(clock)
        self._telemetry = Telemetry()
        self._warnings = WarningLog(clock)
        self._guards = Guards(clock, self._breaker_changed)
        self._stop = asyncio.Event()
        self._release = asyncio.Event()

    async def main(self, ready: Callable[[], None]) -> int:
        """Open, serve until SIGTERM, drain, wait for those who still drain, close."""
        loop = asyncio.get_running_loop()
        for which in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(which, self._stop.set)
        loop.add_signal_handler(RELEASE, self._release.set)
        async with contextlib.AsyncExitStack() as stack:
            tasks = self._task_owner(stack)
            joining = Joining(
                stack, self._config, self._data, self._me, self._doors, tasks, self._task_failed
            )
            cluster = await joining.join(self._guards, self._ring_problem, self._stop)
            if cluster is not None:
                await self._serve(stack, cluster, ready)
        return 0

    async def _serve(
        self, stack: contextlib.AsyncExitStack, cluster: Joined, ready: Callable[[], None]
    ) -> None:
        errands = self._task_owner(stack)  # ended before what they work on
        store = self._store(cluster.placement, errands)
        pauses = Pauses(self._data.paused, self._doors.disk)
        workers = RepairWorkers(
            self._config,
            store,
            cluster.placement,
            lambda: cluster.adoption.ring,
            self._doors.stamps,
            self._latency,
            self._doors.clock,
            self._doors.randomness,
            errands,
            pauses.names(),
        )
        repair = workers.runner
        changing = self._changing(cluster, workers, errands)

        async def go_on(ring: Ring) -> None:
            workers.follow(cluster.membership.own.values())
            await changing.adopted(ring)

        await go_on(cluster.adoption.ring)
        cluster.adoption.on_adopted.append(go_on)
        repair.start()
        errands.keep("follow the ring", cluster.follower.run)
        door = self._door(store, self._keystone(stack))
        reporter = self._reporter(cluster, store, repair)
        reporter.admission = door.admission.status
        elsewhere = cluster.peers.elsewhere
        admin = Admin(
            self._config,
            self._me.workers,
            reporter,
            repair,
            pauses,
            elsewhere,
            self._buckets(cluster, store, workers).answer,
        )
        await admin.start(stack)
        if self._me.worker == 0:
            await self._control(cluster, changing, admin).start(stack)
        await cluster.peers.meet()
        errands.keep("reach", reporter.reach.run)
        drain = await listen(stack, self._config, door, self._task_failed)
        _quieten_collector()
        ready()
        await self._stop.wait()
        await drain()
        with contextlib.suppress(
            BrokenPipeError, TimeoutError
        ):  # the supervisor is gone, or ended only us
            ready()
            async with asyncio.timeout(self._config.drain_s):
                await self._release.wait()

    def _buckets(self, cluster: Joined, store: CoreStore, workers: RepairWorkers) -> BucketService:
        return BucketService(
            store,
            cluster.placement,
            workers.container_rows,
            workers.resharder,
            workers.repolicier,
            self._doors.clock,
            workers.runner.run_now,
        )

    def _task_owner(self, stack: contextlib.AsyncExitStack) -> TaskOwner:
        tasks = TaskOwner(f"worker{self._me.worker}", self._task_failed)
        stack.push_async_callback(tasks.close)
        return tasks

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._telemetry.event("task_failed")
        log.error("%s failed: %s", name, type(error).__name__, exc_info=error)

    def _ring_problem(self, problem: Exception) -> None:
        self._telemetry.event("ring_not_followed")
        self._warnings.say(f"the ring could not be followed: {problem}")

    def _settling_problem(self, problem: Exception) -> None:
        self._telemetry.event("partition_not_settled")
        self._warnings.say(f"a partition that is new here can't be settled yet: {problem}")

    def _breaker_changed(self, device_id: int, state: BreakerState) -> None:
        self._telemetry.event(f"breaker_{state.value}")
        log.warning("the breaker of device %d is %s", device_id, state.value)

    # -- the store -----------------------------------------------------------------------------------

    def _store(self, placement: Placement, tasks: TaskOwner) -> CoreStore:
        policies = placement.policies
        return CoreStore(
            placement,
            policies,
            self._config.default_policy or next(iter(policies)),
            self._doors.stamps,
            self._doors.clock,
            self._doors.randomness,
            tasks,
            self._config.part_min_bytes,
            self._latency.note,
        )

    def _changing(self, cluster: Joined, workers: RepairWorkers, tasks: TaskOwner) -> Changing:
        """This worker's part in ring changes; on a keeper node worker 0 carries them on."""
        doors, membership = self._doors, cluster.membership
        rows = Rows(cluster.placement, doors.stamps, doors.clock, doors.randomness)
        settler = Settler(
            cluster.placement,
            rows,
            membership.own_at,
            doors.clock,
            self._settling_problem,
        )
        changing = Changing(
            settler,
            membership.own,
            lambda: cluster.peers.by_name().values(),
            workers.away,
            lambda: cluster.service.epoch,
            doors.clock,
            tasks,
        )
        cluster.service.how_far = changing.progress
        if self._me.worker == 0 and self._config.keeps:
            change = RingChange(
                cluster.register,
                lambda: cluster.adoption.ring,
                changing.everyone,
                doors.clock,
                workers.runner.throttle.pace(),
                cluster.follower.poke,
            )
            workers.runner.add(change, ring_change.LOOK_AGAIN_S)
        return changing

    def _control(self, cluster: Joined, changing: Changing, admin: Admin) -> Control:
        """Takes what `atoll ring` and `atoll node` ask of this node."""
        return Control(
            cluster.register,
            cluster.nodes,
            lambda: cluster.adoption.ring,
            cluster.placement.devices,
            changing.everyone,
            admin.cluster_report,
            cluster.follower.poke,
        )

    def _reporter(self, cluster: Joined, store: CoreStore, repair: Runner) -> Reporter:
        """Who says how this process is, to the admin side and to other nodes'."""
        config, peers = self._config, cluster.peers
        reporter = Reporter(
            ProcessName(config.node, self._me.worker),
            lambda: cluster.adoption.ring,
            cluster.membership.own,
            Reach(peers.by_name, self._doors.clock),
            self._telemetry,
            self._doors.clock,
            config.own_address,
            config.keepers,
        )
        reporter.guards = self._guards.status
        reporter.repair = repair.statuses
        reporter.progress = cluster.service.progress
        reporter.quorums = store.rows.outcomes.counts
        reporter.queues = lambda: {
            "peer_calls": peers.outstanding,
            "row_operations": store.rows.waiting,
        }
        taker = CensusTaker(reporter.ring, reporter.owned, self._doors.clock, repair.throttle.pace())
        repair.add(taker, AGAIN_S)
        reporter.census = lambda: taker.census
        cluster.service.own_report = reporter.report_bytes
        return reporter

    def _keystone(self, stack: contextlib.AsyncExitStack) -> Keystone | None:
        """Who knows the tokens that are not TempAuth's, if anyone."""
        found = keystone_of(self._config, self._data.secret)
        if found is None:
            return None
        transport = HttpTransport(found.url)
        stack.push_async_callback(transport.close)
        return Keystone(transport, found.login)

    def _door(self, store: CoreStore, keystone: Keystone | None) -> Door:
        users = FileUsers(self._data.credentials, self._doors.clock, self._users_problem)
        keys = KeystoneKeys(keystone, self._doors.randomness) if keystone is not None else None
        domains = tuple(self._config.domains)
        s3 = S3App(store, users, self._doors.clock, self._config.region, domains, keys)
        swift = SwiftApp(
            store,
            users,
            self._doors.clock,
            self._data.secret,
            self._config.storage_url,
            keystone=keystone,
        )
        return Door(s3, swift, self._telemetry)

    def _users_problem(self, problem: Exception) -> None:
        self._telemetry.event("users_file_invalid")
        log.error("%s", problem)

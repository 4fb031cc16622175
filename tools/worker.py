"""One worker process, wired: the devices it owns, their peers, the store, the front ends, the ports."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import uvloop

from proxy.auth.user_file import FileUsers
from proxy.core.breaker import State as BreakerState
from proxy.core.guard import Guards
from proxy.core.placement import Placement
from proxy.core.policies import policy_named
from proxy.core.store import CoreStore
from proxy.door import Door, PublicPort
from proxy.http import HEADER_FIELD_MAX_BYTES, LINE_MAX_BYTES, READ_BUFFER_BYTES
from proxy.repair.runner import Runner
from proxy.repair.throttle import ForegroundLatency
from proxy.s3.app import S3App
from proxy.swift.app import SwiftApp
from ring.lookup import Ring
from ring.types import ROWS
from ring.types import Device as Member
from runtime.certificate import ServedCertificate
from runtime.clock import HybridClock, SystemClock
from runtime.config import Config
from runtime.disk import RealDisk
from runtime.errors import AtollError
from runtime.randomness import SystemRandomness
from runtime.supervisor import RELEASE
from runtime.tasks import TaskOwner
from runtime.telemetry import Telemetry
from storage.contract import DeviceClient, DeviceFault
from storage.device.engine import Device, DeviceConfig
from storage.device.identity import DeviceInUse, DeviceRefused
from storage.device.unopened import UnopenedDevice
from storage.wire.client import Peer, WireDevice
from storage.wire.connection import UnixAddress
from storage.wire.local_files import LocalFiles
from storage.wire.server import WireServer
from tools.admin import Admin
from tools.data import Data
from tools.reach import ProcessName, Reach
from tools.repairing import repair_workers
from tools.reporter import Reporter

LISTEN_BACKLOG: Final = 1024
KEEPALIVE_S: Final = 75.0
LINGER_S: Final = 2.0
"""How long the rest of a refused request's body is read and dropped."""

PEERS_WITHIN_S: Final = 5.0
"""A starting worker listens once its peers are connected, or after this long without them."""
FILE_THREADS: Final = 8
"""Threads for the blob files of devices that other workers own."""

SWITCH_INTERVAL_S: Final = 0.001
"""How long a thread that has synced waits for the interpreter beside a busy event loop, at most."""

GC_ALLOCATIONS: Final = 50_000
"""Container objects made, less those freed, before the cycle collector looks at the youngest."""

log = logging.getLogger("atoll")


def worker_count(config: Config, ring: Ring) -> int:
    """One per core, and never more than devices, because each worker owns some."""
    cores = config.workers or len(os.sched_getaffinity(0))
    return max(1, min(cores, len(ring.members)))


def owner_of(device_id: int, workers: int) -> int:
    """The worker that owns a device."""
    return device_id % workers


def socket_name(worker: int) -> str:
    """A worker's socket, relative to the run directory, because socket paths are short."""
    return f"w{worker}.sock"


def run_worker(config: Config, data: Data, number: int, workers: int, ready: Callable[[], None]) -> int:
    """The worker's whole life; the exit status."""
    os.chdir(data.run)
    try:
        return uvloop.run(_Worker(config, data, number, workers).main(ready))
    except (AtollError, OSError) as error:
        log.error("worker %d: %s", number, error)
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

    def __init__(self, config: Config, data: Data, number: int, workers: int) -> None:
        self._config = config
        self._data = data
        self._number = number
        self._workers = workers
        self._clock = SystemClock()
        self._disk = RealDisk()
        self._randomness = SystemRandomness()
        self._stamps = HybridClock(self._clock, self._randomness.token(8))
        self._latency = ForegroundLatency(self._clock)
        self._telemetry = Telemetry()
        self._peers: list[Peer] = []
        self._guards = Guards(self._clock, self._breaker_changed)

    async def main(self, ready: Callable[[], None]) -> int:
        """Open, serve until SIGTERM, drain, wait for those who still drain, close."""
        stop = asyncio.Event()
        release = asyncio.Event()
        for which in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(which, stop.set)
        asyncio.get_running_loop().add_signal_handler(RELEASE, release.set)
        async with contextlib.AsyncExitStack() as stack:
            tasks = TaskOwner(f"worker{self._number}", self._task_failed)
            stack.push_async_callback(tasks.close)
            devices = await self._open_devices(stack)
            await self._serve_peers(stack, devices)
            clients = self._clients(stack, devices, tasks)
            placement = self._placement(clients)
            errands = TaskOwner(f"worker{self._number}", self._task_failed)
            stack.push_async_callback(errands.close)  # before what they work on
            store = self._store(placement, errands)
            repair = repair_workers(
                self._config,
                store,
                placement,
                devices.values(),
                self._stamps,
                self._latency,
                self._clock,
                self._randomness,
                errands,
            )
            repair.start()
            door = self._door(store)
            reporter = self._reporter(devices, repair)
            await Admin(self._config, self._workers, reporter, repair).start(stack)
            await self._meet_peers()
            errands.spawn("reach", reporter.reach.run())
            drain = await self._listen(stack, door)
            _quieten_collector()
            ready()
            await stop.wait()
            await drain()
            with contextlib.suppress(
                BrokenPipeError, TimeoutError
            ):  # the supervisor is gone, or ended only us
                ready()
                async with asyncio.timeout(self._config.drain_s):
                    await release.wait()
        return 0

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._telemetry.event("task_failed")
        log.error("%s failed: %s", name, type(error).__name__, exc_info=error)

    async def _open_devices(self, stack: contextlib.AsyncExitStack) -> dict[int, DeviceClient]:
        mine = (
            member
            for member in self._data.ring.members
            if owner_of(member.id, self._workers) == self._number
        )
        return {member.id: await self._open_device(stack, member) for member in mine}

    async def _open_device(
        self, stack: contextlib.AsyncExitStack, member: Member
    ) -> Device | UnopenedDevice:
        """A device of ours; one that can't be opened must not keep the others from being served."""
        try:
            device = await Device.open(
                member.path,
                self._disk,
                self._clock,
                self._randomness,
                device_id=member.id,
                cluster=self._data.ring.cluster_id,
                incarnation=bytes.fromhex(member.incarnation),
                config=DeviceConfig(reserve_bytes=self._config.device_reserve_bytes),
            )
        except DeviceInUse:
            raise
        except (DeviceRefused, OSError) as error:
            log.error("device %d is offline: %s", member.id, error)
            return UnopenedDevice(member.id, str(error))
        stack.push_async_callback(device.close)
        return device

    async def _serve_peers(
        self, stack: contextlib.AsyncExitStack, devices: dict[int, DeviceClient]
    ) -> None:
        server = WireServer(
            devices, self._data.secret, self._clock, self._randomness, self._task_failed
        )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket_name(self._number))
        await server.listen_unix(socket_name(self._number))
        stack.push_async_callback(server.close)

    def _clients(
        self, stack: contextlib.AsyncExitStack, owned: dict[int, DeviceClient], tasks: TaskOwner
    ) -> dict[int, DeviceClient]:
        peers: dict[int, Peer] = {}
        for other in range(self._workers):
            if other != self._number:
                peer = Peer(
                    UnixAddress(socket_name(other)),
                    self._data.secret,
                    self._clock,
                    self._randomness,
                    tasks,
                )
                peer.start()
                stack.callback(peer.close)
                peers[other] = peer
                self._peers.append(peer)
        executor = ThreadPoolExecutor(FILE_THREADS, "files")
        stack.callback(executor.shutdown, wait=False)
        clients: dict[int, DeviceClient] = dict(owned)
        for member in self._data.ring.members:
            if member.id not in owned:
                peer = peers[owner_of(member.id, self._workers)]
                files = LocalFiles(member.path, self._disk, executor, self._config.device_reserve_bytes)
                clients[member.id] = WireDevice(peer, member.id, files)
        return clients

    async def _meet_peers(self) -> None:
        """Wait for the other workers' devices: without them the first requests found no quorum."""
        deadline = self._clock.monotonic() + PEERS_WITHIN_S
        for peer in self._peers:
            while not peer.calls.connected and self._clock.monotonic() < deadline:
                with contextlib.suppress(DeviceFault):  # one attempt failed, the next is under way
                    await peer.calls.ready(deadline)

    def _placement(self, clients: dict[int, DeviceClient]) -> Placement:
        names = [placement.name for placement in self._data.ring.placements]
        policies = {name: policy_named(name) for name in names if name != ROWS}
        guarded: dict[int, DeviceClient] = {
            number: self._guards.device(client) for number, client in clients.items()
        }
        return Placement(self._data.ring, guarded, policies)

    def _breaker_changed(self, device_id: int, state: BreakerState) -> None:
        self._telemetry.event(f"breaker_{state.value}")
        log.warning("the breaker of device %d is %s", device_id, state.value)

    def _store(self, placement: Placement, tasks: TaskOwner) -> CoreStore:
        policies = placement.policies
        return CoreStore(
            placement,
            policies,
            self._config.default_policy or next(iter(policies)),
            self._stamps,
            self._clock,
            self._randomness,
            tasks,
            self._config.part_min_bytes,
            self._latency.note,
        )

    def _reporter(self, owned: dict[int, DeviceClient], repair: Runner) -> Reporter:
        """Who says how this process is, to the admin side."""
        config = self._config
        others = [number for number in range(self._workers) if number != self._number]
        peers = {
            ProcessName(config.node, number): peer
            for number, peer in zip(others, self._peers, strict=True)
        }
        reporter = Reporter(
            ProcessName(config.node, self._number),
            lambda: self._data.ring,
            owned,
            Reach(lambda: peers, self._clock),
            self._telemetry,
            self._clock,
            config.own_address,
            config.keepers,
        )
        reporter.guards = self._guards.status
        reporter.repair = repair.statuses
        reporter.queues = lambda: {"peer_calls": sum(peer.calls.outstanding for peer in self._peers)}
        return reporter

    def _door(self, store: CoreStore) -> Door:
        users = FileUsers(self._data.credentials, self._clock, self._users_problem)
        s3 = S3App(store, users, self._clock, self._config.region, tuple(self._config.domains))
        swift = SwiftApp(store, users, self._clock, self._data.secret, self._config.storage_url)
        return Door(s3, swift, self._telemetry)

    def _users_problem(self, problem: Exception) -> None:
        self._telemetry.event("users_file_invalid")
        log.error("%s", problem)

    async def _listen(
        self, stack: contextlib.AsyncExitStack, door: Door
    ) -> Callable[[], Awaitable[None]]:
        config = self._config
        server = PublicPort(
            door.handle,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            max_line_size=LINE_MAX_BYTES,
            max_field_size=HEADER_FIELD_MAX_BYTES,
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=False,  # what clients store with Content-Encoding is stored as it came
        )
        certificate = None
        if config.tls_certificate:
            certificate = ServedCertificate(config.tls_certificate, config.tls_key)
            stack.callback(certificate.close)
            certificate.follow(self._task_failed)
        listener = await asyncio.get_running_loop().create_server(
            server,
            config.listen,
            config.port,
            reuse_port=True,
            backlog=LISTEN_BACKLOG,
            ssl=certificate.context if certificate else None,
        )
        for sock in listener.sockets or ():
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def drain() -> None:
            listener.close()
            await door.drain(server, config.drain_s)

        return drain

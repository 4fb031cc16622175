"""The control socket of a running node: how `atoll ring` and `atoll node` change the cluster.

Worker 0 listens on <run>/control.sock, mode 0600: who may open it runs the store anyway. The ring goes
through the keepers' register, so any node will do, and of two who change it at once one is told that
it is stale.

    GET  /ring    the newest ring's file
    PUT  /ring    a ring file of the epoch after it -> 204, 409 where somebody else made that epoch
    GET  /nodes   the announced nodes
    GET  /state   how far a ring change is, and how the nodes and devices are
    GET  /sizes   bytes per partition-replica of each placement, as some devices have them
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from proxy.cluster.nodes import Announced, NodeRegister
from proxy.cluster.register import ForeignRing, RingRegister, RingTooLarge, StaleRing
from proxy.core.errors import StoreError
from proxy.repair.ring_change import needed
from ring import file
from ring.epochs import is_joint
from ring.errors import RingError
from ring.lookup import Ring
from ring.types import ROWS
from runtime.private_socket import private_socket
from storage.contract import DeviceClient, DeviceFault
from storage.node import Progress
from storage.types import GROUP_PARTITIONS_MAX
from tools.health.report import ClusterReport

SOCKET: Final = "control.sock"

DEVICES_SAMPLED_MAX: Final = 32
"""How many devices are asked for the sizes of what they hold."""


class State(msgspec.Struct, kw_only=True):
    """How a ring change stands. joint: its rows are moving, so no other can begin. unknown: devices
    that have not been looked through. away: processes that did not say how far they are."""

    epoch: int
    joint: bool
    settled: int
    expected: int
    misplaced: int
    misplaced_bytes: int
    unknown: int
    away: int


class NodeState(msgspec.Struct, kw_only=True):
    """One node. epoch: 0 where it did not answer; why: what was said instead. devices: why those of it
    that do not serve are offline, "" for those that do, by id."""

    node: str
    region: str
    zone: str
    address: str
    paths: list[str] = []
    announced: bool = False
    epoch: int = 0
    version: str = ""
    why: str = ""
    devices: dict[int, str] = {}


class Control:
    """See the module. everyone: asks all processes how far they are; report: gathers all reports."""

    def __init__(
        self,
        register: RingRegister,
        nodes: NodeRegister,
        ring: Callable[[], Ring],
        devices: Mapping[int, DeviceClient],
        everyone: Callable[[], Awaitable[Sequence[Progress | None]]],
        report: Callable[[], Awaitable[ClusterReport]],
        poke: Callable[[], None],
    ) -> None:
        """ring: the adopted one. poke: there is a newer ring to follow."""
        self._register = register
        self._nodes = nodes
        self._ring = ring
        self._devices = devices
        self._everyone = everyone
        self._report = report
        self._poke = poke

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        """Listen until `stack` ends."""
        server = web.Server(self._answer, access_log=None)
        loop = asyncio.get_running_loop()
        listener = await loop.create_unix_server(server, sock=private_socket(SOCKET))
        stack.push_async_callback(server.shutdown, 0)
        stack.callback(listener.close)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        routes: dict[tuple[str, str], Callable[[], Awaitable[web.Response]]] = {
            ("GET", "/ring"): self._get_ring,
            ("GET", "/nodes"): self._get_nodes,
            ("GET", "/state"): self._get_state,
            ("GET", "/sizes"): self._get_sizes,
        }
        try:
            if (request.method, request.path) == ("PUT", "/ring"):
                return await self._put_ring(request)
            route = routes.get((request.method, request.path))
            return _refused(404, "there is no such thing here") if route is None else await route()
        except StoreError as error:
            return _refused(503, f"the keepers do not answer: {error}")

    # -- the ring ----------------------------------------------------------------------------------

    async def _get_ring(self) -> web.Response:
        ring = await self._register.read()
        return _refused(404, "there is no ring yet") if ring is None else _bytes(file.encode(ring))

    async def _put_ring(self, request: web.BaseRequest) -> web.Response:
        data = await _body(request)
        try:
            await self._register.replace(file.decode(data))
        except (StaleRing, ForeignRing) as error:
            return _refused(409, str(error))
        except (RingError, RingTooLarge) as error:
            return _refused(400, str(error))
        finally:
            self._poke()
        return web.Response(status=204)

    # -- how it is ---------------------------------------------------------------------------------

    async def _get_nodes(self) -> web.Response:
        return _json(nodes_of(await self._nodes.read(), self._ring(), await self._report()))

    async def _get_state(self) -> web.Response:
        ring, progress = self._ring(), await self._everyone()
        return _json(state_of(ring, progress))

    async def _get_sizes(self) -> web.Response:
        return _json(await sizes(self._ring(), self._devices, await self._report()))


def state_of(ring: Ring, progress: Sequence[Progress | None]) -> State:
    """From what every process says; None: it says nothing."""
    found = needed(ring, progress, balanced=True)
    present = [one for one in progress if one is not None and one.epoch == ring.epoch]
    return State(
        epoch=ring.epoch,
        joint=is_joint(ring, ROWS),
        settled=found.settled,
        expected=found.expected,
        misplaced=found.misplaced,
        misplaced_bytes=found.misplaced_bytes,
        unknown=found.unknown,
        away=len(progress) - len(present),
    )


def nodes_of(announced: Sequence[Announced], ring: Ring, report: ClusterReport) -> list[NodeState]:
    """Every node that has announced itself or is in the ring, by name, and how it is."""
    nodes: dict[str, NodeState] = {}
    for member in ring.members:
        node = nodes.get(member.node)
        if node is None:
            node = nodes[member.node] = NodeState(
                node=member.node,
                region=member.region,
                zone=member.zone,
                address=member.address,
                devices={},
            )
        node.devices[member.id] = "its node does not answer"
    for one in announced:
        node = nodes.setdefault(
            one.node,
            NodeState(node=one.node, region=one.region, zone=one.zone, address=one.address, devices={}),
        )
        node.announced, node.paths = True, one.paths
    for answer in report.reports:
        if (found := nodes.get(answer.node)) is not None:
            found.epoch, found.version = answer.epoch, answer.version
            found.devices |= {number: status.offline for number, status in answer.devices.items()}
    for silent in report.silent:
        if (found := nodes.get(silent.node)) is not None:
            found.why = silent.why
    return [nodes[name] for name in sorted(nodes)]


async def sizes(
    ring: Ring, devices: Mapping[int, DeviceClient], report: ClusterReport
) -> dict[str, float]:
    """Bytes per partition-replica of each placement, from a sample of the devices that answer."""
    held = {placement.name: ring.held(placement.name) for placement in ring.placements}
    step = max(1, len(devices) // DEVICES_SAMPLED_MAX)
    chosen = list(devices)[::step][:DEVICES_SAMPLED_MAX]
    found = await asyncio.gather(*(_blob_bytes(ring, devices[number]) for number in chosen))
    totals: dict[str, float] = dict.fromkeys(held, 0.0)
    replicas: dict[str, int] = dict.fromkeys(held, 0)
    for number, by_policy in zip(chosen, found, strict=True):
        for name in held if by_policy is not None else ():
            if name != ROWS:
                totals[name] += (by_policy or {}).get(name, 0)
                replicas[name] += held[name].get(number, 0)
    for answer in report.reports:
        for number, status in answer.devices.items():
            if number in held[ROWS]:
                totals[ROWS] += status.live_bytes
                replicas[ROWS] += held[ROWS][number]
    return {name: totals[name] / replicas[name] if replicas[name] else 0.0 for name in held}


async def _blob_bytes(ring: Ring, device: DeviceClient) -> dict[str, int] | None:
    """Bytes by policy; None where the device does not answer."""
    found: dict[str, int] = {}
    try:
        for first in range(0, ring.partition_count, GROUP_PARTITIONS_MAX):
            count = min(GROUP_PARTITIONS_MAX, ring.partition_count - first)
            for group in await device.group_blobs(ring.salt, ring.part_power, "", first, count):
                found[group.policy] = found.get(group.policy, 0) + group.size_bytes
    except DeviceFault:
        return None
    return found


async def _body(request: web.BaseRequest) -> bytes:
    parts = []
    async for part in request.content.iter_any():
        parts.append(part)
    return b"".join(parts)


def _refused(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


def _bytes(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/octet-stream")


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")

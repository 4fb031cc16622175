"""The network between the processes: the seed says what is lost, late, repeated or out of order.

Row messages go one by one, as the row protocol allows. Blob calls go over streams: what a link loses
there is a broken stream, noticed by both ends some time later.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from storage.contract import BlobReader, BlobWriter, Buffer, Deliver, DeviceClient, DeviceFault
from storage.node import NodeFacts, Progress
from storage.types import (
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    GarbageEntry,
    RowAnswer,
    RowMessage,
)
from tests.sim.virtual_time import Life, owner

T = TypeVar("T")

USUAL_DELAY_S = 0.0015
REPEATED_AFTER_MAX_S = 2.0
"""How much later the second copy of a repeated message arrives at most."""

NOTICED_AFTER_MAX_S = 6.0
"""A broken stream is noticed by its ends within this."""


@dataclass
class Link:
    """One direction between two nodes. Probabilities, and the longest usual delay."""

    cut: bool = False
    loss: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    late_max_s: float = 8.0
    delay_max_s: float = USUAL_DELAY_S


class Host(Protocol):
    """A node, as the network knows it."""

    name: str
    life: Life | None

    def device(self, device_id: int) -> DeviceClient | None:
        """The device as it is served now."""

    def heard_of(self, epoch: int) -> None:
        """A row call of that ring epoch came in."""

    def newer_ring(self, than: int) -> bytes:
        """Its ring's file, b"" where that is not newer than the epoch `than`."""

    progress: Callable[[], Progress]
    """How far its devices are with a ring change."""


class Network:
    """All links. trace: told of everything that is decided here."""

    def __init__(self, rng: random.Random, trace: Callable[..., None]) -> None:
        self._rng = rng
        self._trace = trace
        self.hosts: dict[str, Host] = {}
        self.links: dict[tuple[str, str], Link] = {}

    def add(self, host: Host) -> None:
        """Connect a node with all others."""
        for other in self.hosts:
            self.links[host.name, other] = Link()
            self.links[other, host.name] = Link()
        self.hosts[host.name] = host

    def calm(self) -> None:
        """All links are good again."""
        for pair in self.links:
            self.links[pair] = Link()

    def times(self, source: str, target: str) -> list[float]:
        """When copies of a message arrive, in seconds from now; none where it is lost."""
        link, rng = self.links[source, target], self._rng
        if link.cut or (link.loss and rng.random() < link.loss):
            return []
        late = link.late and rng.random() < link.late
        found = [rng.uniform(0.0001, link.late_max_s if late else link.delay_max_s)]
        if link.repeat and rng.random() < link.repeat:
            found.append(rng.uniform(found[0], REPEATED_AFTER_MAX_S))
        return found

    def post(self, source: str, target: str, arrive: Callable[[Life], None]) -> None:
        """Send a message: `arrive` is called in the life that the target then has, if any."""
        times = self.times(source, target)
        self._trace("post", source, target, times)
        for delay_s in times:
            asyncio.get_running_loop().call_later(delay_s, self._arrived, target, arrive)

    def _arrived(self, target: str, arrive: Callable[[Life], None]) -> None:
        life = self.hosts[target].life
        if life is not None and life.alive:
            life.soon(0.0, lambda: arrive(life))

    def answer(self, source: str, life: Life, arrive: Callable[[], None]) -> None:
        """Send a message to one life alone: what is meant for its predecessor it never sees."""
        times = self.times(source, life.name)
        self._trace("answer", source, life.name, times)
        for delay_s in times:
            life.soon(delay_s, arrive)

    def refuses(self, target: str) -> bool:
        """Whether a caller is told at once that nobody listens there."""
        life = self.hosts[target].life
        return (life is None or not life.alive) and self._rng.random() < 0.8

    def noticed_after_s(self) -> float:
        """When a broken stream is noticed."""
        return self._rng.uniform(0.01, NOTICED_AFTER_MAX_S)


class _Call:
    """One row call that waits for its answer."""

    __slots__ = ("_deliver", "_timer")

    def __init__(self, deliver: Deliver, left_s: float) -> None:
        self._deliver: Deliver | None = deliver
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(left_s, self.settle, Failed(Fault.DEADLINE), b"")

    def settle(self, answer: RowAnswer, payload: bytes) -> None:
        """Deliver the first answer, ignore the others."""
        deliver, self._deliver = self._deliver, None
        if deliver is not None:
            self._timer.cancel()
            deliver(answer, payload)


class RemoteRows:
    """A device of another node for row calls of one ring epoch."""

    local = False

    def __init__(self, network: Network, source: str, target: str, device_id: int, epoch: int) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._epoch = epoch
        self.device_id = device_id

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See RowDevice.send."""
        network, life = self._network, owner()
        if life is None or not life.alive:
            deliver(Failed(Fault.UNREACHABLE, "the process is dead"), b"")
            return
        loop = asyncio.get_running_loop()
        call = _Call(deliver, max(0.0, deadline - loop.time()))
        if network.refuses(self._target):
            life.soon(0.0005, lambda: call.settle(Failed(Fault.UNREACHABLE, "nobody listens"), b""))
            return

        def arrive(there: Life) -> None:
            if loop.time() >= deadline:
                return
            host = network.hosts[self._target]
            device = host.device(self.device_id)
            if device is None:
                answered(Failed(Fault.OFFLINE, "not here"), b"")
            else:
                host.heard_of(self._epoch)
                device.at(self._epoch).send(message, payload, deadline, answered)

        def answered(answer: RowAnswer, body: bytes) -> None:
            there = network.hosts[self._target].life
            if there is not None and there.alive and owner() is there:
                network.answer(self._target, life, lambda: call.settle(answer, body))

        network.post(self._source, self._target, arrive)


async def ask(
    network: Network,
    source: str,
    target: str,
    act: Callable[[Host], Awaitable[T]],
    deadline: float | None = None,
    pinned: Life | None = None,
) -> T:
    """Carry out `act` at another node, over a stream. Raises DeviceFault."""
    life = owner()
    if life is None or not life.alive:
        raise DeviceFault(Fault.UNREACHABLE, "the process is dead")
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    _begin_call(network, source, target, life, act, done, pinned)
    try:
        async with asyncio.timeout_at(deadline):
            return await done
    except TimeoutError:
        raise DeviceFault(Fault.DEADLINE) from None


def _begin_call(
    network: Network,
    source: str,
    target: str,
    life: Life,
    act: Callable[[Host], Awaitable[T]],
    done: "asyncio.Future[T]",
    pinned: Life | None,
) -> None:
    there = network.hosts[target].life
    times = network.times(source, target)
    if there is None or not there.alive or pinned not in (None, there):
        _fail(life, done, 0.001)
        return
    if not times:
        _fail(life, done, network.noticed_after_s())
        return
    here = network.times(target, source)
    there.at_end[done] = lambda: _fail(life, done, network.noticed_after_s())
    done.add_done_callback(lambda _: there.at_end.pop(done, None))

    async def work() -> None:
        result: T | None = None
        error: Exception | None = None
        try:
            result = await act(network.hosts[target])
        except (DeviceFault, ValueError) as raised:
            error = raised
        if here and there.alive:
            life.soon(here[0], lambda: _finish(done, result, error))
        else:
            _fail(life, done, network.noticed_after_s())

    there.soon(times[0], lambda: there.spawn(work()))


class RemoteNode:
    """Another node's process; see NodeClient, of which what is asked here is there."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self._network = network
        self._source = source
        self._target = target

    async def facts(self, deadline: float) -> NodeFacts:
        """See NodeClient.facts."""
        return NodeFacts(self._target, 0, 1, {})

    async def ring(self, newer_than: int, deadline: float) -> bytes:
        """See NodeClient.ring."""

        async def newer(host: Host) -> bytes:
            return host.newer_ring(newer_than)

        return await ask(self._network, self._source, self._target, newer, deadline)

    async def progress(self, deadline: float) -> Progress:
        """See NodeClient.progress."""

        async def how_far(host: Host) -> Progress:
            return host.progress()

        return await ask(self._network, self._source, self._target, how_far, deadline)

    async def report(self, deadline: float) -> bytes:
        """See NodeClient.report."""
        return b""


class RemoteDevice(RemoteRows):
    """A device of another node; see DeviceClient."""

    def __init__(self, network: Network, source: str, target: str, device_id: int) -> None:
        super().__init__(network, source, target, device_id, 0)

    def at(self, epoch: int) -> RemoteRows:
        """See DeviceClient.at."""
        return RemoteRows(self._network, self._source, self._target, self.device_id, epoch)

    async def call(
        self,
        act: Callable[[DeviceClient], Awaitable[T]],
        deadline: float | None = None,
        pinned: Life | None = None,
    ) -> T:
        """Carry out `act` on the device, over a stream. Raises DeviceFault.

        pinned: the one life of the other node in which that makes sense.
        """

        async def on_device(host: Host) -> T:
            device = host.device(self.device_id)
            if device is None:
                raise DeviceFault(Fault.OFFLINE, "not here")
            return await act(device)

        return await ask(self._network, self._source, self._target, on_device, deadline, pinned)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        life = owner()
        writer, there = await self.call(lambda device: _begin(device, header, deadline, life), deadline)
        return _RemoteWriter(self, writer, there)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""

        async def opened(device: DeviceClient) -> tuple[BlobReader, Life | None]:
            return await device.open_blob(name, deadline), owner()

        reader, there = await self.call(opened, deadline)
        return _RemoteReader(self, reader, there)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        await self.call(lambda device: device.delete_blob(name, deadline), deadline)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        return await self.call(lambda device: device.list_blobs(after, limit))

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        return await self.call(lambda device: device.group_blobs(salt, power, policy, first, count))

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        return await self.call(
            lambda device: device.list_group(salt, power, policy, partition, number, after, limit)
        )

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        return await self.call(lambda device: device.list_garbage(after_seq, limit))

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        await self.call(lambda device: device.forget_garbage(seqs))

    def abort(self, writer: BlobWriter, there: Life) -> None:
        """The stream of a blob was given up: its other end notices, sooner or later."""
        if there.alive:
            there.soon(self._network.noticed_after_s(), lambda: there.spawn(_abort(writer)))


async def _begin(
    device: DeviceClient, header: BlobHeader, deadline: float, caller: Life | None
) -> tuple[BlobWriter, Life]:
    """At the device: a writer that is aborted where its caller dies."""
    writer = await device.create_blob(header, deadline)
    there = owner()
    assert there is not None
    if caller is not None:
        caller.at_end[writer] = lambda: there.soon(1.0, lambda: there.spawn(_abort(writer)))
    return writer, there


async def _abort(writer: BlobWriter) -> None:
    await writer.abort()


def _finish(done: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)


def _fail(life: Life, done: "asyncio.Future[Any]", after_s: float) -> None:
    broken = DeviceFault(Fault.UNREACHABLE, "the stream broke")
    life.soon(after_s, lambda: _finish(done, None, broken))


class _RemoteWriter:
    """See BlobWriter. A broken stream aborts the blob at its other end."""

    def __init__(self, device: RemoteDevice, writer: BlobWriter, there: Life) -> None:
        self._device = device
        self._writer = writer
        self._there = there
        self._ended = False

    async def write(self, data: Buffer) -> None:
        held = bytes(data)
        await self._device.call(lambda _: self._writer.write(held), pinned=self._there)

    async def commit(self) -> None:
        await self._device.call(lambda _: self._writer.commit(), pinned=self._there)
        self._end()

    async def abort(self) -> None:
        if not self._ended:
            self._end()
            self._device.abort(self._writer, self._there)

    def _end(self) -> None:
        self._ended = True
        if (life := owner()) is not None:
            life.at_end.pop(self._writer, None)


class _RemoteReader:
    """See BlobReader."""

    def __init__(self, device: RemoteDevice, reader: BlobReader, there: Life | None) -> None:
        self._device = device
        self._reader = reader
        self._there = there
        self.header = reader.header
        self.size_bytes = reader.size_bytes

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        return await self._device.call(lambda _: self._reader.read(offset, length), pinned=self._there)

    def close(self) -> None:
        self._reader.close()

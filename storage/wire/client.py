"""A device behind the node protocol: the DeviceClient contract over one peer's connections.

`Peer` is all that a process holds of another one: the connection for calls and the pool for bulk.
"""

from typing import Any, Final

import msgspec

from runtime.clock import Clock
from runtime.randomness import Randomness
from runtime.tasks import TaskOwner
from storage.contract import BlobReader, BlobWriter, Deliver, DeviceFault
from storage.node import NodeFacts, Progress
from storage.types import (
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Fault,
    GarbageEntry,
    RowMessage,
)
from storage.wire.bulk import BulkPool, WireBlobReader, WireBlobWriter
from storage.wire.connection import Address, Connection
from storage.wire.handshake import Role
from storage.wire.local_files import LocalFiles
from storage.wire.messages import (
    DELETE_BLOB,
    FORGET_GARBAGE,
    GET_NODE,
    GET_PROGRESS,
    GET_REPORT,
    GET_RING,
    GROUP_BLOBS,
    LIST_BLOBS,
    LIST_GARBAGE,
    LIST_GROUP,
    PING,
    ROW,
    STATUS,
    Call,
    DeleteBlob,
    ForgetGarbage,
    GetNode,
    GetProgress,
    GetReport,
    GetRing,
    GroupBlobs,
    ListBlobs,
    ListGarbage,
    ListGroup,
    Ping,
    Pong,
    Status,
    answer_decoder,
    encode,
)

LIST_TIME_S: Final = 30.0
"""How long a list call, or a status, may take."""

FORGET_SEQS_MAX: Final = 65_536
"""The most garbage hints that one message drops; longer lists go in several."""

_decode_row_answer: Final = answer_decoder(ROW).decode
_decode_blobs: Final = msgspec.msgpack.Decoder(list[BlobEntry]).decode
_decode_groups: Final = msgspec.msgpack.Decoder(list[BlobGroup]).decode
_decode_garbage: Final = msgspec.msgpack.Decoder(list[GarbageEntry]).decode


class Peer:
    """Another process that owns devices; a NodeClient."""

    def __init__(
        self,
        address: Address,
        secret: bytes,
        clock: Clock,
        randomness: Randomness,
        tasks: TaskOwner,
        *,
        version: str = "",
    ) -> None:
        self.clock = clock
        self._version = version
        self.calls = Connection(address, secret, clock, randomness, tasks, version=version)
        self.bulk = BulkPool(
            lambda: Connection(address, secret, clock, randomness, tasks, role=Role.BULK, keep=False)
        )

    def start(self) -> None:
        """Begin to connect and stay connected. Needs a running loop."""
        self.calls.start()

    async def ping(self, deadline: float) -> Pong:
        """The peer's release, epoch and devices. Raises DeviceFault."""
        answer, _ = await self.calls.request(PING, 0, Ping(self._version), deadline)
        pong: Pong = answer
        return pong

    async def facts(self, deadline: float) -> NodeFacts:
        """See NodeClient.facts."""
        answer, _ = await self.calls.request(GET_NODE, 0, GetNode(), deadline)
        facts: NodeFacts = answer
        return facts

    async def ring(self, newer_than: int, deadline: float) -> bytes:
        """See NodeClient.ring."""
        data, epoch = b"", None
        while True:
            message = GetRing(newer_than, len(data))
            told, piece = await self.calls.request(GET_RING, 0, message, deadline)
            if epoch is not None and told.epoch != epoch:
                data, epoch = b"", None  # it has a newer one by now: from the beginning
                continue
            epoch = told.epoch
            data += piece
            if len(data) >= told.size_bytes:
                return data
            if not piece:
                raise DeviceFault(Fault.UNREACHABLE, "a piece of the ring is missing")

    async def progress(self, deadline: float) -> Progress:
        """See NodeClient.progress."""
        answer, _ = await self.calls.request(GET_PROGRESS, 0, GetProgress(), deadline)
        progress: Progress = answer
        return progress

    async def report(self, deadline: float) -> bytes:
        """See NodeClient.report."""
        _, report = await self.calls.request(GET_REPORT, 0, GetReport(), deadline)
        return report

    def close(self) -> None:
        """Close all connections; what is outstanding is answered UNREACHABLE. Idempotent."""
        self.calls.close()
        self.bulk.close()


class WireDevice:
    """One device of a peer."""

    local = False

    def __init__(
        self, peer: Peer, device_id: int, files: LocalFiles | None = None, epoch: int = 0
    ) -> None:
        """files: the device's directory, where it is on this host: blob bytes then go through it.

        epoch: of the ring, in which row calls are made; see `at`.
        """
        self.device_id = device_id
        self._epoch = epoch
        self._files = files
        self._peer = peer
        self._calls = peer.calls
        self._clock = peer.clock

    @property
    def near(self) -> bool:
        """Whether the device is on this host."""
        return self._files is not None

    def at(self, epoch: int) -> "WireDevice":
        """See DeviceClient.at."""
        return WireDevice(self._peer, self.device_id, self._files, epoch)

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send."""
        self._calls.call(
            ROW.kind,
            encode((self.device_id, message)),
            payload,
            deadline,
            decode=_decode_row_answer,
            deliver=deliver,
            epoch=self._epoch,
        )

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        if self._files is not None:
            return await self._files.create(self._calls, self.device_id, header, deadline, self._clock)
        return await WireBlobWriter.create(
            self._peer.bulk, self.device_id, header, deadline, self._clock
        )

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""
        if self._files is not None:
            found = await self._files.open(self._calls, self.device_id, name, deadline, self._clock)
            if found is not None:
                return found
        return await WireBlobReader.open(self._peer.bulk, self.device_id, name, deadline, self._clock)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        await self._calls.request(DELETE_BLOB, self.device_id, DeleteBlob(name), deadline)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        found: list[BlobEntry] = []
        more = True
        while more and len(found) < limit:
            message = ListBlobs(after, limit - len(found))
            more, body = await self._listed(LIST_BLOBS, message)
            found += _decoded(_decode_blobs, body)
            after = found[-1].header.name if found else after
        return found

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        message = GroupBlobs(salt, power, policy, first, count)
        _, body = await self._listed(GROUP_BLOBS, message)
        return _decoded(_decode_groups, body)

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        found: list[BlobEntry] = []
        more = True
        while more and len(found) < limit:
            left = limit - len(found)
            message = ListGroup(salt, power, policy, partition, number, after, left)
            more, body = await self._listed(LIST_GROUP, message)
            found += _decoded(_decode_blobs, body)
            after = found[-1].header.name.id if found else after
        return found

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        found: list[GarbageEntry] = []
        more = True
        while more and len(found) < limit:
            message = ListGarbage(after_seq, limit - len(found))
            more, body = await self._listed(LIST_GARBAGE, message)
            found += _decoded(_decode_garbage, body)
            after_seq = found[-1].seq if found else after_seq
        return found

    async def _listed(self, call: Call, message: Any) -> tuple[bool, bytes]:
        listed, body = await self._request(call, message)
        return listed.more, body

    async def _request(self, call: Call, message: Any) -> tuple[Any, bytes]:
        deadline = self._clock.monotonic() + LIST_TIME_S
        return await self._calls.request(call, self.device_id, message, deadline)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        for at in range(0, len(seqs), FORGET_SEQS_MAX):
            await self._request(FORGET_GARBAGE, ForgetGarbage(seqs[at : at + FORGET_SEQS_MAX]))

    async def status(self) -> dict[str, Any]:
        """What the device says of itself. Raises DeviceFault."""
        answer, _ = await self._request(STATUS, Status())
        status: dict[str, Any] = answer.status
        return status


def _decoded(decode: Any, body: bytes) -> list[Any]:
    try:
        entries: list[Any] = decode(body)
    except (ValueError, RecursionError) as error:
        raise DeviceFault(Fault.UNREACHABLE, "undecodable answer") from error
    return entries

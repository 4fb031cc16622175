"""The calls that are neither rows nor blob streams, carried out on one device.

Called by `session.py`, each as a task of its own.
"""

from typing import Any, Protocol, runtime_checkable

import msgspec

from storage.contract import DeviceClient
from storage.types import BlobName
from storage.wire.frames import BODY_MAX_BYTES, Bytes
from storage.wire.messages import (
    ENTRIES_PER_CALL_MAX,
    AdoptBlob,
    DeleteBlob,
    Done,
    ForgetGarbage,
    GroupBlobs,
    ListBlobs,
    Listed,
    ListGarbage,
    ListGroup,
    ReportCorruptBlob,
    StageBlob,
    Status,
    StatusOf,
    encode,
)


@runtime_checkable
class TellsStatus(Protocol):
    """A device that can say how it is."""

    def status(self) -> object:
        """A dataclass, struct or dict of plain values."""


class OwnedBlobs(Protocol):
    """A device's blob store, as clients on the same host use it."""

    async def adopt(self, name: BlobName) -> object:
        """Make a finished staging file a committed blob. Raises DeviceFault."""

    async def report_corrupt(self, name: BlobName, chunk: int | None) -> object:
        """Look at a blob that a client found bad, and set it aside where it is."""


@runtime_checkable
class SharesFiles(Protocol):
    """A device whose files clients on the same host read and stage themselves."""

    @property
    def blobs(self) -> OwnedBlobs:
        """The owner's side of those files."""


async def carry_out(device: DeviceClient, message: Any, deadline: float) -> tuple[Any, Bytes]:
    """The answer to a call and its body. Raises DeviceFault, ValueError."""
    match message:
        case DeleteBlob(name):
            await device.delete_blob(name, deadline)
        case ListBlobs() | ListGarbage() | ListGroup():
            return await _listed(device, message)
        case GroupBlobs(salt, power, policy, first, count):
            groups = await device.group_blobs(salt, power, policy, first, count)
            return Listed(False), encode(groups)
        case ForgetGarbage(seqs):
            await device.forget_garbage(seqs)
        case Status():
            status = device.status() if isinstance(device, TellsStatus) else {}
            return StatusOf(msgspec.to_builtins(status)), b""
        case StageBlob(header):
            await (await device.create_blob(header, deadline)).abort()
        case AdoptBlob() | ReportCorruptBlob():
            await _share(device, message)
    return Done(), b""


async def _listed(
    device: DeviceClient, message: ListBlobs | ListGarbage | ListGroup
) -> tuple[Listed, bytes]:
    """As many entries as fit a frame, at least one where there are any."""
    limit = max(0, min(message.limit, ENTRIES_PER_CALL_MAX))
    entries: list[Any]
    if isinstance(message, ListBlobs):
        entries = list(await device.list_blobs(message.after, limit))
    elif isinstance(message, ListGroup):
        m = message
        entries = await device.list_group(
            m.salt, m.power, m.policy, m.partition, m.number, m.after, limit
        )
    else:
        entries = list(await device.list_garbage(message.after_seq, limit))
    more = len(entries) == limit
    body = encode(entries)
    while len(body) > BODY_MAX_BYTES and len(entries) > 1:
        entries = entries[: len(entries) // 2]
        more = True
        body = encode(entries)
    return Listed(more), body


async def _share(device: DeviceClient, message: AdoptBlob | ReportCorruptBlob) -> None:
    if not isinstance(device, SharesFiles):
        raise ValueError("the device does not share its files")
    if isinstance(message, AdoptBlob):
        await device.blobs.adopt(message.name)
    else:
        await device.blobs.report_corrupt(message.name, message.chunk)

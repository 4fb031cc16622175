"""The fence of a process: row calls of another ring epoch than its own are refused.

A row operation counts the answers of one epoch alone, so a replica must know in which it was asked.
Calls from other processes carry the epoch in their frames (`wire/session.py`); for devices of the same
process this is the check. Blobs are immutable and found at old and new places: they pass.

While a process goes from one epoch to the next its fence is closed: what it took in the old one becomes
durable before it answers anything in the new one, or a newcomer could miss what is acknowledged after
it has pulled (`proxy/cluster/adoption.py`).
"""

from typing import Final

from storage.contract import Deliver, DeviceClient
from storage.types import Failed, Fault, RowMessage

CLOSED: Final = -1
"""The epoch of a closed fence: none."""

REFUSED: Final = Failed(Fault.EPOCH)


class Fence:
    """epoch: the ring epoch in which this process's devices are asked, or CLOSED."""

    __slots__ = ("epoch",)

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch


class FencedDevice:
    """A device of this process behind its fence: a DeviceClient, and row calls by `at`."""

    def __init__(self, device: DeviceClient, fence: Fence) -> None:
        self.device_id = device.device_id
        self.local = device.local
        self.device = device
        self._fence = fence
        self.send = device.send
        self.create_blob = device.create_blob
        self.open_blob = device.open_blob
        self.delete_blob = device.delete_blob
        self.list_blobs = device.list_blobs
        self.group_blobs = device.group_blobs
        self.list_group = device.list_group
        self.list_garbage = device.list_garbage
        self.forget_garbage = device.forget_garbage

    def at(self, epoch: int) -> "EpochDevice":
        """See DeviceClient.at."""
        return EpochDevice(self.device, self._fence, epoch)


class EpochDevice:
    """Row calls of one epoch to a device of this process."""

    __slots__ = ("_epoch", "_fence", "_send", "device_id", "local")

    def __init__(self, device: DeviceClient, fence: Fence, epoch: int) -> None:
        self.device_id = device.device_id
        self.local = device.local
        self._send = device.send
        self._fence = fence
        self._epoch = epoch

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send; Failed(EPOCH) unless the process is in this epoch."""
        if self._fence.epoch == self._epoch:
            self._send(message, payload, deadline, deliver)
        else:
            deliver(REFUSED, b"")

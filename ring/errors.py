"""What can go wrong with a ring: bad input, a bad file, a change that no longer fits.

Every error carries one sentence for the operator. Foreign errors (OSError, struct.error) are mapped
to these in `ring.file` and `ring.draft`.
"""

from runtime.errors import AtollError


class RingError(AtollError):
    """Base of all errors of this package."""


class InvalidDevice(RingError):
    """A device's field is out of its limits."""


class InvalidPlacement(RingError):
    """A placement's name, replica count or class is out of its limits."""


class InvalidChange(RingError):
    """A change that the ring can't take; nothing was changed."""


class UnknownDevice(RingError):
    """No device of this id is in the ring."""

    def __init__(self, device_id: int) -> None:
        super().__init__(f"the ring has no device {device_id}")
        self.device_id = device_id


class UnknownPlacement(RingError):
    """No placement of this name is in the ring."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the ring has no placement {name!r}")
        self.name = name


class UnknownPartition(RingError):
    """A partition number outside 0 … 2^part_power - 1."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"the ring has no partition {partition}")
        self.partition = partition


class NotEnoughDevices(RingError):
    """A placement has no device with weight to put its replicas on."""


class StalePlan(RingError):
    """A plan or draft was made for another epoch of the ring."""

    def __init__(self, what: str, made_for_epoch: int, ring_epoch: int) -> None:
        super().__init__(
            f"the {what} was made for epoch {made_for_epoch}, the ring is at epoch {ring_epoch}"
        )
        self.made_for_epoch = made_for_epoch
        self.ring_epoch = ring_epoch


class RingFileError(RingError):
    """Base of what is wrong with the bytes of a ring or draft file."""


class RingFileMissing(RingFileError):
    """There is no such file."""


class NotARing(RingFileError):
    """The bytes don't begin as a ring file does."""


class RingVersionUnknown(RingFileError):
    """A ring file of a version that this build can't read."""

    def __init__(self, version: int) -> None:
        super().__init__(f"ring file version {version} is not known to this build of atoll")
        self.version = version


class RingTruncated(RingFileError):
    """The file is shorter than its header says."""


class RingCorrupt(RingFileError):
    """The checksum or a field of the file is wrong."""

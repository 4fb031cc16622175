"""The domain errors of the store. Each front end maps every one of them in one exhaustive table.

Errors carry fields, not prose for users; the front ends speak. What is not here is a programmer's
error and becomes a 500 without text.
"""


class StoreError(Exception):
    """Base of all domain errors. `detail` may be shown to the client."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


# -- not there ---------------------------------------------------------------------------------


class NoSuchContainer(StoreError):
    """The account has no such container (bucket)."""


class NoSuchObject(StoreError):
    """The container has no such object."""


class NoSuchUpload(StoreError):
    """No such multipart upload: never begun, completed or aborted."""


# -- conflicts ---------------------------------------------------------------------------------


class ContainerExists(StoreError):
    """The container exists and belongs to the caller's account."""


class BucketNameTaken(StoreError):
    """The bucket name belongs to another account."""


class ContainerNotEmpty(StoreError):
    """A container with objects cannot be deleted."""


class PolicyConflict(StoreError):
    """The container exists with another storage policy."""


class Conflict(StoreError):
    """A concurrent conditional change got in the way; the caller may try again."""


# -- conditions --------------------------------------------------------------------------------


class PreconditionFailed(StoreError):
    """A condition of the request does not hold. `condition` names it."""

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


class RangeNotSatisfiable(StoreError):
    """The range begins beyond the object's end."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"object has {size_bytes} bytes")
        self.size_bytes = size_bytes


# -- bad input ---------------------------------------------------------------------------------


class InvalidName(StoreError):
    """A container's or object's name breaks the rules (empty, NUL in a container, not UTF-8, ...)."""


class NameTooLong(StoreError):
    """A name is longer than its limit."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes, at most {max_bytes}")
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class MetadataTooLarge(StoreError):
    """User metadata exceed their limit."""


class UnknownPolicy(StoreError):
    """No storage policy of that name."""


class ObjectTooLarge(StoreError):
    """The object, part or manifest exceeds its limit."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes, at most {max_bytes}")
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class IncompleteBody(StoreError):
    """The body ended before its announced length, or the client went away."""


class SlowBody(StoreError):
    """The client did not send the next bytes of its body in time."""


class BadDigest(StoreError):
    """The body does not match the digest sent with it. `digest` names it (md5, sha256, crc32c ...)."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class InvalidPart(StoreError):
    """A part named in a complete request was not uploaded, or has another ETag or checksum."""


class InvalidPartOrder(StoreError):
    """The parts of a complete request are not in ascending order."""


class PartTooSmall(StoreError):
    """A part other than the last is below the minimum size."""

    def __init__(self, number: int, size_bytes: int, min_bytes: int) -> None:
        super().__init__(f"part {number} has {size_bytes} bytes, at least {min_bytes}")
        self.number = number
        self.size_bytes = size_bytes
        self.min_bytes = min_bytes


class BadReference(StoreError):
    """A segment that a manifest names is missing, changed, or nested too deeply."""


# -- the store cannot, for now -----------------------------------------------------------------


class Unavailable(StoreError):
    """No majority answered, or the outcome of a write is unknown; the caller may try again."""


class Full(StoreError):
    """Too few devices have room for the write; nothing was stored."""


class Overloaded(StoreError):
    """Too much work is under way; the caller should slow down."""


class Damaged(StoreError):
    """Too few good copies or fragments of the object's data are left to answer with verified bytes."""


class NotSupported(StoreError):
    """What was asked is not there yet."""

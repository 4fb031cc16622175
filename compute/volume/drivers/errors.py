"""What drivers raise."""


class NoSuchVolume(Exception):
    """There is no such volume or snapshot."""


class Busy(Exception):
    """Someone else uses it."""


class Fenced(Exception):
    """Another writer has taken the volume over; this one's writes count no more."""


class NoRoom(OSError):
    """The backend is full. Made with ENOSPC, which clients of an export are told."""


class BadSource(Exception):
    """What the volume was to be made of can't be used. The text says why, for the user."""

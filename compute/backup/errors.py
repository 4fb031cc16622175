"""What can go wrong with a copy."""


class Damaged(Exception):
    """What was read is not what was written: bytes are missing or changed, or the key is another."""


class TakenOver(Exception):
    """The copy was deleted or is made by another process; this one must write nothing more."""


class NoSuchCopy(Exception):
    """There is no whole copy of that name."""

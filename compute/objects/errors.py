"""What can go wrong with the object store."""


class NoSuchObject(Exception):
    """There is no such object or container."""


class Exists(Exception):
    """It was to be made where nothing is, and something is there."""


class StoreAway(Exception):
    """The store can't be reached, or can't do it now. Try again later; it may have been done."""


class StoreRefused(Exception):
    """The store said no, and will say so again. status: its answer's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the object store answered {status}: {reason}")
        self.status = status
        self.reason = reason

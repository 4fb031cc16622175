"""What a worker offers the processes of other nodes beside its devices (`storage.node.NodeService`)."""

from collections.abc import Callable

from storage.fence import Fence
from storage.node import NodeFacts, Progress


class WorkerService:
    """Answers from memory. Whoever wires the worker sets the parts as they come to be.

    ring: the adopted ring's file. newer, progress and report are called for each question.
    """

    def __init__(self, me: NodeFacts, fence: Fence) -> None:
        self._me = me
        self._fence = fence
        self.ring = b""
        self.newer: Callable[[], None] = lambda: None
        self.how_far: Callable[[], Progress] = lambda: Progress(self._fence.epoch)
        self.own_report: Callable[[], bytes] = lambda: b""

    @property
    def epoch(self) -> int:
        """See NodeService.epoch."""
        return self._fence.epoch

    def facts(self) -> NodeFacts:
        """See NodeService.facts."""
        return self._me

    def ring_bytes(self) -> bytes:
        """See NodeService.ring_bytes."""
        return self.ring

    def progress(self) -> Progress:
        """See NodeService.progress."""
        return self.how_far()

    def report(self) -> bytes:
        """See NodeService.report."""
        return self.own_report()

    def heard_of_newer(self) -> None:
        """See NodeService.heard_of_newer."""
        self.newer()

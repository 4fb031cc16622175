"""repolicy: rewrites a container's objects to the policy that it was given, one after the other.

The container's row names the new policy at once, so new objects go there. It also says how far the
rewriting is: whoever finds it goes on from there. A pass goes over all names; it is the last one if it
found nothing to rewrite, began when no process could remember the old policy any more
(`containers.CONTAINER_FRESH_S`), and no upload under way has another one. A PUT that began before and
ended after that says so itself (`Containers.wants_repolicy`). Uploads may stay open for weeks, and
objects unreadable for ever: after a pass that met such the next one waits for a while.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from proxy.core.containers import CONTAINER_FRESH_S
from proxy.core.deletion import OPEN
from proxy.core.errors import Damaged, NoSuchContainer, ObjectTooLarge
from proxy.core.listing import list_rows
from proxy.core.resharding import ContainerRow, Resharding
from proxy.core.rows import Rows, SealedShard
from proxy.core.shard_scan import ShardScan
from proxy.core.shards import uploads_shard
from proxy.core.types import ContainerHead, ListQuery, Policy, Repolicy, UploadHead
from proxy.repair.container_walk import ContainerWalk, FoundContainer, Turns
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.rewrite import Rewriter
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from storage.types import RowFlag, Scan, ScannedRow

NAMES_PER_UNIT: Final = 200

TURN_S: Final = 120.0
"""A container in which nothing happens for so long is gone on with by the next replica's process."""

SETTLE_S: Final = 2 * CONTAINER_FRESH_S
"""A pass that begins so long after the change meets all that was written under the old policy."""

BLOCKED_S: Final = 600.0
"""The next pass waits so long where this one could change nothing about why it is not the last."""

FAILURES_MAX: Final = 3
"""A container that failed so often in a row is left for a later round: others wait."""

_decode_upload = msgspec.msgpack.Decoder(UploadHead).decode


def begun(head: ContainerHead, policy: str, now_ns: int) -> ContainerHead:
    """The head after its policy was changed, or asked for again: all objects are looked at."""
    return msgspec.structs.replace(head, policy=policy, repolicy=Repolicy(now_ns, now_ns))


def gone_over(head: ContainerHead, repolicy: Repolicy, now_ns: int, *, alone: bool) -> ContainerHead:
    """The head after a whole pass. alone: no upload under way has another policy."""
    settled = repolicy.begun_ns >= repolicy.since_ns + int(SETTLE_S * 1e9)
    if repolicy.clean and settled and alone:
        return msgspec.structs.replace(head, repolicy=None)
    blocked = repolicy.failed > 0 or (repolicy.clean and settled)
    next_ns = now_ns + int(BLOCKED_S * 1e9) if blocked else now_ns
    again = msgspec.structs.replace(
        repolicy, begun_ns=next_ns, passes=repolicy.passes + 1, marker="", clean=True, failed=0
    )
    return msgspec.structs.replace(head, repolicy=again)


class Repolicier:
    """Rewrites the objects of containers whose rows this process holds."""

    name = "repolicy"

    def __init__(
        self,
        rows: Rows,
        containers: Resharding,
        rewriter: Rewriter,
        policy: Callable[[str], Policy],
        walk: ContainerWalk,
        clock: Clock,
        pace: Pace,
    ) -> None:
        """policy: finds a policy by its name, or raises UnknownPolicy."""
        self.pace = pace
        self._rows = rows
        self._scan = ShardScan(rows)
        self._containers = containers
        self._rewriter = rewriter
        self._policy = policy
        self._walk = walk
        self._clock = clock
        self._turns = Turns(clock, TURN_S)
        self._found: deque[FoundContainer] = deque()
        self._row: ContainerRow | None = None
        self._tally = Tally(clock)
        self._failures = 0
        self._rewritten = 0
        self._failed = 0

    def ask(self, row: ContainerRow) -> None:
        """Go on with this container first."""
        self._row = row

    async def work(self) -> Worked:
        """A page of names of a container, or a look for one."""
        if self._row is not None:
            return await self._go_on(self._row)
        if not self._found:
            page = await self._walk.page()
            if page is None:
                return Worked.IDLE
            self._found.extend(page)
            return Worked.BUSY
        found = self._found.popleft()
        if found.head.repolicy is None or found.head.state != OPEN:
            self._turns.forget(found)
        elif self._turns.mine(found) and self._due(found.head.repolicy):
            await self._take(found.row)
        return Worked.BUSY

    def status(self) -> WorkerStatus:
        """See Worker."""
        name = self._row.name.decode() if self._row is not None else ""
        doing = f"container {name}: rewriting its objects" if name else "looking for containers"
        counts = {"objects_rewritten": self._rewritten, "objects_not_rewritten": self._failed}
        return self._tally.status(self.name, doing, counts)

    def _due(self, repolicy: Repolicy) -> bool:
        """The first pass begins at once; a later one at its time, and once it can be the last."""
        if repolicy.passes == 0 or repolicy.marker != "":
            return True
        settled_ns = repolicy.since_ns + int(SETTLE_S * 1e9)
        return self._clock.now_ns() >= max(settled_ns, repolicy.begun_ns)

    async def _take(self, row: ContainerRow) -> None:
        self._row = row
        head = await self._containers.read(row)
        counts = [await self._rows.count(shard) for shard in head.layout.all_shards()]
        self._tally.begin(sum(c.rows for c in counts), sum(c.size_bytes for c in counts))

    async def _go_on(self, row: ContainerRow) -> Worked:
        """A unit of a container's pass. What fails for now is tried again from the marker."""
        try:
            head = await self._containers.read(row)
            if head.repolicy is None or head.state != OPEN or not self._due(head.repolicy):
                self._row = None
                return Worked.BUSY
            await self._page(row, head, head.repolicy)
        except NoSuchContainer:
            self._row = None
        except SealedShard:
            return Worked.THROTTLED
        except Exception:
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                self._row, self._failures = None, 0
            raise
        self._failures = 0
        return Worked.BUSY

    async def _page(self, row: ContainerRow, head: ContainerHead, repolicy: Repolicy) -> None:
        async def successors(shard: bytes) -> list[bytes]:
            return (await self._containers.read(row)).layout.successors(shard)

        def entry(scanned: ScannedRow) -> ScannedRow:
            return scanned

        now_ns = self._clock.now_ns()
        query = ListQuery(marker=repolicy.marker, limit=NAMES_PER_UNIT)
        shards = head.layout.all_shards()
        listed = await list_rows(self._scan, shards, query, entry, successors=successors)
        rewritten = failed = size_bytes = 0
        for scanned in listed.entries:
            if isinstance(scanned, str):
                continue
            if scanned.flags & RowFlag.BLOBS:
                done = await self._object(row, scanned.name, head.policy)
                rewritten, size_bytes = rewritten + (done > 0), size_bytes + max(0, done)
                failed += done < 0
            self._tally.did(1, scanned.size)
        progress = msgspec.structs.replace(
            repolicy,
            begun_ns=repolicy.begun_ns if repolicy.marker else now_ns,
            marker=listed.next_marker,
            objects=repolicy.objects + rewritten,
            size_bytes=repolicy.size_bytes + size_bytes,
            clean=repolicy.clean and not rewritten and not failed,
            failed=repolicy.failed + failed,
        )
        alone = listed.next_marker == "" and await self._no_other_uploads(head)
        await self._note(row, head.policy, repolicy, progress, alone=alone)

    async def _object(self, row: ContainerRow, name: bytes, policy: str) -> int:
        """Rewrite an object, a few blobs at a time. Bytes rewritten; -1 where it can't be."""
        total = 0
        try:
            while True:
                done = await self._rewriter.step(row, name, self._policy(policy), self._spend)
                total += done.size_bytes
                if done.over:
                    break
        except (Damaged, ObjectTooLarge):
            self._failed += 1
            return -1
        self._rewritten += total > 0
        return total

    async def _spend(self, size_bytes: int) -> None:
        await self.pace.spend(0.0, size_bytes)

    async def _no_other_uploads(self, head: ContainerHead) -> bool:
        shard, start, more = uploads_shard(head.id), b"", True
        while more:
            page = await self._scan.page(Scan(shard, start, b"", 1000))
            if any(_decode_upload(upload.head).policy != head.policy for upload in page.rows):
                return False
            start, more = page.covered_to, page.covered_to != b""
        return True

    async def _note(
        self, row: ContainerRow, policy: str, seen: Repolicy, progress: Repolicy, *, alone: bool
    ) -> None:
        """Write down how far it is; what another process has noted meanwhile stays."""
        now_ns = self._clock.now_ns()

        def step(head: ContainerHead) -> ContainerHead:
            there = head.repolicy
            if there is None or head.policy != policy or there.since_ns != seen.since_ns:
                return head
            if (there.passes, there.marker) != (seen.passes, seen.marker):
                return head
            noted = msgspec.structs.replace(progress, clean=progress.clean and there.clean)
            if not noted.marker:
                return gone_over(head, noted, now_ns, alone=alone)
            return msgspec.structs.replace(head, repolicy=noted)

        await self._containers.update(row, step)

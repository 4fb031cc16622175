"""rebalance: moves home what is on a device where the ring does not place it.

After a ring change the former home still has its blobs, and a handoff device has those that it took in
another's place. Each is copied first, verified and committed at its home, and only then deleted here;
a blob is never on fewer devices than before. What is home already is only deleted here. Where the ring
has changed since the move began nothing is deleted: its home may be here again. Nor is it before the
home's process is in our epoch: in another one it might take our copy for the one at home, and delete
its own. What it did in an earlier one is done by then.

Blobs of a policy that the ring has not belong nowhere: they are counted, and nobody waits for them.

Doubling the partitions moves nothing: each half has the devices that the whole had.
"""

from typing import Final, NamedTuple

from proxy.core.asking import ASK_TIME_S, told
from proxy.core.blobs import BLOB_DEADLINE_S
from proxy.core.placement import Placement
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.copies import Copies, whole
from proxy.repair.rebuild import Rings
from proxy.repair.seats import Seat, seat_of
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.errors import UnknownPlacement
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import BlobReader, DeviceClient, DeviceFault
from storage.types import GROUP_PARTITIONS_MAX, BlobEntry, BlobGroup, Fault, Read, Row, Want

UNITS_PER_SURVEY: Final = 64
"""A survey of a device goes through its partitions in so many pieces, if they are not too large."""

MOVES_AT_ONCE: Final = 4

PAGE: Final = 256
"""Blobs listed at a time: each listing that follows a change costs the device a look at all it has."""

LOOK_AGAIN_S: Final = 60.0


ANY_ROW: Final = Read(b"", b"", Want.VERSION)
"""A row that never is: what counts is in which epoch it is asked for."""


class Astray(NamedTuple):
    """What is away from home on one device, as of a ring epoch. epoch -1: not known yet."""

    epoch: int
    blobs: int
    size_bytes: int


UNKNOWN: Final = Astray(-1, 0, 0)


def home_of(ring: Ring, group: BlobGroup) -> int | None:
    """The device where the ring places a group's blobs; None for a policy or number that it has not."""
    try:
        homes = ring.devices(group.policy, group.partition)
    except UnknownPlacement:
        return None
    return homes[group.number] if group.number < len(homes) else None


class Rebalancer:
    """Moves home what is astray on one device of this process."""

    name = "rebalance"

    def __init__(
        self,
        device: DeviceClient,
        rings: Rings,
        placement: Placement,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self._device = device
        self._rings = rings
        self._placement = placement
        self._clock = clock
        self._tally = Tally(clock)
        self._copies = Copies(clock, pace, self._tally)
        self._ring: Ring | None = None
        self._surveyed = 0
        self._groups: list[BlobGroup] = []
        self._after = b""
        self._page: list[BlobEntry] = []
        self._held_up = self._held_up_bytes = 0
        self.astray = UNKNOWN
        """As of the last survey, less what was moved since."""
        self.moved = 0
        """Copies and fragments moved home so far."""
        self._homeless = self._failed = 0
        self._last_fault = ""

    def status(self) -> WorkerStatus:
        """See Worker."""
        counts = {
            "blobs_moved": self.moved,
            "moves_failed": self._failed,
            "blobs_homeless": self._homeless,
        }
        scope = f"d{self._device.device_id}"
        return self._tally.status(self.name, self._doing(), counts, scope=scope)

    def _doing(self) -> str:
        if self._groups:
            return "moving blobs home"
        if self._held_up:
            return f"{self._held_up} blobs could not be moved home: {self._last_fault}"
        if self._homeless:
            return f"what is of no policy of the ring stays here, blobs: {self._homeless}"
        return "all blobs are at home"

    async def work(self) -> Worked:
        """A piece of the survey, or a few blobs moved."""
        ring = self._rings()
        if self._ring is None or ring.epoch != self._ring.epoch:
            self._begin(ring)
        if self._surveyed < ring.partition_count:
            await self._survey(ring)
            return Worked.BUSY
        if self._groups:
            await self._move_some(ring, self._groups[-1])
            return Worked.BUSY
        self._ring = None
        return Worked.THROTTLED if self._held_up else Worked.IDLE

    # -- what is astray --------------------------------------------------------------------------

    def _begin(self, ring: Ring) -> None:
        self._ring = ring
        self._surveyed = self._homeless = self._held_up = self._held_up_bytes = 0
        self._groups, self._page, self._after = [], [], b""
        self._tally.begin(0, 0)

    async def _survey(self, ring: Ring) -> None:
        piece = max(16, min(GROUP_PARTITIONS_MAX, ring.partition_count // UNITS_PER_SURVEY))
        count = min(piece, ring.partition_count - self._surveyed)
        try:
            groups = await self._device.group_blobs(
                ring.salt, ring.part_power, "", self._surveyed, count
            )
        except DeviceFault as fault:
            if fault.fault is Fault.OFFLINE:  # nothing can come from it: nobody is to wait for it
                self.astray = Astray(ring.epoch, 0, 0)
            raise
        self._surveyed += count
        for group in groups:
            home = home_of(ring, group)
            if home is None:
                self._homeless += group.blobs
            elif home != self._device.device_id:
                self._groups.append(group)
                self._tally.found(group.blobs, group.size_bytes)
        if self._surveyed >= ring.partition_count:
            self._tell(ring)

    def _tell(self, ring: Ring) -> None:
        blobs = (self._tally.left or 0) + self._held_up
        size_bytes = (self._tally.left_bytes or 0) + self._held_up_bytes
        self.astray = Astray(ring.epoch, blobs, size_bytes)

    # -- moving ----------------------------------------------------------------------------------

    async def _move_some(self, ring: Ring, group: BlobGroup) -> None:
        seat = seat_of(group)
        if not self._page:
            self._page = await self._listed(ring, seat)
        some, self._page = self._page[:MOVES_AT_ONCE], self._page[MOVES_AT_ONCE:]
        await together(self._try_move(ring, seat, entry) for entry in some)
        if not self._page and not self._after:
            self._groups.pop()
        self._tell(ring)

    async def _listed(self, ring: Ring, seat: Seat) -> list[BlobEntry]:
        """The next page of a group's blobs; `_after` is b"" behind the last one."""
        page = await self._device.list_group(
            ring.salt, ring.part_power, seat.policy, seat.partition, seat.number, self._after, PAGE
        )
        self._after = page[-1].header.name.id if len(page) == PAGE else b""
        return page

    async def _try_move(self, ring: Ring, seat: Seat, entry: BlobEntry) -> None:
        home_id = ring.devices(seat.policy, seat.partition)[seat.number]
        home = self._placement.devices.get(home_id)
        try:
            if home is None:
                raise DeviceFault(Fault.UNREACHABLE, f"device {home_id} is not known here")
            await self._require_arrived(home, ring)
            if await self._is_home(home, entry):
                self._require_unchanged(ring)
                await self._delete(entry)
        except DeviceFault as fault:
            self._last_fault = f"d{home_id}: {fault}"
            self._failed += 1
            self._held_up += 1
            self._held_up_bytes += entry.size_bytes
            self._tally.dropped(1, entry.size_bytes)
        else:
            self.moved += 1
            self._tally.did(1, 0)

    async def _require_arrived(self, home: DeviceClient, ring: Ring) -> None:
        """Raise DeviceFault unless the home's process is in this epoch: no other answers for rows."""
        await told(self._clock, ASK_TIME_S, home.at(ring.epoch), ANY_ROW, Row)

    def _require_unchanged(self, ring: Ring) -> None:
        """Raise DeviceFault where there is another ring by now: the next survey goes by that."""
        if self._rings().epoch != ring.epoch:
            raise DeviceFault(Fault.EPOCH, "the ring has changed meanwhile")

    async def _delete(self, entry: BlobEntry) -> None:
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S
        await self._device.delete_blob(entry.header.name, deadline)

    async def _is_home(self, home: DeviceClient, entry: BlobEntry) -> bool:
        """Copy a blob home, unless it is there; False where there is none. Raises DeviceFault."""
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S
        try:
            reader = await self._device.open_blob(entry.header.name, deadline)
        except DeviceFault as fault:
            if fault.fault is Fault.ABSENT:
                return False  # the collector was faster
            raise
        try:
            await self._copy(home, reader)
        except ValueError:
            await self._check_home(home, reader)
            self._tally.dropped(0, entry.size_bytes)
        finally:
            reader.close()
        return True

    async def _copy(self, home: DeviceClient, reader: BlobReader) -> None:
        await self._copies.make(home, reader.header, whole(reader))

    async def _check_home(self, home: DeviceClient, mine: BlobReader) -> None:
        """Raise DeviceFault unless the home has committed this very blob: it may be on its way only."""
        deadline = self._clock.monotonic() + BLOB_DEADLINE_S
        theirs = await home.open_blob(mine.header.name, deadline)
        theirs.close()
        if (theirs.header, theirs.size_bytes) != (mine.header, mine.size_bytes):
            raise DeviceFault(Fault.CORRUPT, "its home has another blob of this name")

"""rebuild: finds the blobs that a device should hold and does not, and makes them from the others.

One worker per device pulls what its own device lacks, so after the loss of a device all the new homes
work at the same time, each from all the others.

A round first compares, seat by seat, count and digest with the other seats' devices: from that comes
what is left and when it will be done. Then it lists the seats that differ. A blob that is missing is
made only when its owner's row, read by quorum, names it: else what was just deleted would come back.
What the seat's former home still has is left to the rebalancing there, which has it to copy only.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from proxy.core.blobs import Blobs, Owner
from proxy.core.errors import StoreError
from proxy.core.owners import UNPROVABLE, Named, Owners, owner_of
from proxy.core.placement import Placement
from proxy.core.types import Blob
from proxy.repair.contract import Worked, WorkerStatus
from proxy.repair.copies import Copies
from proxy.repair.seats import Lack, Seat, former_home, lack, runs, seat_of, seats_of
from proxy.repair.tally import Tally
from proxy.repair.throttle import Pace
from ring.lookup import Ring
from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import Buffer, DeviceClient, DeviceFault
from storage.types import BlobEntry, BlobGroup, BlobHeader, BlobName, Fault

SEATS_PER_UNIT: Final = 256
"""Seats compared in one unit of work."""

BLOBS_PER_UNIT: Final = 16
"""Blobs made in one unit of work."""

COPIES_AT_ONCE: Final = 4
"""Blobs of one device under way: each holds a few segments in memory."""

QUESTIONS_AT_ONCE: Final = 16

PAGE: Final = 500
"""Blobs listed at a time."""

LACKING_MAX: Final = 5_000
"""Blobs of one seat that are noted at a time; when they are dealt with, the listing goes on."""

SETTLE_S: Final = 60.0
"""A blob younger than this may still be on its way to its devices."""

LOOK_AGAIN_S: Final = 300.0

Rings = Callable[[], Ring]
"""The present ring."""

_Groups = dict[int, dict[Seat, BlobGroup]]
"""By device id."""


class _Missing(NamedTuple):
    """A blob that the device should hold: as another seat has it."""

    entry: BlobEntry
    seat: Seat

    @property
    def header(self) -> BlobHeader:
        name = BlobName(self.entry.header.name.id, self.seat.number)
        return msgspec.structs.replace(self.entry.header, name=name)


class Rebuilder:
    """Rebuilds what one device of this process lacks."""

    name = "rebuild"

    def __init__(
        self,
        device: DeviceClient,
        rings: Rings,
        placement: Placement,
        blobs: Blobs,
        owners: Owners,
        clock: Clock,
        pace: Pace,
        settle_s: float = SETTLE_S,
    ) -> None:
        """blobs: one that reports no losses: this worker is what finds them."""
        self.pace = pace
        self._device = device
        self._rings = rings
        self._placement = placement
        self._blobs = blobs
        self._owners = owners
        self._clock = clock
        self._settle_s = settle_s
        self._tally = Tally(clock)
        self._copies = Copies(clock, pace, self._tally)
        self._ring: Ring | None = None
        self._seats: list[Seat] = []
        self._compared = 0
        self._lacks: list[Lack] = []
        self._missing: list[_Missing] = []
        self._held_up = 0
        self.rebuilt = 0
        """Copies and fragments made so far."""
        self._unnamed = self._failed = self._unasked = 0
        self._last_fault = ""

    def status(self) -> WorkerStatus:
        """See Worker."""
        counts = {
            "blobs_rebuilt": self.rebuilt,
            "blobs_unnamed": self._unnamed,
            "rebuilds_failed": self._failed,
            "seats_unasked": self._unasked,
        }
        scope = f"d{self._device.device_id}"
        return self._tally.status(self.name, self._doing(), counts, scope=scope)

    def _doing(self) -> str:
        if self._lacks or self._missing:
            doing = "making what is missing from the other copies"
            return f"{doing}; some could not be made: {self._last_fault}" if self._held_up else doing
        if self._compared < len(self._seats):
            return f"comparing partitions, {self._compared} of {len(self._seats)}"
        if self._held_up:
            return f"{self._held_up} blobs could not be made: {self._last_fault}"
        return "nothing is missing"

    async def work(self) -> Worked:
        """A batch of seats compared, or a few blobs made."""
        ring = self._rings()
        if self._ring is None or ring.epoch != self._ring.epoch:
            self._begin(ring)
        if self._compared < len(self._seats):
            await self._compare(ring, self._seats[self._compared : self._compared + SEATS_PER_UNIT])
            self._compared += SEATS_PER_UNIT
            return Worked.BUSY
        if len(self._missing) < BLOBS_PER_UNIT and self._lacks:
            await self._list(ring, self._lacks.pop())
            return Worked.BUSY
        if self._missing:
            await self._make_some()
            return Worked.BUSY
        self._ring = None
        return Worked.THROTTLED if self._held_up else Worked.IDLE

    def _begin(self, ring: Ring) -> None:
        self._ring = ring
        self._seats = seats_of(ring, self._device.device_id)
        self._compared = 0
        self._lacks, self._missing = [], []
        self._held_up = 0
        self._tally.begin(0, 0)

    # -- comparing -------------------------------------------------------------------------------

    async def _compare(self, ring: Ring, seats: list[Seat]) -> None:
        """Note what each of some seats may lack."""
        wanted: dict[int, set[int]] = {self._device.device_id: {seat.partition for seat in seats}}
        for seat in seats:
            for device_id in ring.devices(seat.policy, seat.partition):
                wanted.setdefault(device_id, set()).add(seat.partition)
        groups = await self._ask_all(ring, wanted)
        mine = groups.get(self._device.device_id)
        if mine is None:
            raise DeviceFault(Fault.OFFLINE, "the device does not tell what it holds")
        for seat in seats:
            homes = ring.devices(seat.policy, seat.partition)
            others = {
                number: groups[home].get(seat._replace(number=number))
                for number, home in enumerate(homes)
                if number != seat.number and home in groups
            }
            self._unasked += len(homes) - 1 - len(others)
            found = lack(seat, mine.get(seat), others)
            if found is not None:
                self._lacks.append(found)
                self._tally.found(found.blobs, found.size_bytes)

    async def _ask_all(self, ring: Ring, wanted: dict[int, set[int]]) -> _Groups:
        """The groups of those devices that answer."""
        limit = asyncio.Semaphore(QUESTIONS_AT_ONCE)

        async def ask(device_id: int, partitions: Iterable[int]) -> dict[Seat, BlobGroup] | None:
            async with limit:
                return await self._try_groups(ring, device_id, partitions)

        found = await together(ask(device_id, sorted(of)) for device_id, of in wanted.items())
        return {
            device_id: groups
            for device_id, groups in zip(wanted, found, strict=True)
            if groups is not None
        }

    async def _try_groups(
        self, ring: Ring, device_id: int, partitions: Iterable[int]
    ) -> dict[Seat, BlobGroup] | None:
        device = self._client(device_id)
        if device is None:
            return None
        found: dict[Seat, BlobGroup] = {}
        try:
            for first, length in runs(partitions):
                groups = await device.group_blobs(ring.salt, ring.part_power, "", first, length)
                found.update((seat_of(group), group) for group in groups)
        except DeviceFault:
            return None
        return found

    def _client(self, device_id: int) -> DeviceClient | None:
        if device_id == self._device.device_id:
            return self._device
        return self._placement.devices.get(device_id)

    # -- listing ---------------------------------------------------------------------------------

    async def _list(self, ring: Ring, found: Lack) -> None:
        """Note the blobs that a seat lacks. The estimate gives way to what is really missing."""
        self._tally.dropped(found.blobs, found.size_bytes)
        seat = found.seat
        held = {entry.header.name.id async for entry in self._listed(ring, self._device, seat)}
        source = former_home(ring, seat)
        if source is not None and source != self._device.device_id:
            coming = self._listed(ring, self._client(source), seat)
            held |= {entry.header.name.id async for entry in coming}
        before_ns = self._clock.now_ns() - int(self._settle_s * 1e9)
        homes = ring.devices(seat.policy, seat.partition)
        for at, number in enumerate(found.others):
            there = self._listed(
                ring,
                self._client(homes[number]),
                seat._replace(number=number),
                found.after if at == 0 else b"",
            )
            async for entry in there:
                blob_id = entry.header.name.id
                if blob_id not in held and entry.header.created_ns <= before_ns:
                    held.add(blob_id)
                    self._missing.append(_Missing(entry, seat))
                    self._tally.found(1, entry.size_bytes)
                if len(self._missing) >= LACKING_MAX:
                    # For the rest. Behind this one: what can't be made must not be met for ever.
                    self._lacks.append(Lack(seat, 0, 0, found.others[at:], blob_id))
                    return

    async def _listed(
        self, ring: Ring, device: DeviceClient | None, seat: Seat, after: bytes = b""
    ) -> AsyncGenerator[BlobEntry, None]:
        """The blobs of a seat behind an id; none of a device that does not answer."""
        if device is None:
            return
        while True:
            try:
                page = await device.list_group(ring.salt, ring.part_power, *_words(seat), after, PAGE)
            except DeviceFault:
                if device is self._device:
                    raise
                return
            for entry in page:
                yield entry
            if len(page) < PAGE:
                return
            after = page[-1].header.name.id

    # -- making ----------------------------------------------------------------------------------

    async def _make_some(self) -> None:
        """A few at once, with one proof for those of one owner."""
        some = [self._missing.pop() for _ in range(min(BLOBS_PER_UNIT, len(self._missing)))]
        owners = list(dict.fromkeys(owner_of(one.header) for one in some))
        proofs = await together(map(self._try_prove, owners))
        named = dict(zip(owners, proofs, strict=True))
        limit = asyncio.Semaphore(COPIES_AT_ONCE)

        async def make(one: _Missing) -> None:
            async with limit:
                await self._try_make(one, named[owner_of(one.header)])

        await together(map(make, some))

    async def _try_prove(self, owner: Owner) -> Named | None:
        """What the owner's rows name; None where that can't be told now."""
        try:
            return await self._owners.blobs(owner)
        except UNPROVABLE as error:
            self._last_fault = f"{type(error).__name__}: {error}"
            return None

    async def _try_make(self, one: _Missing, named: Named | None) -> None:
        if named is None:
            self._hold_up(one)
            return
        blob = named.blobs.get(one.header.name.id)
        if blob is None:
            self._unnamed += 1
            self._tally.dropped(1, one.entry.size_bytes)
            return
        try:
            await self._make(one, blob)
        except (DeviceFault, StoreError) as error:
            self._last_fault = f"{type(error).__name__}: {error}"
            self._hold_up(one)
        except ValueError:
            self._tally.dropped(1, one.entry.size_bytes)  # somebody else brings it
        else:
            self.rebuilt += 1
            self._tally.did(1, 0)

    def _hold_up(self, one: _Missing) -> None:
        self._failed += 1
        self._held_up += 1
        self._tally.dropped(1, one.entry.size_bytes)

    async def _make(self, one: _Missing, blob: Blob) -> None:
        source = self._blobs.source(blob)
        try:
            pieces: AsyncGenerator[Buffer, None] = source.rebuilt(one.seat.number)
            await self._copies.make(self._device, one.header, pieces)
        finally:
            source.close()


def _words(seat: Seat) -> tuple[str, int, int]:
    return seat.policy, seat.partition, seat.number

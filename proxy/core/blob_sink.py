"""Writing one blob: segments to all replicas at once, or as k + m fragments, one for each device.

A blob counts as stored when its quorum has made it durable: a majority of replicas, or
k + max(1, m//2) fragments. A device that does not begin its copy is stood in for by a handoff device
(`homes.py`). One that fails on the way is left out while a quorum is left, and where none is, what is
missing to it is made anew on handoff devices from what the others have made durable.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from proxy.core.blob_source import BlobSource
from proxy.core.errors import Full, StoreError, Unavailable
from proxy.core.guarded import responsive
from proxy.core.patience import Patience
from proxy.core.types import Blob, Buffer, Policy
from runtime.clock import Clock
from runtime.tasks import Race, unless_slow
from storage.contract import BlobWriter, DeviceClient, DeviceFault
from storage.erasure.contract import Codec
from storage.types import BlobHeader, BlobName, Fault

BLOB_COMMIT_MAX_S: Final = 60.0
"""A device that has not made its copy durable by then is left out."""

HANDOFF_AFTER_S: Final = 1.0
"""Where a device takes longer to begin its copy, a handoff device begins it, too."""

BEGIN_PATIENCE_S: Final = 2.0
COMMIT_PATIENCE_S: Final = 4.0
"""Once a quorum has begun its copies, or made them durable, the other devices get this long to."""

REMAKE_MAX_S: Final = 60.0
"""Making anew what is missing to a quorum takes no longer than this for each copy or fragment."""

Offers = Callable[[], Sequence[DeviceClient]]
"""The handoff devices of a blob, best first."""


def write_quorum(policy: Policy) -> int:
    """How many copies or fragments must be durable before a blob counts as stored."""
    if policy.erasure_coded:
        return policy.k + max(1, policy.m // 2)
    return policy.k // 2 + 1


def remake_quorum(policy: Policy) -> int:
    """How many of them are enough to make the others from."""
    return policy.k if policy.erasure_coded else 1


class _Begun(NamedTuple):
    """A copy or fragment under way on a device."""

    device: DeviceClient
    writer: BlobWriter


async def _begin(device: DeviceClient, header: BlobHeader, deadline: float) -> _Begun:
    return _Begun(device, await device.create_blob(header, deadline))


async def _drop_begun(begun: _Begun) -> None:
    await begun.writer.abort()


async def write_copy(
    device: DeviceClient, header: BlobHeader, pieces: AsyncGenerator[Buffer, None], deadline: float
) -> None:
    """Make a whole copy or fragment on a device. Raises what `pieces` raises, DeviceFault."""
    writer = await device.create_blob(header, deadline)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await writer.write(piece)
        await writer.commit()
    except BaseException:
        await writer.abort()
        raise


class BlobSink:
    """One blob on its way to its devices. `commit` or `abort` ends it."""

    def __init__(self, header: BlobHeader, policy: Policy, codec: Codec | None, clock: Clock) -> None:
        """header: of any of its copies."""
        self.blob_id = header.name.id
        self.size_bytes = 0
        self.policy = policy
        self.handed_off = 0
        """Copies or fragments that are not at home."""
        self._header = header
        self._codec = codec
        self._clock = clock
        self._writers: dict[int, BlobWriter] = {}
        self._places: dict[int, DeviceClient] = {}  # by number; the home until it is known better
        self._offers: Offers = list
        self._spares: list[DeviceClient] | None = None
        self._faults: list[DeviceFault] = []

    def _named(self, number: int) -> BlobHeader:
        return msgspec.structs.replace(self._header, name=BlobName(self.blob_id, number))

    # -- beginning -------------------------------------------------------------------------------

    async def open(self, homes: Sequence[DeviceClient], offers: Offers, deadline: float) -> None:
        """Begin on all devices, or on handoff devices; what none takes is left out while a quorum is
        left. Raises Full, Unavailable."""
        self._places = dict(enumerate(homes))
        self._offers = offers
        quorum = write_quorum(self.policy)
        patience = Patience(self._clock)
        while True:
            works = (self._begin(number, deadline) for number in self.missing)
            await unless_slow(works, lambda: len(self._writers) >= quorum, BEGIN_PATIENCE_S)
            if len(self._writers) >= quorum or not await self._lasts(patience):
                break
        self._require(quorum)

    async def _lasts(self, patience: Patience) -> bool:
        """Wait a moment for devices that come back; then all that hold nothing may be asked anew."""
        lacking = [*self._places.values(), *self._offers()]
        if not await patience.lasts(lacking, [fault.fault for fault in self._faults]):
            return False
        busy = {self._places[number].device_id for number in self._writers}
        self._spares = [device for device in self._offers() if device.device_id not in busy]
        return True

    async def _begin(self, number: int, deadline: float) -> None:
        """At home, or on the first handoff device that takes it where that is slow or refuses."""
        home, header = self._places[number], self._named(number)
        race = Race(DeviceFault, _drop_begun)
        async with race:
            race.start(0, _begin(home, header, deadline))
            patience_s = HANDOFF_AFTER_S if responsive(home) else 0.0
            while not race.good and race.running:
                await race.step(patience_s if self._left_over else None)
                patience_s = HANDOFF_AFTER_S
                if not race.good and (spare := self._next_spare()) is not None:
                    race.start(len(race.begun), _begin(spare, header, deadline))
            self._faults += (fault for fault in race.failed.values() if isinstance(fault, DeviceFault))
            if race.good:
                self._places[number], self._writers[number] = begun = race.take()
                self.handed_off += begun.device is not home

    @property
    def _left_over(self) -> list[DeviceClient]:
        """Handoff devices that were not asked yet; looked up when the first one is needed."""
        if self._spares is None:
            self._spares = list(self._offers())
        return self._spares

    def _next_spare(self) -> DeviceClient | None:
        spares = self._left_over
        best = min(spares, key=lambda device: not responsive(device), default=None)
        if best is not None:
            spares.remove(best)
        return best

    # -- the bytes -------------------------------------------------------------------------------

    @property
    def missing(self) -> list[int]:
        """Numbers of the copies or fragments that were left out on the way."""
        return [number for number in range(self.policy.width) if number not in self._writers]

    def _require(self, count: int) -> None:
        if len(self._writers) >= count:
            return
        if all(fault.fault is Fault.FULL for fault in self._faults):
            raise Full("too few devices have room")
        said = ", ".join(sorted({fault.fault.name.lower() for fault in self._faults}))
        raise Unavailable(f"too few devices take the object's data: {said}")

    def _require_hope(self) -> None:
        """There are writers for a quorum, or what is missing to it can be made from them elsewhere."""
        quorum = write_quorum(self.policy)
        short = quorum - len(self._writers)
        can_remake = len(self._writers) >= remake_quorum(self.policy)
        if short > 0 and not (can_remake and len(self._left_over) >= short):
            self._require(quorum)

    async def write(self, segment: Buffer) -> None:
        """Send one segment (at most SEGMENT_BYTES; only the last one is shorter)."""
        self.size_bytes += len(segment)
        if self._codec is None:
            pieces: dict[int, Buffer] = dict.fromkeys(self._writers, segment)
        else:
            fragments = await _encoded(self._codec, segment)
            pieces = {number: fragments[number] for number in self._writers}
        for number, piece in pieces.items():  # returns at once while the device keeps up
            await self._try_write(number, piece)
        self._require_hope()

    async def _try_write(self, number: int, piece: Buffer) -> None:
        try:
            await self._writers[number].write(piece)
        except DeviceFault as fault:
            await self._drop(number, fault)

    async def _drop(self, number: int, fault: DeviceFault) -> None:
        self._faults.append(fault)
        await self._writers.pop(number).abort()

    # -- the end ---------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Make the blob durable on all devices that still take part, a quorum at least."""

        durable: set[int] = set()

        async def settle(number: int, writer: BlobWriter) -> None:
            try:
                async with asyncio.timeout(BLOB_COMMIT_MAX_S):
                    await writer.commit()
                durable.add(number)
            except TimeoutError:
                await self._drop(number, DeviceFault(Fault.DEADLINE, "commit"))
            except DeviceFault as fault:
                await self._drop(number, fault)

        quorum = write_quorum(self.policy)
        works = [settle(n, writer) for n, writer in self._writers.items()]
        await unless_slow(works, lambda: len(durable) >= quorum, COMMIT_PATIENCE_S)
        for number in self._writers.keys() - durable:
            await self._drop(number, DeviceFault(Fault.DEADLINE, "commit"))
        if remake_quorum(self.policy) <= len(durable) < quorum:
            await self._try_remake(quorum)
        self._require(quorum)

    async def _try_remake(self, quorum: int) -> None:
        """Make what is missing to a quorum on handoff devices, from what is durable now."""
        blob = Blob(self.blob_id, self.size_bytes, self.policy.name)
        places = [self._places[number] for number in range(self.policy.width)]
        missing = self.missing
        source = BlobSource(blob, places, self._codec, self._clock)
        for number in missing:
            source.leave_out(number)
        try:
            patience = Patience(self._clock)
            for number in missing[: quorum - len(self._writers)]:
                while not await self._try_copy(source, number):
                    if not self._left_over and not await self._lasts(patience):
                        break
        except StoreError:
            return  # what is durable can't be read: there is no quorum
        finally:
            source.close()

    async def _try_copy(self, source: BlobSource, number: int) -> bool:
        """Make one copy or fragment on the next handoff device. Raises StoreError."""
        device = self._next_spare()
        if device is None:
            return False
        deadline = self._clock.monotonic() + REMAKE_MAX_S
        try:
            async with asyncio.timeout(REMAKE_MAX_S):
                await write_copy(device, self._named(number), source.rebuilt(number), deadline)
        except TimeoutError:
            self._faults.append(DeviceFault(Fault.DEADLINE, "handoff"))
            return False
        except DeviceFault as fault:
            self._faults.append(fault)
            return False
        self.handed_off += 1
        self._places[number], self._writers[number] = device, _Done()
        return True

    async def abort(self) -> None:
        """Drop what was written and not committed. Never raises."""
        writers, self._writers = self._writers, {}
        await asyncio.gather(*(writer.abort() for writer in writers.values()))


class _Done:
    """In place of the writer of a copy that is durable."""

    async def write(self, data: Buffer) -> None:
        """Never: the blob is whole."""
        raise AssertionError

    async def commit(self) -> None:
        """It is."""

    async def abort(self) -> None:
        """Too late."""


async def _encoded(codec: Codec, segment: Buffer) -> list[bytes]:
    if codec.quick:
        return codec.encode(segment)
    return await asyncio.get_running_loop().run_in_executor(None, codec.encode, segment)

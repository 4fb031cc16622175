"""Payload reads: from the page cache on the loop, from the disk on a lane, verified every time.

A payload that fails its checksum is set aside: its bytes are copied into the quarantine for the
operator, and the row answers CORRUPT until the same version is written again.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from xxhash import xxh3_64_intdigest

from runtime.disk import Disk, DiskFile
from storage.contract import Deliver
from storage.device.held import Held
from storage.device.lane import Lane
from storage.device.segments import SegmentFiles
from storage.types import Failed, Fault, Row

BAD_MAX: Final = 100_000
"""Bad payloads remembered; a forgotten one is found out by its next read."""

QUARANTINED_MAX: Final = 1_000
"""Payloads copied into the quarantine at most."""

Place = tuple[int, int, int, int]
"""segment, offset, length, checksum"""


class Payloads:
    """Reads payloads by their place in the journal. Belongs to the loop's thread."""

    def __init__(self, disk: Disk, files: SegmentFiles, quarantine: str, lane: Lane) -> None:
        self._disk = disk
        self._files = files
        self._quarantine = quarantine
        self._lane = lane
        self._bad: dict[tuple[int, int], None] = {}
        self.corrupt_count = 0

    def is_bad(self, held: Held) -> bool:
        """True for a payload that failed its checksum."""
        return bool(self._bad) and (held.segment, held.offset) in self._bad

    def deliver(self, row: Row, held: Held, deliver: Deliver) -> None:
        """Deliver `row` with its payload, or Failed(CORRUPT)."""
        place = held.segment, held.offset, held.length, held.checksum
        try:
            data = self._files.get(held.segment).pread_cached(held.offset, held.length)
        except OSError as error:
            self._set_aside(place, b"")
            deliver(Failed(Fault.CORRUPT, f"payload can't be read: {error}"), b"")
            return
        if data is None:
            self.read(place, lambda found: _answer(row, found, deliver))
        elif xxh3_64_intdigest(data) == held.checksum:
            deliver(row, data)
        else:
            self._set_aside(place, data)
            deliver(Failed(Fault.CORRUPT, "payload does not match its checksum"), b"")

    def read(self, place: Place, done: Callable[[bytes | None], None]) -> None:
        """Read a payload on the lane; `done` gets the verified bytes, or None where they are bad."""
        segment, offset, length, _ = place
        try:
            file = self._files.pin(segment)
        except OSError:
            self._set_aside(place, b"")
            done(None)
            return
        self._lane.submit(
            lambda: file.pread(offset, length), lambda found: self._was_read(place, file, found, done)
        )

    def _was_read(
        self, place: Place, file: DiskFile, found: Any, done: Callable[[bytes | None], None]
    ) -> None:
        self._files.unpin(file)
        data = found if isinstance(found, bytes) else b""
        if len(data) == place[2] and xxh3_64_intdigest(data) == place[3]:
            done(data)
        else:
            self._set_aside(place, data)
            done(None)

    def read_many(self, places: list[Place], done: Callable[[list[bytes | None]], None]) -> None:
        """Read payloads on the lane in one go; `done` gets each one's verified bytes, None for bad."""
        files: dict[int, DiskFile] = {}
        for segment in {place[0] for place in places}:
            with suppress(OSError):
                files[segment] = self._files.pin(segment)
        self._lane.submit(
            lambda: [_try_read(files.get(place[0]), place) for place in places],
            lambda found: self._were_read(places, files, found, done),
        )

    def _were_read(
        self,
        places: list[Place],
        files: dict[int, DiskFile],
        found: Any,
        done: Callable[[list[bytes | None]], None],
    ) -> None:
        for file in files.values():
            self._files.unpin(file)
        payloads: list[bytes | None] = []
        for place, data in zip(places, found, strict=True):
            sound = len(data) == place[2] and xxh3_64_intdigest(data) == place[3]
            if not sound:
                self._set_aside(place, data)
            payloads.append(data if sound else None)
        done(payloads)

    def found_bad(self, segment: int, offset: int, data: bytes) -> None:
        """Somebody else read a payload that fails its checksum."""
        self._set_aside((segment, offset, len(data), 0), data)

    def _set_aside(self, place: Place, data: bytes) -> None:
        segment, offset, _, _ = place
        if (segment, offset) in self._bad:
            return
        if len(self._bad) >= BAD_MAX:
            self._bad.clear()
        self._bad[segment, offset] = None
        self.corrupt_count += 1
        if data and self.corrupt_count <= QUARANTINED_MAX:
            path = f"{self._quarantine}/row-{segment:08d}-{offset:08x}"
            self._lane.submit(lambda: self._keep(path, data), lambda outcome: None)

    def _keep(self, path: str, data: bytes) -> None:
        """On the lane. Best effort: the bad payload also stays where it is."""
        file = self._disk.create(path)
        try:
            file.append([data])
        finally:
            file.close()


def _try_read(file: DiskFile | None, place: Place) -> bytes:
    """On the lane: a payload as it is on the disk, or nothing where it can't be read."""
    if file is None:
        return b""
    try:
        return file.pread(place[1], place[2])
    except OSError:
        return b""


def _answer(row: Row, payload: bytes | None, deliver: Deliver) -> None:
    if payload is None:
        deliver(Failed(Fault.CORRUPT, "payload does not match its checksum"), b"")
    else:
        deliver(row, payload)

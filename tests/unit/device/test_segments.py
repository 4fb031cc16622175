"""Open segment files: bounded, and open as long as somebody reads."""

import pytest

from storage.device.segments import (
    FILES_OPEN_MAX,
    NoRoomError,
    SegmentFiles,
    segment_name,
    segment_number,
)
from tests.crash.recording_disk import MemoryFile, RecordingDisk


class Watched(RecordingDisk):
    """Knows which handles are open."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: set[str] = set()

    def open(self, path: str, *, writable: bool = False) -> MemoryFile:
        self.opened.add(path)
        opened, closed = super().open(path, writable=writable), self.opened.discard

        class Handle(MemoryFile):
            def close(self) -> None:
                closed(path)

        return Handle(self, opened._inode)


def files(count: int) -> tuple[Watched, SegmentFiles]:
    """A journal of `count` segments."""
    disk = Watched()
    disk.make_dirs("j")
    made = SegmentFiles(disk, "j")
    for number in range(1, count + 1):
        made.create(number, bytes(16)).close()
    return disk, made


def test_names_are_numbers() -> None:
    assert segment_number(segment_name(12)) == 12
    for other in ("0000001.seg", "00000001.tmp", "0000000x.seg", "x", "000000012.seg"):
        assert segment_number(other) is None


def test_no_more_files_are_open_than_the_limit() -> None:
    disk, some = files(FILES_OPEN_MAX + 5)
    pinned = some.pin(1)
    for number in range(2, FILES_OPEN_MAX + 6):
        some.get(number)
    assert len(disk.opened) <= FILES_OPEN_MAX + 1
    assert "j/00000001.seg" in disk.opened
    some.unpin(pinned)
    assert "j/00000001.seg" not in disk.opened
    some.close()
    assert disk.opened == set()


def test_a_removed_segment_stays_open_for_its_readers() -> None:
    disk, some = files(2)
    first, again = some.pin(1), some.pin(1)
    assert first is again
    some.drop(1)
    assert some.known == {2}
    some.unpin(first)
    assert disk.opened == {"j/00000001.seg"}
    some.unpin(again)
    assert disk.opened == set()


def test_sizes_are_remembered_for_all_but_the_newest() -> None:
    disk, some = files(2)
    sizes = some.size(1), some.size(2)
    for number in (1, 2):
        disk.open(some.path(number)).append([b"more"])
    assert (some.size(1), some.size(2)) == (sizes[0], sizes[1] + 4)


def test_look_takes_only_segments() -> None:
    disk, some = files(3)
    disk.create("j/notes.txt")
    assert some.look() == [1, 2, 3]


def test_a_segment_that_finds_no_room_can_be_made_later() -> None:
    disk, some = files(1)
    disk.full, disk.room = True, 10
    with pytest.raises(NoRoomError):
        some.create(2, bytes(16))
    disk.full = False
    some.create(2, bytes(16))
    assert some.size(2) == some.size(1)

"""What is paused stays so when its process starts anew."""

from pathlib import Path

from runtime.disk import RealDisk
from tests.crash.recording_disk import RecordingDisk
from tools.pauses import Pauses

KNOWN = frozenset({"scrub", "rebuild"})


def test_whoever_comes_later_finds_what_was_paused(tmp_path: Path) -> None:
    directory = str(tmp_path / "paused")
    one, other = Pauses(directory, RealDisk()), Pauses(directory, RealDisk())
    assert one.names() == frozenset()
    one.keep("scrub", KNOWN)
    other.keep("scrub", KNOWN)  # each process of a node is told
    one.keep("rebuild", KNOWN)
    assert Pauses(directory, RealDisk()).names() == KNOWN
    other.forget("scrub", KNOWN)
    one.forget("scrub", KNOWN)
    assert other.names() == {"rebuild"}


def test_nothing_but_a_known_name_becomes_a_file(tmp_path: Path) -> None:
    pauses = Pauses(str(tmp_path / "paused"), RealDisk())
    for name in ("", "..", "../secret", "nobody"):
        pauses.keep(name, KNOWN)
        pauses.forget(name, KNOWN)
    assert list(tmp_path.iterdir()) == []


def test_a_power_cut_forgets_no_pause() -> None:
    disk = RecordingDisk()
    disk.make_dirs("data")
    disk.sync_dir("data")
    Pauses("data/paused", disk).keep("scrub", KNOWN)
    image = disk.crashes(len(disk.events)).least()
    assert Pauses("data/paused", RecordingDisk(image)).names() == {"scrub"}

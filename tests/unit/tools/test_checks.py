"""The doctor's decisions that need no store."""

import os
import resource
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tools import checks
from tools.finding import Level, size_text

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (150 << 10, "150 KiB"),
        (10 << 30, "10.0 GiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text


MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:20 / /tmp rw - tmpfs tmpfs rw
23 21 0:21 / /srv/disk\\0401 rw shared:1 - xfs /dev/vdb rw
24 21 0:22 / /srv rw master:3 shared:2 - btrfs /dev/vdc rw
25 21 0:23 / /srv rw - nfs4 server:/x rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/data", "ext4"),
        ("/tmp/data", "tmpfs"),  # noqa: S108
        ("/tmpfile", "ext4"),  # noqa: S108
        ("/srv/disk 1/atoll", "xfs"),
        ("/srv/other", "nfs4"),
    ],
)
def test_the_innermost_and_last_mount_counts(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert checks.file_system_type(path, str(mounts)) == kind
    assert checks.file_system_type(path, str(tmp_path / "nowhere")) == ""


def _levels(data: Path, now: datetime) -> list[Level]:
    return [found.level for found in checks.check_clock(str(data), now)]


def test_the_clock_is_held_against_what_is_stored(tmp_path: Path) -> None:
    segment = tmp_path / "devices" / "d0" / "journal" / "0001.seg"
    segment.parent.mkdir(parents=True)
    segment.touch()
    os.utime(segment, (NOW.timestamp(), NOW.timestamp()))
    assert _levels(tmp_path, NOW) == [Level.OK]
    assert _levels(tmp_path, NOW - timedelta(seconds=50)) == [Level.OK]
    assert _levels(tmp_path, NOW - timedelta(seconds=70)) == [Level.PROBLEM]
    assert _levels(tmp_path / "nowhere", datetime(2000, 1, 1, tzinfo=UTC)) == [Level.PROBLEM]


def test_a_port_is_free_taken_or_our_own() -> None:
    def levels(port: int, *, running: bool = False) -> list[Level]:
        return [f.level for f in checks.check_port("port", "127.0.0.1", port, running=running)]

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert levels(port) == [Level.PROBLEM]
        assert levels(port, running=True) == [Level.OK]
    assert levels(port) == [Level.OK]


def test_a_low_limit_on_open_files_is_warned_of() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
        assert [found.level for found in checks.check_open_files()] == [Level.WARNING]
        resource.setrlimit(resource.RLIMIT_NOFILE, (checks.OPEN_FILES_MIN, before[1]))
        assert [found.level for found in checks.check_open_files()] == [Level.OK]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_measuring_syncs_leaves_nothing(tmp_path: Path) -> None:
    assert checks.measure_sync_s(str(tmp_path)) > 0
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_a_problem() -> None:
    levels = {found.about: found.level for found in checks.check_disks(["/proc"], 0)}
    assert levels["sync"] is Level.PROBLEM


def test_devices_of_one_disk_are_measured_once(tmp_path: Path) -> None:
    paths = [str(tmp_path / "not" / "there"), str(tmp_path)]
    abouts = [found.about for found in checks.check_disks(paths, 0)]
    assert abouts == ["file system", "space", "sync"]


def test_both_codecs_rebuild() -> None:
    assert {found.level for found in checks.check_codecs(None)} == {Level.OK}

"""What the kernel counted, on a sysfs of our own, and what devices set aside."""

import os
from pathlib import Path

import pytest

from tools.disk_errors import check_disk_errors, check_quarantine
from tools.finding import Level


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Where the disk under tmp_path is partition sda1 of sda, both without errors."""
    root = tmp_path / "sys"
    number = os.stat(tmp_path).st_dev
    disk = root / "devices" / "sda"
    (disk / "sda1").mkdir(parents=True)
    (disk / "device").mkdir()
    (disk / "device" / "ioerr_cnt").write_text("0x0\n")
    blocks = root / "dev" / "block"
    blocks.mkdir(parents=True)
    (blocks / f"{os.major(number)}:{os.minor(number)}").symlink_to(disk / "sda1")
    (root / "fs" / "ext4" / "sda1").mkdir(parents=True)
    (root / "fs" / "ext4" / "sda1" / "errors_count").write_text("0\n")
    return root


def found(tmp_path: Path, sysfs: Path) -> list[tuple[Level, str]]:
    paths = [str(tmp_path), str(tmp_path), str(tmp_path / "nowhere")]
    return [(one.level, one.text) for one in check_disk_errors(paths, str(sysfs))]


def test_none(tmp_path: Path, sysfs: Path) -> None:
    assert found(tmp_path, sysfs) == [(Level.OK, f"the kernel has counted none under {tmp_path}")]


def test_a_file_system_with_errors(tmp_path: Path, sysfs: Path) -> None:
    (sysfs / "fs" / "ext4" / "sda1" / "errors_count").write_text("2\n")
    ((level, text),) = found(tmp_path, sysfs)
    assert level is Level.PROBLEM
    assert "ext4 has met 2 errors in its file system on sda1" in text


def test_a_disk_that_failed_commands(tmp_path: Path, sysfs: Path) -> None:
    (sysfs / "devices" / "sda" / "device" / "ioerr_cnt").write_text("0x1f\n")
    ((level, text),) = found(tmp_path, sysfs)
    assert level is Level.PROBLEM
    assert "has counted 31 failed commands of disk" in text


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    assert [level for level, _ in found(tmp_path, tmp_path / "no-sysfs")] == [Level.OK]


def test_quarantine(tmp_path: Path) -> None:
    for name, files in (("d0", 0), ("d1", 3)):
        (tmp_path / name / "quarantine").mkdir(parents=True)
        for number in range(files):
            (tmp_path / name / "quarantine" / str(number)).touch()
    paths = [str(tmp_path / name) for name in ("d0", "d1", "d2")]
    (one,) = check_quarantine(paths)
    assert one.level is Level.WARNING
    assert one.text.startswith(f"{tmp_path}/d1/quarantine holds 3 damaged copies")

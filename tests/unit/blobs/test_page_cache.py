"""What the disk door says about memory."""

import os
from pathlib import Path

import pytest

from runtime.disk import RealDisk


def test_a_hole_that_nobody_read_is_not_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 8192)
    os.truncate(path, 4 * 1024 * 1024)
    file = RealDisk().open(str(path))
    assert not file.resident(0, 1)  # not mapped yet
    file.map()
    assert file.resident(0, 8192)
    assert file.resident(8191, 1)
    assert not file.resident(3 * 1024 * 1024, 1)
    assert not file.resident(8191, 3 * 1024 * 1024)
    file.load(2 * 1024 * 1024, 2 * 1024 * 1024)
    assert file.resident(3 * 1024 * 1024, 1024 * 1024)
    file.close()


def test_bytes_outside_the_file_are_not_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    file = RealDisk().open(str(path))
    file.map()
    assert file.resident(0, 100)
    for offset, length in [(0, 101), (100, 1), (-1, 2), (0, 0), (0, -1), (1 << 40, 1)]:
        assert not file.resident(offset, length)
    with pytest.raises(OSError, match="the file ends before"):
        file.load(90, 20)
    file.close()


def test_an_empty_file_has_an_empty_map(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    file = RealDisk().open(str(path))
    assert file.map().nbytes == 0
    assert not file.resident(0, 1)
    file.close()


def test_a_map_outlives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"still here")
    file = RealDisk().open(str(path))
    view = file.map()
    path.unlink()
    file.close()
    assert bytes(view) == b"still here"

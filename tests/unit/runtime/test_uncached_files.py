"""Files written past the page cache hold the same bytes, whatever the pieces were."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.direct_io import BLOCK_BYTES, BUFFER_BYTES
from runtime.disk import RealDisk


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [1],
        [BLOCK_BYTES],
        [BUFFER_BYTES],
        [BUFFER_BYTES - 1, 1, 1],
        [3 * BUFFER_BYTES + 5],
        [BUFFER_BYTES, BLOCK_BYTES + 7, BUFFER_BYTES, 3],
    ],
)
def test_a_synced_file_holds_what_was_appended(tmp_path: Path, sizes: list[int]) -> None:
    pieces = [os.urandom(size) for size in sizes]
    file = RealDisk().create_uncached(str(tmp_path / "file"))
    for number, piece in enumerate(pieces):
        file.append([piece[:number], memoryview(piece)[number:]])
        assert file.size() == sum(sizes[: number + 1])
    file.sync()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)
    file.append([b"after"])
    file.sync()
    file.close()
    file.close()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces) + b"after"


@given(sizes=st.lists(st.integers(0, 3 * BLOCK_BYTES), max_size=20))
def test_any_pieces_make_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("uncached")
    data = os.urandom(sum(sizes))
    disk = RealDisk()
    file = disk.create_uncached(str(folder / "file"))
    at = 0
    for size in sizes:
        file.append([data[at : at + size]])
        at += size
    file.sync()
    file.close()
    assert (folder / "file").read_bytes() == data


def test_a_file_system_without_direct_writes_serves_as_well(tmp_path: Path) -> None:
    folder = Path("/dev/shm") / f"uncached-{os.getpid()}"  # noqa: S108 - memory is such a file system
    folder.mkdir()
    try:
        file = RealDisk().create_uncached(str(folder / "file"))
        file.append([b"x" * 10_000])
        file.sync()
        file.close()
        assert (folder / "file").read_bytes() == b"x" * 10_000
    finally:
        (folder / "file").unlink()
        folder.rmdir()


def test_buffers_are_used_again(tmp_path: Path) -> None:
    disk = RealDisk()
    for number in range(3):
        file = disk.create_uncached(str(tmp_path / str(number)))
        file.append([b"%d" % number * 5000])
        file.sync()
        file.close()
    for number in range(3):
        assert (tmp_path / str(number)).read_bytes() == b"%d" % number * 5000

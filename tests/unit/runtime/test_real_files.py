"""Files of file systems that lack what others have."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.disk import RealDisk


def test_a_file_system_without_reads_that_do_not_block_says_that_nothing_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tmpfs answers; the caller then reads on a thread, and must not take it for damage."""
    asked: list[int] = []

    def preadv(fd: int, buffers: Sequence[bytearray], offset: int, flags: int = 0) -> int:
        asked.append(flags)
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "preadv", preadv)
    file = RealDisk().create(str(tmp_path / "file"))
    file.append([b"some bytes"])
    assert file.pread_cached(0, 4) is None
    assert file.pread_cached(5, 5) is None
    assert file.pread(5, 5) == b"bytes"
    assert len(asked) == 1
    file.close()


def test_an_error_of_the_disk_stays_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(fd: int, buffers: Sequence[bytearray], offset: int, flags: int = 0) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", preadv)
    file = RealDisk().create(str(tmp_path / "file"))
    with pytest.raises(OSError, match="Input/output"):
        file.pread_cached(0, 4)
    file.close()

"""Ring files on a disk: whole, atomic, refused when wrong."""

import errno
import os
import struct
from pathlib import Path

import pytest
from xxhash import xxh3_128_digest

from ring.builder import build
from ring.errors import (
    NotARing,
    RingCorrupt,
    RingFileError,
    RingFileMissing,
    RingTruncated,
    RingVersionUnknown,
)
from ring.file import decode, encode, load, save
from ring.format_v1 import CHECKSUM_BYTES, HEADER
from ring.lookup import Ring
from ring.types import default_placements
from runtime.disk import RealDisk, RealFile
from tests.format.ring import golden
from tests.unit.ring.clusters import CLUSTER_ID, cluster


def ring(salt: int = 1) -> Ring:
    return build(cluster(3, 1, 2), default_placements(6), 4, salt, cluster_id=CLUSTER_ID)


def resealed(data: bytes) -> bytes:
    """The same file with the right checksum for what it says."""
    body = data[:-CHECKSUM_BYTES]
    return body + xxh3_128_digest(body)


def test_a_ring_survives_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "ring")
    save(ring(), path)
    save(ring(2), path)
    found = load(path)
    assert encode(found) == encode(ring(2))
    assert found.members == ring().members
    assert found.devices("rows", 3) == ring(2).devices("rows", 3)
    assert os.listdir(tmp_path) == ["ring"]


def test_no_file_is_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(RingFileMissing, match="no ring at"):
        load(str(tmp_path / "ring"))


class FullFile(RealFile):
    """A file on a device that is full after the first few bytes."""

    def append(self, buffers: object) -> None:
        os.write(self._fd, b"ATOL")
        raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(RealDisk):
    """A disk without room."""

    def create(self, path: str) -> RealFile:
        file = super().create(path)
        return FullFile(file._fd)


def test_a_full_disk_leaves_the_old_ring(tmp_path: Path) -> None:
    path = str(tmp_path / "ring")
    save(ring(), path)
    with pytest.raises(OSError, match="No space"):
        save(ring(2), path, FullDisk())
    assert encode(load(path)) == encode(ring())
    assert os.listdir(tmp_path) == ["ring"]


class WatchedFile(RealFile):
    """A file that tells when it is synced."""

    def __init__(self, fd: int, calls: list[str]) -> None:
        super().__init__(fd)
        self._calls = calls

    def sync(self) -> None:
        self._calls.append("sync")
        super().sync()


class WatchedDisk(RealDisk):
    """A disk that keeps what was asked of it, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def create(self, path: str) -> RealFile:
        self.calls.append("create")
        file = super().create(path)
        return WatchedFile(file._fd, self.calls)

    def rename(self, source: str, target: str) -> None:
        self.calls.append("rename")
        super().rename(source, target)

    def sync_dir(self, path: str) -> None:
        self.calls.append(f"sync {path}")
        super().sync_dir(path)


def test_a_ring_is_durable_before_and_after_it_takes_its_name(tmp_path: Path) -> None:
    disk = WatchedDisk()
    save(ring(), str(tmp_path / "ring"), disk)
    assert disk.calls == ["create", "sync", "rename", f"sync {tmp_path}"]


def test_a_leftover_of_a_crash_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "ring.tmp").write_bytes(b"torn")
    save(ring(), str(tmp_path / "ring"))
    assert os.listdir(tmp_path) == ["ring"]


def test_every_truncation_is_noticed() -> None:
    data = encode(ring())
    for size in range(len(data)):
        with pytest.raises((RingTruncated, NotARing)):
            decode(data[:size])


def test_every_flipped_byte_is_noticed() -> None:
    data = encode(ring())
    for offset in range(0, len(data), 3):
        spoiled = bytearray(data)
        spoiled[offset] ^= 0x10
        with pytest.raises(RingFileError):
            decode(bytes(spoiled))


def test_data_after_the_end_is_noticed() -> None:
    with pytest.raises(RingCorrupt):
        decode(encode(ring()) + b"\0")


def test_another_version_is_named() -> None:
    data = bytearray(encode(ring()))
    struct.pack_into("<H", data, 8, 7)
    with pytest.raises(RingVersionUnknown, match="version 7"):
        decode(bytes(data))


def test_another_file_is_no_ring() -> None:
    for data in (b"", b"{}", b"ATOLRINK" + bytes(100)):
        with pytest.raises(NotARing):
            decode(data)


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [
        (10, "<B", 25),  # part power
        (10, "<B", 5),  # a part power that doesn't fit the tables
        (11, "<B", 2),  # placements
        (11, "<B", 4),
        (12, "<I", 5),  # devices
        (12, "<I", 1 << 31),
        (56, "<I", 3),  # next device id
        (56, "<I", 1 << 20),
        (60, "<I", 1 << 31),  # min part hours
        (64, "<d", -1.0),  # overload
        (64, "<d", float("nan")),
        (HEADER.size, "<I", 1),  # the first device's id, given twice
        (HEADER.size, "<I", 9),
        (HEADER.size + 4, "<B", 7),  # its state
        (HEADER.size + 24, "<d", -5.0),  # its weight
        (HEADER.size + 32, "<H", 0xFFFF),  # the length of its region
        (HEADER.size + 34, "<B", 0xFF),  # its region, not UTF-8
    ],
)
def test_a_well_sealed_contradiction_is_refused(offset: int, layout: str, value: float) -> None:
    data = bytearray(encode(ring()))
    struct.pack_into(layout, data, offset, value)
    with pytest.raises(RingCorrupt):
        decode(resealed(bytes(data)))


def test_a_table_that_names_no_device_is_refused() -> None:
    one = ring()
    data = encode(one)
    at = data.index(one.tables["rows"].tobytes())
    for stranger in (6, 0xFFFF):
        spoiled = bytearray(data)
        struct.pack_into("<H", spoiled, at, stranger)
        with pytest.raises(RingCorrupt, match="rows"):
            decode(resealed(bytes(spoiled)))


def test_a_table_that_names_a_device_that_left_is_refused() -> None:
    data = bytearray(encode(golden.ring()))
    at = data.index(golden.ring().tables["rows"].tobytes())
    struct.pack_into("<H", data, at, 2)
    with pytest.raises(RingCorrupt, match="rows"):
        decode(resealed(bytes(data)))


def test_what_is_to_be_empty_is_empty() -> None:
    clean = encode(golden.ring())
    table_at = clean.index(golden.ring().tables["rows"].tobytes())
    for offset in (HEADER.size + 5, HEADER.size + 7, table_at - 1):
        data = bytearray(clean)
        data[offset] = 1
        with pytest.raises(RingCorrupt, match="empty"):
            decode(resealed(bytes(data)))


@pytest.mark.parametrize(("offset", "value"), [(20, 4), (28, 2)])
def test_a_recent_move_of_no_replica_is_refused(offset: int, value: int) -> None:
    """The first step lies right behind the table: 20 bytes, two partitions, two replicas."""
    data = bytearray(encode(golden.ring()))
    table = golden.ring().tables["rows"].tobytes()
    data[data.index(table) + len(table) + offset] = value
    with pytest.raises(RingCorrupt, match="recent move"):
        decode(resealed(bytes(data)))

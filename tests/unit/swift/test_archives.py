"""Tar archives and lines out of bodies in pieces of any size."""

import bz2
import gzip
import io
import tarfile
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from proxy.swift import byte_source
from proxy.swift.archive import target_of
from proxy.swift.byte_source import BadCompression, ByteSource, Decompressed
from proxy.swift.request import Target
from proxy.swift.tar import BadArchive, TarReader, parse_pax


def source(pieces: Iterable[bytes]) -> ByteSource:
    remaining = iter(pieces)

    async def read() -> bytes:
        return next(remaining, b"")

    return ByteSource(read)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def archive(format_: int, files: dict[str, bytes], pax: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.pax_headers = dict(pax or {})
            tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a"
        tar.addfile(link)
    return out.getvalue()


async def files_of(reader: TarReader) -> AsyncIterator[tuple[str, bytes]]:
    while (entry := await reader.next_entry()) is not None:
        if entry.regular:
            yield entry.name, await reader.body.read_all()


FILES = {
    "a": b"",
    "dir/ü": b"x" * 511,
    "b" * 99: b"y" * 512,
    "long/" * 60 + "name": b"z" * 70_000,
}


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("piece", [1000, 10_000_000])
async def test_archives_are_read_as_they_were_written(format_: int, piece: int) -> None:
    reader = TarReader(source(cut(archive(format_, FILES), piece)))
    assert {name: data async for name, data in files_of(reader)} == FILES


async def test_what_is_not_read_of_an_entry_is_skipped() -> None:
    reader = TarReader(source(cut(archive(tarfile.PAX_FORMAT, FILES), 777)))
    names = []
    while (entry := await reader.next_entry()) is not None:
        names.append(entry.name)
        await reader.body.read()
    assert names == ["folder", *FILES, "link"]


async def test_extended_attributes_become_metadata() -> None:
    pax = {"SCHILY.xattr.user.mime_type": "x/y", "SCHILY.xattr.user.meta.Color": "ü"}
    reader = TarReader(source([archive(tarfile.PAX_FORMAT, {"a": b"1"}, pax)]))
    await reader.next_entry()
    entry = await reader.next_entry()
    assert entry is not None
    assert (entry.media_type, entry.meta) == ("x/y", {"Color": "ü"})


@pytest.mark.parametrize("cut_at", [100, 600, 1500, 60_000])
async def test_an_archive_that_ends_early(cut_at: int) -> None:
    data = archive(tarfile.PAX_FORMAT, FILES)[:cut_at]
    reader = TarReader(source(cut(data, 500)))
    with pytest.raises(BadArchive):
        _ = [item async for item in files_of(reader)]


async def test_no_archive_at_all() -> None:
    with pytest.raises(BadArchive):
        await TarReader(source([b"this is not a tar" * 100])).next_entry()
    assert await TarReader(source([])).next_entry() is None


@pytest.mark.parametrize(
    "data", [b"x", b"5 a=", b"99 a=b\n", b"6 a=bc", b"0 a=b\n", b"6 abcd\n", b"-6 a=b\n"]
)
def test_broken_pax_records(data: bytes) -> None:
    with pytest.raises(BadArchive):
        parse_pax(data)


@pytest.mark.parametrize(("compression", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
@pytest.mark.parametrize("size", [0, 1, 100_000, 3 * byte_source.PIECE_MAX_BYTES, 5_000_001])
@pytest.mark.parametrize("piece", [97, 1 << 20])
async def test_decompression_in_bounded_steps(
    compression: str, pack: Callable[[bytes], bytes], size: int, piece: int
) -> None:
    data = bytes(size)
    pieces = iter([*cut(pack(data) + pack(b"second member"), piece)])

    async def read() -> bytes:
        return next(pieces, b"")

    unpacked, sizes = [], []
    decompressed = Decompressed(read, compression)
    while out := await decompressed.read():
        unpacked.append(out)
        sizes.append(len(out))
    assert b"".join(unpacked) == data + b"second member"
    assert max(sizes) <= byte_source.PIECE_MAX_BYTES


async def drain(decompressed: Decompressed) -> None:
    while await decompressed.read():
        pass


@pytest.mark.parametrize("compression", ["gz", "bz2"])
@pytest.mark.parametrize("keep", [slice(0, -3), slice(3, None), slice(0, 0)])
async def test_broken_compression(compression: str, keep: slice) -> None:
    pack = gzip.compress if compression == "gz" else bz2.compress
    pieces = iter([pack(b"data" * 1000)[keep]])

    async def read() -> bytes:
        return next(pieces, b"")

    with pytest.raises(BadCompression):
        await drain(Decompressed(read, compression))


async def test_lines() -> None:
    lines = source([b"/c/a\n/c", b"/b\r\n", b"\n", b"last"])
    assert [await lines.line(10) for _ in range(5)] == [b"/c/a", b"/c/b\r", b"", b"last", None]


@pytest.mark.parametrize("pieces", [[b"x" * 20], [b"x" * 20 + b"\n"], [b"x"] * 20])
async def test_a_line_that_is_too_long(pieces: list[bytes]) -> None:
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        await source(pieces).line(10)


@pytest.mark.parametrize(
    ("base", "name", "target"),
    [
        (Target("A"), "c/o", ("c", "o")),
        (Target("A"), "./c/o/p", ("c", "o/p")),
        (Target("A"), "/c/o", ("c", "o")),
        (Target("A"), "file", None),
        (Target("A"), "c/", None),
        (Target("A", "c"), "o", ("c", "o")),
        (Target("A", "c", "dir"), "o/p", ("c", "dir/o/p")),
        (Target("A", "c", "dir/"), "o", ("c", "dir/o")),
        (Target("A", "c"), "../../etc/passwd", ("c", "../../etc/passwd")),
        (Target("A", "c"), "./", None),
    ],
)
def test_where_a_file_goes(base: Target, name: str, target: tuple[str, str] | None) -> None:
    found = target_of(base, name)
    assert (found and (found.container, found.name)) == target

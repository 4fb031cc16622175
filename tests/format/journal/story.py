"""The story that the golden files of journal and index tell, and what a device must know after it."""

from functools import reduce
from operator import xor

from storage.types import (
    SEAL_NAME,
    ZERO_STAMP,
    Accept,
    BlobEntry,
    BlobHeader,
    BlobName,
    Count,
    Counts,
    Drop,
    Forget,
    Install,
    Installed,
    LeafDigests,
    Leaves,
    ListShards,
    No,
    Ok,
    Page,
    Prepare,
    PulledRow,
    Read,
    Row,
    RowFlag,
    Scan,
    ShardList,
    Write,
)
from tests.crash.crash_images import Image
from tests.crash.device_rig import DeviceRig
from tests.crash.recording_disk import RecordingDisk

SHARD, SEALED, MOVED = b"\x01bucket/0", b"\x01bucket/1", b"\x01bucket/2"
LONG = b"long/" + bytes(range(256)) * 4
MANIFEST = b"a manifest of three blobs"
SEGMENT = "device/journal/00000001.seg"
INDEX = "device/index"


def stamp(number: int) -> bytes:
    """The story's stamps."""
    return (1_700_000_000_000_000_000 + number).to_bytes(8, "big") + b"golden-1"


def plain(number: int) -> bytes:
    """The version of a plain write."""
    return stamp(number) + ZERO_STAMP


def blob(number: int) -> BlobEntry:
    """A blob's index entry."""
    name = BlobName(bytes(range(number, number + 16)), number)
    header = BlobHeader(
        name, 77, "ec-4-2", SHARD, b"movie", b"upload-1", "isa_l_rs_cauchy", 4, 2, 262144, 12345
    )
    return BlobEntry(header, 1_000_000)


async def tell(rig: DeviceRig) -> None:
    """Everything that a journal can hold, once."""
    for message, payload in (
        (Write(SHARD, b"small.txt", plain(1), RowFlag.NONE, 5, b"head of small"), b"hello"),
        (Write(SHARD, b"movie", plain(2), RowFlag.BLOBS, 3_000_000, b"head of movie"), MANIFEST),
        (Write(SHARD, b"movie", plain(3), RowFlag.BLOBS, 4_000_000, b"new head"), b"new manifest"),
        (Write(SHARD, b"movie", plain(4), RowFlag.NONE, 2, b"no blobs"), b"mv"),
        (Write(SHARD, b"gone", plain(5), RowFlag.TOMBSTONE, 0, b""), b""),
        (Write(SHARD, LONG, plain(6), RowFlag.UNCOUNTED, 9, b""), b"long name"),
        (Accept(SHARD, b"lock", ZERO_STAMP + stamp(7), RowFlag.NONE, 0, b"held"), b""),
        (Write(SEALED, SEAL_NAME, plain(8), RowFlag.UNCOUNTED, 0, b""), b""),
    ):
        assert await rig.ask(message, payload) == Ok()
    assert isinstance(await rig.ask(Prepare(SHARD, b"lock", stamp(9))), Row)
    assert isinstance(await rig.ask(Prepare(SHARD, b"promised only", stamp(10))), Row)
    await rig.device.record_blob(blob(1))
    await rig.device.record_blob(blob(2))
    await rig.device.record_blob_removed(blob(2).header.name)
    first, _ = await rig.device.list_garbage(0, 10)
    await rig.device.forget_garbage([first.seq])


async def recall(rig: DeviceRig) -> None:
    """What the device must know."""
    assert rig.device.status().offline == ""
    assert await rig.send(Read(SHARD, b"small.txt")) == (
        Row(plain(1), RowFlag.NONE, 5, b"head of small", False),
        b"hello",
    )
    assert (await rig.send(Read(SHARD, LONG)))[1] == b"long name"
    page = await rig.ask(Scan(SHARD, b"", b"", 100))
    assert isinstance(page, Page)
    assert [row.name for row in page.rows] == [b"gone", b"lock", LONG, b"movie", b"small.txt"]
    assert await rig.ask(Count(SHARD)) == Counts(3, 7, False)
    assert await rig.ask(Count(SEALED)) == Counts(0, 0, True)
    assert isinstance(await rig.ask(Prepare(SHARD, b"lock", stamp(9))), No)
    assert isinstance(await rig.ask(Prepare(SHARD, b"promised only", stamp(10))), No)
    old = Write(SHARD, b"movie", plain(0), RowFlag.NONE, 0, b"")
    assert isinstance(await rig.ask(old), No)
    assert await rig.ask(Write(SHARD, b"movie", plain(2), RowFlag.NONE, 0, b"")) == Ok()
    assert rig.device.list_blob_entries(None, 10) == [blob(1)]
    (hint,) = await rig.device.list_garbage(0, 10)
    assert (hint.shard, hint.name, hint.version) == (SHARD, b"movie", plain(3))
    assert hint.manifest == b"new manifest"


async def tell_on(rig: DeviceRig) -> None:
    """What came later: rows of other replicas, a reclaimed tombstone, a shard that moved away."""
    other = PulledRow(b"other", plain(12), stamp(13), [plain(11)], RowFlag.NONE, 5, b"theirs", 5)
    only = PulledRow(b"promised only", bytes(32), stamp(14), [], 0, 0, b"", 0)
    before_ns = int.from_bytes(stamp(1000)[:8], "big")
    for message, payload in (
        (Install(SHARD, [other, only]), b"other"),
        (Forget(SHARD, [(b"gone", plain(5)), (b"movie", plain(4))], before_ns), b""),
        (Write(MOVED, b"row", plain(15), RowFlag.NONE, 3, b""), b"row"),
        (Drop(MOVED), b""),
        (Write(MOVED, b"again", plain(1), RowFlag.NONE, 5, b""), b"again"),
    ):
        assert await rig.ask(message, payload) in (Ok(), Installed([]))


async def recall_more(rig: DeviceRig) -> None:
    """What the device must know after that, and by what digests."""
    assert rig.device.status().offline == ""
    assert await rig.send(Read(SHARD, b"other")) == (
        Row(plain(12), RowFlag.NONE, 5, b"theirs", False),
        b"other",
    )
    assert await rig.ask(Write(SHARD, b"other", plain(11), 0, 0, b"")) == Ok()
    page = await rig.ask(Scan(SHARD, b"", b"", 100))
    assert isinstance(page, Page)
    assert [row.name for row in page.rows] == [b"lock", LONG, b"movie", b"other", b"small.txt"]
    page = await rig.ask(Scan(MOVED, b"", b"", 100))
    assert isinstance(page, Page)
    assert [row.name for row in page.rows] == [b"again"]
    found = await rig.ask(ListShards(0, 0, 0))
    assert isinstance(found, ShardList)
    assert [(shard.key, shard.rows) for shard in found.shards] == [(SHARD, 6), (SEALED, 1), (MOVED, 1)]
    await digests_are_right(rig)


async def digests_are_right(rig: DeviceRig) -> None:
    """Each shard's digest is that of its rows."""
    found = await rig.ask(ListShards(0, 0, 0))
    assert isinstance(found, ShardList)
    for shard in found.shards:
        leaves = await rig.ask(Leaves(shard.key))
        assert isinstance(leaves, LeafDigests)
        assert reduce(xor, leaves.digests) == shard.digest != 0


async def told(*, more: bool = False) -> DeviceRig:
    """A device to which the story was told, or all of it."""
    rig = await DeviceRig.open(RecordingDisk())
    await tell(rig)
    if more:
        await tell_on(rig)
    return rig


def with_files(image: Image, files: dict[str, bytes], index: dict[str, object]) -> RecordingDisk:
    """A disk with some files of an image replaced, and this index."""
    return RecordingDisk(Image({**image.files, **files}, image.directories, index))

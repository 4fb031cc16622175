"""What is forgotten or dropped stays so, whatever is left of the journal and the index."""

import asyncio
from dataclasses import replace

from storage.device.index_contract import Table
from storage.types import (
    ZERO_STAMP,
    ZERO_VERSION,
    Drop,
    Forget,
    ListShards,
    Ok,
    Read,
    Row,
    RowFlag,
    ShardList,
    Write,
)
from tests.crash.device_rig import DeviceRig
from tests.crash.recording_disk import RecordingDisk

SHARD, OTHER = b"shard", b"other"
VICTIM = b"victim"
ROWS = 200
HOURS_NS = 2 * 3600 * 10**9


def old(rig: DeviceRig, number: int) -> bytes:
    """A plain version of two hours ago."""
    return (rig.clock.now_ns() - HOURS_NS + number).to_bytes(8, "big") + b"long-ago" + ZERO_STAMP


async def put(rig: DeviceRig, name: bytes, size: int, shard: bytes = SHARD) -> None:
    assert await rig.ask(rig.write(shard, name, bytes(size)), bytes(size)) == Ok()


async def reopened(rig: DeviceRig, *, lose_index: bool) -> DeviceRig:
    """The device after a power cut that left only what was durable."""
    rig.crash()
    image = rig.disk.crashes(len(rig.disk.events)).least()
    if lose_index:
        image = replace(image, index={})
    return await DeviceRig.open(RecordingDisk(image), rig.clock)


async def with_forgotten_row() -> DeviceRig:
    """A row was written, deleted and forgotten; its first record is in a segment that stays full."""
    rig = await DeviceRig.open(RecordingDisk())
    await rig.ask(Write(SHARD, VICTIM, old(rig, 1), 0, 4, b""), b"live")
    await put(rig, b"keep/1", 1900)
    await put(rig, b"keep/2", 1900)
    await put(rig, b"junk", 10)
    await rig.ask(Write(SHARD, VICTIM, old(rig, 2), RowFlag.TOMBSTONE, 0, b""))
    await roll(rig)
    before_ns = rig.clock.now_ns() - HOURS_NS + 1000
    assert await rig.ask(Forget(SHARD, [(VICTIM, old(rig, 2))], before_ns)) == Ok()
    await roll(rig)
    return rig


async def roll(rig: DeviceRig) -> None:
    """Let the journal go on, so that what is dead behind is compacted and removed."""
    for _ in range(8):
        await put(rig, b"junk", 1500)
        await rig.device.checkpoint()
        await rig.quiet()


async def test_a_forgotten_row_stays_so_where_only_its_first_record_is_left() -> None:
    rig = await with_forgotten_row()
    ((first, _),) = [divmod(int.from_bytes(key, "big"), 1 << 32) for key, _ in erasures(rig)]
    assert 1 in rig.device._journal.files.known  # that of the live row
    assert first not in rig.device._journal.files.known  # that of the forgetting
    assert rig.device._tables.erasures.size_bytes > 0
    again = await reopened(rig, lose_index=True)
    row = await again.ask(Read(SHARD, VICTIM))
    assert isinstance(row, Row)
    assert row.version == ZERO_VERSION


def erasures(rig: DeviceRig) -> list[tuple[bytes, bytes]]:
    return list(rig.device._tables.erasures.overlay.items(b""))


async def test_an_erasure_goes_when_nothing_older_is_left() -> None:
    rig = await with_forgotten_row()
    await put(rig, b"keep/1", 1)
    await put(rig, b"keep/2", 1)
    await roll(rig)
    await roll(rig)
    assert 1 not in rig.device._journal.files.known
    assert erasures(rig) == []
    assert rig.device._tables.erasures.size_bytes == 0
    again = await reopened(rig, lose_index=True)
    row = await again.ask(Read(SHARD, VICTIM))
    assert isinstance(row, Row)
    assert row.version == ZERO_VERSION


async def dropping(rig: DeviceRig) -> None:
    """Rows in the index, and their drop under way."""
    for number in range(ROWS):
        await put(rig, b"%03d" % number, 20)
    await put(rig, b"stays", 20, OTHER)
    await rig.device.checkpoint()
    await rig.quiet()
    rig.send(Drop(SHARD))
    for _ in range(6):
        await asyncio.sleep(0)
    assert rig.device._tables.rows.shard(SHARD).erasing
    assert rig.device._tables.erasures.size_bytes > 0


async def keys(rig: DeviceRig) -> list[bytes]:
    answer = await rig.ask(ListShards(0, 0, 0))
    assert isinstance(answer, ShardList)
    return [shard.key for shard in answer.shards]


async def test_a_drop_that_a_crash_cut_off_goes_on_before_the_replay() -> None:
    """The index has a part of the rows; what was written after the drop is kept."""
    rig = await DeviceRig.open(RecordingDisk())
    await dropping(rig)
    rig.device._upkeep._begin(rig.device._tables)  # one, not as many as it takes
    await rig.device._upkeep.idle()
    tables = rig.disk.image().index["device/index"]
    left = [key for key in tables[Table.ROWS] if key.startswith(b"\x05" + SHARD)]
    assert 0 < len(left) < ROWS
    while rig.device._tables.rows.shard(SHARD).erasing:
        await asyncio.sleep(0)
    await put(rig, b"new", 7)
    assert rig.disk.image().index["device/index"] == tables
    again = await reopened(rig, lose_index=False)
    assert await keys(again) == [OTHER, SHARD]
    shard = again.device._tables.rows.shard(SHARD)
    assert (shard.names, shard.rows, shard.size_bytes) == (1, 1, 7)
    row = await again.ask(Read(SHARD, b"150"))
    assert isinstance(row, Row)
    assert row.version == ZERO_VERSION


async def test_compaction_does_not_carry_dropped_rows_over_the_drop() -> None:
    rig = await DeviceRig.open(RecordingDisk())
    await dropping(rig)
    for segment in (3, 2, 1):
        await rig.device._tables.compactor.compact(segment)
        assert rig.device._tables.rows.shard(SHARD).erasing
    while rig.device._tables.rows.shard(SHARD).erasing:
        await asyncio.sleep(0)
    again = await reopened(rig, lose_index=True)
    assert await keys(again) == [OTHER]

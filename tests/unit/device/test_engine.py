"""The engine's own promises, beyond the contract that all devices share."""

import asyncio
import errno
from dataclasses import replace
from typing import Any

import pytest

from storage.device import upkeep
from storage.device.identity import DeviceRefused
from storage.device.index_contract import Table
from storage.device.lane import InlineLane
from storage.device.opening import STARTS_SUSPECT
from storage.types import (
    SEAL_NAME,
    ZERO_VERSION,
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    No,
    Ok,
    Page,
    Prepare,
    Read,
    Row,
    RowFlag,
    Scan,
    Sealed,
    Want,
)
from tests.crash.crash_images import Image
from tests.crash.device_rig import ROOT, DeviceRig
from tests.crash.recording_disk import RecordingDisk

S, N = b"shard", b"name"
FIRST_SEGMENT = f"{ROOT}/journal/00000001.seg"


async def new_rig(**switches: Any) -> DeviceRig:
    """A new device on a new disk."""
    disk = RecordingDisk()
    for name, value in switches.items():
        setattr(disk, name, value)
    return await DeviceRig.open(disk)


async def reopen(rig: DeviceRig, image: Image | None = None) -> DeviceRig:
    """Crash, and open what is durable (or `image`)."""
    rig.crash()
    await asyncio.sleep(0)
    least = rig.disk.crashes(len(rig.disk.events)).least()
    return await DeviceRig.open(RecordingDisk(image or least), rig.clock)


class HeldLane(InlineLane):
    """A lane whose jobs wait until the test lets them run."""

    made: "list[HeldLane]"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.jobs: list[Any] = []
        self.holds = False
        if name.startswith("journal"):
            HeldLane.made.append(self)

    def submit(self, work: Any, done: Any) -> None:
        if self.holds:
            self.jobs.append((work, done))
        else:
            super().submit(work, done)

    def release(self) -> None:
        """Let all that waits run."""
        self.holds = False
        for work, done in self.jobs:
            super().submit(work, done)
        self.jobs.clear()


async def held_rig() -> tuple[DeviceRig, HeldLane]:
    """A device whose journal lane holds its jobs."""
    HeldLane.made = []
    rig = await DeviceRig.open(RecordingDisk(), lanes=HeldLane)
    HeldLane.made[0].holds = True
    return rig, HeldLane.made[0]


async def turns(count: int = 5) -> None:
    """Give the loop some turns."""
    for _ in range(count):
        await asyncio.sleep(0)


def fault(answer: Any) -> Fault:
    """The fault of a Failed answer."""
    assert isinstance(answer, Failed), answer
    return Fault(answer.fault)


# -- durability ----------------------------------------------------------------------------------


async def test_a_write_is_answered_after_its_sync_and_read_after_it() -> None:
    rig, lane = await held_rig()
    message = rig.write(S, N, b"payload")
    answer = rig.send(message, b"payload")
    await turns()
    assert not answer.done()
    row = await rig.ask(Read(S, N))
    assert isinstance(row, Row)
    assert row.version == ZERO_VERSION
    lane.release()
    assert await answer == (Ok(), b"")
    assert (await rig.send(Read(S, N)))[1] == b"payload"


async def test_what_arrives_during_a_sync_goes_out_with_one_sync() -> None:
    rig, lane = await held_rig()
    first = rig.send(rig.write(S, b"first", b""))
    await turns()
    more = [rig.send(rig.write(S, b"%d" % number, b"x")) for number in range(20)]
    await turns()
    assert len(lane.jobs) == 1
    before = sum(event.kind == "sync" for event in rig.disk.events)
    lane.release()
    await asyncio.gather(first, *more)
    assert sum(event.kind == "sync" for event in rig.disk.events) == before + 2


async def test_answers_that_rest_on_a_pending_state_wait_for_it() -> None:
    rig, lane = await held_rig()
    old, ballot = rig.write(S, N, b""), rig.stamp()
    new, seal = rig.write(S, N, b""), rig.write(S, SEAL_NAME, b"")
    sent = [
        rig.send(message)
        for message in (new, old, new, Prepare(S, N, ballot), Prepare(S, N, ballot), seal, old)
    ]
    sent.append(rig.send(rig.write(S, b"other", b"")))
    await turns()
    assert not any(answer.done() for answer in sent)
    lane.release()
    answers = [(await answer)[0] for answer in sent]
    assert [type(answer) for answer in answers] == [Ok, No, Ok, Row, No, Ok, Sealed, Sealed]
    assert answers[1].never_held


async def test_a_seal_that_finds_no_room_seals_nothing() -> None:
    rig, lane = await held_rig()
    rig.disk.full, rig.disk.room = True, 10
    seal = rig.send(rig.write(S, SEAL_NAME, b""))
    await turns()
    lane.release()
    assert fault((await seal)[0]) == Fault.FULL
    rig.disk.full = False
    rig.device.look_for_room()
    assert await rig.ask(rig.write(S, N, b"")) == Ok()


async def test_a_late_sync_is_answered_at_the_deadline_and_still_counts() -> None:
    rig, lane = await held_rig()
    answer = rig.send(rig.write(S, N, b"x"), b"x")
    await turns()
    rig.clock.seconds += 11
    assert fault((await answer)[0]) == Fault.DEADLINE
    lane.release()
    await rig.ask(rig.prepare(S, b"behind it"))
    assert (await rig.send(Read(S, N)))[1] == b"x"


# -- room ----------------------------------------------------------------------------------------


async def test_a_full_device_reads_deletes_and_recovers() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"kept"), b"kept")
    rig.disk.full, rig.disk.room = True, 1 << 20
    rig.device.look_for_room()
    assert fault(await rig.ask(rig.write(S, b"more", b""))) == Fault.FULL
    assert (await rig.send(Read(S, N)))[1] == b"kept"
    assert await rig.ask(rig.write(S, N, b"", RowFlag.TOMBSTONE)) == Ok()
    assert rig.device.status().full
    rig.disk.full = False
    rig.clock.seconds += 1
    assert await rig.ask(rig.write(S, b"more", b"")) == Ok()


async def test_a_full_disk_is_no_reason_not_to_start() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"kept"), b"kept")
    await rig.device.close()
    disk = RecordingDisk(rig.disk.image())
    disk.full = True
    rig = await DeviceRig.open(disk, rig.clock)
    assert (await rig.send(Read(S, N)))[1] == b"kept"
    assert fault(await rig.ask(rig.write(S, b"more", b""))) == Fault.FULL


@pytest.mark.parametrize("room", [0, 1, 40, 77, 150])
async def test_a_write_that_finds_no_room_is_cut_off_again(room: int) -> None:
    rig = await new_rig()
    assert await rig.ask(rig.write(S, N, b"kept"), b"kept") == Ok()
    size = rig.device.status().journal_bytes
    rig.disk.full, rig.disk.room = True, room
    sent = [rig.send(rig.write(S, N, b"lost"), b"lost"), rig.send(rig.write(S, b"2", b""))]
    assert [fault((await answer)[0]) for answer in sent] == [Fault.FULL, Fault.FULL]
    assert rig.device.status().journal_bytes == size
    rig.disk.full = False
    rig.device.look_for_room()
    assert await rig.ask(rig.write(S, b"later", b"l"), b"l") == Ok()
    rig = await reopen(rig)
    assert (await rig.send(Read(S, N)))[1] == b"kept"
    assert (await rig.send(Read(S, b"later")))[1] == b"l"


async def test_no_room_for_a_new_segment_is_no_loss() -> None:
    rig = await new_rig()
    assert await rig.ask(rig.write(S, N, b"x" * 5000), b"x" * 5000) == Ok()
    rig.disk.full = True
    assert fault(await rig.ask(rig.write(S, b"2", b""))) == Fault.FULL
    rig.disk.full = False
    rig.device.look_for_room()
    assert await rig.ask(rig.write(S, b"3", b"three"), b"three") == Ok()
    rig = await reopen(rig)
    assert (await rig.send(Read(S, b"3")))[1] == b"three"
    assert len((await rig.send(Read(S, N)))[1]) == 5000


# -- damage --------------------------------------------------------------------------------------


def find(rig: DeviceRig, needle: bytes) -> tuple[str, int]:
    """Where some bytes lie in the journal."""
    for path, data in rig.disk.image().files.items():
        if path.endswith(".seg") and needle in data:
            return path, data.index(needle)
    raise AssertionError("not in the journal")


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("indexed", [False, True])
async def test_a_bad_payload_is_set_aside_and_healed_by_its_own_version(
    cold: bool, indexed: bool
) -> None:
    rig = await new_rig(cold=cold)
    message, payload = rig.write(S, N, b"good payload"), b"good payload"
    await rig.ask(message, payload)
    await rig.ask(rig.write(S, b"other", b"fine"), b"fine")
    if indexed:
        await rig.device.checkpoint()
    rig.disk.flip(*find(rig, payload))
    for _ in range(2):
        assert fault(await rig.ask(Read(S, N))) == Fault.CORRUPT
    row = await rig.ask(Read(S, N, Want.VERSION))
    assert isinstance(row, Row)
    assert row.version == message.version
    assert (await rig.send(Read(S, b"other")))[1] == b"fine"
    assert rig.device.status().corrupt_count == 1
    aside = [name for name in rig.disk.image().files if "/quarantine/row-" in name]
    assert len(aside) == 1
    assert await rig.ask(message, payload) == Ok()
    assert (await rig.send(Read(S, N)))[1] == payload
    rig = await reopen(rig)
    assert (await rig.send(Read(S, N)))[1] == payload


async def test_a_missing_segment_is_corrupt_and_not_absent() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"x" * 5000), b"x" * 5000)
    await rig.ask(rig.write(S, b"2", b"next segment"), b"next segment")
    await rig.device.close()
    image = rig.disk.image()
    image.files.pop(FIRST_SEGMENT)
    rig = await DeviceRig.open(RecordingDisk(image), rig.clock)
    assert fault(await rig.ask(Read(S, N))) == Fault.CORRUPT
    assert (await rig.send(Read(S, b"2")))[1] == b"next segment"


async def test_damage_before_what_is_known_durable_stops_the_device() -> None:
    rig = await new_rig()
    for number in range(3):
        await rig.ask(rig.write(S, b"%d" % number, b"p%d" % number), b"p%d" % number)
    rig.disk.flip(*find(rig, b"head of 0"))
    rig = await reopen(rig, rig.disk.image())
    assert "damaged at offset" in rig.device.status().offline
    assert fault(await rig.ask(Read(S, b"2"))) == Fault.OFFLINE


async def test_damage_to_the_last_unproven_write_is_an_unfinished_write() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, b"0", b"zero"), b"zero")
    await rig.ask(rig.write(S, b"1", b"one"), b"one")
    rig.disk.flip(*find(rig, b"head of 1"))
    rig = await reopen(rig, rig.disk.image())
    assert rig.device.status().offline == ""
    assert (await rig.send(Read(S, b"0")))[1] == b"zero"
    assert await rig.ask(rig.write(S, b"2", b"two"), b"two") == Ok()
    rig = await reopen(rig)
    assert (await rig.send(Read(S, b"2")))[1] == b"two"


async def test_a_journal_that_ends_before_its_checkpoint_stops_the_device() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"x"), b"x")
    await rig.device.close()
    image = rig.disk.image()
    image.files[FIRST_SEGMENT] = image.files[FIRST_SEGMENT][:-1]
    rig = await DeviceRig.open(RecordingDisk(image), rig.clock)
    assert "cut short" in rig.device.status().offline


async def test_another_devices_segment_is_not_taken() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"x"), b"x")
    stolen = rig.disk.image().files[FIRST_SEGMENT]
    other = RecordingDisk()
    other_rig = await DeviceRig.open(other, seed=8)
    other_rig.crash()
    image = other.image()
    image.files[FIRST_SEGMENT] = stolen
    other_rig = await DeviceRig.open(RecordingDisk(image), rig.clock, seed=8)
    row = await other_rig.ask(Read(S, N))
    assert not isinstance(row, Row) or row.version == ZERO_VERSION


def damage_index(rig: DeviceRig, table: Table, key: bytes, new_key: bytes | None = None) -> None:
    """Flip a bit of an index value, or rename its key, behind the engine's back."""
    rows = rig.disk.index[f"{ROOT}/index"][table]
    value = rows.pop(key)
    if new_key is None:
        value = value[:20] + bytes([value[20] ^ 1]) + value[21:]
    rows[new_key or key] = value


PREFIX = bytes([len(S)]) + S


@pytest.mark.parametrize("new_key", [None, PREFIX + b"name0"])
@pytest.mark.parametrize("message", [Read(S, N), Scan(S, b"", b"", 5)])
async def test_a_damaged_index_is_rebuilt_while_the_device_is_away(
    message: Any, new_key: bytes | None
) -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"payload"), b"payload")
    await rig.ask(rig.write(S, b"zzz", b""))
    await rig.device.checkpoint()
    damage_index(rig, Table.ROWS, PREFIX + N, new_key)
    await turns()
    assert fault(await rig.ask(message)) == Fault.CORRUPT
    assert fault(await rig.ask(Read(S, N))) == Fault.OFFLINE
    while rig.device.status().offline:
        await asyncio.sleep(0)
    assert (await rig.send(Read(S, N)))[1] == b"payload"
    page = await rig.ask(Scan(S, b"", b"", 5))
    assert isinstance(page, Page)
    assert [row.name for row in page.rows] == [N, b"zzz"]
    assert "rebuilt" in rig.device.status().notes[-1]
    assert await rig.ask(rig.write(S, b"after", b"")) == Ok()
    rig = await reopen(rig)
    assert isinstance(await rig.ask(Read(S, b"after")), Row)


@pytest.mark.parametrize("table", [Table.META, Table.SEGMENTS])
async def test_an_index_found_damaged_at_the_start_is_rebuilt(table: Table) -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"payload"), b"payload")
    await rig.device.close()
    rows = rig.disk.index[f"{ROOT}/index"][table]
    key = next(iter(rows))
    rows[key] = rows[key][:-1] + b"\xff"
    rig = await DeviceRig.open(RecordingDisk(rig.disk.image()), rig.clock)
    assert "rebuilt" in rig.device.status().notes[0]
    assert (await rig.send(Read(S, N)))[1] == b"payload"
    assert any("/quarantine/index-0" in path for path in rig.disk.image().directories)


async def test_starts_that_do_not_last_put_the_index_under_suspicion() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"payload"), b"payload")
    looked = []

    def verify(path: str) -> str:
        looked.append(path)
        return "a page points nowhere"

    for _ in range(STARTS_SUSPECT):
        rig.crash()
        rig = await DeviceRig.open(RecordingDisk(rig.disk.image()), rig.clock, verify=verify)
    assert looked
    assert "a page points nowhere" in rig.device.status().notes[0]
    assert (await rig.send(Read(S, N)))[1] == b"payload"
    await rig.device.close()
    looked.clear()
    rig = await DeviceRig.open(RecordingDisk(rig.disk.image()), rig.clock, verify=verify)
    assert not looked


# -- compaction ----------------------------------------------------------------------------------


async def test_dead_segments_go_and_what_lives_in_poor_ones_moves() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, b"kept", b"k" * 100), b"k" * 100)
    for _ in range(6):
        await rig.ask(rig.write(S, N, b"x" * 5000), b"x" * 5000)
    assert rig.device.status().journal_segments == 6
    while rig.device.status().journal_segments > 2:
        await rig.device.checkpoint()
        await turns()
        await rig.ask(rig.write(S, b"tick", b""))
    assert FIRST_SEGMENT not in rig.disk.image().files
    rig = await reopen(rig)
    assert (await rig.send(Read(S, b"kept")))[1] == b"k" * 100
    assert (await rig.send(Read(S, N)))[1] == b"x" * 5000


async def test_a_manifest_outlives_its_row_until_the_hint_is_forgotten() -> None:
    rig = await new_rig()
    manifest = b"manifest " * 600
    await rig.ask(rig.write(S, N, manifest, RowFlag.BLOBS), manifest)
    await rig.ask(rig.write(S, N, b""))
    for _ in range(3):
        await rig.ask(rig.write(S, b"x", b"x" * 5000), b"x" * 5000)
        await rig.device.checkpoint()
        await turns(20)
    (hint,) = await rig.device.list_garbage(0, 10)
    assert (hint.shard, hint.name, hint.manifest) == (S, N, manifest)
    assert await rig.device.list_garbage(hint.seq, 10) == []
    await rig.device.forget_garbage([hint.seq])
    rig = await reopen(rig)
    assert await rig.device.list_garbage(0, 10) == []


async def test_a_bad_payload_keeps_its_segment() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"soon bad"), b"soon bad")
    await rig.ask(rig.write(S, b"x", b"x" * 5000), b"x" * 5000)
    rig.disk.flip(*find(rig, b"soon bad"))
    for _ in range(4):
        await rig.ask(rig.write(S, b"x", b"x" * 5000), b"x" * 5000)
        await rig.device.checkpoint()
        await turns(20)
    assert FIRST_SEGMENT in rig.disk.image().files
    assert fault(await rig.ask(Read(S, N))) == Fault.CORRUPT


# -- identity and life ---------------------------------------------------------------------------


async def test_only_its_own_device_is_opened() -> None:
    rig = await new_rig()
    with pytest.raises(DeviceRefused, match="in use"):
        await DeviceRig.open(rig.disk)
    await rig.device.close()
    toml = f"{ROOT}/device.toml"
    image = rig.disk.image()
    for what, text in (
        ("belongs to cluster", image.files[toml].replace(b"tests", b"other")),
        ("checksum", image.files[toml].replace(b"id = 3", b"id = 4")),
        ("format", image.files[toml].replace(b"format = 1", b"format = 2")),
        ("can't be read", b"\xff\xfe"),
    ):
        files = {**image.files, toml: text}
        if what == "belongs to cluster":
            files[toml] = signed(text)
        with pytest.raises(DeviceRefused, match=what):
            await DeviceRig.open(RecordingDisk(replace(image, files=files)))
    with pytest.raises(DeviceRefused, match="is device 3"):
        await DeviceRig.open(RecordingDisk(image), device_id=4)


def signed(text: bytes) -> bytes:
    """device.toml with its checksum put right."""
    from xxhash import xxh3_64_hexdigest

    body = text[: text.index(b"checksum")]
    return body + f'checksum = "{xxh3_64_hexdigest(body)}"\n'.encode()


async def test_a_journal_without_an_identity_is_refused() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b""))
    await rig.device.close()
    image = rig.disk.image()
    image.files.pop(f"{ROOT}/device.toml")
    with pytest.raises(DeviceRefused, match="holds a journal"):
        await DeviceRig.open(RecordingDisk(image))


async def test_an_answer_that_is_not_taken_hurts_nobody_else() -> None:
    rig, told = await new_rig(), []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    def refuse(answer: Any, payload: bytes) -> None:
        raise asyncio.InvalidStateError("nobody waits")

    rig.device.send(rig.write(S, N, b"x"), b"x", rig.clock.monotonic() + 9, refuse)
    assert await rig.ask(rig.write(S, b"2", b"")) == Ok()
    assert (await rig.send(Read(S, N)))[1] == b"x"
    assert len(told) == 1


async def test_close_answers_what_is_queued_and_then_nothing() -> None:
    rig = await new_rig()
    answer = rig.send(rig.write(S, N, b"x"), b"x")
    await rig.device.close()
    await rig.device.close()
    assert await answer == (Ok(), b"")
    assert fault(await rig.ask(Read(S, N))) == Fault.OFFLINE
    assert rig.device.status().offline == "closed"
    again = await DeviceRig.open(RecordingDisk(rig.disk.image()), rig.clock)
    assert again.device.status().replayed_rows == 0
    assert (await again.send(Read(S, N)))[1] == b"x"


async def test_a_device_whose_disk_went_away_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await new_rig()

    def gone(_path: str) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(rig.disk, "unlink", gone)
    await rig.device.close()
    assert rig.disk.locks == set()


async def test_a_checkpoint_that_finds_no_room_is_tried_again() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"x"), b"x")
    rig.index_full = True
    await rig.device.checkpoint()
    assert isinstance(await rig.ask(Read(S, N)), Row)
    assert fault(await rig.ask(rig.write(S, b"2", b""))) == Fault.FULL
    rig.index_full = False
    rig.device.look_for_room()
    assert await rig.ask(rig.write(S, b"2", b"")) == Ok()
    await rig.device.close()
    again = await DeviceRig.open(RecordingDisk(rig.disk.image()), rig.clock)
    assert (await again.send(Read(S, N)))[1] == b"x"
    assert again.device.status().replayed_rows == 0


async def test_a_failed_index_sync_is_final() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"x"), b"x")
    rig.index_fails = True
    await rig.device.checkpoint()
    assert fault(await rig.ask(Read(S, N))) == Fault.OFFLINE


async def test_the_status_says_what_there_is() -> None:
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"x" * 100), b"x" * 100)
    status = rig.device.status()
    assert status.device_id == 3
    assert status.unindexed_rows == 1
    assert status.checkpoint_age_s is None
    assert status.live_bytes > 100
    await rig.device.checkpoint()
    rig.clock.seconds += 5
    status = rig.device.status()
    assert status.unindexed_rows == 0
    assert status.checkpoint_age_s == 5
    assert status.index_bytes > 0


async def test_a_compaction_that_found_no_room_is_tried_again_on_a_device_at_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "COMPACT_AGAIN_S", 0.01)
    rig = await new_rig()
    await rig.ask(rig.write(S, N, b"k" * 1000), b"k" * 1000)
    for _ in range(8):
        await rig.ask(rig.write(S, b"junk", b"x" * 1500), b"x" * 1500)
    await rig.device.checkpoint()
    rig.disk.full = True  # the compaction that has just begun can't go on
    while not rig.device.status().notes:
        await turns()
    assert 1 in rig.device._journal.files.known
    rig.disk.full = False
    async with asyncio.timeout(10):
        while 1 in rig.device._journal.files.known:
            await asyncio.sleep(0.01)
            await rig.device.checkpoint()  # nothing, until something was moved
    assert (await rig.send(Read(S, N)))[1] == b"k" * 1000


async def test_a_damaged_blob_counts_among_the_checksums_that_failed() -> None:
    rig = await new_rig()
    name = BlobName(bytes(16), 0)
    header = BlobHeader(name, 1, "p", b"s", b"n", b"", "", 1, 0, 512, 1)
    writer = await rig.device.create_blob(header, rig.clock.monotonic() + 10)
    await writer.write(b"needle" * 100)
    await writer.commit()
    assert await rig.device.verify_blob(name)
    assert rig.device.status().corrupt_count == 0
    (path,) = [path for path, data in rig.disk.image().files.items() if b"needle" * 100 in data]
    rig.disk.flip(path, rig.disk.image().files[path].index(b"needle"))
    assert not await rig.device.verify_blob(name)
    assert rig.device.status().corrupt_count == 1

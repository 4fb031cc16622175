"""What a device refuses: oversize fields, stamps from the future, late messages; its misfortunes."""

import asyncio
import random

import pytest

from storage.types import (
    HEAD_MAX_BYTES,
    NAME_MAX_BYTES,
    ROW_PAYLOAD_MAX_BYTES,
    SHARD_KEY_MAX_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    Accept,
    Count,
    Counts,
    Failed,
    Fault,
    Ok,
    Prepare,
    Read,
    Row,
    RowAnswer,
    RowFlag,
    RowMessage,
    Scan,
    Want,
    Write,
)
from tests.contract.device.rigs import Rig
from tests.contract.device.words import NAME, SHARD, prepare, stamp, tombstone, update, write

S = 1_000_000
LONG_NAME = bytes(NAME_MAX_BYTES + 1)
LONG_SHARD = bytes(SHARD_KEY_MAX_BYTES + 1)

OVERSIZE: dict[str, RowMessage] = {
    "read name": Read(SHARD, LONG_NAME),
    "read shard": Read(LONG_SHARD, NAME),
    "write name": write(S, LONG_NAME),
    "write shard": write(S, shard=LONG_SHARD),
    "write head": write(S, head=bytes(HEAD_MAX_BYTES + 1)),
    "accept name": Accept(SHARD, LONG_NAME, update(0, S), 0, 0, b""),
    "accept head": Accept(SHARD, NAME, update(0, S), 0, 0, bytes(HEAD_MAX_BYTES + 1)),
    "prepare name": prepare(S, LONG_NAME),
    "scan start": Scan(SHARD, bytes(NAME_MAX_BYTES + 2), b"", 10),
    "scan prefix": Scan(SHARD, b"", b"", 10, prefix=bytes(NAME_MAX_BYTES + 2)),
    "count shard": Count(LONG_SHARD),
    "negative size": write(S, size=-1),
    "huge size": write(S, size=2**60),
    "negative flags": write(S, flags=-1),
    "huge flags": Accept(SHARD, NAME, update(0, S), 2**40, 0, b""),
    "short version": Write(SHARD, NAME, stamp(S), 0, 0, b""),
    "long version": Accept(SHARD, NAME, update(0, S) + b"x", 0, 0, b""),
    "short ballot": Prepare(SHARD, NAME, b"ballot"),
    "plain write with a ballot": Write(SHARD, NAME, update(S, S), 0, 0, b""),
}


def fault(answer: RowAnswer) -> Fault:
    assert isinstance(answer, Failed), answer
    return Fault(answer.fault)


@pytest.mark.parametrize("what", sorted(OVERSIZE))
async def test_malformed_messages_are_refused_and_change_nothing(rig: Rig, what: str) -> None:
    assert fault(await rig.answer_to(OVERSIZE[what])) is Fault.TOO_LARGE
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)
    assert await rig.answer_to(Count(SHARD)) == Counts(0, 0)


async def test_payloads_end_at_their_limit(rig: Rig) -> None:
    body = bytes(ROW_PAYLOAD_MAX_BYTES)
    assert fault(await rig.answer_to(write(2 * S), body + b"x")) is Fault.TOO_LARGE
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)
    assert await rig.answer_to(write(S), body) == Ok()
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert len(payload) == ROW_PAYLOAD_MAX_BYTES


async def test_fields_of_the_greatest_size_are_taken(rig: Rig) -> None:
    shard, name, head = LONG_SHARD[1:], LONG_NAME[1:], bytes(HEAD_MAX_BYTES)
    assert await rig.answer_to(write(S, name, head=head, shard=shard)) == Ok()
    row = await rig.answer_to(Read(shard, name))
    assert isinstance(row, Row)
    assert row.head == head


MINUTE_NS = 60_000_000_000


async def test_stamps_too_far_ahead_are_refused(rig: Rig) -> None:
    far = 600 * MINUTE_NS  # counted from when the tests were collected
    version = stamp(far) + ZERO_STAMP
    assert fault(await rig.answer_to(Write(SHARD, NAME, version, 0, 0, b""))) is Fault.SKEW
    assert fault(await rig.answer_to(prepare(far))) is Fault.SKEW
    assert fault(await rig.answer_to(Accept(SHARD, NAME, update(S, far), 0, 0, b""))) is Fault.SKEW
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)


async def test_stamps_a_little_ahead_are_taken_and_time_heals(rig: Rig) -> None:
    assert await rig.answer_to(write(MINUTE_NS // 2)) == Ok()
    rig.clock.ahead_ns = 2 * MINUTE_NS
    assert await rig.answer_to(write(2 * MINUTE_NS)) == Ok()


async def test_a_message_after_its_deadline_is_not_carried_out(rig: Rig) -> None:
    for message in (write(S), prepare(S), Read(SHARD, NAME), Count(SHARD)):
        answer, _ = await rig.ask(message, deadline_s=-1)
        assert fault(answer) is Fault.DEADLINE
    assert await rig.answer_to(Read(SHARD, NAME)) == Row(ZERO_VERSION)
    assert isinstance(await rig.answer_to(prepare(S)), Row)


async def test_a_full_device_refuses_writes_and_goes_on_reading(rig: Rig) -> None:
    await rig.ask(write(S), b"kept")
    rig.misfortunes.fill()
    assert fault(await rig.answer_to(write(2 * S), bytes(100_000))) is Fault.FULL
    _, payload = await rig.ask(Read(SHARD, NAME))
    assert bytes(payload) == b"kept"
    assert await rig.answer_to(Count(SHARD)) == Counts(1, 3)
    rig.misfortunes.make_room()
    assert await rig.answer_to(tombstone(3 * S)) == Ok()


async def test_a_device_that_runs_low_goes_on_deleting(rig: Rig) -> None:
    await rig.ask(write(S), b"old")
    rig.misfortunes.run_low()
    assert fault(await rig.answer_to(write(2 * S), b"new")) is Fault.FULL
    assert isinstance(await rig.answer_to(prepare(3 * S)), Row)
    gone = Accept(SHARD, NAME, update(S, 3 * S), RowFlag.TOMBSTONE, 0, b"")
    assert await rig.answer_to(gone) == Ok()
    assert await rig.answer_to(tombstone(4 * S)) == Ok()


@pytest.mark.parametrize("version", ["plain", "conditional"])
async def test_a_device_that_runs_low_takes_confirmations(rig: Rig, version: str) -> None:
    """Else a row that one replica had room for could not be read before there is room."""
    await rig.ask(write(S), b"old")
    rig.misfortunes.run_low()
    confirmed: RowMessage = write(2 * S, flags=RowFlag.MANIFEST | RowFlag.CONFIRMS)
    if version == "conditional":
        flags = RowFlag.MANIFEST | RowFlag.CONFIRMS
        confirmed = Accept(SHARD, NAME, update(S, 2 * S), flags, 3, b"head")
    assert await rig.answer_to(confirmed, b"new") == Ok()
    answer, payload = await rig.ask(Read(SHARD, NAME))
    assert isinstance(answer, Row)
    assert (answer.flags, bytes(payload)) == (RowFlag.MANIFEST, b"new")
    assert fault(await rig.answer_to(write(3 * S), b"newer")) is Fault.FULL


async def damaged(rig: Rig) -> bytes:
    """A row whose payload has gone bad."""
    payload = random.Random(5).randbytes(20_000)
    assert await rig.answer_to(write(S), payload) == Ok()
    rig.misfortunes.damage_row(SHARD, NAME, payload)
    return payload


async def test_a_damaged_payload_is_never_served_and_its_version_still_is(rig: Rig) -> None:
    await damaged(rig)
    for _ in range(2):
        answer, body = await rig.ask(Read(SHARD, NAME))
        assert fault(answer) is Fault.CORRUPT
        assert body == b""
    row = await rig.answer_to(Read(SHARD, NAME, Want.VERSION))
    assert isinstance(row, Row)
    assert row.version == write(S).version


async def test_a_damaged_row_is_healed_by_the_same_version(rig: Rig) -> None:
    payload = await damaged(rig)
    await rig.ask(Read(SHARD, NAME))
    assert await rig.answer_to(write(S), payload) == Ok()
    answer, body = await rig.ask(Read(SHARD, NAME))
    assert isinstance(answer, Row)
    assert bytes(body) == payload
    assert await rig.answer_to(Count(SHARD)) == Counts(1, 3)
    assert await rig.device.list_garbage(0, 10) == []


async def test_a_damaged_row_is_replaced_by_a_newer_one(rig: Rig) -> None:
    await damaged(rig)
    assert await rig.answer_to(write(2 * S), b"new") == Ok()
    _, body = await rig.ask(Read(SHARD, NAME))
    assert bytes(body) == b"new"


async def test_a_stopped_device_says_so(rig: Rig) -> None:
    rig.misfortunes.stop()
    for message in (write(S), prepare(S), Read(SHARD, NAME), Count(SHARD), Scan(SHARD, b"", b"", 1)):
        assert fault(await rig.answer_to(message)) is Fault.OFFLINE


async def test_many_calls_at_once_are_each_answered_once(rig: Rig) -> None:
    """`deliver` exactly once, to the right caller, in whatever order."""
    count = 500
    answers = await asyncio.gather(
        *(rig.answer_to(write(S, b"%d" % number), b"%d" % number) for number in range(count))
    )
    assert answers == [Ok()] * count
    reads = await asyncio.gather(*(rig.ask(Read(SHARD, b"%d" % number)) for number in range(count)))
    assert [bytes(payload) for _, payload in reads] == [b"%d" % number for number in range(count)]


async def test_it_knows_its_id_and_where_it_lives(rig: Rig) -> None:
    assert rig.device.device_id == 7
    assert rig.device.local is rig.is_local

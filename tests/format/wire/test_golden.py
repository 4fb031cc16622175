"""Version 1 of the node protocol, kept for ever: every call, answer and the handshake, byte by byte.

A golden file holds one frame or handshake message after the other. What it holds may be added to in
a later protocol version, in files of that version; these never change.
"""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from runtime.randomness import SeededRandomness
from storage.node import NodeFacts, Progress
from storage.types import (
    Accept,
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Changed,
    Changes,
    Clear,
    Count,
    Counts,
    Drop,
    Failed,
    Fault,
    Forget,
    Install,
    Installed,
    LeafDigests,
    Leaves,
    ListShards,
    No,
    Ok,
    Page,
    PartitionSummary,
    Prepare,
    Pull,
    Pulled,
    PulledRow,
    Read,
    Row,
    RowAnswer,
    RowMessage,
    Scan,
    ScannedRow,
    Sealed,
    ShardList,
    ShardSummary,
    Summarize,
    Summary,
    VersionList,
    Versions,
    Write,
)
from storage.wire import messages as m
from storage.wire.frames import ANSWER_BIT, FrameParser, encode_prefix
from storage.wire.handshake import HELLO_BYTES, ClientHandshake, Role, ServerHandshake

GOLDEN = Path(__file__).parent / "golden"
SECRET = b"0123456789abcdef0123456789abcdef"
STAMP = bytes(range(16))
VERSION = STAMP + bytes(16)
NAME = BlobName(bytes(range(16, 32)), 3)
HEADER = BlobHeader(
    NAME, 77, "ec-4-2", b"shard", b"name", b"upload", "isa_l_rs_cauchy", 4, 2, 262_144, 1_795_446_000
)

PULLED = PulledRow(b"name", VERSION, STAMP, [STAMP + STAMP], 2, 5, b"head", 5)

REQUESTS: list[tuple[m.Call, Any, bytes]] = [
    (m.ROW, Read(b"shard", b"name", 1), b""),
    (m.ROW, Write(b"shard", b"name", VERSION, 2, 5, b"head"), b"hello"),
    (m.ROW, Accept(b"shard", b"name", STAMP + STAMP, 0, 5, b"head"), b"hello"),
    (m.ROW, Prepare(b"shard", b"name", STAMP), b""),
    (m.ROW, Scan(b"shard", b"a", b"z", 1000, True, b"p/"), b""),
    (m.ROW, Count(b"shard"), b""),
    (m.PING, m.Ping("1.0"), b""),
    (m.STATUS, m.Status(), b""),
    (m.CREATE_BLOB, m.CreateBlob(9, HEADER), b""),
    (m.WRITE_BLOB, m.WriteBlob(9), b"a piece of the blob"),
    (m.COMMIT_BLOB, m.CommitBlob(9), b""),
    (m.OPEN_BLOB, m.OpenBlob(10, NAME), b""),
    (m.READ_BLOB, m.ReadBlob(10, 65_536, 1000), b""),
    (m.CLOSE_BLOB, m.CloseBlob(10), b""),
    (m.DELETE_BLOB, m.DeleteBlob(NAME), b""),
    (m.LIST_BLOBS, m.ListBlobs(NAME, 100), b""),
    (m.LIST_BLOBS, m.ListBlobs(None, 100), b""),
    (m.LIST_GARBAGE, m.ListGarbage(5, 100), b""),
    (m.FORGET_GARBAGE, m.ForgetGarbage([1, 2, 300]), b""),
    (m.ADOPT_BLOB, m.AdoptBlob(NAME), b""),
    (m.REPORT_CORRUPT_BLOB, m.ReportCorruptBlob(NAME, 12), b""),
    (m.STAGE_BLOB, m.StageBlob(HEADER), b""),
]

ANSWERS: list[tuple[m.Call, Any, bytes]] = [
    (m.ROW, Row(VERSION, 2, 5, b"head", True), b"hello"),
    (m.ROW, Ok(), b""),
    (m.ROW, No(STAMP, True), b""),
    (m.ROW, Sealed(), b""),
    (m.ROW, Page([ScannedRow(b"name", VERSION, 0, 5, b"head")], 2**63, b"name\0", False), b""),
    (m.ROW, Counts(3, 4096, False), b""),
    (m.ROW, Failed(Fault.FULL, "no room"), b""),
    (m.PING, m.Pong("1.0", 70_000, [1, 2]), b""),
    (m.STATUS, m.StatusOf({"free_bytes": 5}), b""),
    (m.CREATE_BLOB, m.Done(), b""),
    (m.CREATE_BLOB, m.Invalid("it exists"), b""),
    (m.OPEN_BLOB, m.Opened(HEADER, 1_048_576), b""),
    (m.READ_BLOB, m.Done(), b"bytes of the blob"),
    (m.LIST_BLOBS, m.Listed(True), m.encode([])),
]


NODE_REQUESTS: list[tuple[m.Call, Any, bytes]] = [
    (m.GET_NODE, m.GetNode(), b""),
    (m.GET_RING, m.GetRing(70_000, 8_388_608), b""),
    (m.GET_PROGRESS, m.GetProgress(), b""),
    (m.GET_REPORT, m.GetReport(), b""),
]
"""Calls that came later have files of their own."""

NODE_ANSWERS: list[tuple[m.Call, Any, bytes]] = [
    (m.GET_NODE, NodeFacts("node-a", 1, 2, {3: 0, 4: 1}), b""),
    (m.GET_RING, m.RingOf(70_001, 9_000_000), b"the rest of a ring"),
    (m.GET_PROGRESS, Progress(70_001, 1, 2, 3, 4, 5), b""),
    (m.GET_REPORT, m.ReportOf(), b"a report"),
]

REPLICA_REQUESTS: list[tuple[m.Call, Any, bytes]] = [
    (m.ROW, Summarize(2**63 + 5, 10, 64, 128), b""),
    (m.ROW, ListShards(2**63 + 5, 10, 77, b"after"), b""),
    (m.ROW, Pull(b"shard", b"start", 100), b""),
    (m.ROW, Install(b"shard", [PULLED]), b"hello"),
    (m.ROW, Leaves(b"shard"), b""),
    (m.ROW, Versions(b"shard", [0, 255], b"start"), b""),
    (m.ROW, Forget(b"shard", [(b"name", VERSION)], 1_795_446_000_000_000_000), b""),
    (m.ROW, Drop(b"shard"), b""),
]

REPLICA_ANSWERS: list[tuple[m.Call, Any, bytes]] = [
    (m.ROW, Summary([PartitionSummary(77, 2**64 - 1, 5, 3, 4096)]), b""),
    (m.ROW, ShardList([ShardSummary(b"shard", 2**63, 5, 3, 4096, True)], True), b""),
    (m.ROW, Pulled([PULLED], b"next"), b"hello"),
    (m.ROW, Installed([b"name"]), b""),
    (m.ROW, LeafDigests([2**64 - 1] + [0] * 255), b""),
    (m.ROW, VersionList([(b"name", VERSION)], b"next"), b""),
]

COPY_REQUESTS: list[tuple[m.Call, Any, bytes]] = [
    (m.ROW, Changed(b"shard", b"cursor"), b""),
    (m.ROW, Clear(b"shard", [(b"name", VERSION)]), b""),
]

COPY_ANSWERS: list[tuple[m.Call, Any, bytes]] = [
    (m.ROW, Changes([(b"name", VERSION)], b"cursor", True, True), b""),
]

REPAIR_REQUESTS: list[tuple[m.Call, Any, bytes]] = [
    (m.GROUP_BLOBS, m.GroupBlobs(2**63 + 5, 10, "ec-4-2", 64, 128), b""),
    (m.LIST_GROUP, m.ListGroup(2**63 + 5, 10, "ec-4-2", 77, 3, NAME.id, 100), b""),
]

REPAIR_ANSWERS: list[tuple[m.Call, Any, bytes]] = [
    (m.GROUP_BLOBS, m.Listed(False), m.encode([BlobGroup("ec-4-2", 77, 3, 2, 500, 2**64 - 1)])),
    (m.LIST_GROUP, m.Listed(True), m.encode([BlobEntry(HEADER, 500)])),
]


def frame(kind: int, number: int, head: bytes, body: bytes) -> bytes:
    ticks = 0 if kind & ANSWER_BIT else 1000
    return encode_prefix(kind, head, len(body), call=number, epoch=7, ticks=ticks) + body


def request_frames(requests: list[tuple[m.Call, Any, bytes]]) -> list[bytes]:
    return [
        frame(call.kind, number, m.encode((42, message)), body)
        for number, (call, message, body) in enumerate(requests, 1)
    ]


def answer_frames(answers: list[tuple[m.Call, Any, bytes]]) -> list[bytes]:
    return [
        frame(call.kind | ANSWER_BIT, number, m.encode(answer), body)
        for number, (call, answer, body) in enumerate(answers, 1)
    ]


def shaken() -> list[bytes]:
    """Client's hello, server's hello, client's proof, server's proof."""
    client = ClientHandshake(SECRET, Role.BULK, SeededRandomness(1))
    server = ServerHandshake(SECRET, SeededRandomness(2))
    said = [client.begin()]
    said.append(server.feed(said[0])[0])
    said.append(client.feed(said[1])[0])
    said.append(server.feed(said[2])[0])
    assert client.feed(said[3]) == (b"", b"")
    return said


FILES = {
    "v1-requests.frames": lambda: request_frames(REQUESTS),
    "v1-answers.frames": lambda: answer_frames(ANSWERS),
    "v1-node-requests.frames": lambda: request_frames(NODE_REQUESTS),
    "v1-node-answers.frames": lambda: answer_frames(NODE_ANSWERS),
    "v1-replica-requests.frames": lambda: request_frames(REPLICA_REQUESTS),
    "v1-replica-answers.frames": lambda: answer_frames(REPLICA_ANSWERS),
    "v1-copy-requests.frames": lambda: request_frames(COPY_REQUESTS),
    "v1-copy-answers.frames": lambda: answer_frames(COPY_ANSWERS),
    "v1-repair-requests.frames": lambda: request_frames(REPAIR_REQUESTS),
    "v1-repair-answers.frames": lambda: answer_frames(REPAIR_ANSWERS),
    "v1-handshake.bytes": shaken,
}


@pytest.mark.parametrize("name", FILES)
def test_version_1_is_written_as_it_was(name: str) -> None:
    assert b"".join(FILES[name]()) == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("v1-requests.frames", REQUESTS),
        ("v1-node-requests.frames", NODE_REQUESTS),
        ("v1-replica-requests.frames", REPLICA_REQUESTS),
        ("v1-copy-requests.frames", COPY_REQUESTS),
        ("v1-repair-requests.frames", REPAIR_REQUESTS),
    ],
)
def test_version_1_requests_are_read_as_they_were(
    name: str, requests: list[tuple[m.Call, Any, bytes]]
) -> None:
    frames = FrameParser().feed((GOLDEN / name).read_bytes())
    assert len(frames) == len(requests)
    for read, (call, message, body) in zip(frames, requests, strict=True):
        assert (read.kind, read.epoch, read.ticks, read.body) == (call.kind, 7, 1000, body)
        assert m.request_decoder(call).decode(read.head) == (42, message)


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("v1-answers.frames", ANSWERS),
        ("v1-node-answers.frames", NODE_ANSWERS),
        ("v1-replica-answers.frames", REPLICA_ANSWERS),
        ("v1-copy-answers.frames", COPY_ANSWERS),
        ("v1-repair-answers.frames", REPAIR_ANSWERS),
    ],
)
def test_version_1_answers_are_read_as_they_were(
    name: str, answers: list[tuple[m.Call, Any, bytes]]
) -> None:
    frames = FrameParser().feed((GOLDEN / name).read_bytes())
    assert len(frames) == len(answers)
    for read, (call, answer, body) in zip(frames, answers, strict=True):
        assert (read.kind, read.body) == (call.kind | ANSWER_BIT, body)
        assert m.answer_decoder(call).decode(read.head) == answer


def test_every_row_message_and_answer_has_a_golden_frame() -> None:
    requests = REQUESTS + REPLICA_REQUESTS + COPY_REQUESTS
    asked = {type(message) for call, message, _ in requests if call is m.ROW}
    assert asked == set(RowMessage.__args__)
    answers = ANSWERS + REPLICA_ANSWERS + COPY_ANSWERS
    said = {type(answer) for call, answer, _ in answers if call is m.ROW}
    assert said == set(RowAnswer.__args__)


def test_every_call_has_a_golden_frame() -> None:
    known = REQUESTS + NODE_REQUESTS + REPAIR_REQUESTS
    assert {call.kind for call, _, _ in known} == {call.kind for call in m.CALLS}


def test_the_documented_bytes_are_the_real_ones() -> None:
    """The example in doc/formats/wire.md, spelled out by hand."""
    first = request_frames(REQUESTS)[0]
    head = b"\x92\x2a\x94\x01\xc4\x05shard\xc4\x04name\x01"
    assert first[:16] == b"\x01" + len(head).to_bytes(3, "little") + bytes(4) + (
        (1).to_bytes(4, "little") + (7).to_bytes(2, "little") + (1000).to_bytes(2, "little")
    )
    assert first[16:] == head


def test_the_documented_proofs_are_the_real_ones() -> None:
    hello, answer, proof, back = shaken()
    assert len(hello) == len(answer) == HELLO_BYTES == 40
    assert hello[:8] == b"ATLN\x01\x02\x00\x00"
    assert answer[:8] == b"ATLN\x01\x00\x00\x00"
    said = hello + answer
    mac = hmac.digest(SECRET, b"atoll node protocol: client proof\0" + said, hashlib.sha256)
    assert proof == mac
    mac = hmac.digest(SECRET, b"atoll node protocol: server proof\0" + said, hashlib.sha256)
    assert back == mac

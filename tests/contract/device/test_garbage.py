"""Garbage hints: what replaced rows owned."""

from storage.types import GarbageEntry, Ok, RowFlag
from tests.contract.device.rigs import Rig
from tests.contract.device.words import NAME, SHARD, accept, plain, prepare, tombstone, update, write

S = 1_000_000
B = RowFlag.BLOBS


async def hints(rig: Rig, after_seq: int = 0, limit: int = 100) -> list[GarbageEntry]:
    return await rig.device.list_garbage(after_seq, limit)


async def test_nothing_was_replaced(rig: Rig) -> None:
    await rig.ask(write(S, flags=B), b"manifest")
    await rig.ask(write(S, b"small"), b"inline")
    await rig.ask(write(2 * S, b"small"), b"inline")
    assert await hints(rig) == []


async def test_a_replaced_manifest_leaves_a_hint(rig: Rig) -> None:
    await rig.ask(write(S, flags=B), b"manifest 1")
    before_ns = rig.clock.now_ns()
    assert await rig.answer_to(write(2 * S, flags=B), b"manifest 2") == Ok()
    (hint,) = await hints(rig)
    assert (hint.shard, hint.name, hint.version) == (SHARD, NAME, plain(S))
    assert hint.manifest == b"manifest 1"
    assert before_ns <= hint.replaced_ns <= rig.clock.now_ns()


async def test_deletes_and_conditional_updates_leave_hints_too(rig: Rig) -> None:
    await rig.ask(write(S, flags=B), b"one")
    await rig.ask(prepare(2 * S))
    await rig.ask(accept(update(S, 2 * S), flags=B), b"two")
    await rig.ask(tombstone(3 * S))
    await rig.ask(write(4 * S), b"inline")
    assert [hint.manifest for hint in await hints(rig)] == [b"one", b"two"]
    assert [hint.version for hint in await hints(rig)] == [plain(S), update(S, 2 * S)]


async def test_what_changes_nothing_leaves_no_hint(rig: Rig) -> None:
    await rig.ask(write(2 * S, flags=B), b"manifest")
    await rig.ask(write(2 * S, flags=B), b"manifest")
    await rig.ask(write(S, flags=B), b"late")
    await rig.ask(prepare(3 * S))
    assert await hints(rig) == []


async def test_what_another_row_has_taken_over_leaves_no_hint(rig: Rig) -> None:
    """A completed upload's parts belong to the object from then on."""
    await rig.ask(write(S, flags=B), b"manifest")
    gone = RowFlag.TOMBSTONE | RowFlag.TAKEN_OVER
    assert await rig.answer_to(write(2 * S, flags=gone, size=0)) == Ok()
    assert await hints(rig) == []


async def test_hints_come_in_order_and_in_pages(rig: Rig) -> None:
    for number in range(1, 12):
        await rig.ask(write(number * S, flags=B), b"%d" % number)
    whole = await hints(rig)
    assert [hint.manifest for hint in whole] == [b"%d" % number for number in range(1, 11)]
    seqs = [hint.seq for hint in whole]
    assert seqs == sorted(set(seqs))
    assert await hints(rig, limit=4) == whole[:4]
    assert await hints(rig, after_seq=seqs[3], limit=4) == whole[4:8]
    assert await hints(rig, after_seq=seqs[-1]) == []
    assert await hints(rig, limit=0) == []


async def test_large_manifests_come_whole(rig: Rig) -> None:
    """More than one frame of the node protocol holds."""
    manifests = [bytes([number]) * (6 * 1024 * 1024) for number in range(1, 5)]
    for number, manifest in enumerate(manifests, 1):
        await rig.ask(write(number * S, flags=B), manifest)
    await rig.ask(tombstone(9 * S))
    assert [hint.manifest for hint in await hints(rig)] == manifests


async def test_forgotten_hints_are_gone_for_good(rig: Rig) -> None:
    for number in range(1, 6):
        await rig.ask(write(number * S, flags=B), b"%d" % number)
    whole = await hints(rig)
    await rig.device.forget_garbage([whole[0].seq, whole[2].seq])
    assert await hints(rig) == [whole[1], whole[3]]
    await rig.device.forget_garbage([whole[0].seq, 999_999])
    await rig.device.forget_garbage([])
    assert await hints(rig) == [whole[1], whole[3]]
    await rig.ask(tombstone(9 * S))
    (newest,) = await hints(rig, after_seq=whole[-1].seq)
    assert newest.manifest == b"5"

"""The engine against the in-memory twin: same messages, same answers, through crashes and more."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage.memory import MemoryDevice
from storage.types import (
    SEAL_NAME,
    ZERO_STAMP,
    ZERO_VERSION,
    Accept,
    Count,
    Drop,
    Forget,
    Install,
    Leaves,
    ListShards,
    Prepare,
    Pull,
    PulledRow,
    Read,
    RowMessage,
    Scan,
    Summarize,
    Versions,
    Want,
    Write,
)
from tests.crash.device_rig import DeviceRig, ManualClock
from tests.crash.recording_disk import RecordingDisk

SHARDS = st.sampled_from([b"a", b"b/1"])
NAMES = st.sampled_from([b"n", b"n\0", b"m/1", b"m/2", b"x" * 520 + b"1", b"x" * 520, SEAL_NAME])
COUNTERS = st.integers(1, 99)
FLAGS = st.sampled_from([0, 0, 1, 2, 2, 4])
SIZES = st.sampled_from([0, 1, 300, 2000])


def stamp(number: int) -> bytes:
    """A stamp; equal numbers make equal stamps, so that messages repeat and overtake."""
    return (number * 1000).to_bytes(8, "big") + b"client-1"


def payload_of(version: bytes, size: int) -> bytes:
    """The payload that a version always has."""
    return (version * 64)[:size]


class EngineMachine(RuleBasedStateMachine):
    """Sends the same to both; the engine also crashes, checkpoints and compacts."""

    @initialize()
    def start(self) -> None:
        """Open an empty device."""
        self.runner = asyncio.Runner()
        self.clock = ManualClock(4000)
        self.twin = MemoryDevice(3, self.clock)
        self.rig: DeviceRig = self.run(DeviceRig.open(RecordingDisk(), self.clock))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run on this machine's loop."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close the device and the loop."""
        if hasattr(self, "rig"):
            self.run(self.rig.device.close())
            self.runner.close()

    def check(self, *sent: tuple[RowMessage, bytes]) -> None:
        """Both give the same answers to messages sent at once."""
        expected: list[Any] = []
        for message, payload in sent:
            self.twin.send(message, payload, 1e9, lambda *both: expected.append(both))

        async def ask() -> list[Any]:
            return list(await asyncio.gather(*(self.rig.send(*one) for one in sent)))

        assert self.run(ask()) == expected

    def write_all(self, *sends: tuple[bytes, bytes, int, int, int]) -> None:
        """Plain writes, sent at once."""
        messages = []
        for shard, name, number, flags, size in sends:
            version = stamp(number) + ZERO_STAMP
            message = Write(shard, name, version, flags, size, b"h%d" % number)
            messages.append((message, payload_of(version, size)))
        self.check(*messages)

    @rule(shard=SHARDS, name=NAMES, number=COUNTERS, flags=FLAGS, size=SIZES)
    def write(self, shard: bytes, name: bytes, number: int, flags: int, size: int) -> None:
        """One plain write."""
        self.write_all((shard, name, number, flags, size))

    @rule(shard=SHARDS, name=NAMES, numbers=st.lists(COUNTERS, min_size=2, max_size=4), size=SIZES)
    def overtake(self, shard: bytes, name: bytes, numbers: list[int], size: int) -> None:
        """Some writes of one row at once, in any order."""
        self.write_all(*((shard, name, number, 2 * (number % 2), size) for number in numbers))

    @rule(shard=SHARDS, number=COUNTERS, flags=FLAGS, size=SIZES)
    def fill(self, shard: bytes, number: int, flags: int, size: int) -> None:
        """A write of every row but the seal."""
        names = (b"n", b"n\0", b"m/1", b"m/2", b"x" * 520 + b"1", b"x" * 520)
        self.write_all(*((shard, name, number, flags, size) for name in names))

    @rule(shard=SHARDS, name=NAMES, base=COUNTERS, ballot=COUNTERS, flags=FLAGS, size=SIZES)
    def accept(self, shard: bytes, name: bytes, base: int, ballot: int, flags: int, size: int) -> None:
        """A conditional write's second phase."""
        version = stamp(base) + stamp(ballot)
        message = Accept(shard, name, version, flags, size, b"a%d" % ballot)
        self.check((message, payload_of(version, size)))

    @rule(shard=SHARDS, name=NAMES, ballots=st.lists(COUNTERS, min_size=1, max_size=3))
    def prepare(self, shard: bytes, name: bytes, ballots: list[int]) -> None:
        """Promises, one after the other."""
        for ballot in ballots:
            self.check((Prepare(shard, name, stamp(ballot)), b""))

    @rule(shard=SHARDS, name=NAMES, want=st.integers(Want.VERSION, Want.PAYLOAD))
    def read(self, shard: bytes, name: bytes, want: int) -> None:
        """A read."""
        self.check((Read(shard, name, want), b""))

    @rule(
        shard=SHARDS, start=NAMES, end=NAMES, prefix=st.sampled_from([b"", b"m/", b"x" * 515]),
        limit=st.integers(1, 5), digest_only=st.booleans(),
    )  # fmt: skip
    def scan(
        self, shard: bytes, start: bytes, end: bytes, prefix: bytes, limit: int, digest_only: bool
    ) -> None:
        """A range read."""
        self.check((Scan(shard, start, end, limit, digest_only, prefix), b""))

    @rule(
        shard=SHARDS, name=NAMES, version=st.tuples(COUNTERS, COUNTERS | st.just(0)),
        earlier=st.lists(COUNTERS, max_size=3, unique=True), promised=COUNTERS | st.just(0),
        flags=FLAGS, size=SIZES,
    )  # fmt: skip
    def install(
        self, shard: bytes, name: bytes, version: tuple[int, int], earlier: list[int], promised: int,
        flags: int, size: int,
    ) -> None:  # fmt: skip
        """What other replicas know of a row, and a second time."""
        whole = stamp(version[0]) + (stamp(version[1]) if version[1] else ZERO_STAMP)
        before = [stamp(number) + ZERO_STAMP for number in sorted(earlier) if number < version[0]]
        promise = stamp(promised) if promised else ZERO_STAMP
        payload = payload_of(whole, size)
        row = PulledRow(name, whole, promise, before, flags, size, b"i", len(payload))
        only = PulledRow(b"m/1", ZERO_VERSION, promise, [], 0, 0, b"", 0)
        self.check((Install(shard, [row, only]), payload), (Install(shard, [row]), payload))

    @rule(shard=SHARDS, before=COUNTERS)
    def reclaim(self, shard: bytes, before: int) -> None:
        """Forget all that is an old tombstone, and ask the same of all else."""
        pulled: list[Any] = []
        self.twin.send(Pull(shard, b"", 100), b"", 1e9, lambda answer, _: pulled.append(answer))
        rows = [(row.name, row.version) for row in pulled[0].rows]
        self.check((Forget(shard, rows, before * 1000), b""))

    @rule(shard=SHARDS, version=COUNTERS, size=SIZES)
    def drop(self, shard: bytes, version: int, size: int) -> None:
        """A write and a drop right behind it."""
        whole = stamp(version) + ZERO_STAMP
        self.check(
            (Write(shard, b"n", whole, 0, size, b"d"), payload_of(whole, size)), (Drop(shard), b"")
        )

    @rule(shard=SHARDS, turns=st.integers(0, 8), index=st.booleans(), lose_index=st.booleans())
    def crash_in_a_drop(self, shard: bytes, turns: int, index: bool, lose_index: bool) -> None:
        """All of it is there afterwards, or nothing."""

        async def begin() -> None:
            self.rig.send(Drop(shard))
            for _ in range(turns):
                await asyncio.sleep(0)
            if index:
                await self.rig.device.checkpoint()

        self.run(begin())
        self.crash(lose_index)
        known = self.run(self.rig.ask(Pull(shard, b"", 100)))
        if not known.rows:
            self.twin.send(Drop(shard), b"", 1e9, lambda *_: None)

    @rule()
    def checkpoint(self) -> None:
        """Write a checkpoint, and give what follows from it its turn."""
        self.run(self.rig.device.checkpoint())

    @rule()
    def forget_garbage(self) -> None:
        """Deal with the oldest hint."""
        mine = self.run(self.rig.device.list_garbage(0, 1))
        theirs = self.run(self.twin.list_garbage(0, 1))
        if mine:
            self.run(self.rig.device.forget_garbage([mine[0].seq]))
            self.run(self.twin.forget_garbage([theirs[0].seq]))

    @rule()
    def restart(self) -> None:
        """Stop in order, start again."""
        self.run(self.rig.device.close())
        self.rig = self.run(DeviceRig.open(self.rig.disk, self.clock))

    @rule(lose_index=st.booleans())
    def crash(self, lose_index: bool) -> None:
        """Lose all that is not durable, perhaps the index as well, start again."""
        self.rig.crash()
        self.run(asyncio.sleep(0))
        disk = self.rig.disk
        image = disk.crashes(len(disk.events)).least()
        if lose_index:
            image.index.clear()
            hints = [hint.seq for hint in self.run(self.twin.list_garbage(0, 100))]
            self.run(self.twin.forget_garbage(hints))
        self.rig = self.run(DeviceRig.open(RecordingDisk(image), self.clock))
        if lose_index:  # a rebuild may bring back hints that were dealt with
            hints = [hint.seq for hint in self.run(self.rig.device.list_garbage(0, 1000))]
            self.run(self.rig.device.forget_garbage(hints))

    @invariant()
    def counts_and_hints_agree(self) -> None:
        """Counts, digests, whole pages, all that is known of rows, and garbage are the same."""
        if not hasattr(self, "rig"):
            return
        self.check((Summarize(5, 1, 0, 2), b""), (ListShards(5, 0, 0), b""))
        for shard in (b"a", b"b/1"):
            self.check((Count(shard), b""), (Scan(shard, b"", b"", 100), b""))
            self.check((Pull(shard, b"", 100), b""), (Leaves(shard), b""))
            self.check((Versions(shard, list(range(0, 256, 2)), b"m"), b""))
        mine = self.run(self.rig.device.list_garbage(0, 1000))
        theirs = self.run(self.twin.list_garbage(0, 1000))
        assert [tuple_of(hint) for hint in mine] == [tuple_of(hint) for hint in theirs]


def tuple_of(hint: Any) -> tuple[bytes, bytes, bytes, bytes]:
    """A hint without its seq and time."""
    return hint.shard, hint.name, hint.version, hint.manifest


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

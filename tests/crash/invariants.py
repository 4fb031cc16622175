"""What must hold of a device that was started on any legal state of the disk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Any

from storage.contract import DeviceFault
from storage.device import erasures
from storage.device.blob_paths import BlobPaths, parse_file_name
from storage.device.committed import BLOB_COST_BYTES, PLACE
from storage.device.held import RECORD_COST_BYTES, decode_value, promise_cost, record_cost
from storage.device.identity import DeviceRefused
from storage.device.index_contract import OpenIndex, Table, unguard
from storage.device.record import MIN_RECORD_BYTES
from storage.device.shards import split_key
from storage.digests import leaf_digests
from storage.types import (
    PULL_ROWS_MAX,
    SEAL_NAME,
    STAMP_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    BlobName,
    Count,
    Counts,
    LeafDigests,
    Leaves,
    ListShards,
    No,
    Ok,
    Page,
    Prepare,
    Pull,
    Pulled,
    Read,
    Row,
    RowFlag,
    Scan,
    Sealed,
    ShardList,
    Write,
)
from tests.crash.crash_images import Image
from tests.crash.device_rig import ROOT, DeviceRig, ManualClock
from tests.crash.ledger import Ledger, Versions, body_of
from tests.crash.recording_disk import RecordingDisk

AFTER_S = 1_900_000_000
"""When devices are started again."""

SALT = 77


Indexes = Callable[[RecordingDisk], OpenIndex | None]
"""What opens the index on a disk; None: the in-memory twin."""


def no_indexes(disk: RecordingDisk) -> None:
    """The in-memory twin."""


@dataclass
class Restart:
    """A device on an image. rebuilt: its index was lost, not in a power cut, so that compaction has
    dropped what took hints and blobs back."""

    image: Image
    ledger: Ledger
    rebuilt: bool = False
    indexes: Indexes = no_indexes

    async def faults(self, disk: RecordingDisk | None = None) -> list[str]:
        """What is wrong."""
        disk = disk or RecordingDisk(self.image)
        try:
            self.rig = await DeviceRig.open(disk, ManualClock(AFTER_S), open_index=self.indexes(disk))
        except DeviceRefused as error:
            return [f"refused: {error}"] if self.ledger.rows else []
        self.found: list[str] = []
        status = self.rig.device.status()
        if status.offline:
            return [f"offline: {status.offline}"]
        if status.notes and self.ledger.rows and not self.rebuilt:
            self._fault("notes", str(status.notes))
        try:
            await self._check()
        except Exception as error:
            self._fault("device", f"{error!r}")
        return self.found

    async def _check(self) -> None:
        await self._check_rows()
        await self._check_blobs()
        await self._check_hints()
        await self._check_shards()
        await self._check_digests()
        await self._check_refusals()
        await self._check_recount()
        await self._check_goes_on()

    def _fault(self, about: Any, text: str) -> None:
        self.found.append(f"{about!r}: {text}")

    async def _check_rows(self) -> None:
        """Every row is a whole version that was sent, and none older than an acknowledged one."""
        for (shard, name), row in self.ledger.rows.items():
            answer, payload = await self.rig.send(Read(shard, name))
            if not isinstance(answer, Row):
                self._fault(name, str(answer))
                continue
            if answer.version < row.least and not (row.optional and answer.version == ZERO_VERSION):
                self._fault(name, "an acknowledged version is gone")
            if answer.version in row.void:
                self._fault(name, "a version is back that was taken away")
            if answer.version in row.never_written():
                self._fault(name, "there is a version that was refused for want of room")
            if answer.version != ZERO_VERSION:
                self._check_row(name, row, answer, payload)

    def _check_row(self, name: bytes, row: Versions, answer: Row, payload: bytes) -> None:
        flags, size = row.sent.get(answer.version, (-1, -1))
        if (answer.flags, answer.size) != (flags & ~RowFlag.CONFIRMS, size):
            self._fault(name, f"not what was sent: {answer}")
        elif payload != body_of(answer.version, size) or set(answer.head) - {ord("h")}:
            self._fault(name, "torn")

    async def _check_blobs(self) -> None:
        """The index says of each blob what it may say, and what it names can be read whole."""
        known = {e.header.name: e for e in self.rig.device.list_blob_entries(None, 1000)}
        for name, allowed in self.ledger.blobs.items():
            entry = known.get(name)
            if entry not in allowed and not (self.rebuilt and entry is not None):
                self._fault(name, f"the index has {entry}, not one of {allowed}")
            elif entry is not None:
                await self._check_blob(name, entry.header.upload, entry.size_bytes)
        for name in set(known) - set(self.ledger.blobs):
            self._fault(name, "a blob that nobody wrote")
        self._check_files(set(known))

    async def _check_blob(self, name: BlobName, upload: bytes, size: int) -> None:
        try:
            reader = await self.rig.device.open_blob(name, self.rig.clock.monotonic() + 10)
            parts = await reader.read(0, size)
            reader.close()
        except DeviceFault as fault:
            if not self.rebuilt:
                self._fault(name, f"can't be read: {fault}")
            return
        if b"".join(parts) != body_of(upload, size):
            self._fault(name, "not the bytes that were written")

    def _check_files(self, known: set[BlobName]) -> None:
        """Nothing is left in staging, and what no index names is found by the sweep."""
        paths, disk = BlobPaths(ROOT), self.rig.disk
        if left := disk.list_dir(paths.staging):
            self._fault("staging", f"left over: {left}")
        stored = {
            parse_file_name(path.rpartition("/")[2])
            for path in disk.image().files
            if path.startswith(f"{paths.blobs}/")
        }
        if missing := known - stored and not self.rebuilt:
            self._fault("blobs", f"no file: {missing}")

    async def _check_hints(self) -> None:
        """What was listed and not dealt with is listed, and what was dealt with is not."""
        listed = {hint.seq: hint for hint in await self.rig.device.list_garbage(0, 1000)}
        for seq, hint in self.ledger.hints.items():
            if listed.get(seq) != hint and not self.rebuilt:
                self._fault(seq, f"the hint is {listed.get(seq)}, was {hint}")
        for seq, hint in listed.items():
            if seq in self.ledger.gone and not self.rebuilt:
                self._fault(seq, "a forgotten hint is back")
            if hint.manifest != body_of(hint.version, len(hint.manifest)):
                self._fault(seq, "a manifest that nobody wrote")

    async def _check_shards(self) -> None:
        """Counts say what a scan finds, which finds what reads find; a seal row seals."""
        for shard in {shard for shard, _ in self.ledger.rows}:
            counts = await self.rig.ask(Count(shard))
            page = await self.rig.ask(Scan(shard, b"", b"", 1000))
            seal = await self.rig.ask(Read(shard, SEAL_NAME))
            assert isinstance(counts, Counts)
            assert isinstance(page, Page)
            assert isinstance(seal, Row)
            hidden = RowFlag.TOMBSTONE | RowFlag.UNCOUNTED
            live = [row for row in page.rows if not row.flags & hidden]
            if (counts.rows, counts.size_bytes) != (len(live), sum(row.size for row in live)):
                self._fault(shard, f"{counts} but {len(live)} rows")
            sealed = seal.version != ZERO_VERSION and not seal.flags & RowFlag.TOMBSTONE
            if {counts.sealed, page.sealed, seal.sealed} != {sealed}:
                self._fault(shard, "a seal row that does not seal")
            await self._check_page(shard, page)

    async def _check_digests(self) -> None:
        """What a replica compares with others is what its rows give."""
        for partition in (0, 1):
            shards = await self.rig.ask(ListShards(SALT, 1, partition))
            assert isinstance(shards, ShardList)
            for shard in shards.shards:
                pulled = await self.rig.ask(Pull(shard.key, b"", PULL_ROWS_MAX))
                leaves = await self.rig.ask(Leaves(shard.key))
                assert isinstance(pulled, Pulled)
                assert isinstance(leaves, LeafDigests)
                held = [(row.name, row.version) for row in pulled.rows if row.version != ZERO_VERSION]
                digests = leaf_digests(held)
                if (shard.rows, shard.digest) != (len(pulled.rows), reduce(xor, digests)):
                    self._fault(shard.key, f"{shard}, but {len(pulled.rows)} rows")
                if leaves.digests != digests:
                    self._fault(shard.key, "leaves that its rows do not give")

    async def _check_page(self, shard: bytes, page: Page) -> None:
        versions = {row.name: row.version for row in page.rows}
        for name in [name for key, name in self.ledger.rows if key == shard and name != SEAL_NAME]:
            row = await self.rig.ask(Read(shard, name))
            if isinstance(row, Row) and versions.get(name, ZERO_VERSION) != row.version:
                self._fault(name, "a scan and a read differ")

    async def _check_refusals(self) -> None:
        """A promise still binds, and what was surely never held is still refused."""
        for (shard, name), row in self.ledger.rows.items():
            if row.promised:
                answer = await self.rig.ask(Prepare(shard, name, row.promised))
                if not isinstance(answer, No | Sealed):
                    self._fault(name, f"a promise was forgotten: {answer}")
            for message in row.late:
                payload = body_of(message.version, row.sent[message.version][1])
                answer = await self.rig.ask(message, payload)
                if not isinstance(answer, No | Sealed):
                    self._fault(name, f"a late write was taken: {answer}")

    async def _check_recount(self) -> None:
        """What counts as live in each segment is what the index points to."""
        await self.rig.device.checkpoint()
        counted = live_bytes(self.rig)
        tables = self.rig.device._tables
        stated = {number: live for number, live in tables.usage.live.items() if live}
        if stated != counted:
            self._fault("live bytes", f"{stated}, counted {counted}")
        if missing := set(counted) - self.rig.device._journal.files.known:
            self._fault("segments", f"the index points into {missing}, which are not there")

    async def _check_goes_on(self) -> None:
        """The device takes a write, and has it after the next crash."""
        version = self.rig.stamp()[:STAMP_BYTES] + ZERO_STAMP
        answer = await self.rig.ask(Write(b"late", b"n", version, 0, 4, b""), b"late")
        if not isinstance(answer, Ok):
            self._fault("late", f"no write after recovery: {answer}")
            return
        self.rig.crash()
        least = self.rig.disk.crashes(len(self.rig.disk.events)).least()
        disk, clock = RecordingDisk(least), ManualClock(int(self.rig.clock.seconds) + 1)
        again = await DeviceRig.open(disk, clock, open_index=self.indexes(disk))
        row, payload = await again.send(Read(b"late", b"n"))
        if not isinstance(row, Row) or row.version != version or payload != b"late":
            self._fault("late", f"a write after recovery is gone: {row}")
        again.crash()


def live_bytes(rig: DeviceRig) -> dict[int, int]:
    """Live bytes by segment, counted anew from an index that has everything."""
    tables = rig.device._tables
    counted: Counter[int] = Counter()
    for key, value in tables.index.scan(Table.ROWS, b"", b""):
        held = decode_value(key, value)
        if held.segment:
            counted[held.segment] += record_cost(len(key), held)
        if held.promise_segment:
            counted[held.promise_segment] += promise_cost(len(key))
    for hint in tables.garbage.all():
        counted[hint.manifest.segment] += RECORD_COST_BYTES + hint.manifest.length
    for _, place in tables.erasures.overlay.items(b""):
        segment, _, head_bytes = erasures.PLACE.unpack(place)
        counted[segment] += MIN_RECORD_BYTES + head_bytes
    for key, value in tables.index.scan(Table.BLOBS, b"", b""):
        segment, _ = PLACE.unpack_from(unguard(key, value))
        counted[segment] += BLOB_COST_BYTES
    return dict(counted)


def rows_of(rig: DeviceRig) -> dict[bytes, list[bytes]]:
    """Names by shard, from an index that has everything."""
    names: dict[bytes, list[bytes]] = {}
    for key, _ in rig.device._tables.index.scan(Table.ROWS, b"", b""):
        shard, name = split_key(key)
        names.setdefault(shard, []).append(name)
    return names

"""The in-memory twin of a device: the whole contract on dicts, for tests and simulations.

It decides as the engine does (`storage/replica.py`, `storage/admission.py`, `storage/paging.py`) but
keeps nothing when the process ends. Switches make it full, offline or corrupt; what goes wrong
between a client and a device is `storage/faults.py`.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import islice
from operator import xor

from xxhash import xxh3_64_intdigest

from runtime.clock import Clock
from storage import memory_shards, replica
from storage.admission import BLOB_DATA_MAX_BYTES, blob_refusal, refusal, require_partitions
from storage.contract import BlobReader, BlobWriter, Buffer, Deliver, DeviceFault
from storage.memory_shards import Held, Shard
from storage.paging import cut_page, first_name
from storage.types import (
    SEAL_NAME,
    ZERO_VERSION,
    Accept,
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Changed,
    Clear,
    Count,
    Counts,
    Drop,
    Failed,
    Fault,
    Forget,
    GarbageEntry,
    Install,
    Installed,
    Leaves,
    ListShards,
    No,
    Ok,
    Page,
    Prepare,
    Pull,
    PulledRow,
    Read,
    Row,
    RowAnswer,
    RowFlag,
    RowMessage,
    Scan,
    ScannedRow,
    Sealed,
    Summarize,
    Versions,
    Want,
    Write,
)

_OfReplicas = (
    Summarize | ListShards | Pull | Install | Leaves | Versions | Forget | Drop | Changed | Clear
)


class MemoryDevice:
    """A DeviceClient without a disk; every answer comes before `send` returns."""

    def __init__(self, device_id: int, clock: Clock, *, local: bool = True) -> None:
        self.device_id = device_id
        self.local = local
        self._clock = clock
        self._shards: dict[bytes, Shard] = {}
        self._blobs: dict[tuple[bytes, int], tuple[BlobHeader, bytes]] = {}
        self._being_written: set[tuple[bytes, int]] = set()
        self._garbage: dict[int, GarbageEntry] = {}
        self._last_seq = 0
        self._offline = ""
        self._full = False
        self._corrupt_rows: set[tuple[bytes, bytes]] = set()
        self._corrupt_blobs: set[tuple[bytes, int]] = set()
        self.quarantine: list[BlobName] = []
        """Blobs that were set aside because a read found them corrupt."""

    # -- switches ------------------------------------------------------------------------------

    def go_offline(self, why: str = "switched off") -> None:
        """Answer everything with OFFLINE until `go_online`; what it holds stays."""
        self._offline = why

    def go_online(self) -> None:
        """Serve again."""
        self._offline = ""

    def set_full(self, full: bool) -> None:
        """Refuse (or take again) rows and blobs; deletes go on, and promises, which they may need."""
        self._full = full

    def corrupt_row(self, shard: bytes, name: bytes) -> None:
        """Damage the row as it is now: CORRUPT is the answer until it is written anew."""
        self._corrupt_rows.add((shard, name))

    def corrupt_blob(self, name: BlobName) -> None:
        """Damage a blob: its next read finds it out and sets it aside."""
        self._corrupt_blobs.add(_key(name))

    def wipe(self) -> None:
        """Lose everything, as a replaced disk."""
        self._shards.clear()
        self._blobs.clear()
        self._garbage.clear()
        self._corrupt_rows.clear()
        self._corrupt_blobs.clear()

    # -- rows ----------------------------------------------------------------------------------

    def at(self, epoch: int) -> "MemoryDevice":
        """See DeviceClient.at: the fence is `storage/fence.py`."""
        return self

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send."""
        deliver(*self._answer(message, payload, deadline))

    def _answer(self, message: RowMessage, payload: bytes, deadline: float) -> tuple[RowAnswer, bytes]:
        if self._offline:
            return Failed(Fault.OFFLINE, self._offline), b""
        if self._clock.monotonic() >= deadline:
            return Failed(Fault.DEADLINE), b""
        if (refused := refusal(message, len(payload), self._clock.now_ns())) is not None:
            return refused, b""
        match message:
            case Read():
                return self._read(message)
            case Write() | Accept():
                return self._store(message, payload), b""
            case Prepare():
                return self._prepare(message)
            case Scan():
                return self._scan(message), b""
            case Count():
                return self._count(message), b""
        return self._answer_replica(message, payload)

    def _answer_replica(
        self,
        message: _OfReplicas,
        payload: bytes,
    ) -> tuple[RowAnswer, bytes]:
        match message:
            case Summarize():
                return memory_shards.summarize(self._shards, message), b""
            case ListShards():
                return memory_shards.list_shards(self._shards, message), b""
            case Pull():
                return memory_shards.pull(self._shard(message.shard), message, self._corrupt_rows)
            case Leaves():
                return memory_shards.leaves(self._shard(message.shard)), b""
            case Versions():
                return memory_shards.versions(self._shard(message.shard), message), b""
            case Install():
                return self._install(message, payload), b""
            case Forget():
                memory_shards.forget(self._shard(message.shard), message, self._corrupt_rows)
            case Clear():
                memory_shards.clear(self._shard(message.shard), message)
            case Changed():
                shard = self._shards.setdefault(message.shard, Shard())
                return memory_shards.changed(shard, message, self._clock.now_ns()), b""
            case Drop():
                self._drop(message.shard)
        return Ok(), b""

    def _shard(self, key: bytes) -> Shard:
        shard = self._shards.get(key)
        return Shard() if shard is None else shard

    def _read(self, message: Read) -> tuple[RowAnswer, bytes]:
        if message.want >= Want.PAYLOAD and (message.shard, message.name) in self._corrupt_rows:
            return Failed(Fault.CORRUPT), b""
        shard = self._shard(message.shard)
        return _row(shard.get(message.name), shard.sealed, message.want)

    def _prepare(self, message: Prepare) -> tuple[RowAnswer, bytes]:
        if (message.shard, message.name) in self._corrupt_rows:
            return Failed(Fault.CORRUPT), b""
        shard = self._shard(message.shard)
        if shard.sealed and message.name != SEAL_NAME:
            return Sealed(), b""
        held = shard.get(message.name)
        verdict = replica.on_prepare(held.state, message.ballot)
        if verdict.answer is not None:
            return verdict.answer, b""
        held = held._replace(state=verdict.state or held.state)
        self._shards.setdefault(message.shard, shard).put(message.name, held)
        return _row(held, shard.sealed, Want.PAYLOAD)

    def _store(self, message: Write | Accept, payload: bytes) -> Ok | No | Sealed | Failed:
        shard = self._shard(message.shard)
        held = shard.get(message.name)
        decide = replica.on_write if type(message) is Write else replica.on_accept
        verdict = decide(held.state, message.version)
        heals = held.state.version == message.version and len(payload) == len(held.payload)
        heals = heals and (message.shard, message.name) in self._corrupt_rows
        if verdict.state is None and type(verdict.answer) is Ok and not heals:
            return verdict.answer  # held already: true of a sealed shard, too
        if shard.sealed and message.name != SEAL_NAME:
            return Sealed()
        if type(verdict.answer) is No:
            return verdict.answer
        if self._full and not message.flags & (RowFlag.TOMBSTONE | RowFlag.CONFIRMS):
            return Failed(Fault.FULL)
        flags = message.flags & ~RowFlag.CONFIRMS
        new = Held(verdict.state or held.state, flags, message.size, message.head, bytes(payload))
        self._replace(message.shard, message.name, held, new)
        return Ok()

    def _replace(self, key: bytes, name: bytes, old: Held, new: Held) -> None:
        version = old.state.version
        owned = old.flags & RowFlag.BLOBS and not new.flags & RowFlag.TAKEN_OVER
        if owned and version != new.state.version:
            self._last_seq += 1
            self._garbage[self._last_seq] = GarbageEntry(
                self._last_seq, self._clock.now_ns(), key, name, version, old.payload
            )
        self._shards.setdefault(key, Shard()).put(name, new)
        self._corrupt_rows.discard((key, name))

    def _install(self, message: Install, payload: bytes) -> Installed | Failed:
        if self._full:
            return Failed(Fault.FULL)
        at, refused = 0, []
        for row in message.rows:
            if not self._merge(message.shard, row, bytes(payload[at : at + row.payload_bytes])):
                refused.append(row.name)
            at += row.payload_bytes
        return Installed(refused)

    def _merge(self, key: bytes, row: PulledRow, payload: bytes) -> bool:
        shard = self._shard(key)
        held = shard.get(row.name)
        incoming = replica.RowState(row.version, row.promised, tuple(row.earlier))
        sealed = shard.sealed and row.name != SEAL_NAME
        installed = replica.on_install(held.state, incoming, sealed=sealed)
        state = installed.state or held.state
        heals = row.version == held.state.version and (key, row.name) in self._corrupt_rows
        if (installed.taken and row.version > held.state.version) or heals:
            self._replace(key, row.name, held, Held(state, row.flags, row.size, row.head, payload))
        elif installed.state is not None:
            self._shards.setdefault(key, Shard()).put(row.name, held._replace(state=state))
        return installed.taken

    def _drop(self, key: bytes) -> None:
        self._shards.pop(key, None)
        self._corrupt_rows = {row for row in self._corrupt_rows if row[0] != key}

    def _scan(self, message: Scan) -> Page:
        shard = self._shard(message.shard)
        rows = (
            ScannedRow(name, held.state.version, held.flags, held.size, held.head)
            for name in shard.rows.irange(first_name(message))
            if (held := shard.get(name)).state.version != ZERO_VERSION
        )
        return cut_page(rows, message, shard.sealed)

    def _count(self, message: Count) -> Counts:
        shard = self._shard(message.shard)
        return Counts(shard.live_rows, shard.live_bytes, shard.sealed)

    # -- blobs ---------------------------------------------------------------------------------

    def _check(self, deadline: float | None = None) -> None:
        if self._offline:
            raise DeviceFault(Fault.OFFLINE, self._offline)
        if deadline is not None and self._clock.monotonic() >= deadline:
            raise DeviceFault(Fault.DEADLINE)

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """See DeviceClient.create_blob."""
        self._check(deadline)
        if (refused := blob_refusal(header)) is not None:
            raise DeviceFault(Fault(refused.fault), refused.text)
        if self._full:
            raise DeviceFault(Fault.FULL)
        key = _key(header.name)
        if key in self._blobs or key in self._being_written:
            raise ValueError(f"blob {header.name.id.hex()}.{header.name.number} exists")
        self._being_written.add(key)
        return _MemoryWriter(self, header)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """See DeviceClient.open_blob."""
        self._check(deadline)
        found = self._blobs.get(_key(name))
        if found is None:
            raise DeviceFault(Fault.ABSENT)
        return _MemoryReader(self, *found)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """See DeviceClient.delete_blob."""
        self._check(deadline)
        self._blobs.pop(_key(name), None)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """See DeviceClient.list_blobs."""
        self._check()
        keys = sorted(key for key in self._blobs if after is None or key > _key(after))
        found = (self._blobs[key] for key in keys[: max(0, limit)])
        return [BlobEntry(header, len(data)) for header, data in found]

    async def verify_blob(self, name: BlobName) -> bool:
        """Whether all of a committed blob is sound; a bad one is set aside, one that was deleted
        meanwhile is not bad. Raises DeviceFault."""
        if _key(name) not in self._blobs:
            return True
        try:
            self._set_aside_if_corrupt(name)
        except DeviceFault as fault:
            if fault.fault is not Fault.CORRUPT:
                raise
        return _key(name) in self._blobs

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """See DeviceClient.group_blobs."""
        self._check()
        require_partitions(salt, power, first, count)
        found: dict[tuple[int, str, int], list[tuple[int, int]]] = {}
        for header, data in self._blobs.values():
            place = xxh3_64_intdigest(header.name.id, salt)
            partition = place >> (64 - power)
            if first <= partition < first + count and policy in ("", header.policy):
                key = (partition, header.policy, header.name.number)
                found.setdefault(key, []).append((place, len(data)))
        return [
            BlobGroup(
                of_policy,
                partition,
                number,
                len(blobs),
                sum(size for _, size in blobs),
                reduce(xor, (place for place, _ in blobs)),
            )
            for (partition, of_policy, number), blobs in sorted(found.items())
        ]

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """See DeviceClient.list_group."""
        self._check()
        require_partitions(salt, power, partition, 1)
        found = [
            BlobEntry(header, len(data))
            for (blob_id, at), (header, data) in sorted(self._blobs.items())
            if at == number and blob_id > after and header.policy == policy
        ]
        inside = (
            e for e in found if xxh3_64_intdigest(e.header.name.id, salt) >> (64 - power) == partition
        )
        return list(islice(inside, max(0, limit)))

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """See DeviceClient.list_garbage."""
        self._check()
        later = [entry for seq, entry in self._garbage.items() if seq > after_seq]
        return later[: max(0, limit)]

    async def forget_garbage(self, seqs: list[int]) -> None:
        """See DeviceClient.forget_garbage."""
        self._check()
        for seq in seqs:
            self._garbage.pop(seq, None)

    # -- what open blobs ask of their device ------------------------------------------------------

    def _take(self, size_bytes: int) -> None:
        self._check()
        if self._full:
            raise DeviceFault(Fault.FULL)
        if size_bytes > BLOB_DATA_MAX_BYTES:
            raise DeviceFault(Fault.TOO_LARGE, f"a blob is at most {BLOB_DATA_MAX_BYTES} bytes")

    def _end(self, header: BlobHeader, data: bytes | None) -> None:
        """End a blob's writing; `data` where it is committed."""
        self._being_written.discard(_key(header.name))
        if data is not None:
            self._blobs[_key(header.name)] = (header, data)

    def _set_aside_if_corrupt(self, name: BlobName) -> None:
        self._check()
        if _key(name) in self._corrupt_blobs:
            if self._blobs.pop(_key(name), None) is not None:
                self.quarantine.append(name)
            self._corrupt_blobs.discard(_key(name))
            raise DeviceFault(Fault.CORRUPT, "checksum mismatch")


class _MemoryWriter:
    """A BlobWriter into a bytearray."""

    def __init__(self, device: MemoryDevice, header: BlobHeader) -> None:
        self._device = device
        self._header = header
        self._data = bytearray()
        self._ended = False

    async def write(self, data: Buffer) -> None:
        self._must_be_open()
        self._device._take(len(self._data) + len(data))
        self._data += data

    async def commit(self) -> None:
        self._must_be_open()
        self._device._take(len(self._data))
        self._ended = True
        self._device._end(self._header, bytes(self._data))

    async def abort(self) -> None:
        if not self._ended:
            self._ended = True
            self._device._end(self._header, None)

    def _must_be_open(self) -> None:
        if self._ended:
            raise ValueError("the blob was committed or aborted")


class _MemoryReader:
    """A BlobReader over bytes; it keeps them when the blob is deleted."""

    def __init__(self, device: MemoryDevice, header: BlobHeader, data: bytes) -> None:
        self.header = header
        self.size_bytes = len(data)
        self._device = device
        self._view = memoryview(data)
        self._closed = False

    async def read(self, offset: int, length: int) -> Sequence[memoryview]:
        if self._closed:
            raise ValueError("the blob reader is closed")
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise ValueError(f"range {offset}+{length} is outside a blob of {self.size_bytes} bytes")
        self._device._set_aside_if_corrupt(self.header.name)
        return [self._view[offset : offset + length]]

    def close(self) -> None:
        self._closed = True


def _key(name: BlobName) -> tuple[bytes, int]:
    return name.id, name.number


def _row(held: Held, sealed: bool, want: int) -> tuple[Row, bytes]:
    head = held.head if want >= Want.HEAD else b""
    payload = held.payload if want >= Want.PAYLOAD else b""
    return Row(held.state.version, held.flags, held.size, head, sealed), payload

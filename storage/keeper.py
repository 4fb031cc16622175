"""A keeper: the few rows that everything else depends on, the ring first, kept in one file.

It is asked like a device, under the reserved id KEEPER_DEVICE, and decides like one
(`storage/replica.py`), but only reads, writes, prepares and accepts. No ring says where its rows are,
so calls to it carry no epoch. Worker 0 of each keeper node serves one; the rows are the same on all
keepers by the row protocol.

All rows go into one file that is replaced as a whole: they are few and change rarely, and a file that
is written anew needs no journal, no recovery and no compaction. Messages that arrive while one is
written share the next. A read answers what is durable, as with any device. A failed sync is final. A
file that is missing or can't be trusted leaves the keeper offline: one that has forgotten what it
promised must not vote.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from runtime.clock import Clock
from runtime.disk import Disk, DiskFile
from runtime.errors import AtollError
from storage import keeper_file, replica
from storage.admission import refusal
from storage.contract import BlobReader, BlobWriter, Deliver, DeviceFault
from storage.device.lane import Lane, settle
from storage.keeper_file import KeeperFileError, KeeperFull, Kept, Rows
from storage.node import KEEPER_DEVICE
from storage.types import (
    Accept,
    BlobEntry,
    BlobGroup,
    BlobHeader,
    BlobName,
    Failed,
    Fault,
    GarbageEntry,
    Prepare,
    Read,
    Row,
    RowAnswer,
    RowFlag,
    RowMessage,
    Want,
    Write,
)

ROWS_MAX: Final = 16
"""The most rows of one keeper."""

LOCK_SUFFIX: Final = ".lock"

_OTHER: Final = Failed(Fault.OFFLINE, "a keeper takes no such message: it keeps single rows only")
_HELD_BACK: Final = "this keeper is new, or has lost what it held: it waits for the others to say which"
_NO_BLOBS: Final = "a keeper holds no blobs"


class KeeperInUse(AtollError):
    """Another process has the keeper's file."""


class _Waiting(NamedTuple):
    """A decided message that is answered when what it was decided on is durable."""

    message: Write | Accept | Prepare
    payload: bytes
    deliver: Deliver
    changed: bool
    answer: RowAnswer
    answer_payload: bytes


class KeeperDevice:
    """See DeviceClient, of which the row half is there. Made by `open`, ended by `close`."""

    local = True
    device_id = KEEPER_DEVICE

    def __init__(
        self, path: str, disk: Disk, clock: Clock, lane: Lane, lock: DiskFile | None = None
    ) -> None:
        """Private: see `open`."""
        self._path = path
        self._disk = disk
        self._clock = clock
        self._lane = lane
        self._lock = lock
        self._offline = ""
        self.knows_others = False
        """While it is held back, and after: it has heard of all other keepers that they were new."""
        self._rows: dict[tuple[bytes, bytes], Kept] = {}
        self._durable: dict[tuple[bytes, bytes], Kept] = {}
        self._waiting: list[_Waiting] = []
        self._writing: list[_Waiting] | None = None
        self._dirty = False

    @classmethod
    def create(cls, path: str, disk: Disk) -> None:
        """Make the file of a new keeper, which has promised nothing. FileExistsError where one is.

        For a keeper that is surely new: a file that got lost must not be replaced by an empty one.
        """
        directory, _, name = path.rpartition("/")
        if name in disk.list_dir(directory or "."):
            raise FileExistsError(path)
        keeper_file.save({}, path, disk)

    @classmethod
    def open(cls, path: str, disk: Disk, clock: Clock, lane: Lane) -> "KeeperDevice":
        """The keeper of the file at `path`; it is offline where that can't be read.

        lane: where its blocking work runs. Blocks for one small read. Raises KeeperInUse.
        """
        try:
            lock = disk.lock(path + LOCK_SUFFIX)
        except BlockingIOError:
            raise KeeperInUse(f"another process has the keeper's file {path}") from None
        keeper = cls(path, disk, clock, lane, lock)
        try:
            keeper._durable = keeper_file.load(path, disk)
        except FileNotFoundError:
            keeper._offline = f"there is no keeper's file at {path}: what it promised is not known"
        except (KeeperFileError, OSError) as error:
            keeper._offline = f"the keeper's file {path} can't be used: {error}"
        keeper._rows = dict(keeper._durable)
        return keeper

    async def close(self) -> None:
        """Finish the write under way and let go of the file. Idempotent."""
        self._offline = self._offline or "the keeper was closed"
        await self._lane.close()
        self._refuse_waiting()
        if self._lock is not None:
            self._lock.close()

    @property
    def offline(self) -> str:
        """Why it does not serve; empty where it does."""
        return self._offline

    @property
    def empty(self) -> bool:
        """Whether it has sound rows, and none: it is new, or has lost everything."""
        return not self._durable and self._offline in {"", _HELD_BACK}

    def hold_back(self) -> None:
        """Serve nobody until `begin`. For an empty one that may have lost what it promised."""
        assert self.empty
        self._offline = _HELD_BACK

    async def begin(self, rows: Rows) -> None:
        """Serve, with these rows, after `hold_back`. Where they can't be written it stays offline."""
        assert self._offline == _HELD_BACK
        written: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._lane.submit(
            lambda: keeper_file.save(rows, self._path, self._disk),
            lambda outcome: settle(written, outcome),
        )
        outcome = await written
        if isinstance(outcome, Exception):
            self._offline = f"the keeper's file could not be written: {outcome}"
            return
        self._durable, self._rows = dict(rows), dict(rows)
        self._offline = ""

    def status(self) -> dict[str, object]:
        """What it says of itself. new: see `empty`."""
        payload_bytes = sum(len(kept.payload) for kept in self._durable.values())
        return {
            "offline": self._offline,
            "new": self.empty,
            "knows_others": self.knows_others,
            "rows": len(self._durable),
            "payload_bytes": payload_bytes,
        }

    # -- rows --------------------------------------------------------------------------------------

    def at(self, epoch: int) -> "KeeperDevice":
        """See DeviceClient.at: a keeper knows no epochs."""
        return self

    def send(self, message: RowMessage, payload: bytes, deadline: float, deliver: Deliver) -> None:
        """See DeviceClient.send."""
        refused = self._refusal(message, payload, deadline)
        if refused is not None:
            deliver(refused, b"")
            return
        match message:
            case Read():
                kept = self._durable.get((message.shard, message.name), Kept())
                deliver(*_row(kept, message.want))
            case Write() | Accept() | Prepare():
                self._take(message, payload, deliver)
            case _:
                deliver(_OTHER, b"")

    def _refusal(self, message: RowMessage, payload: bytes, deadline: float) -> Failed | None:
        if self._offline:
            return Failed(Fault.OFFLINE, self._offline)
        if self._clock.monotonic() >= deadline:
            return Failed(Fault.DEADLINE)
        return refusal(message, len(payload), self._clock.now_ns())

    def _take(self, message: Write | Accept | Prepare, payload: bytes, deliver: Deliver) -> None:
        """Decide on the newest state; answer when that is durable."""
        key = (message.shard, message.name)
        if key not in self._rows and len(self._rows) >= ROWS_MAX:
            deliver(Failed(Fault.TOO_LARGE, f"a keeper has at most {ROWS_MAX} rows"), b"")
            return
        held = self._rows.get(key, Kept())
        verdict = _DECIDE[type(message)](held.state, message)
        changed = verdict.state is not None
        if verdict.state is not None:
            held = self._rows[key] = _replaced(held, verdict.state, message, payload)
            self._dirty = True
        answer, body = (verdict.answer, b"") if verdict.answer else _row(held, Want.PAYLOAD)
        self._waiting.append(_Waiting(message, payload, deliver, changed, answer, body))
        self._go_on()

    def _go_on(self) -> None:
        """Begin to write what changed, or answer what waited for no change."""
        if self._writing is not None:
            return
        if self._offline:
            self._refuse_waiting()
            return
        waiting, self._waiting = self._waiting, []
        if not self._dirty:
            _answer(waiting)
            return
        self._dirty = False
        self._writing = waiting
        rows = dict(self._rows)
        self._lane.submit(
            lambda: keeper_file.save(rows, self._path, self._disk),
            lambda outcome: self._written(rows, outcome),
        )

    def _written(self, rows: dict[tuple[bytes, bytes], Kept], outcome: object) -> None:
        written, self._writing = self._writing or [], None
        if isinstance(outcome, KeeperFull):
            self._roll_back(written)
        elif isinstance(outcome, Exception):
            self._waiting = [*written, *self._waiting]
            self._offline = f"the keeper's file could not be written: {outcome}"
            self._refuse_waiting()
        else:
            self._durable = rows
            _answer(written)
            self._go_on()

    def _roll_back(self, written: list[_Waiting]) -> None:
        """There was no room: what would have changed a row has not, the rest is decided again."""
        undecided, self._waiting = [*written, *self._waiting], []
        self._rows = dict(self._durable)
        self._dirty = False
        for waiting in undecided:
            if waiting.changed:
                waiting.deliver(Failed(Fault.FULL, "no room for the keeper's file"), b"")
            else:
                self._take(waiting.message, waiting.payload, waiting.deliver)

    def _refuse_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for lost in waiting:
            lost.deliver(Failed(Fault.OFFLINE, self._offline), b"")

    # -- no blobs ----------------------------------------------------------------------------------

    async def create_blob(self, header: BlobHeader, deadline: float) -> BlobWriter:
        """There are none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)

    async def open_blob(self, name: BlobName, deadline: float) -> BlobReader:
        """There are none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)

    async def delete_blob(self, name: BlobName, deadline: float) -> None:
        """There are none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)

    async def list_blobs(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """There are none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)

    async def group_blobs(
        self, salt: int, power: int, policy: str, first: int, count: int
    ) -> list[BlobGroup]:
        """There are none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)

    async def list_group(
        self, salt: int, power: int, policy: str, partition: int, number: int, after: bytes, limit: int
    ) -> list[BlobEntry]:
        """There are none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)

    async def list_garbage(self, after_seq: int, limit: int) -> list[GarbageEntry]:
        """There is none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)

    async def forget_garbage(self, seqs: list[int]) -> None:
        """There is none."""
        raise DeviceFault(Fault.OFFLINE, _NO_BLOBS)


_DECIDE: Final[dict[type, Callable[..., replica.Verdict]]] = {
    Write: lambda state, message: replica.on_write(state, message.version),
    Accept: lambda state, message: replica.on_accept(state, message.version),
    Prepare: lambda state, message: replica.on_prepare(state, message.ballot),
}


def _replaced(
    held: Kept, state: replica.RowState, message: Write | Accept | Prepare, payload: bytes
) -> Kept:
    """What is held after a message that was taken; a promise leaves the value."""
    if isinstance(message, Prepare):
        return held._replace(state=state)
    flags = message.flags & ~RowFlag.CONFIRMS
    return Kept(state, flags, message.size, message.head, bytes(payload))


def _row(kept: Kept, want: int) -> tuple[Row, bytes]:
    head = kept.head if want >= Want.HEAD else b""
    payload = kept.payload if want >= Want.PAYLOAD else b""
    return Row(kept.state.version, kept.flags, kept.size, head), payload


def _answer(decided: list[_Waiting]) -> None:
    for waiting in decided:
        waiting.deliver(waiting.answer, waiting.answer_payload)

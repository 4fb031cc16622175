"""Gives replicas of a shard the rows that they lack: the part of sync that writes.

A row is sent as a reader would confirm it (`register.confirmation`), so nothing here can decide what
a reader could not. Where a replica refuses that because it has promised an update, and does so
again in a later round, the update never came, and the row is decided anew. Replicas of a sealed shard
take no confirmation; what `differences.py` says they may get is installed. A version that only a
minority ever had, and that can't be read there any more, is given up.
"""

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Final

from proxy.core.asking import ASK_TIME_S, ask, ask_all, versions_of
from proxy.core.errors import StoreError
from proxy.core.placement import Replicas
from proxy.core.register import Value, Versioned, confirmation
from proxy.core.rows import Rows, SealedShard
from proxy.repair.differences import Gift, gifts, sealed_gifts
from proxy.repair.throttle import Pace
from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import DeviceFault, RowDevice
from storage.types import (
    RECLAIM_AGE_MIN_S,
    SEAL_NAME,
    STAMP_BYTES,
    ZERO_STAMP,
    Failed,
    Fault,
    Forget,
    Install,
    Installed,
    No,
    Ok,
    PulledRow,
    Read,
    Row,
    Want,
)

ROWS_AT_ONCE: Final = 32
"""Rows given at the same time."""

UNDECIDED_MAX: Final = 10_000
"""Rows remembered whose version was refused."""

LOST_MAX: Final = 10_000
"""Rows remembered whose newest version nobody can read."""

LOST_AGE_S: Final = 1.5 * RECLAIM_AGE_MIN_S
"""A version that nobody can read is given up when it was so for this long, and is older than this."""


class Giver:
    """Gives rows to replicas. given, refused: how many, since the process began."""

    def __init__(self, rows: Rows, clock: Clock, pace: Pace) -> None:
        self._rows = rows
        self._clock = clock
        self._pace = pace
        self._undecided: dict[tuple[bytes, bytes], bytes] = {}
        self._lost: dict[tuple[bytes, bytes], tuple[bytes, float]] = {}
        self.given = self.refused = 0

    async def give_seal(self, shard: bytes, replicas: Replicas) -> None:
        """Give a shard's seal row to those that lack it."""
        asked = [(device, Read(shard, SEAL_NAME, Want.VERSION)) for device in replicas.devices]
        answers = await ask_all(self._clock, ASK_TIME_S, asked)
        rows = [(n, answer) for n, answer in enumerate(answers) if type(answer) is Row]
        held = [{SEAL_NAME: row.version} for _, row in rows]
        for gift in gifts(held):
            await self._confirm(shard, gift, [replicas.devices[n] for n, _ in rows])

    async def give(
        self, shard: bytes, replicas: Replicas, leaves: tuple[int, ...]
    ) -> tuple[bool, bool]:
        """Give them what they lack in these leaves. Whether it is sealed, and whether any lacked."""
        asked = [(device, Read(shard, SEAL_NAME, Want.VERSION)) for device in replicas.devices]
        seals = await ask_all(self._clock, ASK_TIME_S, asked)
        sealed = [type(seal) is Row and seal.sealed for seal in seals]
        devices = [d for d, seal in zip(replicas.devices, seals, strict=True) if type(seal) is Row]
        if any(sealed):
            devices = [d for d, is_sealed in zip(replicas.devices, sealed, strict=True) if is_sealed]
        found = await together(self._versions(device, shard, leaves) for device in devices)
        known = [(d, of_one) for d, of_one in zip(devices, found, strict=True) if of_one is not None]
        devices, held = [device for device, _ in known], [of_one for _, of_one in known]
        given = sealed_gifts(held, len(replicas.devices)) if any(sealed) else gifts(held)
        confirm = partial(self._confirm, complete=len(held) == len(replicas.devices))
        give = self._install if any(sealed) else confirm
        for at in range(0, len(given), ROWS_AT_ONCE):
            began = self._clock.monotonic()
            await together(give(shard, gift, devices) for gift in given[at : at + ROWS_AT_ONCE])
            await self._pace.spend(self._clock.monotonic() - began)
        return any(sealed), bool(given)

    async def _versions(
        self, device: RowDevice, shard: bytes, leaves: tuple[int, ...]
    ) -> dict[bytes, bytes] | None:
        """A replica's versions by name, the seal's left out; None where it can't say."""
        try:
            found = await versions_of(self._clock, ASK_TIME_S, device, shard, leaves)
        except DeviceFault:
            return None
        found.pop(SEAL_NAME, None)
        return found

    # -- one row -----------------------------------------------------------------------------------

    async def _fetch(self, shard: bytes, gift: Gift, devices: Sequence[RowDevice]) -> Versioned | None:
        """The whole row from a replica that holds just this version, undamaged."""
        for number in gift.holders:
            message = Read(shard, gift.name, Want.PAYLOAD)
            row, payload = await ask(self._clock, ASK_TIME_S, devices[number], message)
            if type(row) is Row and row.version == gift.version:
                value = Value(row.flags, row.size, row.head, payload)
                return Versioned(row.version, value)
        return None

    async def _give_up_lost(self, shard: bytes, gift: Gift, devices: Sequence[RowDevice]) -> None:
        """Let those forget a row whose newest version they alone hold, and can't read any more.

        All replicas have said what they hold, so that version never was on a majority: no writer was
        told that it is stored, and no reader has seen it. One who read it before it was damaged, and
        confirms it now, is done long before it is given up; then the others would hold it, too.
        """
        if 2 * len(gift.holders) > len(devices):
            return
        since = await self._lost_since(shard, gift, devices)
        if since is None or self._clock.monotonic() - since < LOST_AGE_S:
            return
        before_ns = self._clock.now_ns() - int(LOST_AGE_S * 1e9)
        message = Forget(shard, [(gift.name, gift.version)], before_ns)
        asked = [(devices[number], message) for number in gift.holders]
        await ask_all(self._clock, ASK_TIME_S, asked)

    async def _lost_since(self, shard: bytes, gift: Gift, devices: Sequence[RowDevice]) -> float | None:
        """When it was first found that no holder of this version can read it; None: one can, or that
        can't be told now."""
        key = shard, gift.name
        message = Read(shard, gift.name, Want.PAYLOAD)
        answers = await ask_all(
            self._clock, ASK_TIME_S, [(devices[number], message) for number in gift.holders]
        )
        if not all(type(found) is Failed and found.fault == Fault.CORRUPT for found in answers):
            self._lost.pop(key, None)
            return None
        version, since = self._lost.get(key, (b"", 0.0))
        if version != gift.version:
            if len(self._lost) >= LOST_MAX:
                self._lost.clear()
            since = self._clock.monotonic()
            self._lost[key] = gift.version, since
        return since

    async def _confirm(
        self, shard: bytes, gift: Gift, devices: Sequence[RowDevice], *, complete: bool = False
    ) -> None:
        """Give a row to those that lack it, as a reader would. complete: `devices` are all replicas."""
        row = await self._fetch(shard, gift, devices)
        if row is None:
            if complete:
                await self._give_up_lost(shard, gift, devices)
            return
        message = confirmation(shard, gift.name, row)
        answers = await together(
            ask(self._clock, ASK_TIME_S, devices[number], message, row.value.payload)
            for number in gift.lacking
        )
        kinds = [type(answer) for answer, _ in answers]
        self.given += kinds.count(Ok)
        self.refused += len(kinds) - kinds.count(Ok)
        if No in kinds and gift.version[STAMP_BYTES:] != ZERO_STAMP:
            await self._decide(shard, gift)

    async def _decide(self, shard: bytes, gift: Gift) -> None:
        """A conditional version was refused. Where that is so for the second time no update is under
        way that will end it: let the row be decided."""
        if self._undecided.get((shard, gift.name)) != gift.version:
            if len(self._undecided) >= UNDECIDED_MAX:
                self._undecided.clear()
            self._undecided[shard, gift.name] = gift.version
            return
        del self._undecided[shard, gift.name]
        with contextlib.suppress(StoreError, SealedShard):  # the next round tries again
            await self._rows.decide(shard, gift.name)

    async def _install(self, shard: bytes, gift: Gift, devices: Sequence[RowDevice]) -> None:
        """Give a row to sealed replicas, which take no confirmation of what they lack."""
        row = await self._fetch(shard, gift, devices)
        if row is None:
            return
        flags, size, head, payload = row.value
        ballot = row.version[STAMP_BYTES:]
        pulled = PulledRow(gift.name, row.version, ballot, [], flags, size, head, len(payload))
        answers = await together(
            ask(self._clock, ASK_TIME_S, devices[number], Install(shard, [pulled]), payload)
            for number in gift.lacking
        )
        taken = sum(type(answer) is Installed and not answer.refused for answer, _ in answers)
        self.given += taken
        self.refused += len(answers) - taken

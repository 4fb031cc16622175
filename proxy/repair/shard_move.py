"""Moving the rows of one object shard into the two that it splits into, while it is used.

The container's row takes the steps (`proxy/core/resharding.py`); here is what happens between them:

1. *Follow*: each replica of the old shard keeps the names of the rows that change from now on.
2. *Copy*: every row that any of them holds is read by quorum, which decides it where they differ, and
   carried over; a page a unit. What could not be carried so is *owed*.
3. *Catch up*: what changed meanwhile is carried over, again and again, until that is little.
4. *Close*: the old shard is sealed. What changed until then, and what is owed, are read from the sealed
   replicas themselves and carried over. Then the container's row switches.

For each replica that counts in step 4 this holds: all that it has held since it was followed was
carried over, or is owed, or it tells of it now. And whatever was acknowledged, ever, is held by one of
any majority of sealed replicas. Nothing is kept between processes: who carries on begins with step 1,
and rows that are there already are not written again.
"""

from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from typing import Any, Final, NamedTuple

from proxy.core.errors import NoSuchContainer, Unavailable
from proxy.core.placement import Replicas
from proxy.core.register import Value, Versioned
from proxy.core.resharding import ContainerRow, Resharding
from proxy.core.rows import Rows, SealedShard
from proxy.core.seals import Seals, Superseded
from proxy.core.shards import Layout
from proxy.core.transfer import Contested, carried
from runtime.tasks import together
from storage.types import (
    SEAL_NAME,
    STAMP_BYTES,
    ZERO_STAMP,
    ZERO_VERSION,
    Changed,
    Changes,
    Page,
    Read,
    Row,
    Scan,
    Want,
)

ROWS_PER_UNIT: Final = 200
"""Rows that a unit of work carries over."""

CARRY_CONCURRENCY_MAX: Final = 32

FEW_CHANGES: Final = 64
"""With so few rows left to carry over the old shard is closed."""

CATCH_UPS_MAX: Final = 10
"""Where it is written as fast as it is copied, it is closed after so many rounds all the same."""

CLOSE_WITHIN_S: Final = 2.0
"""How long the sealed replicas have to tell what changed."""

DECIDE_ATTEMPTS: Final = 8


class _Phase(Enum):
    FOLLOW = "follow"
    COPY = "copy"
    CATCH_UP = "catch up"
    CLOSE = "close"


class Moved(NamedTuple):
    """What a unit has done. over: the shard has moved. closed_s: for how long it took no writes."""

    rows: int
    over: bool = False
    closed_s: float = 0.0


class _Held(NamedTuple):
    """A row as some replicas hold it: versions by member, and undamaged values by version."""

    versions: dict[int, bytes]
    whole: dict[bytes, Value]

    @property
    def newest(self) -> bytes:
        return max(self.versions.values())

    @property
    def agreed(self) -> bool:
        return len(set(self.versions.values())) == 1


class ShardMove:
    """One move. `step` does a unit of work at a time."""

    def __init__(
        self,
        rows: Rows,
        resharding: Resharding,
        row: ContainerRow,
        layout: Layout,
        monotonic: Callable[[], float],
    ) -> None:
        """row: the container's. layout: as its head says; shard number `layout.moved` is to move."""
        self._rows = rows
        self._seals = Seals(rows)
        self._resharding = resharding
        self._row = row
        self.layout = layout
        self._monotonic = monotonic
        self._after = layout._replace(moved=layout.moved + 1)
        self.source = layout.key(layout.moved)
        self._phase = _Phase.FOLLOW
        self._cursors: dict[int, bytes] = {}  # by device id
        self._at = b""
        self._owed: dict[bytes, bytes] = {}  # rows still to be carried over, at least this new
        self._catch_ups = 0

    @property
    def doing(self) -> str:
        """What it does, in words."""
        return f"shard {self.layout.moved + 1} of {self.layout.shards}: {self._phase.value}"

    async def step(self) -> Moved:
        """A unit of work.

        Raises Superseded and NoSuchContainer where there is nothing to move any more, Unavailable and
        Full where it can't go on now.
        """
        match self._phase:
            case _Phase.FOLLOW:
                return await self._follow()
            case _Phase.COPY:
                return await self._copy()
            case _Phase.CATCH_UP:
                return await self._catch_up()
            case _Phase.CLOSE:
                return await self._close()

    # -- the replicas of the old shard -----------------------------------------------------------

    def _replicas(self) -> Replicas:
        """Raises Unavailable while the ring moves one of the shards: their rows move first."""
        for shard in (self.source, *self.layout.halves(self.layout.moved)):
            if self._rows.replicas(shard).joint:
                raise Unavailable("the ring moves this shard")
        return self._rows.replicas(self.source)

    def _followed(self, replicas: Replicas) -> list[int]:
        """The members whose changes are known since the beginning."""
        return [n for n, device in enumerate(replicas.devices) if device.device_id in self._cursors]

    def _restart_unless(self, *, enough: bool) -> bool:
        """Begin anew where too few replicas are followed."""
        if not enough:
            self._phase, self._cursors, self._at = _Phase.FOLLOW, {}, b""
        return enough

    async def _follow(self) -> Moved:
        replicas = self._replicas()
        answers = await self._changes(replicas, dict.fromkeys(range(len(replicas.devices)), b""))
        if not replicas.quorum.readable[_mask(answers)]:
            raise Unavailable("too few replicas of the shard answer")
        for member, answer in answers.items():
            self._cursors[replicas.devices[member].device_id] = answer.cursor
        self._phase, self._at, self._catch_ups = _Phase.COPY, b"", 0
        return Moved(0)

    async def _changes(
        self,
        replicas: Replicas,
        since: dict[int, bytes],
        enough: Callable[[dict[int, Changes]], bool] | None = None,
        within_s: float | None = None,
    ) -> dict[int, Changes]:
        """What members tell of changes since their cursors. enough: don't wait for more."""
        poll = self._rows.poll()
        for member, cursor in since.items():
            poll.ask(member, replicas.devices[member], Changed(self.source, cursor))

        def told() -> dict[int, Changes]:
            return {n: answer for n, answer in poll.answers.items() if type(answer) is Changes}

        await poll.until(lambda: enough is not None and enough(told()), within_s)
        return told()

    async def _news(self, replicas: Replicas) -> dict[bytes, bytes] | None:
        """Names that changed, with the newest version told of each; None where too few can tell."""
        since = {n: self._cursors[replicas.devices[n].device_id] for n in self._followed(replicas)}
        answers = await self._changes(replicas, since)
        for member in since:
            device_id = replicas.devices[member].device_id
            answer = answers.get(member)
            if answer is None or not answer.complete:
                del self._cursors[device_id]
            else:
                self._cursors[device_id] = answer.cursor
        if not replicas.quorum.readable[_mask(self._followed(replicas))]:
            return None
        return newest_told(answer for answer in answers.values() if answer.complete)

    # -- while it is open ------------------------------------------------------------------------

    async def _copy(self) -> Moved:
        replicas = self._replicas()
        members = self._followed(replicas)
        poll = self._rows.poll()
        for member in members:
            scan = Scan(self.source, self._at, b"", ROWS_PER_UNIT)
            poll.ask(member, replicas.devices[member], scan)
        await poll.until(lambda: False)
        pages = {n: page for n in members if type(page := poll.answers.get(n)) is Page}
        for member in members:
            if member not in pages:
                del self._cursors[replicas.devices[member].device_id]
        if not self._restart_unless(enough=replicas.quorum.readable[_mask(pages)]):
            return Moved(0)
        covered_to = min((p.covered_to for p in pages.values() if p.covered_to), default=b"")
        told: dict[bytes, bytes] = {}
        for page in pages.values():
            for row in page.rows:
                if not covered_to or row.name < covered_to:
                    told[row.name] = max(row.version, told.get(row.name, ZERO_VERSION))
        news = await self._news(replicas)
        if not self._restart_unless(enough=news is not None):
            return Moved(0)
        await self._carry_open(told, news or {})
        self._at = covered_to
        if not covered_to:
            self._phase = _Phase.CATCH_UP
        return Moved(len(told))

    async def _catch_up(self) -> Moved:
        replicas = self._replicas()
        told = await self._news(replicas)
        if told is None:
            self._restart_unless(enough=False)
            return Moved(0)
        await self._carry_open(told, self._owed)
        self._catch_ups += 1
        if len(told) <= FEW_CHANGES or self._catch_ups >= CATCH_UPS_MAX:
            self._phase = _Phase.CLOSE
        return Moved(len(told))

    async def _carry_open(self, *told: dict[bytes, bytes]) -> None:
        """Carry rows over while the old shard is written. told: versions that replicas hold."""
        names = {name for some in told for name in some}
        for name in names:
            versions = [some[name] for some in (*told, self._owed) if name in some]
            self._owed[name] = max(versions)
        await _each(sorted(names), self._try_carry)

    async def _try_carry(self, name: bytes) -> None:
        """A row that is not sure to be there afterwards, as new as was told, stays owed."""
        try:
            row = await self._rows.read(self.source, name)
            if row.version != ZERO_VERSION:
                await self._rows.carry(self._after.shard_of(name), name, row)
        except (Contested, SealedShard):
            return
        if row.version >= self._owed.get(name, ZERO_VERSION):
            self._owed.pop(name, None)

    # -- closing ---------------------------------------------------------------------------------

    async def _close(self) -> Moved:
        """Seal, carry over what is left, switch. Begins with a last round of what changed."""
        told = await self._news(self._replicas())
        if told is None:
            self._restart_unless(enough=False)
            return Moved(0)
        await self._carry_open(told)
        seal = await self._resharding.begin(self._row, self.layout.moved, self.layout.generation)
        self._phase = _Phase.CATCH_UP  # where this comes to nothing
        begun = self._monotonic()
        try:
            await self._seals.set(self.source, seal)
            rows = await self._carry_sealed(seal.nonce)
            await self._resharding.switch(self._row, seal.nonce)
        except BaseException:
            await self._try_give_up(seal.nonce)
            raise
        return Moved(rows, over=True, closed_s=self._monotonic() - begun)

    async def _try_give_up(self, move: bytes) -> None:
        """Let the shard be written again; where this fails those who wait for it see to that."""
        try:
            await self._resharding.give_up(self._row, move)
        except (Unavailable, NoSuchContainer, Superseded):
            return

    async def _carry_sealed(self, move: bytes) -> int:
        replicas = self._replicas()
        readable = replicas.quorum.readable
        since = {n: self._cursors[replicas.devices[n].device_id] for n in self._followed(replicas)}

        def sealed(answers: dict[int, Changes]) -> dict[int, Changes]:
            return {n: told for n, told in answers.items() if told.sealed and told.complete}

        answers = sealed(
            await self._changes(
                replicas, since, lambda told: readable[_mask(sealed(told))], CLOSE_WITHIN_S
            )
        )
        if not readable[_mask(answers)]:
            raise Unavailable("too few replicas of the sealed shard tell what changed")
        names = newest_told(answers.values()).keys() | self._owed.keys()
        members = sorted(answers)
        await _each(names, lambda name: self._carry_last(replicas, members, name, move))
        return len(names)

    async def _carry_last(
        self, replicas: Replicas, members: list[int], name: bytes, move: bytes
    ) -> None:
        """Carry over what the sealed replicas hold of a row, newest first."""
        held = await self._read_members(replicas, members, name)
        if held.newest == ZERO_VERSION:
            return
        row = Versioned(held.newest, held.whole[held.newest])
        target = self._after.shard_of(name)
        if held.agreed or row.version[STAMP_BYTES:] == ZERO_STAMP:
            try:
                await self._rows.carry(target, name, row)
            except Contested:
                pass
            else:
                return
        await self._decide(target, name, row, move)

    async def _read_members(self, replicas: Replicas, members: list[int], name: bytes) -> _Held:
        """The row as each member holds it; one whose copy is damaged still knows its version."""
        poll = self._rows.poll()
        for member in members:
            poll.ask(member, replicas.devices[member], Read(self.source, name, Want.PAYLOAD))
        await poll.until(lambda: False, CLOSE_WITHIN_S)
        held = _Held({}, {})
        for member in members:
            answer = poll.answers.get(member)
            if type(answer) is Row:
                value = Value(answer.flags, answer.size, answer.head, poll.payloads.get(member, b""))
                held.versions[member] = answer.version
                held.whole[answer.version] = value
        if damaged := [n for n in members if n not in held.versions]:
            held.versions.update(await self._read_versions(replicas, damaged, name))
        if len(held.versions) < len(members) or held.newest not in held.whole:
            raise Unavailable(f"a sealed row can't be read: {poll.said()}")
        return held

    async def _read_versions(
        self, replicas: Replicas, members: list[int], name: bytes
    ) -> dict[int, bytes]:
        poll = self._rows.poll()
        for member in members:
            poll.ask(member, replicas.devices[member], Read(self.source, name, Want.VERSION))
        await poll.until(lambda: False, CLOSE_WITHIN_S)
        return {n: row.version for n, row in poll.answers.items() if type(row) is Row}

    async def _decide(self, target: bytes, name: bytes, row: Versioned, move: bytes) -> None:
        """Carry a row over under a new ballot. The order matters: promise, make sure, accept."""
        for _ in range(DECIDE_ATTEMPTS):
            ballot, best = await self._rows.promised(target, name)
            head = await self._resharding.read(self._row)
            if head.reshard is None or head.reshard.move != move:
                raise Superseded
            try:
                await self._rows.carry(target, name, carried(best, row, ballot))
            except Contested:
                continue
            return
        raise Unavailable("others decide the same rows")


def newest_told(answers: Iterable[Changes]) -> dict[bytes, bytes]:
    """The newest version that any of them tells of each changed row."""
    told: dict[bytes, bytes] = {}
    for answer in answers:
        for name, version in answer.rows:
            told[name] = max(version, told.get(name, ZERO_VERSION))
    told.pop(SEAL_NAME, None)
    return told


async def _each(names: Iterable[bytes], act: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
    todo = list(names)
    for at in range(0, len(todo), CARRY_CONCURRENCY_MAX):
        await together(map(act, todo[at : at + CARRY_CONCURRENCY_MAX]))


def _mask(members: Iterable[int]) -> int:
    return sum(1 << member for member in members)

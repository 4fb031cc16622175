"""Load with a memory: clients that write, read and delete, and know what each key may hold.

Every value names itself, so that a read tells which write it saw and whether it is whole. What has no
answer, or one that leaves it open (5xx), stays unknown in the key's history until the store is killed.
"""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple

from tests.cluster.history import FOREVER, Content, Operation, explained, still_open, told
from tests.cluster.s3 import NO_ANSWER, S3, Answer, RefusedError

HEADER_BYTES: Final = 48
_POOL: Final = random.Random(1).randbytes(1 << 20)

SMALL, MIDDLE, LARGE = (600, 9_000), (200 << 10, 220 << 10), (3 << 20, (3 << 20) + 4096)
SIZES: Final = (SMALL,) * 8 + (MIDDLE,) * 3 + (LARGE,)

VERIFIERS = 8
BACK_OFF_MAX_S = 0.2
"""Clients wait a little after a failure, as real ones do."""


Act = Callable[[S3, "Place", random.Random], Coroutine[Any, Any, None]]


class Place(NamedTuple):
    """A key of a bucket."""

    bucket: str
    key: str


def body_of(value: str) -> bytes:
    """The bytes of a value; its name says how many and where in the pool they begin."""
    size = int(value.rpartition("-")[2])
    header = value.encode().ljust(HEADER_BYTES, b".")
    start = int.from_bytes(hashlib.md5(header, usedforsecurity=False).digest()[:2], "big")
    rest = _POOL[start:] * (size // (len(_POOL) - start) + 1)
    return (header + rest)[:size]


def halves_of(body: bytes) -> tuple[bytes, bytes]:
    """The parts in which a body is uploaded."""
    cut = len(body) // 2
    return body[:cut], body[cut:]


def etags_of(value: str) -> tuple[str, str]:
    """A value's ETag where it was put at once, and where it was uploaded in parts."""
    body = body_of(value)
    parts = halves_of(body)
    joined = b"".join(bytes.fromhex(_md5(part)) for part in parts)
    return _md5(body), f"{_md5(joined)}-{len(parts)}"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class TornError(AssertionError):
    """A key was answered with bytes that nobody wrote to it."""


def value_of(place: Place, body: bytes) -> str:
    """Which value these bytes are. Raises TornError."""
    match = re.match(rb"([\w.]+-[\w-]+)\.*", body[:HEADER_BYTES])
    value = match[1].decode() if match else ""
    if not value.startswith(f"{place.bucket}.{place.key}-") or body != body_of(value):
        raise TornError(f"{place} was answered with {len(body)} bytes: {body[:64]!r} …")
    return value


class Load:
    """Clients over some keys, and the history of each."""

    def __init__(
        self, places: list[Place], seed: int, *, uploads: bool = True, swaps: bool = True
    ) -> None:
        """swaps: conditional writes, too; in a race with others they may end unknown."""
        self.places = places
        self.histories: dict[Place, list[Operation]] = {place: [] for place in places}
        self.held: dict[Place, Content] = dict.fromkeys(places)
        self.acknowledged = 0
        self.failed_at: list[float] = []
        self.failures: list[str] = []
        """What failed writes were told."""
        self.answers: dict[int, int] = {}
        self.half_way: list[tuple[Place, str, list[str], str]] = []
        """Uploads whose completion had no answer: place, id, ETags, value."""
        self._etags: dict[Place, tuple[str, str]] = {}
        self._seed = seed
        self._serial = 0
        self._uploads = uploads
        self._swaps = swaps
        self._ending = False

    # -- clients --

    async def run(self, s3: S3, clients: int) -> None:
        """Clients at work until `end` is called or there is no store any more."""
        self._ending = False
        randoms = [random.Random(f"{self._seed}.{self._serial}.{n}") for n in range(clients)]
        await asyncio.gather(*(self._client(s3, chance) for chance in randoms))

    def end(self) -> None:
        """No client begins anything new."""
        self._ending = True

    async def _client(self, s3: S3, chance: random.Random) -> None:
        weights: dict[Act, int] = {self._put: 8, self._get: 6, self._upload: int(self._uploads)}
        weights |= {self._delete: 1} | dict.fromkeys((self._create, self._replace), int(self._swaps))
        acts, odds = list(weights), list(weights.values())
        while not self._ending:
            (act,) = chance.choices(acts, odds)
            failures = len(self.failed_at)
            await act(s3, chance.choice(self.places), chance)
            if len(self.failed_at) > failures:
                await asyncio.sleep(chance.uniform(0, BACK_OFF_MAX_S))

    def new_value(self, place: Place, chance: random.Random) -> str:
        """A value that was never written."""
        self._serial += 1
        return f"{place.bucket}.{place.key}-{self._serial}-{chance.randint(*chance.choice(SIZES))}"

    async def _write(
        self,
        place: Place,
        wanted: Operation,
        request: Awaitable[Answer],
        refusals: tuple[int, ...] = (),
    ) -> Answer | None:
        """Carry out a writing request and note what became of it; the answer to a success."""
        begin = time.monotonic()
        answer, lost = None, False
        try:
            answer = await request
        except TimeoutError:
            lost = True  # somebody may be at work on it still
        except NO_ANSWER:
            pass  # the process that was at work on it is dead
        now = time.monotonic()
        status = answer.status if answer is not None else 0
        self.answers[status] = self.answers.get(status, 0) + 1
        done = 200 <= status < 300
        refused = status in refusals
        if not (done or refused or status in {0, 409, 500, 503}):
            raise AssertionError(f"{wanted} at {place} was answered with {answer}")
        self.acknowledged += done
        if not done and not refused:
            self.failed_at.append(now)
            said = answer.body[:500].decode(errors="replace") if answer is not None else "no answer"
            self.failures.append(f"{wanted.kind} {place} after {now - begin:.1f} s: {said}")
        told = done or refused
        noted = wanted._replace(
            begin=begin,
            end=now if told else FOREVER,
            done=done,
            refused=refused,
            fence=FOREVER if lost else now,
        )
        self.histories[place].append(noted)
        return answer if done else None

    async def _put(self, s3: S3, place: Place, chance: random.Random) -> None:
        value = self.new_value(place, chance)
        body = body_of(value)
        answer = await self._write(place, _writing(value), s3.put(*place, body))
        if answer is not None:
            assert answer.etag == _md5(body)
            self._etags[place] = answer.etag, value

    async def _delete(self, s3: S3, place: Place, chance: random.Random) -> None:
        await self._write(place, _writing(None), s3.delete(*place))

    async def _create(self, s3: S3, place: Place, chance: random.Random) -> None:
        value = self.new_value(place, chance)
        wanted = Operation(0, 0, "swap", value, expected=None)
        await self._write(place, wanted, s3.put(*place, body_of(value), if_none_match="*"), (412,))

    async def _replace(self, s3: S3, place: Place, chance: random.Random) -> None:
        if place not in self._etags:
            return
        etag, expected = self._etags[place]
        value = self.new_value(place, chance)
        wanted = Operation(0, 0, "swap", value, expected=expected)
        request = s3.put(*place, body_of(value), if_match=f'"{etag}"')
        await self._write(place, wanted, request, (412, 404))

    async def _upload(self, s3: S3, place: Place, chance: random.Random) -> None:
        value = self.new_value(place, chance)
        try:
            upload = await s3.begin_upload(*place)
            etags = [
                await s3.put_part(*place, upload, number, part)
                for number, part in enumerate(halves_of(body_of(value)), 1)
            ]
        except (RefusedError, *NO_ANSWER):
            return  # nothing that anybody can see
        answer = await self._write(place, _writing(value), s3.complete(*place, upload, etags))
        if answer is None:
            self.half_way.append((place, upload, etags, value))

    async def _get(self, s3: S3, place: Place, chance: random.Random) -> None:
        await self.try_read(s3, place)

    async def try_read(self, s3: S3, place: Place) -> Answer | None:
        """Read a key and note what it held; None without a useful answer. Raises TornError."""
        begin = time.monotonic()
        try:
            answer = await s3.get(*place)
        except NO_ANSWER:
            return None
        if answer.status in {500, 503}:
            self.answers[-answer.status] = self.answers.get(-answer.status, 0) + 1
            return None
        assert answer.status in {200, 404}, answer
        value = value_of(place, answer.body) if answer.status == 200 else None
        if value is not None:
            assert answer.etag in etags_of(value), place
        self.histories[place].append(Operation(begin, time.monotonic(), "read", value))
        return answer

    # -- after a kill --

    async def finish_uploads(self, s3: S3) -> None:
        """Ask again for the completions that had no answer, as clients do.

        A completion is one operation, however often it is asked for. Where the upload is gone it has
        happened: nothing else ends an upload here.
        """
        for place, upload, etags, value in self.half_way:
            answer = await s3.complete(*place, upload, etags)
            assert answer.status in {200, 404}, answer
            history = self.histories[place]
            now = time.monotonic()
            for number, op in enumerate(history):
                if op.content == value and op.unknown:
                    history[number] = op._replace(done=True, end=now)
        self.half_way.clear()

    async def verify(self, s3: S3) -> None:
        """Read every key again and again, by itself and in listings: the histories must explain it.

        Afterwards each key's history begins anew with what it holds.
        """
        await self._read_all(s3)
        await self._read_all(s3)
        await self._read_listings(s3)
        last = await self._read_all(s3)
        for place, history in self.histories.items():
            assert explained(history, self.held[place]), (
                f"seed {self._seed}: {place} held {self.held[place]}, then\n{told(history)}"
            )
        for place, value in last.items():
            self.held[place] = value
            self.histories[place] = still_open(self.histories[place], value)

    async def _read_all(self, s3: S3) -> dict[Place, Content]:
        limit = asyncio.Semaphore(VERIFIERS)
        found: dict[Place, Content] = {}

        async def look(place: Place) -> None:
            async with limit:
                answer = await self.try_read(s3, place)
                assert answer is not None, f"{place} can't be read"
                found[place] = self.histories[place][-1].content

        await asyncio.gather(*map(look, self.places))
        return found

    async def _read_listings(self, s3: S3) -> None:
        """What a listing says of a key is a read of it."""
        for bucket in {place.bucket for place in self.places}:
            begin = time.monotonic()
            listed = await s3.list_all(bucket, page=7)
            end = time.monotonic()
            for place in (place for place in self.places if place.bucket == bucket):
                entry = listed.pop(place.key, None)
                value = None if entry is None else self._listed_value(place, *entry)
                self.histories[place].append(Operation(begin, end, "read", value))
            assert not listed, f"keys that were never written: {listed}"

    def _listed_value(self, place: Place, etag: str, size: int) -> str:
        written = {op.content for op in self.histories[place]} | {self.held[place]}
        for value in written - {None}:
            if value is not None and etag in etags_of(value):
                assert size == len(body_of(value)), f"{place} is listed with {size} bytes"
                return value
        raise TornError(f"{place} is listed with an ETag of no value: {etag}")


def _writing(value: Content) -> Operation:
    return Operation(0, 0, "write", value)


async def end_within(work: Awaitable[None], seconds: float) -> None:
    """Wait for clients to notice that the store is gone, or that they are to end."""
    async with asyncio.timeout(seconds):
        await work

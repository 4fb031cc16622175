"""A store's stock: objects of every kind of storage, and the demand that they stay as they are."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.cluster.load import Place, body_of, value_of
from tests.cluster.s3 import NO_ANSWER, S3, Answer, RefusedError

T = TypeVar("T")

BUCKETS = {"plain": "replicated-3", "coded": "ec-4-2"}
SIZES = {"small": 5_000, "middle": 200 << 10, "large": (3 << 20) + 7}
COUNTS = {"small": 24, "middle": 10, "large": 6}

CONCURRENT = 8
RIGHT_WITHIN_S = 30.0
"""A store that mends itself may answer 503 for so long, and never anything wrong."""


@dataclass
class Stock:
    """What was stored: values by place. counts: how many of each size. unsure: what may be there
    instead; None: nothing."""

    counts: Mapping[str, int] = field(default_factory=lambda: COUNTS)
    held: dict[Place, str] = field(default_factory=dict)
    unsure: dict[Place, set[str | None]] = field(default_factory=dict)

    async def fill(self, s3: S3) -> None:
        """Make the buckets and store objects of every size in each."""
        await self.make_buckets(s3)
        places = [
            (Place(bucket, f"{kind}{number}"), size)
            for bucket in BUCKETS
            for kind, size in SIZES.items()
            for number in range(self.counts[kind])
        ]
        await gather_some(self.put(s3, place, size) for place, size in places)

    async def make_buckets(self, s3: S3) -> None:
        """One for each policy."""
        for bucket, policy in BUCKETS.items():
            await s3.create_bucket(bucket, policy)

    async def put(self, s3: S3, place: Place, size: int) -> None:
        """Store one object."""
        value = f"{place.bucket}.{place.key}-{time.monotonic_ns()}-{size}"
        answer = await s3.put(*place, body_of(value))
        assert answer.status == 200, (place, answer)
        self.held[place] = value

    async def check(self, s3: S3, times: int = 1) -> int:
        """Read everything, and a range of it, and list it; how often the answer was 503.

        Fails at a wrong answer, and where the right one does not come within RIGHT_WITHIN_S.
        """
        deadline = time.monotonic() + RIGHT_WITHIN_S
        places = [place for place in {**self.held, **self.unsure} for _ in range(times)]
        refused = await gather_some(self._read(s3, place, deadline) for place in places)
        ranges = await gather_some(self._read_range(s3, place, deadline) for place in self.held)
        for bucket in BUCKETS:
            await self._list(s3, bucket, deadline)
        return sum(refused) + sum(ranges)

    async def _read(self, s3: S3, place: Place, deadline: float) -> int:
        """Until it is right; how often it was 503."""
        for refused in range(1_000_000):
            answer = await _try(s3, place, deadline)
            if answer is not None:
                status, body = answer
                self._see(place, status, body)
                return refused
        raise AssertionError

    def _see(self, place: Place, status: int, body: bytes) -> None:
        """Take a read's answer: it must be what is held, or settles what was unsure."""
        assert status in {200, 404}, (place, status, body[:300])
        found = value_of(place, body) if status == 200 else None
        if found != self.held.get(place):
            assert found in self.unsure.get(place, ()), (place, found, self.held.get(place))
            self.unsure[place].discard(found)
            self.settle(place, found)

    def settle(self, place: Place, value: str | None) -> None:
        """What a place holds from now on; what was unsure of it stays so."""
        if value is None:
            self.held.pop(place, None)
        else:
            self.held[place] = value

    async def try_put(self, s3: S3, place: Place, value: str) -> Answer:
        """Store a value where there may be no room; what has no clear answer is unsure."""
        answer = await s3.put(*place, body_of(value))
        if answer.status == 200:
            self.settle(place, value)
        elif answer.status == 503:
            self.unsure.setdefault(place, set()).add(value)
        return answer

    async def _read_range(self, s3: S3, place: Place, deadline: float) -> int:
        whole = body_of(self.held[place])
        start, end = len(whole) // 3, len(whole) // 2
        for refused in range(1_000_000):
            answer = await _try(s3, place, deadline, range=f"bytes={start}-{end}")
            if answer is not None:
                assert answer == (206, whole[start : end + 1]) or place in self.unsure, place
                return refused
        raise AssertionError

    async def _list(self, s3: S3, bucket: str, deadline: float) -> None:
        expected = {
            place.key: len(body_of(value))
            for place, value in self.held.items()
            if place.bucket == bucket
        }
        while True:
            try:
                listed = await s3.list_all(bucket)
            except RefusedError as refused:
                failed = refused.answer
            else:
                sizes = {key: size for key, (_, size) in listed.items()}
                wrong = {key for key, _ in sizes.items() ^ expected.items()}
                unsure = {place.key for place in self.unsure if place.bucket == bucket}
                assert wrong <= unsure, (
                    f"{bucket}: listed {len(sizes)} of {len(expected)}, wrong: {wrong}"
                )
                return
            assert failed.status == 503, failed
            assert time.monotonic() < deadline, f"{bucket} can't be listed"
            await asyncio.sleep(0.05)


async def _try(s3: S3, place: Place, deadline: float, **headers: str) -> tuple[int, bytes] | None:
    """Status and body of a GET; None where it may be asked for again."""
    try:
        answer = await s3.get(*place, **headers)
    except NO_ANSWER as error:
        failed = repr(error)
    else:
        if answer.status not in {500, 503}:
            return answer.status, answer.body
        failed = f"{answer.status} {answer.body[:300]!r}"
    assert time.monotonic() < deadline, f"{place} can't be read: {failed}"
    await asyncio.sleep(0.05)
    return None


async def gather_some(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order; CONCURRENT at a time."""
    limit = asyncio.Semaphore(CONCURRENT)

    async def one(item: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await item

    return await asyncio.gather(*map(one, work))

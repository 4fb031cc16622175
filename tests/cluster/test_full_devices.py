"""Full devices: writes are refused in S3's words, nothing acknowledged is lost, reads and deletes go
on, also after a restart; writes resume when there is room again.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.store import RunningStore, start_store
from tests.cluster.load import Place
from tests.cluster.s3 import S3, Answer, connect
from tests.cluster.small_disks import small_disks
from tests.cluster.stock import Stock, gather_some

DISKS = 6
RESERVE_MIB = {40: 8, 160: 32}
"""By the size of the disks, in MiB; half of it is for confirmations by reads."""
WRITERS = 8
REFUSALS = 20
KEPT_OF = 4
"""One of so many objects is kept when room is made."""

RESUMES_WITHIN_S = 30.0


def devices_of(store: RunningStore) -> list[dict[str, Any]]:
    report = json.loads(store.ask_admin("/status"))
    return [status for worker in report["workers"] for status in worker["devices"].values()]


async def fill(s3: S3, stock: Stock, bucket: str, size: int, most: int) -> list[Answer]:
    """Store objects until each writer has been refused often; the refusals.

    Devices are not full at the same moment: some rows still find room when others do not.
    """
    refusals: list[Answer] = []
    numbers = iter(range(most))

    async def writer() -> None:
        refused = 0
        while refused < REFUSALS:
            number = next(numbers)
            place = Place(bucket, f"o{number}")
            answer = await stock.try_put(s3, place, f"{bucket}.{place.key}-1-{size}")
            if answer.status != 200:
                refusals.append(answer)
                refused += 1

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return refusals


def check_refusals(refusals: list[Answer]) -> None:
    """In S3's words: no room, or (where nobody can say what became of it) to be tried again."""
    for refusal in refusals:
        assert (refusal.status, refusal.code) in {
            (507, "InsufficientStorage"),
            (503, "ServiceUnavailable"),
        }, refusal
        assert refusal.headers["Content-Type"] == "application/xml"
    assert any(refusal.status == 507 for refusal in refusals), refusals


async def until(condition: Callable[[], Any], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


@contextmanager
def _small_store(folder: Path, disk_mib: int) -> Iterator[RunningStore]:
    with (
        small_disks(folder, DISKS, disk_mib) as disks,
        start_store(
            folder,
            wrapper=disks.wrapper,
            device_paths=disks.folders,
            device_reserve_bytes=RESERVE_MIB[disk_mib] << 20,
            collect_grace_s=0.1,
        ) as store,
    ):
        yield store


@pytest.mark.parametrize(
    ("size", "disk_mib", "bucket"),
    [(1 << 20, 40, "plain"), (1 << 20, 40, "coded"), (60_000, 160, "plain")],
    ids=["blobs", "fragments", "rows"],
)
async def test_full_devices(tmp_path: Path, size: int, disk_mib: int, bucket: str) -> None:
    stock = Stock()
    with _small_store(tmp_path, disk_mib) as store:
        async with connect(store) as s3:
            await stock.make_buckets(s3)
            check_refusals(await fill(s3, stock, bucket, size, most=20_000))
            await _stays_as_it_is(s3, stock, bucket, size)
        store.kill()
        store.restart()
        assert not [status for status in devices_of(store) if status["offline"]]
        async with connect(store) as s3:
            await _stays_as_it_is(s3, stock, bucket, size)
            await _resumes_after_deletes(s3, stock, bucket, size)
            await stock.check(s3)


async def _stays_as_it_is(s3: S3, stock: Stock, bucket: str, size: int) -> None:
    """Reads go on, and a refused overwrite changes nothing."""
    begin = time.monotonic()
    refused: list[Answer] = []
    while not refused:
        assert time.monotonic() - begin < 10, "a full device takes writes for ever"
        for place in list(stock.held)[:32]:
            value = f"{bucket}.{place.key}-{time.monotonic_ns()}-{size}"
            answer = await stock.try_put(s3, place, value)
            if answer.status != 200:
                refused.append(answer)
    check_refusals(refused)
    await stock.check(s3)


async def _resumes_after_deletes(s3: S3, stock: Stock, bucket: str, size: int) -> None:
    places = [place for place in stock.held if place.bucket == bucket]
    gone = [place for number, place in enumerate(places) if number % KEPT_OF]

    async def delete(place: Place) -> None:
        answer = await s3.delete(*place)
        assert answer.status == 204, answer
        stock.settle(place, None)
        stock.unsure.pop(place, None)

    await gather_some(map(delete, gone))
    for place in gone[:5]:
        assert (await s3.get(*place)).status == 404

    async def some_writes() -> bool:
        """As many as went at once before anything was full."""
        places = [Place(bucket, f"after{number}") for number in range(12)]
        answers = await gather_some(
            stock.try_put(s3, place, f"{bucket}.{place.key}-{time.monotonic_ns()}-{size}")
            for place in places
        )
        return all(answer.status == 200 for answer in answers)

    await until(some_writes, RESUMES_WITHIN_S)

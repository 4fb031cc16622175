"""Full devices: writes are refused in S3's own words and nothing acknowledged is lost; reads and deletes
go on, also after a restart; writes resume when there is room again.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.store import RunningStore, start_store
from tests.cluster.load import Place, body_of
from tests.cluster.s3 import S3, Answer, connect
from tests.cluster.small_disks import small_disks
from tests.cluster.stock import Stock, gather_some

DISKS = 6
RESERVE_MIB = 8
WRITERS = 8
REFUSALS = 20
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
            value = f"{bucket}.{place.key}-1-{size}"
            answer = await s3.put(*place, body_of(value))
            if answer.status != 200:
                refusals.append(answer)
                refused += 1
            else:
                stock.held[place] = value

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


@pytest.mark.parametrize(
    ("size", "disk_mib", "bucket"),
    [(1 << 20, 40, "plain"), (1 << 20, 40, "coded"), (60_000, 160, "plain")],
    ids=["blobs", "fragments", "rows"],
)
async def test_full_devices(tmp_path: Path, size: int, disk_mib: int, bucket: str) -> None:
    stock = Stock()
    with small_disks(tmp_path, DISKS, disk_mib) as disks:
        with start_store(
            tmp_path,
            wrapper=disks.wrapper,
            device_paths=disks.folders,
            device_reserve_bytes=RESERVE_MIB << 20,
            collect_grace_s=0.1,
        ) as store:
            async with connect(store) as s3:
                await stock.make_buckets(s3)
                check_refusals(await fill(s3, stock, bucket, size, most=20_000))
                await _stays_as_it_is(s3, stock, bucket, size)
            assert any(status["full"] for status in devices_of(store))
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
            answer = await s3.put(*place, body_of(value))
            if answer.status == 200:
                stock.held[place] = value
            else:
                refused.append(answer)
    check_refusals(refused)
    await stock.check(s3)


async def _resumes_after_deletes(s3: S3, stock: Stock, bucket: str, size: int) -> None:
    gone = [place for place in stock.held if place.bucket == bucket][::2]

    async def delete(place: Place) -> None:
        answer = await s3.delete(*place)
        assert answer.status == 204, answer
        del stock.held[place]

    await gather_some(map(delete, gone))
    for place in gone[:5]:
        assert (await s3.get(*place)).status == 404

    async def some_writes() -> bool:
        """As many as went at once before anything was full."""
        places = [Place(bucket, f"after{number}") for number in range(12)]
        values = [f"{bucket}.{place.key}-{time.monotonic_ns()}-{size}" for place in places]
        answers = await gather_some(
            s3.put(*place, body_of(value)) for place, value in zip(places, values, strict=True)
        )
        for place, value, answer in zip(places, values, answers, strict=True):
            if answer.status == 200:
                stock.held[place] = value
        return all(answer.status == 200 for answer in answers)

    await until(some_writes, RESUMES_WITHIN_S)

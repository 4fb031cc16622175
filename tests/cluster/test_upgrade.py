"""Today's store on the data of an earlier version: all that was acknowledged is there, what was half
done is completed, it writes on, and starts again. `upgrade/make.py` says how the data were made.
"""

import asyncio
import re
import tarfile
from pathlib import Path

import pytest

from tests.api.store import REPOSITORY, RunningStore, start_store
from tests.cluster.load import Place
from tests.cluster.s3 import S3, connect
from tests.cluster.upgrade.contents import (
    BUCKETS,
    KEYS,
    PARTS,
    body,
    check,
    complete,
    held,
    parts,
    put,
    unfinished,
)
from tests.cluster.upgrade.make import ARCHIVES, RUN


@pytest.mark.parametrize("ended", ["stopped", "killed"])
async def test_data_of_the_version_before(tmp_path: Path, ended: str) -> None:
    with tarfile.open(ARCHIVES / f"{ended}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    objects = held()
    environment = {**KEYS, "PYTHONPATH": str(REPOSITORY)}
    (tmp_path / RUN).mkdir()
    there = ("env", "-C", str(tmp_path / RUN))  # the ring's paths begin here
    with start_store(tmp_path, environment=environment, wrapper=there, part_min_bytes=1) as store:
        await _use(store, objects)
        store.kill() if ended == "stopped" else store.stop()
        await asyncio.to_thread(store.restart)
        async with connect(store, keep=False) as s3:
            await check(s3, objects)


async def _use(store: RunningStore, objects: dict[Place, bytes]) -> None:
    """Read everything, and change some of everything. objects: what is held, before and after."""
    async with connect(store, keep=False) as s3:
        await check(s3, objects)
        for place in unfinished():
            await complete(s3, place, await _open_upload(s3, place), first=len(PARTS))
            objects[place] = b"".join(parts(place))
        for bucket in BUCKETS:
            await _put(s3, objects, Place(bucket, "size-2500000"), body("anew", 300_001))
            await _put(s3, objects, Place(bucket, "late-0"), body("late anew", 20))
            await _put(s3, objects, Place(bucket, "new"), body("new", 1_500_000))
            assert (await s3.delete(bucket, "twice")).status == 204
            del objects[Place(bucket, "twice")]
        await check(s3, objects)


async def _put(s3: S3, objects: dict[Place, bytes], place: Place, content: bytes) -> None:
    await put(s3, place, content)
    objects[place] = content


async def _open_upload(s3: S3, place: Place) -> str:
    listed = (await s3.ask("GET", place.bucket, "", [("uploads", "")])).body.decode()
    (upload,) = re.findall(r"<UploadId>([^<]+)</UploadId>", listed)
    assert f"<Key>{place.key}</Key>" in listed
    return str(upload)

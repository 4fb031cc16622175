"""Power cuts within LMDB's commits: the device's real index, page by page."""

import random
from pathlib import Path

import pytest

from storage.device.index import verify_lmdb
from storage.device.index_contract import OpenIndex
from tests.crash.crash_images import INDEX_FILE, Image
from tests.crash.device_rig import ROOT
from tests.crash.lmdb_pages import Recorder
from tests.crash.recording_disk import RecordingDisk
from tests.crash.sweep import find_faults, power_cuts, record, share

STEPS = 100
IMAGES = 120
"""States looked at for each seed, of the 10,000 to 18,000 that are made."""


@pytest.mark.parametrize("seed", range(3))
async def test_a_commit_cut_off_leaves_the_one_before(tmp_path: Path, seed: int) -> None:
    def indexes(disk: RecordingDisk) -> OpenIndex:
        return Recorder(disk, tmp_path).open_index

    rng = random.Random(seed)
    disk = await record(seed, STEPS, indexes=indexes)
    cases = share(power_cuts(disk, rng), rng, IMAGES)
    assert await find_faults(disk, cases, f"seed {seed}", indexes) == []


async def damaged(scratch: Path, *, sync: bool) -> int:
    """How many states of a short run have an index whose structure is damaged."""
    rng = random.Random(0)

    def indexes(disk: RecordingDisk) -> OpenIndex:
        return Recorder(disk, scratch, sync=sync).open_index

    disk = await record(0, 8, indexes=indexes)
    opened = next(at for at, event in enumerate(disk.events) if event.kind == "ack")
    cases = share(power_cuts(disk, rng, since=opened), rng, IMAGES)
    return sum(verify_lmdb(str(stored(case.image, scratch))) != "" for case in cases)


def stored(image: Image, scratch: Path) -> Path:
    """The index of an image as a directory."""
    directory = scratch / "stored"
    directory.mkdir(exist_ok=True)
    (directory / INDEX_FILE).write_bytes(image.files[f"{ROOT}/index/{INDEX_FILE}"])
    return directory


async def test_commits_that_do_not_sync_are_found_out(tmp_path: Path) -> None:
    assert await damaged(tmp_path, sync=True) == 0
    assert await damaged(tmp_path, sync=False) > 0

"""Journal segments of every format version, kept for ever: they are read and written as they were.

`v1.seg` is what the first release wrote, `v1-erased.seg` has the records that came later.
"""

from pathlib import Path

import pytest

from tests.crash.device_rig import DeviceRig
from tests.format.journal.story import (
    SEGMENT,
    digests_are_right,
    recall,
    recall_more,
    told,
    with_files,
)

GOLDEN = Path(__file__).parent / "golden"
IDENTITY = GOLDEN / "v1-device.toml"


@pytest.mark.parametrize(("name", "more"), [("v1.seg", False), ("v1-erased.seg", True)])
async def test_version_1_is_written_as_it_was(name: str, more: bool) -> None:
    rig = await told(more=more)
    files = rig.disk.image().files
    assert files[SEGMENT] == (GOLDEN / name).read_bytes()
    assert files["device/device.toml"] == IDENTITY.read_bytes()


async def replayed(name: str) -> DeviceRig:
    """A device that found this segment, and no index."""
    rig = await told()
    rig.crash()
    golden = {SEGMENT: (GOLDEN / name).read_bytes(), "device/device.toml": IDENTITY.read_bytes()}
    return await DeviceRig.open(with_files(rig.disk.image(), golden, {}), rig.clock)


async def test_version_1_is_read_as_it_was() -> None:
    rig = await replayed("v1.seg")
    assert rig.device.status().replayed_rows == 14
    await recall(rig)
    await digests_are_right(rig)


async def test_erasures_of_version_1_are_read_as_they_were() -> None:
    rig = await replayed("v1-erased.seg")
    await recall_more(rig)

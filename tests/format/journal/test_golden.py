"""Journal segments of every format version, kept for ever: they are read and written as they were."""

from pathlib import Path

from tests.crash.device_rig import DeviceRig
from tests.format.journal.story import SEGMENT, recall, told, with_files

GOLDEN = Path(__file__).parent / "golden" / "v1.seg"
IDENTITY = Path(__file__).parent / "golden" / "v1-device.toml"


async def test_version_1_is_written_as_it_was() -> None:
    rig = await told()
    files = rig.disk.image().files
    assert files[SEGMENT] == GOLDEN.read_bytes()
    assert files["device/device.toml"] == IDENTITY.read_bytes()


async def test_version_1_is_read_as_it_was() -> None:
    rig = await told()
    rig.crash()
    golden = {SEGMENT: GOLDEN.read_bytes(), "device/device.toml": IDENTITY.read_bytes()}
    again = await DeviceRig.open(with_files(rig.disk.image(), golden, {}), rig.clock)
    assert again.device.status().replayed_rows == 14
    await recall(again)

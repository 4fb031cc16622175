"""A guest on a volume that lives in the object store: fills it, and finds it again on a clone.

`make smoke-guest` calls this with the folder of an unpacked kernel package.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from compute.nbd.server import NbdServer
from compute.objects.client import SwiftStore
from compute.volume.drivers.ring.driver import RingDriver
from runtime.randomness import SystemRandomness
from tests.api.store import RunningStore, start_store
from tests.compute.objects.test_store import TempAuthLogin
from tests.guest.guest import Kernel, run
from tests.guest.scripts import CHECK, FILL, sums

VOLUME_BYTES: Final = 1024 * 1024 * 1024


async def smoke(store: RunningStore, kernel: Kernel, folder: Path) -> None:
    """Raises GuestFailed, AssertionError."""
    objects, nbd = SwiftStore(TempAuthLogin(store)), NbdServer()
    await nbd.listen_unix(str(folder / "nbd"))
    driver = RingDriver(objects, nbd, SystemRandomness())

    async def booted(volume: str, script: str) -> str:
        where = (await driver.attach(volume, f"of-{volume}", read_only=False)).data
        uri = f"nbd+unix:///of-{volume}?socket={where['unix']}"
        try:
            return await asyncio.to_thread(run, kernel, [uri], script)
        finally:
            await driver.detach(volume, f"of-{volume}")

    try:
        await driver.create("disk", VOLUME_BYTES)
        filled = sums(await booted("disk", FILL))
        print("a guest made a file system, wrote, deleted, trimmed")
        await driver.clone("copy", "disk", VOLUME_BYTES)
        assert sums(await booted("disk", CHECK)) == filled
        print("another guest found all of it")
        assert sums(await booted("copy", CHECK)) == filled
        print("and a third one on a clone")
        await driver.delete("disk")
        assert sums(await booted("copy", CHECK)) == filled
        await driver.delete("copy")
        assert await objects.listing("volumes") == []
        print("the clone outlives its source, and nothing is left of both")
    finally:
        await driver.close()
        await nbd.close()
        await objects.close()


def main() -> int:
    """The command line."""
    kernel = Kernel.within(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="atoll-smoke-") as folder:
        (Path(folder) / "store").mkdir()
        with start_store(Path(folder) / "store", workers=1) as store:
            asyncio.run(smoke(store, kernel, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

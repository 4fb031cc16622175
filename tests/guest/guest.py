"""A real guest: Debian's kernel and busybox under QEMU's emulation; it runs one script and powers off.

No KVM: not every machine's starts a kernel that was not made for it. A boot takes some 6 s of CPU.
"""

import dataclasses
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.guest.archive import FOLDER, LINK, PROGRAM, Entry, initrd

BUSYBOX: Final = Path("/bin/busybox")
MODULES: Final = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
)
"""In the order in which they need each other."""
MEMORY_MIB: Final = 192
DEADLINE_S: Final = 300
"""For a busy machine; a guest that hangs is ended then."""
DONE: Final = "GUEST-DONE"

INIT: Final = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {" ".join(MODULES)}; do insmod /modules/$module.ko; done
sh -e /script
echo {DONE} $?
poweroff -f
"""


class GuestFailed(AssertionError):
    """The script failed, or the guest did not come so far. The text has its console."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: the kernel and the folder of its modules."""

    image: Path
    modules: Path

    @classmethod
    def within(cls, folder: Path) -> "Kernel":
        """Of a package unpacked in a folder."""
        return cls(next(folder.glob("boot/vmlinuz-*")), next(folder.glob("lib/modules/*")))

    def module(self, name: str) -> bytes:
        """A module's file."""
        return next(self.modules.rglob(f"{name}.ko")).read_bytes()


def _initrd(kernel: Kernel, script: str) -> bytes:
    folders = [Entry(name, FOLDER) for name in ("bin", "dev", "mnt", "modules", "proc", "sys")]
    busybox = BUSYBOX.read_bytes()
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True).stdout.decode()
    commands = [Entry(f"bin/{name}", LINK, b"busybox") for name in listed.split() if name != "busybox"]
    modules = [Entry(f"modules/{name}.ko", PROGRAM, kernel.module(name)) for name in MODULES]
    files = [Entry("init", PROGRAM, INIT.encode()), Entry("script", PROGRAM, script.encode())]
    return initrd([*folders, Entry("bin/busybox", PROGRAM, busybox), *commands, *modules, *files])


def run(kernel: Kernel, disks: list[str], script: str) -> str:
    """Boot, run the script, power off; the console's text. Raises GuestFailed.

    disks: NBD URIs, in the guest /dev/vda and so on. script: for busybox's sh; ends at the first error.
    """
    with tempfile.TemporaryDirectory(prefix="atoll-guest-") as folder:
        ramdisk = Path(folder) / "initrd"
        ramdisk.write_bytes(_initrd(kernel, script))
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY_MIB)]
        command += ["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
        command += ["-kernel", str(kernel.image), "-initrd", str(ramdisk)]
        command += ["-append", "console=ttyS0 panic=-1 quiet"]
        for disk in disks:
            command += ["-drive", f"file={disk},format=raw,if=virtio,cache=none,discard=unmap"]
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=DEADLINE_S, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise GuestFailed((error.stdout or b"").decode(errors="replace")) from error
    console = done.stdout.decode(errors="replace").replace("\r", "")
    if f"{DONE} 0" not in console:
        raise GuestFailed(f"{console}\n{done.stderr.decode(errors='replace')}")
    return console

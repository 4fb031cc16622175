"""Images made with qemu-img, and those that it does not make written by hand."""

import io
import struct
import subprocess
import tarfile
from pathlib import Path

from compute.image.formats.inspect import Found, Inspector

DISK_BYTES = 10 * 1024 * 1024

KINDS = {
    "qcow2": ("qcow2", "qcow2", ""),
    "qcow2 version 2": ("qcow2", "qcow2", "compat=0.10"),
    "qcow2 zstd": ("qcow2", "qcow2", "compression_type=zstd,extended_l2=on"),
    "vdi": ("vdi", "vdi", ""),
    "vdi static": ("vdi", "vdi", "static=on"),
    "vhd": ("vhd", "vpc", "force_size=on"),
    "vhd fixed": ("vhd", "vpc", "force_size=on,subformat=fixed"),
    "vhdx": ("vhdx", "vhdx", ""),
    "vhdx fixed": ("vhdx", "vhdx", "subformat=fixed"),
    "vmdk": ("vmdk", "vmdk", ""),
    "vmdk stream": ("vmdk", "vmdk", "subformat=streamOptimized"),
    "raw": ("raw", "raw", ""),
}
"""By name: the disk format, qemu-img's word for it, and its options."""

FOREIGN_VMDKS = (
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
)


def qemu_img(*words: str) -> str:
    """Run it; what it says."""
    done = subprocess.run(["qemu-img", *words], check=True, capture_output=True, text=True)
    return done.stdout


def create(path: Path, kind: str, *more: str) -> bytes:
    """An image with a few bytes on its disk."""
    _, word, options = KINDS[kind]
    source = path.with_suffix(".source")
    with source.open("wb") as file:
        file.write(b"boot" * 128)
        file.truncate(DISK_BYTES)
    wanted = ["-o", options] if options else []
    qemu_img("convert", "-f", "raw", "-O", word, *wanted, *more, str(source), str(path))
    return path.read_bytes()


def iso() -> bytes:
    """A CD with an empty root."""
    primary = bytearray(2048)
    primary[:7] = b"\x01CD001\x01"
    blocks = 20
    struct.pack_into("<I", primary, 80, blocks)
    struct.pack_into(">I", primary, 84, blocks)
    struct.pack_into("<H", primary, 128, 2048)
    struct.pack_into(">H", primary, 130, 2048)
    end = b"\xffCD001\x01".ljust(2048, b"\0")
    return (bytes(32 * 1024) + bytes(primary) + end).ljust(blocks * 2048, b"\0")


def mbr(kind: int = 0x83) -> bytes:
    """A disk with a boot sector and one partition; kind 0xEE protects a GPT."""
    entry = struct.pack("<B3sB3sII", 0x80 if kind != 0xEE else 0, b"\0\2\0", kind, b"\0\0\0", 1, 2047)
    return (b"\0" * 446 + entry.ljust(64, b"\0") + b"\x55\xaa").ljust(1024 * 1024, b"\0")


ENVELOPE = b"""<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="%s"/></References>
</Envelope>"""


def ova(*members: tuple[str, bytes]) -> bytes:
    """An archive of these members."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def inspect(
    data: bytes, disk_format: str | None, container: str = "bare", chunk_bytes: int = 65_536
) -> Found:
    """Feed it in pieces. Raises Mismatch."""
    inspector = Inspector(disk_format, container)
    for at in range(0, len(data), chunk_bytes):
        inspector.eat(data[at : at + chunk_bytes])
    return inspector.finish()

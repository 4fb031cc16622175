"""The signatures by which formats are known. Pure functions over the first bytes of a stream."""

from typing import Final

HEAD_BYTES: Final = 512
"""As many are needed to tell; a shorter stream is told by what there is."""

ISO_OFFSET: Final = 32 * 1024
ISO_SECTOR_BYTES: Final = 2048
ISO_SECTORS: Final = 3
"""A UDF volume without ISO 9660 has its mark in the second or third of these sectors."""

_ISO_MARKS: Final = (b"CD001", b"NSR02", b"NSR03")
_STARTS: Final = (
    (b"QFI\xfb", "qcow2"),
    (b"QED\x00", "qed"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"KDMV", "vmdk"),
    (b"COWD", "vmdk"),
    (b"WithoutFreeSpace", "ploop"),
    (b"WithouFreSpacExt", "ploop"),
    (b"LUKS\xba\xbe", "luks"),
)
_VMDK_TEXT: Final = b"# disk descriptorfile"
_VDI_SIGNATURE: Final = b"\x7f\x10\xda\xbe"
_COMPRESSED: Final = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",
    b"PK\x03\x04",
    b"\x04\x22\x4d\x18",
)


def format_of(head: bytes) -> str:
    """The format that a stream begins as: a disk format, "luks", "tar", "gpt", "mbr" or "raw"."""
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if head[0x40:0x44] == _VDI_SIGNATURE:
        return "vdi"
    if head.lstrip()[: len(_VMDK_TEXT)].lower() == _VMDK_TEXT:
        return "vmdk"
    if head[257:262] == b"ustar":
        return "tar"
    return _partitioned(head)


def _partitioned(head: bytes) -> str:
    """By the boot sector's mark and its table; a protective partition says GPT."""
    if head[510:512] != b"\x55\xaa":
        return "raw"
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    if any(entry[4] == 0xEE for entry in entries):
        return "gpt"
    sane = all(entry[0] in (0x00, 0x80) for entry in entries)
    return "mbr" if sane and any(entry[4] for entry in entries) else "raw"


def is_iso(sectors: bytes) -> bool:
    """Whether the sectors at ISO_OFFSET are those of a CD or DVD."""
    return any(
        sectors[at + 1 : at + 6] in _ISO_MARKS for at in range(0, len(sectors), ISO_SECTOR_BYTES)
    )


def is_compressed(head: bytes) -> bool:
    """Whether it begins as gzip, bzip2, xz, zstd, zip or lz4."""
    return head.startswith(_COMPRESSED)

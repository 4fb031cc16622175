"""Images that qemu-img made are what it made them, by content and by size, however they are cut."""

import json
from pathlib import Path

import pytest

from compute.image.formats.inspect import Found, Mismatch
from tests.compute.image.formats.samples import (
    DISK_BYTES,
    ENVELOPE,
    KINDS,
    create,
    inspect,
    iso,
    mbr,
    ova,
    qemu_img,
)

CLAIMS = ("raw", "qcow2", "vdi", "vhd", "vhdx", "vmdk", "iso", "ami", "aki", "ari")
FIXED = "vhd fixed"


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_found_with_its_size(kind: str, tmp_path: Path) -> None:
    data = create(tmp_path / "image", kind)
    disk_format, word, _ = KINDS[kind]
    told = json.loads(qemu_img("info", "-f", word, "--output=json", str(tmp_path / "image")))
    assert told["virtual-size"] == DISK_BYTES
    for chunk_bytes in (1 << 20, 65_536, 4093):
        found = inspect(data, disk_format, chunk_bytes=chunk_bytes)
        assert found[:2] == (disk_format, DISK_BYTES)
    if kind not in (FIXED, "raw"):
        assert inspect(data, None)[:2] == (disk_format, DISK_BYTES)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != FIXED])
def test_every_other_claim_is_refused(kind: str, tmp_path: Path) -> None:
    data = create(tmp_path / "image", kind)
    opaque = {"raw", "ami", "aki", "ari"} if kind == "raw" else {KINDS[kind][0]}
    for claim in set(CLAIMS) - opaque:
        with pytest.raises(Mismatch):
            inspect(data, claim)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (FIXED, "raw")])
def test_a_wrong_claim_is_refused_by_the_first_bytes(kind: str, tmp_path: Path) -> None:
    data = create(tmp_path / "image", kind)
    with pytest.raises(Mismatch, match="Image disk_format raw does not match stream data"):
        inspect(data[:512], "raw", chunk_bytes=512)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "raw"])
def test_one_that_is_cut_off_is_refused(kind: str, tmp_path: Path) -> None:
    data = create(tmp_path / "image", kind)
    for length in (0, 3, 64, 70):
        with pytest.raises(Mismatch):
            inspect(data[:length], KINDS[kind][0])


def test_a_cd_is_an_iso_or_raw() -> None:
    data = iso()
    assert inspect(data, "iso") == Found("iso", len(data), "iso")
    assert inspect(data, "raw") == Found("raw", len(data), "iso")
    assert inspect(data, None) == Found("iso", len(data), "iso")
    hybrid = mbr()[:512] + data[512:]
    assert inspect(hybrid, "iso") == Found("iso", len(data), "iso")
    with pytest.raises(Mismatch, match="Image disk_format iso does not match stream data raw"):
        inspect(bytes(40_000), "iso")
    with pytest.raises(Mismatch):
        inspect(data[:30_000], "iso")


def test_disks_with_partitions_are_raw() -> None:
    size = 1024 * 1024
    assert inspect(mbr(), "raw") == Found("raw", size, "mbr")
    assert inspect(mbr(0xEE), "raw") == Found("raw", size, "gpt")
    assert inspect(mbr(), "ami") == Found("ami", None, "mbr")
    assert inspect(b"\0" * 510 + b"\x55\xaa", "aki") == Found("aki", None, "raw")


def test_anything_else_is_raw_and_nothing_else() -> None:
    assert inspect(b"", "raw") == Found("raw", 0, "raw")
    assert inspect(b"kernel", "aki") == Found("aki", None, "raw")
    for claim in ("qcow2", "vdi", "vhd", "vhdx", "vmdk", "iso"):
        with pytest.raises(Mismatch):
            inspect(b"some text" * 10_000, claim)


def test_an_ova_is_told_by_its_first_disk(tmp_path: Path) -> None:
    disk = create(tmp_path / "disk.vmdk", "vmdk stream")
    envelope = ("box.ovf", ENVELOPE % b"disk.vmdk")
    data = ova(envelope, ("disk.vmdk", disk), ("box.mf", b"SHA256(box.ovf)= 0"))
    for chunk_bytes in (1 << 20, 511):
        assert inspect(data, "vmdk", "ova", chunk_bytes) == Found("vmdk", DISK_BYTES, "ova")
    assert inspect(data, "vmdk", "ovf") == Found("vmdk", DISK_BYTES, "ova")
    assert inspect(disk, "vmdk", "ovf") == Found("vmdk", DISK_BYTES, "vmdk")
    for claim in ("raw", "qcow2"):
        with pytest.raises(Mismatch):
            inspect(data, claim, "ova")
    with pytest.raises(Mismatch):
        inspect(disk, "vmdk", "ova")
    with pytest.raises(Mismatch, match="cut off"):
        inspect(data[: len(disk) // 2], "vmdk", "ova")


def test_what_is_said_to_be_compressed_is() -> None:
    assert inspect(b"\x1f\x8b" + bytes(600), "qcow2", "compressed").disk_format == "qcow2"
    with pytest.raises(Mismatch):
        inspect(bytes(600), "qcow2", "compressed")

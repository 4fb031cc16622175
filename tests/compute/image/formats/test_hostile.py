"""Images that would make a reader open something else are refused, whatever they look like."""

import os
import struct
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute.image.formats.inspect import Inspector, Mismatch
from compute.image.formats.vmdk import check_descriptor
from tests.compute.image.formats.samples import (
    ENVELOPE,
    FOREIGN_VMDKS,
    KINDS,
    create,
    inspect,
    iso,
    ova,
    qemu_img,
)

CLAIMS = (None, "raw", "qcow2", "vdi", "vhd", "vhdx", "vmdk", "iso", "ami", "aki", "ari")
CONTAINERS = ("bare", "ova", "ovf", "compressed", "ami")


def test_a_qcow2_with_a_backing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(path), "1M")
    for claim in ("qcow2", None):
        with pytest.raises(Mismatch, match="backing file"):
            inspect(path.read_bytes(), claim)


def test_a_qcow2_with_a_data_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", str(path), "1M")
    with pytest.raises(Mismatch, match="data file"):
        inspect(path.read_bytes(), "qcow2")


@pytest.mark.parametrize("bit", [2, *range(5, 64)])
def test_a_qcow2_with_features_that_nobody_knows_is_refused(bit: int, tmp_path: Path) -> None:
    data = bytearray(create(tmp_path / "image", "qcow2"))
    struct.pack_into(">Q", data, 72, 1 << bit)
    with pytest.raises(Mismatch):
        inspect(bytes(data), "qcow2")


@pytest.mark.parametrize("kind", FOREIGN_VMDKS)
def test_a_vmdk_with_extents_elsewhere_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image.vmdk"
    qemu_img("create", "-f", "vmdk", "-o", f"subformat={kind}", str(path), "1M")
    for claim in ("vmdk", "raw", "ami", None):
        with pytest.raises(Mismatch):
            inspect(path.read_bytes(), claim)


def test_a_vmdk_with_a_parent_is_refused(tmp_path: Path) -> None:
    parent, path = tmp_path / "parent.vmdk", tmp_path / "image.vmdk"
    qemu_img("create", "-f", "vmdk", str(parent), "1M")
    qemu_img("create", "-f", "vmdk", "-b", str(parent), "-F", "vmdk", str(path))
    with pytest.raises(Mismatch, match="parent"):
        inspect(path.read_bytes(), "vmdk")


GOOD = """# Disk DescriptorFile
version=1
CID=62869b1c
parentCID=ffffffff
createType="monolithicSparse"
RW 20480 SPARSE "a.vmdk"
ddb.adapterType = "ide"
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"a.vmdk"', '"/etc/passwd"'),
        ('"a.vmdk"', '"..\\secret"'),
        ("SPARSE", "FLAT"),
        ("SPARSE", "VMFS"),
        ('RW 20480 SPARSE "a.vmdk"\n', ""),
        ("ddb.adapterType", 'RW 1 SPARSE "b.vmdk"\nddb.adapterType'),
        ("monolithicSparse", "custom"),
        ("ffffffff", "12345678"),
        ("version=1", '#createType="monolithicFlat"'),
        ("version=1", '#parentFileNameHint="/etc/passwd"'),
        ("version=1", "whatever this is"),
        ("version=1", "version=1\nversion=2"),
        ("version=1", "versiön=1"),
    ],
)
def test_a_vmdk_descriptor_names_nothing_else(old: str, new: str) -> None:
    check_descriptor(GOOD.encode())
    assert old in GOOD
    with pytest.raises(Mismatch):
        check_descriptor(GOOD.replace(old, new).encode())


def _with_footer(data: bytes, **changed: int) -> bytes:
    """A streamed VMDK whose directory is said to be at its end."""
    head = bytearray(data[:512])
    footer = bytearray(head)
    struct.pack_into("<Q", head, 56, 0xFFFF_FFFF_FFFF_FFFF)
    if "capacity" in changed:
        struct.pack_into("<Q", footer, 12, changed["capacity"])
    if "descriptor" in changed:
        struct.pack_into("<Q", footer, 28, changed["descriptor"])
    marker = struct.pack("<QII", 1, changed.get("size", 0), changed.get("kind", 3)).ljust(512, b"\0")
    return bytes(head) + data[512:] + marker + bytes(footer) + bytes(512)


def test_a_vmdk_footer_says_what_its_header_says(tmp_path: Path) -> None:
    data = create(tmp_path / "image", "vmdk stream")
    assert inspect(_with_footer(data), "vmdk").disk_format == "vmdk"
    for changed in ({"capacity": 1}, {"descriptor": 50}, {"kind": 0}, {"size": 9}):
        with pytest.raises(Mismatch, match="footer"):
            inspect(_with_footer(data, **changed), "vmdk")


def test_differences_to_a_parent_are_refused(tmp_path: Path) -> None:
    vhd = bytearray(create(tmp_path / "vhd", "vhd"))
    struct.pack_into(">I", vhd, 60, 4)
    vdi = bytearray(create(tmp_path / "vdi", "vdi"))
    vdi[440] = 1
    differing = bytearray(create(tmp_path / "vdi2", "vdi"))
    struct.pack_into("<I", differing, 0x4C, 4)
    vhdx = bytearray(create(tmp_path / "vhdx", "vhdx"))
    (start,) = struct.unpack_from("<Q", vhdx, 192 * 1024 + 16 + 32 + 16)
    place = vhdx.index(struct.pack("<II", 8 << 20, 0), start)  # the block's size and its flags
    struct.pack_into("<I", vhdx, place + 4, 2)
    for data, claim in ((vhd, "vhd"), (vdi, "vdi"), (differing, "vdi"), (vhdx, "vhdx")):
        with pytest.raises(Mismatch):
            inspect(bytes(data), claim)


def test_an_image_of_two_formats_is_refused(tmp_path: Path) -> None:
    data = bytearray(create(tmp_path / "image", "qcow2"))
    disc = iso()
    data[32 * 1024 : len(disc)] = disc[32 * 1024 :]
    for claim in ("qcow2", "iso", "raw"):
        with pytest.raises(Mismatch):
            inspect(bytes(data), claim)


def test_archives_that_lead_away_are_refused(tmp_path: Path) -> None:
    disk = ("disk.vmdk", create(tmp_path / "disk", "vmdk"))
    good = ("box.ovf", ENVELOPE % b"disk.vmdk")
    path = tmp_path / "backed"
    qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(path), "1M")
    assert inspect(ova(good, disk), "vmdk", "ova")
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><Envelope>&a;</Envelope>'
    for members in (
        (disk, good),
        (good,),
        (good, ("../../etc/passwd", b"x"), disk),
        (("box.ovf", ENVELOPE % b"/etc/passwd"), disk),
        (("box.ovf", ENVELOPE % b"http://127.0.0.1/"), disk),
        (("box.ovf", bomb), disk),
        (("box.ovf", b"<html/>"), disk),
        (("box.ovf", b"nothing"), disk),
        (good, disk, ("other.qcow2", path.read_bytes())),
    ):
        with pytest.raises(Mismatch):
            inspect(ova(*members), "vmdk", "ova")


def test_it_stays_refused() -> None:
    inspector = Inspector("qcow2")
    with pytest.raises(Mismatch):
        inspector.eat(bytes(512))
    with pytest.raises(Mismatch):
        inspector.eat(b"")
    with pytest.raises(Mismatch):
        inspector.finish()


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The headers of every kind, and its end."""
    folder = tmp_path_factory.mktemp("heads")
    return {kind: create(folder / kind.replace(" ", "-"), kind)[: 3 << 20] for kind in KINDS}


def _cuts(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


def _verdict(pieces: list[bytes], claim: str | None, container: str) -> object:
    inspector = Inspector(claim, container)
    try:
        for piece in pieces:
            inspector.eat(piece)
        return inspector.finish()
    except Mismatch as mismatch:
        return mismatch.reason


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.integers(0, 4096), st.binary(min_size=1, max_size=16)), max_size=4),
    length=st.integers(0, 3 << 20),
    claim=st.sampled_from(CLAIMS),
    container=st.sampled_from(CONTAINERS),
    sizes=st.lists(st.integers(1000, 300_000), min_size=1, max_size=4),
)
def test_whatever_comes_gets_one_verdict_however_it_is_cut(
    heads: dict[str, bytes],
    kind: str,
    changes: list[tuple[int, bytes]],
    length: int,
    claim: str | None,
    container: str,
    sizes: list[int],
) -> None:
    data = bytearray(heads[kind])
    for at, new in changes:
        data[at : at + len(new)] = new
    raw = bytes(data[:length])
    assert _verdict(_cuts(raw, sizes), claim, container) == _verdict([raw], claim, container)


@given(
    data=st.binary(max_size=2048), claim=st.sampled_from(CLAIMS), container=st.sampled_from(CONTAINERS)
)
def test_noise_is_judged_and_never_a_fault(data: bytes, claim: str | None, container: str) -> None:
    assert _verdict([data], claim, container) == _verdict(_cuts(data, [7]), claim, container)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(4, 111), st.integers(0, 255)),
        min_size=1,
        max_size=4,
    )
)
def test_a_qcow2_that_is_taken_has_nothing_behind_it_for_qemu(
    heads: dict[str, bytes], tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(heads["qcow2"])
    for at, value in changes:
        data[at] = value
    if isinstance(_verdict([bytes(data)], "qcow2", "bare"), str):
        return
    path = tmp_path / "image"
    path.write_bytes(data)
    told = subprocess.run(
        ["qemu-img", "info", "-f", "qcow2", str(path)], capture_output=True, text=True, check=False
    )
    assert "backing file" not in told.stdout
    assert "data file" not in told.stdout
    os.unlink(path)


def test_memory_is_bounded_by_a_header(tmp_path: Path) -> None:
    data = bytearray(create(tmp_path / "image", "vmdk"))
    struct.pack_into("<Q", data, 36, 1 << 40)  # a descriptor of half a petabyte
    with pytest.raises(Mismatch):
        inspect(bytes(data), "vmdk")
    member = tarfile.TarInfo("disk.img")
    member.size = 1 << 40
    archive = ova(("box.ovf", ENVELOPE % b"disk.img"))[:1536] + member.tobuf(tarfile.GNU_FORMAT)
    chunk = bytes(1 << 20)
    for claim, container, head in (("raw", "bare", b""), ("raw", "ova", archive), ("vhd", "bare", b"")):
        inspector = Inspector(claim, container)
        inspector.eat(head)
        tracemalloc.start()
        for _ in range(64):
            inspector.eat(chunk)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 4 << 20

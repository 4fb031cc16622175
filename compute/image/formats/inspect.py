"""Whether a stream is what it is said to be: one `Inspector` eats it as it passes and may refuse it.

Upstream's rules, and stricter in one point: what begins as a QCOW2, VHD, VHDX, VMDK or VDI is refused
as a raw image, too. Whoever reads such an image and guesses its format would follow what its header
names. A raw image may hold an ISO, a partition table or LUKS, which name nothing outside. VHD may be
fixed, which upstream's inspection does not know.

Containers: `bare`, `ami`, `aki`, `ari` and `docker` hold the disk format itself. `ova` is a tar archive
that begins with its descriptor; `ovf` is that, or the disk, or a descriptor alone. `compressed` must be
so, and is not looked into.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from compute.image.formats.ova import Archive
from compute.image.formats.qcow2 import qcow2
from compute.image.formats.signatures import (
    HEAD_BYTES,
    ISO_OFFSET,
    ISO_SECTOR_BYTES,
    ISO_SECTORS,
    format_of,
    is_compressed,
    is_iso,
)
from compute.image.formats.vdi import vdi
from compute.image.formats.verdict import Disk, Found, Mismatch
from compute.image.formats.vhd import FOOTER_BYTES as VHD_FOOTER_BYTES
from compute.image.formats.vhd import fixed_vhd, vhd
from compute.image.formats.vhdx import vhdx
from compute.image.formats.vmdk import FOOTER_BYTES, Vmdk, check_footer, vmdk
from compute.image.formats.window import Piece, Reader, Window

__all__ = ["Found", "Inspector", "Mismatch"]

_READERS: Final[dict[str, Callable[[], Reader[Any]]]] = {
    "qcow2": qcow2,
    "vdi": vdi,
    "vhd": vhd,
    "vhdx": vhdx,
    "vmdk": vmdk,
}
"""Formats whose headers are read."""
_NEVER_RAW: Final = (*_READERS, "qed", "ploop")
_NO_SIZE: Final = ("ami", "aki", "ari")
"""Formats of which no size is told, as upstream."""
_TAIL_BYTES: Final = FOOTER_BYTES


class Inspector:
    """Inspects one stream. claimed_disk_format: None to be told which one it is.

    Memory is bounded by the largest header, whatever the stream holds.
    """

    def __init__(
        self, claimed_disk_format: str | None, claimed_container_format: str | None = "bare"
    ) -> None:
        self._claimed = claimed_disk_format
        self._container = claimed_container_format or "bare"
        self._total = 0
        self._head = bytearray()
        self._inside: _Inside | None = None
        self._refused: Mismatch | None = None

    def eat(self, chunk: bytes | bytearray | memoryview) -> None:
        """The next bytes. Raises Mismatch as soon as it is certain, and ever after."""
        if self._refused is not None:
            raise self._refused
        try:
            self._eat(memoryview(chunk))
        except Mismatch as mismatch:
            self._refused = mismatch
            raise

    def finish(self) -> Found:
        """What the whole stream was. Raises Mismatch."""
        if self._refused is not None:
            raise self._refused
        return self._begun().finish()

    def _eat(self, chunk: memoryview) -> None:
        if self._inside is not None:
            self._inside.eat(chunk)
            return
        self._head += chunk
        if len(self._head) >= HEAD_BYTES:
            self._begun()

    def _begun(self) -> "_Inside":
        """What reads on, chosen by the first bytes. Raises Mismatch."""
        if self._inside is None:
            self._inside = _inside(self._claimed, self._container, bytes(self._head[:HEAD_BYTES]))
            self._inside.eat(memoryview(bytes(self._head)))
            self._head.clear()
        return self._inside


class _Inside(Protocol):
    """Reads a whole stream from its first byte on."""

    def eat(self, chunk: memoryview) -> None:
        """The next bytes. Raises Mismatch."""

    def finish(self) -> Found:
        """Raises Mismatch."""


def _inside(claimed: str | None, container: str, head: bytes) -> _Inside:
    """Raises Mismatch where the head says that the claim is wrong."""
    if container == "compressed":
        if not is_compressed(head):
            raise Mismatch("Image container_format compressed does not match stream data")
        return _Opaque(claimed or "raw")
    if container == "ova" or (container == "ovf" and format_of(head) == "tar"):
        return Archive(claimed, head, Inspector)
    if container == "ovf" and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _Opaque(claimed or "raw")
    return _Bare(claimed, head)


def _mismatch(claimed: str, found: str) -> Mismatch:
    return Mismatch(f"Image disk_format {claimed} does not match stream data {found}")


class _Opaque:
    """What is not looked into."""

    def __init__(self, claimed: str) -> None:
        self._claimed = claimed

    def eat(self, chunk: memoryview) -> None:
        """Nothing of it matters."""

    def finish(self) -> Found:
        """As it was said."""
        return Found(self._claimed, None, "opaque")


class _Bare:
    """A disk or a CD. head: its first bytes."""

    def __init__(self, claimed: str | None, head: bytes) -> None:
        found = format_of(head)
        self._begins = found
        self._claimed = claimed
        self._total = 0
        self._tail = bytearray()
        if found in ("qed", "ploop") and found != claimed:
            raise _mismatch(claimed or "raw", found)
        if claimed is not None and found != claimed and found in _NEVER_RAW:
            raise _mismatch(claimed, found)
        if claimed in _READERS and claimed not in (found, "vhd"):
            raise _mismatch(claimed, found)
        self._reader: Window[Any] | None = Window(_READERS[found]()) if found in _READERS else None
        self._iso = Window(_iso())

    def eat(self, chunk: memoryview) -> None:
        """The next bytes. Raises Mismatch."""
        self._total += len(chunk)
        self._tail += chunk[-_TAIL_BYTES:]
        del self._tail[:-_TAIL_BYTES]
        if self._reader is not None:
            self._reader.eat(chunk)
        self._iso.eat(chunk)
        if self._iso.result is not None:
            self._check_iso(is_one=self._iso.result)

    def _check_iso(self, *, is_one: bool) -> None:
        """Raises Mismatch."""
        if is_one and self._begins in _READERS:
            raise Mismatch("Image is of several formats at once")
        if not is_one and self._claimed == "iso":
            raise _mismatch("iso", self._begins)

    def finish(self) -> Found:
        """Raises Mismatch."""
        is_one = self._iso.finish()
        self._check_iso(is_one=is_one)
        content = "iso" if is_one else self._begins
        if self._reader is not None:
            return Found(self._begins, self._size(self._reader.finish()), content)
        if self._claimed == "vhd":
            footer = bytes(self._tail[-VHD_FOOTER_BYTES:])
            return Found("vhd", fixed_vhd(footer, self._total).virtual_size_bytes, "vhd")
        disk_format = self._claimed or ("iso" if is_one else "raw")
        size = None if disk_format in _NO_SIZE else self._total
        return Found(disk_format, size, content)

    def _size(self, result: Disk | Vmdk) -> int:
        if isinstance(result, Vmdk):
            check_footer(result.header, bytes(self._tail))
            return result.disk.virtual_size_bytes
        return result.virtual_size_bytes


def _iso() -> Reader[bool]:
    return is_iso((yield Piece(ISO_OFFSET, ISO_SECTORS * ISO_SECTOR_BYTES)))

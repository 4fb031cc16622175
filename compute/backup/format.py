"""What is in the objects of a copy, version 1. See doc/backups.md for the bytes.

A volume is cut into regions of 1 MiB, of 256 blocks each; 64 regions make a page. A region that holds
nothing but zeroes is not written down at all. A region's bytes are in one chunk, or, after incremental
copies, partly in older chunks and partly in newer ones, which hold just the blocks that had changed.
Every block has a fingerprint, so that the next incremental copy finds what changed without reading the
last one's bytes.
"""

from typing import Final, NamedTuple

import msgspec

from compute.backup.errors import Damaged

VERSION: Final = 1
BLOCK_BYTES: Final = 4096
REGION_BYTES: Final = 1024 * 1024
REGION_BLOCKS: Final = REGION_BYTES // BLOCK_BYTES
PAGE_REGIONS: Final = 64
PAGE_BYTES: Final = PAGE_REGIONS * REGION_BYTES
PRINT_BYTES: Final = 16
DIGEST_BYTES: Final = 32
TAG_BYTES: Final = 8
CHUNKS_MAX: Final = 16
"""A region in more chunks than this is written anew, so that little of what is kept is unused."""
NOWHERE: Final = -1


class Ref(NamedTuple):
    """An object with content of this digest. tag: of this object alone, it is never used again."""

    digest: bytes
    tag: bytes

    @property
    def name(self) -> str:
        """The object's."""
        return f"d/{self.digest.hex()}-{self.tag.hex()}"


class Run(NamedTuple):
    """So many blocks of a region, which begin at block `first` of a chunk; NOWHERE: they are zero."""

    chunk: int
    first: int
    blocks: int


class Region(NamedTuple):
    """prints: the blocks' fingerprints, one after the other. runs: where the blocks are, in order."""

    prints: bytes
    chunks: tuple[Ref, ...]
    runs: tuple[Run, ...]

    @property
    def blocks(self) -> int:
        """How many."""
        return len(self.prints) // PRINT_BYTES

    def print_of(self, block: int) -> bytes:
        """A block's fingerprint."""
        return self.prints[block * PRINT_BYTES : (block + 1) * PRINT_BYTES]


Page = dict[int, Region]
"""The regions of a page that hold anything, by their place in it."""


class PageRef(NamedTuple):
    """Where a page is. number: its place in the volume."""

    number: int
    ref: Ref


class Root(msgspec.Struct, frozen=True, array_like=True):
    """A copy. sealed_key: the store's key, sealed with the site's secret. pages: in order."""

    version: int
    size_bytes: int
    sealed_key: bytes
    pages: tuple[PageRef, ...]


_PAGES = msgspec.msgpack.Decoder(dict[int, Region])
_ROOTS = msgspec.msgpack.Decoder(Root)


def page_bytes(page: Page) -> bytes:
    """The same bytes for the same page."""
    return msgspec.msgpack.encode(dict(sorted(page.items())))


def page_of(data: bytes) -> Page:
    """Raises Damaged."""
    try:
        return _PAGES.decode(data)
    except msgspec.DecodeError as error:
        raise Damaged("a page of the backup can't be read") from error


def root_bytes(root: Root) -> bytes:
    """Its bytes."""
    return msgspec.msgpack.encode(root)


def root_of(data: bytes) -> Root:
    """Raises Damaged."""
    try:
        root = _ROOTS.decode(data)
    except msgspec.DecodeError as error:
        raise Damaged("the backup's list of pages can't be read") from error
    if root.version != VERSION:
        raise Damaged(f"the backup has version {root.version} of the format")
    return root


def chunks_of(page: Page) -> list[Ref]:
    """All chunks that a page's regions are in, each once."""
    return list(dict.fromkeys(ref for region in page.values() for ref in region.chunks))


def root_name(copy_id: str) -> str:
    """The object with a copy's root."""
    return f"m/{copy_id}"

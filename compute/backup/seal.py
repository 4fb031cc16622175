"""A store's key: names for content that nobody else can compute, compression, encryption.

From the key come others: for digests (BLAKE2b-256) of chunks and of pages, for the blocks' fingerprints
(BLAKE2b-128) and for AES-256-GCM. So a project's chunks tell nothing to who does not have its key, and
equal content has equal names within a project only.
"""

import hashlib
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compute.backup.errors import Damaged
from compute.backup.format import BLOCK_BYTES, DIGEST_BYTES, PRINT_BYTES
from runtime.randomness import Randomness

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAGIC: Final = b"ABK1"
LEVEL: Final = 3
"""Of zstd: hundreds of MB/s a core; higher ones gain little on disks' content."""
GAIN: Final = 0.97
"""What compression does not make smaller than this part is kept as it is."""
ROOT: Final = b"root"
CONTENT_MAX: Final = 64 * 1024 * 1024

_COMPRESSED: Final = 1
_ENCRYPTED: Final = 2


class Keys:
    """What a store's key makes. encrypts: whether new objects are encrypted; either kind is read."""

    def __init__(self, key: bytes, randomness: Randomness, *, encrypts: bool) -> None:
        self._randomness = randomness
        self._digest = _derived(key, b"chunk digest")
        self._page = _derived(key, b"page digest")
        self._print = _derived(key, b"block print")
        self._cipher = AESGCM(_derived(key, b"aes-gcm"))
        self._encrypts = encrypts
        self.zero_print = self.prints(bytes(BLOCK_BYTES))

    def digest(self, content: bytes | bytearray | memoryview) -> bytes:
        """The name of this content."""
        return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=self._digest).digest()

    def page_digest(self, content: bytes) -> bytes:
        """The name of this page: never a chunk's, whatever a volume holds."""
        return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=self._page).digest()

    def prints(self, content: bytes | bytearray | memoryview) -> bytes:
        """The fingerprints of its blocks, one after the other."""
        view = memoryview(content)
        return b"".join(
            hashlib.blake2b(
                view[at : at + BLOCK_BYTES], digest_size=PRINT_BYTES, key=self._print
            ).digest()
            for at in range(0, len(view), BLOCK_BYTES)
        )

    def packed(self, content: bytes | bytearray | memoryview, digest: bytes) -> bytes:
        """The object that holds this content."""
        flags = 0
        body = bytes(content)
        small = zstandard.ZstdCompressor(level=LEVEL).compress(body)
        if len(small) < len(body) * GAIN:
            flags, body = _COMPRESSED, small
        if self._encrypts:
            flags |= _ENCRYPTED
            nonce = self._randomness.token(NONCE_BYTES)
            body = nonce + self._cipher.encrypt(nonce, body, digest + bytes([flags]))
        return MAGIC + bytes([flags]) + body

    def unpacked(self, stored: bytes, digest: bytes) -> bytes:
        """The content of a chunk, which must be what the digest says. Raises Damaged."""
        content = self.opened(stored, digest)
        if self.digest(content) != digest:
            raise Damaged("a chunk of the backup has changed since it was written")
        return content

    def unpacked_page(self, stored: bytes, digest: bytes) -> bytes:
        """The content of a page, likewise. Raises Damaged."""
        content = self.opened(stored, digest)
        if self.page_digest(content) != digest:
            raise Damaged("a page of the backup has changed since it was written")
        return content

    def opened(self, stored: bytes, bound: bytes) -> bytes:
        """The content of an object. bound: what it was encrypted for. Raises Damaged."""
        if stored[: len(MAGIC)] != MAGIC or len(stored) <= len(MAGIC):
            raise Damaged("an object of the backup is none of its kind")
        flags, body = stored[len(MAGIC)], stored[len(MAGIC) + 1 :]
        try:
            if flags & _ENCRYPTED:
                nonce, body = body[:NONCE_BYTES], body[NONCE_BYTES:]
                body = self._cipher.decrypt(nonce, body, bound + bytes([flags]))
            if flags & _COMPRESSED:
                body = _decompressed(body)
        except (InvalidTag, ValueError, zstandard.ZstdError) as error:
            raise Damaged("an object of the backup has changed or is under another key") from error
        return body

    def packed_root(self, content: bytes) -> bytes:
        """The object that holds a copy's root: its digest goes before it."""
        return self.packed(self.digest(content) + content, ROOT)

    def unpacked_root(self, stored: bytes) -> bytes:
        """A copy's root. Raises Damaged."""
        opened = self.opened(stored, ROOT)
        digest, content = opened[:DIGEST_BYTES], opened[DIGEST_BYTES:]
        if self.digest(content) != digest:
            raise Damaged("the backup's list of pages has changed since it was written")
        return content


def _decompressed(body: bytes) -> bytes:
    """What says of itself to be larger than anything that is written is refused unread."""
    if not 0 <= zstandard.frame_content_size(body) <= CONTENT_MAX:
        raise ValueError
    return zstandard.ZstdDecompressor().decompress(body, max_output_size=CONTENT_MAX)


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(purpose, digest_size=KEY_BYTES, key=key, person=b"atoll backup v1").digest()

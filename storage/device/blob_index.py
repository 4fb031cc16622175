"""What the blob store needs of the device's index: the table of committed blobs.

The engine implements it (`storage/device/engine.py`: a journal record, then the index); the blob store
(`storage/device/blobs.py`) is its only caller. A blob is there once its entry is recorded, not when its
file exists: a file without an entry is left over from a crash and may be removed.
"""

from typing import Protocol

from storage.types import BlobEntry, BlobName


class BlobIndex(Protocol):
    """The durable table of a device's committed blobs, ordered by (id, number)."""

    async def record_blob(self, entry: BlobEntry) -> None:
        """Make `entry` durable and visible; call it after the file and its directory are synced.

        Idempotent: an entry of the same name is replaced. Raises DeviceFault (FULL, OFFLINE); then the
        entry is not there, except after OFFLINE, where the next start decides. A cancelled call goes on
        in the background: afterwards the entry is there whole or not at all.
        """

    async def record_blob_removed(self, name: BlobName) -> None:
        """Durably forget a blob; call it before the file is unlinked.

        Idempotent: an absent name is success. Raises DeviceFault(OFFLINE). Never refused for lack of
        room, because it frees some.
        """

    def blob_entry(self, name: BlobName) -> BlobEntry | None:
        """The committed entry of a blob, or None. Durable entries only; does not block on the journal.

        Raises DeviceFault(CORRUPT, OFFLINE) where the index can't be read.
        """

    def list_blob_entries(self, after: BlobName | None, limit: int) -> list[BlobEntry]:
        """Committed entries in order of (id, number) after `after`, at most `limit`.

        Raises DeviceFault(CORRUPT, OFFLINE) where the index can't be read.
        """

"""What any replica refuses before it looks at a row: oversize fields and stamps from the future.

Pure; called by the device engine and the in-memory twin, so that all devices refuse the same.
"""

from typing import Final

from runtime.clock import stamp_ns
from storage.types import (
    BLOB_ID_BYTES,
    BLOB_MAX_BYTES,
    FORGET_ROWS_MAX,
    GROUP_PARTITIONS_MAX,
    HEAD_MAX_BYTES,
    HISTORY_VERSIONS,
    LEAVES,
    NAME_MAX_BYTES,
    PULL_BYTES_MAX,
    PULL_ROWS_MAX,
    RECLAIM_AGE_MIN_S,
    ROW_PAYLOAD_MAX_BYTES,
    SHARD_KEY_MAX_BYTES,
    STAMP_AHEAD_MAX_S,
    STAMP_BYTES,
    SUMMARY_PARTITIONS_MAX,
    VERSION_BYTES,
    ZERO_STAMP,
    Accept,
    BlobHeader,
    Changed,
    Clear,
    Failed,
    Fault,
    Forget,
    Install,
    ListShards,
    Prepare,
    PulledRow,
    Read,
    RowMessage,
    Scan,
    Summarize,
    Versions,
    Write,
)

BLOB_DATA_MAX_BYTES: Final = 2 * BLOB_MAX_BYTES
"""The most bytes in one blob on a device: a blob's own, and room for the headers of fragments."""

SIZE_MAX: Final = 2**53 - 1
"""The largest size that a row may state: exact in every format that it goes through."""

FLAGS_MAX: Final = 0xFF

POWER_MAX: Final = 32
"""The largest part power that a question may be asked in."""

STAMP_AHEAD_MAX_NS: Final = int(STAMP_AHEAD_MAX_S * 1e9)

RECLAIM_AGE_MIN_NS: Final = int(RECLAIM_AGE_MIN_S * 1e9)

CURSOR_MAX_BYTES: Final = 32

SALT_MAX: Final = 2**64 - 1

_OF_PARTITIONS: Final = (Summarize, ListShards)


def refusal(message: RowMessage, payload_bytes: int, now_ns: int) -> Failed | None:
    """Why `message` can't be looked at, or None.

    payload_bytes: length of the payload beside it. now_ns: the replica's wall clock.
    TOO_LARGE: a field exceeds its limit or hasn't its fixed length; SKEW: a stamp or ballot over
    STAMP_AHEAD_MAX_S ahead. Nothing was changed.
    """
    if isinstance(message, _OF_PARTITIONS):
        return _of_partitions(message)
    if len(message.shard) > SHARD_KEY_MAX_BYTES:
        return _over("shard", SHARD_KEY_MAX_BYTES)
    match message:
        case Write() | Accept():
            return _of_value(message, payload_bytes) or _of_stamps(message.version, now_ns)
        case Prepare():
            return _of_prepare(message) or _of_stamps(message.ballot, now_ns)
        case Read():
            return _over("name", NAME_MAX_BYTES) if len(message.name) > NAME_MAX_BYTES else None
        case Scan():
            return _of_scan(message)
        case Install():
            return _of_install(message, payload_bytes)
        case Versions():
            return _of_leaves(message)
        case Forget():
            return _of_forget(message, now_ns)
        case Clear():
            return _of_named(message.rows)
        case Changed():
            too_long = len(message.since) > CURSOR_MAX_BYTES
            return _over("since", CURSOR_MAX_BYTES) if too_long else None
    return None


def _over(field: str, limit: int) -> Failed:
    return Failed(Fault.TOO_LARGE, f"{field} is over {limit} bytes")


def _of_value(message: Write | Accept, payload_bytes: int) -> Failed | None:
    if len(message.name) > NAME_MAX_BYTES:
        return _over("name", NAME_MAX_BYTES)
    if len(message.head) > HEAD_MAX_BYTES:
        return _over("head", HEAD_MAX_BYTES)
    if payload_bytes > ROW_PAYLOAD_MAX_BYTES:
        return _over("payload", ROW_PAYLOAD_MAX_BYTES)
    if not 0 <= message.size <= SIZE_MAX or not 0 <= message.flags <= FLAGS_MAX:
        return Failed(Fault.TOO_LARGE, f"size {message.size} or flags {message.flags} out of bounds")
    if len(message.version) != VERSION_BYTES:
        return Failed(Fault.TOO_LARGE, f"a version is {VERSION_BYTES} bytes")
    if type(message) is Write and message.version[STAMP_BYTES:] != ZERO_STAMP:
        return Failed(Fault.TOO_LARGE, "a plain write's ballot is zero")
    return None


def _of_prepare(message: Prepare) -> Failed | None:
    if len(message.name) > NAME_MAX_BYTES:
        return _over("name", NAME_MAX_BYTES)
    if len(message.ballot) != STAMP_BYTES:
        return Failed(Fault.TOO_LARGE, f"a ballot is {STAMP_BYTES} bytes")
    return None


def _of_stamps(stamps: bytes, now_ns: int) -> Failed | None:
    """`stamps`: one stamp, or a version: a stamp and a ballot."""
    latest_ns = max(stamp_ns(stamps), stamp_ns(stamps[STAMP_BYTES:]))
    if latest_ns <= now_ns + STAMP_AHEAD_MAX_NS:
        return None
    return Failed(
        Fault.SKEW, f"stamp is {(latest_ns - now_ns) / 1e9:.1f} s ahead of the replica's clock"
    )


def _of_scan(message: Scan) -> Failed | None:
    # A bound may be one byte longer than any name: "just after this name" is the name and a zero byte.
    if max(len(message.start), len(message.end), len(message.prefix)) > NAME_MAX_BYTES + 1:
        return _over("bound", NAME_MAX_BYTES + 1)
    return None


def _of_partitions(message: Summarize | ListShards) -> Failed | None:
    if not 0 <= message.power <= POWER_MAX or not 0 <= message.salt <= SALT_MAX:
        return Failed(Fault.TOO_LARGE, f"power {message.power} or salt {message.salt} out of bounds")
    partitions = 1 << message.power
    if isinstance(message, ListShards):
        fits = 0 <= message.partition < partitions
    else:
        fits = message.first >= 0 and 0 <= message.count <= SUMMARY_PARTITIONS_MAX
        fits = fits and message.first + message.count <= partitions
    return None if fits else Failed(Fault.TOO_LARGE, f"partitions beyond {partitions}, or too many")


def _of_install(message: Install, payload_bytes: int) -> Failed | None:
    """Stamps ahead of the clock are taken: another replica holds them, and votes with them."""
    if len(message.rows) > PULL_ROWS_MAX:
        return Failed(Fault.TOO_LARGE, f"over {PULL_ROWS_MAX} rows")
    if payload_bytes > max(PULL_BYTES_MAX, ROW_PAYLOAD_MAX_BYTES):
        return _over("payload", max(PULL_BYTES_MAX, ROW_PAYLOAD_MAX_BYTES))
    for row in message.rows:
        if (refused := _of_pulled(row)) is not None:
            return refused
    if sum(row.payload_bytes for row in message.rows) != payload_bytes:
        return Failed(Fault.TOO_LARGE, "the rows' payloads are not what is beside the message")
    return None


def _of_pulled(row: PulledRow) -> Failed | None:
    if len(row.name) > NAME_MAX_BYTES:
        return _over("name", NAME_MAX_BYTES)
    if len(row.head) > HEAD_MAX_BYTES:
        return _over("head", HEAD_MAX_BYTES)
    versions = [row.version, *row.earlier]
    if len(row.promised) != STAMP_BYTES or any(len(held) != VERSION_BYTES for held in versions):
        return Failed(Fault.TOO_LARGE, "a version or promise of another length")
    if len(row.earlier) >= HISTORY_VERSIONS:
        return Failed(Fault.TOO_LARGE, f"over {HISTORY_VERSIONS - 1} earlier versions")
    if not 0 <= row.size <= SIZE_MAX or not 0 <= row.flags <= FLAGS_MAX:
        return Failed(Fault.TOO_LARGE, f"size {row.size} or flags {row.flags} out of bounds")
    if not 0 <= row.payload_bytes <= ROW_PAYLOAD_MAX_BYTES:
        return Failed(Fault.TOO_LARGE, "a row's payload is missing or too large")
    return None


def _of_leaves(message: Versions) -> Failed | None:
    if len(message.leaves) > LEAVES or not all(0 <= leaf < LEAVES for leaf in message.leaves):
        return Failed(Fault.TOO_LARGE, f"a shard has {LEAVES} leaves")
    return _over("start", NAME_MAX_BYTES + 1) if len(message.start) > NAME_MAX_BYTES + 1 else None


def _of_forget(message: Forget, now_ns: int) -> Failed | None:
    if (refused := _of_named(message.rows)) is not None:
        return refused
    if message.before_ns > now_ns - RECLAIM_AGE_MIN_NS:
        return Failed(Fault.TOO_LARGE, f"nothing younger than {RECLAIM_AGE_MIN_S:.0f} s is forgotten")
    return None


def _of_named(rows: list[tuple[bytes, bytes]]) -> Failed | None:
    """Of rows by name and version that are to be taken away."""
    if len(rows) > FORGET_ROWS_MAX:
        return Failed(Fault.TOO_LARGE, f"over {FORGET_ROWS_MAX} rows")
    for name, version in rows:
        if len(name) > NAME_MAX_BYTES or len(version) != VERSION_BYTES:
            return Failed(Fault.TOO_LARGE, "a name or version out of bounds")
    return None


def blob_refusal(header: BlobHeader) -> Failed | None:
    """Why a blob of this header can't be made, or None."""
    if len(header.name.id) != BLOB_ID_BYTES:
        return Failed(Fault.TOO_LARGE, f"a blob id is {BLOB_ID_BYTES} bytes")
    if len(header.owner_shard) > SHARD_KEY_MAX_BYTES:
        return _over("owner_shard", SHARD_KEY_MAX_BYTES)
    if len(header.owner_name) > NAME_MAX_BYTES:
        return _over("owner_name", NAME_MAX_BYTES)
    return None


def require_partitions(salt: int, power: int, first: int, count: int) -> None:
    """Raises ValueError unless these are partitions of a ring, and not too many for one question."""
    if not 0 <= salt < 1 << 64 or not 1 <= power <= POWER_MAX:
        raise ValueError(f"no ring has salt {salt} and part power {power}")
    if not 0 < count <= GROUP_PARTITIONS_MAX or not 0 <= first <= (1 << power) - count:
        raise ValueError(f"{count} partitions from {first} on can't be asked for at part power {power}")

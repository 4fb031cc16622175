"""What a device is told, and what it tells: its limits and its status."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceConfig:
    """Limits of one device.

    reserve_bytes: room kept for deletes and the index; below it writes are refused as FULL.
    backlog_batches_max: full journal batches (16 MiB each) that may wait before writes are refused.
    compact_below: segments with a smaller share of live bytes are compacted, at compact_bytes_per_s.
    drop_rows_per_turn: how many rows of a dropped shard are removed per turn of the loop.
    """

    segment_bytes: int = 64 * 1024 * 1024
    checkpoint_rows: int = 16_384
    checkpoint_interval_s: float = 1.0
    reserve_bytes: int = 128 * 1024 * 1024
    backlog_batches_max: int = 8
    compact_below: float = 0.5
    compact_bytes_per_s: int = 32 * 1024 * 1024
    drop_rows_per_turn: int = 250


@dataclass(frozen=True)
class DeviceStatus:
    """What `atoll status` says of a device. checkpoint_age_s: None before the first checkpoint.

    journal_queue: batches that wait to be written or are being written. syncs: group commits since it
    was opened, sync_total_s: the time they took, synced_bytes: what they wrote.
    """

    device_id: int
    incarnation: str
    offline: str
    full: bool
    free_bytes: int
    journal_segments: int
    journal_bytes: int
    live_bytes: int
    index_bytes: int
    unindexed_rows: int
    checkpoint_age_s: float | None
    sync_latency_s: float
    corrupt_count: int
    replayed_rows: int
    notes: tuple[str, ...]
    indexed_rows: int = 0
    journal_queue: int = 0
    syncs: int = 0
    sync_total_s: float = 0.0
    synced_bytes: int = 0

"""How much of everything a run does: the full one, and a quick one that only shows that all works."""

import msgspec

from tools.bench.rows import GIB, MIB


class Scale(msgspec.Struct, frozen=True):
    """Numbers of a run. A row stops at its number of requests or its seconds, whichever is first."""

    name: str
    row_seconds: float
    connections: int
    put_4k: int
    read_4k: int
    put_64k: int
    read_64k: int
    large_objects: int
    large_reads: int
    large_connections: int
    list_keys: int
    list_pages: int
    list_connections: int
    page_size: int
    multipart_bytes: int
    stream_bytes: int
    stream_clients: int
    stream_coded: bool
    restart_rows: int


LARGE_BYTES = 64 * MIB
PART_BYTES = 64 * MIB

FULL = Scale(
    name="full",
    row_seconds=10.0,
    connections=64,
    put_4k=40_000,
    read_4k=100_000,
    put_64k=12_000,
    read_64k=40_000,
    large_objects=16,
    large_reads=48,
    large_connections=4,
    list_keys=100_000,
    list_pages=600,
    list_connections=8,
    page_size=1000,
    multipart_bytes=GIB,
    stream_bytes=GIB,
    stream_clients=8,
    stream_coded=False,
    restart_rows=1_000_000,
)

QUICK = Scale(
    name="quick",
    row_seconds=1.0,
    connections=64,
    put_4k=2_000,
    read_4k=5_000,
    put_64k=300,
    read_64k=1_000,
    large_objects=2,
    large_reads=4,
    large_connections=2,
    list_keys=2_000,
    list_pages=20,
    list_connections=8,
    page_size=1000,
    multipart_bytes=128 * MIB,
    stream_bytes=64 * MIB,
    stream_clients=8,
    stream_coded=False,
    restart_rows=5_000,
)

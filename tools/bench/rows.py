"""The rows of the benchmark: their names and titles, and what is measured of each.

A row is one workload on one server. Names are what `--only` takes and what `bars.py` refers to.
"""

import msgspec

GIB = 1 << 30
MIB = 1 << 20

TITLES = {
    "start": "`atoll up` to the first answer",
    "memory-idle": "memory of one worker, idle",
    "put-4k": "PUT 4 KiB",
    "get-4k": "GET 4 KiB",
    "head-4k": "HEAD 4 KiB",
    "delete-4k": "DELETE 4 KiB",
    "put-64k": "PUT 64 KiB",
    "get-64k": "GET 64 KiB",
    "head-64k": "HEAD 64 KiB",
    "delete-64k": "DELETE 64 KiB",
    "put-64m": "PUT 64 MiB, replicated",
    "get-64m": "GET 64 MiB, replicated",
    "put-64m-ec": "PUT 64 MiB, ec-4-2",
    "get-64m-ec": "GET 64 MiB, ec-4-2",
    "get-64m-degraded": "GET 64 MiB, ec-4-2, two fragments gone",
    "overload-put": "PUT 4 KiB, four times the clients",
    "overload-get": "GET 4 KiB, four times the clients",
    "list-1000": "LIST, a page of 1,000",
    "reshard-list": "LIST while its bucket's shards split",
    "reshard-put": "PUT 64 bytes while its bucket's shards split",
    "multipart-1g": "multipart upload of 1 GiB",
    "memory-streams": "memory of one worker, 8 clients streaming",
    "restart": "restart after kill -9",
}
"""In the order in which they run."""

ONLY_OWN_STORE = {
    "start",
    "memory-idle",
    "put-64m-ec",
    "get-64m-ec",
    "get-64m-degraded",
    "memory-streams",
    "overload-put",
    "overload-get",
    "reshard-list",
    "reshard-put",
    "restart",
}
"""Rows that need the store's processes, files or policies, and so run on no foreign endpoint."""

PROTOTYPE_ROWS = {"put-4k", "get-4k", "put-64k", "get-64k"}


class RowResult(msgspec.Struct, omit_defaults=True):
    """One row on one server. Absent is what does not apply or can't be known there.

    server_cpu_us, machine_cpu_us: processor time per operation, see `accounting`; the _gib pair is the
    same in seconds per GiB of payload. peak_mib: the highest resident size of any worker; private_mib
    its anonymous part; pss_mib: the sum over all the server's processes at the row's end.
    goodput_ratio: right answers a second under overload, to those at the peak, or in the calm before.
    idle_cores: what the machine did before the row and what was subtracted for it.
    """

    row: str
    target: str
    operations: int = 0
    payload_bytes: int = 0
    wall_s: float | None = None
    ops_s: float | None = None
    mb_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    server_cpu_us: float | None = None
    machine_cpu_us: float | None = None
    server_cpu_s_gib: float | None = None
    machine_cpu_s_gib: float | None = None
    generator_cpu_us: float | None = None
    idle_cores: float | None = None
    stolen_cores: float | None = None
    peak_mib: float | None = None
    private_mib: float | None = None
    pss_mib: float | None = None
    seconds: float | None = None
    goodput_ratio: float | None = None
    fsync: str = ""
    filesystem: str = ""
    failures: dict[str, int] = {}
    first_failure: str = ""
    note: str = ""

"""From loads to rows: sums, per-operation figures, what runs where."""

import pytest

from tools.bench.accounting import CpuUse
from tools.bench.latency import Latency
from tools.bench.load import LoadResult, Server
from tools.bench.rows import GIB, TITLES, RowResult
from tools.bench.servers import Endpoint
from tools.bench.session import add_cpu, applies, client_view, combine

OTHER = Endpoint("other", Server("http://127.0.0.1:1", "a", "b"))


def _use(server_s: float, machine_s: float) -> CpuUse:
    return CpuUse(
        wall_s=2.0,
        server_s=server_s,
        machine_s=machine_s,
        generator_s=0.5,
        stolen_s=0.1,
        idle_cores=0.25,
    )


def test_loads_add_up_and_keep_their_worst() -> None:
    first = LoadResult(10, 9, 100, 1.0, 2, Latency(1, 5, 2, 6), {"status 503": 1}, "status 503: x")
    second = LoadResult(10, 10, 100, 3.0, 2, Latency(2, 3, 1, 9), {})
    both = combine([second, first])
    assert (both.issued, both.finished, both.payload_bytes, both.wall_s) == (20, 19, 200, 4.0)
    assert both.latency == Latency(2, 5, 2, 9)
    assert (both.failures, both.first_failure) == ({"status 503": 1}, "status 503: x")


def test_what_clients_see() -> None:
    row = client_view("put-4k", OTHER, LoadResult(100, 100, 4_000_000, 2.0, 0, Latency(1, 2, 1, 3)))
    assert (row.ops_s, row.mb_s, row.p99_ms, row.target) == (50.0, 2.0, 2, "other")


def test_nothing_finished_is_no_rate() -> None:
    row = client_view("put-4k", OTHER, LoadResult(5, 0, 0, 0.0, 0, None, {"no connection": 5}))
    add_cpu(row, [_use(1, 1)], knows_processes=True)
    assert (row.ops_s, row.machine_cpu_us) == (None, None)


def test_processor_time_per_operation() -> None:
    row = RowResult("get-4k", "atoll", operations=1000, payload_bytes=4096_000)
    add_cpu(row, [_use(0.1, 0.2), _use(0.3, 0.4)], knows_processes=True)
    assert row.server_cpu_us == pytest.approx(400)
    assert row.machine_cpu_us == pytest.approx(600)
    assert row.generator_cpu_us == pytest.approx(1000)
    assert row.machine_cpu_s_gib is None
    assert row.idle_cores == 0.25
    assert row.stolen_cores == pytest.approx(0.05)


def test_large_payloads_are_counted_per_gib() -> None:
    row = RowResult("get-64m", "atoll", operations=32, payload_bytes=2 * GIB)
    add_cpu(row, [_use(1.0, 1.5)], knows_processes=True)
    assert (row.server_cpu_s_gib, row.machine_cpu_s_gib) == (0.5, 0.75)


def test_the_machine_did_at_least_what_the_servers_did() -> None:
    row = RowResult("get-4k", "atoll", operations=1000)
    add_cpu(row, [_use(0.5, 0.2)], knows_processes=True)
    assert row.machine_cpu_us == row.server_cpu_us == pytest.approx(500)


def test_of_foreign_processes_nothing_is_claimed() -> None:
    row = RowResult("get-4k", "other", operations=1000)
    add_cpu(row, [_use(0.0, 0.2)], knows_processes=False)
    assert row.server_cpu_us is None
    assert row.machine_cpu_us == pytest.approx(200)


def test_rows_that_need_the_stores_inside_run_on_no_foreign_server() -> None:
    foreign = {row for row in TITLES if applies(row, OTHER)}
    assert {"put-4k", "list-1000", "multipart-1g", "get-64m"} <= foreign
    assert not foreign & {"start", "restart", "memory-idle", "get-64m-degraded", "put-64m-ec"}

"""Memory is bounded, whatever the size and the number of streams."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.store import RunningStore, start_store
from tests.cluster.s3 import connect
from tools.bench.accounting import read_memory
from tools.bench.driver import Generator
from tools.bench.load import Load, Operation, Server

MIB = 1 << 20
CLIENTS = 8
PEAK_MAX_MIB = 300.0
"""Of a worker: the bar of the benchmark, whose objects have 5 GiB."""


@pytest.fixture
def generator() -> Iterator[Generator]:
    with Generator() as running:
        yield running


@pytest.mark.parametrize(("policy", "size_mib"), [("replicated-3", 128), ("ec-4-2", 256)])
async def test_eight_streams_up_and_down(
    tmp_path: Path, generator: Generator, policy: str, size_mib: int
) -> None:
    with start_store(tmp_path) as store:
        async with connect(store) as s3:
            await s3.create_bucket("large", policy)
        workers = store.worker_pids()
        for operation in ("put", "get"):
            result = generator.run(_load(store, operation, size_mib * MIB))
            assert (result.finished, result.failures) == (CLIENTS, {}), result.first_failure
            peaks = [read_memory(pid).peak_mib for pid in workers]
            print(f"{policy} {operation}: peaks {peaks} MiB in {result.wall_s:.1f} s")
            assert max(peaks) < PEAK_MAX_MIB
        assert store.worker_pids() == workers


def _load(store: RunningStore, operation: Operation, size_bytes: int) -> Load:
    return Load(
        operation=operation,
        server=Server(store.endpoint, store.access_key, store.secret_key),
        bucket="large",
        key_prefix="o",
        count=CLIENTS,
        requests=CLIENTS,
        size_bytes=size_bytes,
        connections=CLIENTS,
        sample_every=1,
    )

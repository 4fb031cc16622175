"""Rows of a store's life: its start, its idle memory, and its restart after all of it was killed.

The restart row also proves what it measures: after the kill, the first and the last objects that
were acknowledged are read back and compared.
"""

import time

from tools.bench import control
from tools.bench.accounting import read_memory
from tools.bench.load import Load, Operation
from tools.bench.rows import RowResult
from tools.bench.servers import AtollStore
from tools.bench.session import Session
from tools.bench.small_objects import FILL_SECONDS_MAX

RESTART_BUCKET = "atoll-bench-rows"
ROW_BYTES = 16
CHECKED_ROWS = 2_000
IDLE_S = 2.0


def run_start(session: Session, store: AtollStore) -> None:
    """Start the store on its directory; every run needs it, selected or not."""
    session.reporter.step(f"starting {store.name}")
    seconds = store.start()
    if session.wants("start"):
        session.keep(_timed(store, "start", seconds, "on an empty directory"))


def run_idle_memory(session: Session) -> None:
    """The memory of a worker that has only been started."""
    if not session.wants("memory-idle"):
        return
    for store in session.own_stores():
        session.reporter.step(f"memory-idle on {store.name}")
        time.sleep(IDLE_S)
        memory = [read_memory(pid) for pid in store.worker_pids()]
        session.keep(
            RowResult(
                row="memory-idle",
                target=store.name,
                peak_mib=max(each.peak_mib for each in memory),
                private_mib=max(each.private_mib for each in memory),
                pss_mib=sum(each.pss_mib for each in memory),
                fsync=store.fsync,
                filesystem=store.filesystem,
            )
        )


def run_restart(session: Session) -> None:
    """Store rows, kill -9 everything at once, and start again."""
    if not session.wants("restart"):
        return
    for store in session.own_stores():
        with session.guard("restart", store):
            _restart(session, store)


def _restart(session: Session, store: AtollStore) -> None:
    control.create_bucket(store.server, RESTART_BUCKET)
    filled = session.fill(store, _rows(session, store, "put", 0, session.scale.restart_rows))
    if filled.failures:
        raise control.RequestRefused(f"filling {RESTART_BUCKET}: {filled.first_failure}")
    session.reporter.step(f"restarting {store.name}")
    store.kill()
    seconds = store.start()
    rate = filled.finished / filled.wall_s if filled.wall_s else 0.0
    note = f"{filled.finished:,} rows, stored at {rate:,.0f}/s"
    session.keep(_timed(store, "restart", seconds, note))
    _check_rows(session, store)


def _check_rows(session: Session, store: AtollStore) -> None:
    """Read the oldest and the newest rows back."""
    rows = session.scale.restart_rows
    count = min(CHECKED_ROWS, rows)
    for first in {0, rows - count}:
        session.amend(
            "restart", store, session.generator.run(_rows(session, store, "get", first, count))
        )


def _rows(session: Session, store: AtollStore, operation: Operation, first: int, count: int) -> Load:
    return Load(
        operation=operation,
        server=store.server,
        bucket=RESTART_BUCKET,
        key_prefix="rows/",
        first=first,
        count=count,
        requests=count,
        size_bytes=ROW_BYTES,
        connections=session.scale.connections,
        max_seconds=FILL_SECONDS_MAX,
        sample_every=1,
    )


def _timed(store: AtollStore, row: str, seconds: float, note: str) -> RowResult:
    return RowResult(
        row=row,
        target=store.name,
        operations=1,
        seconds=seconds,
        fsync=store.fsync,
        filesystem=store.filesystem,
        note=note,
    )

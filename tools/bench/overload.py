"""Rows of overload: what a store still does when four times as many clients ask as it needs to be busy.

Goodput is right answers a second. The peak is measured before and after, and the mean of the two
counts: a machine that gets slower or quicker meanwhile moves both. A client that is told to slow down
asks again at once: no client should, and a store must bear it. Refusals are counted apart from wrong
answers.
"""

from tools.bench import control
from tools.bench.load import Load, LoadResult, Operation
from tools.bench.servers import AtollStore
from tools.bench.session import Session

BUCKET = "atoll-bench-overload"
OBJECT_BYTES = 4096
OBJECTS = 4096
TIMES = 4
REFUSED = "status 503"
"""How the generator counts a refusal."""

REQUESTS_MAX = 10**9
"""The row ends by its time."""


def run_overload(session: Session) -> None:
    """PUT and GET with the connections that keep the store busy, with `TIMES` as many, and again."""
    wanted = session.wants("overload-put", "overload-get")
    operations: tuple[Operation, ...] = ("put", "get")
    for store in session.own_stores() if wanted else []:
        control.create_bucket(store.server, BUCKET)
        for operation in operations:
            with session.guard(f"overload-{operation}", store):
                _run(session, store, operation)


def _run(session: Session, store: AtollStore, operation: Operation) -> None:
    row = f"overload-{operation}"
    session.reporter.step(f"{row} on {store.name}: the peak")
    before = _goodput(session.generator.run(_load(session, store, operation, 1)))
    (over,) = session.measure(row, store, [_load(session, store, operation, TIMES)])
    session.forgive(row, store, REFUSED)
    if session.wants(row) and before:
        session.reporter.step(f"{row} on {store.name}: the peak again")
        after = _goodput(session.generator.run(_load(session, store, operation, 1)))
        refused = over.failures.get(REFUSED, 0)
        note = f"peak {before:,.0f}/s before, {after:,.0f}/s after; {refused:,} told to slow down"
        session.rate(row, store, _goodput(over) / ((before + after) / 2), note)


def _goodput(result: LoadResult) -> float:
    return result.finished / result.wall_s if result.wall_s else 0.0


def _load(session: Session, store: AtollStore, operation: Operation, times: int) -> Load:
    return Load(
        operation=operation,
        server=store.server,
        bucket=BUCKET,
        key_prefix="overload/",
        count=OBJECTS,
        requests=REQUESTS_MAX,
        size_bytes=OBJECT_BYTES,
        connections=session.scale.connections * times,
        max_seconds=session.scale.row_seconds,
    )

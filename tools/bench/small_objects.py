"""Rows of small objects: PUT, GET, HEAD and DELETE of one size, and pages of a listing.

On several servers a row runs on each before the next row begins, so that a machine that slows down
does so for all of them.
"""

from dataclasses import dataclass

from tools.bench import control
from tools.bench.load import Load, Operation
from tools.bench.servers import Target
from tools.bench.session import Session

BUCKET = "atoll-bench"
LIST_BUCKET = "atoll-bench-list"
LISTED_BYTES = 64
SAMPLE_EVERY = 16


@dataclass(frozen=True, slots=True)
class SmallObjects:
    """One size: how many are put, how many reads follow."""

    label: str
    size_bytes: int
    puts: int
    reads: int

    def row(self, operation: Operation) -> str:
        """The name of an operation's row."""
        return f"{operation}-{self.label}"

    def load(self, session: Session, target: Target, operation: Operation, count: int) -> Load:
        """The load of an operation over `count` objects."""
        reads = operation in {"get", "head"}
        return Load(
            operation=operation,
            server=target.server,
            bucket=BUCKET,
            key_prefix=f"{self.label}/",
            count=count,
            requests=self.reads if reads else count,
            size_bytes=self.size_bytes,
            connections=session.scale.connections,
            max_seconds=session.scale.row_seconds,
            sample_every=SAMPLE_EVERY,
        )


def run_small(session: Session, objects: SmallObjects) -> None:
    """All selected rows of one size; what they read is put first, measured or not."""
    operations: list[Operation] = ["put", "get", "head", "delete"]
    wanted = {each for each in operations if session.wants(objects.row(each))}
    stored: dict[str, int] = {}
    for operation in operations if wanted else []:
        if operation == "put" or operation in wanted:
            for target in session.targets_for(objects.row(operation)):
                with session.guard(objects.row(operation), target):
                    _run_operation(session, objects, operation, target, stored)


def _run_operation(
    session: Session,
    objects: SmallObjects,
    operation: Operation,
    target: Target,
    stored: dict[str, int],
) -> None:
    count = objects.puts if operation == "put" else stored.get(target.name, 0)
    if operation == "put":
        control.create_bucket(target.server, BUCKET)
    if count:
        load = objects.load(session, target, operation, count)
        (result,) = session.measure(objects.row(operation), target, [load])
        if operation == "put":
            stored[target.name] = result.issued


def run_list(session: Session) -> None:
    """Pages of 1,000 keys from all over a bucket, every key of every page checked."""
    if not session.wants("list-1000"):
        return
    for target in session.targets_for("list-1000"):
        with session.guard("list-1000", target):
            _run_pages(session, target)


def _run_pages(session: Session, target: Target) -> None:
    control.create_bucket(target.server, LIST_BUCKET)
    filled = session.fill(target, _listed(session, target, "put"))
    if filled.failures:
        raise control.RequestRefused(f"filling {LIST_BUCKET}: {filled.first_failure}")
    session.measure("list-1000", target, [_listed(session, target, "list")])


def _listed(session: Session, target: Target, operation: Operation) -> Load:
    scale = session.scale
    lists = operation == "list"
    return Load(
        operation=operation,
        server=target.server,
        bucket=LIST_BUCKET,
        key_prefix="listed/",
        count=scale.list_keys,
        requests=scale.list_pages if lists else scale.list_keys,
        size_bytes=0 if lists else LISTED_BYTES,
        connections=scale.list_connections if lists else scale.connections,
        max_seconds=scale.row_seconds if lists else FILL_SECONDS_MAX,
        page_size=scale.page_size,
    )


FILL_SECONDS_MAX = 3600.0
"""A batch of a fill ends here even on the slowest server."""

"""Rows of a bucket whose shards split meanwhile: LIST and PUT, against the same in the calm before.

The bucket is that of the listing, so it is there and filled.
"""

import argparse
from typing import Literal

import msgspec

from tools.bench.control import RequestRefused
from tools.bench.load import Load, LoadResult, Operation
from tools.bench.servers import AtollStore
from tools.bench.session import Session
from tools.bench.small_objects import LIST_BUCKET, LISTED_BYTES
from tools.bucket_service import Asked, Shown
from tools.repair import ask_process, processes, run_directory

REQUESTS_MAX = 10**9
"""The row ends by its time."""


def run_reshard(session: Session) -> None:
    """Needs the bucket that `list-1000` fills; without it there is nothing to split."""
    rows: dict[str, Operation] = {"reshard-list": "list", "reshard-put": "put"}
    wanted = session.wants(*rows)
    for store in session.own_stores() if wanted else []:
        for row, operation in rows.items():
            with session.guard(row, store):
                _run(session, store, row, operation)


def _run(session: Session, store: AtollStore, row: str, operation: Operation) -> None:
    session.reporter.step(f"{row} on {store.name}: the calm before")
    load = _load(session, store, operation)
    calm = session.generator.run(load)
    begun = _ask(store, "show")
    if begun.reshard is None:
        begun = _ask(store, "reshard")
    (busy,) = session.measure(row, store, [load])
    ended = _ask(store, "show")
    if session.wants(row) and _per_s(calm):
        during = "all the while" if ended.reshard is not None else "until it was done"
        note = f"calm {_per_s(calm):,.0f}/s; {_split(begun)} to {_split(ended)}, {during}"
        session.rate(row, store, _per_s(busy) / _per_s(calm), note)


def _split(shown: Shown) -> str:
    if shown.reshard is None:
        return f"{shown.shards} shards"
    return f"{shown.shards} shards with {shown.reshard.moved} split"


def _ask(store: AtollStore, action: Literal["show", "reshard"]) -> Shown:
    run = run_directory(argparse.Namespace(config=None, data=str(store.data)))
    body = msgspec.json.encode(Asked(action, LIST_BUCKET))
    status, answer = ask_process(run, processes(run)[0], "POST", "/bucket", body)
    if status != 200:
        raise RequestRefused(answer.decode(errors="replace"))
    return msgspec.json.decode(answer, type=Shown)


def _per_s(result: LoadResult) -> float:
    return result.finished / result.wall_s if result.wall_s else 0.0


def _load(session: Session, store: AtollStore, operation: Operation) -> Load:
    scale, lists = session.scale, operation == "list"
    return Load(
        operation=operation,
        server=store.server,
        bucket=LIST_BUCKET,
        key_prefix="listed/",
        count=scale.list_keys,
        requests=REQUESTS_MAX,
        size_bytes=0 if lists else LISTED_BYTES,
        connections=scale.list_connections if lists else scale.connections,
        max_seconds=scale.row_seconds,
        page_size=scale.page_size,
    )

"""Rows of large objects: 64 MiB replicated and erasure coded, degraded reads, multipart, streams.

Degraded: two data fragments of each coded blob are unlinked in the running store before each round,
and each object is read once per round, so that a store that repairs what it reads is measured while
it has to rebuild.
"""

import msgspec

from tools.bench import control
from tools.bench.accounting import read_memory, try_reset_peaks
from tools.bench.driver import Sampler
from tools.bench.load import Load, LoadResult, Operation, object_key
from tools.bench.payload import WINDOW_BYTES
from tools.bench.scale import LARGE_BYTES, PART_BYTES
from tools.bench.servers import EC_POLICY, SWIFT_USER, AtollStore, Target, require_room
from tools.bench.session import Session, client_view, combine
from tools.bench.small_objects import BUCKET

EC_BUCKET = "atoll-bench-ec"
DEGRADED_ROUNDS = 3
LOST_FRAGMENTS = (0, 1)
LARGE_SECONDS_MAX = 120.0
STREAM_SECONDS_MAX = 1800.0
REPLICATED_FACTOR, CODED_FACTOR = 3.1, 1.6
"""Bytes on disk per byte of a stream, with a margin."""
STREAMED: tuple[Operation, ...] = ("put", "get")
SAMPLE_PERIOD_S = 1.0


def run_large(session: Session, suffix: str, bucket: str) -> None:
    """put-64m…, get-64m… and, where it is coded, get-64m-degraded."""
    put, get = f"put-64m{suffix}", f"get-64m{suffix}"
    coded = bucket == EC_BUCKET
    reads = [get, *(["get-64m-degraded"] if coded else [])]
    if not session.wants(put, *reads):
        return
    for target in session.targets_for(put):
        with session.guard(put, target):
            _create(target, bucket)
            session.measure(put, target, [_large(session, target, "put", bucket)])
            if session.wants(get):
                session.measure(get, target, [_large(session, target, "get", bucket)])
            if coded and session.wants("get-64m-degraded") and isinstance(target, AtollStore):
                _run_degraded(session, target)


def _create(target: Target, bucket: str) -> None:
    if bucket == EC_BUCKET:
        control.create_container(target.server, bucket, EC_POLICY, SWIFT_USER)
    else:
        control.create_bucket(target.server, bucket)


def _large(session: Session, target: Target, operation: Operation, bucket: str) -> Load:
    scale = session.scale
    return Load(
        operation=operation,
        server=target.server,
        bucket=bucket,
        key_prefix="64m/",
        count=scale.large_objects,
        requests=scale.large_reads if operation == "get" else scale.large_objects,
        size_bytes=LARGE_BYTES,
        connections=scale.large_connections,
        max_seconds=LARGE_SECONDS_MAX,
        sample_every=4,
    )


def _run_degraded(session: Session, store: AtollStore) -> None:
    """Rounds of reads; the fragments go once all else is ready, so that no repair comes before."""
    removed: list[int] = []
    load = msgspec.structs.replace(
        _large(session, store, "get", EC_BUCKET), requests=session.scale.large_objects, sample_every=1
    )
    session.measure(
        "get-64m-degraded",
        store,
        [load] * DEGRADED_ROUNDS,
        just_before=lambda: removed.append(store.remove_fragments(LOST_FRAGMENTS)),
    )
    if not removed[0]:
        raise control.RequestRefused("found no coded blobs to take fragments from")
    session.annotate("get-64m-degraded", store, f"fragments removed per round: {removed}")


def run_multipart(session: Session) -> None:
    """One object in parts of 64 MiB over parallel connections, then read back and compared."""
    if not session.wants("multipart-1g"):
        return
    for target in session.targets_for("multipart-1g"):
        with session.guard("multipart-1g", target):
            control.create_bucket(target.server, BUCKET)
            _upload(session, target)


def _upload(session: Session, target: Target) -> None:
    prefix = "multipart/"
    whole_key = object_key(prefix, 0)  # the reading back asks for object 0 of the prefix
    parts = session.scale.multipart_bytes // PART_BYTES
    upload_id = control.begin_upload(target.server, BUCKET, whole_key)

    def complete(result: LoadResult) -> None:
        if not result.failures:
            control.complete_upload(target.server, BUCKET, whole_key, upload_id, result.etags)

    load = Load(
        operation="part",
        server=target.server,
        bucket=BUCKET,
        key_prefix=whole_key,
        count=parts,
        requests=parts,
        size_bytes=PART_BYTES,
        connections=session.scale.large_connections,
        max_seconds=LARGE_SECONDS_MAX,
        upload_id=upload_id,
    )
    (result,) = session.measure("multipart-1g", target, [load], finish=complete)
    if not result.failures:
        _read_back(session, target, prefix)


def _read_back(session: Session, target: Target, key_prefix: str) -> None:
    load = Load(
        operation="get",
        server=target.server,
        bucket=BUCKET,
        key_prefix=key_prefix,
        count=1,
        requests=1,
        size_bytes=session.scale.multipart_bytes,
        connections=1,
        max_seconds=LARGE_SECONDS_MAX,
        sample_every=1,
    )
    result = session.generator.run(load)
    if result.failures:
        session.amend("multipart-1g", target, result)


def run_streams(session: Session) -> None:
    """The memory of a worker while clients store and then read objects of gigabytes."""
    if not session.wants("memory-streams"):
        return
    for store in session.own_stores():
        with session.guard("memory-streams", store):
            _run_streams(session, store)


def _run_streams(session: Session, store: AtollStore) -> None:
    scale = session.scale
    factor = CODED_FACTOR if scale.stream_coded else REPLICATED_FACTOR
    require_room(store.data.parent, int(scale.stream_bytes * scale.stream_clients * factor))
    _create(store, _stream_bucket(session))
    peaks = _Peaks(store)
    sampler = Sampler(peaks.sample, SAMPLE_PERIOD_S)
    try:
        results = [session.generator.run(_stream(session, store, each)) for each in STREAMED]
    finally:
        sampler.stop()
    row = client_view("memory-streams", store, combine(results))
    row.peak_mib, row.private_mib, row.pss_mib = peaks.peak_mib, peaks.private_mib, peaks.pss_mib
    policy = EC_POLICY if scale.stream_coded else "replicated"
    size = f"{scale.stream_clients} objects of {scale.stream_bytes >> 20} MiB"
    row.note = f"{size}, {policy}, put and read"
    session.keep(row)


def _stream_bucket(session: Session) -> str:
    return EC_BUCKET if session.scale.stream_coded else BUCKET


def _stream(session: Session, store: AtollStore, operation: Operation) -> Load:
    session.reporter.step(f"memory-streams on {store.name}: {operation}")
    return Load(
        operation=operation,
        server=store.server,
        bucket=_stream_bucket(session),
        key_prefix="stream/",
        count=session.scale.stream_clients,
        requests=session.scale.stream_clients,
        size_bytes=session.scale.stream_bytes,
        connections=session.scale.stream_clients,
        max_seconds=STREAM_SECONDS_MAX,
        sample_every=1,
    )


class _Peaks:
    """The highest figures of any worker (peak, private) and of their sum (pss) so far, MiB."""

    def __init__(self, store: AtollStore) -> None:
        self._store = store
        try_reset_peaks(store.pids())
        self.peak_mib = self.private_mib = self.pss_mib = 0.0

    def sample(self) -> None:
        """Look now."""
        memory = [read_memory(pid) for pid in self._store.worker_pids()]
        self.peak_mib = max([self.peak_mib, *(each.peak_mib for each in memory)])
        self.private_mib = max([self.private_mib, *(each.private_mib for each in memory)])
        self.pss_mib = max(self.pss_mib, sum(each.pss_mib for each in memory))


assert PART_BYTES % WINDOW_BYTES == 0

"""The generator process against a real server: right answers are measured, wrong ones found."""

from collections.abc import Callable

import msgspec
import pytest

from tools.bench import control
from tools.bench.connection import FAILURES_MAX
from tools.bench.driver import Generator
from tools.bench.load import Load, Operation, Server

KIB, MIB = 1 << 10, 1 << 20


StartS3 = Callable[..., Server]


def _load(server: Server, operation: Operation, **more: object) -> Load:
    load = Load(
        operation=operation,
        server=server,
        bucket="bucket",
        key_prefix="some/",
        count=200,
        requests=200,
        size_bytes=4 * KIB,
        connections=8,
        sample_every=1,
    )
    return msgspec.structs.replace(load, **more)


def test_small_objects_make_their_round(start_s3: StartS3, generator: Generator) -> None:
    server = start_s3()
    put = generator.run(_load(server, "put"))
    assert (put.issued, put.finished, put.failures) == (200, 200, {})
    assert put.payload_bytes == 200 * 4 * KIB
    assert put.latency is not None
    assert 0 < put.latency.p50_ms <= put.latency.p99_ms <= put.latency.max_ms
    get = generator.run(_load(server, "get", requests=500, sample_every=5))
    assert (get.finished, get.checked, get.failures) == (500, 100, {})
    assert get.payload_bytes == 500 * 4 * KIB
    head = generator.run(_load(server, "head"))
    assert (head.finished, head.payload_bytes, head.failures) == (200, 0, {})
    assert generator.run(_load(server, "delete")).failures == {}
    assert generator.run(_load(server, "get")).failures == {"status 404": 200}


def test_large_objects_are_streamed_and_checked(start_s3: StartS3, generator: Generator) -> None:
    server = start_s3()
    size = 5 * MIB + 17
    put = generator.run(_load(server, "put", count=3, requests=3, size_bytes=size))
    assert (put.finished, put.payload_bytes, put.failures) == (3, 3 * size, {})
    get = generator.run(_load(server, "get", count=3, requests=9, size_bytes=size))
    assert (get.finished, get.checked, get.failures) == (9, 9, {})


def test_parts_come_back_as_one_object(start_s3: StartS3, generator: Generator) -> None:
    server = start_s3()
    upload = control.begin_upload(server, "bucket", "whole/00000000")
    part = _load(server, "part", key_prefix="whole/00000000", upload_id=upload, size_bytes=2 * MIB)
    parts = generator.run(msgspec.structs.replace(part, count=4, requests=4))
    assert sorted(parts.etags) == [0, 1, 2, 3]
    control.complete_upload(server, "bucket", "whole/00000000", upload, parts.etags)
    whole = {"key_prefix": "whole/", "count": 1, "requests": 1, "size_bytes": 8 * MIB}
    assert generator.run(_load(server, "get", **whole)).failures == {}
    with pytest.raises(control.RequestRefused, match="InvalidPart"):
        control.complete_upload(server, "bucket", "whole/00000000", upload, {0: '"wrong"'})


def test_pages_are_checked_key_by_key(start_s3: StartS3, generator: Generator) -> None:
    for fault, expected in [("", {}), ("skip", {"wrong keys": 20})]:
        server = start_s3(fault)
        generator.run(_load(server, "put", count=300, requests=300, size_bytes=0))
        pages = generator.run(_load(server, "list", count=300, requests=20, page_size=100))
        assert pages.failures == expected


@pytest.mark.parametrize(("fault", "kind"), [("swap", "wrong bytes"), ("short", "wrong length")])
def test_wrong_content_fails_the_row(
    start_s3: StartS3, generator: Generator, fault: str, kind: str
) -> None:
    server = start_s3(fault)
    generator.run(_load(server, "put"))
    assert generator.run(_load(server, "get", requests=50)).failures == {kind: 50}


def test_errors_are_counted_and_quoted(start_s3: StartS3, generator: Generator) -> None:
    result = generator.run(_load(start_s3("busy"), "put"))
    assert result.failures == {"status 503": 20}
    assert result.finished == 180
    assert "SlowDown" in result.first_failure


def test_a_lost_connection_is_a_failure_and_the_rest_goes_on(
    start_s3: StartS3, generator: Generator
) -> None:
    result = generator.run(_load(start_s3("hangup"), "put", connections=1))
    assert result.failures["connection lost"] >= 10
    assert result.finished + result.failures["connection lost"] == result.issued == 200


def test_a_row_of_failures_ends_early(start_s3: StartS3, generator: Generator) -> None:
    result = generator.run(_load(start_s3(), "get", requests=100_000))
    assert FAILURES_MAX <= result.failures["status 404"] < FAILURES_MAX + 8


def test_no_server_at_all(generator: Generator) -> None:
    result = generator.run(_load(Server("http://127.0.0.1:1", "a", "b"), "get", max_seconds=0.2))
    assert result.finished == 0
    assert result.failures["no connection"] > 0


def test_a_timed_row_stops_in_time(start_s3: StartS3, generator: Generator) -> None:
    server = start_s3()
    generator.run(_load(server, "put"))
    result = generator.run(_load(server, "get", requests=10_000_000, max_seconds=0.3))
    assert result.failures == {}
    assert 0.2 < result.wall_s < 5
    assert result.issued == result.finished < 10_000_000


def test_only_as_many_requests_are_built_as_are_sent(start_s3: StartS3, generator: Generator) -> None:
    result = generator.run(_load(start_s3(), "put", count=10**9, requests=10))
    assert result.finished == 10

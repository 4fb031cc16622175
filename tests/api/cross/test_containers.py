"""Containers are buckets: whoever makes, lists, counts or deletes them."""

import contextlib
import time

from tests.api.cross.apis import Api, S3Api, SwiftApi
from tests.api.store import RunningStore


def test_a_container_of_one_is_a_bucket_of_the_other(
    writer: Api, reader: Api, new_name: str, policy: str
) -> None:
    assert new_name not in reader.containers()
    writer.make(new_name, policy)
    assert reader.containers().count(new_name) == 1
    assert reader.container("HEAD", new_name).status in {200, 204}
    reader.put(new_name, "o", b"body")
    assert writer.ask("GET", new_name, "o").body == b"body"
    assert reader.container("DELETE", new_name).status == 409
    writer.ask("DELETE", new_name, "o")
    assert reader.container("DELETE", new_name).status == 204
    for api in (writer, reader):
        assert new_name not in api.containers()
        assert api.container("HEAD", new_name).status == 404
        assert api.put(new_name, "o", b"").status == 404


def test_every_worker_sees_a_deletion_at_once(cross_store: RunningStore, new_name: str) -> None:
    """Each connection meets one of the workers, which remember containers."""
    with contextlib.ExitStack() as stack:
        apis: list[S3Api | SwiftApi] = []
        for _ in range(8):
            apis += [S3Api(cross_store), SwiftApi(cross_store)]
        for api in apis:
            stack.callback(api.close)
        for _ in range(3):
            apis[0].make(new_name)
            assert {api.container("HEAD", new_name).status for api in apis} == {200, 204}
            assert {api.names(new_name) == [] for api in apis} == {True}
            assert apis[1].container("DELETE", new_name).status == 204
            for api in apis:
                assert api.container("HEAD", new_name).status == 404
                assert api.container("GET", new_name).status == 404
                assert api.ask("GET", new_name, "o").status == 404
                assert new_name not in api.containers()


def test_both_tell_the_policy(
    writer: Api, s3: S3Api, swift: SwiftApi, new_name: str, policy: str
) -> None:
    writer.make(new_name, policy)
    assert s3.container("HEAD", new_name).headers["x-atoll-storage-policy"] == policy
    assert swift.container("HEAD", new_name).headers["x-storage-policy"] == policy


def test_made_twice(s3: S3Api, swift: SwiftApi, new_name: str) -> None:
    """Swift's PUT of a container that exists is an update; S3's is refused, as the owner's own."""
    swift.make(new_name)
    assert s3.container("PUT", new_name).status in {200, 409}
    assert swift.container("PUT", new_name).status == 202
    assert s3.containers().count(new_name) == 1


def test_made_again_it_is_empty(writer: Api, reader: Api, bucket: str) -> None:
    writer.put(bucket, "o", bytes(100_000))
    reader.ask("DELETE", bucket, "o")
    assert reader.container("DELETE", bucket).status == 204
    reader.make(bucket)
    assert writer.names(bucket) == []
    assert writer.ask("GET", bucket, "o").status == 404


def test_swift_counts_what_s3_wrote(s3: S3Api, swift: SwiftApi, new_name: str) -> None:
    s3.make(new_name)
    for number, size in enumerate((0, 10, 100_000)):
        s3.put(new_name, f"o{number}", bytes(size))
    s3.put_in_parts(new_name, "parts", [bytes(70_000), bytes(5)])
    s3.ask("DELETE", new_name, "o1")
    head = swift.container("HEAD", new_name).headers
    assert head["x-container-object-count"] == "3"
    assert head["x-container-bytes-used"] == str(100_000 + 70_005)


def test_names_that_no_bucket_may_have_are_reached_by_both(s3: S3Api, swift: SwiftApi) -> None:
    """S3 would not make them, but lists and reads them: they are there."""
    name = "Großer Behälter_1"
    swift.make(name)
    assert s3.container("PUT", "Another_One").status == 400
    assert name in s3.containers()
    s3.put(name, "o", b"by s3")
    assert swift.ask("GET", name, "o").body == b"by s3"
    assert s3.names(name) == ["o"]
    s3.ask("DELETE", name, "o")
    assert s3.container("DELETE", name).status == 204


def test_what_swift_opens_to_all_s3_serves_to_nobody_in_particular(
    s3: S3Api, swift: SwiftApi, new_name: str
) -> None:
    s3.make(new_name)
    s3.put(new_name, "o", b"open")
    assert s3.request("GET", s3.target(new_name, "o"), signed=False).status == 403
    swift.container("POST", new_name, {"X-Container-Read": ".r:*"})
    assert s3.request("GET", s3.target(new_name, "o"), signed=False).body == b"open"
    assert swift.request("GET", swift.target(new_name, "o"), signed=False).body == b"open"
    assert s3.request("PUT", s3.target(new_name, "o"), body=b"", signed=False).status == 403


def test_expired_objects_are_gone_for_both(s3: S3Api, swift: SwiftApi, new_name: str) -> None:
    s3.make(new_name)
    at = int(time.time()) + 3
    swift.put(new_name, "o", b"short-lived", {"X-Delete-At": str(at)})
    swift.put(new_name, "p", b"long-lived", {"X-Delete-After": "1000"})
    assert s3.ask("GET", new_name, "o").body == b"short-lived"
    assert s3.names(new_name) == ["o", "p"]
    while (status := s3.ask("HEAD", new_name, "o").status) == 200:
        assert time.time() < at + 5, "it does not expire"
        time.sleep(0.05)
    assert status == 404
    assert time.time() >= at - 1
    for api in (s3, swift):
        assert api.ask("GET", new_name, "o").status == 404
        assert api.names(new_name) == ["p"]
    assert s3.put(new_name, "o", b"new", {"If-None-Match": "*"}).status == 200
    assert swift.ask("GET", new_name, "o").body == b"new"

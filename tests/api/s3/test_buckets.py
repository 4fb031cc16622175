"""Buckets, their settings, and whose they are."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.s3.conftest import Endpoint, refused
from tests.api.s3.wire import Wire


def test_create_list_head_delete(s3: Any) -> None:
    s3.create_bucket(Bucket="life")
    listed = s3.list_buckets()
    found = {entry["Name"]: entry["CreationDate"] for entry in listed["Buckets"]}
    assert abs((datetime.datetime.now(datetime.UTC) - found["life"]).total_seconds()) < 60
    assert listed["Owner"]["ID"] == "AUTH_demo"
    head = s3.head_bucket(Bucket="life")
    assert head["BucketRegion"] == "us-east-1"
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-atoll-storage-policy"] == "replicated-3"
    assert s3.get_bucket_location(Bucket="life")["LocationConstraint"] is None
    s3.delete_bucket(Bucket="life")
    with refused("404", 404):
        s3.head_bucket(Bucket="life")
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(Bucket="life")
    with refused("NoSuchBucket", 404):
        s3.list_objects_v2(Bucket="life")
    with refused("NoSuchBucket", 404):
        s3.put_object(Bucket="life", Key="a", Body=b"x")


def test_create_again(s3: Any, stranger: Any, bucket: str) -> None:
    with refused("BucketAlreadyOwnedByYou", 409):
        s3.create_bucket(Bucket=bucket)
    with refused("BucketAlreadyExists", 409):
        stranger.create_bucket(Bucket=bucket)


def test_a_bucket_with_objects_stays(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_pages_of_buckets(s3: Any) -> None:
    names = [f"page-{number}" for number in range(7)]
    for name in names:
        s3.create_bucket(Bucket=name)
    pages = s3.get_paginator("list_buckets").paginate(Prefix="page-", PaginationConfig={"PageSize": 3})
    seen = [[entry["Name"] for entry in page["Buckets"]] for page in pages]
    assert [name for page in seen for name in page] == names
    assert max(map(len, seen)) == 3


@pytest.mark.parametrize("name", ["ab", "Upper", "under_score", "a..b", "192.168.0.1", "-dash"])
def test_bad_names(wire: Wire, name: str) -> None:
    assert wire("PUT", f"/{name}").code == "InvalidBucketName"
    assert wire("GET", f"/{name}").code == "InvalidBucketName"


def test_location_constraints(s3: Any, wire: Wire) -> None:
    s3.create_bucket(
        Bucket="somewhere", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    s3.create_bucket(
        Bucket="coded", CreateBucketConfiguration={"LocationConstraint": "us-east-1:ec-4-2"}
    )
    headers = s3.head_bucket(Bucket="coded")["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-atoll-storage-policy"] == "ec-4-2"
    assert wire("PUT", "/by-header", headers={"x-atoll-storage-policy": "ec-4-2"}).status == 200
    assert wire("HEAD", "/by-header").headers["x-atoll-storage-policy"] == "ec-4-2"
    with refused("InvalidLocationConstraint", 400):
        s3.create_bucket(
            Bucket="nowhere", CreateBucketConfiguration={"LocationConstraint": "us-east-1:gold"}
        )
    with refused("404", 404):
        s3.head_bucket(Bucket="nowhere")


def test_strangers_see_nothing(s3: Any, stranger: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    calls: list[Callable[[], Any]] = [
        lambda: stranger.get_object(Bucket=bucket, Key="a"),
        lambda: stranger.get_object(Bucket=bucket, Key="missing"),
        lambda: stranger.put_object(Bucket=bucket, Key="a", Body=b"y"),
        lambda: stranger.delete_object(Bucket=bucket, Key="a"),
        lambda: stranger.list_objects_v2(Bucket=bucket),
        lambda: stranger.delete_bucket(Bucket=bucket),
        lambda: stranger.create_multipart_upload(Bucket=bucket, Key="a"),
        lambda: stranger.get_bucket_acl(Bucket=bucket),
    ]
    for call in calls:
        with refused("AccessDenied", 403):
            call()
    stranger.create_bucket(Bucket="strangers-own")
    with refused("AccessDenied", 403):
        stranger.copy_object(Bucket="strangers-own", Key="b", CopySource={"Bucket": bucket, "Key": "a"})
    assert bucket not in [entry["Name"] for entry in stranger.list_buckets()["Buckets"]]
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_expected_owner(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ExpectedBucketOwner="AUTH_demo")
    with refused("AccessDenied", 403):
        s3.put_object(Bucket=bucket, Key="a", Body=b"y", ExpectedBucketOwner="AUTH_other")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_anonymous_requests_need_swifts_acl(
    s3: Any, stranger: Any, bucket: str, wire: Wire, endpoint: Endpoint
) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert wire("GET", "/", signed=False).code == "AccessDenied"
    assert wire("GET", f"/{bucket}/a", signed=False).code == "AccessDenied"
    container = endpoint.run(endpoint.store.container("AUTH_demo", bucket))
    endpoint.run(endpoint.store.update_container(container, {}, {"swift.read-acl": ".r:*"}))
    assert wire("GET", f"/{bucket}/a", signed=False).body == b"x"
    assert wire("HEAD", f"/{bucket}/a", signed=False).status == 200
    assert stranger.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    assert wire("GET", f"/{bucket}/missing", signed=False).code == "AccessDenied"
    assert wire("GET", f"/{bucket}", signed=False).code == "AccessDenied"
    assert wire("PUT", f"/{bucket}/a", b"y", signed=False).code == "AccessDenied"
    assert wire("DELETE", f"/{bucket}/a", signed=False).code == "AccessDenied"
    override = wire("GET", f"/{bucket}/a?response-content-type=x", signed=False)
    assert override.code == "InvalidRequest"
    container = endpoint.run(endpoint.store.container("AUTH_demo", bucket))
    endpoint.run(endpoint.store.update_container(container, {}, {"swift.read-acl": ".r:*,.rlistings"}))
    assert b"<Key>a</Key>" in wire("GET", f"/{bucket}", signed=False).body
    assert wire("GET", f"/{bucket}/missing", signed=False).code == "NoSuchKey"
    grants = s3.get_bucket_acl(Bucket=bucket)["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL", "READ"]


def test_a_user_with_swifts_write_acl_writes(
    s3: Any, stranger: Any, bucket: str, endpoint: Endpoint
) -> None:
    container = endpoint.run(endpoint.store.container("AUTH_demo", bucket))
    system = {"swift.write-acl": "other:other"}
    endpoint.run(endpoint.store.update_container(container, {}, system))
    stranger.put_object(Bucket=bucket, Key="a", Body=b"x")
    with refused("AccessDenied", 403):
        stranger.get_object(Bucket=bucket, Key="a")
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"


def test_features_that_are_off_say_so(s3: Any, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "TopicConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    acl = s3.get_bucket_acl(Bucket=bucket)
    assert acl["Owner"]["ID"] == "AUTH_demo"
    assert [grant["Permission"] for grant in acl["Grants"]] == ["FULL_CONTROL"]
    for call, code in (
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
        (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
        (s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
        (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
    ):
        with refused(code, 404):
            call(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == []
    assert s3.get_object_acl(Bucket=bucket, Key="a")["Grants"][0]["Permission"] == "FULL_CONTROL"
    with refused("NoSuchKey", 404):
        s3.get_object_tagging(Bucket=bucket, Key="none")
    with refused("InvalidRequest", 400):
        s3.get_object_retention(Bucket=bucket, Key="a")


@pytest.mark.parametrize(
    "extra",
    [
        {"ACL": "public-read"},
        {"GrantRead": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'},
        {"ServerSideEncryption": "AES256"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
        {"StorageClass": "GLACIER"},
        {"Tagging": "a=b"},
        {"WebsiteRedirectLocation": "/other"},
        {"ObjectLockMode": "GOVERNANCE"},
        {"ObjectLockLegalHoldStatus": "ON"},
        {"WriteOffsetBytes": 0},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_what_is_absent_is_refused_not_ignored(s3: Any, bucket: str, extra: dict[str, Any]) -> None:
    with refused("NotImplemented", 501):
        s3.put_object(Bucket=bucket, Key="a", Body=b"x", **extra)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_what_is_true_anyway_may_be_asked_for(s3: Any, bucket: str) -> None:
    for acl in ("private", "bucket-owner-full-control", "bucket-owner-read"):
        s3.put_object(Bucket=bucket, Key="a", Body=b"x", ACL=acl, StorageClass="STANDARD")
    with refused("InvalidStorageClass", 400):
        s3.put_object(Bucket=bucket, Key="a", Body=b"y", StorageClass="SUPER")


def test_virtual_hosts(wire: Wire, bucket: str) -> None:
    headers = {"Host": f"{bucket}.s3.test"}
    assert wire("PUT", "/v/k", b"virtual", headers).status == 200
    assert wire("GET", f"/{bucket}/v/k").body == b"virtual"
    assert b"<Key>v/k</Key>" in wire("GET", "/", headers=headers).body
    assert wire("DELETE", "/v/k", headers=headers).status == 204

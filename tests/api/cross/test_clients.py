"""The same with the clients that people use: boto3 and python-swiftclient on one container."""

import io
import random
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from swiftclient import client as swiftclient
from swiftclient.service import SwiftService, SwiftUploadObject
from swiftclient.utils import generate_temp_url

from tests.api.store import RunningStore

BODY = random.Random(10).randbytes(3_000_000)
IN_PARTS = TransferConfig(multipart_threshold=1_000_000, multipart_chunksize=1_000_000)


@pytest.fixture
def boto(cross_store: RunningStore) -> Iterator[Any]:
    client = boto3.client(
        "s3",
        endpoint_url=cross_store.endpoint,
        aws_access_key_id=cross_store.access_key,
        aws_secret_access_key=cross_store.secret_key,
        region_name="us-east-1",
    )
    yield client
    client.close()


@pytest.fixture
def login(cross_store: RunningStore) -> dict[str, str]:
    return {
        "auth": f"{cross_store.endpoint}/auth/v1.0",
        "user": "demo:demo",
        "key": cross_store.secret_key,
        "auth_version": "1",
    }


@pytest.fixture
def connection(login: dict[str, str]) -> Iterator[swiftclient.Connection]:
    made = swiftclient.Connection(
        authurl=login["auth"], user=login["user"], key=login["key"], auth_version="1", retries=0
    )
    yield made
    made.close()


def test_boto3_writes_and_swiftclient_reads(
    boto: Any, connection: swiftclient.Connection, new_name: str
) -> None:
    boto.create_bucket(Bucket=new_name)
    boto.put_object(Bucket=new_name, Key="ü/o", Body=BODY, ContentType="a/b", Metadata={"k": "v"})
    boto.upload_fileobj(io.BytesIO(BODY), new_name, "in parts", Config=IN_PARTS)
    for name in ("ü/o", "in parts"):
        headers, body = connection.get_object(new_name, name)
        assert body == BODY
    headers = connection.head_object(new_name, "ü/o")
    assert (headers["content-type"], headers["x-object-meta-k"]) == ("a/b", "v")
    _, listed = connection.get_container(new_name)
    assert [(line["name"], line["bytes"]) for line in listed] == [
        ("in parts", len(BODY)),
        ("ü/o", len(BODY)),
    ]
    connection.delete_object(new_name, "in parts")
    assert [entry["Key"] for entry in boto.list_objects_v2(Bucket=new_name)["Contents"]] == ["ü/o"]


def test_swiftclient_writes_and_boto3_reads(
    boto: Any, connection: swiftclient.Connection, login: dict[str, str], new_name: str
) -> None:
    connection.put_container(new_name)
    meta = {"X-Object-Meta-K": "v"}
    connection.put_object(new_name, "ü/o", BODY, content_type="a/b", headers=meta)
    with SwiftService(login) as service:
        source = SwiftUploadObject(io.BytesIO(BODY), "in segments")
        sliced = {"segment_size": 1_000_000, "use_slo": True, "segment_container": new_name}
        assert all(done["success"] for done in service.upload(new_name, [source], sliced))
    for name in ("ü/o", "in segments"):
        assert boto.get_object(Bucket=new_name, Key=name)["Body"].read() == BODY
    found = boto.head_object(Bucket=new_name, Key="ü/o")
    assert (found["ContentType"], found["Metadata"]) == ("a/b", {"k": "v"})
    keys = [entry["Key"] for entry in boto.list_objects_v2(Bucket=new_name)["Contents"]]
    assert {"in segments", "ü/o"} < set(keys)
    boto.delete_object(Bucket=new_name, Key="ü/o")
    with pytest.raises(swiftclient.ClientException, match="404"):
        connection.head_object(new_name, "ü/o")


def test_signed_urls_of_one_open_what_the_other_wrote(
    boto: Any, connection: swiftclient.Connection, cross_store: RunningStore, new_name: str
) -> None:
    boto.create_bucket(Bucket=new_name)
    boto.put_object(Bucket=new_name, Key="by s3/ü", Body=b"s3")
    connection.put_object(new_name, "by swift/ü", b"swift")
    connection.post_account({"X-Account-Meta-Temp-URL-Key": "a key"})
    path = f"/v1/AUTH_demo/{new_name}/by s3/ü"
    temporary = generate_temp_url(path, 60, "a key", "GET", digest="sha256")
    presigned = boto.generate_presigned_url(
        "get_object", Params={"Bucket": new_name, "Key": "by swift/ü"}, ExpiresIn=60
    )
    for url, body in ((cross_store.endpoint + quote(temporary, "/?&="), b"s3"), (presigned, b"swift")):
        with urlopen(url) as answer:  # noqa: S310
            assert answer.read() == body
    changed = presigned.replace("by%20swift", "by%20s3")
    with pytest.raises(HTTPError, match="403") as refused, urlopen(changed):  # noqa: S310
        pass
    refused.value.close()

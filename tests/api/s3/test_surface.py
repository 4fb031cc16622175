"""Every operation and header of botocore's model: there, truthfully off, or refused; as documented."""

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import OperationModel, Shape
from botocore.session import Session

from proxy.s3.errors import CODES
from proxy.s3.refusals import HARMLESS, REFUSED, REFUSED_PREFIXES
from tests.api.s3.conftest import Endpoint, make_client

MODEL = Session().get_service_model("s3")
DOCUMENT = Path(__file__).parents[3] / "doc" / "compatibility" / "s3.md"
ROW = re.compile(r"^\| (\w+) \| (yes|off|501) \|", re.MULTILINE)
DOCUMENTED = dict(ROW.findall(DOCUMENT.read_text()))

# fmt: off
HANDLED = frozenset(
    (
        "cache-control", "content-disposition", "content-encoding", "content-language",
        "content-length", "content-md5", "content-type", "expires", "if-match", "if-modified-since",
        "if-none-match", "if-unmodified-since", "range", "x-amz-acl",
        "x-amz-bucket-object-lock-enabled", "x-amz-checksum-algorithm", "x-amz-checksum-mode",
        "x-amz-checksum-type", "x-amz-copy-source", "x-amz-copy-source-range",
        "x-amz-expected-bucket-owner", "x-amz-max-parts", "x-amz-meta-", "x-amz-metadata-directive",
        "x-amz-mp-object-size", "x-amz-object-annotation-directive", "x-amz-object-attributes",
        "x-amz-object-ownership", "x-amz-part-number-marker", "x-amz-sdk-checksum-algorithm",
        "x-amz-source-expected-bucket-owner", "x-amz-storage-class", "x-amz-tagging-directive",
    )
)
# fmt: on
HANDLED_PREFIXES = ("x-amz-checksum-", "x-amz-copy-source-if-")


def sample(shape: Shape, name: str = "") -> Any:
    """A smallest value of a shape that botocore takes."""
    match shape.type_name:
        case "structure":
            required = shape.required_members
            return {member: sample(shape.members[member], member) for member in required}
        case "list":
            return [sample(shape.member)]
        case "map":
            return {}
        case "integer" | "long":
            return 1
        case "boolean":
            return True
        case "blob":
            return b"x"
        case "timestamp":
            return 0
    return shape.enum[0] if getattr(shape, "enum", None) else f"x-{name or 'value'}"


OTHER_SERVICES = ("ListDirectoryBuckets", "WriteGetObjectResponse")
"""Signed for another service's name, so that they do not even get to be S3's."""


def arguments(operation: OperationModel, bucket: str) -> dict[str, Any]:
    """What the operation needs at least."""
    shape = operation.input_shape
    values: dict[str, Any] = {} if shape is None else sample(shape)
    if "Bucket" in values:
        values["Bucket"] = bucket
    if "Key" in values:
        values["Key"] = "key"
    match operation.name:
        case "CreateBucket" | "DeleteBucket":
            values["Bucket"] = "surface-two"
        case "CopyObject" | "UploadPartCopy":
            values |= {"CopySource": "surface/key", "Key": "copy"}
        case "GetObjectAttributes":
            values["ObjectAttributes"] = ["ETag"]
        case "CompleteMultipartUpload":
            values["MultipartUpload"] = {"Parts": [{"PartNumber": 1, "ETag": "x"}]}
    return values


def test_the_document_names_every_operation() -> None:
    assert sorted(DOCUMENTED) == sorted(MODEL.operation_names)


@pytest.fixture(scope="module")
def caller(endpoint: Endpoint) -> Any:
    client: Any = make_client(endpoint, parameter_validation=False, inject_host_prefix=False)
    client.create_bucket(Bucket="surface")
    yield client
    client.close()


@pytest.mark.parametrize("name", MODEL.operation_names)
def test_an_operation_answers_as_documented(caller: Any, name: str) -> None:
    if name in OTHER_SERVICES:
        assert DOCUMENTED[name] == "501"
        return
    caller.put_object(Bucket="surface", Key="key", Body=b"x")
    given = arguments(MODEL.operation_model(name), "surface")
    try:
        done = caller._make_api_call(name, given)
        status, code = done["ResponseMetadata"]["HTTPStatusCode"], ""
        if name == "GetObject":
            done["Body"].read()
    except ClientError as error:
        answer: Any = error.response
        status, code = answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]
    if DOCUMENTED[name] == "501":
        assert (status, code) == (501, "NotImplemented")
    elif DOCUMENTED[name] == "off":
        assert status == 200 or (code in CODES and status in (400, 404)), (status, code)
        text = DOCUMENT.read_text()
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert f"{status}" in row
        assert f"`{code}`" in row or not code
    else:
        assert status in (200, 204) or code == "NoSuchUpload", (status, code)


def headers_of(operation: OperationModel) -> set[str]:
    members = operation.input_shape.members.values() if operation.input_shape is not None else ()
    return {
        member.serialization["name"].lower()
        for member in members
        if member.serialization.get("location") in ("header", "headers")
    }


@pytest.mark.parametrize("name", sorted(n for n, kind in DOCUMENTED.items() if kind == "yes"))
def test_every_header_is_handled_refused_or_harmless(name: str) -> None:
    for header in headers_of(MODEL.operation_model(name)):
        handled = header in HANDLED or header.startswith(HANDLED_PREFIXES)
        refused = header in REFUSED or header.startswith(REFUSED_PREFIXES)
        assert [handled, refused, header in HARMLESS].count(True) == 1, header

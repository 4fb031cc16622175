"""CreateBucket, HeadBucket, DeleteBucket and GetBucketLocation."""

from typing import Final

from aiohttp import web

from proxy.core.types import Container
from proxy.s3 import xml
from proxy.s3.answer import empty
from proxy.s3.body import read_document
from proxy.s3.context import Context
from proxy.s3.errors import S3Error, not_implemented
from proxy.s3.names import is_bucket_name
from proxy.s3.reply import xml_answer
from proxy.s3.request import S3Request

POLICY_HEADER: Final = "x-atoll-storage-policy"
DEFAULT_REGION: Final = "us-east-1"
"""Amazon's first region, whose name GetBucketLocation leaves out."""


async def create_bucket(context: Context, request: S3Request) -> web.StreamResponse:
    """PUT of a bucket. Its storage policy is named by header, or after the region in the document."""
    if not is_bucket_name(request.bucket):
        raise S3Error("InvalidBucketName", fields={"BucketName": request.bucket[:256]})
    data = await read_document(request)
    policy = request.headers.get(POLICY_HEADER) or policy_of(data)
    await context.store.create_container(
        request.account, request.bucket, policy=policy, must_be_bucket=True
    )
    location = {"Location": f"/{request.bucket}"}
    return empty(200, request.request_id, request.now_ns, location)


def policy_of(data: bytes) -> str:
    """The storage policy in a CreateBucketConfiguration: `region:policy`; "" for the default.

    The region is not compared: one store is one region, whatever its clients call it. Raises S3Error
    MalformedXML, NotImplemented for directory buckets and tags.
    """
    if not data.strip():
        return ""
    root = xml.parse(data, "CreateBucketConfiguration")
    for name in ("Location", "Bucket", "Tags"):
        if root.child(name) is not None:
            raise not_implemented(f"{name} in CreateBucketConfiguration")
    return root.value("LocationConstraint").strip().partition(":")[2]


async def head_bucket(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """HEAD of a bucket: that it is there, its region and storage policy."""
    fields = {"x-amz-bucket-region": context.region, POLICY_HEADER: container.head.policy}
    return empty(200, request.request_id, request.now_ns, fields)


async def delete_bucket(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """DELETE of an empty bucket."""
    await context.store.delete_container(container)
    return empty(204, request.request_id, request.now_ns)


async def get_location(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?location."""
    region = "" if context.region == DEFAULT_REGION else xml.escape(context.region)
    return xml_answer(request, "LocationConstraint", region)

"""ListBuckets."""

from typing import Final

from aiohttp import web

from proxy.core.types import Container, ListQuery
from proxy.s3 import xml
from proxy.s3.context import Context
from proxy.s3.errors import not_implemented
from proxy.s3.list import owner, read_token, written_token
from proxy.s3.reply import xml_answer
from proxy.s3.request import S3Request
from proxy.s3.times import whole_seconds, xml_date

BUCKETS_MAX: Final = 10_000


async def list_buckets(context: Context, request: S3Request) -> web.StreamResponse:
    """GET /: the account's containers, whichever API made them."""
    query = request.query
    if "max-directory-buckets" in query or query.get("x-id") == "ListDirectoryBuckets":
        raise not_implemented("ListDirectoryBuckets")
    limit = request.number("max-buckets", BUCKETS_MAX, 1, BUCKETS_MAX)
    marker = read_token(query.get("continuation-token", ""))
    prefix = query.get("prefix", "")
    region = query.get("bucket-region", context.region)
    listing = ListQuery(prefix=prefix, marker=marker, limit=limit)
    rows, following = "", ""
    if region == context.region:
        page = await context.store.list_containers(request.account, listing)
        rows = "".join(_row(entry, region) for entry in page.entries if isinstance(entry, Container))
        following = page.next_marker
    token = xml.element("ContinuationToken", written_token(following)) if following else ""
    content = f"{owner(request)}<Buckets>{rows}</Buckets>{token}{xml.optional('Prefix', prefix)}"
    return xml_answer(request, "ListAllMyBucketsResult", content)


def _row(container: Container, region: str) -> str:
    created = xml_date(whole_seconds(container.head.created_ns))
    name = xml.element("Name", container.name)
    date = xml.element("CreationDate", created)
    return f"<Bucket>{name}{date}{xml.element('BucketRegion', region)}</Bucket>"

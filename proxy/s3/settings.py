"""Truthful answers about features that are off: what S3 says of a bucket that never had them set.

Clients and tools ask such questions before they work. Setting any of it is 501 (`app.py`).
"""

from typing import Final

from aiohttp import web

from proxy.auth import acl
from proxy.core.types import Container
from proxy.s3 import xml
from proxy.s3.context import READ_ACL, Context
from proxy.s3.errors import S3Error
from proxy.s3.list import container_owner
from proxy.s3.refusals import refuse_version
from proxy.s3.reply import xml_answer
from proxy.s3.request import S3Request

ABSENT: Final = {
    "cors": "NoSuchCORSConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "ownershipControls": "OwnershipControlsNotFoundError",
    "policy": "NoSuchBucketPolicy",
    "policyStatus": "NoSuchBucketPolicy",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "replication": "ReplicationConfigurationNotFoundError",
    "tagging": "NoSuchTagSet",
    "website": "NoSuchWebsiteConfiguration",
}
"""The error by sub-resource of a bucket."""

OFF: Final = {
    "accelerate": ("AccelerateConfiguration", ""),
    "logging": ("BucketLoggingStatus", ""),
    "notification": ("NotificationConfiguration", ""),
    "requestPayment": ("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"),
    "versioning": ("VersioningConfiguration", ""),
}
"""Root element and content of the document that says "off", by sub-resource of a bucket."""

_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"


async def get_absent(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """GET of a configuration that no bucket has."""
    raise S3Error(ABSENT[request.sub], fields={"BucketName": container.name})


async def get_off(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """GET of a setting that is off in every bucket."""
    name, content = OFF[request.sub]
    return xml_answer(request, name, content)


async def get_bucket_acl(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?acl of a bucket: its account's full control, and listing where Swift's ACL opens it."""
    rights = acl.parse_read_acl(container.head.system.get(READ_ACL, ""))
    return _policy(request, container, public=rights.listings and acl.may_list(rights, None))


async def get_object_acl(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?acl of an object: that of its bucket, as to reading."""
    refuse_version(request.query.get("versionId"))
    await context.store.head_object(container, request.key)
    container = await context.store.container(container.account, container.name, fresh=True)
    rights = acl.parse_read_acl(container.head.system.get(READ_ACL, ""))
    return _policy(request, container, public=acl.may_read(rights, None))


def _policy(request: S3Request, container: Container, *, public: bool) -> web.StreamResponse:
    account = xml.escape(container.account)
    owner = f"<ID>{account}</ID><DisplayName>{account}</DisplayName>"
    grants = _grant("CanonicalUser", owner, "FULL_CONTROL")
    if public:
        grants += _grant("Group", f"<URI>{_ALL_USERS}</URI>", "READ")
    content = f"{container_owner(container)}<AccessControlList>{grants}</AccessControlList>"
    return xml_answer(request, "AccessControlPolicy", content)


def _grant(kind: str, who: str, permission: str) -> str:
    grantee = f'<Grantee {_XSI} xsi:type="{kind}">{who}</Grantee>'
    return f"<Grant>{grantee}<Permission>{permission}</Permission></Grant>"


async def get_object_tagging(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?tagging of an object: it has no tags."""
    refuse_version(request.query.get("versionId"))
    await context.store.head_object(container, request.key)
    return xml_answer(request, "Tagging", "<TagSet></TagSet>")


async def get_object_lock(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?retention or ?legal-hold: the bucket has no object lock."""
    await context.store.head_object(container, request.key)
    raise S3Error("InvalidRequest", "The bucket has no object lock configuration.")

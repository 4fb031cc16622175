"""What every verb gets beside the request, and who may do what to a bucket.

S3's own rule is simple here: an account may do everything to its buckets, and nobody else anything.
Swift's container ACLs open a container to others; they hold for the same container seen as a bucket.
"""

import dataclasses
import enum

from proxy.auth import acl
from proxy.auth.errors import NotAuthorized
from proxy.auth.users import User
from proxy.core.contract import Store
from proxy.core.errors import NoSuchContainer
from proxy.core.types import CONTAINER_NAME_MAX_BYTES, Container
from proxy.s3.errors import S3Error
from proxy.s3.names import check_bucket_lookup, is_bucket_name
from proxy.s3.request import S3Request

READ_ACL = "swift.read-acl"
WRITE_ACL = "swift.write-acl"
SHORT_NAME_MAX = CONTAINER_NAME_MAX_BYTES // 4
"""Names of up to this many characters have no more than the allowed bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """The store and what its front end says of itself."""

    store: Store
    region: str


class Access(enum.Enum):
    """What a request wants of a bucket."""

    READ = enum.auto()
    """Read objects."""
    LIST = enum.auto()
    """List and look at the bucket."""
    WRITE = enum.auto()
    """Write and delete objects."""
    OWN = enum.auto()
    """Anything else: its account only."""


async def bucket_for(
    context: Context, request: S3Request, name: str, access: Access, *, fresh: bool = False
) -> Container:
    """The bucket, if the request's user may do that to it.

    fresh: as its row says now; for what asks for the bucket alone. Whoever goes on to rows of it
    notices there that it was deleted.
    Raises NotAuthorized, NoSuchContainer, S3Error InvalidBucketName.
    """
    if not 0 < len(name) <= SHORT_NAME_MAX:
        check_bucket_lookup(name)
    account = request.account
    try:
        container = await context.store.bucket(name, account, fresh=fresh)
        if container.account != account:
            container = await context.store.bucket(name, account, fresh=True)
            check_access(request, container, access)
    except NoSuchContainer:
        if is_bucket_name(name):
            raise
        raise S3Error("InvalidBucketName", fields={"BucketName": name}) from None
    return container


def check_access(request: S3Request, container: Container, access: Access) -> None:
    """Raises NotAuthorized where neither ownership nor the container's ACLs allow it."""
    if not allowed(
        container, request.user, access, request.headers.get("Referer"), signed=request.user is not None
    ):
        raise NotAuthorized


def allowed(
    container: Container, user: User | None, access: Access, referer: str | None, *, signed: bool
) -> bool:
    """May `user` do that? Strangers never write: an ACL for writing names who is logged in."""
    if user is not None and user.account == container.account:
        return True
    system = container.head.system
    match access:
        case Access.READ:
            return acl.may_read(acl.parse_read_acl(system.get(READ_ACL, "")), user, referer)
        case Access.LIST:
            return acl.may_list(acl.parse_read_acl(system.get(READ_ACL, "")), user, referer)
        case Access.WRITE:
            return signed and acl.may_write(acl.parse_write_acl(system.get(WRITE_ACL, "")), user)
        case Access.OWN:
            return False


def check_owner(expected: str | None, container: Container) -> None:
    """x-amz-expected-bucket-owner. Raises NotAuthorized where the bucket is another account's."""
    if expected is not None and expected != container.account:
        raise NotAuthorized

"""The door of the S3 front end: finds out how a request is signed and admits it by that.

Anonymous requests pass as None: what they may do is the front end's and the ACLs' decision.
"""

from proxy.auth import sigv2
from proxy.auth.errors import (
    AmbiguousAuthorization,
    UnsupportedAlgorithm,
    UnsupportedAuthorizationType,
)
from proxy.auth.sigv4 import ALGORITHM, SigV4
from proxy.auth.types import Authenticated, Headers, RequestView
from proxy.auth.users import UserDirectory

_V4_MARKS = frozenset(("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"))
_V2_MARKS = frozenset(("AWSAccessKeyId", "Signature"))


class S3Admission:
    """Admits S3 requests of the users of a directory.

    region: the only region accepted in SigV4 scopes; None accepts any.
    """

    def __init__(self, users: UserDirectory, region: str | None = None) -> None:
        self._users = users
        self._sigv4 = SigV4(users, region)

    def admit(self, request: RequestView, host_bucket: str | None = None) -> Authenticated | None:
        """Who sent the request; None if it carries no authentication at all.

        host_bucket: the bucket named by the Host header, if it is in virtual-hosted style (SigV2
        signs it). Raises the errors of `SigV4` and `sigv2`, AmbiguousAuthorization,
        UnsupportedAuthorizationType.
        """
        authorization = request.headers.get("Authorization")
        presigned = _presigned_by(request.raw_query) if request.raw_query else 0
        if authorization is not None:
            if presigned:
                raise AmbiguousAuthorization
            return self._admit_header(request, authorization.strip(), host_bucket)
        if presigned == 4:
            return self._sigv4.verify_query(request)
        if presigned == 2:
            return sigv2.verify_query(request, self._users, host_bucket)
        return None

    def _admit_header(
        self, request: RequestView, authorization: str, host_bucket: str | None
    ) -> Authenticated:
        if authorization.startswith(ALGORITHM):
            return self._sigv4.verify_header(request, authorization)
        if authorization.startswith(sigv2.SCHEME):
            return sigv2.verify_header(request, authorization, self._users, host_bucket)
        scheme = authorization.partition(" ")[0]
        if scheme.startswith("AWS4-ECDSA-"):
            raise UnsupportedAlgorithm(scheme)
        raise UnsupportedAuthorizationType


def has_aws_authentication(headers: Headers, raw_query: str) -> bool:
    """Does the request authenticate as AWS requests do, and so belong to S3 whatever its path?"""
    if (headers.get("Authorization") or "").lstrip().startswith("AWS"):
        return True
    return bool(raw_query) and _presigned_by(raw_query) != 0


def _presigned_by(raw_query: str) -> int:
    """The signature version that the query's parameters are of, 0 for none."""
    if "X-Amz-" not in raw_query and "AWSAccessKeyId" not in raw_query:
        return 0
    names = {part.partition("=")[0] for part in raw_query.split("&")}
    if not names.isdisjoint(_V4_MARKS):
        return 4
    return 2 if names >= _V2_MARKS else 0

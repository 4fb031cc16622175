"""Which requests are admitted by what, and which are anonymous or refused outright."""

import time

import pytest
from botocore.auth import HmacV1Auth, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from proxy.auth import errors
from proxy.auth.admission import S3Admission, has_aws_authentication
from proxy.auth.payload import payload_mode_without_v4
from proxy.auth.types import EMPTY_SHA256, PayloadKind, RequestView
from proxy.auth.users import MemoryUsers, User

USER = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo")
CREDENTIALS = Credentials(USER.access_key, USER.secret_key)


def view_of(headers: dict[str, str], raw_query: str = "") -> RequestView:
    return RequestView("GET", "/bucket/key", raw_query, CIMultiDict(headers), time.time())


def admit(view: RequestView) -> User | None:
    admitted = S3Admission(MemoryUsers([USER])).admit(view)
    return None if admitted is None else admitted.user


def test_each_way_of_signing() -> None:
    for signer in (S3SigV4Auth(CREDENTIALS, "s3", "us-east-1"), HmacV1Auth(CREDENTIALS)):
        request = AWSRequest(method="GET", url="http://h/bucket/key")
        signer.add_auth(request)
        headers = {name: str(value) for name, value in request.headers.items()}
        assert admit(view_of(headers | {"Host": "h"})) == USER


def test_anonymous_requests_pass_as_nobody() -> None:
    assert admit(view_of({})) is None
    assert admit(view_of({}, "prefix=X-Amz-Signature&Signature=x")) is None
    assert admit(view_of({}, "AWSAccessKeyId=x")) is None


@pytest.mark.parametrize(
    ("headers", "query", "error"),
    [
        ({"Authorization": "Basic eA=="}, "", errors.UnsupportedAuthorizationType),
        ({"Authorization": ""}, "", errors.UnsupportedAuthorizationType),
        ({"Authorization": "AWS4-ECDSA-P256-SHA256 x"}, "", errors.UnsupportedAlgorithm),
        ({"Authorization": "AWS a:b"}, "X-Amz-Signature=x", errors.AmbiguousAuthorization),
        ({"Authorization": "AWS a:b"}, "AWSAccessKeyId=x&Signature=y", errors.AmbiguousAuthorization),
        ({}, "X-Amz-Signature=x", errors.MalformedAuthorizationQuery),
        ({}, "X-Amz-Algorithm=AWS4-HMAC-SHA256", errors.MalformedAuthorizationQuery),
        ({}, "AWSAccessKeyId=x&Signature=y", errors.MalformedAuthorizationQuery),
        ({}, "AWSAccessKeyId=x&Signature=y&Expires=99999999999", errors.UnknownAccessKey),
    ],
)
def test_refusals(headers: dict[str, str], query: str, error: type[errors.AuthError]) -> None:
    with pytest.raises(error):
        admit(view_of(headers, query))


def test_what_belongs_to_s3() -> None:
    none: CIMultiDict[str] = CIMultiDict()
    assert has_aws_authentication(CIMultiDict({"Authorization": "AWS4-HMAC-SHA256 x"}), "")
    assert has_aws_authentication(CIMultiDict({"authorization": "AWS a:b"}), "")
    assert has_aws_authentication(none, "a=b&X-Amz-Credential=x")
    assert has_aws_authentication(none, "Signature=b&AWSAccessKeyId=x")
    assert not has_aws_authentication(CIMultiDict({"Authorization": "Bearer x"}), "")
    assert not has_aws_authentication(none, "temp_url_sig=x&temp_url_expires=1")
    assert not has_aws_authentication(none, "")


def test_bodies_of_requests_without_sigv4() -> None:
    def kind(**headers: str) -> PayloadKind:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return payload_mode_without_v4(CIMultiDict(named)).kind

    assert kind() is PayloadKind.UNSIGNED
    assert kind(x_amz_content_sha256=EMPTY_SHA256) is PayloadKind.SIGNED
    trailer = PayloadKind.STREAMING_UNSIGNED_TRAILER
    assert kind(x_amz_content_sha256=trailer.value) is trailer
    assert kind(content_encoding="aws-chunked", x_amz_trailer="x-amz-checksum-crc32") is trailer
    with pytest.raises(errors.InvalidPayloadHash):
        kind(x_amz_content_sha256=PayloadKind.STREAMING_SIGNED.value)

"""SigV2: the examples of the S3 user guide and botocore's signatures verify, changed ones do not."""

import base64
import hmac
import time
from urllib.parse import urlsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from proxy.auth import errors, sigv2
from proxy.auth.dates import parse_http_date
from proxy.auth.types import PayloadKind, RequestView
from proxy.auth.users import MemoryUsers, User

USER = User(
    name="example",
    account="AUTH_example",
    access_key="AKIAIOSFODNN7EXAMPLE",
    secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    swift_login="example:example",
)
USERS = MemoryUsers([USER])

# method, target, headers, bucket of the Host, signature
EXAMPLES = {
    "object get": (
        "GET",
        "/photos/puppy.jpg",
        {"Date": "Tue, 27 Mar 2007 19:36:42 +0000"},
        "johnsmith",
        "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
    ),
    "object put": (
        "PUT",
        "/photos/puppy.jpg",
        {
            "Content-Type": "image/jpeg",
            "Content-Length": "94328",
            "Date": "Tue, 27 Mar 2007 21:15:45 +0000",
        },
        "johnsmith",
        "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
    ),
    "list": (
        "GET",
        "/?prefix=photos&max-keys=50&marker=puppy",
        {"Date": "Tue, 27 Mar 2007 19:42:41 +0000"},
        "johnsmith",
        "htDYFYduRNen8P9ZfE/s9SuKy0U=",
    ),
    "fetch": (
        "GET",
        "/?acl",
        {"Date": "Tue, 27 Mar 2007 19:44:46 +0000"},
        "johnsmith",
        "c2WLPFtWHVgbEmeEG93a4cG37dM=",
    ),
    "list all my buckets": (
        "GET",
        "/",
        {"Date": "Wed, 28 Mar 2007 01:29:59 +0000"},
        None,
        "qGdzdERIC03wnaRNKh6OqZehG9s=",
    ),
    "unicode keys": (
        "GET",
        "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
        {"Date": "Wed, 28 Mar 2007 01:49:49 +0000"},
        None,
        "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
    ),
}
Example = tuple[str, str, dict[str, str], str | None, str]


def view_of(method: str, target: str, headers: dict[str, str], now_s: float) -> RequestView:
    path, _, query = target.partition("?")
    return RequestView(method, path, query, CIMultiDict(headers), now_s)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_header_examples(example: Example) -> None:
    method, target, headers, bucket, signature = example
    now_s = parse_http_date(headers["Date"])
    assert now_s is not None
    authorization = f"AWS AKIAIOSFODNN7EXAMPLE:{signature}"
    admitted = sigv2.verify_header(
        view_of(method, target, headers, now_s), authorization, USERS, bucket
    )
    assert admitted.user == USER
    assert admitted.payload.kind is PayloadKind.UNSIGNED
    for changed, host_bucket in (
        (view_of("HEAD", target, headers, now_s), bucket),
        (view_of(method, "/x" + target, headers, now_s), bucket),
        (view_of(method, target, headers | {"Content-MD5": "x"}, now_s), bucket),
        (view_of(method, target, headers | {"x-amz-acl": "x"}, now_s), bucket),
        (view_of(method, target, headers, now_s), "other"),
    ):
        with pytest.raises(errors.SignatureMismatch):
            sigv2.verify_header(changed, authorization, USERS, host_bucket)


def test_query_example() -> None:
    target = (
        "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE"
        "&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
    )
    view = view_of("GET", target, {}, 1175139600.0)
    assert sigv2.verify_query(view, USERS, "johnsmith").user == USER
    with pytest.raises(errors.PresignExpired):
        sigv2.verify_query(view._replace(now_s=1175139621.0), USERS, "johnsmith")
    with pytest.raises(errors.SignatureMismatch):
        sigv2.verify_query(view, USERS, "johnsmit")
    for name in ("AWSAccessKeyId", "Signature", "Expires"):
        query = view.raw_query.replace(name, "x")
        with pytest.raises(errors.MalformedAuthorizationQuery):
            sigv2.verify_query(view._replace(raw_query=query), USERS, "johnsmith")
    for expires in ("x", "-5", "9" * 30, "١"):
        query = view.raw_query.replace("1175139620", expires)
        with pytest.raises(errors.MalformedAuthorizationQuery):
            sigv2.verify_query(view._replace(raw_query=query), USERS, "johnsmith")


TARGETS = [
    "/",
    "/bucket/key",
    "/bucket/a%20b%2B(c)",
    "/bucket?uploads&prefix=x",
    "/bucket/key?uploadId=a%2Bb%2F%3D&partNumber=2&x=y",
    "/bucket/key?response-content-type=text%2Fplain%3B%20charset%3Dutf-8&versionId=1",
]


def botocore_signed(target: str, signer: type[HmacV1Auth], headers: dict[str, str]) -> RequestView:
    url = "http://127.0.0.1:8080" + target
    request = AWSRequest(method="PUT", url=url, headers=headers)
    signer(Credentials(USER.access_key, USER.secret_key)).add_auth(request)
    parts = urlsplit(request.url)
    sent = CIMultiDict({"Host": parts.netloc})
    for name, value in request.headers.items():
        if not (signer is HmacV1QueryAuth and name == "Date"):
            sent.add(name, value)
    return RequestView("PUT", parts.path, parts.query, sent, time.time())


@pytest.mark.parametrize("target", TARGETS)
def test_botocore_signs_and_we_verify(target: str) -> None:
    headers = {"x-amz-meta-b": " 1", "X-Amz-Acl": "private", "Content-Type": "text/x"}
    view = botocore_signed(target, HmacV1Auth, headers)
    authorization = view.headers.get("Authorization")
    assert authorization is not None
    assert sigv2.verify_header(view, authorization, USERS, None).user == USER


@pytest.mark.parametrize("target", TARGETS)
def test_botocore_presigns_and_we_verify(target: str) -> None:
    view = botocore_signed(target, HmacV1QueryAuth, {"Content-Type": "text/x"})
    assert sigv2.verify_query(view, USERS, None).user == USER


def test_x_amz_date_replaces_the_date() -> None:
    view = botocore_signed("/bucket/key", HmacV1Auth, {})
    date = view.headers.get("Date") or ""
    headers = CIMultiDict({"x-amz-date": date, "Date": "Tue, 27 Mar 2007 21:20:27 +0000"})
    view = view._replace(headers=headers)
    lines = ["PUT", "", "", "", f"x-amz-date:{date}", "/bucket/key"]
    assert sigv2.string_to_sign(view, "").split("\n") == lines
    digest = hmac.digest(USER.secret_key.encode(), "\n".join(lines).encode(), "sha1")
    authorization = f"AWS {USER.access_key}:{base64.b64encode(digest).decode()}"
    assert sigv2.verify_header(view, authorization, USERS, None).user == USER


@pytest.mark.parametrize("authorization", ["AWS", "AWS ", "AWS x", "AWS :x", "AWS x:"])
def test_malformed_authorization(authorization: str) -> None:
    view = view_of("GET", "/", {}, 0.0)
    with pytest.raises(errors.MalformedAuthorization):
        sigv2.verify_header(view, authorization, USERS, None)


def test_unknown_keys_and_wrong_times() -> None:
    view = botocore_signed("/bucket/key", HmacV1Auth, {})
    authorization = view.headers.get("Authorization") or ""
    with pytest.raises(errors.UnknownAccessKey):
        sigv2.verify_header(view, "AWS SOMEONE:x", USERS, None)
    with pytest.raises(errors.RequestTimeSkewed):
        sigv2.verify_header(view._replace(now_s=view.now_s + 902), authorization, USERS, None)
    with pytest.raises(errors.MissingDate):
        sigv2.verify_header(view._replace(headers=CIMultiDict()), authorization, USERS, None)
    token = CIMultiDict({"x-amz-security-token": "x"})
    with pytest.raises(errors.UnexpectedSecurityToken):
        sigv2.verify_header(view._replace(headers=token), authorization, USERS, None)

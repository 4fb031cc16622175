"""SigV4: botocore's signatures verify, and each way to be wrong has its own error."""

import hashlib
import time
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from proxy.auth import errors
from proxy.auth.sigv4 import SigV4, _remember, derive_signing_key, parse_authorization
from proxy.auth.types import PayloadKind, RequestView
from proxy.auth.users import MemoryUsers, User

USER = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo")
USERS = MemoryUsers([USER])
BASE = "http://127.0.0.1:8080"


def signed(
    target: str = "/bucket/key",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    *,
    body: bytes = b"",
    region: str = "us-east-1",
    access_key: str = USER.access_key,
    expires_s: int | None = None,
    token: str | None = None,
) -> RequestView:
    """A request as botocore signs it; presigned where `expires_s` is given."""
    request = AWSRequest(method=method, url=BASE + target, headers=headers or {}, data=body)
    request.context["payload_signing_enabled"] = True
    credentials = Credentials(access_key, USER.secret_key, token)
    if expires_s is None:
        S3SigV4Auth(credentials, "s3", region).add_auth(request)
    else:
        S3SigV4QueryAuth(credentials, "s3", region, expires=expires_s).add_auth(request)
    prepared = request.prepare()
    url = urlsplit(prepared.url)
    sent = CIMultiDict({"Host": url.netloc, "User-Agent": "test"})
    for name, value in prepared.headers.items():
        sent[name] = value.decode() if isinstance(value, bytes) else value
    return RequestView(method, url.path, url.query, sent, time.time())


def verify(view: RequestView, region: str | None = None) -> object:
    return SigV4(USERS, region).verify_header(view, view.headers.getall("Authorization", [])[0])


def with_headers(view: RequestView, **changes: str | None) -> RequestView:
    headers = CIMultiDict({name: view.headers.getall(name, [])[0] for name in view.headers})
    for name, value in changes.items():
        headers.pop(name.replace("_", "-"), None)
        if value is not None:
            headers[name.replace("_", "-")] = value
    return view._replace(headers=headers)


TARGETS = [
    "/",
    "/bucket",
    "/bucket/",
    "/bucket//a/../b/./c",
    "/bucket/a%20b%2Bc%25d",
    "/bucket/a+b",
    "/bucket/%C3%A9t%C3%A9",
    "/bucket/key(1)!'*;:@&=$,",
    "/bucket/%E2%82%AC/%00",
    "/bucket?list-type=2&prefix=a%2Fb&delimiter=%2F",
    "/bucket?uploads",
    "/bucket/key?uploadId=a%2Bb%2F%3D&partNumber=2",
    "/bucket?b=2&a=1&a=0&c",
    "/bucket?prefix=a%20b&marker=%C3%A9",
]


@pytest.mark.parametrize("target", TARGETS)
def test_botocore_signs_and_we_verify(target: str) -> None:
    view = signed(target)
    verifier = SigV4(USERS)
    for _ in range(2):  # the second time from the caches
        admitted = verifier.verify_header(view, view.headers.getall("Authorization", [])[0])
        assert admitted.user == USER
        assert admitted.payload.kind is PayloadKind.SIGNED


@pytest.mark.parametrize("target", TARGETS)
def test_botocore_presigns_and_we_verify(target: str) -> None:
    view = signed(target, expires_s=60)
    admitted = SigV4(USERS).verify_query(view)
    assert admitted.user == USER
    assert admitted.payload.kind is PayloadKind.UNSIGNED


def test_body_digest_and_metadata_are_covered() -> None:
    view = signed(
        "/b/k", "PUT", {"x-amz-meta-a": "  two   blanks\there ", "Content-Type": "text/x"}, body=b"hi"
    )
    admitted = SigV4(USERS).verify_header(view, view.headers.getall("Authorization", [])[0])
    assert admitted.payload.sha256 == hashlib.sha256(b"hi").hexdigest()
    with pytest.raises(errors.SignatureMismatch):
        verify(with_headers(view, x_amz_meta_a="two blanks there!"))


def test_the_same_key_in_another_spelling_verifies() -> None:
    view = signed("/bucket/a%20b~c")
    verify(view._replace(raw_path="/bucket/a b%7Ec"))
    with pytest.raises(errors.SignatureMismatch):
        verify(view._replace(raw_path="/bucket/a%2520b~c"))


def test_a_path_signed_as_it_was_sent_verifies() -> None:
    view = signed("/bucket/a%2fb(c)")  # botocore signs the path in its own spelling
    verify(view)


def test_repeated_headers_are_joined() -> None:
    view = signed("/b/k", headers={"x-amz-meta-a": "1,2"})
    headers = CIMultiDict(
        [(n, view.headers.getall(n, [])[0]) for n in view.headers if n.lower() != "x-amz-meta-a"]
    )
    headers.add("X-Amz-Meta-A", "1")
    headers.add("X-Amz-Meta-A", " 2 ")
    verify(view._replace(headers=headers))


def test_fields_may_come_in_any_order_and_spacing() -> None:
    view = signed()
    fields = view.headers.getall("Authorization", [])[0].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
    verifier = SigV4(USERS)
    for text in (", ".join(reversed(fields)), ",".join(fields), " ,  ".join(fields)):
        for _ in range(2):
            verifier.verify_header(view, f"AWS4-HMAC-SHA256   {text}")


def test_a_signature_in_front_stands_for_no_other_claim() -> None:
    """What precedes it is the same in everybody's requests, and must not be taken for a claim."""
    verifier = SigV4(USERS)
    for region in ("one", "two"):
        view = signed(region=region)
        text = view.headers.getall("Authorization", [])[0].removeprefix("AWS4-HMAC-SHA256 ")
        reordered = ", ".join(reversed(text.split(", ")))
        verifier.verify_header(view, f"AWS4-HMAC-SHA256 {reordered}")


def test_right_signatures_fill_the_caches_up_to_their_limits() -> None:
    verifier = SigV4(USERS)
    for _ in range(2):
        view = signed()
        verifier.verify_header(view, view.headers.getall("Authorization", [])[0])
    assert len(verifier._keys) == len(verifier._claims) == 1
    cache: dict[int, int] = {}
    for number in range(10):
        _remember(cache, number, number, 4)
        assert len(cache) <= 4
    assert cache[9] == 9


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=date,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request,SignedHeaders=host;;x,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/ec2/aws4_request,SignedHeaders=host,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws5_request,SignedHeaders=host,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a/2013/r/s3/aws4_request,SignedHeaders=host,Signature=b",
        "AWS4-HMAC-SHA256 Credential=/20130524/r/s3/aws4_request,SignedHeaders=host,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a/20130524//s3/aws4_request,SignedHeaders=host,Signature=b",
        "AWS4-HMAC-SHA256 Credential=a,Credential=b,SignedHeaders=host,Signature=b",
    ],
)
def test_malformed_authorization(authorization: str) -> None:
    with pytest.raises(errors.MalformedAuthorization):
        parse_authorization(authorization)


def test_unknown_access_key() -> None:
    with pytest.raises(errors.UnknownAccessKey) as caught:
        verify(signed(access_key="SOMEONE"))
    assert caught.value.access_key == "SOMEONE"


def test_session_tokens_are_refused() -> None:
    with pytest.raises(errors.UnexpectedSecurityToken):
        verify(signed(token="a token"))
    with pytest.raises(errors.UnexpectedSecurityToken):
        SigV4(USERS).verify_query(signed(token="a token", expires_s=10))


@pytest.mark.parametrize("offset_s", [-901, 901, 86_400, -(10**9)])
def test_skewed_clocks(offset_s: int) -> None:
    view = signed()
    with pytest.raises(errors.RequestTimeSkewed):
        verify(view._replace(now_s=view.now_s + offset_s))
    verify(view._replace(now_s=view.now_s + 890))


@pytest.mark.parametrize("date", ["", "x", "20130532T000000Z", "2013-05-24T00:00:00Z", "٢" * 15 + "Z"])
def test_dates_that_are_none(date: str) -> None:
    with pytest.raises(errors.MissingDate):
        verify(with_headers(signed(), x_amz_date=date))


def test_missing_date() -> None:
    with pytest.raises(errors.MissingDate):
        verify(with_headers(signed(), x_amz_date=None))


def test_scope_of_another_day() -> None:
    view = signed()
    text = view.headers.getall("Authorization", [])[0]
    day = view.headers.getall("x-amz-date", [])[0][:8]
    with pytest.raises(errors.MalformedAuthorization):
        verify(with_headers(view, Authorization=text.replace(f"/{day}/", "/20130524/")))


def test_payload_header_is_required_and_checked() -> None:
    with pytest.raises(errors.MissingSecurityHeader):
        verify(with_headers(signed(), x_amz_content_sha256=None))
    with pytest.raises(errors.InvalidPayloadHash):
        verify(with_headers(signed(), x_amz_content_sha256="nonsense"))
    mode = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
    with pytest.raises(errors.UnsupportedAlgorithm):
        verify(with_headers(signed(), x_amz_content_sha256=mode))


def test_unsigned_amz_headers_are_refused() -> None:
    for name in ("x_amz_acl", "X_AMZ_Copy_Source"):
        with pytest.raises(errors.UnsignedHeaders) as caught:
            verify(with_headers(signed(), **{name: "x"}))
        assert caught.value.names == (name.replace("_", "-").lower(),)
    with pytest.raises(errors.UnsignedHeaders):
        SigV4(USERS).verify_query(with_headers(signed(expires_s=60), x_amz_acl="public-read"))


def test_a_configured_region_is_demanded() -> None:
    verify(signed(region="eu-1"))
    verify(signed(region="eu-1"), region="eu-1")
    with pytest.raises(errors.WrongRegion) as caught:
        verify(signed(region="us-east-1"), region="eu-1")
    assert (caught.value.given, caught.value.expected) == ("us-east-1", "eu-1")
    with pytest.raises(errors.WrongQueryRegion):
        SigV4(USERS, "eu-1").verify_query(signed(expires_s=60))


def test_presigned_requests_end() -> None:
    view = signed(expires_s=60)
    SigV4(USERS).verify_query(view._replace(now_s=view.now_s + 58))
    with pytest.raises(errors.PresignExpired):
        SigV4(USERS).verify_query(view._replace(now_s=view.now_s + 61))
    with pytest.raises(errors.PresignNotYetValid):
        SigV4(USERS).verify_query(view._replace(now_s=view.now_s - 902))


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "", "x", "1e3", "٣", "9" * 40])
def test_presigned_lifetimes_have_limits(expires: str) -> None:
    view = signed(expires_s=60)
    query = view.raw_query.replace("X-Amz-Expires=60", f"X-Amz-Expires={expires}")
    with pytest.raises(errors.MalformedAuthorizationQuery):
        SigV4(USERS).verify_query(view._replace(raw_query=query))
    SigV4(USERS).verify_query(signed(expires_s=604_800))


def test_presigned_parameters_are_needed_once() -> None:
    view = signed(expires_s=60)
    parts = view.raw_query.split("&")
    assert len(parts) == 6
    for part in parts:
        without = "&".join(other for other in parts if other != part)
        for query in (without, f"{view.raw_query}&{part}"):
            with pytest.raises(errors.MalformedAuthorizationQuery):
                SigV4(USERS).verify_query(view._replace(raw_query=query))


def test_presigned_algorithms() -> None:
    view = signed(expires_s=60)
    for algorithm, error in (
        ("AWS4-ECDSA-P256-SHA256", errors.UnsupportedAlgorithm),
        ("AWS4-HMAC-SHA1", errors.MalformedAuthorizationQuery),
    ):
        query = view.raw_query.replace("AWS4-HMAC-SHA256", algorithm)
        with pytest.raises(error):
            SigV4(USERS).verify_query(view._replace(raw_query=query))


def test_a_signature_parameter_does_not_escape_a_header_signature() -> None:
    view = signed("/b/k%2f")
    with pytest.raises(errors.SignatureMismatch):
        verify(view._replace(raw_query="X-Amz-Signature=1"))


def test_a_new_secret_takes_effect_at_once() -> None:
    users = MemoryUsers([USER])
    verifier = SigV4(users)
    view = signed()
    text = view.headers.getall("Authorization", [])[0]
    verifier.verify_header(view, text)
    users.remove("demo")
    with pytest.raises(errors.UnknownAccessKey):
        verifier.verify_header(view, text)
    users.add(User("demo", "AUTH_demo", "ATDEMO", "another secret", "demo:demo"))
    with pytest.raises(errors.SignatureMismatch):
        verifier.verify_header(view, text)


def test_strangers_do_not_fill_the_caches() -> None:
    verifier = SigV4(USERS)
    for number in range(20):
        view = signed(region=f"r-{number}")
        text = view.headers.getall("Authorization", [])[0][:-4] + "0000"
        with pytest.raises(errors.SignatureMismatch):
            verifier.verify_header(view, text)
    assert not verifier._keys
    assert not verifier._claims


def test_mismatch_tells_what_was_signed_but_no_secret() -> None:
    view = signed("/bucket/key?versionId=1")
    with pytest.raises(errors.SignatureMismatch) as caught:
        verify(view._replace(raw_path="/bucket/other"))
    assert caught.value.canonical_request.startswith("GET\n/bucket/other\nversionId=1\nhost:")
    assert caught.value.string_to_sign.startswith("AWS4-HMAC-SHA256\n")
    assert USER.secret_key not in repr(vars(caught.value)) + str(caught.value)


def test_reprs_hold_no_secret() -> None:
    admitted = verify(signed())
    assert USER.secret_key not in repr(admitted) + repr(USER)
    day = time.strftime("%Y%m%d", time.gmtime())
    assert repr(derive_signing_key(USER.secret_key, day, "us-east-1")) not in repr(admitted)

"""Whatever botocore signs verifies; whatever was changed after signing does not."""

import time
from urllib.parse import quote, urlsplit

from botocore.auth import HmacV1Auth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.auth.admission import S3Admission
from proxy.auth.canonical import canonical_pairs, canonical_path, join_pairs
from proxy.auth.errors import AuthError
from proxy.auth.types import RequestView
from proxy.auth.users import MemoryUsers, User

USER = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo")
CREDENTIALS = Credentials(USER.access_key, USER.secret_key)
ADMISSION = S3Admission(MemoryUsers([USER]))

KEYS = st.text(min_size=1, max_size=30)
QUERIES = st.dictionaries(
    st.sampled_from(["prefix", "marker", "delimiter", "versionId", "uploadId", "x-id", "acl"]),
    st.text(max_size=12),
    max_size=4,
)
HEADER_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
SIGNERS = st.sampled_from(["v4", "v4-query", "v2"])
Request = tuple[str, str, dict[str, str], dict[str, str]]
REQUESTS = st.tuples(
    st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    KEYS,
    QUERIES,
    st.dictionaries(st.sampled_from(["x-amz-meta-a", "X-Amz-Meta-B", "Range"]), HEADER_VALUES),
)


def sign(request: Request, signer: str) -> RequestView:
    method, key, query, headers = request
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    url = f"http://127.0.0.1:8080/bucket/{quote(key)}" + (f"?{text}" if text else "")
    unsigned = AWSRequest(method=method, url=url, headers=dict(headers))
    unsigned.context["payload_signing_enabled"] = True
    if signer == "v4":
        S3SigV4Auth(CREDENTIALS, "s3", "us-east-1").add_auth(unsigned)
    elif signer == "v4-query":
        S3SigV4QueryAuth(CREDENTIALS, "s3", "us-east-1").add_auth(unsigned)
    else:
        HmacV1Auth(CREDENTIALS).add_auth(unsigned)
    parts = urlsplit(unsigned.url)
    sent = CIMultiDict({"Host": parts.netloc})
    for name, value in unsigned.headers.items():
        sent.add(name, str(value))
    return RequestView(method, parts.path, parts.query, sent, time.time())


@given(REQUESTS, SIGNERS)
@settings(deadline=None, max_examples=300)
def test_signed_requests_are_admitted(request: Request, signer: str) -> None:
    admitted = ADMISSION.admit(sign(request, signer))
    assert admitted is not None
    assert admitted.user == USER


def is_admitted(view: RequestView) -> bool:
    try:
        return ADMISSION.admit(view) is not None
    except AuthError:
        return False


@given(REQUESTS, SIGNERS, KEYS)
@settings(deadline=None)
def test_another_key_is_refused(request: Request, signer: str, other: str) -> None:
    assume(other != request[1])
    view = sign(request, signer)
    assert not is_admitted(view._replace(raw_path=f"/bucket/{quote(other)}"))


@given(REQUESTS, SIGNERS, st.sampled_from(["PATCH", "get", ""]))
@settings(deadline=None, max_examples=30)
def test_another_method_is_refused(request: Request, signer: str, other: str) -> None:
    assert not is_admitted(sign(request, signer)._replace(method=other))


@given(REQUESTS, st.sampled_from(["v4", "v4-query"]), KEYS)
@settings(deadline=None)
def test_another_parameter_is_refused(request: Request, signer: str, value: str) -> None:
    view = sign(request, signer)
    query = f"{view.raw_query}&versionid={quote(value)}".lstrip("&")
    assert not is_admitted(view._replace(raw_query=query))


@given(REQUESTS, SIGNERS, HEADER_VALUES)
@settings(deadline=None)
def test_another_signed_header_is_refused(request: Request, signer: str, value: str) -> None:
    headers = {"x-amz-meta-a": "one thing"}
    view = sign((*request[:3], headers), signer)
    assume(" ".join(value.split()) != "one thing")
    changed = CIMultiDict({name: view.headers.getall(name, [])[0] for name in view.headers})
    changed["x-amz-meta-a"] = value
    assert not is_admitted(view._replace(headers=changed))


@given(REQUESTS, SIGNERS, st.data())
@settings(deadline=None)
def test_a_mutated_signature_is_refused(request: Request, signer: str, data: st.DataObject) -> None:
    view = sign(request, signer)
    text = view.raw_query if signer == "v4-query" else view.headers.getall("Authorization", [])[0]
    # 64 hex digits, or the 27 characters before the padding of base64 of 20 bytes
    first, last = (len(text) - 64, len(text)) if signer != "v2" else (len(text) - 28, len(text) - 2)
    position = data.draw(st.integers(first, last - 1))
    char = data.draw(st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_characters="&%+"))
    assume(char != text[position])
    text = text[:position] + char + text[position + 1 :]
    if signer == "v4-query":
        assert not is_admitted(view._replace(raw_query=text))
    else:
        headers = CIMultiDict({name: view.headers.getall(name, [])[0] for name in view.headers})
        headers["Authorization"] = text
        assert not is_admitted(view._replace(headers=headers))


WIRE = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(WIRE)
def test_canonical_spelling_is_a_fixed_point(text: str) -> None:
    assert canonical_path(canonical_path(text)) == canonical_path(text)
    once = join_pairs(canonical_pairs(text))
    assert join_pairs(canonical_pairs(once)) == once
    assert canonical_path(text).isascii()
    assert once.isascii()

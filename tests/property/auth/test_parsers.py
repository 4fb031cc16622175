"""No parser of this package raises anything but its typed errors, whatever it is fed."""

import contextlib
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.auth.acl import may_list, may_read, parse_read_acl, parse_write_acl
from proxy.auth.admission import S3Admission, has_aws_authentication
from proxy.auth.body import body_decoder, stored_content_encoding
from proxy.auth.checksums import ChecksumAlgorithm, parse_checksum_headers, parse_content_md5
from proxy.auth.dates import format_amz_date, parse_amz_date, parse_http_date
from proxy.auth.errors import AuthError, InvalidUser, UserFileInvalid
from proxy.auth.payload import payload_mode, payload_mode_without_v4
from proxy.auth.tempauth import TempAuth, login_of
from proxy.auth.types import UNSIGNED, RequestView
from proxy.auth.user_file import format_users, parse_users
from proxy.auth.users import MemoryUsers, User, check_user

USER = User("demo", "AUTH_demo", "ATDEMO", "a secret of demo", "demo:demo")
USERS = MemoryUsers([USER])
NOW_S = 1_369_353_600.0  # 2013-05-24

WIRE = st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
V4_PARTS = st.sampled_from(
    [
        "AWS4-HMAC-SHA256 ",
        "AWS ",
        "Credential=",
        "ATDEMO/20130524/us-east-1/s3/aws4_request",
        "SignedHeaders=",
        "host;x-amz-date",
        "Signature=",
        "ATDEMO:",
        ",",
        "=",
        "/",
        "0" * 64,
        "\u0660" * 64,
    ]
)
AUTHORIZATIONS = st.lists(st.one_of(V4_PARTS, WIRE), max_size=10).map("".join)
QUERY_PARTS = st.sampled_from(
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Credential=ATDEMO%2F20130524%2Fus-east-1%2Fs3%2Faws4_request",
        "X-Amz-Date=20130524T000000Z",
        "X-Amz-Expires=60",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Signature=" + "0" * 64,
        "AWSAccessKeyId=ATDEMO",
        "Expires=1369353660",
        "Signature=x",
        "a=b",
    ]
)
QUERIES = st.lists(st.one_of(QUERY_PARTS, WIRE), max_size=10).map("&".join)
NAMES = st.sampled_from(
    [
        "Authorization",
        "Host",
        "Date",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-decoded-content-length",
        "x-amz-trailer",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-checksum-crc32",
        "X-Amz-Checksum-Type",
        "Content-Encoding",
        "X-Auth-User",
        "X-Auth-Key",
    ]
)
VALUES = st.one_of(
    WIRE,
    AUTHORIZATIONS,
    st.sampled_from(
        [
            "20130524T000000Z",
            "Fri, 24 May 2013 00:00:00 GMT",
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "UNSIGNED-PAYLOAD",
            "aws-chunked",
            "x-amz-checksum-crc32",
            "CRC32",
            "AAAAAA==",
            "5",
        ]
    ),
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(CIMultiDict)


def only_typed_errors(call: Callable[[], object]) -> None:
    with contextlib.suppress(AuthError):
        call()


@given(HEADERS, WIRE, QUERIES)
@settings(deadline=None, max_examples=500)
def test_admission(headers: CIMultiDict[str], path: str, query: str) -> None:
    view = RequestView("GET", "/" + path, query, headers, NOW_S)
    has_aws_authentication(headers, query)
    with contextlib.suppress(AuthError):
        assert S3Admission(USERS).admit(view) is None


@given(AUTHORIZATIONS)
@settings(deadline=None, max_examples=500)
def test_authorization_headers(text: str) -> None:
    headers = CIMultiDict(
        {
            "Authorization": text,
            "Host": "h",
            "x-amz-date": "20130524T000000Z",
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        }
    )
    with contextlib.suppress(AuthError):
        assert S3Admission(USERS).admit(RequestView("GET", "/", "", headers, NOW_S)) is None


@given(HEADERS, WIRE)
@settings(deadline=None, max_examples=300)
def test_headers(headers: CIMultiDict[str], text: str) -> None:
    only_typed_errors(lambda: parse_checksum_headers(headers))
    only_typed_errors(lambda: payload_mode(text))
    only_typed_errors(lambda: payload_mode_without_v4(headers))
    only_typed_errors(lambda: login_of(headers))
    only_typed_errors(lambda: parse_content_md5(text))
    stored_content_encoding(text)
    for mode in (UNSIGNED, payload_mode("STREAMING-UNSIGNED-PAYLOAD-TRAILER")):
        only_typed_errors(lambda mode=mode: body_decoder(mode, headers, None, None))  # type: ignore[misc]


@given(st.one_of(WIRE, st.from_regex(r"[0-9]{8}T[0-9]{6}Z", fullmatch=True)))
@example("20130230T000000Z")
@example("00000101T000000Z")
@example("09990101T000000Z")
@example("99991231T235960Z")
def test_dates(text: str) -> None:
    time_s = parse_amz_date(text)
    assert time_s is None or format_amz_date(time_s) == text


DIGITS = st.integers(0, 99).map("{:02}".format)


@given(
    st.one_of(
        WIRE,
        st.builds(
            "Fri, {} {} {:04} {}:{}:{} {}".format,
            DIGITS,
            st.sampled_from(["Jan", "feb", "Foo"]),
            st.integers(0, 9999),
            DIGITS,
            DIGITS,
            DIGITS,
            st.sampled_from(["GMT", "+0100", "-9999", "CET"]),
        ),
    )
)
def test_http_dates(text: str) -> None:
    parse_http_date(text)


ACL_PARTS = st.sampled_from([".r:", "*", "-", ".", ",", ":", "team", ".rlistings", " ", ".ref:", "a.b"])


@given(st.one_of(WIRE, st.lists(ACL_PARTS, max_size=12).map("".join)), st.one_of(st.none(), WIRE))
@settings(max_examples=500)
def test_acls(text: str, referer: str | None) -> None:
    for parse in (parse_read_acl, parse_write_acl):
        with contextlib.suppress(AuthError):
            acl = parse(text)
            assert parse(acl.text) == acl
            assert may_read(acl, None, referer) >= may_list(acl, None, referer)
            may_read(acl, USER, referer)


TOKENS = st.one_of(WIRE, st.binary(max_size=80).map(lambda raw: "AUTH_tk" + raw.hex()))


@given(TOKENS)
def test_tokens(text: str) -> None:
    only_typed_errors(lambda: TempAuth(USERS, b"s" * 32).verify(text, NOW_S))
    only_typed_errors(lambda: TempAuth(USERS, b"s" * 32).log_in(text, text, NOW_S))


@given(st.text(max_size=80))
def test_user_files(text: str) -> None:
    with contextlib.suppress(UserFileInvalid):
        parse_users(text, "file")


PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


@given(PRINTABLE, PRINTABLE, st.booleans())
@settings(max_examples=300)
def test_user_file_round_trip(access_key: str, secret_key: str, admin: bool) -> None:
    user = User("u", "AUTH_u", access_key or "A", secret_key, "u:u", admin)
    try:
        check_user(user)
    except InvalidUser:
        return
    assert parse_users(format_users([user]), "file").by_name == {"u": user}


@given(st.sampled_from(ChecksumAlgorithm), st.lists(st.binary(max_size=50), max_size=5))
def test_checksums_do_not_mind_the_pieces(algorithm: ChecksumAlgorithm, pieces: list[bytes]) -> None:
    whole, parts = algorithm.new(), algorithm.new()
    whole.update(b"".join(pieces))
    for piece in pieces:
        parts.update(piece)
    assert whole.digest() == parts.digest()

"""Targets, queries, hosts and names: read bit by bit, or refused."""

import pytest

from proxy.s3.errors import S3Error
from proxy.s3.names import is_bucket_name, parse_copy_source
from proxy.s3.request import (
    bucket_of_host,
    decoded_path,
    parse_number,
    parse_part_number,
    read_query,
    sub_resource,
)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/b/a%2Fb", "/b/a/b"),
        ("/b//x/../y", "/b//x/../y"),
        ("/b/a+b%20c", "/b/a+b c"),
        ("/b/%C3%BC", "/b/\u00fc"),
        ("/b/%252F", "/b/%2F"),
        ("/b/\udcc3\udcbc", "/b/\u00fc"),
        ("/b/%F0%9F%98%80%0A", "/b/\U0001f600\n"),
    ],
)
def test_paths_are_decoded_once(raw: str, path: str) -> None:
    assert decoded_path(raw) == path


@pytest.mark.parametrize(
    "raw", ["/b/%", "/b/%1", "/b/%zz", "/b/%00", "/b/%FF", "/b/%ED%A0%80", "/b/\udcff"]
)
def test_what_is_no_text_is_no_path(raw: str) -> None:
    with pytest.raises(S3Error) as caught:
        decoded_path(raw)
    assert caught.value.code == "InvalidURI"


def test_queries_are_decoded_and_the_first_of_a_name_counts() -> None:
    query = read_query("prefix=a%2Fb+c&uploads&x=%C3%BC&prefix=no&&empty=")
    assert query == {"prefix": "a/b c", "uploads": "", "x": "\u00fc", "empty": ""}


@pytest.mark.parametrize("raw", ["prefix=%FF", "%00=1", "&".join(f"a{n}=1" for n in range(300))])
def test_bad_queries_are_invalid(raw: str) -> None:
    with pytest.raises(S3Error) as caught:
        read_query(raw)
    assert caught.value.code == "InvalidArgument"


def test_one_sub_resource_at_a_time() -> None:
    assert sub_resource({"prefix": "", "x-id": "ListParts"}) == ""
    assert sub_resource({"partNumber": "1", "uploadId": "u"}) == "uploadId"
    with pytest.raises(S3Error) as caught:
        sub_resource({"acl": "", "policy": ""})
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("b.s3.local", "b"),
        ("a.b.s3.local:8080", "a.b"),
        ("B.S3.LOCAL", "b"),
        ("s3.local", None),
        (".s3.local", None),
        ("127.0.0.1:8080", None),
        ("[::1]:8080", None),
        ("[::1]", None),
        ("other", None),
        ("", None),
    ],
)
def test_virtual_hosts(host: str, bucket: str | None) -> None:
    assert bucket_of_host(host, ("s3.local",)) == bucket


@pytest.mark.parametrize("name", ["abc", "a.b-c", "0ab", "a" * 63, "my.bucket.name"])
def test_bucket_names(name: str) -> None:
    assert is_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "ab", "a" * 64, "Abc", "a_b", "-abc", "abc-", "a..b", ".abc", "abc.", "192.168.5.4", "a b"],
)
def test_bad_bucket_names(name: str) -> None:
    assert not is_bucket_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/b/k", ("b", "k")),
        ("b/k/with%20space+plus%2B", ("b", "k/with space plus+")),
        ("b//k", ("b", "/k")),
        ("b/k?versionId=null", ("b", "k")),
        ("b/%C3%BC%3FversionId=1", ("b", "\u00fc?versionId=1")),
    ],
)
def test_copy_sources(text: str, expected: tuple[str, str]) -> None:
    assert parse_copy_source(text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "InvalidArgument"),
        ("/", "InvalidArgument"),
        ("b", "InvalidArgument"),
        ("b/", "InvalidArgument"),
        ("b/%FF", "InvalidArgument"),
        ("b/k?versionId=abc", "NotImplemented"),
    ],
)
def test_bad_copy_sources(text: str, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_copy_source(text)
    assert caught.value.code == code


def test_numbers_are_within_bounds() -> None:
    assert parse_number("n", None, 7, 0, 9) == 7
    assert parse_number("n", "9", 7, 0, 9) == 9
    for text in ("-1", "10", "x", "1.0", "\u0663", " 1", "9" * 5000):
        with pytest.raises(S3Error):
            parse_number("n", text, 7, 0, 9)


def test_part_numbers() -> None:
    assert [parse_part_number(text) for text in ("1", "10000", "007")] == [1, 10000, 7]
    for text in ("0", "10001", "", "-1", "one", "\u0661"):
        with pytest.raises(S3Error) as caught:
            parse_part_number(text)
        assert caught.value.code == "InvalidArgument"

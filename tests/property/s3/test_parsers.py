"""Parsers of untrusted text: what is written is read back, all else is S3's own error."""

import contextlib
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.auth.errors import UnknownChecksum
from proxy.core.errors import PreconditionFailed, RangeNotSatisfiable
from proxy.core.types import ObjectHead
from proxy.s3 import conditions, multipart, xml
from proxy.s3.bucket import policy_of
from proxy.s3.errors import S3Error
from proxy.s3.headers import read_meta
from proxy.s3.list import read_token, written_token
from proxy.s3.names import is_bucket_name, parse_copy_source
from proxy.s3.request import (
    bucket_of_host,
    decoded_path,
    parse_part_number,
    read_query,
)

KEYS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1)
XML_KEYS = st.text(
    st.characters(
        blacklist_categories=["Cs"],
        blacklist_characters="".join(map(chr, {*range(32)} - {9, 10, 13})) + "\ufffe\uffff",
    )
)
WIRE = st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
HEAD = ObjectHead("e", 100, 10**18, "")


@given(KEYS)
def test_encoded_keys_come_back(key: str) -> None:
    assert decoded_path("/b/" + quote(key)) == "/b/" + key
    assert decoded_path("/b/" + quote(key, safe="")) == "/b/" + key
    if len(key.encode()) <= 1024:
        assert parse_copy_source("b/" + quote(key)) == ("b", key)


@given(st.dictionaries(KEYS, KEYS, max_size=8))
def test_encoded_queries_come_back(query: dict[str, str]) -> None:
    raw = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
    assert read_query(raw) == query


@given(WIRE)
def test_targets_are_read_or_refused(text: str) -> None:
    for parse in (decoded_path, read_query, parse_copy_source, parse_part_number, read_token):
        with contextlib.suppress(S3Error):
            parse(text)
    bucket_of_host(text, ("s3.test",))
    is_bucket_name(text)


@given(KEYS)
def test_tokens_come_back(marker: str) -> None:
    assert read_token(written_token(marker)) == marker


@given(XML_KEYS)
def test_escaped_text_is_read_back(text: str) -> None:
    document = f"<a>{xml.escape(text)}</a>".encode()
    assert (ElementTree.fromstring(document).text or "") == text  # noqa: S314
    assert xml.parse(document, "a").text == text


@given(st.text())
def test_shown_text_is_well_formed(text: str) -> None:
    document = f"<a>{xml.shown(text)}</a>".encode()
    assert ElementTree.fromstring(document).tag == "a"  # noqa: S314


@given(KEYS)
def test_url_encoded_names_come_back_and_need_no_escape(key: str) -> None:
    encoded = xml.url_encoded(key)
    assert unquote(encoded, errors="strict") == key
    assert xml.escape(encoded) == encoded


FRAGMENTS = st.sampled_from(
    [
        b"<CompleteMultipartUpload>",
        b"</CompleteMultipartUpload>",
        b"<Part>",
        b"</Part>",
        b"<PartNumber>1</PartNumber>",
        b"<ETag>&quot;0&quot;</ETag>",
        b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32>",
        b"<ChecksumX/>",
        b"<!DOCTYPE a>",
        b"<!ENTITY b 'c'>",
        b"&b;",
        b"<?xml version='1.0'?>",
        b"<![CDATA[x]]>",
        b"\xff",
    ]
)
DOCUMENTS = st.one_of(st.binary(), st.lists(FRAGMENTS, max_size=12).map(b"".join))


@given(DOCUMENTS)
def test_documents_are_read_or_refused(data: bytes) -> None:
    for parse in (multipart.parse_parts, policy_of):
        with contextlib.suppress(S3Error, UnknownChecksum):
            parse(data)


@given(st.text(), st.integers(min_value=0, max_value=200))
def test_ranges_lie_within_the_object(text: str, size: int) -> None:
    for value in (text, f"bytes={text}"):
        with contextlib.suppress(S3Error, RangeNotSatisfiable):
            span = conditions.parse_copy_range(value, size)
            assert 0 <= span.offset < span.offset + span.length <= size


@given(st.dictionaries(st.sampled_from(["If-Match", "If-None-Match", "If-Modified-Since"]), st.text()))
def test_conditions_are_read_or_refused(headers: dict[str, str]) -> None:
    found = CIMultiDict(headers)
    with contextlib.suppress(S3Error):
        conditions.write_conditions(found)
    amz = {f"x-amz-copy-source-{name.lower()}": value for name, value in headers.items()}
    with contextlib.suppress(PreconditionFailed):
        conditions.check_source(conditions.source_conditions(amz), HEAD)


@given(st.dictionaries(st.text(), WIRE))
def test_metadata_are_kept_or_refused(values: dict[str, str]) -> None:
    with contextlib.suppress(S3Error):
        meta = read_meta({f"x-amz-meta-{name}": value for name, value in values.items()})
        assert sum(len(name.encode()) + len(value.encode()) for name, value in meta.items()) <= 2048

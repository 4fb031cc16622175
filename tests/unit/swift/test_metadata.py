"""Metadata in headers and its limits."""

import pytest
from multidict import CIMultiDict

from proxy.core.types import ObjectHead
from proxy.swift import metadata
from proxy.swift.errors import SwiftError
from proxy.swift.metadata import (
    content_type_of,
    delete_at,
    manifest_prefix,
    merged,
    metadata_changes,
    object_attributes,
    refuse_absent_features,
    stored_headers,
    user_metadata,
)

NOW_S = 1_700_000_000


def refused(status: int, text: str = "") -> pytest.RaisesExc[SwiftError]:
    return pytest.raises(SwiftError, match=text, check=lambda error: error.status == status)


def test_names_lose_prefix_and_case() -> None:
    headers = {"X-Object-Meta-Color": "blue", "x-object-meta-ü": "ä", "X-Container-Meta-No": "1"}
    assert user_metadata(headers, "object") == {"color": "blue", "ü": "ä"}


def test_an_object_keeps_blank_values() -> None:
    assert user_metadata({"X-Object-Meta-Blank": ""}, "object") == {"blank": ""}


def test_removal_wins_over_setting() -> None:
    headers = {"X-Container-Meta-A": "1", "X-Remove-Container-Meta-A": "x", "X-Container-Meta-B": ""}
    assert metadata_changes(headers, "container") == {"a": "", "b": ""}


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"X-Object-Meta-": "x"}, "Metadata name cannot be empty"),
        ({"X-Object-Meta-" + "n" * 129: "x"}, "Metadata name too long: X-Object-Meta-nn"),
        ({"X-Object-Meta-A": "v" * 257}, "Metadata value longer than 256: X-Object-Meta-A"),
        ({"X-Object-Meta-A": "ü" * 129}, "Metadata value longer than 256"),
        ({f"X-Object-Meta-{n}": "v" for n in range(91)}, "Too many metadata items; max 90"),
        ({f"X-Object-Meta-{n}": "v" * 200 for n in range(21)}, "Total metadata too large; max 4096"),
        ({"X-Object-Meta-A": "\udcff"}, "Metadata must be valid UTF-8"),
        ({"X-Object-Meta-\udcff": "x"}, "Metadata must be valid UTF-8"),
        ({"X-Whatever": "v" * 8193}, "Header value too long: X-Whatever"),
    ],
)
def test_limits(headers: dict[str, str], text: str) -> None:
    with refused(400, text):
        user_metadata(headers, "object")


def test_limits_are_inclusive() -> None:
    user_metadata({"X-Object-Meta-" + "n" * 128: "v" * 256}, "object")
    assert len(user_metadata({f"X-Object-Meta-{n}": "v" for n in range(90)}, "object")) == 90


def test_merging_counts_what_is_there() -> None:
    current = {str(n): "v" for n in range(90)}
    assert len(merged(current, {"0": "", "new": "v"})) == 90
    with refused(400, "Too many"):
        merged(current, {"new": "v"})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 0),
        ({"X-Delete-At": str(NOW_S + 5)}, NOW_S + 5),
        ({"X-Delete-After": "60"}, NOW_S + 60),
        ({"X-Delete-After": "60", "X-Delete-At": "1"}, NOW_S + 60),
    ],
)
def test_expiry(headers: dict[str, str], expected: int) -> None:
    assert delete_at(headers, NOW_S) == expected


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"X-Delete-At": "soon"}, "Non-integer X-Delete-At"),
        ({"X-Delete-At": "١٢"}, "Non-integer X-Delete-At"),
        ({"X-Delete-At": str(NOW_S)}, "X-Delete-At in past"),
        ({"X-Delete-After": "-1"}, "X-Delete-After in past"),
        ({"X-Delete-After": "1.5"}, "Non-integer X-Delete-After"),
        ({"X-Delete-At": "10000000000"}, "too far"),
        ({"X-Delete-At": "9" * 5000}, "Non-integer"),
    ],
)
def test_bad_expiry(headers: dict[str, str], text: str) -> None:
    with refused(400, text):
        delete_at(headers, NOW_S)


@pytest.mark.parametrize(
    ("headers", "name", "expected"),
    [
        ({"Content-Type": "x/y"}, "a.txt", "x/y"),
        ({}, "a.txt", "text/plain"),
        ({}, "dir.txt/none", "application/octet-stream"),
        ({"Content-Type": ""}, "a.tar.gz", "application/x-tar"),
        ({"Content-Type": "x/y", "X-Detect-Content-Type": "true"}, "p.png", "image/png"),
        ({}, "data:text/html,x", "application/octet-stream"),
    ],
)
def test_content_types(headers: dict[str, str], name: str, expected: str) -> None:
    assert content_type_of(headers, name) == expected


@pytest.mark.parametrize("value", ["c", "c/", "/p", "/c/p", "c//p", "c/p?x", "c/p&x", "c/%ff", "c/%00"])
def test_bad_manifest_headers(value: str) -> None:
    with refused(400, "container/prefix"):
        manifest_prefix({"X-Object-Manifest": value})


def test_a_dynamic_manifest_is_kept_decoded_and_shown_encoded() -> None:
    headers = CIMultiDict({"x-object-manifest": "c%20x/p%C3%BC/", "Content-Encoding": "gzip"})
    attributes = object_attributes(headers, "o", NOW_S)
    assert attributes.kind == "dlo"
    assert attributes.headers == {"x-object-manifest": "c x/pü/", "content-encoding": "gzip"}
    head = ObjectHead("e", 0, 0, "t", headers=attributes.headers, kind="dlo", delete_at_s=9)
    assert stored_headers(head) == {
        "Content-Encoding": "gzip",
        "X-Object-Manifest": "c%20x/p%C3%BC/",
        "X-Delete-At": "9",
    }


@pytest.mark.parametrize("name", metadata.ABSENT_FEATURES)
def test_absent_features_are_not_ignored(name: str) -> None:
    with refused(501, "not implemented"):
        refuse_absent_features({name: "x"}, {})


@pytest.mark.parametrize("name", metadata.ABSENT_PARAMETERS)
def test_absent_parameters_are_not_ignored(name: str) -> None:
    with refused(501, "not implemented"):
        refuse_absent_features({}, {name: ""})

"""Conditions and ranges as S3 reads them."""

import pytest
from multidict import CIMultiDict

from proxy.core.errors import PreconditionFailed, RangeNotSatisfiable
from proxy.core.types import NO_CONDITIONS, Conditions, ObjectHead
from proxy.s3 import conditions
from proxy.s3.errors import S3Error

HEAD = ObjectHead("abc", 100, 1_000_000_000_500_000_000, "text/plain")
AT = "Sun, 09 Sep 2001 01:46:40 GMT"
BEFORE = "Sun, 09 Sep 2001 01:46:39 GMT"


def headers(**values: str) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize(
    ("given", "modified"),
    [
        ({}, True),
        ({"If_Match": '"abc"'}, True),
        ({"If_Match": "*"}, True),
        ({"If_None_Match": '"abc"'}, False),
        ({"If_None_Match": "abc"}, False),
        ({"If_None_Match": '"x", "y"'}, True),
        ({"If_Modified_Since": AT}, False),
        ({"If_Modified_Since": BEFORE}, True),
        ({"If_Unmodified_Since": AT}, True),
        ({"If_Match": '"abc"', "If_Unmodified_Since": BEFORE}, True),
        ({"If_None_Match": '"x"', "If_Modified_Since": AT}, True),
        ({"If_Modified_Since": "yesterday"}, True),
    ],
    ids=str,
)
def test_precedence(given: dict[str, str], modified: bool) -> None:
    assert conditions.is_modified(headers(**given), HEAD) is modified


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"If_Match": '"x"'}, "If-Match"),
        ({"If_Match": '"x"', "If_None_Match": '"abc"'}, "If-Match"),
        ({"If_Unmodified_Since": BEFORE}, "If-Unmodified-Since"),
    ],
    ids=str,
)
def test_failures_name_their_condition(given: dict[str, str], name: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        conditions.is_modified(headers(**given), HEAD)
    assert caught.value.condition == name


def test_a_source_that_is_not_modified_fails() -> None:
    wanted = conditions.source_conditions({"x-amz-copy-source-if-none-match": '"abc"'})
    with pytest.raises(PreconditionFailed):
        conditions.check_source(wanted, HEAD)
    conditions.check_source(conditions.source_conditions({"x-amz-copy-source-if-match": "abc"}), HEAD)
    assert conditions.source_conditions({}) is NO_CONDITIONS


def test_conditions_of_writes() -> None:
    assert conditions.write_conditions(headers()) is NO_CONDITIONS
    assert conditions.write_conditions(headers(If_None_Match="*")) == Conditions(if_none_match=("*",))
    assert conditions.write_conditions(headers(If_Match='"e"')) == Conditions(if_match=("e",))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"If_None_Match": '"e"'}, "NotImplemented"),
        ({"If_Match": '"e", "f"'}, "NotImplemented"),
        ({"If_Match": ""}, "NotImplemented"),
        ({"If_Match": '"e"', "If_None_Match": "*"}, "InvalidRequest"),
    ],
    ids=str,
)
def test_other_conditions_of_writes_are_refused(given: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        conditions.write_conditions(headers(**given))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-", (10, 90)),
        ("bytes=-5", (95, 5)),
        ("bytes=90-1000", (90, 10)),
        ("bytes=-1000", (0, 100)),
        ("bytes=0-1,5-6", None),
        ("bytes=5-1", None),
        ("items=0-1", None),
        ("nonsense", None),
        ("bytes=-", None),
    ],
)
def test_ranges(text: str, span: tuple[int, int] | None) -> None:
    assert conditions.wanted_range(headers(Range=text), HEAD) == span


@pytest.mark.parametrize("text", ["bytes=100-", "bytes=1000-2000", "bytes=-0"])
def test_ranges_beyond_the_end(text: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        conditions.wanted_range(headers(Range=text), HEAD)


def test_if_range_decides_whether_the_range_counts() -> None:
    assert conditions.wanted_range(headers(Range="bytes=0-0", If_Range='"abc"'), HEAD) == (0, 1)
    assert conditions.wanted_range(headers(Range="bytes=0-0", If_Range='"old"'), HEAD) is None
    assert conditions.wanted_range(headers(Range="bytes=0-0", If_Range=AT), HEAD) == (0, 1)
    assert conditions.wanted_range(headers(Range="bytes=0-0", If_Range=BEFORE), HEAD) is None


def test_copy_ranges_are_exact() -> None:
    assert conditions.parse_copy_range("bytes=0-99", 100) == (0, 100)
    with pytest.raises(RangeNotSatisfiable):
        conditions.parse_copy_range("bytes=0-100", 100)
    for text in ("bytes=5-", "bytes=-5", "bytes=5-1", "0-5", "bytes=0-1,3-4"):
        with pytest.raises(S3Error):
            conditions.parse_copy_range(text, 100)

"""Continuation tokens: ours, or refused."""

import base64

import pytest

from proxy.s3.errors import S3Error
from proxy.s3.list import read_token, written_token


def test_tokens() -> None:
    assert read_token("") == ""
    assert read_token(written_token("a/\u00fc")) == "a/\u00fc"


@pytest.mark.parametrize(
    "raw", [b"2other", b"", b"1\xff", b"1a\x00"], ids=["version", "empty", "bytes", "nul"]
)
def test_tokens_that_are_not_ours(raw: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        read_token(base64.urlsafe_b64encode(raw).decode() or "=")
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize("token", ["made-up", "\u00fc", "MQ", "a b"])
def test_tokens_that_are_no_base64(token: str) -> None:
    with pytest.raises(S3Error):
        read_token(token)

"""Names of blob files: what is taken for one and what is not."""

import pytest

from storage.device.blob_paths import BlobPaths, file_name, parse_file_name
from storage.types import BlobName

NAME = BlobName(bytes(range(16)), 12)


def test_a_name_comes_back() -> None:
    assert file_name(NAME) == "000102030405060708090a0b0c0d0e0f.12"
    assert parse_file_name(file_name(NAME)) == NAME


@pytest.mark.parametrize(
    "text",
    [
        "",
        "000102030405060708090a0b0c0d0e0f",
        "000102030405060708090a0b0c0d0e0f.",
        "000102030405060708090A0B0C0D0E0F.1",
        "000102030405060708090a0b0c0d0e0f.01",
        "000102030405060708090a0b0c0d0e0f.65536",
        "000102030405060708090a0b0c0d0e0f.-1",
        "000102030405060708090a0b0c0d0e0f.1\n",
        "../102030405060708090a0b0c0d0e0f.1",
        "000102030405060708090a0b0c0d0e0f.1٣",
    ],
)
def test_nothing_else_is_a_name(text: str) -> None:
    with pytest.raises(ValueError, match="not the name of a blob file"):
        parse_file_name(text)


def test_every_file_has_its_place() -> None:
    paths = BlobPaths("/d")
    assert paths.blob(NAME) == "/d/blobs/00/000102030405060708090a0b0c0d0e0f.12"
    assert paths.staged(NAME) == "/d/staging/000102030405060708090a0b0c0d0e0f.12"
    assert paths.set_aside(NAME, 5) == "/d/quarantine/000102030405060708090a0b0c0d0e0f.12.5"

"""Rows that an earlier version wrote are read, and an earlier version reads ours (rows.md)."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.format.rows.golden import STORED, encoded

GOLDEN: dict[str, str] = json.loads((Path(__file__).parent / "v1.json").read_text())
NAMES = sorted(STORED)


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_bytes_are_read(name: str) -> None:
    wanted = STORED[name]
    assert msgspec.msgpack.decode(bytes.fromhex(GOLDEN[name]), type=type(wanted)) == wanted


def test_what_is_written_begins_as_the_golden_bytes_do() -> None:
    """Fields are only added at the end: the first ones are those of the golden file."""
    for name, text in encoded().items():
        old: list[Any] = msgspec.msgpack.decode(bytes.fromhex(GOLDEN[name]))
        new: list[Any] = msgspec.msgpack.decode(bytes.fromhex(text))
        assert new[: len(old)] == old


@pytest.mark.parametrize("name", NAMES)
def test_fields_behind_those_known_are_ignored(name: str) -> None:
    fields = [*msgspec.msgpack.decode(bytes.fromhex(encoded()[name])), "of a later version"]
    wanted = STORED[name]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=type(wanted)) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_missing_last_fields_have_their_defaults(name: str) -> None:
    kind = type(STORED[name])
    required = [field for field in msgspec.structs.fields(kind) if field.required]
    fields = msgspec.msgpack.decode(bytes.fromhex(GOLDEN[name]))[: len(required)]
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=kind)
    given = {field.name: getattr(STORED[name], field.name) for field in required}
    assert read == kind(**given)

"""doc/formats/rows.md held against the program, and the links of all documents."""

import re
from pathlib import Path

import msgspec
import pytest

from proxy.core import shards, types
from storage import types as storage_types

ROOT = Path(__file__).parents[3]
ROWS = (ROOT / "doc" / "formats" / "rows.md").read_text()
STORED = [
    types.ContainerHead,
    types.Reshard,
    types.Repolicy,
    types.SealHead,
    types.BucketHead,
    types.ObjectHead,
    types.UploadHead,
    types.PartHead,
    types.ObjectAttributes,
    types.Manifest,
    types.Part,
    types.Blob,
    types.Reference,
]


@pytest.mark.parametrize("struct", STORED, ids=lambda struct: struct.__name__)
def test_the_fields_of_stored_structs_are_documented_in_order(struct: type[msgspec.Struct]) -> None:
    name = rf"^\*\*{struct.__name__}\*\*(?: \([^)]*\))?:"
    match = re.search(rf"{name}(.*?)\n\n", ROWS, re.MULTILINE | re.DOTALL)
    assert match
    listed = re.sub(r"\([^)]*\)", "", match[1])
    assert re.findall(r"`([a-z0-9_]+)`", listed) == list(struct.__struct_fields__)


def test_the_tables_of_shards_are_documented() -> None:
    rows = re.findall(r"^\| [a-z ]+ \| `([a-z])` \+ .+? \| (\d+) \|", ROWS, re.MULTILINE)
    container = bytes(16)
    keys = [
        shards.account_shard("x"),
        shards.containers_shard("x"),
        shards.bucket_name_shard(b"x"),
        shards.Layout(container, 0, 4).shard_of(b"x"),
        shards.uploads_shard(container),
        shards.parts_shard("x"),
    ]
    assert rows == [(key[:1].decode(), str(len(key))) for key in keys]


def test_the_flags_are_documented() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", ROWS, re.MULTILINE)
    flags = {name: value for name, value in vars(storage_types.RowFlag).items() if name.isupper()}
    del flags["NONE"]
    assert rows == [(str(value), name) for name, value in flags.items()]


def test_the_limits_are_documented() -> None:
    limits = ROWS.partition("## Limits")[2]
    for number in (
        storage_types.INLINE_MAX_BYTES,
        storage_types.HEAD_MAX_BYTES,
        types.META_MAX_BYTES,
        types.OBJECT_NAME_MAX_BYTES,
        storage_types.NAME_MAX_BYTES,
        types.PART_NUMBER_MAX,
    ):
        assert f"{number:,}" in limits
    assert f"{types.CONTAINER_NAME_MAX_BYTES} bytes" in limits


@pytest.mark.parametrize(
    "document",
    sorted([*ROOT.glob("*.md"), *ROOT.glob("doc/**/*.md")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


def test_the_files_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`((?:runtime|ring|storage|proxy|tools|tests)/[A-Za-z0-9_/.]*)`", text)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []

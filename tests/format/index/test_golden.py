"""Index tables of every format version, kept for ever: all are read, and the newest is written, as they
were.

`vN.json` has the tables as hexadecimal keys and values; `vN.mdb` is an LMDB file with the same.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from storage.device.index import open_lmdb
from storage.device.index_contract import Table
from tests.crash.device_rig import DeviceRig
from tests.format.journal.story import (
    INDEX,
    SEGMENT,
    digests_are_right,
    recall,
    recall_more,
    told,
    with_files,
)

HERE = Path(__file__).parent / "golden"
JOURNAL = Path(__file__).parent.parent / "journal" / "golden"

Tables = dict[str, dict[str, str]]


def golden(version: int) -> Tables:
    """A golden file's tables; those that came later are empty."""
    tables: Tables = json.loads((HERE / f"v{version}.json").read_text())
    return {table.name.lower(): {} for table in Table} | tables


def as_json(tables: dict[Table, dict[bytes, bytes]]) -> Tables:
    """Tables as text."""
    return {
        table.name.lower(): {key.hex(): value.hex() for key, value in sorted(rows.items())}
        for table, rows in tables.items()
    }


def from_json(text: Tables) -> dict[Table, dict[bytes, bytes]]:
    """The inverse of `as_json`."""
    return {
        Table[name.upper()]: {bytes.fromhex(k): bytes.fromhex(v) for k, v in rows.items()}
        for name, rows in text.items()
    }


async def open_with(index: dict[str, Any], segment: str) -> DeviceRig:
    """A device with a golden journal and this index."""
    rig = await told()
    rig.crash()
    disk = with_files(rig.disk.image(), {SEGMENT: (JOURNAL / segment).read_bytes()}, index)
    return await DeviceRig.open(disk, rig.clock)


async def test_version_2_is_written_as_it_was() -> None:
    rig = await told(more=True)
    await rig.device.checkpoint()
    assert as_json(rig.disk.image().index[INDEX]) == golden(2)


async def test_version_2_is_read_as_it_was() -> None:
    rig = await open_with({INDEX: from_json(golden(2))}, "v1-erased.seg")
    assert rig.device.status().replayed_rows == 0
    assert rig.device.status().notes == ()
    await recall_more(rig)


async def test_version_1_is_brought_to_version_2() -> None:
    """Without a replay, and with the digests that it did not know."""
    rig = await open_with({INDEX: from_json(json.loads((HERE / "v1.json").read_text()))}, "v1.seg")
    assert rig.device.status().replayed_rows == 0
    assert rig.device.status().notes == ()
    await recall(rig)
    await digests_are_right(rig)
    plain = await told()
    await plain.device.checkpoint()
    assert rig.disk.image().index[INDEX] == plain.disk.image().index[INDEX]


@pytest.mark.parametrize("version", [1, 2])
async def test_an_lmdb_file_has_the_same(tmp_path: Path, version: int) -> None:
    shutil.copy(HERE / f"v{version}.mdb", tmp_path / "data.mdb")
    index = open_lmdb(str(tmp_path))
    found = {table: dict(index.scan(table, b"", b"")) for table in Table}
    index.close()
    assert as_json(found) == golden(version)

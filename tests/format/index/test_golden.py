"""Index tables of every format version, kept for ever: they are read and written as they were.

`v1.json` has the tables as hexadecimal keys and values; `v1.mdb` is an LMDB file with the same.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from storage.device.index import open_lmdb
from storage.device.index_contract import Table
from tests.crash.device_rig import DeviceRig
from tests.format.journal.story import INDEX, SEGMENT, recall, told, with_files

HERE = Path(__file__).parent / "golden"
JOURNAL = Path(__file__).parent.parent / "journal" / "golden" / "v1.seg"


def as_json(tables: dict[Table, dict[bytes, bytes]]) -> dict[str, dict[str, str]]:
    """Tables as text."""
    return {
        table.name.lower(): {key.hex(): value.hex() for key, value in sorted(rows.items())}
        for table, rows in tables.items()
    }


def from_json(text: dict[str, dict[str, str]]) -> dict[Table, dict[bytes, bytes]]:
    """The inverse of `as_json`."""
    return {
        Table[name.upper()]: {bytes.fromhex(k): bytes.fromhex(v) for k, v in rows.items()}
        for name, rows in text.items()
    }


async def told_and_indexed() -> DeviceRig:
    """A device whose index has the whole story."""
    rig = await told()
    await rig.device.checkpoint()
    return rig


async def open_with(index: dict[str, Any]) -> DeviceRig:
    """A device with the golden journal and this index."""
    rig = await told()
    rig.crash()
    disk = with_files(rig.disk.image(), {SEGMENT: JOURNAL.read_bytes()}, index)
    return await DeviceRig.open(disk, rig.clock)


async def test_version_1_is_written_as_it_was() -> None:
    rig = await told_and_indexed()
    golden = json.loads((HERE / "v1.json").read_text())
    assert as_json(rig.disk.image().index[INDEX]) == golden


async def test_version_1_is_read_as_it_was() -> None:
    tables = from_json(json.loads((HERE / "v1.json").read_text()))
    rig = await open_with({INDEX: tables})
    assert rig.device.status().replayed_rows == 0
    assert rig.device.status().notes == ()
    await recall(rig)


async def test_an_lmdb_file_of_version_1_has_the_same(tmp_path: Path) -> None:
    shutil.copy(HERE / "v1.mdb", tmp_path / "data.mdb")
    index = open_lmdb(str(tmp_path))
    found = {table: dict(index.scan(table, b"", b"")) for table in Table}
    index.close()
    assert as_json(found) == json.loads((HERE / "v1.json").read_text())

"""Every version of the ring and draft files that was ever written is read as it was meant."""

import struct
from pathlib import Path

import numpy as np
import pytest

from ring.draft import decode_draft, encode_draft
from ring.file import decode, encode
from ring.lookup import Ring
from ring.types import Step
from tests.format.ring import golden

HERE = Path(__file__).parent


def same_step(found: Step, meant: Step) -> bool:
    columns = ("partitions", "replicas", "sources")
    return (found.epoch, found.at_s) == (meant.epoch, meant.at_s) and all(
        getattr(found, name).tolist() == getattr(meant, name).tolist() for name in columns
    )


@pytest.mark.parametrize(
    ("name", "meant", "width"),
    [
        ("ring-v1.bin", golden.ring(), 2),
        ("ring-v1-wide.bin", golden.ring(next_device_id=65_537), 4),
    ],
)
def test_a_ring_file_says_what_it_was_written_for(name: str, meant: Ring, width: int) -> None:
    data = (HERE / name).read_bytes()
    found = decode(data)
    for field in (
        "epoch",
        "cluster_id",
        "salt",
        "part_power",
        "min_part_hours",
        "overload",
        "next_device_id",
        "members",
        "placements",
    ):
        assert getattr(found, field) == getattr(meant, field), field
    assert list(found.tables) == list(meant.tables)
    for placement, table in meant.tables.items():
        assert found.tables[placement].tolist() == table.tolist()
        assert found.tables[placement].dtype == np.dtype(f"<u{width}")
        steps = found.steps[placement]
        assert len(steps) == len(meant.steps[placement])
        assert all(map(same_step, steps, meant.steps[placement]))
    assert encode(found) == data


def test_the_bytes_are_where_the_table_in_the_manual_says() -> None:
    data = (HERE / "ring-v1.bin").read_bytes()
    assert data[:8] == b"ATOLRING"
    assert struct.unpack_from("<HBBI", data, 8) == (1, 2, 2, 4)
    assert struct.unpack_from("<QQ", data, 16) == (len(data), 7)
    assert data[32:48].hex() == "00112233445566778899aabbccddeeff"
    assert struct.unpack_from("<QIId", data, 48) == (0x0123456789ABCDEF, 5, 24, 0.25)
    assert struct.unpack_from("<IB3x16sd", data, 72) == (0, 0, bytes(range(16)), 4.0)
    assert data[104:108] == b"\x02\x00eu"
    assert data[108:117] == b"\x07\x00z\xc3\xbcri-1"
    rows = struct.pack("<8H", 0, 1, 3, 4, 1, 0, 0, 3)
    assert data.index(rows) % 64 == 0


def test_names_stay_on_their_partitions() -> None:
    """A changed hash would lose every object: these numbers are for ever."""
    ring = golden.fine_ring()
    for name, partition in golden.PARTITIONS_OF_NAMES.items():
        assert ring.partition(name) == partition


def test_a_draft_file_says_what_it_was_written_for() -> None:
    data = (HERE / "draft-v1.json").read_bytes()
    assert decode_draft(data) == golden.DRAFT
    assert encode_draft(golden.DRAFT) == data

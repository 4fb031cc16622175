"""`atoll bench rebuild` rebuilds all that was lost and says how fast."""

from pathlib import Path

import pytest

from tools.bench import rebuild


async def test_it_measures_a_small_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("OBJECT_BYTES", 2**20),
        ("DISK_BYTES", 2**23),
        ("CALM_S", 0.2),
        ("QUIET_S", 0),
    ):
        monkeypatch.setattr(rebuild, name, value)
    figures = await rebuild._bench(str(tmp_path), 4)
    held = [entry for entry in figures if entry.startswith(("rebuild", "put_4k", "disk"))]
    assert len(held) >= 10
    assert figures["rebuilt_blobs"] > 0
    assert all(figure > 0 for figure in figures.values())
    assert not (tmp_path / "sequential").exists()

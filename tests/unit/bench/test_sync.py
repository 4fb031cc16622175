"""`atoll bench sync` at a small size: it gives what differs, and then finds nothing."""

import json

import pytest

from tools.bench import sync as bench


def test_the_report_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(["--rows", "3000", "--shards", "4", "--differing", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["differing"]) == (3000, 5)
    assert {"filled_s", "sync_s", "sync_cpu_s", "alike_s", "alike_cpu_s"} < found.keys()


def test_the_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(["--rows", "400", "--shards", "2", "--differing", "1"]) == 0
    assert "sync_s" in capsys.readouterr().out

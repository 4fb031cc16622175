"""A short run on a store that the benchmark starts itself: its rows are right, and nothing stays."""

import argparse
import json
import os
from pathlib import Path

from tools.bench import add_parser

ROWS = "start,memory-idle,put-4k,get-4k,get-64m-degraded,restart"


def _processes_of(data: Path) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if str(data).encode() in command:
                found.append(entry)
    return found


def test_a_quick_run_on_a_store_of_its_own(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    data, output = tmp_path / "work", tmp_path / "out"
    words = ["--data", str(data), "--output", str(output), "--only", ROWS, "--rows", "500"]
    args = parser.parse_args(["bench", "s3", "--quick", "--seconds", "0.5", *words])
    status = args.func(args)
    stored = json.loads((output / "results-partial.json").read_text())
    wrong = [row for row in stored["results"] if row.get("failures")]
    assert (status, stored["broken"], wrong) == (0, [], [])
    rows = {row["row"]: row for row in stored["results"]}
    assert set(rows) == set(ROWS.split(","))
    assert all(row["fsync"] == "on" for row in rows.values())
    assert rows["get-4k"]["server_cpu_us"] > 0
    assert rows["get-4k"]["peak_mib"] > rows["get-4k"]["private_mib"] > 0
    assert rows["get-64m-degraded"]["note"].startswith("fragments removed per round: [4")
    assert rows["restart"]["seconds"] > 0
    assert {verdict["bar"]["row"] for verdict in stored["verdicts"]} == set(rows)
    assert not data.exists()
    assert _processes_of(data) == []

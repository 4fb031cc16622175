"""`atoll bench s3` from its arguments to its files, on servers that the test started."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.bench import add_parser
from tools.bench.arguments import parse_size
from tools.bench.load import Server
from tools.bench.s3_command import WrongArguments, plan_of
from tools.bench.scale import QUICK

StartS3 = Callable[..., Server]


def _parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["bench", *words])


def _bench(*words: str) -> int:
    args = _parse(*words)
    return int(args.func(args))


def _foreign(tmp_path: Path, url: str, *more: str) -> list[str]:
    keys = ["--endpoint", url, "--access-key", "a", "--secret-key", "env:A_SECRET"]
    places = ["--data", str(tmp_path / "work"), "--output", str(tmp_path / "out")]
    return ["s3", "--quick", "--no-store", *keys, *places, *more]


def test_a_run_leaves_its_results_and_nothing_else(
    start_s3: StartS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "hidden-word")
    rows = "put-4k,get-4k,head-4k,delete-4k,list-1000,multipart-1g,start"
    words = ["--seconds", "0.5", "--list-keys", "1500", "--only", rows]
    assert _bench(*_foreign(tmp_path, start_s3().endpoint, "--name", "rival", *words)) == 0
    stored = json.loads((tmp_path / "out" / "results-partial.json").read_text())
    found = {row["row"]: row for row in stored["results"]}
    assert set(found) == {"put-4k", "get-4k", "head-4k", "delete-4k", "list-1000", "multipart-1g"}
    for row in found.values():
        assert row["target"] == "rival"
        assert row["ops_s"] > 0
        assert row["machine_cpu_us"] >= 0
        assert "server_cpu_us" not in row
    assert stored["verdicts"] == stored["broken"] == []
    assert stored["parameters"]["list_keys"] == 1500
    assert "| PUT 4 KiB | rival |" in (tmp_path / "out" / "results-partial.md").read_text()
    assert (tmp_path / "out" / "results-partial.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "work").exists()
    assert "hidden-word" not in json.dumps(stored)


def test_wrong_bytes_fail_the_run(
    start_s3: StartS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("A_SECRET", "b")
    words = _foreign(
        tmp_path, start_s3("swap").endpoint, "--only", "get-4k", "--seconds", "0.3", "--json"
    )
    assert _bench(*words) == 1
    stored = json.loads(capsys.readouterr().out)
    (row,) = stored["results"]
    assert row["failures"]["wrong bytes"] > 0


def test_a_server_that_is_not_there_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("A_SECRET", "b")
    assert _bench(*_foreign(tmp_path, "http://127.0.0.1:1", "--only", "put-4k")) == 1
    assert "did not run: put-4k on 127.0.0.1:1" in capsys.readouterr().out


def test_a_directory_with_something_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("A_SECRET", "b")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine").write_text("keep")
    assert _bench(*_foreign(tmp_path, "http://127.0.0.1:1")) == 1
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "work" / "mine").read_text() == "keep"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-store"], "needs an --endpoint"),
        (["--endpoint", "http://h:1", "--access-key", "a"], "needs an --access-key and"),
        (["--endpoint", "ftp://h", "--access-key", "a", "--secret-key", "b"], "is no endpoint"),
        (["--endpoint", "http://h/x", "--access-key", "a", "--secret-key", "b"], "is no endpoint"),
        (["--endpoint", "http://h", "--access-key", "a", "--secret-key", "env:NOT_SET"], "no NOT_SET"),
        (
            ["--endpoint", "http://h", "--access-key", "a", "--secret-key", "b", "--name", "atoll"],
            "must differ",
        ),
        (["--prototype", "/nowhere/prototype.py"], "no prototype at"),
    ],
)
def test_wrong_arguments_are_refused_with_their_reason(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _bench("s3", *words) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(WrongArguments, match=message):
        plan_of(_parse("s3", *words))


@pytest.mark.parametrize(
    "words", [["--only", "put-4k,nonsense"], ["--only", ","], ["--stream-size", "5Q"]]
)
def test_the_parser_refuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        _parse("s3", *words)
    assert "error: argument" in capsys.readouterr().err


def test_a_scale_is_changed_option_by_option() -> None:
    scale = plan_of(_parse("s3", "--quick", "--rows", "7", "--stream-size", "5GiB")).scale
    assert (scale.restart_rows, scale.stream_bytes) == (7, 5 << 30)
    assert scale.put_4k == QUICK.put_4k


@pytest.mark.parametrize(
    ("text", "size"), [("5GiB", 5 << 30), ("512m", 512 << 20), ("64 KB", 64 << 10), ("17", 17)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1.5G", "0"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


def test_other_kinds_get_the_rest_of_the_line() -> None:
    args = _parse("ring", "--devices", "10", "--json")
    assert args.rest == ["--devices", "10", "--json"]

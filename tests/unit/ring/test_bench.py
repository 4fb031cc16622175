"""`atoll bench ring` at a small size: what it reports and that it holds itself to its bars."""

import json

import pytest

from tools.bench import ring as bench


def test_the_report_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(["--devices", "60", "--part-power", "9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["meets_bars"] is True
    assert found["deviation_worst"] < 1
    assert [change["change"] for change in found["changes"]] == [
        "add a node",
        "reweight a node",
        "remove a node",
    ]
    for change in found["changes"]:
        assert change["sound"]
        assert change["lower_bound"] <= change["moves"]
        assert change["ratio"] == round(change["moves"] / change["lower_bound"], 4)


def test_the_table_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(["--devices", "60", "--part-power", "9"]) == 0
    assert "add a node" in capsys.readouterr().out


def test_a_bar_that_is_missed_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "MOVES_BAR", 0.5)
    assert bench.run(["--devices", "60", "--part-power", "9", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["meets_bars"] is False


@pytest.mark.parametrize("words", [["--devices", "0"], ["--part-power", "25"], ["--zones", "x"]])
def test_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        bench.run(words)
    assert exit_.value.code == 2

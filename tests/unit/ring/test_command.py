"""`atoll ring` from the command line's side: what it prints, writes and returns."""

import argparse
import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ring.draft import Draft, RemoveDevice, save_draft
from ring.file import load
from tools.ring import add_parser

SIX = [part for i in range(6) for part in ("--device", f"path=/d{i},zone=z{i % 3},node=n{i}")]


class Command:
    """`atoll ring … --data DIR`."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = str(data)
        self.path = os.path.join(self.data, "ring")
        self._capsys = capsys
        self.parser = argparse.ArgumentParser(prog="atoll")
        add_parser(self.parser.add_subparsers(required=True))

    def __call__(self, name: str, *words: str) -> tuple[int, str, str]:
        args = self.parser.parse_args(["ring", name, "--data", self.data, *words])
        status: int = args.func(args)
        printed = self._capsys.readouterr()
        return status, printed.out, printed.err

    def ok(self, name: str, *words: str) -> str:
        status, out, err = self(name, *words)
        assert (status, err) == (0, "")
        return out

    def document(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok(name, "--json"))
        return found

    def fails(self, name: str, *words: str) -> str:
        before = sorted(os.listdir(self.data)) if os.path.isdir(self.data) else []
        status, out, err = self(name, *words)
        assert (status, out) == (1, "")
        assert err.startswith("atoll ring: ")
        assert err.count("\n") == 1
        assert (sorted(os.listdir(self.data)) if os.path.isdir(self.data) else []) == before
        return err


@pytest.fixture
def ring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    command = Command(tmp_path / "data", capsys)
    command.ok("init", *SIX)
    return command


def test_a_ring_whose_devices_hold_data_is_planned_but_not_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(tmp_path / "data", capsys)
    held = tmp_path / "held"
    held.mkdir()
    (held / "device.toml").write_text("in use")
    command.ok("init", "--device", f"path={held}", *SIX)
    command.ok("add", "--device", "path=/new,zone=z9,node=n9")
    command.ok("plan")
    before = load(command.path)
    status, _, err = command("apply")
    assert (status, load(command.path).epoch) == (1, before.epoch)
    assert "in use" in err


def test_a_new_ring_is_sound_and_shown(ring: Command) -> None:
    assert "sound" in ring.ok("verify")
    assert ring.document("verify")["sound"] is True
    assert "replicated-3" in ring.ok("show")
    shown = ring.document("show")
    assert [d["path"] for d in shown["devices"]] == [f"/d{i}" for i in range(6)]
    assert shown["devices"][0]["partitions"] == {"rows": 512, "replicated-3": 512, "ec-4-2": 1024}
    assert shown["pending"] == []
    assert "nothing to do" in ring.ok("plan")


def test_changes_wait_for_apply(ring: Command) -> None:
    assert "device 6" in ring.ok("add", "--device", "path=/d6,zone=z0,node=n6,weight=2,class=ssd")
    ring.ok("add", "--placement", "fast=1@ssd")
    ring.ok("weight", "1", "2", "0.5")
    ring.ok("remove", "0")
    assert len(ring.document("show")["pending"]) == 5
    assert "pending: remove device 0" in ring.ok("show")
    assert load(ring.path).epoch == 1
    planned = ring.document("plan")
    assert planned["moves"] + planned["moves_left_at_least"] >= planned["lower_bound"] > 0
    balance = planned["placements"]["rows"]["balance"]
    assert balance["after"]["worst_partitions"] < balance["before"]["worst_partitions"]
    assert "move" in ring.ok("plan")
    applied = json.loads(ring.ok("apply", "--json"))
    assert applied["applied"] is True
    assert applied["moves"] == planned["moves"]
    assert load(ring.path).epoch == 2
    assert ring.document("show")["pending"] == []
    assert ring.document("show")["devices"][0]["state"] == "leaving"


def test_a_new_device_joins_the_place_that_all_others_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(tmp_path / "data", capsys)
    command.ok("init", *(part for i in range(3) for part in ("--device", f"path=/d{i},zone=north")))
    command.ok("add", "--device", "path=/d3", "--device", "path=/d4")
    command.ok("apply")
    devices = load(command.path).members
    assert {(d.region, d.zone, d.node) for d in devices} == {("r1", "north", "node1")}
    assert [d.path for d in devices] == ["/d0", "/d1", "/d2", "/d3", "/d4"]


def test_apply_without_changes_keeps_the_epoch(ring: Command) -> None:
    assert "nothing to do" in ring.ok("apply")
    assert load(ring.path).epoch == 1
    assert json.loads(ring.ok("apply", "--json"))["applied"] is False


def test_discard_forgets(ring: Command) -> None:
    ring.ok("remove", "0", "--lost")
    ring.ok("discard")
    assert ring.document("show")["pending"] == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["init", "--device", "path=/x"], "already"),
        (["remove", "9"], "no device 9"),
        (["weight", "0", "-1"], "weight"),
        (["weight", "0", "nan"], "weight"),
        (["add", "--device", "zone=z1"], "no path"),
        (["add", "--device", "path=/x,node=n0"], "no zone"),
        (["add", "--device", "path=/x,colour=red"], "colour"),
        (["add", "--device", "path=/x,weight=heavy"], "heavy"),
        (["add", "--device", "path=/d0,zone=z0,node=n0"], "device 0"),
        (["add", "--placement", "rows=3"], "rows"),
    ],
)
def test_bad_input_changes_nothing(ring: Command, words: list[str], reason: str) -> None:
    assert reason in ring.fails(*words)


@pytest.mark.parametrize("spec", ["rows", "x=", "x=0", "X=3", "x=three"])
def test_a_bad_placement_is_wrong_usage(ring: Command, spec: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        ring("add", "--placement", spec)
    assert exit_.value.code == 2


def test_add_wants_something_to_add(ring: Command) -> None:
    status, _, err = ring("add")
    assert status == 2
    assert "--device" in err


def test_a_plan_that_can_not_be_is_refused_and_the_draft_kept(ring: Command) -> None:
    ring.ok("remove", "0", "1", "2", "3")
    assert "rows needs 3" in ring.fails("plan")
    assert "rows needs 3" in ring.fails("apply")
    assert load(ring.path).epoch == 1


def test_a_draft_of_another_epoch_is_explained(ring: Command) -> None:
    save_draft(Draft(5, (RemoveDevice(0),)), ring.path)
    assert "discard" in ring.fails("plan")


def test_without_a_ring_there_is_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(tmp_path / "nowhere", capsys)
    for name in ("show", "plan", "apply", "verify", "discard"):
        command.fails(name)
    command.fails("remove", "0")


def test_a_damaged_ring_is_named(ring: Command) -> None:
    data = bytearray(Path(ring.path).read_bytes())
    data[-20] ^= 1
    Path(ring.path).write_bytes(data)
    assert "checksum" in ring.fails("verify")
    assert "checksum" in ring.fails("show")


def test_an_unsound_ring_fails_verify(ring: Command) -> None:
    ring.ok("weight", "0", "5")
    ring.ok("remove", "1", "2")
    ring.ok("apply")
    status, out, err = ring("verify", "--json")
    document = json.loads(out)
    assert document["sound"] is (status == 0)
    assert bool(document["faults"]) is bool(err)


def test_one_writer_at_a_time(ring: Command) -> None:
    fd = os.open(ring.data, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert "another" in ring.fails("remove", "0")
        assert "another" in ring.fails("apply")
    finally:
        os.close(fd)


def test_ring_option_names_the_file(ring: Command) -> None:
    args = ring.parser.parse_args(["ring", "verify", "--ring", ring.path])
    assert args.func(args) == 0

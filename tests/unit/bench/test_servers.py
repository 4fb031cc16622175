"""Own servers are started, found, stopped and killed whole; fragments are chosen by whole blobs."""

import os
import sys
from pathlib import Path

import pytest

from tools.bench.accounting import is_alive, process_tree
from tools.bench.servers import (
    OwnProcess,
    ServerFailed,
    filesystem_of,
    fragments_to_remove,
    free_port,
    longest_mount,
    require_room,
)

FORKS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        break
print("up", flush=True)
time.sleep(600)
"""


def _start(code: str, tmp_path: Path) -> OwnProcess:
    return OwnProcess("a server", [sys.executable, "-c", code], dict(os.environ), tmp_path / "log")


def test_kill_leaves_no_child(tmp_path: Path) -> None:
    process = _start(FORKS, tmp_path)
    process.wait_until(lambda: process.log_text().count("up") == 3)
    tree = process_tree(process.pid)
    assert len(tree) == 3
    process.kill()
    assert not any(is_alive(pid) for pid in tree)
    process.kill()  # again is no error


def test_terminate_gives_the_servers_own_exit(tmp_path: Path) -> None:
    polite = (
        "import signal,sys,time; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True)"
    )
    process = _start(f"{polite}; time.sleep(600)", tmp_path)
    process.wait_until(lambda: "up" in process.log_text())
    assert process.terminate() == 7


def test_a_server_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    process = _start("print('no port left'); raise SystemExit(3)", tmp_path)
    with pytest.raises(ServerFailed, match=r"ended with 3:\nno port left"):
        process.wait_until(lambda: False)
    process.kill()


def test_fragments_of_whole_coded_blobs_only() -> None:
    coded = [f"d/devices/{n}/blobs/ab/abcd.{n}" for n in range(6)]
    replicated = [f"d/devices/{n}/blobs/cd/cdef.{n}" for n in range(3)]
    damaged = [f"d/devices/{n}/blobs/ef/efgh.{n}" for n in range(2, 6)]
    other = ["d/devices/0/blobs/ab/.partial", "d/devices/0/blobs/ab/README"]
    doomed = fragments_to_remove([*coded, *replicated, *damaged, *other], (0, 1))
    assert doomed == coded[:2]


def test_the_longest_mount_wins() -> None:
    mounts = [
        "1 0 8:1 / / rw shared:1 - ext4 /dev/a rw",
        "2 1 0:5 / /data rw - xfs /dev/b rw",
        "3 1 0:6 / /data/fast rw master:3 - tmpfs none rw",
    ]
    assert longest_mount(mounts, "/data/fast/x") == "tmpfs"
    assert longest_mount(mounts, "/data/faster") == "xfs"
    assert longest_mount(mounts, "/database") == "ext4"
    assert longest_mount(mounts[1:], "/etc") == "unknown"


def test_this_machine(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path) != "unknown"
    assert 0 < free_port() < 65536
    require_room(tmp_path, 1)
    with pytest.raises(ServerFailed, match="this needs"):
        require_room(tmp_path, 1 << 60)

"""`make cluster`: four nodes, what it prints works, and nothing is left of it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.api.cli.commands import atoll
from tests.api.store import REPOSITORY, clean_environment, free_ports
from tools.cluster import NODES, PORTS

ENDS_WITHIN_S = 60


def test_it_starts_shows_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.cluster", "--tls", "--port", str(free_ports(PORTS))]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=clean_environment(TMPDIR=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("Ctrl-C ends"):
                break
        groups = [int(found) for found in re.findall(r"process group (\d+)", told)]
        assert len(groups) == NODES, told
        data = re.search(r"node list --data (\S+)", told)
        assert data, told
        nodes = atoll("node", "list", "--data", data[1], "--json").document["nodes"]
        assert [(n["zone"], len(n["devices"]), n["why"]) for n in nodes] == [
            (f"zone-{letter}", 2, "") for letter in "abcd"
        ]
        os.killpg(groups[1], signal.SIGSTOP)  # as it says; it must end all the same
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=ENDS_WITHIN_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    for group in groups:
        assert not _lives(group)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True

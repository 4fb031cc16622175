"""The README's walk through the cloud on top, typed as it stands there into one shell."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.store import REPOSITORY, RunningStore, clean_environment, free_port, start_store

PART = (REPOSITORY / "README.md").read_text().partition("## The cloud on top")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", PART, re.DOTALL | re.MULTILINE)
SHELL = "".join(text for language, text in BLOCKS if language == "bash")
COMMANDS = re.compile(
    r"^(?:attachment=\$\(|set -- \$\()?(?:openstack|glance|cinder|nbdcopy|qemu-img) ", re.MULTILINE
)
COMMANDS_MIN = 40
DEADLINE_S = 300
PRINTED = (
    *("science", "robot", "identity", "block-storage", "object-store"),
    *("the same", "imported", "disk-qcow2"),
    *("monday", "tuesday", "twin", "hello, disk"),
    *("full", "later", "restored", "gigabytes", "README.md"),
)
"""Words of the answers, which the commands alone do not print."""

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A store with the add-on, as `make up ARGS=--cloud` starts it."""
    folder = tmp_path_factory.mktemp("walk")
    with start_store(folder, cloud=True, cloud_port=free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def work(store: RunningStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would type."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(REPOSITORY / "README.md", folder)
    (folder / "atoll-data").symlink_to(store.data)
    return folder


def run(store: RunningStore, work: Path, *command: str, typed: str) -> str:
    """What a program prints of what is typed into it."""
    clouds = str(store.data / "clouds.yaml")
    done = subprocess.run(
        command,
        input=typed,
        cwd=work,
        env=clean_environment(HOME=str(work), OS_CLIENT_CONFIG_FILE=clouds, COLUMNS="120"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.timeout(2 * DEADLINE_S)
def test_all_commands_in_their_order(store: RunningStore, work: Path) -> None:
    assert len(COMMANDS.findall(SHELL)) >= COMMANDS_MIN
    printed = run(store, work, "bash", "-euo", "pipefail", typed=SHELL)
    for word in PRINTED:
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", printed), word


@pytest.mark.timeout(2 * DEADLINE_S)
def test_the_program(store: RunningStore, work: Path) -> None:
    (program,) = [text for language, text in BLOCKS if language == "python"]
    assert "available [" in run(store, work, sys.executable, "-", typed=program)

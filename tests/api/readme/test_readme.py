"""The README's examples, run as they stand there against a store with what its banner exports."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.api.store import REPOSITORY, RunningStore, clean_environment, start_store

README = (REPOSITORY / "README.md").read_text()
STORE_PART = README.partition("## The cloud on top")[0]
EXAMPLE_DEADLINE_S = 120


class Example(NamedTuple):
    """One fenced block: its language and text."""

    language: str
    text: str


EXAMPLES = [
    Example(language, text)
    for language, text in re.findall(
        r"^```(sh|python)\n(.*?)^```$", STORE_PART, re.DOTALL | re.MULTILINE
    )
]
EXPECTED = {
    "aws": ["make_bucket: first", "upload: ./README.md to s3://first/docs/README.md", "docs/README.md"],
    "boto3": ["hello blue"],
    "rclone": ["Total objects: "],
    "restic": ["created restic repository", "no errors were found"],
    "swift": ["docs/README.md\ngreeting\nhello", "Object: README.md"],
}
"""What each client must have printed, in the README's order."""


@pytest.fixture(scope="module")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    with start_store(tmp_path_factory.mktemp("readme")) as running:
        yield running


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would type: a folder with the README and doc/."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(REPOSITORY / "README.md", folder)
    shutil.copytree(REPOSITORY / "doc", folder / "doc")
    return folder


def run(example: Example, store: RunningStore, work: Path) -> "subprocess.CompletedProcess[str]":
    command = ["bash", "-euo", "pipefail"] if example.language == "sh" else [sys.executable, "-"]
    return subprocess.run(
        command,
        input=example.text,
        cwd=work,
        env=clean_environment(**store.exports(), HOME=str(work), XDG_CACHE_HOME=str(work / ".cache")),
        capture_output=True,
        text=True,
        timeout=EXAMPLE_DEADLINE_S,
        check=False,
    )


def test_every_example_works_in_the_order_of_the_readme(fresh_store: RunningStore, work: Path) -> None:
    assert len(EXAMPLES) == len(EXPECTED)
    for example, (client, words) in zip(EXAMPLES, EXPECTED.items(), strict=True):
        assert client in example.text, f"the README's examples are in another order: {client}"
        done = run(example, fresh_store, work)
        assert done.returncode == 0, f"{client}:\n{done.stdout}\n{done.stderr}"
        for word in words:
            assert word in done.stdout, f"{client}:\n{done.stdout}"


def test_the_commands_and_files_that_it_names_are_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"\]\(([^)]+)\)", README):
        assert (REPOSITORY / path).exists(), path


def test_the_banner_tells_what_the_readme_says_it_tells(fresh_store: RunningStore) -> None:
    assert all(name in README for name in fresh_store.exports())
    tried = re.search(r"^Try:\n(.*?)\n\n", fresh_store.banner, re.DOTALL | re.MULTILINE)
    assert tried
    assert tried[1].count("\n") == 2

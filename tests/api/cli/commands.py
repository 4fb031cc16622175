"""Runs `atoll` as a process of its own."""

import json
import subprocess
import sys
from typing import Any, NamedTuple

from tests.api.store import REPOSITORY, clean_environment

COMMAND_DEADLINE_S = 60


class Outcome(NamedTuple):
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


def atoll(*arguments: object, **environment: str) -> Outcome:
    """Run `atoll` with `arguments`, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.main", *map(str, arguments)],
        cwd=REPOSITORY,
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_DEADLINE_S,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)

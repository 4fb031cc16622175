"""The store's commands work without the add-on, and say what is missing where it is asked for."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("compute", "sqlalchemy", "alembic", "oslo_policy", "argon2"):
            raise ImportError(f"no {name} here")

sys.meta_path.insert(0, Missing())
from tools import main, worker  # what `atoll up` imports
sys.exit(main.main(sys.argv[1:]))
"""


def _atoll(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_store_needs_no_add_on(tmp_path: Path) -> None:
    listed = _atoll("user", "list", "--data", str(tmp_path))
    assert "ImportError" not in listed.stderr


def test_who_asks_for_the_add_on_is_told(tmp_path: Path) -> None:
    refused = _atoll(
        "up", "--cloud", "--data", str(tmp_path / "data"), "--port", "0", "--admin-port", "0"
    )
    assert refused.returncode == 1
    assert "the compute add-on is not installed" in refused.stderr
    assert not (tmp_path / "data").exists()

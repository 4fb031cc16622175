"""A private PostgreSQL cluster in a temporary folder, reached by its Unix socket alone.

PostgreSQL refuses to run as root, so under root it runs as the user that Debian's package makes.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

UNPRIVILEGED = "postgres"
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
"""Switched off: these clusters are thrown away."""


class PostgresMissing(AssertionError):
    """Debian's package is not installed; `make test` installs it."""


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise PostgresMissing("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent


@contextlib.contextmanager
def cluster() -> Iterator[Path]:
    """The folder of a running cluster's socket; it is stopped and removed at the end."""
    programs, user = _programs(), UNPRIVILEGED if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="atoll-postgres-"))
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)

    def run(*command: object) -> None:
        subprocess.run(
            [str(word) for word in command],
            user=user,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    data = folder / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=100 "
    options += " ".join(f"-c {name}=off" for name in DURABLE)
    try:
        run(
            programs / "initdb", "--pgdata", data, "--auth", "trust", "--username", "atoll", "--no-sync"
        )
        run(programs / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
        try:
            yield folder
        finally:
            run(programs / "pg_ctl", "stop", "-w", "-D", data, "-m", "immediate")
    finally:
        shutil.rmtree(folder)


def url(folder: Path, database: str) -> str:
    """How SQLAlchemy reaches a database of the cluster."""
    return f"postgresql+psycopg://atoll@/{database}?host={folder}"

"""The databases that the rooms are tested on: each test has its own, copied from a bootstrapped one."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from compute.cloud import CloudConfig, initialise, opened
from tests.compute.identity.cloud import PASSWORD, SECRET
from tests.compute.postgres import cluster, url

_numbers = itertools.count(1)

MakeDatabase = Callable[[Path], str]


def _bootstrap(folder: Path, database: str) -> None:
    config = CloudConfig(str(folder), SECRET, "", 0, "http://cloud", "http://store", database)
    with opened(config) as identity:
        initialise(config, identity, {"admin": PASSWORD})


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> MakeDatabase:
    """Makes SQLite databases."""
    template = tmp_path_factory.mktemp("template")
    _bootstrap(template, "")

    def make(folder: Path) -> str:
        shutil.copy(template / "cloud.db", folder / "cloud.db")
        return f"sqlite:///{folder}/cloud.db"

    return make


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeDatabase]:
    """Makes PostgreSQL databases."""
    with cluster() as socket:

        def create(command: str) -> None:
            with psycopg.connect(
                host=str(socket), user="atoll", dbname="postgres", autocommit=True
            ) as at:
                at.execute(command)

        create("CREATE DATABASE template")
        _bootstrap(tmp_path_factory.mktemp("template"), url(socket, "template"))

        def make(_folder: Path) -> str:
            name = f"cloud{next(_numbers)}"
            create(f"CREATE DATABASE {name} TEMPLATE template")
            return url(socket, name)

        yield make


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A bootstrapped database's URL."""
    make: MakeDatabase = request.getfixturevalue(request.param)
    return make(tmp_path)

"""Bring a database to the newest form of its tables, whoever else is starting at the same moment.

Each room has a chain of migrations of its own, a branch that Alembic knows by the room's name.
"""

import importlib.resources
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from compute.database.engine import Database

_LOCK: Final = 0x41746F6C6C  # "Atoll"


def config_for(connection: Connection | None = None) -> Config:
    """Alembic's configuration, in memory; the command line of Alembic is not needed."""
    config = Config()
    config.set_main_option(
        "script_location", str(importlib.resources.files("compute.database") / "migrations")
    )
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database) -> None:
    """All migrations that are missing, in one transaction; starting processes wait for each other."""
    with database.engine.execution_options(atoll_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        command.upgrade(config_for(connection), "heads")

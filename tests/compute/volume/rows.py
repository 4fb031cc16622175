"""Rows as the other half of the room makes them, for tests of what is counted from them."""

from typing import Any

from compute.database.engine import Database
from compute.volume.models.types import VolumeType
from compute.volume.models.volumes import Snapshot, Volume


def type_id(database: Database, name: str = "__DEFAULT__") -> str:
    """Of the type with this name."""
    with database.read() as session:
        return session.query(VolumeType.id).where(VolumeType.name == name).one()[0]


def add_volume(database: Database, ident: str, project_id: str, **fields: Any) -> None:
    """A volume that is available."""
    known = {
        "user_id": "someone",
        "size_gib": 1,
        "status": "available",
        "attach_status": "detached",
        "zone": "nova",
        "created_us": 1,
    }
    with database.write("volume") as session:
        session.add(Volume(id=ident, project_id=project_id, **{**known, **fields}))


def add_snapshot(
    database: Database, ident: str, volume_id: str, project_id: str, **fields: Any
) -> None:
    """A snapshot that is available."""
    known = {"user_id": "someone", "size_gib": 1, "status": "available", "created_us": 1}
    row = Snapshot(id=ident, volume_id=volume_id, project_id=project_id, **{**known, **fields})
    with database.write("volume") as session:
        session.add(row)

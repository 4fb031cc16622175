"""How much a project may have of images, and has. Sizes are in MiB, as upstream's limits are.

The limits are in the configuration, one for all projects: registered limits are not read here. Who adds
checks first in the same transaction; the room's lock makes that exact but for bytes still under way,
which count as what their sender announced.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from compute.image.models import Image, ImageCopy, Staged
from compute.image.settings import Settings
from compute.server.errors import TooLarge
from compute.server.request import Request

MIB: Final = 1024 * 1024
UNLIMITED: Final = -1
RESOURCES: Final = (
    "image_size_total",
    "image_stage_total",
    "image_count_total",
    "image_count_uploading",
)
_UNDER_WAY: Final = ("saving", "uploading", "importing")


def usage(session: Session, project_id: str) -> dict[str, int]:
    """What a project has of each resource. A copy in each store counts."""
    own = Image.owner == project_id
    stored = select(func.coalesce(func.sum(Image.size_bytes), 0))
    copies = stored.join(ImageCopy, ImageCopy.image_id == Image.id).where(own)
    staged = select(Staged).join(Image, Image.id == Staged.image_id).where(own)
    counted = select(func.count()).select_from(Image).where(own)
    return {
        "image_size_total": int(session.scalar(copies) or 0) // MIB,
        "image_stage_total": sum(map(_bytes, session.scalars(staged))) // MIB,
        "image_count_total": int(session.scalar(counted) or 0),
        "image_count_uploading": int(session.scalar(counted.where(Image.status.in_(_UNDER_WAY))) or 0),
    }


def _bytes(staged: Staged) -> int:
    return sum(int(size) for _, size in staged.parts)


def announced_mib(request: Request) -> int:
    """Of the body, rounded down; 0 where nobody says."""
    return int(request.headers.get("Content-Length", 0)) // MIB


def limits(settings: Settings) -> dict[str, int]:
    """Of each resource, UNLIMITED where there is none."""
    return {
        "image_size_total": settings.size_total_mib,
        "image_stage_total": settings.stage_total_mib,
        "image_count_total": settings.count_total,
        "image_count_uploading": settings.count_uploading,
    }


def shown(session: Session, settings: Settings, project_id: str) -> dict[str, Any]:
    """Usage and limit of each resource."""
    used, allowed = usage(session, project_id), limits(settings)
    return {name: {"usage": used[name], "limit": allowed[name]} for name in RESOURCES}


def check(
    session: Session, settings: Settings, project_id: str | None, wanted: Mapping[str, int]
) -> None:
    """Within the transaction that adds. wanted: how much more of which. Raises TooLarge."""
    allowed = {name: limit for name, limit in limits(settings).items() if limit != UNLIMITED}
    if project_id is None or not allowed.keys() & wanted.keys():
        return
    over = exceeded(usage(session, project_id), allowed, wanted)
    if over:
        said = ", ".join(over)
        raise TooLarge(f"Request Entity Too Large: Project {project_id} is over a limit for [{said}]")


def exceeded(
    used: Mapping[str, int], allowed: Mapping[str, int], wanted: Mapping[str, int]
) -> list[str]:
    """Which limits would be passed, in words."""
    return [
        f"Resource {name} is over limit of {allowed[name]} due to current usage {used[name]}"
        f" and delta {delta}"
        for name, delta in wanted.items()
        if name in allowed and used[name] + delta > allowed[name]
    ]

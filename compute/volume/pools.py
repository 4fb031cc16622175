"""The backends that there are, as the scheduler sees them, and which of them takes a volume.

Upstream's backends have pools; here each is one pool, named `<host>@<backend>#<backend>`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest
from compute.volume.heartbeat import VOLUME, is_up
from compute.volume.instants import written
from compute.volume.matching import fits
from compute.volume.models.services import VolumeService
from compute.volume.models.volumes import Volume

GIB: Final = 1 << 30
VENDOR: Final = "Atoll"
PROTOCOL: Final = "nbd"
DRIVER_VERSION: Final = "1.0.0"


class Pool(NamedTuple):
    """A backend on a host. free_gib: None where there is no bound."""

    host: str
    backend: str
    zone: str
    is_enabled: bool
    free_gib: float | None
    capabilities: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As the API writes it."""
        return f"{self.host}@{self.backend}#{self.backend}"


def pools(session: Session, now_us: int) -> list[Pool]:
    """The backends whose services are up."""
    query = select(VolumeService).where(VolumeService.binary == VOLUME).order_by(VolumeService.host)
    allocated = _allocated(session)
    rows = [row for row in session.scalars(query) if is_up(row, now_us)]
    return [_pool(row, allocated.get(tuple(row.host.split("@", 1)), 0)) for row in rows]


def _allocated(session: Session) -> dict[tuple[str, ...], int]:
    """GiB of volumes, by host and backend."""
    query = select(Volume.host, Volume.backend, func.sum(Volume.size_gib))
    rows = session.execute(query.group_by(Volume.host, Volume.backend))
    return {(str(host), str(backend)): int(gib) for host, backend, gib in rows}


def _gib(size_bytes: int | None) -> float | str:
    return "infinite" if size_bytes is None else round(size_bytes / GIB, 2)


def _pool(row: VolumeService, allocated_gib: int) -> Pool:
    host, _, backend = row.host.partition("@")
    free = None if row.free_bytes is None else row.free_bytes / GIB
    capabilities = {
        "volume_backend_name": backend,
        "vendor_name": VENDOR,
        "driver_version": DRIVER_VERSION,
        "storage_protocol": PROTOCOL,
        "total_capacity_gb": _gib(row.total_bytes),
        "free_capacity_gb": _gib(row.free_bytes),
        "allocated_capacity_gb": allocated_gib,
        "reserved_percentage": 0,
        "thin_provisioning_support": True,
        "thick_provisioning_support": False,
        "QoS_support": False,
        "multiattach": False,
        "backend_state": "up",
        "pool_name": backend,
        "availability_zone": row.zone,
        "timestamp": written(row.seen_us),
        "updated": written(row.seen_us),
    }
    return Pool(host, backend, row.zone, not row.is_disabled, free, capabilities)


def fitting(
    found: Sequence[Pool], extra_specs: Mapping[str, str], size_gib: int, zone: str | None = None
) -> list[Pool]:
    """The pools that take a volume: those with the most room first, in an order that is stable."""
    taken = [
        pool
        for pool in found
        if pool.is_enabled
        and (zone is None or pool.zone == zone)
        and (pool.free_gib is None or pool.free_gib >= size_gib)
        and fits(extra_specs, pool.capabilities)
    ]
    return sorted(taken, key=lambda pool: -float("inf" if pool.free_gib is None else pool.free_gib))


def check_not_frozen(session: Session, host: str | None, backend: str | None) -> None:
    """Raises BadRequest where the operator wants nothing to change."""
    row = session.get(VolumeService, (f"{host}@{backend}", VOLUME))
    if row is not None and row.is_frozen:
        raise BadRequest(
            "Invalid input received: Modification operations are not allowed on frozen storage"
            " backends."
        )

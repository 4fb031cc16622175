"""Signs of life: which services run on which host, with the room of their backends, for all to see.

A process writes its host's rows every ten seconds; who was silent for a minute counts as down. It also
takes over the levels of loggers that an operator has set since it started, and removes messages that
have expired.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.site import Site
from compute.volume.drivers.contract import Usage
from compute.volume.messages import forget_old
from compute.volume.models.services import LogLevel, VolumeService

ROOM: Final = "volume services"
"""Their rows have a lock of their own, so that they wait for no request."""
BEAT_S: Final = 10.0
DOWN_US: Final = 60 * 1_000_000
ZONE: Final = "nova"
"""Upstream's name of the only zone where nothing is said."""

SCHEDULER: Final = "cinder-scheduler"
VOLUME: Final = "cinder-volume"
BACKUP: Final = "cinder-backup"
API: Final = "cinder-api"

log = logging.getLogger("atoll.cloud.volume")


class Running(NamedTuple):
    """A service that this process is. host: with its backend where it has one."""

    binary: str
    host: str
    usage: Usage = Usage(None, None)


class Backend(Protocol):
    """Of a driver, what is told to all."""

    async def usage(self) -> Usage:
        """The backend's room."""


def is_up(row: VolumeService, now_us: int) -> bool:
    """Whether it gave a sign of life lately."""
    return abs(now_us - row.seen_us) <= DOWN_US


class Heartbeat:
    """The services of this process. binaries: those without a backend."""

    def __init__(
        self, site: Site, backends: Mapping[str, Backend], binaries: Sequence[str] = (SCHEDULER,)
    ) -> None:
        self._site = site
        self._backends = backends
        self._binaries = binaries
        self._started_us = site.now_us()

    async def run(self) -> None:
        """Beat until cancelled; an error ends nothing."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self.beat()
            except Exception as error:
                log.warning("no sign of life could be given: %s", error)

    async def beat(self) -> None:
        """One sign of life."""
        running = [Running(binary, self._site.host) for binary in self._binaries]
        for name, backend in self._backends.items():
            running.append(Running(VOLUME, f"{self._site.host}@{name}", await backend.usage()))
        await self._site.database.run(lambda: self._write(running))

    def _write(self, running: Sequence[Running]) -> None:
        now = self._site.now_us()
        with self._site.database.write(ROOM, changes=False) as session:
            follow(session, self._site.host, self._started_us)
            forget_old(session, now)
            levels = levels_now("atoll")
            for service in running:
                row = session.get(VolumeService, (service.host, service.binary))
                if row is None:
                    row = _new(service, now)
                    session.add(row)
                row.seen_us, row.log_levels = now, levels
                row.total_bytes, row.free_bytes = service.usage


def _new(service: Running, now_us: int) -> VolumeService:
    return VolumeService(host=service.host, binary=service.binary, zone=ZONE, created_us=now_us)


# -- loggers --


def levels_now(prefix: str) -> dict[str, str]:
    """The levels of this process's loggers whose names begin so."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith(prefix)]
    return {
        name: logging.getLevelName(logging.getLogger(name).getEffectiveLevel())
        for name in sorted(names)
    }


def set_level(prefix: str, level: str) -> None:
    """Set this process's loggers whose names begin so."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(prefix):
            logging.getLogger(name).setLevel(level)


def follow(session: Session, host: str, since_us: int) -> None:
    """Take over what operators have set for this host since its process started, the oldest first."""
    query = select(LogLevel).where(LogLevel.host == host, LogLevel.set_us >= since_us)
    for row in session.scalars(query.order_by(LogLevel.set_us)):
        set_level(row.prefix, row.level)

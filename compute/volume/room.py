"""The room opened: what a process needs to serve volumes."""

import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

from compute.backup.vault import Vault
from compute.image.library import ImageLibrary
from compute.nbd.server import NbdServer
from compute.policy.enforcer import Enforcer
from compute.server.app import Service
from compute.site import Site
from compute.volume.api import (
    ROUTES,
    attachments,
    backup_actions,
    group_actions,
    group_snapshots,
    manage,
    snapshots,
    volume_actions,
    volumes,
)
from compute.volume.api.attach_actions import AttachActions
from compute.volume.backup_work import BackupWork
from compute.volume.drivers.contract import Driver
from compute.volume.drivers.errors import Busy
from compute.volume.drivers.file.driver import FileDriver
from compute.volume.drivers.ring.driver import RingDriver
from compute.volume.exports import Exports
from compute.volume.group_work import GroupWork
from compute.volume.heartbeat import BACKUP, SCHEDULER, Heartbeat
from compute.volume.rules import RULES
from compute.volume.service import VolumeService
from compute.volume.settings import RING, Backend, Settings
from compute.volume.volume_work import VolumeWork
from runtime.config import host_and_port
from runtime.errors import AtollError
from runtime.tasks import TaskOwner

NBD_SOCKET: Final = "nbd.sock"

log = logging.getLogger("atoll.cloud.volume")


def _failed(name: str, error: BaseException) -> None:
    log.error("%s failed", name, exc_info=error)


class Room(NamedTuple):
    """The service, and who does what its rows ask for."""

    service: VolumeService
    drivers: Mapping[str, Driver]
    heartbeat: Heartbeat
    volumes: VolumeWork
    exports: Exports
    groups: GroupWork
    backups: BackupWork


@contextlib.asynccontextmanager
async def opened(
    site: Site,
    library: ImageLibrary,
    settings: Settings | None = None,
    *,
    encrypts_backups: bool = False,
) -> AsyncIterator[Service]:
    """The service, for as long as the block runs. library: of images, to make volumes from.

    Raises AtollError where a backend can't be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        room = await stack.enter_async_context(
            wired(site, library, settings, encrypts_backups=encrypts_backups)
        )
        tasks = TaskOwner("volume", _failed)
        stack.push_async_callback(tasks.close)
        await room.heartbeat.beat()
        tasks.spawn("heartbeat", room.heartbeat.run())
        tasks.spawn("volumes", room.volumes.run(tasks))
        tasks.spawn("exports", room.exports.run())
        tasks.spawn("groups", room.groups.run())
        tasks.spawn("backups", room.backups.run(tasks))
        yield room.service


@contextlib.asynccontextmanager
async def wired(
    site: Site,
    library: ImageLibrary,
    settings: Settings | None = None,
    *,
    encrypts_backups: bool = False,
    enforcer: Enforcer | None = None,
) -> AsyncIterator[Room]:
    """All of it, at rest; `opened` sets it going. enforcer: one that is there. Raises AtollError."""
    async with _drivers(site, settings or Settings()) as drivers:
        group_work = GroupWork(site, drivers)
        backup_work = BackupWork(site, drivers, Vault(site, encrypts=encrypts_backups))
        volume_work, exports = VolumeWork(site, drivers, library), Exports(site, drivers)
        routes = [
            *ROUTES,
            *volumes.routes(volume_work, backup_work),
            *manage.routes(volume_work),
            *volume_actions.routes(volume_work, AttachActions(exports)),
            *attachments.routes(exports),
            *snapshots.routes(volume_work),
            *group_actions.routes(group_work),
            *group_snapshots.routes(group_work),
            *backup_actions.routes(backup_work),
        ]
        yield Room(
            VolumeService(site, enforcer or Enforcer("volume", RULES, site.policies), routes),
            drivers,
            Heartbeat(site, drivers, (SCHEDULER, BACKUP)),
            volume_work,
            exports,
            group_work,
            backup_work,
        )


@contextlib.asynccontextmanager
async def _drivers(site: Site, settings: Settings) -> AsyncIterator[dict[str, Driver]]:
    """The backends, by their names, with the server of their exports."""
    async with contextlib.AsyncExitStack() as stack:
        nbd = NbdServer()
        await nbd.listen_unix(os.path.join(site.folder, NBD_SOCKET))
        stack.push_async_callback(nbd.close)
        if settings.nbd_listen:
            await _listen(nbd, settings)
        drivers: dict[str, Driver] = {}
        for backend in settings.backends_in(site.folder):
            made = await _driver(site, backend, nbd, settings)
            stack.push_async_callback(made.close)
            drivers[backend.name] = made
        yield drivers


async def _listen(nbd: NbdServer, settings: Settings) -> None:
    """On TCP, with TLS. Raises AtollError."""
    host, port = host_and_port(settings.nbd_listen)
    try:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(settings.nbd_certificate, settings.nbd_key)
        if settings.nbd_client_ca:
            tls.load_verify_locations(settings.nbd_client_ca)
            tls.verify_mode = ssl.CERT_REQUIRED
        await nbd.listen_tcp(host, port, tls, address=settings.nbd_address)
    except OSError as error:  # ssl.SSLError is one
        raise AtollError(f"volume_nbd_listen {settings.nbd_listen}: {error}") from error


async def _driver(
    site: Site, backend: Backend, nbd: NbdServer, settings: Settings
) -> RingDriver | FileDriver:
    if backend.name == RING:
        room = settings.cache_bytes
        return RingDriver(
            site.objects, nbd, site.randomness, cache_folder=site.folder, cache_bytes=room
        )
    files = FileDriver(backend.name, backend.folder, nbd)
    try:
        await files.start()
    except (Busy, OSError) as error:
        raise AtollError(f"the volume backend {backend.name} can't be used: {error}") from error
    return files

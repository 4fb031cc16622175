"""The add-on wired: what a process needs to serve, and what `atoll cloud init` makes.

The only function that knows all rooms. `tools/` calls it; importing it does nothing.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final, NamedTuple

from compute.access import Authenticator
from compute.database.engine import Database, DatabaseAway
from compute.database.migrate import upgrade
from compute.identity.bootstrap import Passwords, ServiceEntry, bootstrap
from compute.identity.call import Identity
from compute.identity.own_login import OwnLogin
from compute.identity.rules import RULES
from compute.identity.secrets import Sealer
from compute.identity.service import IdentityService
from compute.identity.settings import Settings
from compute.identity.tokens.payload import TokenKeys
from compute.image.room import opened as image_room
from compute.image.settings import Settings as ImageSettings
from compute.objects.client import SwiftStore
from compute.objects.contract import ObjectStore
from compute.policy.enforcer import Enforcer
from compute.server.app import CloudApp, Mount
from compute.server.listen import serve
from compute.site import Site
from compute.volume.room import opened as volume_room
from compute.volume.settings import Settings as VolumeSettings
from runtime.clock import Clock, SystemClock
from runtime.errors import AtollError
from runtime.randomness import Randomness, SystemRandomness

PASSWORD_BYTES: Final = 18


class CloudConfig(NamedTuple):
    """What the add-on is told. endpoint: its public URL. store: the object store's, "" for none.

    folder: for its database (unless database names another) and the operator's policy files. node: the
    name of this host among those of the same database, "" for the machine's.
    """

    folder: str
    secret: bytes
    host: str
    port: int
    endpoint: str
    store: str
    database: str = ""
    drain_s: float = 10.0
    settings: Settings = Settings()
    node: str = ""
    image: ImageSettings = ImageSettings()
    volume: VolumeSettings = VolumeSettings()
    backup_encrypted: bool = False

    @property
    def url(self) -> str:
        """The database's."""
        return self.database or f"sqlite:///{os.path.join(self.folder, 'cloud.db')}"


def catalog_of(config: CloudConfig) -> list[ServiceEntry]:
    """The services that there are."""
    entries = [ServiceEntry("identity", "keystone", f"{config.endpoint}/identity/v3")]
    if config.store:
        entries.append(ServiceEntry("object-store", "swift", f"{config.store}/v1/AUTH_$(project_id)s"))
        entries.append(ServiceEntry("image", "glance", f"{config.endpoint}/image"))
        entries.append(ServiceEntry("block-storage", "cinder", f"{config.endpoint}/volume/v3"))
    return entries


@contextlib.contextmanager
def opened(
    config: CloudConfig, clock: Clock | None = None, randomness: Randomness | None = None
) -> Iterator[Identity]:
    """Identity on its database, which is brought to its newest form first. Raises AtollError."""
    os.makedirs(config.folder, mode=0o700, exist_ok=True)
    database = Database(config.url)
    try:
        try:
            upgrade(database)
        except DatabaseAway as error:
            raise AtollError(f"the add-on's database can't be used: {error}") from error
        keys = TokenKeys(database, Sealer(config.secret, "token keys"))
        policies = os.path.join(config.folder, "policy")
        yield Identity(
            database,
            Enforcer("identity", RULES, policies),
            keys,
            Sealer(config.secret, "credentials"),
            config.settings,
            clock or SystemClock(),
            randomness or SystemRandomness(),
        )
    finally:
        database.close()


def initialise(config: CloudConfig, identity: Identity, passwords: Mapping[str, str]) -> Passwords:
    """Everything that must be there before the first request; what is there already stays."""
    return bootstrap(identity, catalog_of(config), passwords)


def new_password(randomness: Randomness) -> str:
    """A password of 144 random bits that no shell needs quotes for."""
    return randomness.token(PASSWORD_BYTES).hex()


@contextlib.asynccontextmanager
async def app_of(config: CloudConfig, identity: Identity) -> AsyncIterator[CloudApp]:
    """All services at their paths. Identity is at the root, too: Keystone's clients look there."""
    service = IdentityService(identity)
    mounts = [Mount("/identity", service), Mount("", service)]
    async with contextlib.AsyncExitStack() as stack:
        if config.store:
            objects = SwiftStore(OwnLogin(identity))
            stack.push_async_callback(objects.close)
            site = site_of(config, identity, service, objects)
            mounts += await _rooms(config, site, stack)
        yield CloudApp(mounts, identity.randomness)


def site_of(
    config: CloudConfig, identity: Identity, service: Authenticator, objects: ObjectStore
) -> Site:
    """What the rooms are made of."""
    return Site(
        identity.database,
        service,
        objects,
        config.folder,
        config.endpoint,
        config.settings.region,
        config.node or socket.gethostname(),
        identity.clock,
        identity.randomness,
        lambda purpose: Sealer(config.secret, purpose),
    )


async def _rooms(config: CloudConfig, site: Site, stack: contextlib.AsyncExitStack) -> list[Mount]:
    """The rooms that need an object store, opened; the stack closes them."""
    images = await stack.enter_async_context(image_room(site, config.image))
    volumes = volume_room(site, images.library, config.volume, encrypts_backups=config.backup_encrypted)
    return [
        Mount("/image", images),
        Mount("/volume", await stack.enter_async_context(volumes)),
    ]


@contextlib.asynccontextmanager
async def served(config: CloudConfig, identity: Identity) -> AsyncIterator[int]:
    """Serve within the block; the port."""
    async with (
        app_of(config, identity) as app,
        serve(app, config.host, config.port, config.drain_s) as port,
    ):
        yield port


async def run(config: CloudConfig, identity: Identity, ready: Callable[[], None]) -> int:
    """Serve until SIGTERM, then drain. ready: called when it serves, and again when it has drained."""
    stop = asyncio.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(which, stop.set)
    async with served(config, identity):
        ready()
        await stop.wait()
    ready()
    return 0

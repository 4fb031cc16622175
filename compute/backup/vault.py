"""The engine as the volume room calls it: take, restore, adopt, drop, sweep.

A copy is named by an id that the caller chose. Everything may be done again after a crash.
"""

from collections.abc import Sequence
from typing import NamedTuple

from compute.backup.format import Root, root_bytes, root_name
from compute.backup.ledger import Ledger, Store
from compute.backup.restore import Restorer, read_root
from compute.backup.seal import KEY_BYTES, Keys
from compute.backup.sweep import Sweeper
from compute.backup.take import Copier, Source
from compute.site import Site
from compute.volume.drivers.contract import Disk, Extent

PURPOSE = "backups"


class Copy(NamedTuple):
    """Where a whole copy is: enough to find it again without a database, given the site's secret."""

    container: str
    copy_id: str
    sealed_key: bytes


class Vault:
    """All projects' copies. encrypts: whether new objects are encrypted."""

    def __init__(self, site: Site, *, encrypts: bool = False) -> None:
        self._objects = site.objects
        self._randomness = site.randomness
        self._sealer = site.sealer(PURPOSE)
        self._ledger = Ledger(site.database, site.clock, site.randomness)
        self._sweeper = Sweeper(site.database, site.objects)
        self._encrypts = encrypts

    def _keys(self, sealed_key: bytes) -> Keys:
        return Keys(self._sealer.open(sealed_key), self._randomness, encrypts=self._encrypts)

    async def _store(self, project_id: str) -> Store:
        sealed = self._sealer.seal(self._randomness.token(KEY_BYTES))
        store = await self._ledger.store(project_id, sealed)
        await self._objects.make_container(store.container)
        return store

    async def take(
        self,
        copy_id: str,
        project_id: str,
        disk: Disk,
        *,
        parent_id: str | None = None,
        changed: Sequence[Extent] | None = None,
        goes_on: bool = False,
    ) -> Copy:
        """Copy a disk, which must not change meanwhile.

        parent_id: a whole copy of the same volume; changed: what may differ from it. goes_on: the disk
        is as it was when an earlier attempt broke off. Raises TakenOver, NoSuchCopy, Damaged,
        StoreAway, StoreRefused, DatabaseAway.
        """
        store = await self._store(project_id)
        copy = Copy(store.container, copy_id, store.sealed_key)
        if await self._ledger.is_whole(copy_id):
            return copy
        begun = await self._ledger.begin(copy_id, store.container, disk.size_bytes)
        if begun.done and not goes_on:
            begun = await self._ledger.restart(begun)
        parent = await self._root(copy._replace(copy_id=parent_id)) if parent_id else None
        source = Source(disk, store.sealed_key, parent, changed)
        keys = self._keys(store.sealed_key)
        await Copier(self._ledger, self._objects, keys, begun, source).run()
        return copy

    async def _root(self, copy: Copy) -> Root:
        return await read_root(self._objects, self._keys(copy.sealed_key), copy.container, copy.copy_id)

    async def size_bytes(self, copy: Copy) -> int:
        """The size of what was copied. Raises NoSuchCopy, Damaged, StoreAway."""
        return (await self._root(copy)).size_bytes

    async def restore(self, copy: Copy, disk: Disk, *, is_blank: bool) -> None:
        """Write a copy to a disk. is_blank: it reads as zeroes all over.

        Raises NoSuchCopy, Damaged, StoreAway and what the disk raises.
        """
        keys = self._keys(copy.sealed_key)
        root = await self._root(copy)
        await Restorer(self._objects, keys, copy.container, root, disk, is_blank=is_blank).run()

    async def adopt(self, copy_id: str, project_id: str, source: Copy) -> Copy:
        """Another copy of the same bytes, which take no more room.

        One that is in another site's store, or of another project, stays where it is; nothing here will
        ever remove it. Raises NoSuchCopy, Damaged, StoreAway, AtollError (another site's secret).
        """
        root = await self._root(source)
        store = await self._store(project_id)
        if store.container != source.container:
            return source
        if await self._ledger.is_whole(copy_id):
            return source._replace(copy_id=copy_id)
        begun = await self._ledger.begin(copy_id, store.container, root.size_bytes)
        await self._ledger.adopt(await self._ledger.restart(begun), source.copy_id)
        content = self._keys(store.sealed_key).packed_root(root_bytes(root))
        await self._objects.put(store.container, root_name(copy_id), content)
        await self._ledger.finish(begun)
        return Copy(store.container, copy_id, store.sealed_key)

    async def drop(self, copy_id: str) -> None:
        """Forget a copy, made or in the making; `sweep` removes what only it needed."""
        await self._ledger.drop(copy_id)

    async def count(self, copy_id: str) -> int:
        """How many objects a whole copy refers to; 0 of one that this database does not know."""
        return await self._sweeper.count(copy_id)

    async def sweep(self) -> int:
        """Remove what no copy needs; how many objects."""
        return sum([await self._sweeper.sweep(name) for name in await self._sweeper.dirty()])

"""Performs imports: one stream from the source into the first store, then from there into the others.

A store that fails ends the import, or is noted where the request allows that. Whatever ends an import,
its task ends with it.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.database.engine import DatabaseAway
from compute.image.call import ROOM, Images
from compute.image.formats.inspect import Inspector, Mismatch
from compute.image.imports.convert import ConversionFailed, converted
from compute.image.imports.tasks import end_task, fail_import
from compute.image.imports.web import DownloadFailed, download
from compute.image.models import Effort, Image, ImageCopy, Staged, Task
from compute.image.settings import Store
from compute.image.transfer import TooMuch, Written, pieces_of, read, write
from compute.image.uploads import abandon, add_copy, drop_staged, set_bytes, start
from compute.objects.errors import NoSuchObject, StoreAway, StoreRefused
from compute.volume.drivers.contract import Piece

AT_ONCE: Final = 4

log = logging.getLogger("atoll.cloud.image")

_FAILURES: Final = (
    Mismatch,
    TooMuch,
    DownloadFailed,
    ConversionFailed,
    StoreAway,
    StoreRefused,
    NoSuchObject,
)


class Vanished(Exception):
    """The image was deleted during its import."""


class Job(NamedTuple):
    """What is to be imported. source: pieces; empty for what comes from `uri`."""

    task_id: str
    image_id: str
    disk_format: str
    container_format: str
    stores: tuple[Store, ...]
    all_must_succeed: bool
    is_copy: bool
    uri: str | None
    source: tuple[Piece, ...]


class Runner:
    """One per process."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, task_id: str) -> None:
        """Begin a task. On the event loop."""
        task = asyncio.create_task(self._run(task_id), name=f"image import {task_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """End all that runs; their tasks fail."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, task_id: str) -> None:
        try:
            async with self._slots:
                job = await self._images.site.database.run(lambda: self._job(task_id))
                await self._import(job)
        except asyncio.CancelledError:
            await asyncio.shield(self._fail(task_id, "The service was stopped during the import."))
            raise
        except Vanished:
            await self._fail(task_id, "The image was deleted during the import.")
        except _FAILURES as error:
            await self._fail(task_id, str(error) or type(error).__name__)
        except DatabaseAway as error:
            log.warning("an import's end can't be noted now, it fails at the next start: %s", error)
        except Exception:
            log.exception("import %s failed", task_id)
            await self._fail(task_id, "An unexpected error ended the import.")
        self._images.sweeper.wake()

    async def _fail(self, task_id: str, message: str) -> None:
        def fail() -> None:
            with self._images.site.database.write(ROOM, changes=False) as session:
                task = session.get(Task, task_id)
                if task is not None:
                    fail_import(self._images, session, task, message)

        with contextlib.suppress(DatabaseAway):
            await self._images.site.database.run(fail)

    def _job(self, task_id: str) -> Job:
        """Raises Vanished."""
        with self._images.site.database.write(ROOM, changes=False) as session:
            task = session.get(Task, task_id)
            image = session.get(Image, task.image_id) if task is not None else None
            if task is None or image is None:
                raise Vanished
            task.status, task.updated_us = "processing", self._images.site.now_us()
            method = task.input["import_req"]["method"]
            is_copy = method["name"] == "copy-image"
            places = self._images.settings.places
            return Job(
                task_id,
                image.id,
                image.disk_format or "raw",
                image.container_format or "bare",
                tuple(places[name] for name in task.input["backend"]),
                task.input["import_req"].get("all_stores_must_succeed", True),
                is_copy,
                method.get("uri"),
                _source(session, image.id, is_copy=is_copy),
            )

    def _bytes(self, job: Job) -> AsyncIterator[bytes]:
        if job.uri is not None:
            return download(job.uri, self._images.settings)
        return read(self._images.site.objects, job.source)

    async def _import(self, job: Job) -> None:
        """Raises what ends it."""
        source, done = job.source, 0
        for store in job.stores:
            try:
                if job.is_copy or done:
                    again = read(self._images.site.objects, source)
                    await self._into(job, store, again, None)
                else:
                    source = await self._first(job, store)
                done += 1
            except _FAILURES as error:
                if job.all_must_succeed or (not done and not job.is_copy and store == job.stores[-1]):
                    raise
                log.warning("import into %s failed: %s", store.name, error)
                await self._note(job, store)
        if not done and not job.is_copy:
            raise DownloadFailed("no store took the image")
        await self._images.site.database.run(functools.partial(self._done, job))

    async def _first(self, job: Job, store: Store) -> tuple[Piece, ...]:
        """From the source, converted where that is configured."""
        target = self._images.settings.convert_to
        if not target or target == job.disk_format or job.container_format != "bare":
            inspector = Inspector(job.disk_format, job.container_format)
            return await self._into(job, store, self._bytes(job), inspector)
        folder = self._images.site.folder
        async with converted(self._bytes(job), job.disk_format, target, folder) as chunks:
            return await self._into(job, store, chunks, Inspector(target), target)

    async def _into(
        self,
        job: Job,
        store: Store,
        chunks: AsyncIterator[bytes],
        inspector: Inspector | None,
        disk_format: str | None = None,
    ) -> tuple[Piece, ...]:
        """Into one store: who writes is a row first."""
        images, database = self._images, self._images.site.database

        def begin() -> Effort:
            with database.write(ROOM, changes=False) as session:
                return start(images, session, job.image_id, store.container)

        effort = await database.run(begin)
        try:
            await images.site.objects.make_container(store.container, store.policy)
            written = await write(
                images.site.objects,
                store.container,
                effort.prefix,
                chunks,
                inspector,
                images.settings.size_max_bytes,
            )

            def finish() -> None:
                with database.write(ROOM, changes=False) as session:
                    self._stored(session, job, store, effort, written, disk_format)

            await database.run(finish)
        except BaseException:
            await asyncio.shield(database.run(functools.partial(self._abandon, effort.id)))
            raise
        return pieces_of(store.container, written.parts)

    def _stored(
        self,
        session: Session,
        job: Job,
        store: Store,
        effort: Effort,
        written: Written,
        disk_format: str | None,
    ) -> None:
        image = session.get(Image, job.image_id)
        row = session.get(Effort, effort.id)
        if image is None or row is None or (image.status != "importing" and not job.is_copy):
            raise Vanished
        if not job.is_copy and image.checksum is None:
            set_bytes(image, written)
            image.disk_format = disk_format or image.disk_format
        add_copy(self._images, session, image.id, store.name, store.container, effort.prefix, written)
        image.importing_to = _without(image.importing_to, store.name)
        image.updated_us = self._images.site.now_us()
        session.delete(row)

    def _abandon(self, effort_id: str) -> None:
        with self._images.site.database.write(ROOM, changes=False) as session:
            abandon(session, effort_id)

    async def _note(self, job: Job, store: Store) -> None:
        def note() -> None:
            with self._images.site.database.write(ROOM, changes=False) as session:
                image = session.get(Image, job.image_id)
                if image is None:
                    raise Vanished
                image.importing_to = _without(image.importing_to, store.name)
                failed = [each for each in (image.failed_stores or "").split(",") if each]
                image.failed_stores = ",".join([*failed, store.name])

        await self._images.site.database.run(note)

    def _done(self, job: Job) -> None:
        with self._images.site.database.write(ROOM, changes=False) as session:
            image = session.get(Image, job.image_id)
            if image is None or (image.status != "importing" and not job.is_copy):
                raise Vanished
            if not job.is_copy:
                image.status = "active"
                drop_staged(self._images, session, image.id)
            image.importing_to = ""
            image.updated_us = self._images.site.now_us()
            end_task(self._images, session, job.task_id, "success", "")


def _source(session: Session, image_id: str, *, is_copy: bool) -> tuple[Piece, ...]:
    if is_copy:
        query = select(ImageCopy).where(ImageCopy.image_id == image_id)
        copy = session.scalars(query.order_by(ImageCopy.created_us)).first()
        return pieces_of(copy.container, copy.parts) if copy is not None else ()
    staged = session.get(Staged, image_id)
    return pieces_of(staged.container, staged.parts) if staged is not None else ()


def _without(names: str | None, name: str) -> str:
    return ",".join(each for each in (names or "").split(",") if each and each != name)


def said_import(image_id: str, body: dict[str, Any], stores: list[str]) -> dict[str, Any]:
    """A task's input, as upstream writes it."""
    return {"image_id": image_id, "import_req": body, "backend": stores}

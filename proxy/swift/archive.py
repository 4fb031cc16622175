"""PUT ?extract-archive: every file of a tar becomes an object, read as the archive arrives.

Source: the Swift manual, "Bulk Operations". Names come below the request's path; with an account's path
the first part of a name is the container, made where it is missing. Memory stays at a few pieces.
"""

import contextlib
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from proxy.auth.errors import AuthError
from proxy.core.contract import Store
from proxy.core.errors import ContainerExists, StoreError
from proxy.core.types import OBJECT_PUT_MAX_BYTES, ObjectAttributes
from proxy.swift import formats
from proxy.swift.access import Need, open_container, require_owner
from proxy.swift.bulk import Report, finished, send_report
from proxy.swift.byte_source import BadCompression, ByteSource, Decompressed
from proxy.swift.container import check_container_name
from proxy.swift.errors import SwiftError, answer_for, bad_request
from proxy.swift.metadata import content_headers, delete_at, guess_type, user_metadata
from proxy.swift.request import SwiftRequest, Target, check_object_name
from proxy.swift.tar import BadArchive, Entry, TarReader

COMPRESSIONS: Final = {"tar": "", "tar.gz": "gz", "tar.bz2": "bz2"}
CONTAINERS_MAX: Final = 10_000
FAILURES_MAX: Final = 1000
_CREATED: Final = "Number Files Created"


async def extract_archive(store: Store, request: SwiftRequest) -> web.StreamResponse:
    """Answer with a report of the files created. Raises SwiftError 400 for an unknown format."""
    media_type = formats.wanted_format(
        {k: v for k, v in request.query.items() if k == "format"}, request.header("Accept")
    )
    compression = COMPRESSIONS.get(request.query["extract-archive"].lower())
    if compression is None:
        raise bad_request("Unsupported archive format")
    delete_at(request.headers, request.now_s)  # refused before the answer begins
    body = ByteSource(request.body().read)
    await body.prime()
    extraction = Extraction(store, request, _decoded(body, compression))

    async def work() -> Report:
        await extraction.run()
        return finished(extraction.report, "Invalid Tar File: No Valid Files.")

    return await send_report(request, media_type, "upload", work)


def _decoded(body: ByteSource, compression: str) -> ByteSource:
    async def piece() -> bytes:
        return await body.some(1024 * 1024)

    return ByteSource(Decompressed(piece, compression).read) if compression else body


class Extraction:
    """One archive on its way into the store."""

    def __init__(self, store: Store, request: SwiftRequest, source: ByteSource) -> None:
        self._store = store
        self._request = request
        self._source = source
        self._containers: set[str] = set()
        self.report = Report({_CREATED: 0}, success=201)

    async def run(self) -> None:
        """Take in every file. What ends the whole is in the report; unknown faults are raised."""
        try:
            reader = TarReader(self._source)
            while (entry := await reader.next_entry()) is not None:
                if entry.regular:
                    await self._try_store(reader, entry)
                if len(self.report.errors) >= FAILURES_MAX:
                    self.report.ended(400, f"More than {FAILURES_MAX} files failed")
                    return
            await self._source.skip(2**62)  # padding: the connection stays good for the next request
        except (BadArchive, BadCompression) as error:
            self.report.ended(400, f"Invalid Tar File: {error}")
        except (StoreError, AuthError, SwiftError) as error:
            refusal = answer_for(error)
            self.report.ended(refusal.status, refusal.text)

    async def _try_store(self, reader: TarReader, entry: Entry) -> None:
        target = target_of(self._request.target, entry.name)
        if target is None:
            return
        try:
            await self._store_entry(reader, entry, target)
        except (StoreError, AuthError, SwiftError) as error:
            if (status := answer_for(error).status) in (401, 499, 408):
                raise
            self.report.failed(f"{target.container}/{target.name}", status)

    async def _store_entry(self, reader: TarReader, entry: Entry, target: Target) -> None:
        check_target(target)
        if entry.size_bytes > OBJECT_PUT_MAX_BYTES:
            raise SwiftError(413)
        attributes = entry_attributes(self._request, entry, target.name)
        await self._make_container(target)
        container = await open_container(
            self._store, self._request.caller, target.account, target.container, Need.WRITE
        )
        await self._store.put_object(container, target.name, reader.body, attributes)
        self.report.counts[_CREATED] += 1

    async def _make_container(self, target: Target) -> None:
        """Make the container of a file where the request names only the account."""
        if self._request.target.container or target.container in self._containers:
            return
        require_owner(self._request.caller, target.account)
        if len(self._containers) >= CONTAINERS_MAX:
            raise bad_request(f"More than {CONTAINERS_MAX} containers to create from tar.")
        with contextlib.suppress(ContainerExists):
            await self._store.create_container(target.account, target.container)
        self._containers.add(target.container)


def target_of(base: Target, name: str) -> Target | None:
    """Where a file of the archive goes; None for one that would lie beside the containers."""
    path = name.removeprefix("./").lstrip("/")
    if base.container:
        prefix = f"{base.name.rstrip('/')}/" if base.name else ""
        return Target(base.account, base.container, prefix + path) if path else None
    container, _, rest = path.partition("/")
    return Target(base.account, container, rest) if container and rest else None


def check_target(target: Target) -> None:
    """Raises SwiftError 412 for a name that is not UTF-8 or has a NUL, 400 for one too long."""
    try:
        text = f"{target.container}/{target.name}".encode()
    except UnicodeEncodeError as error:
        raise SwiftError(412) from error
    if b"\0" in text:
        raise SwiftError(412)
    check_container_name(target.container)
    check_object_name(target.name)


def entry_attributes(request: SwiftRequest, entry: Entry, name: str) -> ObjectAttributes:
    """What a file's object says of itself: its own extended attributes, the request's content headers
    and expiry. Raises SwiftError 400."""
    own: Mapping[str, str] = {f"X-Object-Meta-{key}": value for key, value in entry.meta.items()}
    given = "" if request.flag("X-Detect-Content-Type") else entry.media_type
    return ObjectAttributes(
        content_type=given or guess_type(name),
        headers=content_headers(request.headers),
        meta=user_metadata(own, "object"),
        delete_at_s=delete_at(request.headers, request.now_s),
    )

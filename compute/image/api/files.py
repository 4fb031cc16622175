"""/v2/images/{image_id}/file: bytes in and out, and out of single stores."""

import re
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from compute.image import quotas
from compute.image.api.images import UnsupportedMediaType
from compute.image.cache import read_file, source
from compute.image.call import Call, Handler
from compute.image.formats.inspect import Mismatch
from compute.image.models import Image, ImageCopy
from compute.image.settings import Store
from compute.image.transfer import TooMuch, Written, cut, read
from compute.image.uploads import Begun, add_copy, begin, discard_copy, perform, set_bytes
from compute.server.errors import ApiError, BadRequest, Conflict, Forbidden, NotFound, TooLarge
from compute.server.request import NO_CONTENT, Answer, Request

OCTETS: Final = "application/octet-stream"
STORE_HEADER: Final = "X-Image-Meta-Store"
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class OutOfRange(ApiError):
    """The range has nothing of the image."""

    status = 416


def check_octets(call: Call) -> None:
    """Raises UnsupportedMediaType."""
    kind = call.request.headers.get("Content-Type", "")
    if kind != OCTETS:
        raise UnsupportedMediaType(f"The request's body must be {OCTETS}, not {kind or 'untyped'}.")


def announced_bytes(request: Request) -> int | None:
    """Of the body; a connection that brings fewer raises. None where nobody says."""
    said = request.headers.get("Content-Length")
    return int(said) if said is not None else None


def chosen_store(call: Call) -> Store:
    """The store that the header names, or the default. Raises BadRequest."""
    name = call.request.headers.get(STORE_HEADER)
    if name is None:
        return call.settings.default_store
    if name not in call.settings.places:
        raise BadRequest(f'Requested backend "{name}" is not enabled.')
    return call.settings.places[name]


async def upload(call: Call) -> Answer:
    """PUT: 204 when the image is active."""
    check_octets(call)
    store = chosen_store(call)
    stream = call.request.stream
    assert stream is not None

    def start() -> Begun:
        with call.write() as session:
            image = call.image(session, "upload_image")
            announced_mib = quotas.announced_mib(call.request)
            wanted = {"image_size_total": announced_mib, "image_count_uploading": 1}
            quotas.check(session, call.settings, image.owner, wanted)
            return begin(call.images, session, image, store, "saving")

    begun = await call.site.database.run(start)

    def finish(session: Session, image: Image, written: Written) -> None:
        set_bytes(image, written)
        image.status = "active"
        add_copy(call.images, session, image.id, store.name, begun.container, begun.prefix, written)

    try:
        await perform(call.images, begun, stream, finish, announced_bytes(call.request))
    except Mismatch as error:
        raise UnsupportedMediaType(error.reason) from error
    except TooMuch as error:
        limit = call.settings.size_max_bytes
        raise TooLarge(f"The image's size is limited to {limit} bytes.") from error
    return NO_CONTENT


async def download(call: Call) -> Answer:
    """GET: all of it, or a range; 204 where there is nothing yet."""

    def look() -> tuple[Image, ImageCopy | None]:
        with call.read() as session:
            image = call.image(session, "download_image")
            if image.status == "deactivated" and not call.is_admin:
                raise Forbidden(
                    "The requested image has been deactivated. Image data download is forbidden."
                )
            copies = select(ImageCopy).where(ImageCopy.image_id == image.id)
            return image, session.scalars(copies.order_by(ImageCopy.created_us)).first()

    image, copy = await call.site.database.run(look)
    if copy is None or image.status not in ("active", "deactivated", "importing"):
        return NO_CONTENT
    size = image.size_bytes or 0
    start, length, partial = _asked(call, size)
    near = source(image.id, copy.container, copy.prefix, copy.parts)
    headers = {"Content-Type": OCTETS, "Content-Length": str(length), "Accept-Ranges": "bytes"}
    if partial:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    elif image.checksum:
        headers["Content-MD5"] = image.checksum
    status = 206 if partial else 200
    if (file := await call.images.cache.find(near)) is not None:
        return Answer(status, None, headers, read_file(file, start, length))
    return Answer(status, None, headers, read(call.site.objects, cut(near.pieces, start, length)))


def _asked(call: Call, size: int) -> tuple[int, int, bool]:
    """Offset, length, and whether it is a range. Raises OutOfRange, BadRequest."""
    wanted = call.request.headers.get("Range")
    if wanted is not None and (found := _RANGE.fullmatch(wanted.replace(" ", ""))):
        first, last = found[1], found[2]
        if first:
            start, end = int(first), min(int(last) if last else size - 1, size - 1)
        else:
            start, end = max(size - int(last or 0), 0), size - 1
        if start >= size or end < start:
            raise OutOfRange("The requested range can not be satisfied.")
        return start, end - start + 1, True
    wanted = call.request.headers.get("Content-Range")
    if wanted is not None:  # upstream takes it in requests, too
        found = _CONTENT_RANGE.fullmatch(wanted)
        if found is None or int(found[2]) < int(found[1]) or int(found[1]) >= size:
            raise OutOfRange("The requested range can not be satisfied.")
        end = min(int(found[2]), size - 1)
        return int(found[1]), end - int(found[1]) + 1, True
    return 0, size, False


def delete_from_store(call: Call) -> Answer:
    """DELETE /v2/stores/{store}/{image_id}: one copy, never the last one."""
    store = call.path["store"]
    if store not in call.settings.places:
        raise NotFound(f"The selected store {store} is not available on this node.")
    with call.write() as session:
        image = call.image(session, "delete_image_location")
        copies = session.scalars(select(ImageCopy).where(ImageCopy.image_id == image.id)).all()
        found = next((copy for copy in copies if copy.store == store), None)
        if image.protected:
            raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
        if image.status != "active":
            raise Conflict("It's not allowed to remove locations if image status is not active.")
        if found is None:
            raise NotFound(f"Image {image.id} is not stored on store {store}.")
        if len(copies) == 1:
            raise Forbidden("Cannot delete last location of the image.")
        discard_copy(call.images, session, found)
    call.images.sweeper.wake()
    return NO_CONTENT


ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("PUT", "/v2/images/{image_id}/file", upload),
    ("GET", "/v2/images/{image_id}/file", download),
    ("DELETE", "/v2/stores/{store}/{image_id}", delete_from_store),
]

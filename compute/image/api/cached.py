"""/v2/cache: images that this host keeps on its own disk. For operators."""

import asyncio
from typing import Any, Final

from sqlalchemy import select

from compute.image.cache import Cached, Source, source
from compute.image.call import Call, Handler
from compute.image.metadefs.call import instant
from compute.image.models import Image, ImageCopy
from compute.server.errors import BadRequest, NotFound
from compute.server.request import NO_CONTENT, Answer, json_answer

TARGET_HEADER: Final = "X-Image-Cache-Clear-Target"


def _enforce(call: Call, rule: str) -> None:
    """Raises Forbidden; NotFound where there is no cache."""
    call.enforce(rule)
    if call.images.cache.limit_bytes == 0:
        raise NotFound("Caching via API is not supported at this site.")


def _view(cached: Cached) -> dict[str, Any]:
    return {
        "image_id": cached.image_id,
        "size": cached.size_bytes,
        "hits": cached.hits,
        "last_accessed": instant(int(cached.read_s * 1e6)),
        "last_modified": instant(int(cached.written_s * 1e6)),
    }


async def state(call: Call) -> Answer:
    """GET: what is there and what waits."""
    _enforce(call, "cache_list")
    listed = await asyncio.to_thread(call.images.cache.listed)
    shown = [_view(each) for each in listed]
    return json_answer({"cached_images": shown, "queued_images": call.images.cache.queued})


async def queue(call: Call) -> Answer:
    """PUT of one: 202, it is copied when its turn comes."""
    _enforce(call, "cache_image")

    def look() -> Source:
        with call.read() as session:
            image = session.get(Image, call.path["image_id"])
            if image is None:
                raise NotFound(f"Image {call.path['image_id']} not found.")
            if image.status != "active":
                raise BadRequest("Only images with status active can be targeted for queueing")
            copies = select(ImageCopy).where(ImageCopy.image_id == image.id)
            copy = session.scalars(copies.order_by(ImageCopy.created_us)).first()
            if copy is None:
                raise BadRequest("Only images with data can be targeted for queueing")
            return source(image.id, copy.container, copy.prefix, copy.parts)

    wanted = await call.site.database.run(look)
    if not call.images.cache.queue(wanted):
        raise BadRequest(f"Image {wanted.image_id} does not fit into the cache.")
    return Answer(202)


async def remove(call: Call) -> Answer:
    """DELETE of one, cached or waiting."""
    _enforce(call, "cache_delete")
    image_id, cache = call.path["image_id"], call.images.cache
    waited = cache.unqueue(image_id)
    if not await asyncio.to_thread(cache.drop, image_id) and not waited:
        await call.site.database.run(lambda: _must_be(call, image_id))
    return NO_CONTENT


def _must_be(call: Call, image_id: str) -> None:
    """An image that is not in the cache may be dropped from it. Raises NotFound."""
    with call.read() as session:
        if session.get(Image, image_id) is None:
            raise NotFound(f"Image {image_id} not found.")


async def clear(call: Call) -> Answer:
    """DELETE of all: what is there, what waits, or both."""
    _enforce(call, "cache_delete")
    target = call.request.headers.get(TARGET_HEADER, "").lower()
    if target not in ("", "cache", "queue"):
        raise BadRequest(
            "If provided 'x-image-cache-clear-target' must be 'cache', 'queue' or empty string."
        )
    if target != "cache":
        call.images.cache.unqueue_all()
    if target != "queue":
        await asyncio.to_thread(call.images.cache.drop_all)
    return NO_CONTENT


ROUTES: Final[list[tuple[str, str, Handler]]] = [
    ("GET", "/v2/cache", state),
    ("DELETE", "/v2/cache", clear),
    ("PUT", "/v2/cache/{image_id}", queue),
    ("DELETE", "/v2/cache/{image_id}", remove),
]

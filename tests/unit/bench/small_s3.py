"""A small S3 server in memory, run as a process of its own by the generator's tests.

usage: small_s3.py [FAULT]. Prints its port once it listens. FAULT makes it wrong on purpose:
`swap` answers every GET of an object with another's bytes, `short` with one byte less, `busy` every
tenth PUT with 503, `skip` leaves a key out of each page, `hangup` drops every tenth connection.
"""

import asyncio
import hashlib
import itertools
import sys

from aiohttp import web

OBJECTS: dict[str, bytes] = {}
PARTS: dict[int, bytes] = {}
COUNT = itertools.count(1)
FAULT = sys.argv[1] if len(sys.argv) > 1 else ""


def _etag(body: bytes) -> dict[str, str]:
    return {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    if "authorization" not in request.headers and request.path != "/healthcheck":
        return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
    bucket, _, key = request.path.strip("/").partition("/")
    if not key:
        return _list(request) if request.method == "GET" and bucket else web.Response()
    turn = next(COUNT)
    if FAULT == "hangup" and turn % 10 == 0:
        assert request.transport is not None
        request.transport.close()
    match request.method:
        case "PUT":
            return await _put(request, turn)
        case "POST":
            return await _post(request)
        case "DELETE":
            return web.Response(status=204 if OBJECTS.pop(request.path, None) is not None else 404)
    return _get(request)


async def _put(request: web.BaseRequest, turn: int) -> web.Response:
    body = b"".join([piece async for piece in request.content.iter_any()])
    if FAULT == "busy" and turn % 10 == 0:
        return web.Response(status=503, text="<Error><Code>SlowDown</Code></Error>")
    if "partNumber" in request.query:
        PARTS[int(request.query["partNumber"])] = body
    else:
        OBJECTS[request.path] = body
    return web.Response(headers=_etag(body))


async def _post(request: web.BaseRequest) -> web.Response:
    if "uploads" in request.query:
        PARTS.clear()
        return web.Response(text="<R><UploadId>an-upload</UploadId></R>")
    asked = await request.text()
    if any(_etag(part)["ETag"] not in asked for part in PARTS.values()):
        return web.Response(text="<Error><Code>InvalidPart</Code></Error>")
    OBJECTS[request.path] = b"".join(PARTS[number] for number in sorted(PARTS))
    return web.Response(text="<CompleteMultipartUploadResult/>")


def _get(request: web.BaseRequest) -> web.Response:
    body = OBJECTS.get(request.path)
    if body is None:
        return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
    if request.method == "HEAD":
        return web.Response(headers={"Content-Length": str(len(body))})
    if FAULT == "swap":
        body = body[1:] + body[:1]
    return web.Response(body=body[1:] if FAULT == "short" else body, headers=_etag(body))


def _list(request: web.BaseRequest) -> web.Response:
    bucket = f"/{request.path.strip('/')}/"
    after, prefix = request.query.get("start-after", ""), request.query.get("prefix", "")
    names = sorted(path.removeprefix(bucket) for path in OBJECTS if path.startswith(bucket + prefix))
    page = [name for name in names if name > after][: int(request.query.get("max-keys", 1000))]
    if FAULT == "skip":
        del page[len(page) // 2 : len(page) // 2 + 1]
    entries = "".join(f"<Contents><Key>{name}</Key></Contents>" for name in page)
    return web.Response(text=f"<ListBucketResult>{entries}</ListBucketResult>")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

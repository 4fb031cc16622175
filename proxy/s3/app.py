"""The S3 front end as one callable: reads a request, admits it, finds its verb, tells its errors.

`proxy/door.py` calls `S3App.handle` for every request that is S3's. The routing table below is the
whole surface; what S3 knows and the table lacks is `NotImplemented`.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from aiohttp import web

from proxy.auth.admission import S3Admission
from proxy.auth.errors import NotAuthorized, UnknownAccessKey
from proxy.auth.keystone_keys import KeystoneKeys
from proxy.auth.payload import payload_mode_without_v4
from proxy.auth.types import RequestView
from proxy.auth.users import UserDirectory
from proxy.core.contract import Store
from proxy.core.types import Container
from proxy.http import VERB
from proxy.s3 import (
    account,
    attributes,
    bucket,
    delete,
    get,
    list,  # noqa: A004 - the verb's name, as in the core
    multipart,
    multipart_list,
    put,
    settings,
)
from proxy.s3.context import Access, Context, bucket_for, check_owner
from proxy.s3.errors import S3Error, not_implemented, told
from proxy.s3.refusals import refuse_absent
from proxy.s3.reply import error_answer
from proxy.s3.request import BUCKET, OBJECT, SERVICE, S3Request, read_headers, read_target
from runtime.clock import Clock

DRAIN_MAX_BYTES: Final = 256 * 1024
"""After an error, a body of at most this size is read to its end; else the connection closes."""

Handler = Callable[[Context, S3Request, Container], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """A verb, and what it needs of the bucket. fresh: see `bucket_for`."""

    handler: Handler
    access: Access
    fresh: bool = False


ROUTES: Final[dict[tuple[str, int, str], Route]] = {
    ("HEAD", BUCKET, ""): Route(bucket.head_bucket, Access.LIST, fresh=True),
    ("DELETE", BUCKET, ""): Route(bucket.delete_bucket, Access.OWN),
    ("GET", BUCKET, "location"): Route(bucket.get_location, Access.LIST, fresh=True),
    ("GET", BUCKET, ""): Route(list.list_objects, Access.LIST),
    ("GET", BUCKET, "versions"): Route(list.list_versions, Access.LIST),
    ("GET", BUCKET, "uploads"): Route(multipart_list.list_uploads, Access.OWN),
    ("POST", BUCKET, "delete"): Route(delete.delete_objects, Access.WRITE),
    ("GET", OBJECT, ""): Route(get.get_object, Access.READ),
    ("HEAD", OBJECT, ""): Route(get.head_object, Access.READ),
    ("PUT", OBJECT, ""): Route(put.put_object, Access.WRITE),
    ("DELETE", OBJECT, ""): Route(delete.delete_object, Access.WRITE),
    ("GET", OBJECT, "attributes"): Route(attributes.get_attributes, Access.READ),
    ("POST", OBJECT, "uploads"): Route(multipart.create_upload, Access.WRITE),
    ("PUT", OBJECT, "uploadId"): Route(multipart.upload_part, Access.WRITE),
    ("POST", OBJECT, "uploadId"): Route(multipart.complete_upload, Access.WRITE),
    ("DELETE", OBJECT, "uploadId"): Route(multipart.abort_upload, Access.WRITE),
    ("GET", OBJECT, "uploadId"): Route(multipart_list.list_parts, Access.WRITE),
    ("GET", BUCKET, "acl"): Route(settings.get_bucket_acl, Access.OWN, fresh=True),
    ("GET", OBJECT, "acl"): Route(settings.get_object_acl, Access.OWN),
    ("GET", OBJECT, "tagging"): Route(settings.get_object_tagging, Access.OWN),
    ("GET", OBJECT, "retention"): Route(settings.get_object_lock, Access.OWN),
    ("GET", OBJECT, "legal-hold"): Route(settings.get_object_lock, Access.OWN),
    **{
        ("GET", BUCKET, sub): Route(settings.get_absent, Access.OWN, fresh=True)
        for sub in settings.ABSENT
    },
    **{("GET", BUCKET, sub): Route(settings.get_off, Access.OWN, fresh=True) for sub in settings.OFF},
}
"""By method, level and sub-resource. ListBuckets and CreateBucket, which have no bucket yet, are in
`S3App._serve`."""

METHODS: Final = {
    SERVICE: ("GET",),
    BUCKET: ("GET", "HEAD", "PUT", "POST", "DELETE"),
    OBJECT: ("GET", "HEAD", "PUT", "POST", "DELETE"),
}
"""What each level knows without a sub-resource, for Allow."""

_log = logging.getLogger("atoll.s3")


class S3App:
    """The S3 API of one store.

    users: who has access keys. region: what the store calls itself; requests may be signed for any.
    domains: suffixes under which a bucket may stand in the Host header. keystone: admits who is not
    among the users.
    """

    def __init__(
        self,
        store: Store,
        users: UserDirectory,
        clock: Clock,
        region: str = bucket.DEFAULT_REGION,
        domains: tuple[str, ...] = (),
        keystone: KeystoneKeys | None = None,
    ) -> None:
        self._context = Context(store, region)
        self._admission = S3Admission(users)
        self._keystone = keystone
        self._clock = clock
        self._domains = tuple(domain.lower().strip(".") for domain in domains)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, errors included. Raises only CancelledError, and ConnectionError where an
        answer that had begun could not be finished."""
        request = S3Request(http, self._clock.now_ns())
        try:
            return await self._serve(request)
        except Exception as error:
            return _refused(request, error)

    def refused(self, http: web.BaseRequest, error: Exception) -> web.StreamResponse:
        """The answer to a request that was refused before it was looked at."""
        return _refused(S3Request(http, self._clock.now_ns()), error)

    async def _serve(self, request: S3Request) -> web.StreamResponse:
        read_target(request, self._domains)
        read_headers(request)
        await self._admit(request)
        level = request.level
        route = ROUTES.get((request.method, level, request.sub))
        if request.amz:
            refuse_absent(request.amz)
        if route is None:
            return await self._serve_other(request)
        request.http[VERB] = route.handler.__name__
        container = await bucket_for(
            self._context, request, request.bucket, route.access, fresh=route.fresh
        )
        if "x-amz-expected-bucket-owner" in request.amz:
            check_owner(request.amz["x-amz-expected-bucket-owner"], container)
        return await route.handler(self._context, request, container)

    async def _admit(self, request: S3Request) -> None:
        """Find out who asks. Raises AuthError."""
        view = RequestView(
            request.method, request.raw_path, request.raw_query, request.headers, request.now_ns / 1e9
        )
        try:
            authenticated = self._admission.admit(view, request.host_bucket)
        except UnknownAccessKey:
            if self._keystone is None:
                raise
            authenticated = await self._keystone.admit(view, request.host_bucket)
        if authenticated is None:
            request.payload = payload_mode_without_v4(request.headers)
        else:
            request.authenticated = authenticated
            request.user = authenticated.user
            request.payload = authenticated.payload

    async def _serve_other(self, request: S3Request) -> web.StreamResponse:
        """What the table has not: the two verbs without a bucket, and what is not there."""
        if request.user is None:
            raise NotAuthorized
        match request.method, request.level, request.sub:
            case "GET", 0, "":
                request.http[VERB] = "list_buckets"
                return await account.list_buckets(self._context, request)
            case "PUT", 1, "":
                request.http[VERB] = "create_bucket"
                return await bucket.create_bucket(self._context, request)
        raise unknown_call(request.method, request.level, request.sub)


def unknown_call(method: str, level: int, sub: str) -> S3Error:
    """501 for what S3 has and this store has not; 405 for what S3 has not."""
    if sub:
        return not_implemented(f"{method} of ?{sub}")
    if method == "OPTIONS":
        return not_implemented("CORS")
    if method == "POST" and level != SERVICE:
        return not_implemented("POST without a sub-resource")
    return S3Error("MethodNotAllowed", headers={"Allow": ", ".join(METHODS[level])})


def _refused(request: S3Request, error: Exception) -> web.StreamResponse:
    """The answer that tells the error; the rest of the request's body is left in good order."""
    http = request.http
    if http.writer.output_size > 0:  # an answer was under way: it can only be cut off
        if not isinstance(error, ConnectionError):
            _log.error("request %s failed on its way out: %r", request.request_id, error)
        raise ConnectionResetError("the answer could not be finished") from error
    known = told(error, request.place)
    if known is None:
        _log.error("request %s failed", request.request_id, exc_info=error)
        known = S3Error("InternalError")
    answer = error_answer(known, request.raw_path, request.request_id, request.now_ns)
    if known.code == "RequestTimeout" or must_close(http):
        answer.force_close()
    return answer


def must_close(http: web.BaseRequest) -> bool:
    """Is the connection of no use after this request, because of what is left of its body?

    A client that waits for "100 Continue" may send its body after all, or not: nobody knows where the
    next request begins. A long body is not worth reading to its end.
    """
    if http.content.is_eof():
        return False
    if "Expect" in http.headers:
        return True
    length = http.headers.get("Content-Length")
    return length is None or int(length) > DRAIN_MAX_BYTES

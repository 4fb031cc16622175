"""ListObjects, ListObjectsV2 and ListObjectVersions."""

import base64
import binascii
from collections.abc import Callable
from typing import Final

from aiohttp import web

from proxy.core.types import Container, ListQuery, ObjectInfo, ObjectPage
from proxy.s3 import xml
from proxy.s3.context import Context
from proxy.s3.errors import invalid_argument
from proxy.s3.reply import xml_answer
from proxy.s3.request import S3Request
from proxy.s3.times import whole_seconds, xml_date

KEYS_MAX: Final = 1000
"""A page has at most this many keys and common prefixes, whatever max-keys asks for."""
MAX_KEYS_PARAMETER_MAX: Final = 2**31 - 1

_TOKEN_PREFIX = b"1"


class _Listing:
    """What the three listings have in common: bounds, and how names are spelled."""

    def __init__(self, request: S3Request) -> None:
        query = request.query
        self.prefix = query.get("prefix", "")
        self.delimiter = query.get("delimiter", "")
        asked = request.number("max-keys", KEYS_MAX, 0, MAX_KEYS_PARAMETER_MAX)
        self.limit = min(asked, KEYS_MAX)
        self.encoding = read_encoding(request)
        self.spell: Callable[[str], str] = xml.url_encoded if self.encoding else xml.escape

    async def page(self, context: Context, container: Container, marker: str) -> ObjectPage:
        """The page after `marker`; nothing is asked for where nothing may be listed."""
        if self.limit == 0:
            return ObjectPage([], "")
        query = ListQuery(self.prefix, self.delimiter, marker, "", self.limit)
        return await context.store.list_objects(container, query)

    def named(self, element: str, name: str) -> str:
        """An element that holds a name, empty ones included."""
        return f"<{element}>{self.spell(name)}</{element}>"

    def head(self, container: Container) -> str:
        """The elements that echo the request."""
        parts = [xml.element("Name", container.name), self.named("Prefix", self.prefix)]
        if self.delimiter:
            parts.append(self.named("Delimiter", self.delimiter))
        if self.encoding:
            parts.append(xml.element("EncodingType", self.encoding))
        parts.append(xml.element("MaxKeys", self.limit))
        return "".join(parts)

    def rows(self, page: ObjectPage, owned: str) -> str:
        """Contents, then CommonPrefixes. owned: the Owner element, or nothing."""
        keys, prefixes = [], []
        spell = self.spell
        for entry in page.entries:
            if isinstance(entry, str):
                prefixes.append(f"<CommonPrefixes><Prefix>{spell(entry)}</Prefix></CommonPrefixes>")
            else:
                keys.append(
                    f"<Contents><Key>{spell(entry.name)}</Key>{_facts(entry, owned)}</Contents>"
                )
        return "".join(keys) + "".join(prefixes)

    def versions(self, page: ObjectPage, owned: str) -> str:
        """Version elements: each object's only version is "null", and the latest."""
        keys, prefixes = [], []
        for entry in page.entries:
            if isinstance(entry, str):
                name = self.named("Prefix", entry)
                prefixes.append(f"<CommonPrefixes>{name}</CommonPrefixes>")
            else:
                version = "<VersionId>null</VersionId><IsLatest>true</IsLatest>"
                key = self.named("Key", entry.name)
                keys.append(f"<Version>{key}{version}{_facts(entry, owned)}</Version>")
        return "".join(keys) + "".join(prefixes)


def _facts(info: ObjectInfo, owned: str) -> str:
    head = info.head
    checksums = "".join(
        f"<ChecksumAlgorithm>{xml.escape(name)}</ChecksumAlgorithm>" for name in head.checksums
    )
    if checksums and head.checksum_type:
        checksums += xml.element("ChecksumType", head.checksum_type)
    return (
        f"<LastModified>{xml_date(whole_seconds(head.modified_ns))}</LastModified>"
        f"{xml.etag(head.etag)}{checksums}<Size>{head.size_bytes}</Size>"
        f"{owned}<StorageClass>STANDARD</StorageClass>"
    )


async def list_objects(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET of a bucket, in the version that list-type asks for."""
    version = request.query.get("list-type", "1")
    if version == "2":
        return await _list_v2(context, request, container)
    if version != "1":
        raise invalid_argument("list-type", version, "list-type must be 2, or absent.")
    return await _list_v1(context, request, container)


async def _list_v1(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    """NextMarker comes only with a delimiter, as in S3: else the last key is where to go on."""
    listing = _Listing(request)
    marker = request.query.get("marker", "")
    page = await listing.page(context, container, marker)
    content = listing.head(container) + listing.named("Marker", marker) + _truncated(page)
    if page.truncated and listing.delimiter:
        content += listing.named("NextMarker", page.next_marker)
    return xml_answer(
        request, "ListBucketResult", content + listing.rows(page, container_owner(container))
    )


async def _list_v2(context: Context, request: S3Request, container: Container) -> web.StreamResponse:
    listing = _Listing(request)
    query = request.query
    token, start = query.get("continuation-token"), query.get("start-after", "")
    marker = start if token is None else read_token(token)
    page = await listing.page(context, container, marker)
    content = listing.head(container) + xml.element("KeyCount", len(page.entries)) + _truncated(page)
    if token is not None:
        content += xml.element("ContinuationToken", token)
    if page.truncated:
        content += xml.element("NextContinuationToken", written_token(page.next_marker))
    if start:
        content += listing.named("StartAfter", start)
    owned = container_owner(container) if query.get("fetch-owner", "").lower() == "true" else ""
    return xml_answer(request, "ListBucketResult", content + listing.rows(page, owned))


async def list_versions(
    context: Context, request: S3Request, container: Container
) -> web.StreamResponse:
    """GET ?versions: truthful for a store without versions."""
    listing = _Listing(request)
    marker = request.query.get("key-marker", "")
    version = request.query.get("version-id-marker", "")
    if version not in ("", "null") or (version and not marker):
        raise invalid_argument("version-id-marker", version, "There is no such version to go on from.")
    page = await listing.page(context, container, marker)
    content = listing.head(container) + listing.named("KeyMarker", marker)
    content += xml.element("VersionIdMarker", version) + _truncated(page)
    if page.truncated:
        content += listing.named("NextKeyMarker", page.next_marker)
        content += "<NextVersionIdMarker>null</NextVersionIdMarker>"
    content += listing.versions(page, container_owner(container))
    return xml_answer(request, "ListVersionsResult", content)


def _truncated(page: ObjectPage) -> str:
    return xml.element("IsTruncated", "true" if page.truncated else "false")


def read_encoding(request: S3Request) -> str:
    """encoding-type: "url" or "". Raises S3Error InvalidArgument."""
    encoding = request.query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise invalid_argument("encoding-type", encoding, "encoding-type must be url, or absent.")
    return encoding


def container_owner(container: Container) -> str:
    """The Owner element of what is in a container."""
    account = xml.escape(container.account)
    return f"<Owner><ID>{account}</ID><DisplayName>{account}</DisplayName></Owner>"


def owner(request: S3Request) -> str:
    """The Owner element of who asks."""
    account = xml.escape(request.account)
    return f"<Owner><ID>{account}</ID><DisplayName>{account}</DisplayName></Owner>"


def written_token(marker: str) -> str:
    """A continuation token: opaque to clients, the marker to us."""
    return base64.urlsafe_b64encode(_TOKEN_PREFIX + marker.encode("utf-8")).decode("ascii")


def read_token(token: str) -> str:
    """The marker of a token, "" for none. Raises S3Error InvalidArgument for one that is not ours."""
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        marker = raw[1:].decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise _wrong_token(token) from error
    if raw[:1] != _TOKEN_PREFIX or "\x00" in marker:
        raise _wrong_token(token)
    return marker


def _wrong_token(token: str) -> Exception:
    return invalid_argument("continuation-token", token, "The continuation token is not valid.")

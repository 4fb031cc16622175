"""A raw S3 client for load: signed requests over aiohttp, nothing retried, nothing hidden.

An answer is whole or an error: a connection that ends early raises. `tests/cluster/load.py` decides
what an error means for the history.
"""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from tests.api.store import RunningStore
from tools.bench.signing import Credentials, Signer, canonical_path, canonical_query

ANSWER_WITHIN_S = 60.0
CONNECTIONS_MAX = 256

NO_ANSWER = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
"""What a request raises that got no whole answer: it may have happened."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def code(self) -> str:
        """Of an S3 error document; "" where there is none."""
        match = re.search(rb"<Code>(\w+)</Code>", self.body[:4096])
        return match[1].decode() if match and self.status >= 300 else ""

    @property
    def etag(self) -> str:
        """Without its quotes."""
        return self.headers.get("ETag", "").strip('"')


class S3:
    """One client of one endpoint."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, credentials: Credentials) -> None:
        self.session = session
        self.endpoint = endpoint
        self._credentials = credentials

    def signed(
        self, method: str, bucket: str, key: str = "", query: Iterable[tuple[str, str]] = ()
    ) -> tuple[URL, dict[str, str]]:
        """The URL and the headers of a request, signed now."""
        path, text = canonical_path(bucket, key), canonical_query(query)
        host = self.endpoint.partition("://")[2]
        headers = Signer(self._credentials, host, datetime.now(UTC)).headers(method, path, text)
        return URL(f"{self.endpoint}{path}{'?' + text if text else ''}", encoded=True), headers

    async def ask(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: Iterable[tuple[str, str]] = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. Raises NO_ANSWER."""
        url, signed = self.signed(method, bucket, key, query)
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.session.request(
            method, url, data=data, headers={**signed, **(headers or {})}
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def put(self, bucket: str, key: str, body: Any, **headers: str) -> Answer:
        """PutObject; `if_match` becomes If-Match."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("PUT", bucket, key, body=body, headers=named)

    async def get(self, bucket: str, key: str, **headers: str) -> Answer:
        """GetObject."""
        return await self.ask("GET", bucket, key, headers=headers)

    async def delete(self, bucket: str, key: str = "") -> Answer:
        """DeleteObject, or DeleteBucket."""
        return await self.ask("DELETE", bucket, key)

    async def create_bucket(self, bucket: str, policy: str = "") -> None:
        """Make a bucket of a storage policy ("": the default)."""
        location = f"<LocationConstraint>us-east-1:{policy}</LocationConstraint>" if policy else ""
        document = f"<CreateBucketConfiguration>{location}</CreateBucketConfiguration>"
        answer = await self.ask("PUT", bucket, body=document.encode())
        assert answer.status == 200, answer

    async def begin_upload(self, bucket: str, key: str) -> str:
        """CreateMultipartUpload; the upload's id. Raises RefusedError."""
        answer = await self.ask("POST", bucket, key, [("uploads", "")])
        return _found(answer, rb"<UploadId>([^<]+)</UploadId>")

    async def put_part(self, bucket: str, key: str, upload: str, number: int, body: bytes) -> str:
        """UploadPart; the part's ETag. Raises RefusedError."""
        query = [("partNumber", str(number)), ("uploadId", upload)]
        answer = await self.ask("PUT", bucket, key, query, body)
        if answer.status != 200:
            raise RefusedError(answer)
        return answer.etag

    async def complete(self, bucket: str, key: str, upload: str, etags: list[str]) -> Answer:
        """CompleteMultipartUpload."""
        lines = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        document = f"<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>"
        return await self.ask("POST", bucket, key, [("uploadId", upload)], document.encode())

    async def list_all(self, bucket: str, page: int = 1000) -> dict[str, tuple[str, int]]:
        """ETag and size of every key, by ListObjectsV2. Raises RefusedError."""
        found: dict[str, tuple[str, int]] = {}
        token = ""
        while True:
            query = [("list-type", "2"), ("max-keys", str(page))]
            if token:
                query.append(("continuation-token", token))
            answer = await self.ask("GET", bucket, "", query)
            if answer.status != 200:
                raise RefusedError(answer)
            found |= _contents(answer.body)
            more = re.search(rb"<NextContinuationToken>([^<]+)<", answer.body)
            if more is None:
                return found
            token = more[1].decode()


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.body[:500]!r}")
        self.answer = answer


def _found(answer: Answer, pattern: bytes) -> str:
    match = re.search(pattern, answer.body)
    if answer.status != 200 or match is None:
        raise RefusedError(answer)
    return match[1].decode()


def _contents(document: bytes) -> dict[str, tuple[str, int]]:
    """Keys are plain here: no entity and no encoding."""
    found = {}
    for entry in re.findall(rb"<Contents>(.*?)</Contents>", document, re.DOTALL):
        key, etag, size = (
            re.search(rb"<%s>([^<]*)</%s>" % (tag, tag), entry) for tag in (b"Key", b"ETag", b"Size")
        )
        assert key is not None
        assert etag is not None
        assert size is not None
        name = key[1].decode()
        assert name not in found, name
        found[name] = (etag[1].decode().replace("&quot;", "").strip('"'), int(size[1]))
    return found


@asynccontextmanager
async def connect(store: RunningStore, *, keep: bool = True) -> AsyncIterator[S3]:
    """A client of a store. keep: connections are used again; else each request meets any worker."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, force_close=not keep)
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    credentials = Credentials(store.access_key, store.secret_key)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False
    ) as session:
        # aiohttp sends a PUT again by itself where a kept connection ends before the answer: one write
        # of the history would then happen twice. It has no public switch for that.
        session._retry_connection = False
        yield S3(session, store.endpoint, credentials)

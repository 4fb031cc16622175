"""The requests of a row, built and signed before the clock starts, and what each answer must be.

An answer counts only if its status is right and, for reads, its length is; of every `sample_every`-th
read the whole body is compared (a checksum for objects, key by key for listings). One wrong byte
fails the row.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

import xxhash

from tools.bench.load import Load, object_key
from tools.bench.payload import WINDOW_BYTES, Payloads
from tools.bench.response import Collector, ResponseReader, Sink
from tools.bench.signing import Signer, canonical_path, canonical_query

_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_METHODS = {"part": "PUT", "list": "GET"}  # the others are called as their methods
_LIST_STRIDE = 7919  # a prime: consecutive pages lie far apart


class Exchange:
    """One request under way."""

    __slots__ = ("bodyless", "head", "index", "sink", "small", "windows")

    def __init__(self, index: int, head: bytes, sink: Sink | None, *, bodyless: bool) -> None:
        self.index = index
        self.head = head
        self.sink = sink
        self.bodyless = bodyless
        self.small: memoryview | None = None
        self.windows: Iterator[memoryview] | None = None


class Work(Protocol):
    """All requests of a row."""

    def exchange(self, sequence: int) -> Exchange:
        """Request number `sequence`."""

    def fault(self, exchange: Exchange, answer: ResponseReader) -> str:
        """What is wrong with the answer, "" where nothing is."""


def build(load: Load, payloads: Payloads, now: datetime) -> Work:
    """All requests of `load`, signed at `now`."""
    signer = Signer(load.server.credentials, urlsplit(load.server.endpoint).netloc, now)
    if load.operation == "list":
        return ListWork(load, signer)
    return ObjectWork(load, payloads, signer)


class ObjectWork:
    """PUT, GET, HEAD and DELETE of objects, and PUT of parts."""

    def __init__(self, load: Load, payloads: Payloads, signer: Signer) -> None:
        self._load = load
        self._payloads = payloads
        self._sends = load.operation in {"put", "part"}
        self._reads = load.operation == "get"
        self._bodyless = load.operation == "head"
        self._statuses = {200, 204} if load.operation == "delete" else {200}
        size = load.size_bytes if self._sends else None
        method = _METHODS.get(load.operation, load.operation.upper())
        self._heads = [
            signer.head(method, *self._resource(first_index), size)
            for first_index in range(load.first, load.first + min(load.count, load.requests))
        ]

    def _resource(self, index: int) -> tuple[str, str]:
        load = self._load
        if load.operation == "part":
            query = canonical_query([("partNumber", str(index + 1)), ("uploadId", load.upload_id)])
            return canonical_path(load.bucket, load.key_prefix), query
        return canonical_path(load.bucket, object_key(load.key_prefix, index)), ""

    def _place(self, index: int) -> tuple[int, int]:
        """The object whose content it is, and the first window; parts are slices of object 0."""
        if self._load.operation == "part":
            return 0, index * (self._load.size_bytes // WINDOW_BYTES)
        return index, 0

    def exchange(self, sequence: int) -> Exchange:
        """Request number `sequence`, its body as views into the shared block."""
        turn = sequence % len(self._heads)
        sink = self._sink(sequence)
        exchange = Exchange(self._load.first + turn, self._heads[turn], sink, bodyless=self._bodyless)
        if self._sends:
            self._add_body(exchange)
        return exchange

    def _sink(self, sequence: int) -> Sink | None:
        if self._reads and sequence % self._load.sample_every == 0:
            return xxhash.xxh3_64()
        return None

    def _add_body(self, exchange: Exchange) -> None:
        size = self._load.size_bytes
        index, window = self._place(exchange.index)
        if size <= WINDOW_BYTES and window == 0:
            exchange.small = self._payloads.whole(index, size)
        else:
            exchange.windows = self._payloads.windows(index, size, window)

    def fault(self, exchange: Exchange, answer: ResponseReader) -> str:
        """See Work."""
        if answer.status not in self._statuses:
            return f"status {answer.status}"
        if self._bodyless and answer.declared_bytes != self._load.size_bytes:
            return "wrong length"
        if not self._reads:
            return ""
        if answer.received_bytes != self._load.size_bytes:
            return "wrong length"
        return self._fault_in_body(exchange)

    def _fault_in_body(self, exchange: Exchange) -> str:
        if not isinstance(exchange.sink, xxhash.xxh3_64):
            return ""
        expected = self._payloads.checksum(exchange.index, self._load.size_bytes)
        return "" if exchange.sink.intdigest() == expected else "wrong bytes"


class ListWork:
    """Pages of ListObjectsV2 that begin after keys spread over the whole bucket."""

    def __init__(self, load: Load, signer: Signer) -> None:
        if load.count <= load.page_size:
            raise ValueError(f"a page of {load.page_size} needs more than {load.count} keys")
        self._load = load
        spread = load.count - load.page_size
        self._starts = [turn * _LIST_STRIDE % spread for turn in range(min(load.requests, spread))]
        path = canonical_path(load.bucket)
        self._heads = [signer.head("GET", path, self._query(start)) for start in self._starts]

    def _query(self, start: int) -> str:
        key = object_key(self._load.key_prefix, start)
        pairs = [("list-type", "2"), ("max-keys", str(self._load.page_size)), ("start-after", key)]
        return canonical_query([*pairs, ("prefix", self._load.key_prefix)])

    def exchange(self, sequence: int) -> Exchange:
        """Page number `sequence`."""
        turn = sequence % len(self._heads)
        return Exchange(self._starts[turn], self._heads[turn], Collector(), bodyless=False)

    def fault(self, exchange: Exchange, answer: ResponseReader) -> str:
        """See Work; every page must hold exactly the keys that follow."""
        if answer.status != 200:
            return f"status {answer.status}"
        assert isinstance(exchange.sink, Collector)
        found = _KEY.findall(exchange.sink.body)
        first = exchange.index + 1
        numbers = range(first, first + self._load.page_size)
        expected = [object_key(self._load.key_prefix, number).encode() for number in numbers]
        return "" if found == expected else "wrong keys"

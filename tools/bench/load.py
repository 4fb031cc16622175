"""What the generator does in one row: the description that crosses to its process, and the result.

Both are data only; `work.py` turns a description into requests, `connection.py` sends them.
"""

from typing import Literal

import msgspec

from tools.bench.latency import Latency
from tools.bench.signing import Credentials

Operation = Literal["put", "get", "head", "delete", "list", "part"]


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An S3 endpoint and the keys for it."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def __repr__(self) -> str:
        return f"Server({self.endpoint!r}, {self.access_key!r})"

    @property
    def credentials(self) -> Credentials:
        """The keys, as the signer takes them."""
        return Credentials(self.access_key, self.secret_key, self.region)


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`requests` requests over `connections` connections to the objects `first` … `first + count - 1`.

    With more requests than objects the objects are gone through again and again. The generator stops
    handing out requests after `max_seconds`; those under way are finished. list: `count` is the number
    of keys there are; part: `key_prefix` is the key and object n is part n + 1 of `size_bytes`.
    sample_every: of every so many answers one body is checked byte by byte.
    """

    operation: Operation
    server: Server
    bucket: str
    key_prefix: str
    count: int
    requests: int
    size_bytes: int = 0
    first: int = 0
    connections: int = 64
    max_seconds: float = 600.0
    sample_every: int = 16
    page_size: int = 1000
    upload_id: str = ""


class LoadResult(msgspec.Struct, frozen=True):
    """What the clients saw. The latency is of correct answers; `failures` counts all others by kind."""

    issued: int
    finished: int
    payload_bytes: int
    wall_s: float
    checked: int
    latency: Latency | None = None
    failures: dict[str, int] = {}
    first_failure: str = ""
    etags: dict[int, str] = {}


def object_key(prefix: str, index: int) -> str:
    """The key of object `index`; keys sort as their numbers do."""
    return f"{prefix}{index:08d}"

"""The tables of rows and their shards: which row of which shard holds what.

A shard key is one letter for the table and the id of what its rows belong to. All rows of a shard
live on the same devices.
"""

import hashlib
from typing import Final

import xxhash

OBJECT_SHARDS: Final = 4
"""Object shards of a new container; a power of two."""

BUCKET_NAME_SHARDS: Final = 1024
UPLOAD_SEPARATOR: Final = b"\0"
"""Between an object's name (which has no NUL) and the upload's id in the name of an upload row."""


def _account_id(account: str) -> bytes:
    return hashlib.sha256(account.encode()).digest()[:16]


def account_shard(account: str) -> bytes:
    """Holds one row, named b"account": the account's metadata."""
    return b"a" + _account_id(account)


ACCOUNT_NAME: Final = b"account"


def containers_shard(account: str) -> bytes:
    """The account's containers, by name."""
    return b"c" + _account_id(account)


def bucket_name_shard(name: bytes) -> bytes:
    """The global bucket names, by name."""
    return b"b" + (xxhash.xxh3_64_intdigest(name) % BUCKET_NAME_SHARDS).to_bytes(2, "big")


def object_shard_keys(container_id: bytes, shards: int) -> list[bytes]:
    """All object shards of a container."""
    return [b"o" + container_id + number.to_bytes(2, "big") for number in range(shards)]


def object_shard(container_id: bytes, shards: int, name: bytes) -> bytes:
    """The shard of an object: the low bits of its name's hash."""
    number = xxhash.xxh3_64_intdigest(name) & (shards - 1)
    return b"o" + container_id + number.to_bytes(2, "big")


def container_id(shard: bytes) -> bytes:
    """The container whose object shard or uploads shard this is."""
    return shard[1:17]


def uploads_shard(container_id: bytes) -> bytes:
    """A container's multipart uploads, by object name, separator and upload id."""
    return b"u" + container_id


def upload_name(object_name: str, upload_id: str) -> bytes:
    """The name of an upload's row."""
    return object_name.encode() + UPLOAD_SEPARATOR + upload_id.encode()


def parts_shard(upload_id: str) -> bytes:
    """An upload's parts, by number."""
    return b"p" + hashlib.sha256(upload_id.encode()).digest()[:16]


def part_name(number: int) -> bytes:
    """The name of a part's row; sorts by number."""
    return number.to_bytes(4, "big")

"""The tables of rows and their shards: which row of which shard holds what.

A shard key is one letter for the table and the id of what its rows belong to. All rows of a shard
live on the same devices.
"""

import hashlib
from typing import Final, NamedTuple

import xxhash

OBJECT_SHARDS: Final = 4
"""Object shards of a new container; a power of two."""

OBJECT_SHARDS_MAX: Final = 65_536
"""A shard's number has two bytes: room for 16 billion objects at 250,000 a shard."""

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


def object_shard_key(container_id: bytes, generation: int, number: int) -> bytes:
    """One object shard. generation: how often the container's shards were doubled."""
    key = b"o" + container_id + number.to_bytes(2, "big")
    return key + bytes([generation]) if generation else key


class Layout(NamedTuple):
    """Which object shards a container has.

    While they are doubled, what was in the first `moved` of them is in the next generation's: shard n
    splits into n and n + shards there.
    """

    container_id: bytes
    generation: int
    shards: int
    moved: int = 0

    @property
    def ever_moved(self) -> bool:
        """Whether rows have moved from one shard to another."""
        return self.generation > 0 or self.moved > 0

    def shard_of(self, name: bytes) -> bytes:
        """The shard of an object: the low bits of its name's hash."""
        hashed = xxhash.xxh3_64_intdigest(name)
        number = hashed & (self.shards - 1)
        if number >= self.moved:
            return object_shard_key(self.container_id, self.generation, number)
        return object_shard_key(self.container_id, self.generation + 1, hashed & (2 * self.shards - 1))

    def all_shards(self) -> list[bytes]:
        """All shards that hold objects now, each name in just one of them."""
        moved, still = range(self.moved), range(self.moved, self.shards)
        split = [key for number in moved for key in self.halves(number)]
        return split + [object_shard_key(self.container_id, self.generation, n) for n in still]

    def key(self, number: int) -> bytes:
        """A shard of the present generation."""
        return object_shard_key(self.container_id, self.generation, number)

    def halves(self, number: int) -> list[bytes]:
        """What a shard of this generation splits into."""
        numbers = (number, number + self.shards)
        return [object_shard_key(self.container_id, self.generation + 1, n) for n in numbers]

    def successors(self, key: bytes) -> list[bytes]:
        """The shards that hold now what was, or is, in shard `key` of this or an earlier generation."""
        of = parse_object_shard(key)
        older = self.generation - of.generation
        if of.container_id != self.container_id or older < 0:
            return [key] if key in self.all_shards() else []
        mask = (self.shards >> older) - 1
        return [k for k in self.all_shards() if parse_object_shard(k).number & mask == of.number]


def is_object_shard(key: bytes) -> bool:
    """Whether a shard's rows are objects."""
    return key.startswith(b"o")


class ObjectShard(NamedTuple):
    """What the key of an object shard says."""

    container_id: bytes
    generation: int
    number: int


def parse_object_shard(key: bytes) -> ObjectShard:
    """The parts of an object shard's key."""
    generation = key[19] if len(key) > 19 else 0
    return ObjectShard(key[1:17], generation, int.from_bytes(key[17:19], "big"))


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

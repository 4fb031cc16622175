"""Keys of transfers: shown once, kept as a salted hash.

A key is random with 64 bits, so a plain hash is enough: there is nothing to guess it from.
"""

import hashlib
import hmac
from typing import Final, NamedTuple

from runtime.randomness import Randomness

KEY_BYTES: Final = 8
SALT_BYTES: Final = 16


class Lock(NamedTuple):
    """A key, and what is kept of it."""

    key: str
    salt: str
    key_hash: str


def made(randomness: Randomness) -> Lock:
    """A new one. Keys are hexadecimal, so that people can type them."""
    key, salt = randomness.token(KEY_BYTES).hex(), randomness.token(SALT_BYTES).hex()
    return Lock(key, salt, hashed(salt, key))


def hashed(salt: str, key: str) -> str:
    """HMAC-SHA-256 of a key."""
    return hmac.new(salt.encode(), key.encode(), hashlib.sha256).hexdigest()


def opens(salt: str, key_hash: str, key: str) -> bool:
    """Whether it is the key."""
    return hmac.compare_digest(hashed(salt, key), key_hash)

"""The randomness door: ids, tokens and choices come from here, so that a seed can replay them."""

import os
import random
from typing import Protocol


class Randomness(Protocol):
    """A source of random bytes and numbers."""

    def token(self, size_bytes: int) -> bytes:
        """`size_bytes` random bytes, fit for ids and secrets."""

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""


class SystemRandomness:
    """The operating system's random generator."""

    def token(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)  # noqa: S311 - jitter, not a secret


class SeededRandomness:
    """A reproducible source for simulations and property tests; never for secrets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

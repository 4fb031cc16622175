"""What a process gives to each of its rooms but identity, which is there before them."""

import dataclasses
from collections.abc import Callable

from compute.access import Authenticator
from compute.database.engine import Database
from compute.identity.secrets import Sealer
from compute.objects.contract import ObjectStore
from runtime.clock import Clock
from runtime.randomness import Randomness


@dataclasses.dataclass(frozen=True)
class Site:
    """folder: private to this process's host, for files. endpoint: the add-on's public URL.

    host: the name under which this process's host does work that outlives a request. sealer: makes
    encryption for a purpose; each purpose's values open nowhere else.
    """

    database: Database
    authenticator: Authenticator
    objects: ObjectStore
    folder: str
    endpoint: str
    region: str
    host: str
    clock: Clock
    randomness: Randomness
    sealer: Callable[[str], Sealer]

    @property
    def policies(self) -> str:
        """The folder of the operator's policy files."""
        return f"{self.folder}/policy"

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return self.clock.now_ns() // 1000

    def new_id(self) -> str:
        """32 random hex digits."""
        return self.randomness.token(16).hex()

    def new_uuid(self) -> str:
        """A random UUID with its dashes, as images and volumes have."""
        raw = bytearray(self.randomness.token(16))
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

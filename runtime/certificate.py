"""The public port's certificate: loaded from two files, and again when they change.

New connections get the new certificate; connections that stand keep theirs.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import Final

from runtime.errors import ConfigError

RECHECK_S: Final = 5.0


class ServedCertificate:
    """An SSL context that follows its files. Raises ConfigError where they can't be loaded at first."""

    def __init__(self, certificate: str, key: str) -> None:
        self._certificate = certificate
        self._key = key
        self._timer: asyncio.TimerHandle | None = None
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._seen = self._stamp()
            self.context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"tls_certificate {certificate}, tls_key {key}: {error}") from error

    def _stamp(self) -> tuple[int, ...]:
        files = [os.stat(path) for path in (self._certificate, self._key)]
        return tuple(
            number for stat in files for number in (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        )

    def follow(self, on_failure: Callable[[str, BaseException], None]) -> None:
        """Look at the files every RECHECK_S; a pair that can't be loaded is reported once and left."""
        try:
            self.reload()
        except (OSError, ssl.SSLError) as error:
            on_failure("certificate", error)
        self._timer = asyncio.get_running_loop().call_later(RECHECK_S, self.follow, on_failure)

    def reload(self) -> bool:
        """Load the files where they changed; whether they had. Raises OSError, ssl.SSLError."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        probe = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        probe.load_cert_chain(self._certificate, self._key)  # a half-written pair must not take effect
        self.context.load_cert_chain(self._certificate, self._key)
        return True

    def close(self) -> None:
        """Stop following."""
        if self._timer is not None:
            self._timer.cancel()

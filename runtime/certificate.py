"""Certificates that are served and shown: loaded from files, and again when these change.

`ServedCertificate` is the public port's, `NodeCertificate` the node protocol's, where both sides show
one. New connections get the new certificate; connections that stand keep theirs.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from runtime.errors import ConfigError

RECHECK_S: Final = 5.0


class FollowedPair:
    """A certificate and its key in contexts that follow the files. what: for error texts.

    Raises ConfigError where they can't be loaded at first.
    """

    def __init__(
        self, what: str, certificate: str, key: str, contexts: Sequence[ssl.SSLContext]
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._contexts = contexts
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._seen = self._stamp()
            self._load_into(contexts)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{what} {certificate}, {key}: {error}") from error

    def _stamp(self) -> tuple[int, ...]:
        files = [os.stat(path) for path in (self._certificate, self._key)]
        return tuple(
            number for stat in files for number in (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        )

    def _load_into(self, contexts: Sequence[ssl.SSLContext]) -> None:
        for context in contexts:
            context.load_cert_chain(self._certificate, self._key)

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
        # A half-written pair must not take effect.
        self._load_into([ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)])
        self._load_into(self._contexts)
        return True

    def close(self) -> None:
        """Stop following."""
        if self._timer is not None:
            self._timer.cancel()


class ServedCertificate(FollowedPair):
    """The public port's certificate; context: what it listens with. Raises ConfigError."""

    def __init__(self, certificate: str, key: str) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        super().__init__("tls_certificate, tls_key", certificate, key, [self.context])


class NodeCertificate(FollowedPair):
    """A node's certificate, shown on both ends; the other side's must be of the same CA.

    server: the context to listen with, client: to connect with, which also checks the host's name.
    Raises ConfigError.
    """

    def __init__(self, ca: str, certificate: str, key: str) -> None:
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (self.server, self.client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
            try:
                context.load_verify_locations(ca)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"cluster_ca {ca}: {error}") from error
        contexts = [self.server, self.client]
        super().__init__("cluster_certificate, cluster_key", certificate, key, contexts)

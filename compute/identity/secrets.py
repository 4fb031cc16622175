"""What is secret in the database is encrypted under keys made from the node's secret.

All processes on one database have the same secret file. Fernet (AES-128-CBC with HMAC-SHA256).
"""

import base64
import hmac

from cryptography.fernet import Fernet, InvalidToken

from runtime.errors import AtollError


class Sealer:
    """Encrypts for one purpose. secret: the cluster's, purpose: so that no value fits elsewhere."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        key = hmac.digest(secret, f"atoll cloud {purpose} v1".encode(), "sha256")
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, plain: bytes) -> bytes:
        """Encrypt."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt. Raises AtollError where it was made under another secret."""
        try:
            return self._fernet.decrypt(bytes(sealed))
        except InvalidToken as error:
            raise AtollError(
                "the database holds secrets of another cluster secret: is this the right secret file?"
            ) from error

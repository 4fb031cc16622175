"""Which Keystone the store asks about tokens, and whom it is there."""

import hmac
from typing import NamedTuple

from proxy.auth.keystone import Login
from runtime.config import Config
from runtime.errors import AtollError


class KeystonePlace(NamedTuple):
    """A Keystone's URL with its /v3, and the store's own login."""

    url: str
    login: Login


def service_password(secret: bytes) -> str:
    """The password of the store's own user at the add-on: every node makes the same of its secret."""
    return hmac.digest(secret, b"atoll cloud service user v1", "sha256").hex()[:40]


def keystone_of(config: Config, secret: bytes) -> KeystonePlace | None:
    """The one that the configuration names, else the add-on beside the store, else none.

    Raises AtollError where the password can't be read.
    """
    url = config.keystone_url or (f"{config.cloud_url}/identity/v3" if config.cloud else "")
    if not url:
        return None
    password = service_password(secret)
    if config.keystone_password_file:
        try:
            with open(config.keystone_password_file, encoding="utf-8") as file:
                password = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AtollError(f"{config.keystone_password_file}: {error}") from error
    login = Login(config.keystone_user, password, config.keystone_project, config.keystone_domain)
    return KeystonePlace(url, login)

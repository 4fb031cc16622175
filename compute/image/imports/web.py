"""web-download: which URLs may be read, and reading them. Redirects are not followed.

Where no hosts are named, any public address may be asked: names are resolved by us, and a name that
leads to this machine or into a private network is refused at the moment of connecting, so that it can't
change its mind after the check.
"""

import ipaddress
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from compute.image.settings import Settings

CONNECT_S: Final = 30
SILENCE_S: Final = 60
CHUNK_BYTES: Final = 256 * 1024
URL_MAX_CHARS: Final = 2048
_PORTS: Final = {"http": 80, "https": 443}


class DownloadFailed(Exception):
    """The URL could not be read; the text says why, for the client."""


def passes(url: Any, settings: Settings) -> bool:
    """Whether a URL may be asked for. Pure: no name is resolved."""
    if not isinstance(url, str) or len(url) > URL_MAX_CHARS:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return False
    host = parts.hostname
    if parts.scheme not in settings.web_schemes or parts.scheme not in _PORTS or not host:
        return False
    if parts.username is not None or parts.password is not None:
        return False
    if settings.web_ports and port not in settings.web_ports:
        return False
    if settings.web_hosts:
        return host in settings.web_hosts
    return _is_public_or_name(host)


def _is_public_or_name(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        # what is no address may still be read as one by a resolver: 127.1, 0x7f000001, 2130706433
        return not host.replace(".", "").isdigit() and not host.lower().startswith("0x")


class _PublicOnly(AbstractResolver):
    """Resolves names, and refuses those that lead to addresses that are not public."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        """Raises OSError."""
        found = await self._resolver.resolve(host, port, family)
        if not all(ipaddress.ip_address(each["host"]).is_global for each in found):
            raise OSError(f"{host} is at no public address")
        return found

    async def close(self) -> None:
        """Nothing is kept."""


async def download(url: str, settings: Settings) -> AsyncIterator[bytes]:
    """The bytes of a URL that passes. Raises DownloadFailed."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    resolver = None if settings.web_hosts else _PublicOnly()
    connector = aiohttp.TCPConnector(resolver=resolver)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, auto_decompress=False
            ) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise DownloadFailed(f"the server answered {answer.status}")
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise DownloadFailed(str(error) or type(error).__name__) from error

"""How a Keystone is reached: HTTP with a bound on time and size."""

from collections.abc import Mapping
from typing import Final

import aiohttp

from proxy.auth.errors import KeystoneAway
from proxy.auth.keystone import Reply

ASK_WITHIN_S: Final = 5.0
ANSWER_MAX_BYTES: Final = 1024 * 1024
CONNECTIONS_MAX: Final = 32


class HttpTransport:
    """Requests to one Keystone. url: with its /v3. Made anew by each process, closed by `close`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One request. Raises KeystoneAway."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ASK_WITHIN_S)
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        try:
            url = self._url + path
            async with self._session.request(method, url, headers=headers, data=body or None) as answer:
                got = await answer.content.read(ANSWER_MAX_BYTES + 1)
                while len(got) <= ANSWER_MAX_BYTES and (
                    more := await answer.content.read(ANSWER_MAX_BYTES)
                ):
                    got += more
                lower = {name.lower(): value for name, value in answer.headers.items()}
                return Reply(answer.status, lower, got[:ANSWER_MAX_BYTES])
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise KeystoneAway(f"Keystone can't be reached: {type(error).__name__}") from error

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()

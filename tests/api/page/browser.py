"""Headless Chromium, driven over its DevTools protocol: what it shows, fetches and complains of."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

START_DEADLINE_S = 60.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


class Browser:
    """One tab. requests: URLs that it fetched; complaints: what its console said."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loaded = 0

    async def call(self, method: str, **params: Any) -> Any:
        """One DevTools command; its result."""
        self._last += 1
        number = self._last
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params))
            case "Page.loadEventFired":
                self._loaded += 1

    async def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        before = self._loaded
        await self.call("Page.navigate", url=url)
        while self._loaded == before:
            self._hear(await self._socket.receive_json())

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression is on the page."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def look(self, width: int, height: int, scheme: str = "light") -> None:
        """As on a screen of that size and taste."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self, path: Path) -> None:
        """A picture of the whole page, for people."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """A browser with an empty profile in `profile`, ended with all its processes."""
    program = shutil.which("chromium")
    assert program, "chromium is not installed; `make test` does it as root (Debian: chromium)"
    profile.mkdir()
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            port = await _port(profile / "DevToolsActivePort")
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(await _tab(session, port), max_msg_size=0) as socket,
            ):
                browser = Browser(socket)
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await browser.call(f"{domain}.enable")
                yield browser
    finally:
        _end(process)


async def _port(path: Path) -> int:
    while not (path.exists() and "\n" in path.read_text()):
        await asyncio.sleep(0.05)
    return int(path.read_text().splitlines()[0])


async def _tab(session: aiohttp.ClientSession, port: int) -> str:
    """The DevTools address of the one tab."""
    while True:
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            pages = [tab for tab in await answer.json() if tab["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        await asyncio.sleep(0.05)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)

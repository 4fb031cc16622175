"""`atoll bench image`: images up and down, beside the same bytes as objects of the store itself.

A store with the add-on that this command starts. Rounds of an image's upload, an object's PUT, their
downloads, one after another on one connection; the best of each counts, as the machine may be busy.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp

from tools.bench.servers import OwnProcess, free_port

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 1024 * 1024
GOAL: Final = 0.8
NAMES: Final = ("image upload", "object PUT", "image download", "object GET")


def run(argv: list[str]) -> int:
    """The command line after `image`; the exit status."""
    parser = argparse.ArgumentParser(prog="atoll bench image", description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="atoll-image-") as folder:
        rates = _with_store(Path(folder), args.mib, args.rounds)
    told = {
        **rates,
        "upload_ratio": rates[NAMES[0]] / rates[NAMES[1]],
        "download_ratio": rates[NAMES[2]] / rates[NAMES[3]],
    }
    if args.json:
        print(json.dumps(told))
        return 0
    for name in NAMES:
        print(f"{name:16}{rates[name]:8.0f} MiB/s")
    print(
        f"up {told['upload_ratio']:.2f}, down {told['download_ratio']:.2f} of the store's (goal {GOAL})"
    )
    return 0


def _with_store(folder: Path, mib: int, rounds: int) -> dict[str, float]:
    password, port, cloud_port = secrets.token_hex(16), free_port(), free_port()
    config = folder / "atoll.toml"
    ports = f"port = {port}\nadmin_port = 0\ncloud_port = {cloud_port}"
    config.write_text(f'data = "{folder}/data"\ncloud = true\n{ports}\n')
    environment = {**os.environ, "ATOLL_ADMIN_PASSWORD": password, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tools.main", "up", "--config", str(config)]
    process = OwnProcess("atoll", command, environment, folder / "log")
    try:
        process.wait_until(lambda: "Ctrl-C stops it" in process.log_text())
        return asyncio.run(_measure(f"http://127.0.0.1:{cloud_port}", password, mib, rounds))
    finally:
        process.terminate()


async def _measure(url: str, password: str, mib: int, rounds: int) -> dict[str, float]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        token, store = await _log_in(session, url, password)
        session.headers["X-Auth-Token"] = token
        async with session.put(f"{store}/bench") as answer:
            answer.raise_for_status()
        found: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(rounds):
            async with session.post(
                f"{url}/image/v2/images", json={"disk_format": "raw", "container_format": "bare"}
            ) as answer:
                answer.raise_for_status()
                path = f"{url}/image/v2/images/{(await answer.json())['id']}"
            for name, target in ((NAMES[0], f"{path}/file"), (NAMES[1], f"{store}/bench/object")):
                found[name].append(mib / await _put(session, target, mib))
            for name, target in ((NAMES[2], f"{path}/file"), (NAMES[3], f"{store}/bench/object")):
                found[name].append(mib / await _get(session, target, mib))
            async with session.delete(path) as answer:
                answer.raise_for_status()
        return {name: max(rates) for name, rates in found.items()}


async def _log_in(session: aiohttp.ClientSession, url: str, password: str) -> tuple[str, str]:
    """A token, and the URL of its account in the store."""
    user = {"name": "admin", "domain": {"id": "default"}, "password": password}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    async with session.post(f"{url}/identity/v3/auth/tokens", json={"auth": auth}) as answer:
        answer.raise_for_status()
        catalog: list[dict[str, Any]] = (await answer.json())["token"]["catalog"]
        store = next(each for each in catalog if each["type"] == "object-store")
        return answer.headers["X-Subject-Token"], str(store["endpoints"][0]["url"])


async def _put(session: aiohttp.ClientSession, url: str, mib: int) -> float:
    block = secrets.token_bytes(MIB)

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(mib):
            yield block

    begun = time.perf_counter()
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(mib * MIB)}
    async with session.put(url, data=blocks(), headers=headers) as answer:
        answer.raise_for_status()
    return time.perf_counter() - begun


async def _get(session: aiohttp.ClientSession, url: str, mib: int) -> float:
    begun, size = time.perf_counter(), 0
    async with session.get(url) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_any():
            size += len(chunk)
    assert size == mib * MIB, f"{size} bytes came"
    return time.perf_counter() - begun

"""`atoll bench identity`: how many tokens a second one core of the add-on validates.

A process of identity on SQLite in a temporary directory; clients on some connections ask for one of a
number of tokens, as a store's proxies do. What counts is the server's CPU time per answer, read from
/proc, because the load runs on the same machine; the rate is what was seen meanwhile.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

PASSWORD: Final = "only for this measurement"  # noqa: S105 - of a directory that is removed at the end
GOAL_PER_S: Final = 1500


class Measured(NamedTuple):
    """rate: answers a second as seen; per_core: answers a second of the server's CPU time."""

    answers: int
    seconds: float
    cpu_s: float
    resident_mib: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def per_core(self) -> float:
        """Answers a second of CPU."""
        return self.answers / self.cpu_s


def run(argv: list[str]) -> int:
    """The command line after `identity`; the exit status."""
    parser = argparse.ArgumentParser(prog="atoll bench identity", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="atoll-identity-") as folder:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=_serve, args=(folder, theirs))
        server.start()
        try:
            port = int(ours.recv())
            measured = asyncio.run(
                _measure(port, server.pid or 0, args.seconds, args.connections, args.tokens)
            )
        finally:
            server.terminate()
            server.join()
    if args.json:
        print(json.dumps({**measured._asdict(), "rate": measured.rate, "per_core": measured.per_core}))
    else:
        print(
            f"{measured.rate:.0f} tokens validated a second on {args.connections} connections;"
            f" {measured.per_core:.0f} a second of one core's time (goal {GOAL_PER_S}),"
            f" {measured.cpu_s / measured.answers * 1e6:.0f} us of CPU each;"
            f" {measured.resident_mib:.0f} MiB"
        )
    return 0


def _serve(folder: str, told: Connection) -> None:
    import uvloop

    from compute.cloud import CloudConfig, initialise, opened, served

    config = CloudConfig(folder, b"s" * 32, "127.0.0.1", 0, "http://127.0.0.1", "http://127.0.0.1")

    async def main() -> None:
        async with served(config, identity) as port:
            told.send(port)
            await asyncio.Event().wait()

    with opened(config) as identity:
        initialise(config, identity, {"admin": PASSWORD})
        uvloop.run(main())


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _measure(port: int, pid: int, seconds: float, connections: int, tokens: int) -> Measured:
    issued = [await _token(port) for _ in range(tokens)]
    for token in issued:
        await _ask(*await asyncio.open_connection("127.0.0.1", port), issued[0], token)
    begun, cpu_s = time.perf_counter(), _cpu_s(pid)
    until = begun + seconds
    counts = await asyncio.gather(
        *(_client(port, issued, number, until) for number in range(connections))
    )
    elapsed, cpu_s = time.perf_counter() - begun, _cpu_s(pid) - cpu_s
    return Measured(sum(counts), elapsed, cpu_s, _resident_mib(pid))


async def _client(port: int, tokens: list[str], number: int, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.perf_counter() < until:
        await _ask(reader, writer, tokens[0], tokens[(number + count) % len(tokens)])
        count += 1
    writer.close()
    return count


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, own: str, token: str
) -> None:
    head = f"GET /v3/auth/tokens HTTP/1.1\r\nHost: h\r\nX-Auth-Token: {own}\r\nX-Subject-Token: {token}"
    writer.write(f"{head}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer[:80]
    length = answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
    await reader.readexactly(int(length))


async def _token(port: int) -> str:
    user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    body = json.dumps({"auth": auth}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v3/auth/tokens HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    return answer.split("X-Subject-Token: ")[1].split("\r\n")[0]

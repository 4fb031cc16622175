"""`atoll status`: asks a running store's admin port and says in sentences how it is.

Any node answers for the whole cluster. Exit status: 0 healthy, 1 not healthy or not running (the reason
is on standard error), 2 wrong usage.
"""

import argparse
import http.client
import json
import sys
import time
import urllib.parse
from typing import Any, Final

import msgspec

from runtime.config import Config, load
from runtime.errors import AtollError
from tools.finding import documents, lines
from tools.health.health import Health

ASK_TIMEOUT_S: Final = 15.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
WATCH_S: Final = 2.0
"""How often --watch asks."""

_CLEAR: Final = "\x1b[H\x1b[2J"


def add_parser(subparsers: Any) -> None:
    """Register `status`."""
    parser = subparsers.add_parser(
        "status",
        help="say how the running store is",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file; names the admin port")
    parser.add_argument("--admin-url", metavar="URL", help="the admin port (http://127.0.0.1:8081)")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    parser.add_argument("--watch", action="store_true", help="again every 2 s, until Ctrl-C")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Ask, print; with --watch until interrupted."""
    url = args.admin_url or _configured_url(args.config)
    if not args.watch:
        return 0 if _show(ask(url), url, as_json=args.json, clear=False) else 1
    while True:
        try:
            _show(ask(url), url, as_json=args.json, clear=not args.json)
        except AtollError as error:  # it may come back while someone watches
            print(f"atoll status: {error}", file=sys.stderr, flush=True)
        time.sleep(WATCH_S)


def _show(health: Health, url: str, *, as_json: bool, clear: bool) -> bool:
    if as_json:
        print(json.dumps(document(health)), flush=True)
        return health.healthy
    coloured = sys.stdout.isatty()
    if clear and coloured:
        print(_CLEAR, end="")
    if clear:
        print(f"{time.strftime('%H:%M:%S')} {url}: {health.level}")
    print("\n".join(lines(health.findings, coloured=coloured)), flush=True)
    return health.healthy


def document(health: Health) -> dict[str, Any]:
    """For --json."""
    return {
        "level": health.level.value,
        "healthy": health.healthy,
        "findings": documents(health.findings),
        "facts": health.facts,
    }


def _configured_url(path: str | None) -> str:
    config = load(path)
    if not config.admin_port:
        raise AtollError("the configuration has no admin port (admin_port = 0), so nobody can be asked")
    return admin_url(config)


def admin_url(config: Config) -> str:
    """The admin port's URL for this host."""
    host = f"[{config.admin_listen}]" if ":" in config.admin_listen else config.admin_listen
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{host}:{config.admin_port}"


# ---- asking --------------------------------------------------------------------------------------


def ask(url: str) -> Health:
    """The cluster's health as an admin port tells it. Raises AtollError with what to do about it."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise AtollError(f"{url!r} is no admin port's URL; it looks like http://127.0.0.1:8081")
    try:
        status, body = _get(parts.hostname, parts.port or 80)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AtollError(
            f"no store answers at {url} ({error}); `atoll up` starts one, --admin-url asks elsewhere"
        ) from error
    if status not in (200, 503):  # 503: something can't be read or written now
        raise AtollError(f"this is not an Atoll admin port: {url}/health.json answered {status}")
    try:
        return msgspec.json.decode(body, type=Health)
    except msgspec.MsgspecError as error:
        raise AtollError(
            f"this is not an Atoll admin port: {url}/health.json is no health report: {error}"
        ) from error


def _get(host: str, port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/health.json")
        response = connection.getresponse()
        return response.status, response.read(ANSWER_BYTES_MAX)
    finally:
        connection.close()

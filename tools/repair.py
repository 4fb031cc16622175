"""`atoll repair`: lists this node's background work, and pauses, resumes and starts it.

It asks the node's own processes on their Unix sockets in the data directory, so it needs the store's
own user; over the network nobody can pause anything. A pause holds on this node until `resume`, also
after a restart.
`run scrub` reads everything now, as fast as requests leave it, whatever its date was.

Exit status: 0 done, 1 the store is not running or has no such worker, 2 wrong usage.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import sys
from datetime import datetime
from typing import Any, Final

import msgspec

from proxy.repair.contract import WorkerStatus
from runtime.config import Config, load
from runtime.errors import AtollError
from tools.finding import size_text

ASK_TIMEOUT_S: Final = 15.0
PIPED_COLUMNS: Final = 160
"""How wide the table is where no terminal says."""

_SOCKET = re.compile(r"a([0-9]+)\.sock")


class _Report(msgspec.Struct):
    """What is needed of a process's report."""

    worker: int
    repair: list[WorkerStatus]


class Listed(msgspec.Struct):
    """One repair worker of one process."""

    process: int
    status: WorkerStatus


def add_parser(subparsers: Any) -> None:
    """Register `repair`."""
    parser = subparsers.add_parser(
        "repair",
        help="list, pause, resume and start background work",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what each worker does, how far it is, done when")
    _add_where(listing)
    listing.set_defaults(func=run_list)
    for action, text in (
        ("pause", "stop after the present piece of work"),
        ("resume", "go on"),
        ("run", "look at once, without waiting"),
    ):
        one = actions.add_parser(action, help=text)
        one.add_argument("name", metavar="NAME", help="a worker's name, as `list` shows it")
        _add_where(one)
        one.set_defaults(func=run_control)


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--data", metavar="DIR", help="data directory (atoll-data)")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")


def run_list(args: argparse.Namespace) -> int:
    """Ask all processes, print a table."""
    listed = everywhere(run_directory(args))
    if args.json:
        print(json.dumps({"workers": [_document(one) for one in listed]}, indent=2))
    else:
        print_table(listed)
    return 0


def run_control(args: argparse.Namespace) -> int:
    """Tell all processes. A worker that only some have is known."""
    run = run_directory(args)
    known = [n for n in processes(run) if _told(run, n, args.action, args.name)]
    if args.json:
        print(json.dumps({"action": args.action, "name": args.name, "processes": known}))
    if not known:
        names = ", ".join(sorted({one.status.name for one in everywhere(run)}))
        raise AtollError(f"there is no worker {args.name!r}; there are {names}")
    return 0


def run_directory(args: argparse.Namespace) -> str:
    """Where the sockets of the store that --config and --data name are."""
    data = os.path.abspath(args.data) if args.data else None
    config: Config = load(args.config, data=data)
    return os.path.join(config.data, "run")


# ---- asking --------------------------------------------------------------------------------------


def everywhere(run: str) -> list[Listed]:
    """The workers of all processes, in order. Raises AtollError where none answers."""
    found = []
    for process in processes(run):
        status, body = ask_process(run, process, "GET", "/")
        if status != 200:
            raise AtollError(f"process {process} answered {status}")
        report = msgspec.json.decode(body, type=_Report)
        found += [Listed(report.worker, one) for one in report.repair]
    return found


def processes(run: str) -> list[int]:
    """The numbers of its processes. Raises AtollError where it is not running."""
    try:
        names = os.listdir(run)
    except FileNotFoundError:
        names = []
    found = sorted(int(match[1]) for match in map(_SOCKET.fullmatch, names) if match)
    if not found:
        raise AtollError(f"no store runs on {run}; `atoll up` starts one, --data names another")
    return found


def _told(run: str, process: int, action: str, name: str) -> bool:
    status, body = ask_process(run, process, "POST", f"/repair/{action}/{name}")
    if status not in (200, 404):
        raise AtollError(f"process {process} answered {status}: {body.decode(errors='replace')}")
    return status == 200


def ask_process(
    run: str, process: int, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """A request to a process of the store; status and body. Raises AtollError."""
    connection = _UnixConnection(run, f"a{process}.sock")
    with contextlib.closing(connection):
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise AtollError(f"process {process} of the store does not answer: {error}") from error


class _UnixConnection(http.client.HTTPConnection):
    """HTTP to a socket in a directory, whose own path may be longer than a socket's may be."""

    def __init__(self, directory: str, name: str) -> None:
        super().__init__("process", timeout=ASK_TIMEOUT_S)
        self._directory = directory
        self._name = name

    def connect(self) -> None:
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(ASK_TIMEOUT_S)
            self.sock.connect(f"/proc/self/fd/{directory}/{self._name}")
        finally:
            os.close(directory)


# ---- printing ------------------------------------------------------------------------------------


def _document(one: Listed) -> dict[str, Any]:
    return {"process": one.process, **msgspec.to_builtins(one.status)}


def print_table(listed: list[Listed]) -> None:
    """One line for each worker, and its last error below it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("worker", "of", "state", "does", "done", "left", "rate", "done about"):
        table.add_column(title, overflow="fold")
    for one in listed:
        table.add_row(*_cells(one))
    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    Console(highlight=False, width=width).print(table)
    for one in listed:
        if one.status.last_error:
            at = _time_text(one.status.error_at_s)
            print(f"{one.status.name} {_scope(one)}, {at}: {one.status.last_error}")


def _cells(one: Listed) -> tuple[str, ...]:
    status = one.status
    rate = f"{size_text(int(status.rate_bytes_s))}/s" if status.rate_bytes_s >= 1 else ""
    return (
        status.name,
        _scope(one),
        status.state.value,
        status.doing,
        _amount(status.done, status.done_bytes),
        "" if status.left is None else _amount(status.left, status.left_bytes or 0),
        rate,
        "" if status.eta_s is None else _time_text(status.eta_s),
    )


def _scope(one: Listed) -> str:
    return one.status.scope or f"process {one.process}"


def _amount(count: int, size_bytes: int) -> str:
    return f"{count:,}, {size_text(size_bytes)}" if size_bytes else f"{count:,}"


def _time_text(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M")

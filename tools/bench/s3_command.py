"""`atoll bench s3` and `all`: from arguments to a run, from a run to files, a table and a status.

Exit status: 0 all answers were right; 1 a row was wrong or did not run; 2 wrong arguments; 3 (with
--check) a bar was missed.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from tools.bench import chart, others, suite
from tools.bench.bars import evaluate_all
from tools.bench.driver import GeneratorDied
from tools.bench.load import Server
from tools.bench.machine import describe
from tools.bench.report import Report, TerminalReporter, markdown, remarks, terminal_table
from tools.bench.rows import TITLES
from tools.bench.scale import FULL, QUICK, Scale
from tools.bench.servers import Endpoint, ServerFailed

OWN_NAME = "atoll"
PROTOTYPE_NAME = "prototype"
WRONG, USAGE, BAR_MISSED = 1, 2, 3
FILE_COLUMNS = 200
FULL_RING = ("--devices", "10000", "--part-power", "20")
QUICK_RING = ("--devices", "200", "--part-power", "12")


class WrongArguments(Exception):
    """The arguments contradict each other; the text says how."""


def run(args: argparse.Namespace) -> int:
    """Run the workloads; store, draw and print the results."""
    return _guarded(lambda: _run(args, ring=None, beside=None))


def run_all(args: argparse.Namespace) -> int:
    """The ring builder first, what `others` has, then the workloads; one report for all."""

    def step(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def everything() -> int:
        step("atoll bench ring")
        ring = others.measure("ring", QUICK_RING if args.quick else FULL_RING)
        return _run(args, ring=ring, beside=others.measure_all(args.quick, step))

    return _guarded(everything)


def _guarded(work: Callable[[], int]) -> int:
    try:
        return work()
    except (ServerFailed, GeneratorDied) as error:
        print(f"atoll bench: {error}", file=sys.stderr)
        return WRONG
    except WrongArguments as error:
        print(f"atoll bench: {error}", file=sys.stderr)
        return USAGE


def _run(
    args: argparse.Namespace,
    ring: dict[str, Any] | None,
    beside: tuple[dict[str, others.Figures], list[str]] | None,
) -> int:
    plan = plan_of(args)
    found, not_run = beside or ({}, [])
    console = _console(to_stderr=args.json)
    rows = sum(1 for row in plan.selected for _ in range(1 + len(plan.endpoints)))
    with TerminalReporter(console, rows) as reporter:
        outcome = suite.run(plan, reporter)
    prototype = PROTOTYPE_NAME if plan.prototype else None
    verdicts = evaluate_all(outcome.results, OWN_NAME, prototype)
    report = Report(
        machine=describe(Path.cwd()),
        scale=plan.scale.name,
        parameters=msgspec.to_builtins(plan.scale),
        results=outcome.results,
        verdicts=verdicts,
        broken=[*not_run, *outcome.broken],
        ring=ring,
        others=dict(found),
    )
    store(report, args.output, partial=args.quick or args.only is not None)
    _print(report, console, as_json=args.json)
    if not report.correct:
        return WRONG
    missed = any(not verdict.met for verdict in verdicts) or others.missed(found)
    return BAR_MISSED if args.check and missed else 0


def _console(*, to_stderr: bool) -> Console:
    """Where it is no terminal the table is as wide as it needs to be."""
    console = Console(stderr=to_stderr)
    return console if console.is_terminal else Console(stderr=to_stderr, width=FILE_COLUMNS)


def plan_of(args: argparse.Namespace) -> suite.Plan:
    """What the arguments ask for. Raises WrongArguments."""
    if args.no_store and not args.endpoint and args.prototype is None:
        raise WrongArguments("--no-store needs an --endpoint or a --prototype")
    if args.prototype is not None and not args.prototype.is_file():
        raise WrongArguments(f"there is no prototype at {args.prototype}")
    return suite.Plan(
        data=args.data,
        scale=_scale(args),
        selected=frozenset(args.only or TITLES),
        own_store=not args.no_store,
        port=args.port,
        prototype=args.prototype,
        endpoints=_endpoints(args),
    )


def _scale(args: argparse.Namespace) -> Scale:
    chosen = {
        "row_seconds": args.seconds,
        "connections": args.connections,
        "restart_rows": args.rows,
        "list_keys": args.list_keys,
        "stream_bytes": args.stream_size,
        "stream_coded": args.stream_coded or None,
    }
    base = QUICK if args.quick else FULL
    return msgspec.structs.replace(base, **{k: v for k, v in chosen.items() if v is not None})


def _endpoints(args: argparse.Namespace) -> list[Endpoint]:
    count = len(args.endpoint)
    if len(args.access_key) != count or len(args.secret_key) != count:
        raise WrongArguments("each --endpoint needs an --access-key and a --secret-key")
    if args.name and len(args.name) != count:
        raise WrongArguments("either each --endpoint has a --name or none")
    names = args.name or [urlsplit(url).netloc for url in args.endpoint]
    if len({*names, OWN_NAME, PROTOTYPE_NAME}) != count + 2:
        raise WrongArguments(f"the names must differ, from {OWN_NAME} and {PROTOTYPE_NAME}, too")
    keys = zip(names, args.endpoint, args.access_key, args.secret_key, strict=True)
    return [
        Endpoint(name, Server(_url(url), _key(access), _key(secret)))
        for name, url, access, secret in keys
    ]


def _url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.path.strip("/"):
        raise WrongArguments(f"{text} is no endpoint; expected http://HOST:PORT")
    return f"{url.scheme}://{url.netloc}"


def _key(text: str) -> str:
    if not text.startswith("env:"):
        return text
    name = text.removeprefix("env:")
    if name not in os.environ:
        raise WrongArguments(f"the environment has no {name}")
    return os.environ[name]


def store(report: Report, output: Path, *, partial: bool) -> None:
    """Write results.json, .md and .png; those of a partial run under a name of their own."""
    output.mkdir(parents=True, exist_ok=True)
    stem = "results-partial" if partial else "results"
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=1)
    (output / f"{stem}.json").write_bytes(encoded + b"\n")
    (output / f"{stem}.md").write_text(markdown(report, OWN_NAME), encoding="utf-8")
    try:
        chart.draw(report.results, report.verdicts, output / f"{stem}.png")
    except ModuleNotFoundError as error:
        print(f"atoll bench: no picture, {error.name} is not installed", file=sys.stderr)


def _print(report: Report, console: Console, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        sys.stdout.flush()
        return
    console.print(terminal_table(report, OWN_NAME))
    for text in remarks(report):
        console.print(f"- {text}", highlight=False, markup=False)

"""`atoll bucket`: shows a bucket (container), changes its storage policy, splits its shards.

All of it while the bucket is used. It asks a process of this node on its Unix socket in the data
directory, so it needs the store's own user. `policy` and `reshard` return at once; `show` tells how far
the work is, `atoll repair list` what each process does.

Exit status: 0 done, 1 the store is not running or refuses, 2 wrong usage.
"""

import argparse
import json
from datetime import datetime
from typing import Any

import msgspec

from runtime.errors import AtollError
from tools.bucket_service import Asked, Refused, Shown
from tools.finding import size_text
from tools.repair import Listed, ask_process, everywhere, processes, run_directory


def add_parser(subparsers: Any) -> None:
    """Register `bucket`."""
    parser = subparsers.add_parser(
        "bucket",
        help="show a bucket, change its policy, split its shards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add(actions, "show", "objects, policy, shards, and how far a change is")
    policy = _add(actions, "policy", "rewrite its objects to another storage policy")
    policy.add_argument("policy", metavar="POLICY", help="replicated-3, ec-4-2, ...: of the ring")
    reshard = _add(actions, "reshard", "split its shards")
    reshard.add_argument(
        "--shards", type=int, default=0, metavar="N", help="how many, a power of two (twice as many)"
    )


def _add(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
    parser.add_argument("name", metavar="NAME", help="the bucket's, or container's, name")
    parser.add_argument("--account", default="", help="whose it is (who has the bucket's name)")
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--data", metavar="DIR", help="data directory (atoll-data)")
    parser.add_argument("--json", action="store_true", help="one JSON document for machines")
    parser.set_defaults(func=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Ask, print what the bucket is then."""
    where = run_directory(args)
    asked = Asked(
        args.action,
        args.name,
        args.account,
        getattr(args, "policy", ""),
        getattr(args, "shards", 0),
    )
    status, body = ask_process(
        where, processes(where)[0], "POST", "/bucket", msgspec.json.encode(asked)
    )
    if status != 200:
        raise AtollError(_refusal(body))
    shown = msgspec.json.decode(body, type=Shown)
    at_work = [one for one in everywhere(where) if _works_on(one, shown.name)]
    if args.json:
        document = msgspec.to_builtins(shown)
        document["workers"] = [
            {"process": one.process, **msgspec.to_builtins(one.status)} for one in at_work
        ]
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(lines(shown, at_work)))
    return 0


def _refusal(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Refused).error
    except msgspec.MsgspecError:
        return "the store does not know `atoll bucket`; it runs another version"


def _works_on(one: Listed, name: str) -> bool:
    return one.status.doing.startswith(f"container {name}:")


def lines(shown: Shown, at_work: list[Listed]) -> list[str]:
    """What `show` prints."""
    found = [
        f"{shown.name} of {shown.account}: {shown.objects:,} objects, {size_text(shown.size_bytes)}",
        f"policy {shown.policy}, {shown.shards} shards",
    ]
    if (reshard := shown.reshard) is not None:
        found.append(f"splitting to {reshard.target} shards: {reshard.moved} of {reshard.of} split")
    if (repolicy := shown.repolicy) is not None:
        found.append(
            f"rewriting to {shown.policy}: {repolicy.objects:,} objects,"
            f" {size_text(repolicy.size_bytes)} rewritten, pass {repolicy.passes + 1}"
            + (f", {repolicy.failed} could not be" if repolicy.failed else "")
        )
    return found + [_work(one) for one in at_work]


def _work(one: Listed) -> str:
    status = one.status
    _, _, doing = status.doing.partition(": ")
    text = f"  process {one.process}, {status.state.value}: {doing}, {status.done:,} done"
    if status.left is not None:
        text += f", {status.left:,} left"
    if status.rate_s >= 1:
        text += f", {status.rate_s:,.0f}/s"
    if status.eta_s is not None:
        text += f", done about {datetime.fromtimestamp(status.eta_s).astimezone():%H:%M}"
    return text + (f"; last error: {status.last_error}" if status.last_error else "")

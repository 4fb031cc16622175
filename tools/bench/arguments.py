"""The arguments of `atoll bench s3` and `all`. Imports little, so that `atoll --help` stays instant."""

import argparse
import re
from pathlib import Path

from tools.bench.rows import TITLES

_SIZE = re.compile(r"(?P<count>\d+)\s*(?P<unit>[KMG]?)(iB|B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a run."""
    parser.add_argument("--data", type=Path, default=Path("bench/work"), metavar="DIR",
                        help="where the servers keep their data; removed at the end")  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="the store's port (default: a free one)")
    parser.add_argument("--output", type=Path, default=Path("bench"), metavar="DIR",
                        help="where results.json, .md and .png go")  # fmt: skip
    parser.add_argument("--only", type=_row_names, default=None, metavar="ROW,…",
                        help=f"only these rows: {', '.join(TITLES)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a short run that shows that all works")
    parser.add_argument("--json", action="store_true", help="print the results as JSON, no table")
    parser.add_argument("--check", action="store_true", help="exit with 3 when a bar is missed")
    parser.add_argument("--prototype", type=Path, metavar="SCRIPT",
                        help="run it, too; bars that have its figure hold as ratios")  # fmt: skip
    _add_endpoint_arguments(parser)
    _add_scale_arguments(parser)


def _add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("other S3 servers, measured in the same run (repeatable)")
    group.add_argument("--endpoint", action="append", default=[], metavar="URL")
    group.add_argument("--access-key", action="append", default=[], metavar="KEY")
    group.add_argument("--secret-key", action="append", default=[], metavar="KEY",
                       help="the key, or env:NAME to keep it out of the process list")  # fmt: skip
    group.add_argument("--name", action="append", default=[], help="its name in the results")
    group.add_argument("--no-store", action="store_true", help="only these, no store of our own")


def _add_scale_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scale")
    group.add_argument("--seconds", type=float, help="the most that a row of small objects takes")
    group.add_argument("--connections", type=int, help="for small objects")
    group.add_argument("--rows", type=int, help="rows stored before the restart")
    group.add_argument("--list-keys", type=int, help="keys in the bucket that is listed")
    group.add_argument("--stream-coded", action="store_true",
                       help="streams go to the ec-4-2 policy: half the room on the disk")  # fmt: skip
    group.add_argument("--stream-size", type=_size, metavar="SIZE", help="of each stream, e.g. 5GiB")


def _row_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in TITLES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"no such row: {', '.join(unknown)}; there are {', '.join(TITLES)}"
        )
    return names


def parse_size(text: str) -> int:
    """Bytes of `5GiB`, `512M`, `1048576`; units are powers of 1,024. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or int(found["count"]) == 0:
        raise ValueError(f"{text!r} is no size; expected 5GiB, 512MiB or bytes")
    return int(found["count"]) * _UNITS[found["unit"].upper()]


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

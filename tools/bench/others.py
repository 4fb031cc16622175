"""What `make bench` measures beside the S3 workloads: a dead node, a rebuild, a sync, the add-on.

Each is a command of its own with bars of its own; here they run with sizes that fit a whole run, one
after the other, and their figures become sentences of the report.
"""

import contextlib
import importlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tools.bench import add_on
from tools.bench.servers import ServerFailed

Figures = Mapping[str, Any]

FULL: Final = {
    "cluster": (),
    "rebuild": ("--mib", "2048"),
    "sync": (),
    **add_on.FULL,
}
QUICK: Final = {
    "cluster": ("--seconds", "1"),
    "rebuild": ("--mib", "64"),
    "sync": ("--rows", "20000", "--shards", "8"),
    **add_on.QUICK,
}
SYNC_BAR_S: Final = 0.5
SYNC_BAR_ROWS: Final = 1_000_000
LATENCY_BAR: Final = 3.0
"""How many times its calm p99 a PUT may take beside a rebuild."""


def measure(kind: str, words: tuple[str, ...]) -> dict[str, Any]:
    """The figures that `atoll bench KIND … --json` prints, whether its bars are met or not.

    Raises ServerFailed where it prints none.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = importlib.import_module(f"tools.bench.{kind}").run([*words, "--json"])
    try:
        figures: dict[str, Any] = msgspec.json.decode(printed.getvalue())
    except msgspec.DecodeError as error:
        raise ServerFailed(f"atoll bench {kind} ended with {status} and no figures") from error
    return figures


def measure_all(quick: bool, step: Callable[[str], None]) -> tuple[dict[str, Figures], list[str]]:
    """All of them; of those that did not run, why."""
    found: dict[str, Figures] = {}
    broken: list[str] = []
    for kind, words in (QUICK if quick else FULL).items():
        step(f"atoll bench {kind}")
        try:
            found[kind] = measure(kind, words)
        except (ServerFailed, OSError, RuntimeError) as error:
            broken.append(f"{kind}: {error}")
    return found, broken


def missed(found: Mapping[str, Figures]) -> list[str]:
    """Which of them missed a bar. A sync of fewer rows than the bar's is held against none."""
    bars: dict[str, Callable[[Figures], bool]] = {
        "cluster": _cluster_missed,
        "rebuild": _rebuild_missed,
        "sync": _sync_missed,
        **add_on.MISSED,
    }
    return [kind for kind, figures in found.items() if bars[kind](figures)]


def _cluster_missed(found: Figures) -> bool:
    return not found["meets_bars"]


def _rebuild_missed(found: Figures) -> bool:
    return bool(found["put_4k_p99_ratio"] > LATENCY_BAR)


def _sync_missed(found: Figures) -> bool:
    return bool(found["rows"] >= SYNC_BAR_ROWS and found["sync_s"] > SYNC_BAR_S)


def sentences(found: Mapping[str, Figures]) -> list[str]:
    """All figures that a reader asks for, and which bars were missed."""
    words: dict[str, Callable[[Figures], list[str]]] = {
        "cluster": _about_cluster,
        "rebuild": _about_rebuild,
        "sync": _about_sync,
        **add_on.ABOUT,
    }
    told = [text for kind, figures in found.items() for text in words[kind](figures)]
    return told + [f"a bar of `atoll bench {kind}` is MISSED" for kind in missed(found)]


def _about_cluster(found: Figures) -> list[str]:
    return [_about_scene(how, found[how]) for how in ("killed", "stopped")]


def _about_scene(how: str, scene: Figures) -> str:
    verbs = "; ".join(
        f"{verb.upper()} 4 KiB p50/p99 {scene[f'{verb}_healthy_p50_ms']:.1f}/"
        f"{scene[f'{verb}_healthy_p99_ms']:.1f} ms when healthy, "
        f"{scene[f'{verb}_gone_p50_ms']:.1f}/{scene[f'{verb}_gone_p99_ms']:.1f} ms from a second after "
        f"it ({scene[f'{verb}_ratio']:.2f} x; bar 2), {scene[f'{verb}_slow']:.0f} of "
        f"{scene[f'{verb}_begun_when_gone']:,.0f} slower than 2 x"
        for verb in ("put", "get")
    )
    return (
        f"one node of four {how}: full service after {scene['full_service_s']:.2f} s, first answer "
        f"after {scene['first_answer_s']:.3f} s, longest request {scene['longest_ms']:,.0f} ms, "
        f"{scene['failed']:.0f} failed; {verbs}"
    )


def _about_rebuild(found: Figures) -> list[str]:
    return [
        f"rebuild of a lost device: {found['rebuild_mb_s']:,.0f} MB/s, "
        f"{100 * found['rebuild_share_of_disk']:.0f} % of the disk's rate; beside four clients "
        f"{found['rebuild_beside_mb_s']:,.0f} MB/s, while their PUT p99 goes from "
        f"{found['put_4k_calm_p99_ms']:.1f} to {found['put_4k_beside_p99_ms']:.1f} ms "
        f"({found['put_4k_p99_ratio']:.2f} x; bar {LATENCY_BAR:.0f})"
    ]


def _about_sync(found: Figures) -> list[str]:
    return [
        f"sync of two replicas with {found['rows']:,.0f} rows of which {found['differing']:.0f} "
        f"differ: {found['sync_s']:.2f} s (bar {SYNC_BAR_S} s for {SYNC_BAR_ROWS:,}), "
        f"{found['sync_cpu_s']:.2f} s of CPU"
    ]

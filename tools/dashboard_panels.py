"""The dashboard's panels, section by section; `dashboard.py` makes Grafana's document of them."""

from typing import Final, NamedTuple

ROW_UNITS: Final = 24
"""Grafana's grid is so wide."""


class Query(NamedTuple):
    """A PromQL expression, in which N stands for the chosen nodes, and its legend."""

    expression: str
    legend: str = ""


class Panel(NamedTuple):
    """kind: timeseries, stat or table. unit: Grafana's name of it. width: of ROW_UNITS. note: what to
    look for. stacked: areas on top of each other. limits: values at which it turns orange and red."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 8
    kind: str = "timeseries"
    note: str = ""
    stacked: bool = False
    limits: tuple[float, ...] = ()


class Section(NamedTuple):
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


def _one(expression: str, legend: str = "") -> tuple[Query, ...]:
    return (Query(expression, legend),)


SECTIONS: Final = (
    Section(
        "At a glance",
        (
            Panel(
                "Devices offline",
                "short",
                _one("sum(1 - atoll_device_up{N}) or vector(0)"),
                4,
                "stat",
                "Devices whose own process says that they do not serve.",
                limits=(1, 1),
            ),
            Panel(
                "Devices full",
                "short",
                _one("sum(atoll_device_full{N}) or vector(0)"),
                4,
                "stat",
                "They refuse writes.",
                limits=(1, 1),
            ),
            Panel(
                "Processes unreached",
                "short",
                _one("max(atoll_peers_unreached{N}) or vector(0)"),
                4,
                "stat",
                "The most that one process does not reach.",
                limits=(1, 2),
            ),
            Panel(
                "Copies to be made",
                "short",
                _one('sum(atoll_repair_left{N, repair=~"rebuild|mend"}) or vector(0)'),
                4,
                "stat",
                "Of blobs, as far as they are known.",
                limits=(1, 1000),
            ),
            Panel(
                "Requests",
                "reqps",
                _one("sum(rate(atoll_request_seconds_count{N}[$__rate_interval]))"),
                4,
                "stat",
            ),
            Panel(
                "Releases",
                "short",
                _one("sum by (version) (atoll_build_info{N})", "{{version}}"),
                4,
                "stat",
            ),
        ),
    ),
    Section(
        "Requests",
        (
            Panel(
                "Requests by verb",
                "reqps",
                _one(
                    "sum by (api, verb) (rate(atoll_request_seconds_count{N}[$__rate_interval]))",
                    "{{api}} {{verb}}",
                ),
                stacked=True,
            ),
            Panel(
                "Answers that are no success",
                "reqps",
                _one(
                    "sum by (api, status) "
                    '(rate(atoll_request_seconds_count{N, status!~"2..|304"}[$__rate_interval]))',
                    "{{api}} {{status}}",
                ),
                note="503: overload, or no majority. 507: devices are full.",
            ),
            Panel(
                "Latency, 99 of 100",
                "s",
                _one(
                    "histogram_quantile(0.99, sum by (api, verb, le) "
                    "(rate(atoll_request_seconds_bucket{N}[$__rate_interval])))",
                    "{{api}} {{verb}}",
                ),
            ),
            Panel(
                "Latency, mean",
                "s",
                _one(
                    "sum by (api, verb) (rate(atoll_request_seconds_sum{N}[$__rate_interval])) / "
                    "sum by (api, verb) (rate(atoll_request_seconds_count{N}[$__rate_interval]))",
                    "{{api}} {{verb}}",
                ),
            ),
            Panel(
                "Row operations by their end",
                "ops",
                _one(
                    "sum by (operation, outcome) "
                    "(rate(atoll_quorum_outcomes_total{N}[$__rate_interval]))",
                    "{{operation}} {{outcome}}",
                ),
                note="Nearly all should be agreed. unknown: a client got 503 and can't know.",
            ),
            Panel(
                "Waiting, by queue",
                "short",
                _one("sum by (queue) (atoll_queue_length{N})", "{{queue}}"),
            ),
            Panel(
                "Worked on, of what is allowed",
                "percentunit",
                _one("max by (work) (atoll_admitted{N} / atoll_admitted_max{N})", "{{work}}"),
                note="The fullest worker. At 1 further requests wait, then get 503.",
            ),
        ),
    ),
    Section(
        "Devices",
        (
            Panel(
                "Group commits",
                "ops",
                _one("rate(atoll_device_syncs_total{N}[$__rate_interval])", "d{{device}}"),
            ),
            Panel(
                "Time of a group commit",
                "s",
                _one(
                    "rate(atoll_device_sync_seconds_total{N}[$__rate_interval]) / "
                    "rate(atoll_device_syncs_total{N}[$__rate_interval])",
                    "d{{device}}",
                ),
                note="Every write waits for one. A disk that fails gets slow first.",
            ),
            Panel(
                "Written to journals",
                "Bps",
                _one("rate(atoll_device_written_bytes_total{N}[$__rate_interval])", "d{{device}}"),
            ),
            Panel("Free room", "bytes", _one("atoll_device_free_bytes{N}", "d{{device}}")),
            Panel(
                "Journal, and what of it lives",
                "bytes",
                (
                    Query("sum by (device) (atoll_device_journal_bytes{N})", "d{{device}}"),
                    Query("sum by (device) (atoll_device_journal_live_bytes{N})", "d{{device}} live"),
                ),
            ),
            Panel(
                "Batches that wait for the journal",
                "short",
                _one("atoll_device_journal_queue{N}", "d{{device}}"),
            ),
            Panel(
                "Rows",
                "short",
                (
                    Query("atoll_device_rows{N}", "d{{device}}"),
                    Query("atoll_device_unindexed_rows{N}", "d{{device}} in the journal only"),
                ),
            ),
            Panel("Index", "bytes", _one("atoll_device_index_bytes{N}", "d{{device}}")),
            Panel(
                "Failed checksums",
                "short",
                _one("increase(atoll_device_corrupt_total{N}[1h])", "d{{device}}"),
                note="In an hour. Other copies answered; look at the disk.",
            ),
            Panel(
                "Breakers",
                "short",
                (
                    Query(
                        "max by (device) (atoll_breaker_state{N})",
                        "d{{device}}: 1 half-open, 2 open",
                    ),
                    Query(
                        "sum by (device) (rate(atoll_breaker_refused_total{N}[$__rate_interval]))",
                        "d{{device}} refused/s",
                    ),
                ),
                note="Open: no process waits for that device.",
            ),
        ),
    ),
    Section(
        "Repair and ring changes",
        (
            Panel(
                "Workers that are not idle",
                "short",
                _one(
                    'sum by (repair, state) (atoll_repair_state{N, state!="idle"})',
                    "{{repair}} {{state}}",
                ),
                note="failing: atoll repair list says why.",
            ),
            Panel(
                "Left to do",
                "short",
                _one("sum by (repair) (atoll_repair_left{N})", "{{repair}}"),
            ),
            Panel(
                "Left to do, in bytes",
                "bytes",
                _one("sum by (repair) (atoll_repair_left_bytes{N})", "{{repair}}"),
            ),
            Panel(
                "Rate",
                "Bps",
                _one("sum by (repair) (atoll_repair_bytes_per_second{N})", "{{repair}}"),
            ),
            Panel(
                "Done in",
                "s",
                _one("max by (repair) (atoll_repair_end_time_seconds{N}) - time()", "{{repair}}"),
            ),
            Panel(
                "Done",
                "ops",
                _one(
                    "sum by (repair, count) (rate(atoll_repair_counts_total{N}[$__rate_interval]))",
                    "{{repair}} {{count}}",
                ),
            ),
            Panel(
                "Ring epoch",
                "short",
                (
                    Query("max(atoll_ring_epoch{N})", "newest"),
                    Query("min(atoll_ring_epoch{N})", "oldest"),
                ),
                note="They differ for a moment only.",
            ),
            Panel(
                "Ring change: what is left",
                "short",
                (
                    Query("sum(atoll_ring_unsettled{N})", "rows: partition-replicas to settle"),
                    Query("sum(atoll_ring_leftovers{N})", "shards to remove"),
                    Query("sum(atoll_ring_misplaced_blobs{N})", "blobs away from home"),
                ),
            ),
            Panel("Away from home", "bytes", _one("sum(atoll_ring_misplaced_bytes{N})", "bytes")),
        ),
    ),
    Section(
        "Processes",
        (
            Panel(
                "Memory",
                "bytes",
                _one("atoll_process_resident_bytes{N}", "{{instance}} worker {{worker}}"),
            ),
            Panel(
                "Slowest ping",
                "s",
                (Query("atoll_peer_round_trip_seconds{N}", "{{instance}} worker {{worker}}"),),
            ),
            Panel(
                "Reached",
                "short",
                _one("atoll_peers{N} - atoll_peers_unreached{N}", "{{instance}} worker {{worker}}"),
            ),
            Panel(
                "Events",
                "ops",
                _one("sum by (event) (rate(atoll_events_total{N}[$__rate_interval]))", "{{event}}"),
                24,
                note="task_failed and ring_not_followed: look at the log.",
            ),
        ),
    ),
)

"""What is said of many situations: level, headline, and who is told what to do."""

from collections.abc import Callable
from datetime import UTC, timedelta, timezone

import msgspec
import pytest

from proxy.core.guard import GuardStatus
from proxy.repair.contract import WorkerState, WorkerStatus
from ring.builder import apply
from ring.draft import Draft, RemoveDevice
from ring.plan import plan
from ring.types import ROWS
from runtime.telemetry import Counts
from storage.node import Progress
from tests.unit.health.clusters import NOW_NS, RING, SINCE_NS, Cluster, address_of, ring_of
from tools.finding import Level as Found
from tools.health.health import Health, Level
from tools.health.judge import judge
from tools.health.report import Silent, Unreached

NOW_S = NOW_NS / 1e9


def health(cluster: Cluster) -> Health:
    return judge(cluster.report, cluster.ring, UTC)


def texts(cluster: Cluster, about: str) -> list[str]:
    return [found.text for found in health(cluster).findings if found.about == about]


def rebuild(scope: str, **changes: object) -> WorkerStatus:
    status = WorkerStatus(
        name="rebuild",
        scope=scope,
        state=WorkerState.WORKING,
        left=100,
        left_bytes=10**9,
        rate_bytes_s=36e6,
        eta_s=NOW_S + 11 * 60,
    )
    return msgspec.structs.replace(status, **changes)


Make = Callable[[], Cluster]

SITUATIONS: list[tuple[str, Make, Level, str]] = [
    ("all well", Cluster, Level.OK, "all 640 objects at full copies"),
    (
        "one device stopped",
        lambda: Cluster().device(7, offline="a sync failed: EIO"),
        Level.DEGRADED,
        "160 objects at 2 of 3 because device d7 (node c, /srv/d7) stopped serving: a sync failed: EIO",
    ),
    (
        "a node down",
        lambda: Cluster().down("b"),
        Level.DEGRADED,
        "480 objects at 2 of 3 because node b is unreachable since 14:02 (3 devices)",
    ),
    (
        "a node down since yesterday",
        lambda: Cluster().down("b", since_ns=SINCE_NS - 86_400 * 10**9),
        Level.DEGRADED,
        "480 objects at 2 of 3 because node b is unreachable since 22 Nov 14:02 (3 devices)",
    ),
    (
        "two nodes down",
        lambda: Cluster().down("b", "c"),
        Level.DANGER,
        "320 objects at 1 of 3 because nodes b and c are unreachable since 14:02 (6 devices); "
        "fewer than 2: they can't be read or written now",
    ),
    (
        "two nodes down at different times",
        lambda: Cluster().down("b").down("c", since_ns=SINCE_NS + 60 * 10**9),
        Level.DANGER,
        "320 objects at 1 of 3 because node b is unreachable since 14:02 (3 devices) and node c is "
        "unreachable since 14:03 (3 devices); fewer than 2: they can't be read or written now",
    ),
    (
        "the only node with one device",
        lambda: Cluster(ring_of("b", 3, ec=False), "b").device(1, offline="closed"),
        Level.DEGRADED,
        "640 objects at 2 of 3 because device d1 (node b, /srv/d1) stopped serving: closed",
    ),
    (
        "a node silent here alone",
        lambda: Cluster().silence("b"),
        Level.UNKNOWN,
        "whether 480 objects are at full copies is not known: node b is silent: no answer here, though "
        "nodes c and d reach it (3 devices)",
    ),
    (
        "silent, and nobody else was asked yet",
        lambda: Cluster(ring_of("ab")).silence("b"),
        Level.DANGER,
        # the asker has just asked in vain: that it reached the peer a moment ago counts for nothing
        "320 objects at 1 of 3 because node b is unreachable (3 devices); fewer than 2: they can't be "
        "read or written now",
    ),
    (
        "rebuilding",
        lambda: (
            Cluster()
            .device(7, offline="a sync failed: EIO")
            .change("a", repair=[rebuild("d0"), rebuild("d1")])
            .change("b", repair=[rebuild("d3", eta_s=NOW_S + 60), rebuild("d4"), rebuild("d5")])
        ),
        Level.DEGRADED,
        "160 objects at 2 of 3 because device d7 (node c, /srv/d7) stopped serving: a sync failed: EIO"
        "; rebuilding onto 5 devices at 180 MB/s, done about 14:31",
    ),
    (
        "copies missing though every device serves",
        lambda: Cluster().change("a", repair=[rebuild("d0")]),
        Level.DEGRADED,
        "100 copies of blobs to be made anew; rebuilding onto 1 device at 36 MB/s, done about 14:31",
    ),
    (
        "copies that reads found bad",
        lambda: Cluster().change("c", repair=[WorkerStatus(name="mend", left=1)]),
        Level.DEGRADED,
        "1 copy that reads found missing or damaged to be made anew; other copies answered",
    ),
    (
        "just started",
        lambda: Cluster().every(lambda _name: {"census": None}),
        Level.OK,
        "all objects at full copies; they are being counted",
    ),
    (
        "a device gone before anybody counted",
        lambda: Cluster().device(7, offline="EIO").every(lambda _name: {"census": None}),
        Level.DEGRADED,
        "what 16 partitions of rows hold at 2 of 3 because device d7 (node c, /srv/d7) stopped serving"
        ": EIO",
    ),
]


@pytest.mark.parametrize(
    ("make", "level", "headline"),
    [situation[1:] for situation in SITUATIONS],
    ids=[situation[0] for situation in SITUATIONS],
)
def test_the_headline(make: Make, level: Level, headline: str) -> None:
    found = health(make())
    assert found.findings[0].text == headline
    assert found.level is level
    assert found.healthy == (level is Level.OK)


@pytest.mark.parametrize(
    "make", [pytest.param(s[1], id=s[0]) for s in SITUATIONS if s[2] is not Level.OK]
)
def test_what_is_not_well_is_never_called_all_fine(make: Make) -> None:
    found = health(make())
    assert not found.healthy
    assert not any("all 640 objects" in finding.text for finding in found.findings)


def test_the_rest_is_told_too() -> None:
    said = texts(Cluster().down("b"), "objects")
    assert said[1:] == ["160 of 640 objects at full copies"]
    blobs = texts(Cluster().down("b"), "blobs")
    assert [text.partition(" because")[0] for text in blobs] == [
        "480 blobs (replicated-3) at 2 of 3",
        "320 blobs (ec-4-2) at 4 of 6",
        "320 blobs (ec-4-2) at 5 of 6",
    ]


def test_blobs_below_their_data_fragments_are_a_danger() -> None:
    (first, *_) = [
        f for f in health(Cluster().down("b", "c")).findings if f.about == "blobs" and "(ec" in f.text
    ]
    assert first.level is Found.DANGER
    assert first.text.endswith("fewer than 4: they can't be read now")


def test_times_are_of_the_readers_zone() -> None:
    cluster = Cluster().down("b")
    found = judge(cluster.report, cluster.ring, timezone(timedelta(hours=2)))
    assert "since 16:02" in found.findings[0].text


# ---- devices and processes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"offline": "a sync failed: EIO"}, Found.PROBLEM, "stopped serving: a sync failed: EIO"),
        ({"full": True, "free_bytes": 1 << 20}, Found.PROBLEM, "is full (1.0 MiB free)"),
        ({"corrupt_count": 7}, Found.WARNING, "failed 7 checksums"),
        ({"sync_latency_s": 1.0}, Found.WARNING, "its disk is slow: a sync takes 1000 ms"),
        ({"notes": ("the index was rebuilt",)}, Found.WARNING, "the index was rebuilt"),
    ],
)
def test_a_device_in_trouble_says_which(changes: dict[str, object], level: Found, words: str) -> None:
    found = health(Cluster().device(0, **changes))
    said = [(f.level, f.text) for f in found.findings if f.about == "device 0"]
    assert any(one is level and words in text for one, text in said)
    assert {f.level for f in found.findings if f.about == "device 1"} == {Found.OK}
    assert found.healthy == (level is Found.WARNING)


def test_a_device_that_nobody_serves() -> None:
    cluster = Cluster()
    del cluster.processes["c"].devices[7]
    (said,) = texts(cluster, "device 7")
    assert "no process of node c serves it" in said
    assert health(cluster).level is Level.DEGRADED


def test_one_worker_of_a_node_takes_only_its_own_devices_along() -> None:
    """What the silent worker served is known from those who reached it before."""
    cluster = Cluster()
    cluster.change("b", devices={3: cluster.processes["b"].devices[3]})
    for name in "abcd":
        gone = Unreached(node="b", worker=1, devices=[4, 5], since_ns=SINCE_NS, why="no answer")
        cluster.change(name, unreached=[gone])
    cluster.silent.append(Silent(node="b", worker=1, why="no answer in 5 s"))
    found = health(cluster)
    assert found.facts["devices"]["unreachable"] == 2
    assert found.facts["copies"][ROWS]["short"][0]["devices"] == [4, 5]
    (worker,) = [f for f in found.findings if f.about == "worker" and f.level is not Found.OK]
    assert worker.text.startswith("worker 1 of node b does not answer since 14:02 (no answer in 5 s)")


def giving_up(*nodes: str, state: str = "open") -> Cluster:
    """Processes whose breaker before device 7 is open, while that device says that it serves."""
    cluster = Cluster()
    for node in nodes:
        cluster.change(node, guards=[GuardStatus(7, state, SINCE_NS, 3, 9, "no answer in time")])
    return cluster


def test_a_device_whose_disk_hangs_is_not_there_though_its_process_answers() -> None:
    found = health(giving_up("a", "b"))
    assert found.findings[0].text == (
        "160 objects at 2 of 3 because device d7 (node c, /srv/d7) is unreachable since 14:02"
    )
    (said,) = texts(giving_up("a", "b"), "device 7")
    assert "its process answers, but it does not (no answer in time); its disk may hang" in said


def test_one_process_alone_gives_up_no_device_for_all() -> None:
    assert health(giving_up("a")).healthy
    assert health(giving_up("a", "b", "c", "d", state="half_open")).healthy


def test_many_causes_are_not_all_named() -> None:
    cluster = Cluster()
    for number in (0, 1, 2, 3, 6, 9):
        cluster.device(number, offline="EIO")
    cluster.device(10, offline="EIO")
    said = health(cluster).findings[0].text
    assert "d1 (node a, /srv/d1) stopped serving: EIO, device d2" in said
    assert "device d6" not in said
    assert " more device" in said


def test_a_large_cluster_does_not_list_what_is_well() -> None:
    found = health(Cluster(ring_of("abcdefgh", 5)))
    assert found.healthy
    assert not [f for f in found.findings if f.about.startswith("device")]


def test_a_node_that_the_asker_does_not_know_is_unknown_not_fine() -> None:
    cluster = Cluster()
    del cluster.processes["d"]
    found = health(cluster)
    assert found.level is Level.UNKNOWN
    assert "nobody here knows node d" in found.findings[0].text


def test_a_list_of_the_unreached_that_was_cut_says_nothing_of_the_others() -> None:
    cluster = Cluster().silence("b").every(lambda _name: {"unreached_count": 300})
    assert health(cluster).facts["devices"]["unreachable"] == 3
    assert health(Cluster().silence("b")).facts["devices"]["unknown"] == 3


# ---- ring and repair -----------------------------------------------------------------------------


def changing(lost: bool = False) -> Cluster:
    step = plan(RING, Draft(RING.epoch).with_change(RING, RemoveDevice(7, lost)), 1)
    return Cluster(apply(RING, step))


def test_a_ring_change_under_way_tells_how_far_it_is_and_when_it_ends() -> None:
    cluster = changing()
    moved = cluster.ring.moved_in_epoch(ROWS)
    assert moved is not None
    share = 400 // len(moved)
    moving = Progress(
        2, unsettled=len(moved) - 4, misplaced=1200, misplaced_bytes=81 << 30, leftovers=2
    )
    work = WorkerStatus(
        name="rebalance",
        scope="d3",
        state=WorkerState.THROTTLED,
        left=1200,
        rate_bytes_s=120e6,
        eta_s=NOW_S + 11 * 60,
    )
    cluster.change("b", moving=moving, repair=[work])
    assert texts(cluster, "ring") == [
        f"epoch 2 moves rows: 4 of {len(moved)} partition-replicas have settled ({share} %)",
        "1,200 blobs (81.0 GiB) are not yet where the ring places them; they are found where they are; "
        "moving blobs home on 1 device at 120 MB/s, done about 14:31",
        "2 shards wait to be removed from devices that gave them up",
    ]
    assert health(cluster).healthy  # nothing is at fewer copies while rows move


def test_what_silent_processes_have_to_move_is_not_counted_as_nothing() -> None:
    cluster = changing().change("b", moving=Progress(2, misplaced=10)).down("c")
    assert any(text.startswith("at least 10 blobs") for text in texts(cluster, "ring"))


def test_a_lost_device_is_made_anew_elsewhere() -> None:
    found = health(changing(lost=True))
    assert found.level is Level.DEGRADED
    assert found.findings[0].text == "160 objects at 2 of 3 until newcomers have settled"


def test_a_process_behind_the_ring_is_told_of() -> None:
    assert texts(Cluster().change("c", epoch=0), "ring") == [
        "node c serves by ring epoch 0, the newest is 1; it fetches that by itself as soon as it hears "
        "of it"
    ]


def test_scrub_promises_a_date() -> None:
    scrub = WorkerStatus(name="scrub", state=WorkerState.WORKING, left=9, eta_s=NOW_S + 10 * 86_400)
    later = msgspec.structs.replace(scrub, scope="d9", eta_s=NOW_S + 11 * 86_400)
    cluster = Cluster().change("a", repair=[scrub]).change("d", repair=[later])
    assert texts(cluster, "scrub") == [
        "everything stored will have been read and checked by 2026-12-04"
    ]
    assert health(cluster).healthy


@pytest.mark.parametrize(
    ("name", "words"), [("reshard", "splitting shards on 1 device"), ("repolicy", "rewriting objects")]
)
def test_other_work_is_told_of(name: str, words: str) -> None:
    work = WorkerStatus(name=name, state=WorkerState.WORKING, left=3, left_bytes=4096)
    (said,) = texts(Cluster().change("a", repair=[work]), "repair")
    assert said.startswith(words)
    assert said.endswith("; 4.0 KiB left")


def test_paused_and_failing_work_is_told_of() -> None:
    paused = WorkerStatus(name="collect", state=WorkerState.PAUSED)
    failing = WorkerStatus(name="sync", state=WorkerState.FAILING, last_error="KeyError: 3")
    cluster = Cluster().change("a", repair=[paused]).change("b", repair=[failing])
    said = [(f.level, f.text) for f in health(cluster).findings if f.about == "repair"]
    assert said == [
        (Found.PROBLEM, "sync fails in 1 place: KeyError: 3; it is tried again"),
        (
            Found.WARNING,
            "collect is paused in 1 place; `atoll repair resume collect` lets it go on",
        ),
    ]


# ---- what nodes have in common -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset_s", "error_s", "level", "words"),
    [
        (0.5, 0.01, None, ""),
        (1.4, 0.5, None, ""),  # it may as well be the network
        (3.0, 0.01, Found.WARNING, "the clock of node c is 3.0 s ahead of that of node a (± 10 ms)"),
        (-61.0, 0.4, Found.PROBLEM, "the clock of node c is 61 s behind that of node a"),
        (120.0, 0.4, Found.PROBLEM, "writes over 60 s ahead are refused"),
    ],
)
def test_clocks(offset_s: float, error_s: float, level: Found | None, words: str) -> None:
    cluster = Cluster()
    cluster.offsets["c"] = (offset_s, error_s)
    said = [(f.level, f.text) for f in health(cluster).findings if f.about == "clock"]
    assert [one for one, _ in said] == ([level] if level else [])
    assert all(words in text for _, text in said)


def test_keepers() -> None:
    def three(_name: str) -> dict[str, object]:
        return {"keepers": [address_of("a"), address_of("b"), address_of("c")]}

    assert texts(Cluster().every(three), "keepers") == ["all 3 keepers answer (a, b and c)"]
    (one_away,) = texts(Cluster().every(three).down("b"), "keepers")
    assert one_away.startswith("2 of 3 keepers answer, enough to change the ring; b should")
    minority = Cluster().every(three).down("b", "c")
    (said,) = texts(minority, "keepers")
    assert said.startswith(
        "1 of 3 keepers answer (not b and c): requests are served, but the ring can't"
    )
    assert texts(Cluster().every(lambda _name: {"keepers": [address_of("a")]}), "keepers") == []
    torn = Cluster().every(three).change("d", keepers=[address_of(name) for name in "abd"])
    assert "name different keepers (127.0.0.100:7000, " in texts(torn, "keepers")[0]


def test_versions() -> None:
    (said,) = texts(Cluster().change("c", version="2.0"), "version")
    assert said.startswith("the nodes run different releases: 1.0 on a, b and d; 2.0 on c.")
    assert texts(Cluster(), "version") == []


def test_a_cut_between_two_who_both_answer() -> None:
    cluster = Cluster().cut("b", "c")
    (said,) = texts(cluster, "network")
    assert said.startswith(
        "worker 0 of node b does not reach worker 0 of node c since 14:02 (timed out), though both "
    )
    assert health(cluster).level is Level.DEGRADED


def test_events_and_syncs() -> None:
    cluster = Cluster().change("a", counts=Counts({}, {"task_failed": 2}))
    cluster.change("b", counts=Counts({}, {"task_failed": 1, "other": 9}))
    assert texts(cluster, "events") == ["3 background tasks failed; the log names them"]
    assert health(cluster).healthy
    assert health(Cluster().change("a", fsync="off")).level is Level.DEGRADED


def test_facts_have_the_numbers_of_the_sentences() -> None:
    facts = health(Cluster().down("b")).facts
    assert facts["copies"][ROWS]["total"] == 640
    assert facts["copies"][ROWS]["short"] == [
        {"have": 2, "count": 480, "uncounted_partitions": 0, "devices": [3, 4, 5]}
    ]
    assert facts["devices"]["unreachable"] == 3
    assert facts["nodes"] == {"total": 4, "unreachable": ["b"]}
    assert facts["processes"] == {"answered": 3, "silent": 1}


def test_room_that_devices_share_is_counted_once() -> None:
    cluster = Cluster()
    every = [number for node in cluster.names for number in cluster.devices_of(node)]
    for number in every:
        cluster.device(number, free_bytes=100)
    assert health(cluster).facts["devices"]["free_bytes"] == 100 * len(every)
    first = cluster.names[0]
    for node in cluster.names:
        cluster.change(node, file_systems=dict.fromkeys(cluster.devices_of(node), 7))
    assert health(cluster).facts["devices"]["free_bytes"] == 100 * len(cluster.names)
    cluster.change(first, file_systems={})
    shared = 100 * (len(cluster.names) - 1)
    expected = shared + 100 * len(cluster.devices_of(first))
    assert health(cluster).facts["devices"]["free_bytes"] == expected

"""What the page shows of many clusters, and that nothing from outside becomes markup."""

import re
from collections.abc import Callable
from datetime import UTC
from html.parser import HTMLParser

import pytest

from tests.unit.health.clusters import NOW_NS, Cluster, ring_of
from tests.unit.health.test_judge import rebuild
from tools.health.judge import judge
from tools.page.render import render
from tools.page.view import LISTED_MAX, NODES_SHOWN_DEVICES_MAX, Page, page_of


def page(cluster: Cluster) -> Page:
    report = cluster.report
    return page_of(report, cluster.ring, judge(report, cluster.ring, UTC), UTC)


def cards(cluster: Cluster) -> dict[str, tuple[str, str, str]]:
    return {card.title: (card.value, card.note, card.tone) for card in page(cluster).cards}


def test_all_well() -> None:
    made = page(Cluster())
    assert (made.level, made.headline) == ("ok", "all 640 objects at full copies")
    assert made.findings == []
    assert [zone.name for zone in made.zones] == ["za", "zb", "zc", "zd"]
    assert [len(node.rows) for zone in made.zones for node in zone.nodes] == [3] * 4
    assert cards(Cluster())["objects"] == ("640", "all at full copies", "")
    assert cards(Cluster())["devices"] == ("12 of 12", "serve, on 4 nodes", "")


def test_a_node_down() -> None:
    made = page(Cluster().down("b"))
    assert made.level == "degraded"
    (node,) = [node for zone in made.zones for node in zone.nodes if node.name == "b"]
    assert (node.tone, node.summary) == ("unreachable", "0 of 3 devices well")
    assert {row.state for row in node.rows} == {"unreachable"}
    assert cards(Cluster().down("b"))["objects"] == ("640", "480 at fewer than 3 copies", "bad")
    assert cards(Cluster().down("b"))["silent"][0] == "1"
    assert [row.version for row in made.processes if row.tone] == ["1.0", "silent", "1.0", "1.0"]


def test_repair_has_its_progress() -> None:
    made = page(Cluster().change("a", repair=[rebuild("d0", done=300)]))
    (row,) = made.repairs
    assert (row.share, row.rate, row.ends, row.state) == (75, "36 MB/s", "14:31", "works")
    value, note, _ = cards(Cluster().change("a", repair=[rebuild("d0")]))["repair"]
    assert (value, note) == ("36 MB/s", "rebuild, done about 14:31")


def test_a_large_cluster_lists_only_what_is_not_well() -> None:
    made = page(Cluster(ring_of("abcdefghijklmnopqrst", LISTED_MAX // 20 + 1)).device(7, offline="EIO"))
    rows = [row.name for zone in made.zones for node in zone.nodes for row in node.rows]
    assert rows == ["d7"]
    squares = sum(len(node.squares) for zone in made.zones for node in zone.nodes)
    assert squares == 20 * (LISTED_MAX // 20 + 1)


def test_a_very_large_cluster_shows_only_nodes_that_are_not_well() -> None:
    per_node = NODES_SHOWN_DEVICES_MAX // 4 + 1
    made = page(Cluster(ring_of("abcd", per_node, ec=False)).device(per_node, offline="EIO"))
    assert [[node.name for node in zone.nodes] for zone in made.zones] == [[], ["b"], [], []]
    assert made.zones[0].summary == f"1 node, {per_node} devices, 1 node well"
    assert made.zones[1].summary == f"1 node, {per_node} devices, 0 nodes well"


class Tags(HTMLParser):
    """Collects what a browser would see: tags, attributes, text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = "\"><script>alert('x')</script>&amp;{{ 7 * 7 }}"

MAKE: list[tuple[str, Callable[[], Cluster]]] = [
    ("well", Cluster),
    ("down", lambda: Cluster().down("b")),
    ("unknown", lambda: Cluster().silence("b")),
    ("one device", lambda: Cluster(ring_of("a", 3, ec=False))),
    ("hostile reason", lambda: Cluster().device(0, offline=HOSTILE)),
    ("hostile silence", lambda: Cluster().silence("b", HOSTILE)),
    ("hostile release", lambda: Cluster().change("b", version=HOSTILE)),
    ("hostile work", lambda: Cluster().change("b", repair=[rebuild("d3", doing=HOSTILE)])),
    ("just started", lambda: Cluster().every(lambda _name: {"census": None, "started_ns": NOW_NS})),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MAKE])
def test_it_is_whole_and_harmless(make: Callable[[], Cluster]) -> None:
    body, headers = render(page(make()))
    parser = Tags()
    parser.feed(body)
    assert parser.open == []
    assert not {"script", "link", "img", "iframe", "form", "object", "embed"} & set(parser.tags)
    assert not [name for name, _ in parser.attributes if name.startswith("on") or name == "style"]
    targets = {value for name, value in parser.attributes if name in {"href", "src"}}
    assert targets == {"/health.json", "/status", "/metrics"}
    assert not re.search(r"@import|url\((?!#gone\))", body)
    assert page(make()).headline in parser.text
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_hostile_text_is_shown_as_text() -> None:
    body, _ = render(page(Cluster().device(0, offline=HOSTILE)))
    parser = Tags()
    parser.feed(body)
    assert HOSTILE in parser.text

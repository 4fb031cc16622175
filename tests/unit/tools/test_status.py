"""Asking an admin port; what its answer means is tested in tests/unit/health."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest

from runtime.errors import AtollError
from tools.finding import ok
from tools.health.health import Health, health_of
from tools.status import ask, document

WELL = health_of([ok("objects", "all 3 objects at full copies")], {"at_ns": 1})


class Admin:
    """A port that answers one thing to every GET."""

    def __init__(self) -> None:
        self.status, self.body = 200, msgspec.json.encode(WELL)
        self.paths: list[str] = []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers.paths.append(self.path)
                self.send_response(answers.status)
                self.send_header("Content-Length", str(len(answers.body)))
                self.end_headers()
                self.wfile.write(answers.body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def admin() -> Iterator[Admin]:
    made = Admin()
    thread = Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_health_comes_back_as_it_was_sent(admin: Admin) -> None:
    found: Health = ask(admin.url)
    assert found == WELL
    assert admin.paths == ["/health.json"]
    assert document(found) == {
        "level": "ok",
        "healthy": True,
        "findings": [{"level": "ok", "about": "objects", "text": "all 3 objects at full copies"}],
        "facts": {"at_ns": 1},
    }


def test_a_store_in_danger_is_a_store(admin: Admin) -> None:
    admin.status = 503
    assert ask(admin.url) == WELL


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"{}", "not an Atoll admin port"),
        (200, b"<html>", "is no health report"),
        (503, b"busy", "not an Atoll admin port"),
        (200, b'{"level":"fine","findings":[],"facts":{}}', "is no health report"),
    ],
)
def test_what_is_none_is_said(admin: Admin, status: int, body: bytes, words: str) -> None:
    admin.status, admin.body = status, body
    with pytest.raises(AtollError, match=words):
        ask(admin.url)


@pytest.mark.parametrize("url", ["https://127.0.0.1:8081", "nonsense", "http://", "http://x:port"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AtollError, match=r"admin port's URL|no store answers"):
        ask(url)

"""The admin port: counts of all workers for Prometheus, read-only, and nothing secret."""

import contextlib
import http.client

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.store import RunningStore


def ask(store: RunningStore, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", store.admin_port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def healthchecks(store: RunningStore) -> float:
    """Requests for Swift's GET that were answered with 200, over all workers."""
    families = text_string_to_metric_families(store.ask_admin("/metrics").decode())
    samples = [sample for family in families for sample in family.samples]
    wanted = {"api": "swift", "verb": "GET", "status": "200"}
    return sum(
        sample.value
        for sample in samples
        if sample.name.endswith("_count") and wanted.items() <= sample.labels.items()
    )


def test_every_request_is_counted_whichever_worker_answered(store: RunningStore) -> None:
    before = healthchecks(store)
    for _ in range(10):
        assert store.serves()
    assert healthchecks(store) == before + 10


def test_what_is_admitted_is_told(store: RunningStore) -> None:
    text = store.ask_admin("/metrics").decode()
    for worker in range(2):
        assert f'atoll_admitted_max{{work="requests",worker="{worker}"}}' in text
        assert f'atoll_queue_length{{queue="requests",worker="{worker}"}} 0.0' in text


def test_a_request_is_counted_by_what_it_asks_for(store: RunningStore) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=30)
    with contextlib.closing(connection):
        for method, path in (("GET", "/v1/AUTH_x/c/o"), ("PUT", "/v1/AUTH_x/c"), ("MADEUP", "/x")):
            connection.request(method, path)
            connection.getresponse().read()
    text = store.ask_admin("/metrics").decode()
    assert 'verb="get_object"' in text
    assert 'verb="put_container"' in text
    assert "MADEUP" not in text  # or anybody could fill the memory with series


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthcheck", 200),
        ("HEAD", "/status", 200),
        ("HEAD", "/", 200),
        ("GET", "/health", 200),
        ("POST", "/", 405),
        ("POST", "/status", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/secret", 404),
        ("GET", "/status/../../secret", 404),
    ],
)
def test_it_is_read_only(store: RunningStore, method: str, path: str, status: int) -> None:
    assert ask(store, method, path)[0] == status


def test_it_tells_no_secret(store: RunningStore) -> None:
    told = b"".join(map(store.ask_admin, ("/", "/status", "/metrics", "/health", "/health.json")))
    secret = (store.data / "secret").read_text().strip()
    for text in (store.secret_key, store.access_key, secret):
        assert text.encode() not in told


def test_the_public_port_has_no_admin_pages(store: RunningStore) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert (answer.status, b"<Code>NoSuchBucket</Code>" in answer.read()) == (404, True)

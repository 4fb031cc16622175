"""`atoll repair`: lists the workers of all processes and controls them, on the Unix sockets alone."""

from pathlib import Path

from tests.api.cli.commands import atoll
from tests.api.cli.test_admin import ask
from tests.api.store import RunningStore, start_store


def states(store: RunningStore, name: str) -> set[str]:
    document = atoll("repair", "list", "--data", store.data, "--json").document
    return {worker["state"] for worker in document["workers"] if worker["name"] == name}


def test_workers_are_listed_for_each_device(store: RunningStore) -> None:
    document = atoll("repair", "list", "--data", store.data, "--json").document
    scopes = {worker["scope"] for worker in document["workers"] if worker["name"] == "collect"}
    assert scopes == {f"d{number}" for number in range(6)}
    told = atoll("repair", "list", "--data", store.data)
    assert (told.status, told.err) == (0, "")
    assert "collect" in told.out


def test_pause_and_resume_reach_every_process(store: RunningStore) -> None:
    assert atoll("repair", "pause", "collect", "--data", store.data).status == 0
    try:
        assert states(store, "collect") == {"paused"}
        assert atoll("repair", "run", "collect", "--data", store.data).status == 0
        assert states(store, "collect") == {"paused"}
    finally:
        assert atoll("repair", "resume", "collect", "--data", store.data).status == 0
    assert "paused" not in states(store, "collect")


def test_a_pause_outlives_the_processes(tmp_path: Path) -> None:
    with start_store(tmp_path, workers=1) as store:
        assert atoll("repair", "pause", "scrub", "--data", store.data).status == 0
        store.kill()
        store.restart()
        assert states(store, "scrub") == {"paused"}
        assert atoll("repair", "resume", "scrub", "--data", store.data).status == 0
        store.kill()
        store.restart()
        assert "paused" not in states(store, "scrub")


def test_what_is_not_there_is_a_clear_error(store: RunningStore, tmp_path: Path) -> None:
    told = atoll("repair", "pause", "nobody", "--data", store.data)
    assert told.status == 1
    assert "no worker 'nobody'; there are audit, " in told.err
    told = atoll("repair", "list", "--data", tmp_path)
    assert told.status == 1
    assert "no store runs on" in told.err


def test_the_admin_port_controls_nothing(store: RunningStore) -> None:
    assert ask(store, "POST", "/repair/pause/collect")[0] == 405
    assert ask(store, "GET", "/repair/pause/collect")[0] == 404
    assert "paused" not in states(store, "collect")

"""A store that cannot, for now: devices that are away or full. Clients hear it in Swift's words."""

import time
from collections.abc import Iterator

import pytest

from tests.api.swift.conftest import Endpoint
from tests.api.swift.test_accounts import check_common
from tests.api.swift.wire import Wire

BIG = bytes(200_000)


@pytest.fixture
def away(endpoint: Endpoint) -> Iterator[Endpoint]:
    """All devices can be switched off; they come back at the end."""
    yield endpoint
    for device in endpoint.grid.devices:
        device.go_online()
        device.set_full(False)


def test_no_majority_is_503_and_says_when_to_come_back(
    wire: Wire, container: str, away: Endpoint
) -> None:
    assert wire("PUT", f"{container}/o", body=b"old").status == 201
    for device in away.grid.devices:
        device.go_offline()
    for method, path, body in (
        ("GET", f"{container}/o", None),
        ("HEAD", f"{container}/o", None),
        ("PUT", f"{container}/o", b"new"),
        ("PUT", f"{container}/o", BIG),
        ("DELETE", f"{container}/o", None),
        ("GET", container, None),
        ("HEAD", "", None),
    ):
        refused = wire(method, path, body=body)
        check_common(refused)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1"), (method, path)
    bulk = wire("POST", "", "bulk-delete", {"Accept": "application/json"}, f"/{container}/o".encode())
    assert bulk.json["Response Status"] == "502 Bad Gateway"
    for device in away.grid.devices:
        device.go_online()
    assert wire("GET", f"{container}/o").body == b"old"


def test_full_devices_are_507_and_reads_go_on(wire: Wire, container: str, away: Endpoint) -> None:
    assert wire("PUT", f"{container}/o", body=BIG).status == 201
    for device in away.grid.devices:
        device.set_full(True)
    for body in (b"small", BIG):
        refused = wire("PUT", f"{container}/o", body=body)
        check_common(refused)
        assert refused.status == 507
    assert wire("GET", f"{container}/o").body == BIG
    for device in away.grid.devices:
        device.set_full(False)
    deadline = time.monotonic() + 10  # a shard that was full is left alone for a moment
    while (status := wire("PUT", f"{container}/o", body=b"small").status) == 507:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status == 201

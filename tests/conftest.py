"""Which tests run beside which, where several processes run them; and that none is bound by the clock.

A test that starts a store, or a cluster of them, runs up to a dozen processes and has clients that
know what they may be told. Two such tests at a time would measure each other, so all of them are one
piece of work for pytest-xdist: one of its processes does it, and the others do the rest meanwhile. It
comes first, being the largest. (The `--dist loadgroup` of pytest-xdist 3.8 groups nothing under pytest
9.2: it notes the group in an attribute that pytest no longer reads.)

Nothing is wrong because a machine is busy: Hypothesis measures no example.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

STARTS_STORES = (
    "tests/cluster/",
    "tests/api/cli/",
    "tests/api/cloud/",
    "tests/api/cross/",
    "tests/api/page/",
    "tests/api/readme/",
    "tests/api/s3/test_clients.py",
    "tests/api/swift/test_clients.py",
    "tests/compute/identity/test_clients.py",
    "tests/compute/objects/",
    "tests/compute/volume/ring/test_store.py",
    "tests/unit/bench/",
)
"""Tests that start processes that serve."""
STORES = "stores"


class StoresApart(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that start stores are one scope, every other one is its own."""

    def _split_scope(self, nodeid: str) -> str:
        return STORES if nodeid.startswith(STARTS_STORES) else nodeid


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> StoresApart | None:
    """Unless another way of dealing tests out was asked for."""
    return StoresApart(config, log) if config.getvalue("dist") == "load" else None

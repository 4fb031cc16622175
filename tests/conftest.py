"""Which tests run beside which, where several processes run them; and that none is bound by the clock.

A test that starts a store, or a cluster of them, runs up to a dozen processes and has clients that know
what they may be told. Two such tests at a time would measure each other, so all of them are one group,
which one process of pytest-xdist works through (`--dist loadgroup`) while the others do the rest. It
comes first, being the largest.

Nothing is wrong because a machine is busy: Hypothesis measures no example.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

STARTS_STORES = ("cluster", "api/cli", "api/cross", "api/page", "api/readme", "unit/bench")
"""Folders whose tests start processes that serve."""
STORE_FIXTURE = "store"
"""Of tests/api/conftest.py: the store that tests elsewhere share."""
GROUP = "stores"

_TESTS = Path(__file__).parent


def starts_stores(item: pytest.Item) -> bool:
    """By the folder that it is in, or what it asks for."""
    folder = item.path.parent
    among = any(folder.is_relative_to(_TESTS / name) for name in STARTS_STORES)
    return among or (STORE_FIXTURE in getattr(item, "fixturenames", ()) and "api" in item.path.parts)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the group, before pytest-xdist looks at it; without it the mark means nothing."""
    for item in items:
        if starts_stores(item):
            item.add_marker(pytest.mark.xdist_group(GROUP))

"""The real store that the tests of this rung share: one per pytest process."""

from collections.abc import Iterator

import pytest

from tests.api.store import RunningStore, start_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A running store of two workers and six devices; tests make containers of their own."""
    with start_store(tmp_path_factory.mktemp("store")) as running:
        yield running

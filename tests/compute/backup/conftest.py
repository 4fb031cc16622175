"""A site on either database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.site import Site
from tests.compute.backup.site import sites


@pytest.fixture
def site(database: str, tmp_path: Path) -> Iterator[Site]:
    """A new site."""
    with sites(tmp_path, database) as made:
        yield made

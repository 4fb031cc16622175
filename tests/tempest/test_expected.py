"""What may fail in Tempest is told to users, too, with the same reason."""

import re
from pathlib import Path

from tests.api.store import REPOSITORY
from tests.tempest.__main__ import expected_failures

PAGE = Path(REPOSITORY / "doc/compatibility/tempest.md").read_text()


def test_the_page_has_each_test_with_its_reason() -> None:
    rows = re.findall(r"^\| `(tempest\.[\w.]+)` \| (.+?) \|$", PAGE, re.MULTILINE)
    assert dict(rows) == expected_failures()
    assert len(rows) == len(dict(rows))

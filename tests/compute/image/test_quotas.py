"""What a project may have of images: refused with 413 before anything is changed."""

from pathlib import Path

import pytest

from compute.image.quotas import MIB, exceeded
from compute.image.settings import Settings
from compute.objects.memory import MemoryStore
from tests.compute.image.cloud import OCTETS, started


@pytest.mark.parametrize(
    ("used", "wanted", "over"), [(9, 1, False), (10, 0, False), (10, 1, True), (11, 0, True)]
)
def test_a_limit_may_be_reached_but_not_passed(used: int, wanted: int, over: bool) -> None:
    said = exceeded(
        {"image_count_total": used}, {"image_count_total": 10}, {"image_count_total": wanted}
    )
    assert bool(said) == over


async def test_limits_of_a_project(database: str, tmp_path: Path, objects: MemoryStore) -> None:
    settings = Settings(count_total=2, size_total_mib=3, stage_total_mib=0)
    async with started(tmp_path, database, objects, settings) as pictures:
        image = await pictures.active(b"x" * (2 * MIB))
        other = await pictures.make()
        said = await pictures.refused(413, "POST", "/images", {"name": "third"})
        assert "Resource image_count_total is over limit of 2" in said
        path = f"/images/{other['id']}/file"
        await pictures.refused(413, "PUT", path, b"x" * (2 * MIB), kind=OCTETS)
        stage = f"/images/{other['id']}/stage"
        await pictures.refused(413, "PUT", stage, b"x" * MIB, kind=OCTETS)
        assert (await pictures.show(other["id"]))["status"] == "queued"
        shown = (await pictures.ok("GET", "/info/usage"))["usage"]
        assert shown["image_size_total"] == {"usage": 2, "limit": 3}
        assert shown["image_count_total"] == {"usage": 2, "limit": 2}
        assert shown["image_count_uploading"] == {"usage": 0, "limit": -1}
        await pictures.ok("DELETE", f"/images/{image['id']}")
        await pictures.ok("POST", "/images", {"name": "third"})
        assert (await pictures.upload(other["id"], b"x" * (2 * MIB))).status == 204

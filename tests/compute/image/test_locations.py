"""Where an image's bytes are: shown to those who may see it, and taken away."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from compute.image.settings import Settings
from compute.objects.memory import MemoryStore
from tests.compute.image.cloud import V2_1, Pictures, started


@pytest.fixture
async def shown(database: str, tmp_path: Path) -> AsyncIterator[Pictures]:
    """A process that shows locations, with two stores."""
    settings = Settings(
        stores=("default", "second"), show_multiple_locations=True, show_image_direct_url=True
    )
    async with started(tmp_path, database, MemoryStore(), settings) as pictures:
        yield pictures


def patch(operation: str, path: str, value: Any = None) -> list[dict[str, Any]]:
    """One operation."""
    said = {"op": operation, "path": path}
    return [said if value is None else {**said, "value": value}]


async def test_they_are_hidden_unless_an_operator_says_so(pictures: Pictures) -> None:
    image = await pictures.active()
    assert not {"locations", "direct_url"} & image.keys()
    said = await pictures.refused(
        403, "PATCH", f"/images/{image['id']}", patch("remove", "/locations/0"), kind=V2_1
    )
    assert said == "It's not allowed to remove locations if locations are invisible."
    fields = {"locations": [{"url": "http://x/y", "metadata": {}}]}
    await pictures.refused(403, "POST", "/images", fields)


async def test_who_may_see_them(shown: Pictures) -> None:
    project, owner = await shown.user("member")
    _, other = await shown.user("member")
    image = await shown.active(owner=project, visibility="public")
    for token in (None, owner):
        seen = await shown.show(image["id"], token=token)
        (place,) = seen["locations"]
        assert place["url"] == seen["direct_url"]
        assert place["url"].startswith(f"atoll://default/{image['id']}/")
        assert place["metadata"] == {"store": "default"}
    seen = await shown.show(image["id"], token=other)
    assert (seen["locations"], "direct_url" in seen) == ([], False)
    (listed,) = (await shown.ok("GET", "/images", token=owner)).body["images"]
    assert len(listed["locations"]) == 1
    assert (await shown.make())["locations"] == []


async def test_none_is_added(shown: Pictures) -> None:
    image, other = await shown.make(), await shown.active(b"other")
    path = f"/images/{image['id']}"
    for url in ("http://127.0.0.1/x", other["direct_url"], "file:///etc/passwd"):
        place: dict[str, Any] = {"url": url, "metadata": {}}
        for body in (patch("add", "/locations/-", place), patch("replace", "/locations", [place])):
            assert await shown.refused(400, "PATCH", path, body, kind=V2_1) == "Invalid location"
        assert await shown.refused(400, "POST", "/images", {"locations": [place]}) == "Invalid location"
    assert (await shown.show(image["id"]))["status"] == "queued"
    again = {"url": other["direct_url"], "metadata": {}}
    body = patch("replace", "/locations", [again])
    said = await shown.refused(400, "PATCH", f"/images/{other['id']}", body, kind=V2_1)
    assert said == "Cannot replace locations from a non-empty list to a non-empty list."
    await shown.refused(400, "PATCH", path, patch("add", "/locations", again), kind=V2_1)
    await shown.refused(400, "PATCH", path, patch("add", "/locations/-", {"url": 1}), kind=V2_1)


async def test_the_last_one_that_goes_leaves_an_image_that_waits(shown: Pictures) -> None:
    image = await shown.active(b"first")
    path = f"/images/{image['id']}"
    for at in ("1", "-1", "-", "x", "²"):
        body = patch("remove", f"/locations/{at}")
        said = await shown.refused(400, "PATCH", path, body, kind=V2_1)
        assert said == "Invalid position for removing a location."
    body = patch("remove", "/locations/0")
    seen = (await shown.ok("PATCH", path, body, kind=V2_1)).body
    assert (seen["status"], seen["locations"], seen["size"], seen["checksum"]) == (
        "queued",
        [],
        None,
        None,
    )
    assert await shown.refused(409, "PATCH", path, body, kind=V2_1)
    assert (await shown.upload(image["id"], b"second")).status == 204
    assert (await shown.ok("GET", f"{path}/file")).body == b"second"
    assert (await shown.ok("PATCH", path, patch("replace", "/locations", []), kind=V2_1)).body[
        "status"
    ] == "queued"


async def test_only_who_may_delete_them(shown: Pictures) -> None:
    project, owner = await shown.user("member")
    image = await shown.active(owner=project)
    path, body = f"/images/{image['id']}", patch("remove", "/locations/0")
    await shown.refused(403, "PATCH", path, body, kind=V2_1, token=owner)
    await shown.ok("PATCH", path, patch("replace", "/protected", True), kind=V2_1)
    await shown.refused(403, "PATCH", path, body, kind=V2_1)
    assert (await shown.show(image["id"]))["status"] == "active"

"""The operators' page of a real store in a real browser: wide and narrow, light and dark."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.api.page.browser import Browser, chromium
from tests.api.store import RunningStore

pytestmark = pytest.mark.clients

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium(tmp_path / "profile") as made:
        yield made


def put_objects(store: RunningStore, count: int) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="page")
    for number in range(count):
        client.put_object(Bucket="page", Key=f"k{number}", Body=b"x")
    client.close()


async def test_it_is_readable_and_fetches_nothing(
    store: RunningStore, browser: Browser, tmp_path: Path
) -> None:
    put_objects(store, 3)
    await browser.look(1280, 900)
    await browser.open(f"{store.admin_url}/")
    assert await browser.value("document.title") == "ok · Atoll"
    headline = await browser.value("document.querySelector('#verdict .headline').textContent")
    assert "objects at full copies" in headline or headline == "no objects yet"
    assert await browser.value("document.querySelectorAll('#ring path.arc').length") == 6
    assert await browser.value("document.querySelectorAll('#zones .square').length") == 6
    assert await browser.value("document.querySelectorAll('#devices tbody tr').length") == 6
    assert await browser.value("document.querySelectorAll('#processes tbody tr').length") == 2
    assert await browser.value("document.querySelectorAll('script, link, img').length") == 0
    names = await browser.value(
        "[...document.querySelectorAll('#repair tbody td:first-child')].map(e => e.textContent)"
    )
    assert {"mend", "collect"} <= set(names)
    assert browser.requests == [f"{store.admin_url}/"]
    assert [text for text in browser.complaints if "favicon" not in text] == []

    colours = {}
    for scheme in ("light", "dark"):
        for width in (1280, 390, 320):
            await browser.look(width, 800, scheme)
            assert await browser.value(OVERFLOW) == 0, f"{width} px are not enough"
            colours[scheme] = await browser.value(BACKGROUND)
    # Without the style sheet, which the header must allow, both would be transparent.
    assert colours == {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 21, 27)"}
    if folder := os.environ.get("ATOLL_TEST_SCREENSHOTS"):
        await browser.look(1280, 900, "dark")
        await browser.screenshot(Path(folder) / "page.png")


async def test_it_refreshes_itself(store: RunningStore, browser: Browser) -> None:
    await browser.open(f"{store.admin_url}/")
    content = "document.querySelector('meta[http-equiv=refresh]').content"
    assert int(await browser.value(content)) in range(5, 31)

"""Which requests access rules are for."""

import pytest

from runtime.access_rules import AccessRule, Asked, admits


@pytest.mark.parametrize(
    ("path", "asked", "expected"),
    [
        ("/v2/images", "/v2/images", True),
        ("/v2/images", "/v2/images/", False),
        ("/v2/images", "/v2/imagesx", False),
        ("/v2/images/*", "/v2/images/1", True),
        ("/v2/images/*", "/v2/images/1/file", False),
        ("/v2/images/*", "/v2/images/", False),
        ("/v2/images/{image_id}/file", "/v2/images/1/file", True),
        ("/v2/images/{image_id}/file", "/v2/images/1/2/file", False),
        ("/v2/**", "/v2/images/1/file", True),
        ("/v2/**", "/v3/images", False),
        ("/**/file", "/v2/images/1/file", True),
        ("/v2/a.b", "/v2/axb", False),
        ("/v2/**", "/v2/a\nb", True),
        ("/v2/{", "/v2/{", True),
    ],
)
def test_a_path(path: str, asked: str, expected: bool) -> None:
    rules = [AccessRule("other", "GET", "/**"), AccessRule("image", "GET", path)]
    assert admits(rules, Asked(("image",), "GET", asked)) is expected


def test_service_and_method() -> None:
    rules = [AccessRule("volumev3", "GET", "/v3/**")]
    assert admits(rules, Asked(("block-storage", "volumev3"), "GET", "/v3/volumes"))
    assert not admits(rules, Asked(("image",), "GET", "/v3/volumes"))
    assert not admits(rules, Asked(("volumev3",), "POST", "/v3/volumes"))
    assert not admits([], Asked(("volumev3",), "GET", "/v3/volumes"))

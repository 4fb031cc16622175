"""The page as HTML. Whatever comes from outside is escaped by the template engine; nothing is fetched,
no script runs, and the header says so to the browser."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from tools.page.view import Page

REFRESH_S: Final = 10
"""The page asks for itself again after this long."""


class Rendered(NamedTuple):
    """HTML and the headers that it goes out with."""

    body: str
    headers: dict[str, str]


def render(page: Page) -> Rendered:
    """The whole page."""
    style = Markup(_style())  # noqa: S704 - our own file, which escaping would break
    body = _template().render(page=page, style=style, refresh_s=REFRESH_S)
    return Rendered(body, _headers())


@cache
def _style() -> str:
    return files("tools.page").joinpath("style.css").read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("tools.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


@cache
def _headers() -> dict[str, str]:
    """Our one style sheet may be used, by its hash; everything else is refused."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }

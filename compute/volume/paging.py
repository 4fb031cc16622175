"""Pages of lists: `limit`, `offset`, `marker`, and the sort parameters in their old and new form.

A marker is the id of the last row of the page before; the next page is what follows it in the order
asked for, found by comparing columns, so that rows which come or go meanwhile shift nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, Select, and_, literal, or_
from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Query, Request

PAGE_MAX: Final = 1000
OFFSET_MAX: Final = 2**31 - 1
PARAMETERS: Final = ("limit", "offset", "marker", "sort", "sort_key", "sort_dir")


class Page(NamedTuple):
    """What part of a list is asked for. order: columns' names, and whether each goes up."""

    limit: int
    offset: int
    marker: str | None
    order: tuple[tuple[str, bool], ...]


def page_of(query: Query) -> Page:
    """Raises BadRequest in upstream's words."""
    return Page(_limit(query), _offset(query), query.get("marker"), tuple(_order(query)))


def _limit(query: Query) -> int:
    try:
        limit = int(query.get("limit", PAGE_MAX))
    except ValueError:
        raise BadRequest("limit param must be an integer") from None
    if limit < 0:
        raise BadRequest("limit param must be positive")
    return min(limit, PAGE_MAX)


def _offset(query: Query) -> int:
    try:
        offset = int(query.get("offset", 0))
    except ValueError:
        raise BadRequest("offset must be an integer") from None
    if not 0 <= offset <= OFFSET_MAX:
        what = "must be >= 0" if offset < 0 else f"must be <= {OFFSET_MAX}"
        raise BadRequest(f"offset {what}")
    return offset


def _order(query: Query) -> list[tuple[str, bool]]:
    if "sort" not in query:
        asked = [(query.get("sort_key", "created_at"), query.get("sort_dir", "desc"))]
    elif "sort_key" in query or "sort_dir" in query:
        raise BadRequest(
            "The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort'"
            " parameter."
        )
    else:
        parts = [part.partition(":") for part in query["sort"].split(",")]
        asked = [(key, way or "desc") for key, _, way in parts]
    return [(key.strip(), _goes_up(way.strip())) for key, way in asked]


def _goes_up(way: str) -> bool:
    if way not in ("asc", "desc"):
        raise BadRequest(f"Unknown sort direction, must be one of: asc, desc, not {way}.")
    return way == "asc"


def rows_of(
    session: Session,
    query: Select[Any],
    page: Page,
    columns: Mapping[str, Any],
    model: Any,
) -> Sequence[Any]:
    """The rows of a page. columns: what may be sorted by; none of them is ever NULL.

    Raises BadRequest for another one, NotFound for a marker that is no row.
    """
    order = [(_column(columns, key), goes_up) for key, goes_up in page.order]
    order += [(model.id, page.order[0][1])] if "id" not in dict(page.order) else []
    if page.marker is not None:
        query = query.where(_after(session, order, page.marker, model))
    query = query.order_by(*(column.asc() if up else column.desc() for column, up in order))
    return session.execute(query.offset(page.offset).limit(page.limit)).scalars().all()


def _column(columns: Mapping[str, Any], key: str) -> ColumnElement[Any]:
    if key not in columns:
        raise BadRequest("Sort key supplied is invalid: " + key)
    column: ColumnElement[Any] = columns[key]
    return column


def _after(
    session: Session, order: Sequence[tuple[ColumnElement[Any], bool]], marker: str, model: Any
) -> ColumnElement[bool]:
    """The condition of being behind the marker's row."""
    found = session.query(*(column for column, _ in order)).where(model.id == marker).one_or_none()
    if found is None:
        raise NotFound(f"Marker {marker} could not be found.")
    ways = []
    values = [literal(value, column.type) for value, (column, _) in zip(found, order, strict=True)]
    for depth, (column, goes_up) in enumerate(order):
        same = [order[n][0] == values[n] for n in range(depth)]
        ways.append(and_(*same, column > values[depth] if goes_up else column < values[depth]))
    return or_(*ways)


def next_links(request: Request, rows: Sequence[Any]) -> list[dict[str, str]]:
    """The link to the next page where this one is full."""
    if not rows or len(rows) < _limit(request.query):
        return []
    query = {**dict(request.query.items()), "marker": rows[-1].id}
    return [{"rel": "next", "href": f"{request.base}{request.path}?{urlencode(query)}"}]

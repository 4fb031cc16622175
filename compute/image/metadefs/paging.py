"""A page of rows in an order, after a marker: the same for namespaces and what is in them."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, func, tuple_
from sqlalchemy.orm import Session

from compute.image.metadefs.models import Namespace

COLUMNS: Final = {
    "created_at": "created_us",
    "updated_at": "updated_us",
    "namespace": "namespace",
    "display_name": "display_name",
    "description": "description",
    "visibility": "visibility",
    "owner": "owner",
    "protected": "protected",
    "name": "name",
    "id": "id",
}

Row = TypeVar("Row")


def page(
    session: Session,
    query: Select[Row],
    model: Any,
    key: str,
    downwards: bool,
    marker: Row | None,
    limit: int,
) -> Sequence[Row]:
    """So many rows after the marker, ordered by `key` and, where that is alike, by id."""
    column = getattr(model, COLUMNS[key])
    value: ColumnElement[Any] = func.coalesce(column, "") if _may_be_null(model, key) else column
    if marker is not None:
        at = getattr(marker, COLUMNS[key])
        place = tuple_(at if at is not None else "", marker.id)  # type: ignore[attr-defined]
        row = tuple_(value, model.id)
        query = query.where(row < place if downwards else row > place)
    parts = (value, model.id)
    query = query.order_by(*(part.desc() if downwards else part.asc() for part in parts))
    return session.scalars(query.limit(limit)).all()


def _may_be_null(model: Any, key: str) -> bool:
    return model is Namespace and key in ("display_name", "description")

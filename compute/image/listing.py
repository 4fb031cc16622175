"""Which images a caller is shown, in which order: the query of GET /v2/images."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, false, func, not_, or_, select

from compute.image.call import Call
from compute.image.models import Image, ImageMember, ImageProperty, ImageTag
from compute.server.errors import BadRequest

SORT_KEYS: Final = (
    "name",
    "status",
    "container_format",
    "disk_format",
    "size",
    "id",
    "created_at",
    "updated_at",
)
COLUMNS: Final = {
    "size": "size_bytes",
    "virtual_size": "virtual_size_bytes",
    "created_at": "created_us",
    "updated_at": "updated_us",
}
_MEMBER_STATUSES: Final = ("pending", "accepted", "rejected", "all")
_NUMBERS: Final = ("min_disk", "min_ram")
_LISTS: Final = ("id", "name", "status", "container_format", "disk_format")
_TEXTS: Final = (*_LISTS, "owner", "checksum", "os_hash_algo", "os_hash_value")
_PLAIN: Final = (
    "visibility",
    "member_status",
    "limit",
    "marker",
    "sort",
    "sort_key",
    "sort_dir",
    "tag",
)
_COMPARED: Final = ("gt", "gte", "lt", "lte", "eq", "neq")


def query(call: Call) -> Select[Image]:
    """Those that the caller sees and asks for. Raises BadRequest."""
    asked = call.request.query
    found = select(Image).where(_visible(call))
    for tag in asked.getall("tag", []):
        having = select(ImageTag.image_id).where(ImageTag.name == tag.strip())
        found = found.where(Image.id.in_(having))
    hidden = asked.get("os_hidden", "false").lower()
    if hidden not in ("true", "false"):
        raise BadRequest(f"Invalid value '{hidden}' for 'os_hidden' filter.")
    found = found.where(Image.os_hidden.is_(hidden == "true"))
    for name, value in asked.items():
        if name not in _PLAIN and name != "os_hidden":
            found = found.where(_filter(call, name, value))
    return found


def _visible(call: Call) -> ColumnElement[bool]:
    """By visibility and membership: an image is the caller's, shared with it, or anyone's."""
    wanted = call.request.query.get("visibility")
    status = call.request.query.get("member_status", "accepted")
    if wanted not in (None, "", "community", "public", "private", "shared", "all"):
        raise BadRequest(f"Invalid visibility value: {wanted}")
    if status not in _MEMBER_STATUSES:
        raise BadRequest(f"Invalid status: {status}")
    mine = Image.owner == call.context.project_id if call.context.project_id else false()
    memberships = select(ImageMember.image_id).where(
        ImageMember.member_id == (call.context.project_id or "")
    )
    if status != "all":
        memberships = memberships.where(ImageMember.status == status)
    shared = and_(Image.visibility == "shared", Image.id.in_(memberships))
    if wanted == "community":
        return Image.visibility == "community"
    seen = or_(mine, shared, Image.visibility == "public")
    if call.is_admin:
        seen = or_(seen, Image.visibility.in_(("private", "shared")))
    if wanted == "all":
        return or_(seen, Image.visibility == "community")
    if wanted:
        return and_(seen, Image.visibility == wanted)
    return or_(seen, mine) if call.is_admin else seen


def _filter(call: Call, name: str, value: str) -> ColumnElement[bool]:
    """One parameter. Raises BadRequest."""
    column: Any = getattr(Image, COLUMNS.get(name, name), None)
    if name in ("size_min", "size_max"):
        limit = _number(name, value)
        return Image.size_bytes >= limit if name == "size_min" else Image.size_bytes <= limit
    if name in ("created_at", "updated_at"):
        return _compared(column, value)
    if name in _NUMBERS or name in ("size", "virtual_size"):
        return bool_(column == _number(name, value))
    if name == "protected":
        if value.lower() not in ("true", "false"):
            raise BadRequest(f"Invalid value '{value}' for 'protected' filter.")
        return bool_(column.is_(value.lower() == "true"))
    if name in _LISTS and value.startswith("in:"):
        return bool_(column.in_(_quoted_list(value[3:])))
    if name in _TEXTS:
        return bool_(column == value)
    if not call.readable(name):
        return false()
    having = select(ImageProperty.image_id).where(
        ImageProperty.name == name, ImageProperty.value == value
    )
    return Image.id.in_(having)


def bool_(condition: Any) -> ColumnElement[bool]:
    """A condition on a column that was chosen by its name."""
    checked: ColumnElement[bool] = condition
    return checked


def _number(name: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError as error:
        raise BadRequest(f"Unable to filter by {name}: {value} is no integer.") from error
    if not 0 <= number < 2**63:
        raise BadRequest(f"Unable to filter by {name}: {value} is out of range.")
    return number


def _quoted_list(text: str) -> list[str]:
    """Values with commas between, in quotes where they hold one. Raises BadRequest."""
    values, quoted, current = [], False, ""
    for mark in text:
        if mark == '"':
            quoted = not quoted
        elif mark == "," and not quoted:
            values.append(current)
            current = ""
        else:
            current += mark
    if quoted:
        raise BadRequest("Invalid filter value: the closing quote is missing.")
    return [*values, current]


def _compared(column: Any, value: str) -> ColumnElement[bool]:
    """`operator:instant`, an instant alone for equality. Raises BadRequest."""
    operator, _, text = value.partition(":")
    if operator not in _COMPARED:
        operator, text = "eq", value
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(f"Invalid time value: {text}") from error
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    second = int(instant.timestamp()) * 1_000_000
    next_second = second + 1_000_000  # what is shown has no fractions
    inside = and_(column >= second, column < next_second)
    chosen: dict[str, ColumnElement[bool]] = {
        "gt": column >= next_second,
        "gte": column >= second,
        "lt": column < second,
        "lte": column < next_second,
        "eq": inside,
        "neq": not_(inside),
    }
    return chosen[operator]


def orders(call: Call) -> list[tuple[str, bool]]:
    """Keys and whether each goes downwards, always ending with a unique one. Raises BadRequest."""
    asked = call.request.query
    if "sort" in asked:
        if "sort_key" in asked or "sort_dir" in asked:
            raise BadRequest("Old and new sorting syntax cannot be combined")
        pairs = [each.partition(":")[::2] for each in asked["sort"].strip().split(",")]
        said = [(key.strip(), way.strip() or "desc") for key, way in pairs]
    else:
        keys = [key.strip() for key in asked.getall("sort_key", [])] or ["created_at"]
        ways = [way.strip() for way in asked.getall("sort_dir", [])] or ["desc"]
        if len(ways) == 1:
            ways *= len(keys)
        if len(ways) != len(keys):
            raise BadRequest("Number of sort dirs does not match the number of sort keys")
        said = list(zip(keys, ways, strict=True))
    for key, way in said:
        if key not in SORT_KEYS:
            known = ", ".join(SORT_KEYS)
            raise BadRequest(f"Invalid sort key: {key}. It must be one of the following: {known}.")
        if way not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {way}")
    for key in ("created_at", "id"):
        if key not in dict(said):
            said.append((key, said[0][1]))
    return [(key, way == "desc") for key, way in said]


def after(marker: Image, order: list[tuple[str, bool]]) -> ColumnElement[bool]:
    """What comes after the marker in this order."""
    conditions: list[ColumnElement[bool]] = []
    alike: list[ColumnElement[bool]] = []
    for key, downwards in order:
        column, value = sortable(key), _value(marker, key)
        conditions.append(and_(*alike, column < value if downwards else column > value))
        alike.append(column == value)
    return or_(*conditions)


def sortable(key: str) -> Any:
    """A column with a value in every row."""
    column = getattr(Image, COLUMNS.get(key, key))
    if key in ("created_at", "updated_at", "id", "status"):
        return column
    return func.coalesce(column, -1 if key == "size" else "")


def _value(marker: Image, key: str) -> Any:
    value = getattr(marker, COLUMNS.get(key, key))
    return value if value is not None else (-1 if key == "size" else "")

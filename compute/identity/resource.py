"""The five verbs that most resources have in the same form: create, list, show, update, delete.

A `Resource` says what is its own: tables, schemas, how it looks, what a change needs. The rules
(`identity:create_region`, …), the routes and the shape of the answers follow from its name.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Select, inspect, select
from sqlalchemy.orm import Session

from compute.database.base import Base
from compute.identity.call import Call
from compute.identity.errors import not_found
from compute.server.errors import BadRequest, Forbidden
from compute.server.request import NO_CONTENT, Answer, json_answer
from compute.server.schema import Schema

Row = TypeVar("Row", bound=Base)
Fields = dict[str, Any]

COMPARISONS: Final = ("contains", "icontains", "startswith", "istartswith", "endswith", "iendswith")


def store(row: Any, fields: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Set known columns of a row, and put the rest into `extra` where the table has that."""
    extra = dict(row.extra or {}) if hasattr(row, "extra") else {}
    for name, value in fields.items():
        if name in columns:
            setattr(row, name, value)
        elif name not in ("id", "links"):
            extra[name] = value
    if hasattr(row, "extra"):
        row.extra = extra


def check_mutable(kind: str, row: Any, fields: Mapping[str, Any] | None) -> None:
    """An immutable row takes no change but the end of that. fields: None to remove it.

    Raises Forbidden.
    """
    if not row.options.get("immutable"):
        return
    releases = fields is not None and (fields.get("options") or {}).get("immutable") is not True
    if not releases or set(fields or ()) != {"options"}:
        raise Forbidden(
            f"You are not authorized to perform the requested action: change {kind} {row.id},"
            " which is immutable."
        )


def link(call: Call, plural: str, ident: str) -> dict[str, str]:
    """The link of a resource to itself."""
    return {"self": f"{call.v3}/{plural}/{ident}"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resource(Generic[Row]):
    """One kind of resource.

    noun: as in routes, bodies and rules; view: as the API shows it, without links; make and change: a
    new row (added to the session) and an old one's new values, both after the schema was checked;
    before: what is slow and needs no transaction; remove: deletes it. filters: columns that lists can
    be filtered by.
    """

    noun: str
    model: type[Row]
    create_schema: Schema
    update_schema: Schema
    view: Callable[[Session, Row], Fields]
    make: Callable[[Call, Session, Fields], Row]
    change: Callable[[Call, Session, Row, Fields], None]
    remove: Callable[[Call, Session, Row], None] = lambda _call, session, row: session.delete(row)
    before: Callable[[Call, Fields], Fields] = lambda _call, fields: fields
    target: Callable[[Call, Session, Fields], Fields] = lambda _call, _session, fields: fields
    filters: tuple[str, ...] = ()
    plural: str = ""
    path: str = ""
    said: str = ""

    @property
    def many(self) -> str:
        """The plural, as in bodies and rules."""
        return self.plural or f"{self.noun}s"

    @property
    def route(self) -> str:
        """The path of the collection below /v3."""
        return self.path or self.many

    @property
    def name(self) -> str:
        """As sentences call it."""
        return self.said or self.noun.replace("_", " ")

    def routes(self, verbs: str = "create list show update delete") -> list[tuple[str, str, Any]]:
        """The routes of these verbs."""
        one, many = f"/v3/{self.route}/{{{self.noun}_id}}", f"/v3/{self.route}"
        table = {
            "create": ("POST", many, self.create),
            "list": ("GET", many, self.list),
            "show": ("GET", one, self.show),
            "update": ("PATCH", one, self.update),
            "delete": ("DELETE", one, self.delete),
        }
        return [table[verb] for verb in verbs.split()]

    def create(self, call: Call) -> Answer:
        """POST."""
        fields = call.body(self.noun, self.create_schema)
        with call.read() as session:
            call.enforce(f"create_{self.noun}", **{self.noun: self.target(call, session, fields)})
        fields = self.before(call, fields)
        with call.write() as session:
            row = self.make(call, session, fields)
            session.flush()
            body = self.shown(call, session, row)
        return json_answer({self.noun: body}, 201)

    def list(self, call: Call) -> Answer:
        """GET of the collection."""
        with call.read() as session:
            call.enforce(f"list_{self.many}")
            rows = session.scalars(self.filtered(call, select(self.model))).all()
            return call.listed(self.many, [self.shown(call, session, row) for row in rows])

    def filtered(self, call: Call, query: Select[Row]) -> Select[Row]:
        """A query with the request's filters, in a fixed order, bounded."""
        for name in self.filters:
            column = getattr(self.model, name)
            value = call.query(name)
            if value is not None:
                wanted: Any = call.flag(name) if name in ("enabled", "is_domain") else value
                query = query.where(
                    column.is_(None) if wanted in ("null", "None") else column == wanted
                )
            for how in COMPARISONS:
                if (part := call.query(f"{name}__{how}")) is not None:
                    query = query.where(getattr(column, how)(part, autoescape=True))
        query = query.order_by(*inspect(self.model).primary_key)
        return query.limit(call.identity.settings.list_max)

    def show(self, call: Call) -> Answer:
        """GET of one."""
        with call.read() as session:
            row = self.found(call, session, f"get_{self.noun}")
            return json_answer({self.noun: self.shown(call, session, row)})

    def update(self, call: Call) -> Answer:
        """PATCH."""
        fields = call.body(self.noun)
        with call.read() as session:
            self.found(call, session, f"update_{self.noun}")
        self.update_schema.check(fields)
        if "id" in fields and fields["id"] != call.path[f"{self.noun}_id"]:
            raise BadRequest("Cannot change the id of a resource.")
        fields = self.before(call, fields)
        with call.write() as session:
            row = self.found(call, session, f"update_{self.noun}")
            self.change(call, session, row, fields)
            session.flush()
            body = self.shown(call, session, row)
        return json_answer({self.noun: body})

    def delete(self, call: Call) -> Answer:
        """DELETE."""
        with call.write() as session:
            row = self.found(call, session, f"delete_{self.noun}")
            self.remove(call, session, row)
        return NO_CONTENT

    def found(self, call: Call, session: Session, rule: str) -> Row:
        """The row of the path, for a caller who may. Raises Forbidden, NotFound: in this order."""
        ident = call.path[f"{self.noun}_id"]
        row = session.get(self.model, ident)
        facts = self.target(call, session, self.view(session, row)) if row is not None else {}
        call.enforce(rule, **{self.noun: facts})
        if row is None:
            raise not_found(self.name, ident)
        return row

    def shown(self, call: Call, session: Session, row: Row) -> Fields:
        """The row with its link."""
        view = self.view(session, row)
        return {**view, "links": link(call, self.route, view["id"])}

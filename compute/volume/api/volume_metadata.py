"""Metadata of volumes and of snapshots, one key at a time or all of them."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.orm import Session

from compute.server.errors import BadRequest, NotFound
from compute.server.request import Answer, json_answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call
from compute.volume.volumes import snapshot_of, volume_of

_VALUES: Final = forms.specs(r"^[\s\S]{1,255}$", "string")


def _body(name: str, values: dict[str, Any]) -> Schema:
    return Schema(
        {
            "type": "object",
            "properties": {name: values},
            "required": [name],
            "additionalProperties": False,
        }
    )


_ALL = _body("metadata", _VALUES)
_ONE = _body("meta", {**_VALUES, "minProperties": 1, "maxProperties": 1})

Found = Callable[[Call, Session, str], Any]
"""Finds the row that a request is about, for a caller who may."""


class _Metadata:
    """The handlers of one kind. noun: volume or snapshot."""

    def __init__(self, noun: str, found: Found) -> None:
        self._noun = noun
        self._found = found

    def _row(self, call: Call, session: Session, verb: str) -> Any:
        return self._found(call, session, f"volume:{verb}_{self._noun}_metadata")

    def _missing(self, call: Call) -> NotFound:
        owner = call.path[f"{self._noun}_id"]
        noun = self._noun.title()
        return NotFound(f"{noun} {owner} has no metadata with key {call.path['key']}.")

    def show(self, call: Call) -> Answer:
        """All."""
        with call.read() as session:
            return json_answer({"metadata": dict(self._row(call, session, "get").meta)})

    def show_one(self, call: Call) -> Answer:
        """One key."""
        with call.read() as session:
            meta = self._row(call, session, "get").meta
            if call.path["key"] not in meta:
                raise self._missing(call)
            return json_answer({"meta": {call.path["key"]: meta[call.path["key"]]}})

    def _changed(self, call: Call, values: dict[str, str], *, keep: bool) -> dict[str, str]:
        verb = "create" if keep and self._noun == "volume" else "update"
        with call.write() as session:
            row = self._row(call, session, verb)
            row.meta = {**row.meta, **values} if keep else dict(values)
            row.updated_us = call.site.now_us()
            return dict(row.meta)

    def add(self, call: Call) -> Answer:
        """POST: these besides what is there."""
        return json_answer({"metadata": self._changed(call, call.body(_ALL)["metadata"], keep=True)})

    def replace(self, call: Call) -> Answer:
        """PUT: these and no others."""
        return json_answer({"metadata": self._changed(call, call.body(_ALL)["metadata"], keep=False)})

    def put_one(self, call: Call) -> Answer:
        """PUT of one key."""
        values = call.body(_ONE)["meta"]
        if call.path["key"] not in values:
            raise BadRequest("Request body and URI mismatch")
        with call.write() as session:
            row = self._row(call, session, "update")
            row.meta, row.updated_us = {**row.meta, **values}, call.site.now_us()
        return json_answer({"meta": values})

    def delete_one(self, call: Call) -> Answer:
        """DELETE of one key."""
        with call.write() as session:
            row = self._row(call, session, "delete")
            if call.path["key"] not in row.meta:
                raise self._missing(call)
            row.meta = {key: value for key, value in row.meta.items() if key != call.path["key"]}
        return Answer(200)

    def routes(self) -> list[tuple[Any, ...]]:
        """Where they are."""
        path = f"/v3/{self._noun}s/{{{self._noun}_id}}/metadata"
        return [
            ("GET", path, self.show),
            ("POST", path, self.add),
            ("PUT", path, self.replace),
            ("GET", f"{path}/{{key}}", self.show_one),
            ("PUT", f"{path}/{{key}}", self.put_one),
            ("DELETE", f"{path}/{{key}}", self.delete_one),
        ]


ROUTES: Final = [
    *_Metadata("volume", volume_of).routes(),
    *_Metadata("snapshot", snapshot_of).routes(),
]

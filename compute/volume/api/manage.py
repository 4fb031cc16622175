"""Volumes and snapshots that were there before: no driver can take them over, and this says so."""

from collections.abc import Callable
from typing import Any, Final

from compute.server.errors import Absent
from compute.server.request import Answer
from compute.server.schema import Schema
from compute.volume.api import forms
from compute.volume.call import Call

LISTS_SINCE: Final = 8

_METADATA = {**forms.specs(r"^[a-zA-Z0-9-_:. /]{1,255}$", "string"), "type": ["object", "null"]}
_VOLUME = Schema(
    forms.within(
        "volume",
        {
            "description": forms.DESCRIPTION,
            "availability_zone": forms.NAME_OR_NULL,
            "bootable": forms.TRUTH,
            "volume_type": forms.NAME_OR_NULL,
            "name": forms.NAME_OR_NULL,
            "host": forms.HOST,
            "cluster": forms.NAME_OR_NULL,
            "ref": {"type": ["object", "string"]},
            "metadata": _METADATA,
        },
        "ref",
    )
)
_SNAPSHOT = Schema(
    forms.within(
        "snapshot",
        {
            "description": forms.DESCRIPTION,
            "metadata": _METADATA,
            "name": forms.NAME_OR_NULL,
            "volume_id": forms.UUID,
            "ref": {"type": ["object", "null", "string"]},
        },
        *("ref", "volume_id"),
    )
)


def _refuse(rule: str, schema: Schema | None = None) -> Callable[[Call], Answer]:
    """What answers a request of which only the caller's right and its form can be checked."""

    def answer(call: Call) -> Answer:
        call.enforce(rule)
        if schema is not None:
            call.body(schema)
        raise Absent("The backends take over nothing that was there before.")

    return answer


def _paths(collection: str, noun: str) -> list[tuple[Any, ...]]:
    prefix, manages = (
        ("volume_extension", _VOLUME) if noun == "volume" else ("snapshot_extension", _SNAPSHOT)
    )
    listed = _refuse(f"{prefix}:list_manageable")
    manage = _refuse(f"{prefix}:{noun}_manage", manages)
    return [
        ("GET", f"/v3/{collection}", listed, LISTS_SINCE),
        ("GET", f"/v3/{collection}/detail", listed, LISTS_SINCE),
        ("POST", f"/v3/{collection}", manage, LISTS_SINCE),
        ("GET", f"/v3/os-{noun}-manage", listed),
        ("GET", f"/v3/os-{noun}-manage/detail", listed),
        ("POST", f"/v3/os-{noun}-manage", manage),
    ]


ROUTES: Final = [
    *_paths("manageable_volumes", "volume"),
    *_paths("manageable_snapshots", "snapshot"),
]

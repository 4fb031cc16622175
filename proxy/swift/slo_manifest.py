"""Manifests of static large objects, purely: the client's JSON, what a manifest holds, how it is shown.

Source: the Swift manual, "Static Large Objects". `slo.py` looks at the segments and stores manifests.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

from proxy.core.types import ObjectInfo, Part, Reference
from proxy.http_ranges import parse_range
from proxy.http_ranges import resolve as resolve_range
from proxy.swift import formats
from proxy.swift.errors import SwiftError, bad_request

SEGMENTS_MAX: Final = 1000
SEGMENT_MIN_BYTES: Final = 1
INLINE_MAX_BYTES: Final = 256 * 1024
"""How much data a manifest may hold itself, all `data` segments together."""

PROBLEMS_MAX: Final = 1000
NESTING_MAX: Final = 10
"""How deep manifests may lie in manifests; the core refuses to read deeper ones."""

_KEYS: Final = frozenset(("path", "etag", "size_bytes", "range"))
_TOO_SMALL: Final = f"too small; each segment must be at least {SEGMENT_MIN_BYTES} byte."


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """One entry of a manifest as the client wrote it: inline data, or an object and its promises."""

    container: str = ""
    name: str = ""
    etag: str = ""
    size_bytes: int | None = None
    range: str = ""
    data: bytes = b""

    @property
    def path(self) -> str:
        """The object's path, percent-encoded, as reports name it."""
        return quote(f"/{self.container}/{self.name}")


class Found(NamedTuple):
    """What became of looking at a segment: its info, or the problem."""

    info: ObjectInfo | None
    problem: str


# -- the client's JSON -------------------------------------------------------------------------------


def parse_manifest(body: bytes, own_path: tuple[str, str]) -> list[Segment]:
    """The segments of a manifest's JSON. own_path: container and name of the manifest.

    Raises SwiftError: 400 with a line for each bad entry, 413 for too many.
    """
    entries = _entries(body)
    if len(entries) > SEGMENTS_MAX:
        raise SwiftError(413, f"Number of object-backed segments must be <= {SEGMENTS_MAX}")
    segments: list[Segment] = []
    faults: list[str] = []
    for index, entry in enumerate(entries):
        try:
            segments.append(_segment(entry, own_path))
        except ValueError as error:
            faults.append(f"Index {index}: {error}")
    if faults:
        raise bad_request("\n".join(faults))
    _check_whole(segments)
    return segments


def _entries(body: bytes) -> list[object]:
    try:
        entries = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad_request("Manifest must be valid JSON.") from error
    if not isinstance(entries, list):
        raise bad_request("Manifest must be a list.")
    return entries


def _check_whole(segments: Sequence[Segment]) -> None:
    if not any(segment.name for segment in segments):
        raise bad_request("Inline data segments require at least one object-backed segment.")
    if sum(len(segment.data) for segment in segments) > INLINE_MAX_BYTES:
        raise SwiftError(413, f"Inline data must be <= {INLINE_MAX_BYTES} bytes")


def _segment(entry: object, own_path: tuple[str, str]) -> Segment:
    """Raises ValueError with what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object")
    if "data" in entry:
        return _data_segment(entry)
    if unknown := sorted(entry.keys() - _KEYS):
        raise ValueError(f"extraneous keys {', '.join(map(ascii, unknown))}")
    if "path" not in entry:
        raise ValueError('expected keys to include one of "path" or "data"')
    container, name = _path(entry["path"])
    if (container, name) == own_path:
        raise ValueError("manifest must not include itself as a segment")
    return Segment(
        container,
        name,
        _etag(entry.get("etag")),
        _size_bytes(entry.get("size_bytes")),
        _range(entry.get("range")),
    )


def _data_segment(entry: Mapping[str, object]) -> Segment:
    if unknown := sorted(entry.keys() - {"data"}):
        raise ValueError(f"extraneous keys {', '.join(map(ascii, unknown))}")
    try:
        data = base64.b64decode(str(entry["data"]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("data must be valid base64") from error
    if len(data) < SEGMENT_MIN_BYTES:
        raise ValueError(_TOO_SMALL)
    return Segment(data=data)


def _path(value: object) -> tuple[str, str]:
    if not isinstance(value, str):
        raise ValueError("path must be a string")
    container, _, name = value.lstrip("/").partition("/")
    if not container or not name:
        raise ValueError(
            "path does not refer to an object. Path must be of the form /container/object."
        )
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("path must be valid UTF-8 without NULL")
    return container, name


def _etag(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("etag must be a string or null")
    return value.strip('"')


def _size_bytes(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("invalid size_bytes")
    if value < SEGMENT_MIN_BYTES:
        raise ValueError(_TOO_SMALL)
    return value


def _range(value: object) -> str:
    if value is None or value == "":
        return ""
    specs = parse_range(f"bytes={value}") if isinstance(value, str) else None
    if specs is None:
        raise ValueError("invalid range")
    if len(specs) > 1:
        raise ValueError("multiple ranges (only one allowed)")
    return str(value)


# -- what the manifest holds ------------------------------------------------------------------------


def parts_of(
    segments: Sequence[Segment], found: Mapping[tuple[str, str], Found]
) -> tuple[list[Part], list[list[str]]]:
    """The parts of the manifest, and [path, problem] of each segment that is not as promised."""
    parts: list[Part] = []
    problems: list[list[str]] = []
    for number, segment in enumerate(segments, 1):
        try:
            parts.append(_part(number, segment, found))
        except ValueError as error:
            problems.append([segment.path, str(error)])
    return parts, problems[:PROBLEMS_MAX]


def _part(number: int, segment: Segment, found: Mapping[tuple[str, str], Found]) -> Part:
    """Raises ValueError with the problem."""
    if not segment.name:
        return Part(number, len(segment.data), md5_hex(segment.data), data=segment.data)
    info, problem = found[segment.container, segment.name]
    if info is None:
        raise ValueError(problem)
    head = info.head
    _check_promises(segment, info)
    offset, length, size_bytes = 0, -1, head.size_bytes
    if segment.range:
        offset, length = _range_within(segment.range, head.size_bytes)
        size_bytes = length
    reference = Reference(
        segment.container,
        segment.name,
        head.etag,
        offset,
        length,
        head.size_bytes,
        head.content_type,
        head.modified_ns,
        head.kind,
    )
    return Part(number, size_bytes, head.etag, reference=reference)


def _check_promises(segment: Segment, info: ObjectInfo) -> None:
    head = info.head
    if head.kind == "dlo":
        raise ValueError("A dynamic large object cannot be a segment")
    if segment.etag and segment.etag != head.etag:
        raise ValueError("Etag Mismatch")
    if segment.size_bytes is not None and segment.size_bytes != head.size_bytes:
        raise ValueError("Size Mismatch")
    if head.size_bytes < SEGMENT_MIN_BYTES:
        raise ValueError(_TOO_SMALL.capitalize())


def _range_within(text: str, size_bytes: int) -> tuple[int, int]:
    specs = parse_range(f"bytes={text}")
    wanted = resolve_range(specs[0], size_bytes) if specs else None
    if wanted is None:
        raise ValueError("Unsatisfiable Range")
    return wanted


def manifest_md5(parts: Sequence[Part]) -> str:
    """The ETag of the whole: MD5 over the segments' ETags, each with its range where it has one."""
    return md5_hex("".join(map(_etag_of_part, parts)).encode())


def _etag_of_part(part: Part) -> str:
    text = _range_text(part)
    return f"{part.etag}:{text};" if text else part.etag


def _range_text(part: Part) -> str:
    if part.reference is None or part.reference.length < 0:
        return ""
    first = part.reference.offset
    return f"{first}-{first + part.reference.length - 1}"


def md5_hex(data: bytes) -> str:
    """MD5 in hex: what ETags are made of, no proof of anything."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# -- how it is shown -------------------------------------------------------------------------------


def show_manifest(parts: Sequence[Part]) -> bytes:
    """A manifest as Swift shows it."""
    return formats.to_json([_shown(part) for part in parts])


def show_raw(parts: Sequence[Part]) -> bytes:
    """A manifest in the form in which it can be put again (`format=raw`)."""
    return formats.to_json([_shown_raw(part) for part in parts])


def _shown(part: Part) -> dict[str, object]:
    reference = part.reference
    if reference is None:
        return {"data": base64.b64encode(part.data).decode("ascii")}
    entry: dict[str, object] = {
        "name": f"/{reference.container}/{reference.name}",
        "hash": part.etag,
        "bytes": _object_size(part, reference),
        "content_type": reference.content_type,
        "last_modified": formats.iso_time(reference.modified_ns),
    }
    if text := _range_text(part):
        entry["range"] = text
    if reference.kind == "slo":
        entry["sub_slo"] = True
    return entry


def _shown_raw(part: Part) -> dict[str, object]:
    reference = part.reference
    if reference is None:
        return {"data": base64.b64encode(part.data).decode("ascii")}
    entry: dict[str, object] = {
        "path": f"/{reference.container}/{reference.name}",
        "etag": part.etag,
        "size_bytes": _object_size(part, reference),
    }
    if text := _range_text(part):
        entry["range"] = text
    return entry


def _object_size(part: Part, reference: Reference) -> int:
    known = reference.object_size_bytes
    return part.size_bytes if known < 0 else known


def segment_of(part: Part) -> Segment:
    """The segment that a stored part was made of, to be looked at again."""
    reference = part.reference
    if reference is None:
        return Segment(data=part.data)
    size_bytes = reference.object_size_bytes if reference.object_size_bytes >= 0 else None
    return Segment(reference.container, reference.name, part.etag, size_bytes, _range_text(part))

"""Listings and reports as text, JSON and XML, and which of them a request wants.

Pure functions: records in, bytes out. `list.py` and `bulk.py` say what the records are.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import msgspec

from proxy.swift.errors import SwiftError

PLAIN: Final = "text/plain"
JSON: Final = "application/json"
XML: Final = "application/xml"
TEXT_XML: Final = "text/xml"

_OFFERED: Final = (PLAIN, JSON, XML, TEXT_XML)
_BY_NAME: Final = {"plain": PLAIN, "json": JSON, "xml": XML}
_XML_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
ACCEPT_PARTS_MAX: Final = 50

Record = Mapping[str, object]


def wanted_format(query: Mapping[str, str], accept: str) -> str:
    """The media type to answer in: `format=`, else the best of Accept, else plain text.

    An unknown `format` is plain text, as in Swift. Raises SwiftError 406 where Accept rules all out.
    """
    name = query.get("format")
    if name is not None:
        return _BY_NAME.get(name.lower(), PLAIN)
    if not accept.strip():
        return PLAIN
    ranked = [(_quality(offer, accept), -index, offer) for index, offer in enumerate(_OFFERED)]
    best = max(ranked)
    if best[0] <= 0:
        raise SwiftError(406)
    return best[2]


def _quality(offer: str, accept: str) -> float:
    """How much a client likes a media type (RFC 9110, 12.5.1): the most specific range decides."""
    best = (-1, 0.0)
    for part in accept.split(",")[:ACCEPT_PARTS_MAX]:
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        specificity = _specificity(media_range, offer)
        if specificity > best[0]:
            best = (specificity, _weight(parameters))
    return best[1]


def _specificity(media_range: str, offer: str) -> int:
    if media_range == offer:
        return 2
    if media_range == offer.partition("/")[0] + "/*":
        return 1
    return 0 if media_range in ("*/*", "*") else -1


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 1.0
    return 1.0


def with_charset(media_type: str) -> str:
    """The Content-Type of a listing."""
    return f"{media_type}; charset=utf-8"


def iso_time(time_ns: int) -> str:
    """UTC with microseconds and no zone, as listings show times."""
    moment = datetime.datetime.fromtimestamp(time_ns // 1_000_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns % 1_000_000_000 // 1000:06d}"


def to_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return msgspec.json.encode(value)


def to_text(names: Iterable[str]) -> bytes:
    """One name a line."""
    return "".join(f"{name}\n" for name in names).encode()


def to_xml(root: str, root_name: str, entries: Iterable[tuple[str, Record]]) -> bytes:
    """`<root name=…>` around entries: (element, its children); a subdir has its name twice."""
    inner = "".join(_xml_entry(element, record) for element, record in entries)
    return f"{_XML_HEAD}<{root} name={quoteattr(root_name)}>{inner}</{root}>".encode()


def _xml_entry(element: str, record: Record) -> str:
    if element == "subdir":
        name = str(record["subdir"])
        return f"<subdir name={quoteattr(name)}>{_xml_children({'name': name})}</subdir>"
    return f"<{element}>{_xml_children(record)}</{element}>"


def _xml_children(record: Record) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in record.items())


def declaration(media_type: str) -> bytes:
    """What must come first in an answer of this type, before even a blank."""
    return _XML_HEAD.encode() if media_type in (XML, TEXT_XML) else b""


def report(media_type: str, root: str, fields: Mapping[str, object], errors: list[list[str]]) -> bytes:
    """The report of a bulk operation: named fields and the list of [path, status]."""
    if media_type == JSON:
        return to_json({**fields, "Errors": errors})
    if media_type in (XML, TEXT_XML):
        return _xml_report(root, fields, errors)
    lines = [f"{name}: {value}" for name, value in fields.items()]
    lines += ["Errors:", *(f"{path}, {status}" for path, status in errors)]
    return "\n".join(lines).encode() + b"\n"


def _xml_report(root: str, fields: Mapping[str, object], errors: list[list[str]]) -> bytes:
    inner = _xml_children({name.lower().replace(" ", "_"): value for name, value in fields.items()})
    faults = "".join(
        f"<object>{_xml_children({'name': path, 'status': status})}</object>" for path, status in errors
    )
    return f"{_XML_HEAD}<{root}>{inner}<errors>{faults}</errors></{root}>".encode()

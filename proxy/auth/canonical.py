"""Canonical spellings of paths, queries and header values, as SigV4 for S3 defines them.

Source: Amazon S3 API reference, "Authenticating Requests: Using the Authorization Header", task 1.
S3 neither normalises paths nor encodes them twice. Pure functions; no keys, no time.
"""

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from proxy.auth.types import Headers

_PLAIN_PATH = re.compile(r"[A-Za-z0-9\-._~/]+")
_PLAIN = re.compile(r"[A-Za-z0-9\-._~]*")
_BLANKS = re.compile(r"[ \t]+")


def canonical_path(raw_path: str) -> str:
    """The path decoded once and encoded again, so that any spelling of a key signs alike."""
    if _PLAIN_PATH.fullmatch(raw_path):
        return raw_path
    return _encode(raw_path, safe="/") or "/"


def canonical_pairs(raw_query: str) -> list[tuple[str, str]]:
    """The query's parameters, each name and value in canonical encoding, in the order sent.

    `+` means a space, as form encoding has it and S3 reads it.
    """
    pairs = []
    for parameter in raw_query.split("&"):
        if parameter:
            name, _, value = parameter.partition("=")
            pairs.append((_canonical_parameter(name), _canonical_parameter(value)))
    return pairs


def _canonical_parameter(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return _encode(text.replace("+", " "), safe="")


def _encode(text: str, safe: str) -> str:
    return quote_from_bytes(unquote_to_bytes(wire_bytes(text)), safe=safe)


def join_pairs(pairs: list[tuple[str, str]]) -> str:
    """The canonical query string of canonical pairs."""
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def raw_pairs(raw_query: str) -> list[tuple[str, str]]:
    """The query's parameters as they were sent, without decoding or encoding."""
    parts = [part.partition("=") for part in raw_query.split("&") if part]
    return [(name, value) for name, _, value in parts]


def decoded(parameter: str) -> str:
    """The text of a canonical name or value; what is not UTF-8 becomes surrogates."""
    return unquote_to_bytes(parameter).decode("utf-8", "surrogateescape")


def header_lines(headers: Headers, names: tuple[str, ...]) -> str:
    """`name:value` lines of the signed headers; repeated ones joined by commas, absent ones empty."""
    lines = []
    for name in names:
        values = headers.getall(name, [])
        if len(values) == 1:
            lines.append(f"{name}:{collapse(values[0])}")
        else:
            lines.append(f"{name}:{','.join(map(collapse, values))}")
    return "\n".join(lines)


def collapse(value: str) -> str:
    """A header value without outer blanks, runs of inner blanks as one space."""
    value = value.strip(" \t")
    if "  " in value or "\t" in value:
        return _BLANKS.sub(" ", value)
    return value


def wire_bytes(text: str) -> bytes:
    """The bytes that `text` was on the wire."""
    return text.encode("utf-8", "surrogateescape")

"""XML as S3 speaks it: a writer of escaped text, and a parser that believes nothing.

The parser is expat without what makes XML dangerous: a document type declaration, and with it every
entity, is refused; depth and number of elements are bounded, as is the size by whoever read the body.
Documents are small trees of `Element`; namespaces are dropped, since clients write any or none.
"""

import re
from urllib.parse import quote
from xml.parsers import expat

from proxy.s3.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
CONTENT_TYPE = "application/xml"

DEPTH_MAX = 16
ELEMENTS_MAX = 120_000
"""A complete request of 10,000 parts has up to 40,000 elements."""

_SPECIAL = re.compile('[&<>"\\x00-\\x1f\\x7f\\ufffe\\uffff\\ud800-\\udfff]')
_UNSHOWN = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffe\\uffff]")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_URL_PLAIN = re.compile(r"[A-Za-z0-9\-._~/]*")


# -- writing -----------------------------------------------------------------------------------


def escape(text: str) -> str:
    """`text` as element content or attribute value.

    Characters that XML 1.0 has no way to hold become the character references that S3 writes for
    them; clients that keep such keys list with encoding-type=url. Lone surrogates become U+FFFD.
    """
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    char = match.group()
    if (named := _NAMED.get(char)) is not None:
        return named
    return "\ufffd" if "\ud800" <= char <= "\udfff" else f"&#x{ord(char):x};"


def shown(text: str) -> str:
    """`text` for a document that must be well-formed whatever it quotes: what XML lacks is U+FFFD."""
    return escape(_UNSHOWN.sub("\ufffd", text))


def url_encoded(text: str) -> str:
    """`text` for encoding-type=url: percent-encoded UTF-8, slashes kept."""
    if _URL_PLAIN.fullmatch(text) is not None:
        return text
    return quote(text, safe="/", errors="surrogateescape")


def element(name: str, text: str | int) -> str:
    """One element with escaped text."""
    return f"<{name}>{escape(str(text))}</{name}>"


def optional(name: str, text: str | int) -> str:
    """The element, or nothing where the text is empty."""
    return element(name, text) if text != "" else ""


def etag(value: str) -> str:
    """An ETag element, with the quotes that belong to the value."""
    return f"<ETag>&quot;{escape(value)}&quot;</ETag>"


def document(name: str, content: str) -> bytes:
    """A whole document in S3's namespace around `content`, which is escaped already."""
    return f'{DECLARATION}<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode()


# -- reading -----------------------------------------------------------------------------------


class Element:
    """An element: its local name, the text before its first child, its children."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[Element] = []

    def child(self, name: str) -> "Element | None":
        """The first child of that name."""
        for child in self.children:
            if child.name == name:
                return child
        return None

    def value(self, name: str) -> str:
        """The text of the first child of that name, "" where there is none."""
        child = self.child(name)
        return "" if child is None else child.text

    def all(self, name: str) -> "list[Element]":
        """The children of that name."""
        return [child for child in self.children if child.name == name]


class _Builder:
    """expat's handlers."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX or len(self._open) >= DEPTH_MAX:
            raise S3Error("MalformedXML")
        element = Element(name.rpartition(" ")[2])
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        if self._open and not self._open[-1].children:
            self._open[-1].text += data

    def refuse(self, *_arguments: object) -> int:
        raise S3Error("MalformedXML")


def parse(data: bytes, root_name: str) -> Element:
    """The document's root, which must have that local name. Raises S3Error MalformedXML."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.ExternalEntityRefHandler = builder.refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: unknown encodings
        raise S3Error("MalformedXML") from error
    if builder.root is None or builder.root.name != root_name:
        raise S3Error("MalformedXML")
    return builder.root

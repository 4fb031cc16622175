"""XML: what is written can be read, what is dangerous is not."""

from xml.etree import ElementTree

import pytest

from proxy.s3 import xml
from proxy.s3.errors import S3Error

BILLION = b"""<?xml version="1.0"?>
<!DOCTYPE Delete [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<Delete><Object><Key>&b;</Key></Object></Delete>"""
EXTERNAL = b"""<!DOCTYPE Delete [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<Delete><Object><Key>&x;</Key></Object></Delete>"""


@pytest.mark.parametrize(
    "document",
    [
        BILLION,
        EXTERNAL,
        b"<!DOCTYPE Delete><Delete/>",
        b"",
        b"not xml",
        b"<Delete>",
        b"<Delete></Wrong>",
        b"<Other/>",
        b"<Delete>&undefined;</Delete>",
        b"<Delete>\xff\xfe</Delete>",
        b'<?xml version="1.0" encoding="no-such"?><Delete/>',
        b"<Delete/><Delete/>",
        b"<Delete>" + b"<a>" * xml.DEPTH_MAX + b"</a>" * xml.DEPTH_MAX + b"</Delete>",
        b"<Delete>" + b"<a/>" * xml.ELEMENTS_MAX + b"</Delete>",
    ],
    ids=range(14),
)
def test_bad_documents_are_malformed(document: bytes) -> None:
    with pytest.raises(S3Error) as caught:
        xml.parse(document, "Delete")
    assert caught.value.code == "MalformedXML"


@pytest.mark.parametrize(
    "opening",
    [
        "<Delete>",
        f'<Delete xmlns="{xml.NAMESPACE}">',
        '<s3:Delete xmlns:s3="urn:anything">',
        "<?xml version='1.0' encoding='UTF-8'?>\n<!-- hello --><Delete>",
    ],
)
def test_namespaces_and_prologs_do_not_matter(opening: str) -> None:
    closing = "</s3:Delete>" if "s3:" in opening else "</Delete>"
    text = f"{opening}<Object> <Key>a &amp; \u00fc</Key></Object><Quiet>true</Quiet>{closing}"
    root = xml.parse(text.encode(), "Delete")
    assert root.value("Quiet") == "true"
    assert [child.value("Key") for child in root.all("Object")] == ["a & \u00fc"]
    assert root.child("Missing") is None
    assert root.value("Missing") == ""


def test_other_encodings_are_read() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><Delete><Quiet>\u00fc</Quiet></Delete>'
    assert xml.parse(text.encode("utf-16"), "Delete").value("Quiet") == "\u00fc"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain/key", "plain/key"),
        ("a<b>&\"c'", "a&lt;b&gt;&amp;&quot;c'"),
        ("line\nfeed\r", "line&#xa;feed&#xd;"),
        ("\x01\x7f", "&#x1;&#x7f;"),
        ("\ud800", "\ufffd"),
        ("\u00fc\u4e2d\U0001f600", "\u00fc\u4e2d\U0001f600"),
    ],
)
def test_text_is_escaped(text: str, escaped: str) -> None:
    assert xml.escape(text) == escaped


def test_names_in_url_encoding_have_no_character_that_xml_lacks() -> None:
    assert xml.url_encoded("a/b c+\x01\u00fc&") == "a/b%20c%2B%01%C3%BC%26"


def test_documents_stand_in_the_namespace() -> None:
    document = xml.document("Result", xml.element("Key", "<") + xml.optional("X", ""))
    root = ElementTree.fromstring(document)  # noqa: S314
    assert root.tag == f"{{{xml.NAMESPACE}}}Result"
    assert [child.text for child in root] == ["<"]

"""The signatures of EC2 and S3 requests (AWS's versions 0 to 4), computed from what a service tells."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from compute.server.errors import BadRequest

V4: Final = "AWS4-HMAC-SHA256"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def v4_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The signing key of a day, a region and a service."""
    key = _hmac(f"AWS4{secret}".encode(), date)
    return _hmac(_hmac(_hmac(key, region), service), "aws4_request")


def signature_fits(secret: str, text: bytes, given: str) -> bool:
    """Whether it is the signature of this string to sign: of version 4 if it says so, else 1."""
    lines = text.decode("utf-8", "replace").split("\n")
    if lines[0] == V4 and len(lines) >= 4:
        scope = lines[2].split("/")
        if len(scope) != 4:
            return False
        right = hmac.digest(v4_key(secret, *scope[:3]), text, "sha256").hex()
    else:
        right = base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha1)).decode()
    return hmac.compare_digest(right.encode(), given.encode())


def _query(params: Mapping[str, Any]) -> str:
    pairs = sorted((str(name), str(value)) for name, value in params.items())
    return "&".join(f"{quote(k, safe='-_~')}={quote(v, safe='-_~')}" for k, v in pairs)


def ec2_signature(secret: str, fields: Mapping[str, Any]) -> str:
    """The right signature of a request to EC2. Raises BadRequest for one that tells too little."""
    params = fields.get("params")
    headers = fields.get("headers") or {}
    if not isinstance(params, Mapping) or not isinstance(headers, Mapping):
        raise BadRequest("The request's parameters are missing.")
    authorization = str({k.lower(): v for k, v in headers.items()}.get("authorization", ""))
    if authorization.startswith(V4) or params.get("X-Amz-Algorithm") == V4:
        return _v4(secret, fields, params, {k.lower(): str(v) for k, v in headers.items()})
    method = hashlib.sha256 if params.get("SignatureMethod") == "HmacSHA256" else hashlib.sha1
    given = {k: v for k, v in params.items() if k != "Signature"}
    match str(params.get("SignatureVersion", "")):
        case "0":
            text = f"{params.get('Action', '')}{params.get('Timestamp', '')}"
            method = hashlib.sha1
        case "1":
            text = "".join(f"{k}{given[k]}" for k in sorted(given, key=str.lower))
            method = hashlib.sha1
        case "2":
            place = (fields.get("verb", ""), fields.get("host", ""), fields.get("path", ""))
            text = "\n".join((*(str(part) for part in place), _query(given)))
        case other:
            raise BadRequest(f"Unknown signature version: {other[:16]!r}")
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), method)).decode()


def _v4(
    secret: str, fields: Mapping[str, Any], params: Mapping[str, Any], headers: Mapping[str, str]
) -> str:
    parts = _v4_parts(params, headers)
    scope = parts["Credential"].split("/")[1:]
    if len(scope) != 4:
        raise BadRequest("The credential scope is not valid.")
    signed = parts["SignedHeaders"].split(";")
    lines = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in signed)
    given = {k: v for k, v in params.items() if k != "X-Amz-Signature"}
    request = "\n".join(
        (
            str(fields.get("verb", "")),
            quote(str(fields.get("path", "")), safe="/-_~."),
            _query(given),
            lines,
            ";".join(signed),
            str(fields.get("body_hash", "")),
        )
    )
    date = headers.get("x-amz-date") or str(params.get("X-Amz-Date", ""))
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join((V4, date, "/".join(scope), digest))
    return _hmac(v4_key(secret, *scope[:3]), text).hex()


def _v4_parts(params: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    """Credential and SignedHeaders, of the header or of the query."""
    authorization = headers.get("authorization", "").removeprefix(V4)
    pairs = (part.strip().partition("=") for part in authorization.split(","))
    found = {name: value for name, _, value in pairs if name}
    for name in ("Credential", "SignedHeaders"):
        found.setdefault(name, str(params.get(f"X-Amz-{name}", "")))
    return found

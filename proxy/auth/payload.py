"""x-amz-content-sha256: which payload mode a request announces."""

import re

from proxy.auth.errors import InvalidPayloadHash, UnsupportedAlgorithm
from proxy.auth.types import EMPTY_SHA256, UNSIGNED, Headers, PayloadKind, PayloadMode

_HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_NAMED = {kind.value: PayloadMode(kind) for kind in PayloadKind if kind != PayloadKind.SIGNED}
_NAMED[EMPTY_SHA256] = PayloadMode(PayloadKind.SIGNED, EMPTY_SHA256)


def payload_mode(value: str) -> PayloadMode:
    """The mode that the header's value names.

    Raises UnsupportedAlgorithm for the ECDSA modes of SigV4A, InvalidPayloadHash for all else.
    """
    if (mode := _NAMED.get(value)) is not None:
        return mode
    if _HEX_SHA256.fullmatch(value):
        return PayloadMode(PayloadKind.SIGNED, value.lower())
    if value.startswith("STREAMING-AWS4-ECDSA-P256-SHA256"):
        raise UnsupportedAlgorithm(value)
    raise InvalidPayloadHash(value)


def payload_mode_without_v4(headers: Headers) -> PayloadMode:
    """The mode of a request that SigV4 does not sign: anonymous, or SigV2.

    SDKs frame such bodies as aws-chunked with a trailing checksum, too. Signed chunks have no key to
    be checked with there: raises InvalidPayloadHash.
    """
    value = headers.get("x-amz-content-sha256")
    if value is None:
        chunked = "aws-chunked" in (headers.get("Content-Encoding") or "").lower()
        trailer = headers.get("x-amz-trailer") is not None
        return _NAMED["STREAMING-UNSIGNED-PAYLOAD-TRAILER"] if chunked and trailer else UNSIGNED
    mode = payload_mode(value)
    if mode.has_signed_chunks:
        raise InvalidPayloadHash(value)
    return mode

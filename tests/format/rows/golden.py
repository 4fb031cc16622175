"""What the golden heads and payloads say, spelled out. Their bytes were written once, kept for ever.

Run as a program, it prints them: only for a new file beside the old ones.
"""

import json
import sys
from typing import Any

import msgspec

from proxy.core.types import (
    Blob,
    BucketHead,
    ContainerHead,
    Manifest,
    ObjectAttributes,
    ObjectHead,
    Part,
    PartHead,
    Reference,
    UploadHead,
)

CONTAINER_ID = bytes(range(16))
BLOB = Blob(bytes(range(16, 32)), 67_108_864, "ec-4-2")
ATTRIBUTES = ObjectAttributes("text/plain", {"cache-control": "no-cache"}, {"colour": "blå"}, 5, "slo")
REFERENCE = Reference("c", "o/1", "ab" * 16, 7, -1, 1000, "image/png", 1_700_000_000_000_000_000, "dlo")

STORED: dict[str, Any] = {
    "ContainerHead": ContainerHead(
        CONTAINER_ID,
        1_700_000_000_000_000_001,
        "replicated-3",
        4,
        "deleting",
        {"colour": "blue"},
        {"swift.read-acl": ".r:*"},
        bucket=True,
        nonce=b"n" * 16,
    ),
    "BucketHead": BucketHead("AUTH_demo", 1_700_000_000_000_000_002, b"n" * 16),
    "ObjectHead": ObjectHead(
        "0123456789abcdef0123456789abcdef-3",
        200_000_000,
        1_700_000_000_000_000_003,
        "application/octet-stream",
        "ec-4-2",
        {"content-language": "de"},
        {"mtime": "1.5"},
        {"CRC32": "AAAAAA=="},
        "COMPOSITE",
        3,
        1_800_000_000,
        "slo",
        "cd" * 16,
        b"n" * 16,
    ),
    "UploadHead": UploadHead(
        "0123",
        "a/b",
        4,
        "replicated-3",
        ATTRIBUTES,
        "completing",
        "demo",
        "CRC32C",
        "FULL_OBJECT",
        b"n",
    ),
    "PartHead": PartHead(10_000, 5_242_880, "ef" * 16, 6, {"SHA1": "x"}, [BLOB]),
    "Manifest": Manifest(
        [
            Part(1, 67_108_864, "ab" * 16, [BLOB]),
            Part(2, 3, "cd" * 16, data=b"abc", checksums={"SHA256": "y"}),
            Part(3, 993, "ef" * 16, reference=REFERENCE),
        ]
    ),
}


def encoded() -> dict[str, str]:
    """Hex of each, as this program writes it."""
    return {name: msgspec.msgpack.encode(value).hex() for name, value in STORED.items()}


if __name__ == "__main__":
    json.dump(encoded(), sys.stdout, indent=2)

"""What the stores of an earlier version held that are kept here, and must hold under every later one.

`make.py` has such a version store it, `tests/cluster/test_upgrade.py` reads it. All bytes
come from names.
"""

import json
import random
import re
from collections.abc import Mapping
from typing import Any, Final

from tests.cluster.load import Place
from tests.cluster.s3 import S3, Answer

KEYS: Final = {
    "ATOLL_ACCESS_KEY": "upgrade-access-key",
    "ATOLL_SECRET_KEY": "upgrade-secret-key-of-the-tests",
}
BUCKETS: Final = {"plain": "replicated-3", "coded": "ec-4-2"}
SIZES: Final = (0, 1, 600, 65_536, 65_537, 300_000, 2_500_000)
"""Around the largest inline object, and beyond two segments."""
IN_PARTS: Final = ("parts", "open")
"""Keys of what is uploaded in parts; the second one is not completed."""
PARTS: Final = (100_000, 100_000, 40_000)
KIND: Final = "text/x-of-old"
LATE: Final = 20
"""Small objects that are written last: of a store that is killed, only its journals have them."""
SWIFT_OBJECTS: Final = {"small": 700, "large": 200_000}
COLOUR: Final = "sea green"

_PAGE_BYTES: Final = 4096
_NUMBER_BYTES: Final = 8


def body(name: str, size_bytes: int) -> bytes:
    """No two pages of it are alike, and yet it takes little room in an archive."""
    pattern = random.Random(name).randbytes(255)
    rest = (pattern * (_PAGE_BYTES // 255 + 1))[: _PAGE_BYTES - _NUMBER_BYTES]
    pages = range(size_bytes // _PAGE_BYTES + 1)
    return b"".join(number.to_bytes(_NUMBER_BYTES, "big") + rest for number in pages)[:size_bytes]


def parts(place: Place) -> list[bytes]:
    """Of what is uploaded in parts."""
    return [body(f"{place} part {number}", size) for number, size in enumerate(PARTS)]


def held() -> dict[Place, bytes]:
    """What the buckets hold, but for what the Swift API wrote."""
    found = {}
    for bucket in BUCKETS:
        for size in SIZES:
            found[Place(bucket, f"size-{size}")] = body(f"{bucket} {size}", size)
        found[Place(bucket, "twice")] = body(f"{bucket} second", 66_000)
        found[Place(bucket, "parts")] = b"".join(parts(Place(bucket, "parts")))
    for number in range(LATE):
        found[Place("plain", f"late-{number}")] = body(f"late {number}", 900 + number)
    return found


def unfinished() -> list[Place]:
    """Uploads that wait for their last part."""
    return [Place(bucket, "open") for bucket in BUCKETS]


class Swift:
    """The Swift API, over a client's session."""

    def __init__(self, s3: S3, token: str) -> None:
        self._s3 = s3
        self._token = token

    @classmethod
    async def log_in(cls, s3: S3) -> "Swift":
        login = {"X-Auth-User": "demo:demo", "X-Auth-Key": KEYS["ATOLL_SECRET_KEY"]}
        async with s3.session.get(f"{s3.endpoint}/auth/v1.0", headers=login) as answer:
            assert answer.status == 200, await answer.text()
            return cls(s3, answer.headers["X-Auth-Token"])

    async def ask(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request for a container or an object of the account."""
        url = f"{self._s3.endpoint}/v1/AUTH_demo/{path}"
        signed = {"X-Auth-Token": self._token, **(headers or {})}
        async with self._s3.session.request(method, url, data=data, headers=signed) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


async def put(s3: S3, place: Place, content: bytes) -> None:
    """Store an object, with a type of its own."""
    answer = await s3.put(*place, content, content_type=KIND)
    assert answer.status == 200, answer


async def write_first(s3: S3) -> None:
    """All that `held` says and is not late, open uploads, and what the Swift API writes."""
    for bucket, policy in BUCKETS.items():
        await s3.create_bucket(bucket, policy)
        for size in SIZES:
            await put(s3, Place(bucket, f"size-{size}"), body(f"{bucket} {size}", size))
        await put(s3, Place(bucket, "twice"), body(f"{bucket} first", 70_000))
        await put(s3, Place(bucket, "twice"), body(f"{bucket} second", 66_000))
        await put(s3, Place(bucket, "gone"), body(f"{bucket} gone", 70_000))
        assert (await s3.delete(bucket, "gone")).status == 204
        await complete(s3, Place(bucket, "parts"), await s3.begin_upload(bucket, "parts"))
        upload = await s3.begin_upload(bucket, "open")
        for number, part in enumerate(parts(Place(bucket, "open"))[:-1], 1):
            await s3.put_part(bucket, "open", upload, number, part)
    await _write_by_swift(await Swift.log_in(s3))


async def complete(s3: S3, place: Place, upload: str, first: int = 1) -> None:
    """Upload the parts from number `first` on, and complete."""
    every = list(enumerate(parts(place), 1))
    listed = await s3.ask("GET", *place, [("uploadId", upload)])
    etags = dict(enumerate(re.findall(r"<ETag>&quot;(\w+)&quot;</ETag>", listed.body.decode()), 1))
    assert len(etags) == first - 1, listed
    for number, part in every[first - 1 :]:
        etags[number] = await s3.put_part(*place, upload, number, part)
    answer = await s3.complete(*place, upload, list(etags.values()))
    assert answer.status == 200, answer


async def _write_by_swift(swift: Swift) -> None:
    made = await swift.ask("PUT", "swift", headers={"X-Container-Meta-Colour": COLOUR})
    assert made.status == 201, made
    for name, size in SWIFT_OBJECTS.items():
        meta = {"X-Object-Meta-Colour": COLOUR, "Content-Type": KIND}
        answer = await swift.ask("PUT", f"swift/{name}", body(f"swift {name}", size), meta)
        assert answer.status == 201, answer


async def write_late(s3: S3) -> None:
    """See LATE."""
    for place, content in held().items():
        if place.key.startswith("late-"):
            await put(s3, place, content)


async def check(s3: S3, objects: Mapping[Place, bytes]) -> None:
    """Every object, every listing, and what the Swift API wrote."""
    for place, content in objects.items():
        answer = await s3.get(*place)
        assert (answer.status, answer.body == content) == (200, True), (place, answer.status)
        assert place.key in IN_PARTS or answer.headers["Content-Type"] == KIND, place
    for bucket in BUCKETS:
        sizes = {
            place.key: len(content) for place, content in objects.items() if place.bucket == bucket
        }
        assert {key: size for key, (_, size) in (await s3.list_all(bucket)).items()} == sizes
        assert (await s3.get(bucket, "gone")).status == 404
    await _check_swift(s3, await Swift.log_in(s3))


async def _check_swift(s3: S3, swift: Swift) -> None:
    head = await swift.ask("HEAD", "swift")
    assert head.headers["X-Container-Meta-Colour"] == COLOUR
    listed: list[dict[str, Any]] = json.loads((await swift.ask("GET", "swift?format=json")).body)
    assert {entry["name"]: entry["bytes"] for entry in listed} == SWIFT_OBJECTS
    for name, size in SWIFT_OBJECTS.items():
        answer = await swift.ask("GET", f"swift/{name}")
        assert answer.body == body(f"swift {name}", size) == (await s3.get("swift", name)).body
        assert answer.headers["X-Object-Meta-Colour"] == COLOUR

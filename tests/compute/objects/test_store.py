"""The object store as rooms see it: the client with a real store and its twin in memory do the same."""

import asyncio
import hashlib
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from compute.objects.client import Place, SwiftStore
from compute.objects.contract import ObjectStore
from compute.objects.errors import Exists, NoSuchObject, StoreAway, StoreRefused
from compute.objects.memory import MemoryStore
from tests.api.store import RunningStore, free_port, start_store


class TempAuthLogin:
    """The demo user of a store without identity. bad: so many tokens are worth nothing at first."""

    def __init__(self, store: RunningStore, bad: int = 0) -> None:
        self._store = store
        self._bad = bad
        self.renewed = 0

    async def place(self, *, renew: bool = False) -> Place:
        self.renewed += renew
        headers = {"X-Auth-User": "demo:demo", "X-Auth-Key": self._store.secret_key}
        request = urllib.request.Request(f"{self._store.endpoint}/auth/v1.0", headers=headers)  # noqa: S310
        answer = await asyncio.to_thread(urllib.request.urlopen, request)
        with answer:
            url, token = answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]
        if self._bad:
            self._bad -= 1
            return Place(url, "worth-nothing")
        return Place(url, token)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A real store."""
    with start_store(tmp_path_factory.mktemp("objects"), workers=1) as store:
        yield store


@pytest.fixture(params=["memory", "client"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    """Both."""
    if request.param == "memory":
        yield MemoryStore()
        return
    client = SwiftStore(TempAuthLogin(request.getfixturevalue("running")))
    yield client
    await client.close()


@pytest.fixture
async def box(store: ObjectStore) -> str:
    """A container of the test's own."""
    name = f"box {uuid.uuid4()} ü"
    await store.make_container(name)
    return name


async def test_what_was_put_is_read_whole_and_in_ranges(store: ObjectStore, box: str) -> None:
    data = bytes(range(256)) * 5000
    stored = await store.put(box, "a/b c%2F?ü", data)
    assert stored == (hashlib.md5(data).hexdigest(), len(data))
    assert await store.get(box, "a/b c%2F?ü") == data
    assert await store.get(box, "a/b c%2F?ü", 300, 7) == data[300:307]
    assert await store.get(box, "a/b c%2F?ü", len(data) - 3) == data[-3:]
    assert await store.get(box, "a/b c%2F?ü", len(data) - 3, 100) == data[-3:]
    with pytest.raises(StoreRefused) as beyond:
        await store.get(box, "a/b c%2F?ü", len(data))
    assert beyond.value.status == 416


async def test_a_stream_in_and_a_stream_out(store: ObjectStore, box: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(20):
            yield bytes([number]) * 100_000

    whole = b"".join([chunk async for chunk in chunks()])
    for size in (None, len(whole)):
        stored = await store.put(box, "s", chunks(), size=size)
        assert stored.etag == hashlib.md5(whole).hexdigest()
        async with store.stream(box, "s") as found:
            assert (found.size, found.etag) == (len(whole), stored.etag)
            assert b"".join([chunk async for chunk in found.chunks()]) == whole


async def test_a_stream_that_ends_early_makes_nothing(store: ObjectStore, box: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise LookupError

    with pytest.raises(LookupError):
        await store.put(box, "s", chunks(), size=2000)
    assert await store.head(box, "s") is None


async def test_only_where_nothing_is(store: ObjectStore, box: str) -> None:
    await store.put(box, "once", b"1", if_none_match=True)
    with pytest.raises(Exists):
        await store.put(box, "once", b"2", if_none_match=True)
    assert await store.get(box, "once") == b"1"


async def test_one_of_many_makes_it(store: ObjectStore, box: str) -> None:
    async def make(number: int) -> int | None:
        try:
            await store.put(box, "once", b"%d" % number, if_none_match=True)
        except Exists:
            return None
        return number

    made = [number for number in await asyncio.gather(*map(make, range(12))) if number is not None]
    assert [b"%d" % number for number in made] == [await store.get(box, "once")]


async def test_headers_and_deletion(store: ObjectStore, box: str) -> None:
    await store.put(box, "o", b"data", headers={"X-Object-Meta-Kind": "map"})
    found = await store.head(box, "o")
    assert found is not None
    assert (found.size, found.headers["x-object-meta-kind"]) == (4, "map")
    assert await store.delete(box, "o")
    assert not await store.delete(box, "o")
    assert await store.head(box, "o") is None
    with pytest.raises(NoSuchObject):
        await store.get(box, "o")


async def test_listings_go_on_after_a_marker(store: ObjectStore, box: str) -> None:
    names = [f"a/{number:02}" for number in range(12)] + ["b"]
    for name in names:
        await store.put(box, name, name.encode())
    first = await store.listing(box, "a/", limit=10)
    rest = await store.listing(box, "a/", first[-1].name)
    assert [row.name for row in first + rest] == names[:-1]
    assert {row.size for row in first} == {4}
    assert first[0].etag == hashlib.md5(b"a/00").hexdigest()


async def test_containers(store: ObjectStore, box: str) -> None:
    await store.make_container(box)
    await store.put(box, "o", b"")
    with pytest.raises(StoreRefused) as refused:
        await store.delete_container(box)
    assert refused.value.status == 409
    await store.delete(box, "o")
    assert await store.delete_container(box)
    assert not await store.delete_container(box)
    assert await store.listing(box) == []
    with pytest.raises(NoSuchObject):
        await store.put(box, "o", b"")


async def test_a_token_that_was_refused_is_made_anew(running: RunningStore) -> None:
    login = TempAuthLogin(running, bad=1)
    store = SwiftStore(login)
    await store.make_container("anew")
    assert login.renewed == 1
    assert await store.delete_container("anew")
    assert login.renewed == 1
    await store.close()


async def test_a_store_that_is_away(running: RunningStore) -> None:
    class Nowhere:
        async def place(self, *, renew: bool = False) -> Place:
            return Place(f"http://127.0.0.1:{free_port()}/v1/AUTH_x", "t")

    store = SwiftStore(Nowhere())
    with pytest.raises(StoreAway):
        await store.get("c", "o")
    await store.close()

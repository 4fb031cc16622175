"""Completions that were cut off half way and are asked for again."""

import pytest

from proxy.core.errors import NoSuchUpload, Unavailable
from proxy.core.store import CoreStore
from proxy.core.types import CompletedPart, Container, ObjectAttributes
from runtime.clock import SystemClock
from storage.contract import DeviceClient
from storage.faults import FaultyDevice
from storage.types import HISTORY_VERSIONS, RowAnswer, RowMessage, Write
from tests.grid import BytesBody, Grid, whole

PLAIN = ObjectAttributes("text/plain")
PART = bytes(2000)


class _LosesWrites:
    """A carrier that loses all writes of one shard while it is told to."""

    def __init__(self, clients: dict[int, DeviceClient]) -> None:
        self.shard = b""
        self.devices = {n: FaultyDevice(client, self, SystemClock()) for n, client in clients.items()}

    def carry(self, device_id: int, message: RowMessage | RowAnswer, arrive: object) -> None:
        assert callable(arrive)
        if type(message) is Write and message.shard == self.shard:
            self.devices[device_id].expire()
        else:
            arrive()


async def get(store: CoreStore, container: Container, name: str) -> bytes:
    opened = await store.open_object(container, name)
    return await whole(opened.stream(0, opened.info.head.size_bytes))


async def _half_way() -> tuple[Grid, CoreStore, Container, str, CompletedPart]:
    """An upload whose completion was decided, and whose object no replica has."""
    grid = Grid()
    loses = _LosesWrites(dict(enumerate(grid.devices)))
    store = grid.store(dict(loses.devices))
    container = await store.create_container("a", "c")
    upload = await store.create_upload(container, "o", PLAIN)
    head = await store.put_part(container, "o", upload.id, 1, BytesBody(PART))
    part = CompletedPart(1, head.etag)
    loses.shard = container.head.layout.shard_of(b"o")
    with pytest.raises(Unavailable):
        await store.complete_upload(container, "o", upload.id, [part])
    return grid, grid.store(), container, upload.id, part


async def test_a_completion_asked_for_again_happens() -> None:
    _grid, store, container, upload_id, part = await _half_way()
    await store.complete_upload(container, "o", upload_id, [part])
    assert await get(store, container, "o") == PART


@pytest.mark.parametrize("writes", [1, HISTORY_VERSIONS - 1, HISTORY_VERSIONS, 3 * HISTORY_VERSIONS])
async def test_a_completion_asked_for_again_after_many_writes_ends(writes: int) -> None:
    _grid, store, container, upload_id, part = await _half_way()
    for number in range(writes):
        await store.put_object(container, "o", BytesBody(b"newer %d" % number), PLAIN)
    await store.complete_upload(container, "o", upload_id, [part])
    with pytest.raises(NoSuchUpload):
        await store.upload(container, "o", upload_id)
    # Who surely never arrived is decided anew; who may have been there and was replaced is not.
    assert await get(store, container, "o") in {PART, b"newer %d" % (writes - 1)}

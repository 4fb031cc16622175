"""A real store, both of its APIs, and every pair of a writer and a reader."""

import itertools
from collections.abc import Iterator

import pytest

from tests.api.cross.apis import Api, S3Api, SwiftApi
from tests.api.store import RunningStore, start_store

PART_MIN_BYTES = 1000

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cross_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """A store whose multipart uploads may have small parts."""
    folder = tmp_path_factory.mktemp("cross")
    with start_store(folder, part_min_bytes=PART_MIN_BYTES) as running:
        yield running


@pytest.fixture
def s3(cross_store: RunningStore) -> Iterator[S3Api]:
    api = S3Api(cross_store)
    yield api
    api.close()


@pytest.fixture
def swift(cross_store: RunningStore) -> Iterator[SwiftApi]:
    api = SwiftApi(cross_store)
    yield api
    api.close()


@pytest.fixture(params=["s3", "swift"])
def writer(request: pytest.FixtureRequest) -> Api:
    """The API that writes."""
    api: Api = request.getfixturevalue(request.param)
    return api


@pytest.fixture(params=["s3", "swift"])
def reader(request: pytest.FixtureRequest) -> Api:
    """The API that reads, with connections of its own."""
    api: Api = request.getfixturevalue(request.param)
    return api


@pytest.fixture(params=["replicated-3", "ec-4-2"])
def policy(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def new_name() -> str:
    """A container's name that no test has used."""
    return f"cross-{next(_numbers)}"


@pytest.fixture
def bucket(writer: Api, new_name: str) -> str:
    """A container that the writer has made."""
    writer.make(new_name)
    return new_name

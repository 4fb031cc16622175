"""Work that no error may end."""

import asyncio

from runtime.tasks import TaskOwner
from tests.property.core.world import run


def test_kept_work_is_begun_anew_after_each_error_and_each_is_reported() -> None:
    async def scene() -> None:
        failures: list[tuple[str, BaseException]] = []
        owner = TaskOwner("worker0", lambda name, error: failures.append((name, error)))
        errors: list[Exception] = [KeyError("a"), ValueError("b")]

        async def work() -> None:
            if errors:
                raise errors.pop(0)

        await owner.keep("follow", work)
        assert [(name, type(error)) for name, error in failures] == [
            ("worker0/follow", KeyError),
            ("worker0/follow", ValueError),
        ]
        assert asyncio.get_running_loop().time() == 3.0
        assert len(owner) == 0

    run(scene())


def test_kept_work_ends_with_its_owner() -> None:
    async def scene() -> None:
        owner = TaskOwner("worker0", lambda _name, _error: None)
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = owner.keep("follow", work)
        await begun.wait()
        await owner.close()
        assert task.cancelled()

    run(scene())

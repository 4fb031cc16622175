"""One question to one device, for workers that ask replicas by themselves."""

import asyncio
from collections.abc import Iterable
from typing import Final, TypeVar

from runtime.clock import Clock
from runtime.tasks import together
from storage.contract import DeviceFault, RowDevice
from storage.types import Failed, Fault, RowAnswer, RowMessage

ASK_TIME_S: Final = 10.0
"""How long a replica may take to answer a worker."""

WALK_TIME_S: Final = 30.0
"""How long a device of the own process may take, for a worker that walks over its rows."""

T = TypeVar("T")

_SILENCE: Final = Failed(Fault.DEADLINE, "no answer in time")


async def ask(
    clock: Clock, within_s: float, device: RowDevice, message: RowMessage, payload: bytes = b""
) -> tuple[RowAnswer, bytes]:
    """The answer and its payload; Failed(DEADLINE) where none comes in time."""
    answered: asyncio.Future[tuple[RowAnswer, bytes]] = asyncio.get_running_loop().create_future()

    def deliver(answer: RowAnswer, body: bytes) -> None:
        if not answered.done():
            answered.set_result((answer, body))

    device.send(message, payload, clock.monotonic() + within_s, deliver)
    try:
        async with asyncio.timeout(within_s):
            return await answered
    except TimeoutError:
        return _SILENCE, b""


async def ask_all(
    clock: Clock, within_s: float, asked: Iterable[tuple[RowDevice, RowMessage]]
) -> list[RowAnswer]:
    """Several questions at once; the answers in their order."""
    answers = await together(ask(clock, within_s, device, message) for device, message in asked)
    return [answer for answer, _ in answers]


async def told(clock: Clock, device: RowDevice, message: RowMessage, kind: type[T]) -> T:
    """The answer, of this kind. Raises DeviceFault for any other."""
    answer, _ = await ask(clock, WALK_TIME_S, device, message)
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, Failed):
        raise DeviceFault(Fault(answer.fault), answer.text)
    raise DeviceFault(Fault.OFFLINE, f"an unexpected answer: {type(answer).__name__}")

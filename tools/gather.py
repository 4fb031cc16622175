"""Asks all processes of the cluster for their reports, and measures their clocks on the way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from runtime.clock import Clock
from storage.contract import DeviceFault
from tools.health.report import Answered, ClusterReport, ProcessReport, Silent, decode_report
from tools.reach import ProcessName

ASK_TIME_S: Final = 3.0
"""A process that takes longer is silent."""

ASKED_AT_ONCE: Final = 64

Ask = Callable[[float], Awaitable[bytes]]
"""Takes a deadline on the monotonic clock; the report's bytes. Raises DeviceFault,
OSError, ValueError."""


async def gather(
    own: ProcessReport, others: Mapping[ProcessName, Ask], endpoint: str, clock: Clock
) -> ClusterReport:
    """One report of all. own: the asker's."""
    slots = asyncio.Semaphore(ASKED_AT_ONCE)

    async def asked(name: ProcessName, ask: Ask) -> Answered | Silent:
        async with slots:
            return await _ask(name, ask, clock)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asked(name, ask)) for name, ask in sorted(others.items())]
    found = [task.result() for task in tasks]
    return ClusterReport(
        node=own.node,
        worker=own.worker,
        endpoint=endpoint,
        now_ns=clock.now_ns(),
        processes=[Answered(report=own), *(one for one in found if isinstance(one, Answered))],
        silent=[one for one in found if isinstance(one, Silent)],
    )


async def _ask(name: ProcessName, ask: Ask, clock: Clock) -> Answered | Silent:
    began, began_ns = clock.monotonic(), clock.now_ns()
    try:
        async with asyncio.timeout(ASK_TIME_S):
            body = await ask(began + ASK_TIME_S)
        report = decode_report(body)
    except TimeoutError:
        return _silent(name, f"no answer in {ASK_TIME_S:.0f} s")
    except DeviceFault as fault:
        return _silent(name, fault.text or str(fault))
    except OSError as error:
        return _silent(name, error.strerror or str(error))
    except (msgspec.MsgspecError, ValueError) as error:
        return _silent(name, f"its report can't be read, perhaps it is of another release: {error}")
    took_s = clock.monotonic() - began
    return Answered(
        report=report, offset_s=offset_s(report.now_ns, began_ns, took_s), error_s=took_s / 2
    )


def offset_s(their_ns: int, began_ns: int, took_s: float) -> float:
    """Their clock minus ours, as if they had read theirs half-way (Cristian, 1989)."""
    return (their_ns - began_ns) / 1e9 - took_s / 2


def _silent(name: ProcessName, why: str) -> Silent:
    return Silent(node=name.node, worker=name.worker, why=why)

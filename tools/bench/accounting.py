"""What a row costs: processor time and memory of the servers, the kernel's share, the generator's own.

Two figures answer for the processor. *Server*: user and system time of the servers' processes,
threads included. *Machine*: all busy time of the machine less the generator's and the harness's own
and less what the machine did while idle just before; so it holds the kernel's threads (writeback,
journal, interrupts) too, and it is the figure that the bars are held against. On a machine with
other work it is the less certain one, hence both are reported.

Process clocks come from clock_gettime(2) with the id of another process's CPU clock (its encoding is
in clock_getcpuclockid(3)): nanoseconds, where `/proc/<pid>/stat` counts ticks of 10 ms.
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SCHEDULER_CLOCK = 2  # CPUCLOCK_SCHED of the kernel: user and system time, precise


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one instant, seconds."""

    at_s: float
    machine_busy_s: float
    machine_stolen_s: float
    server_s: float
    generator_s: float
    harness_s: float


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Processor time between two readings, seconds."""

    wall_s: float
    server_s: float
    machine_s: float
    generator_s: float
    stolen_s: float
    idle_cores: float

    @property
    def server_cores(self) -> float:
        """Cores kept busy by the servers' processes."""
        return self.server_s / self.wall_s if self.wall_s else 0.0

    @property
    def machine_cores(self) -> float:
        """Cores kept busy by all but the generator and the harness."""
        return self.machine_s / self.wall_s if self.wall_s else 0.0


def cpu_use(before: Reading, after: Reading, *, idle_cores: float) -> CpuUse:
    """The difference; idle_cores: how many cores the machine keeps busy when no row runs."""
    wall = after.at_s - before.at_s
    generator = after.generator_s - before.generator_s
    own = generator + after.harness_s - before.harness_s
    busy = after.machine_busy_s - before.machine_busy_s
    return CpuUse(
        wall_s=wall,
        server_s=after.server_s - before.server_s,
        machine_s=max(0.0, busy - own - idle_cores * wall),
        generator_s=generator,
        stolen_s=after.machine_stolen_s - before.machine_stolen_s,
        idle_cores=idle_cores,
    )


def read_cpu(server_pids: Iterable[int], generator_pid: int) -> Reading:
    """All counters now. A process that is gone counts nothing."""
    busy, stolen = parse_machine(_text("/proc/stat"))
    return Reading(
        at_s=time.monotonic(),
        machine_busy_s=busy,
        machine_stolen_s=stolen,
        server_s=sum(process_cpu_s(pid) for pid in server_pids),
        generator_s=process_cpu_s(generator_pid),
        harness_s=time.process_time(),
    )


def parse_machine(stat: str) -> tuple[float, float]:
    """(busy, stolen) seconds of all cores since the boot, from the first line of /proc/stat.

    Busy is user, nice, system, irq and softirq; guests are within user (proc(5)).
    """
    fields = [int(word) for word in stat.split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, stolen = fields[:8]
    return (user + nice + system + irq + softirq) * TICK_S, stolen * TICK_S


def process_cpu_s(pid: int) -> float:
    """User and system time of a process and all its threads, past ones included; 0 if it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULER_CLOCK)
    except OSError:
        return 0.0


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants; empty if it is gone."""
    processes = _all_processes()
    children: dict[int, list[int]] = {}
    for child, (parent, _group) in processes.items():
        children.setdefault(parent, []).append(child)
    tree = [pid] if pid in processes else []
    for member in tree:
        tree.extend(children.get(member, []))
    return tree


def process_group(group: int) -> list[int]:
    """All processes of a process group."""
    return [pid for pid, (_parent, own) in _all_processes().items() if own == group]


def is_alive(pid: int) -> bool:
    """The process exists and has not ended (a zombie has)."""
    try:
        stat = _text(f"/proc/{pid}/stat")
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def parse_parent_and_group(stat: str) -> tuple[int, int]:
    """(parent, process group) from /proc/<pid>/stat; the name in it may hold anything."""
    fields = stat[stat.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[2])


def _all_processes() -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = parse_parent_and_group(_text(f"/proc/{entry}/stat"))
            except (OSError, ValueError):
                continue  # it ended while we looked
    return found


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory, MiB. Shared pages count in full in peak_mib, in parts in pss_mib."""

    peak_mib: float
    pss_mib: float
    private_mib: float


NO_MEMORY = Memory(0.0, 0.0, 0.0)


def read_memory(pid: int) -> Memory:
    """VmHWM, Pss and Pss_Anon of a process; zeros if it is gone."""
    try:
        status = _text(f"/proc/{pid}/status")
        rollup = _text(f"/proc/{pid}/smaps_rollup")
    except OSError:
        return NO_MEMORY
    return Memory(
        peak_mib=parse_kib(status, "VmHWM") / 1024,
        pss_mib=parse_kib(rollup, "Pss") / 1024,
        private_mib=parse_kib(rollup, "Pss_Anon") / 1024,
    )


def parse_kib(text: str, name: str) -> int:
    """The value of a `Name:   123 kB` line; 0 where there is none."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def try_reset_peaks(pids: Sequence[int]) -> bool:
    """Begin VmHWM anew, so that a peak is a row's own; False where the kernel refuses it."""
    for pid in pids:
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            return False
    return True


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()

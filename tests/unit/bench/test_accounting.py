"""Processor time and memory against processes of known appetite."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tools.bench.accounting import (
    Reading,
    cpu_use,
    is_alive,
    parse_kib,
    parse_machine,
    parse_parent_and_group,
    process_cpu_s,
    process_group,
    process_tree,
    read_cpu,
    read_memory,
    try_reset_peaks,
)

BURN = """
import sys, threading, time
def burn():
    end = time.thread_time() + float(sys.argv[1])
    while time.thread_time() < end: pass
thread = threading.Thread(target=burn); thread.start(); thread.join()
print("burnt", flush=True); sys.stdin.readline()
"""
PARENT = """
import subprocess, sys
code = "import sys; print('up', flush=True); sys.stdin.readline()"
child = subprocess.Popen([sys.executable, "-c", code])
sys.stdin.readline()
"""
GREEDY = """
import sys
print("small", flush=True); sys.stdin.readline()
block = b"x" * (64 << 20); del block
print("large", flush=True); sys.stdin.readline()
"""


@contextlib.contextmanager
def _process(code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            for pid in process_group(process.pid):
                os.kill(pid, 9)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_process_that_burns_half_a_second_is_seen_to() -> None:
    began = read_cpu([], os.getpid())
    with _process(BURN, "0.5") as process:
        assert _line(process) == "burnt"
        server_s = process_cpu_s(process.pid)
        use = cpu_use(began, read_cpu([process.pid], os.getpid()), idle_cores=0.0)
    # The thread that burnt it has ended; 0.2 s is for an interpreter's start on a busy machine.
    assert 0.5 <= server_s <= 0.7
    assert use.server_s == pytest.approx(server_s, abs=0.05)
    # The machine's figure holds at least what the process used, to its ticks of 10 ms per core.
    assert use.machine_s >= server_s - 0.05


def test_a_process_that_is_gone_counts_nothing() -> None:
    with _process("pass") as process:
        process.wait()
    assert process_cpu_s(process.pid) == 0.0
    assert not is_alive(process.pid)
    assert read_memory(process.pid).peak_mib == 0.0
    assert process_tree(process.pid) == []


def test_use_is_the_machine_less_ourselves_and_less_its_idle_business() -> None:
    before = Reading(10.0, 100.0, 1.0, 5.0, 2.0, 1.0)
    after = Reading(14.0, 106.0, 1.5, 8.0, 3.0, 1.25)
    use = cpu_use(before, after, idle_cores=0.25)
    assert (use.wall_s, use.server_s, use.generator_s, use.stolen_s) == (4.0, 3.0, 1.0, 0.5)
    assert use.machine_s == 6.0 - 1.0 - 0.25 - 0.25 * 4.0
    assert (use.server_cores, use.machine_cores) == (0.75, 3.75 / 4)


def test_the_machines_line() -> None:
    tick = 1 / os.sysconf("SC_CLK_TCK")
    busy, stolen = parse_machine("cpu  10 20 30 4000 50 6 7 8 9 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    assert busy == pytest.approx((10 + 20 + 30 + 6 + 7) * tick)
    assert stolen == pytest.approx(8 * tick)


def test_a_processes_name_may_hold_anything() -> None:
    assert parse_parent_and_group("7 (a) b (c) S 3 4 5 0") == (3, 4)


def test_the_tree_and_the_group_hold_the_child() -> None:
    with _process(PARENT) as process:
        assert _line(process) == "up"
        tree = process_tree(process.pid)
        assert tree[0] == process.pid
        assert len(tree) == 2
        assert sorted(process_group(process.pid)) == sorted(tree)
        assert all(is_alive(pid) for pid in tree)


def test_a_peak_is_seen_after_it_is_over_and_can_be_forgotten() -> None:
    with _process(GREEDY) as process:
        assert _line(process) == "small"
        small = read_memory(process.pid)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert _line(process) == "large"
        large = read_memory(process.pid)
        assert large.peak_mib >= small.peak_mib + 60
        assert large.pss_mib < small.pss_mib + 30
        if try_reset_peaks([process.pid]):
            assert read_memory(process.pid).peak_mib < small.peak_mib + 30


def test_kib_lines() -> None:
    assert parse_kib("Rss: 1 kB\nPss:     123 kB\nPss_Anon: 5 kB\n", "Pss") == 123
    assert parse_kib("", "Pss") == 0


def test_readings_go_forward() -> None:
    first = read_cpu([os.getpid()], os.getpid())
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    use = cpu_use(first, read_cpu([os.getpid()], os.getpid()), idle_cores=0.0)
    assert use.server_s >= 0.05
    assert use.machine_s >= 0.0

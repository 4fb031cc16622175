"""Servers and a generator for the benchmark's tests, each a process that ends with its test."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.bench.driver import Generator
from tools.bench.load import Server


@contextlib.contextmanager
def s3_process(fault: str = "") -> Iterator[tuple[Server, int]]:
    script = Path(__file__).with_name("small_s3.py")
    command = [sys.executable, str(script), *([fault] if fault else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Server(f"http://127.0.0.1:{port}", "a-key", "a-secret"), process.pid
        finally:
            process.kill()


@pytest.fixture
def start_s3() -> Iterator[Callable[..., Server]]:
    """Starts a small S3 server, with a fault if asked."""
    with contextlib.ExitStack() as stack:
        yield lambda fault="": stack.enter_context(s3_process(fault))[0]


@pytest.fixture
def generator() -> Iterator[Generator]:
    """A generator process."""
    with Generator() as running:
        yield running

"""Conversion with qemu-img: a process with bounds on its time and memory, and files of its own.

It needs its source and its result as files, the only place where an image touches the host's disk. The
source was inspected on its way there, so it names no other file; its format is given, not guessed.
"""

import asyncio
import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from typing import Final

from compute.image.formats.inspect import Inspector

CPU_S: Final = 1800
MEMORY_BYTES: Final = 2 * 1024**3
BLOCK_BYTES: Final = 1024 * 1024
SAID_CHARS: Final = 200
_PREFIX: Final = "conversion-"
_QEMU_NAMES: Final = {"vhd": "vpc", "iso": "raw", "ami": "raw", "aki": "raw", "ari": "raw"}


class ConversionFailed(Exception):
    """qemu-img failed, or is not there; the text says how."""


def remove_left(folder: str) -> None:
    """Files of conversions that a killed process left in its folder."""
    for path in glob.glob(os.path.join(glob.escape(folder), f"{_PREFIX}*")):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.asynccontextmanager
async def converted(
    chunks: AsyncIterator[bytes], disk_format: str, target: str, folder: str
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes in the target format; no file outlives the block. Raises ConversionFailed, Mismatch."""
    os.makedirs(folder, exist_ok=True)
    work = await asyncio.to_thread(tempfile.mkdtemp, prefix=_PREFIX, dir=folder)
    try:
        source, result = os.path.join(work, "source"), os.path.join(work, "result")
        await _spool(chunks, source, Inspector(disk_format))
        await _convert(source, disk_format, result, target)
        yield _file(result)
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


async def _spool(chunks: AsyncIterator[bytes], path: str, inspector: Inspector) -> None:
    with open(path, "xb") as file:  # noqa: ASYNC230 - nothing waits for a local file's name
        async for chunk in chunks:
            inspector.eat(chunk)
            await asyncio.to_thread(file.write, chunk)
    inspector.finish()


async def _convert(source: str, disk_format: str, result: str, target: str) -> None:
    kinds = _QEMU_NAMES.get(disk_format, disk_format), _QEMU_NAMES.get(target, target)
    try:
        await ran(arguments("-f", kinds[0], "-O", kinds[1], source, result))
    except ConversionFailed as error:
        raise ConversionFailed(str(error).replace(source, "the image")) from error


def arguments(*words: str) -> list[str]:
    """A bounded `qemu-img convert` with these words."""
    bounds = (f"--as={MEMORY_BYTES}", f"--cpu={CPU_S}")
    return ["prlimit", *bounds, "qemu-img", "convert", *words]


async def ran(command: list[str]) -> None:
    """Run to the end; a process whose waiter is cancelled is killed. Raises ConversionFailed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise ConversionFailed("images can't be converted: qemu-img is not installed") from error
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        text = said.decode(errors="replace")[:SAID_CHARS].strip()
        raise ConversionFailed(f"qemu-img convert failed: {text}")


async def _file(path: str) -> AsyncIterator[bytes]:
    with open(path, "rb") as file:  # noqa: ASYNC230 - nothing waits for a local file's name
        while chunk := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield chunk

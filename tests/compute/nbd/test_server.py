"""The NBD server with real clients (libnbd's, QEMU's), and with hostile ones that speak bytes."""

import asyncio
import contextlib
import json
import os
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from compute.nbd.protocol import (
    IHAVEOPT,
    NBDMAGIC,
    OPTION,
    OPTION_REPLY,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE,
    Command,
    Errno,
    Option,
    OptionReply,
)
from compute.nbd.server import NbdServer
from tests.compute.nbd.disk import BLOCK, MemoryDisk

MIB = 1024 * 1024


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NbdServer]:
    """On a Unix socket."""
    made = NbdServer()
    await made.listen_unix(str(tmp_path / "nbd"))
    yield made
    await made.close()
    assert not (tmp_path / "nbd").exists()


def uri(server: NbdServer, name: str) -> str:
    return f"nbd+unix:///{name}?socket={server.address()['unix']}"


async def run(*command: str) -> str:
    """A program beside this loop; its output."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


async def test_nbdinfo_sees_what_there_is(server: NbdServer) -> None:
    disk = MemoryDisk(10 * MIB + 512)
    disk.written = {0, 5}
    server.add("disk", disk)
    told = json.loads(await run("nbdinfo", "--json", uri(server, "disk")))["exports"][0]
    assert told["export-size"] == 10 * MIB + 512
    assert not told["is_read_only"]
    for able in (
        "can_flush",
        "can_fua",
        "can_trim",
        "can_zero",
        "can_fast_zero",
        "can_multi_conn",
        "can_df",
    ):
        assert told[able], able
    assert told["contexts"] == ["base:allocation"]
    mapped = json.loads(await run("nbdinfo", "--map", "--json", uri(server, "disk")))
    data = [(row["offset"], row["length"]) for row in mapped if row["type"] == 0]
    assert data == [(0, BLOCK), (5 * BLOCK, BLOCK)]


async def test_nbdcopy_in_and_out(server: NbdServer, tmp_path: Path) -> None:
    disk = MemoryDisk(8 * MIB)
    server.add("disk", disk)
    source, copy = tmp_path / "source", tmp_path / "copy"
    with source.open("wb") as file:
        file.write(os.urandom(3 * MIB))
        file.truncate(6 * MIB)
        file.seek(6 * MIB)
        file.write(os.urandom(2 * MIB))
    await run("nbdcopy", "--flush", str(source), uri(server, "disk"))
    assert disk.data == source.read_bytes()
    assert disk.flushes
    await run("nbdcopy", uri(server, "disk"), str(copy))
    assert copy.read_bytes() == source.read_bytes()


async def test_qemu_writes_compares_and_discards(server: NbdServer, tmp_path: Path) -> None:
    server.add("disk", MemoryDisk(16 * MIB))
    image = tmp_path / "image.qcow2"
    (tmp_path / "raw").write_bytes(os.urandom(MIB) + bytes(15 * MIB))
    await run("qemu-img", "convert", "-O", "qcow2", str(tmp_path / "raw"), str(image))
    await run("qemu-img", "convert", "-n", "-O", "raw", str(image), uri(server, "disk"))
    await run("qemu-img", "compare", "-F", "raw", str(image), uri(server, "disk"))
    where = ("-f", "raw", uri(server, "disk"))
    verbs = ("write -f -P 7 1000 5000", "read -P 7 1000 5000", "discard 0 16M", "read -P 0 0 16M")
    told = await run("qemu-io", *[word for verb in verbs for word in ("-c", verb)], *where)
    assert "failed" not in told


async def test_a_read_only_export_is_not_written(server: NbdServer) -> None:
    disk = MemoryDisk(MIB)
    server.add("disk", disk, read_only=True)
    told = json.loads(await run("nbdinfo", "--json", uri(server, "disk")))["exports"][0]
    assert told["is_read_only"]
    async with client(server) as (reader, writer):
        await go(reader, writer, "disk")
        assert await ask(reader, writer, Command.WRITE, 0, 4, data=b"abcd") == Errno.EPERM
        assert await ask(reader, writer, Command.TRIM, 0, 4) == Errno.EPERM
    assert not any(disk.data)


async def test_an_export_that_goes_away_cuts_its_clients_off(server: NbdServer) -> None:
    server.add("disk", MemoryDisk(MIB))
    server.add("other", MemoryDisk(MIB))
    async with client(server) as (reader, writer), client(server) as (reader2, writer2):
        await go(reader, writer, "disk")
        await go(reader2, writer2, "other")
        await server.remove("disk")
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        assert await ask(reader2, writer2, Command.FLUSH, 0, 0) == 0


async def test_tls_comes_first_where_it_is_wanted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    await run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = NbdServer()
    port = await server.listen_tcp("127.0.0.1", 0, context)
    disk = MemoryDisk(MIB)
    server.add("disk", disk)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await greet(reader, writer)
        assert (await option(reader, writer, Option.GO, named("disk")))[0] == OptionReply.ERR_TLS_REQD
        assert (await option(reader, writer, Option.STARTTLS, b""))[0] == OptionReply.ACK
        trusting = ssl.create_default_context(cafile=str(certificate))
        trusting.check_hostname = False
        await writer.start_tls(trusting)
        await go(reader, writer, "disk")
        assert await ask(reader, writer, Command.WRITE, 0, 4, data=b"abcd") == 0
        assert disk.data[:4] == b"abcd"
        writer.close()
    finally:
        await server.close()


# -- clients that speak bytes --


@contextlib.asynccontextmanager
async def client(server: NbdServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(server.address()["unix"])
    await greet(reader, writer)
    yield reader, writer
    writer.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert await reader.readexactly(16) == NBDMAGIC + IHAVEOPT
    assert struct.unpack(">H", await reader.readexactly(2)) == (3,)
    writer.write(struct.pack(">I", 3))


def named(name: str) -> bytes:
    return struct.pack(">I", len(name)) + name.encode() + struct.pack(">H", 0)


async def option(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, data: bytes
) -> tuple[int, bytes]:
    """The last reply to an option."""
    writer.write(OPTION.pack(IHAVEOPT, number, len(data)) + data)
    while True:
        _, of, kind, length = OPTION_REPLY.unpack(await reader.readexactly(OPTION_REPLY.size))
        body = await reader.readexactly(length)
        assert of == number
        if kind not in (OptionReply.INFO, OptionReply.META_CONTEXT):
            return kind, body


async def go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
    assert (await option(reader, writer, Option.GO, named(name)))[0] == OptionReply.ACK


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    command: int,
    offset: int,
    length: int,
    *,
    flags: int = 0,
    data: bytes = b"",
) -> int:
    """A request and the error of its simple reply."""
    writer.write(REQUEST.pack(REQUEST_MAGIC, flags, command, 77, offset, length) + data)
    _, errno, cookie = SIMPLE.unpack(await reader.readexactly(SIMPLE.size))
    assert cookie == 77
    if command == Command.READ and errno == 0:
        await reader.readexactly(length)
    return int(errno)


async def test_what_can_not_be_done_is_an_error_and_nothing_else(server: NbdServer) -> None:
    disk = MemoryDisk(MIB)
    server.add("disk", disk)
    async with client(server) as (reader, writer):
        assert (await option(reader, writer, Option.GO, named("nobody's")))[
            0
        ] == OptionReply.ERR_UNKNOWN
        assert (await option(reader, writer, Option.GO, b"\xff\xff\xff\xff"))[
            0
        ] == OptionReply.ERR_INVALID
        assert (await option(reader, writer, 4711, b"x"))[0] == OptionReply.ERR_UNSUP
        assert (await option(reader, writer, Option.LIST, b""))[0] == OptionReply.ERR_POLICY
        assert (await option(reader, writer, Option.STARTTLS, b""))[0] == OptionReply.ERR_POLICY
        await go(reader, writer, "disk")
        assert await ask(reader, writer, Command.READ, MIB - 1, 2) == Errno.EINVAL
        assert await ask(reader, writer, Command.WRITE, MIB - 1, 2, data=b"xx") == Errno.ENOSPC
        assert await ask(reader, writer, Command.READ, 2**64 - 1, 2) == Errno.EINVAL
        assert await ask(reader, writer, Command.READ, 0, 2**32 - 1) == Errno.EINVAL
        assert await ask(reader, writer, 99, 0, 1) == Errno.EINVAL
        assert await ask(reader, writer, Command.READ, 0, 1, flags=1 << 15) == Errno.EINVAL
        assert await ask(reader, writer, Command.BLOCK_STATUS, 0, 1) == Errno.EINVAL  # not negotiated
        assert await ask(reader, writer, Command.FLUSH, 1, 0) == Errno.EINVAL
        disk.broken = True
        assert await ask(reader, writer, Command.READ, 0, 1) == Errno.EIO
        disk.broken, disk.full = False, True
        assert await ask(reader, writer, Command.WRITE, 0, 4, data=b"abcd") == Errno.ENOSPC
        disk.full = False
        assert await ask(reader, writer, Command.READ, 0, 1) == 0
    assert not any(disk.data)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        OPTION.pack(IHAVEOPT, Option.GO, 2**32 - 1),
        OPTION.pack(IHAVEOPT, Option.EXPORT_NAME, 4) + b"none",
        OPTION.pack(IHAVEOPT, 4711, 0) * 100,
    ],
)
async def test_who_does_not_speak_nbd_is_cut_off(server: NbdServer, sent: bytes) -> None:
    async with client(server) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(30):
            await reader.read()  # replies, perhaps, then the end


async def test_a_write_that_is_too_large_ends_the_connection(server: NbdServer) -> None:
    server.add("disk", MemoryDisk(MIB))
    async with client(server) as (reader, writer):
        await go(reader, writer, "disk")
        writer.write(REQUEST.pack(REQUEST_MAGIC, 0, Command.WRITE, 1, 0, 2**31))
        async with asyncio.timeout(30):
            assert await reader.read() == b""


async def test_many_requests_under_way_are_all_answered(server: NbdServer) -> None:
    disk = MemoryDisk(MIB)
    server.add("disk", disk)
    async with client(server) as (reader, writer):
        await go(reader, writer, "disk")
        for number in range(1000):
            data = struct.pack(">Q", number)
            writer.write(REQUEST.pack(REQUEST_MAGIC, 0, Command.WRITE, number, number * 8, 8) + data)
        cookies = set()
        for _ in range(1000):
            _, errno, cookie = SIMPLE.unpack(await reader.readexactly(SIMPLE.size))
            assert errno == 0
            cookies.add(cookie)
        assert cookies == set(range(1000))
    assert disk.data[:8000] == b"".join(struct.pack(">Q", number) for number in range(1000))

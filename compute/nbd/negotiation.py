"""The handshake: a client's options, until it has chosen an export."""

import asyncio
import ssl
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from compute.nbd.exports import Export
from compute.nbd.protocol import (
    CONTEXT,
    CONTEXT_ID,
    IHAVEOPT,
    NAME_BYTES_MAX,
    NBDMAGIC,
    OPTION,
    OPTION_BYTES_MAX,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    PREFERRED_BYTES,
    REQUEST_BYTES_MAX,
    ExportFlag,
    Gone,
    HandshakeFlag,
    Info,
    Option,
    OptionReply,
)

OPTIONS_MAX: Final = 64
"""A client that has chosen nothing after so many options is not a client."""
ABLE: Final = (
    ExportFlag.HAS_FLAGS
    | ExportFlag.SEND_FLUSH
    | ExportFlag.SEND_FUA
    | ExportFlag.SEND_TRIM
    | ExportFlag.SEND_WRITE_ZEROES
    | ExportFlag.SEND_FAST_ZERO
    | ExportFlag.CAN_MULTI_CONN
)


class Chosen(NamedTuple):
    """What a client and we agreed on. structured: replies; has_context: block status is asked for."""

    export: Export
    structured: bool
    has_context: bool


def flags_of(export: Export, *, structured: bool) -> int:
    """An export's transmission flags. All connections see the same, so several are safe."""
    flags = ABLE | (ExportFlag.SEND_DF if structured else 0)
    return int(flags | (ExportFlag.READ_ONLY if export.read_only else 0))


class Negotiation:
    """One client's handshake. tls: what it must start with, None for none."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        exports: Mapping[str, Export],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._exports = exports
        self._tls = tls
        self._secure = tls is None
        self._structured = False
        self._context_of: str | None = None

    async def run(self) -> Chosen:
        """Raises Gone."""
        flags = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES
        self._writer.write(NBDMAGIC + IHAVEOPT + struct.pack(">H", flags))
        (answered,) = struct.unpack(">I", await self._reader.readexactly(4))
        if answered & ~int(flags) or not answered & HandshakeFlag.FIXED_NEWSTYLE:
            raise Gone(f"handshake flags {answered:#x}")
        for _ in range(OPTIONS_MAX):
            magic, option, length = OPTION.unpack(await self._reader.readexactly(OPTION.size))
            if magic != IHAVEOPT:
                raise Gone("no option where one must be")
            if length > OPTION_BYTES_MAX:
                raise Gone(f"an option of {length} bytes")
            data = await self._reader.readexactly(length)
            chosen = await self._answer(option, data, bool(answered & HandshakeFlag.NO_ZEROES))
            await self._writer.drain()
            if chosen is not None:
                return chosen
        raise Gone("too many options")

    async def _answer(self, option: int, data: bytes, no_zeroes: bool) -> Chosen | None:
        if option == Option.EXPORT_NAME:
            return self._export_name(data, no_zeroes)
        if option == Option.ABORT:
            self._reply(option, OptionReply.ACK)
            await self._writer.drain()
            raise Gone("the client ends the handshake")
        if option == Option.STARTTLS:
            await self._start_tls(data)
        elif not self._secure:
            self._reply(option, OptionReply.ERR_TLS_REQD, b"TLS comes first")
        elif option == Option.LIST:
            self._list(data)
        elif option in (Option.INFO, Option.GO):
            return self._go(option, data)
        elif option == Option.STRUCTURED_REPLY:
            self._structured = not data or self._structured
            self._reply(option, OptionReply.ERR_INVALID if data else OptionReply.ACK)
        elif option in (Option.LIST_META_CONTEXT, Option.SET_META_CONTEXT):
            self._contexts(option, data)
        else:
            self._reply(option, OptionReply.ERR_UNSUP)
        return None

    def _reply(self, option: int, kind: int, data: bytes = b"") -> None:
        self._writer.write(OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

    def _export_name(self, name: bytes, no_zeroes: bool) -> Chosen:
        """The old way to choose: there is no way to refuse but to end."""
        export = self._exports.get(name.decode("utf-8", "replace")) if self._secure else None
        if export is None:
            raise Gone("an export that is not there")
        flags = flags_of(export, structured=self._structured)
        self._writer.write(struct.pack(">QH", export.disk.size_bytes, flags))
        if not no_zeroes:
            self._writer.write(bytes(124))
        return Chosen(export, self._structured, self._context_of == export.name)

    async def _start_tls(self, data: bytes) -> None:
        if self._tls is None or self._secure:
            self._reply(Option.STARTTLS, OptionReply.ERR_POLICY, b"no TLS here")
            return
        if data:
            self._reply(Option.STARTTLS, OptionReply.ERR_INVALID)
            return
        self._reply(Option.STARTTLS, OptionReply.ACK)
        await self._writer.drain()
        try:
            await self._writer.start_tls(self._tls)
        except (ssl.SSLError, OSError) as error:
            raise Gone(f"TLS failed: {error}") from error
        self._secure, self._structured, self._context_of = True, False, None

    def _list(self, data: bytes) -> None:
        """Names of exports are secrets of those who may use them, so none is told."""
        self._reply(Option.LIST, OptionReply.ERR_INVALID if data else OptionReply.ERR_POLICY)

    def _go(self, option: int, data: bytes) -> Chosen | None:
        try:
            name, rest = _string(data)
            (count,) = struct.unpack_from(">H", rest)
            wanted = set(struct.unpack_from(f">{count}H", rest, 2))
        except (ValueError, struct.error):
            self._reply(option, OptionReply.ERR_INVALID)
            return None
        export = self._exports.get(name)
        if export is None:
            self._reply(option, OptionReply.ERR_UNKNOWN, b"there is no such export")
            return None
        facts = struct.pack(
            ">HQH", Info.EXPORT, export.disk.size_bytes, flags_of(export, structured=self._structured)
        )
        self._reply(option, OptionReply.INFO, facts)
        if Info.NAME in wanted:
            self._reply(option, OptionReply.INFO, struct.pack(">H", Info.NAME) + name.encode())
        sizes = struct.pack(">HIII", Info.BLOCK_SIZE, 1, PREFERRED_BYTES, REQUEST_BYTES_MAX)
        self._reply(option, OptionReply.INFO, sizes)
        self._reply(option, OptionReply.ACK)
        if option == Option.INFO:
            return None
        return Chosen(export, self._structured, self._structured and self._context_of == name)

    def _contexts(self, option: int, data: bytes) -> None:
        try:
            name, rest = _string(data)
            (count,) = struct.unpack_from(">I", rest)
            rest, queries = rest[4:], []
            for _ in range(min(count, OPTIONS_MAX)):
                query, rest = _string(rest)
                queries.append(query)
        except (ValueError, struct.error):
            self._reply(option, OptionReply.ERR_INVALID)
            return
        if not self._structured:
            self._reply(option, OptionReply.ERR_INVALID, b"structured replies come first")
            return
        if name not in self._exports:
            self._reply(option, OptionReply.ERR_UNKNOWN)
            return
        lists = option == Option.LIST_META_CONTEXT
        has = CONTEXT in queries or (lists and (not queries or "base:" in queries))
        if has:
            ident = 0 if lists else CONTEXT_ID
            self._reply(option, OptionReply.META_CONTEXT, struct.pack(">I", ident) + CONTEXT.encode())
        if not lists:
            self._context_of = name if has else None
        self._reply(option, OptionReply.ACK)


def _string(data: bytes) -> tuple[str, bytes]:
    """A counted string and what follows it. Raises ValueError, struct.error."""
    (length,) = struct.unpack_from(">I", data)
    if length > NAME_BYTES_MAX or len(data) < 4 + length:
        raise ValueError("a string that is longer than its option")
    return data[4 : 4 + length].decode("utf-8"), data[4 + length :]

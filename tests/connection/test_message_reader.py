"""One message, read part by part while it arrives.

That it is so over sockets, TLS and memory, and in both roles, is shown where it might
make a difference; what only the reader itself decides is shown in memory.
"""

from __future__ import annotations

import array
import hashlib
import math
import sys
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Literal

import pytest
import trio
import trio.testing

from trio_websocket import (
    BytesReader,
    ConnectionClosed,
    IncompleteMessage,
    MessageReader,
    ProtocolViolation,
    TextReader,
    WebSocketConnection,
)
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.frame_header import Opcode, build_header, mask_payload
from trio_websocket.testing import RawPeer

from .rig import OpenStreamPair, Rig, open_pair, open_rig, settle

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
KEY = b"\x37\xfa\x21\x3d"
MEBIBYTE = 2**20
UNLIMITED = ConnectionOptions(max_message_size=math.inf)
SMALL = ConnectionOptions(max_message_size=1000)
TAIL = b"\x00\x00\xff\xff"

needs_tracemalloc = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="memory is traced by CPython only"
)
both_roles = pytest.mark.parametrize("is_client", [True, False])
both_kinds = pytest.mark.parametrize("opcode", [TEXT, BINARY])
plain_or_compressed = pytest.mark.parametrize("is_compressed", [False, True])


def make_noise(size: int) -> bytes:
    """Make bytes that cannot be compressed, the same each time."""
    return hashlib.shake_128(b"noise").digest(size)


# What the peer does.


def build_frame(
    peer: RawPeer,
    opcode: int,
    part: bytes,
    *,
    length: int | None = None,
    fin: bool = True,
    rsv: int = 0,
) -> bytes:
    """Make the beginning of a frame that announces ``length`` bytes."""
    key = KEY if peer.is_client else None
    size = len(part) if length is None else length
    header = build_header(opcode, size, fin=fin, rsv=rsv, masking_key=key)
    return header + (part if key is None else mask_payload(part, key))


def build_rest(peer: RawPeer, part: bytes, start: int) -> bytes:
    """Make bytes of a payload of which so many came before."""
    if not peer.is_client:
        return part
    turn = start % 4
    return mask_payload(part, KEY[turn:] + KEY[:turn])


def compress(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    squeezed = squeezer.compress(data) + squeezer.flush(zlib.Z_SYNC_FLUSH)
    return squeezed.removesuffix(TAIL)


async def send_message(
    peer: RawPeer,
    opcode: int,
    data: bytes,
    *,
    cuts: tuple[int, ...] = (),
    is_compressed: bool = False,
) -> None:
    """Send a message, in fragments that end at the cuts."""
    payload = compress(data) if is_compressed else data
    rsv = 4 if is_compressed else 0
    edges = [0, *cuts, len(payload)]
    for number in range(len(edges) - 1):
        await peer.send_frame(
            CONTINUATION if number else opcode,
            payload[edges[number] : edges[number + 1]],
            fin=number == len(cuts),
            rsv=0 if number else rsv,
        )


async def send_for_ever(peer: RawPeer, chunk: bytes, count: list[int]) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await peer.send_bytes(chunk)
            count[0] += len(chunk)


# What the reader does.


async def read_parts(reader: MessageReader) -> list[str | bytes]:
    if isinstance(reader, TextReader):
        return [part async for part in reader]
    return [part async for part in reader]


def is_at_end(reader: MessageReader) -> bool:
    return reader.at_end


async def read_message(
    connection: WebSocketConnection,
    parts: list[str | bytes],
    max_bytes: int | None = None,
) -> None:
    async with connection.message_reader(max_bytes=max_bytes) as reader:
        parts += await read_parts(reader)


async def check_connection(rig: Rig) -> None:
    """Check that the connection is as good as new, and its quick path, too."""
    for number in range(5):
        await rig.peer.send_text(str(number))
    assert [await rig.connection.get_message() for _ in range(5)] == [*"01234"]
    await rig.peer.send_frame(PING, b"still there")
    frame = await rig.peer.receive_frame()
    assert (frame.opcode, frame.payload) == (PONG, b"still there")


def as_kind(opcode: int, data: bytes) -> str | bytes:
    return data.decode() if opcode == TEXT else data


@asynccontextmanager
async def open_reader(
    opcode: int = BINARY, part: bytes = b"", *, length: int = 1000
) -> AsyncGenerator[tuple[Rig, MessageReader]]:
    """Open a reader of a message of which only a part is here."""
    async with open_rig() as rig:
        await rig.peer.send_bytes(build_frame(rig.peer, opcode, part, length=length))
        async with rig.connection.message_reader() as reader:
            yield rig, reader


@asynccontextmanager
async def open_text(text: str) -> AsyncGenerator[TextReader]:
    async with open_rig() as rig:
        await rig.peer.send_text(text)
        async with rig.connection.message_reader() as reader:
            assert isinstance(reader, TextReader)
            yield reader


@asynccontextmanager
async def open_bytes(*fragments: bytes) -> AsyncGenerator[BytesReader]:
    async with open_rig() as rig:
        for number, fragment in enumerate(fragments):
            await rig.peer.send_frame(
                CONTINUATION if number else BINARY,
                fragment,
                fin=number == len(fragments) - 1,
            )
        async with rig.connection.message_reader() as reader:
            assert isinstance(reader, BytesReader)
            yield reader


# What is here can be read at once.


@both_roles
@both_kinds
@pytest.mark.parametrize("is_asked_before", [True, False])
async def test_what_came_of_a_huge_frame_is_read_while_the_peer_pauses(
    open_stream_pair: OpenStreamPair,
    transport: str,
    opcode: Opcode,
    *,
    is_client: bool,
    is_asked_before: bool,
) -> None:
    """S-65, A-14, A-25: also if its collecting had begun."""
    async with (
        open_stream_pair(transport) as (ours, theirs),
        open_rig(
            (ours, theirs) if is_client else (theirs, ours),
            is_client=is_client,
            options=UNLIMITED,
        ) as rig,
        trio.open_nursery() as nursery,
    ):
        peer = rig.peer
        frame = build_frame(peer, opcode, b"x" * MEBIBYTE, length=2**30)

        async def send() -> None:
            if is_asked_before:
                await settle()
            await peer.send_bytes(frame)

        nursery.start_soon(send)
        if not is_asked_before:
            await settle()  # and much of it was collected
        async with rig.connection.message_reader() as reader:
            assert reader.kind == ("text" if opcode == TEXT else "bytes")
            data = await reader.read_exactly(MEBIBYTE)
            assert data == as_kind(opcode, b"x" * MEBIBYTE)
            assert not reader.at_end
            nursery.start_soon(peer.send_bytes, build_rest(peer, b"yz", MEBIBYTE))
            assert await reader.read(2) == as_kind(opcode, b"yz")


@both_roles
@both_kinds
@plain_or_compressed
async def test_what_came_of_a_fragment_is_read_while_the_peer_pauses(
    open_stream_pair: OpenStreamPair,
    transport: str,
    opcode: Opcode,
    *,
    is_client: bool,
    is_compressed: bool,
) -> None:
    """S-65."""
    text = "Grüße, 世界. " * 20
    data = text.encode()
    payload = compress(data) if is_compressed else data
    rsv = 4 if is_compressed else 0
    async with (
        open_stream_pair(transport) as (ours, theirs),
        open_rig(
            (ours, theirs) if is_client else (theirs, ours),
            is_client=is_client,
            is_compressed=is_compressed,
        ) as rig,
    ):
        await rig.peer.send_frame(opcode, payload, fin=False, rsv=rsv)
        async with rig.connection.message_reader() as reader:
            part = await reader.read(len(text) // 2)
            assert part == as_kind(opcode, data)[: len(text) // 2]
            await rig.peer.send_frame(PING, b"between")
            assert (await rig.peer.receive_frame()).payload == b"between"
            tail = compress(b"the end") if is_compressed else b"the end"
            if is_compressed:
                tail = TAIL + tail  # a second block behind the one that was flushed
            await rig.peer.send_frame(CONTINUATION, tail)
            assert (
                await reader.read() == as_kind(opcode, data + b"the end")[len(part) :]
            )
            assert reader.at_end
        await check_connection(rig)


@both_roles
@both_kinds
async def test_fragments_that_were_joined_already_are_read_first(
    opcode: Opcode, *, is_client: bool
) -> None:
    """S-65: the reader may be asked for in the middle of a message."""
    async with open_rig(is_client=is_client) as rig:
        await rig.peer.send_frame(opcode, "aé".encode(), fin=False)
        await rig.peer.send_frame(CONTINUATION, b"\xe2\x82", fin=False)
        await settle()
        async with rig.connection.message_reader() as reader:
            first = await reader.read(2)
            assert first == as_kind(opcode, "aé".encode())[:2]
            await rig.peer.send_frame(CONTINUATION, b"\xac")
            assert await reader.read() == as_kind(opcode, "aé€".encode())[2:]
        await check_connection(rig)


async def test_empty_fragments_that_came_are_no_part(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig() as rig:
        await rig.peer.send_frame(TEXT, fin=False)
        await rig.peer.send_frame(CONTINUATION, fin=False)
        await settle()
        async with rig.connection.message_reader() as reader:
            assert reader.kind == "text"
            with trio.move_on_after(1) as scope:
                await reader.read(1)
            assert scope.cancelled_caught
            await rig.peer.send_frame(CONTINUATION, b"x")
            assert await reader.read() == "x"


@both_roles
@both_kinds
@pytest.mark.parametrize("joined", [0, 300])
@pytest.mark.parametrize("here", [0, 10, 2000])
async def test_a_message_that_was_stopped_as_too_big_can_be_read(
    opcode: Opcode, joined: int, here: int, *, is_client: bool
) -> None:
    """S-65: get_message would end the connection, a reader does not."""
    async with open_rig(is_client=is_client, options=SMALL) as rig:
        peer = rig.peer
        if joined:
            await peer.send_frame(opcode, b"j" * joined, fin=False)
        kind = CONTINUATION if joined else opcode
        await peer.send_bytes(build_frame(peer, kind, b"x" * here, length=2000))
        await settle()
        expected = as_kind(opcode, b"j" * joined + b"x" * here)
        async with rig.connection.message_reader() as reader:
            assert await reader.read_exactly(len(expected)) == expected
            await peer.send_bytes(build_rest(peer, b"y" * (2000 - here), here))
            assert await reader.read() == as_kind(opcode, b"y" * (2000 - here))
        await check_connection(rig)


@plain_or_compressed
async def test_a_message_that_is_too_large_for_one_is_read_in_parts(
    open_stream_pair: OpenStreamPair, transport: str, *, is_compressed: bool
) -> None:
    message = make_noise(3 * MEBIBYTE)
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams, is_compressed=is_compressed) as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.send_message, message)
        async with server.message_reader() as reader:
            parts = await read_parts(reader)
        assert b"".join(part for part in parts if isinstance(part, bytes)) == message
        await client.send_message("next")
        assert await server.get_message() == "next"


@both_kinds
async def test_messages_that_are_whole_already_can_be_read(opcode: Opcode) -> None:
    async with open_rig(options=ConnectionOptions(message_queue_size=3)) as rig:
        for data in (b"one", b"", b"three", b"", b"five"):
            await rig.peer.send_frame(opcode, data)
        await settle()
        for data in (b"one", b"", b"three", b"", b"five"):
            async with rig.connection.message_reader() as reader:
                assert await reader.read() == as_kind(opcode, data)
                assert reader.at_end
        await check_connection(rig)


async def test_readers_and_whole_messages_follow_each_other_in_any_order() -> None:
    async with open_rig() as rig:
        for number in range(20):
            await send_message(rig.peer, TEXT, b"%d!" % number, cuts=(1,))
        connection = rig.connection
        for number in range(0, 20, 4):
            assert await connection.get_message() == f"{number}!"
            async with connection.message_reader() as reader:
                assert await reader.read() == f"{number + 1}!"
            assert await connection.get_messages(1) == [f"{number + 2}!"]
            assert await anext(connection) == f"{number + 3}!"
        await check_connection(rig)


# Memory.


@needs_tracemalloc
@plain_or_compressed
async def test_whoever_stops_reading_stops_the_peer_and_holds_little(
    open_stream_pair: OpenStreamPair, transport: str, *, is_compressed: bool
) -> None:
    """S-66, A-25."""
    if transport == "memory":
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with open_rig((ours, theirs), is_compressed=is_compressed) as rig:
            await check_back_pressure(rig, is_compressed=is_compressed)
        return
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_compressed=is_compressed) as rig,
    ):
        await check_back_pressure(rig, is_compressed=is_compressed)


async def check_back_pressure(rig: Rig, *, is_compressed: bool) -> None:
    chunk = bytes(MEBIBYTE)
    if is_compressed:
        chunk = make_noise(MEBIBYTE)
        chunk = compress(chunk) + TAIL
    await rig.peer.send_bytes(
        build_frame(rig.peer, BINARY, b"", length=2**40, rsv=4 * is_compressed)
    )
    count = [0]
    async with trio.open_nursery() as nursery:
        tracemalloc.start()
        nursery.start_soon(send_for_ever, rig.peer, chunk, count)
        async with rig.connection.message_reader() as reader:
            await reader.read(1)
            before, _ = tracemalloc.get_traced_memory()
            stopped = -1
            while stopped != count[0]:
                stopped = count[0]
                await settle()
            after, _ = tracemalloc.get_traced_memory()
            for _ in range(16):
                await reader.read(MEBIBYTE)
            _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        nursery.cancel_scope.cancel()
    assert after - before < MEBIBYTE
    assert count[0] < 64 * MEBIBYTE
    assert peak - before < 4 * MEBIBYTE


@needs_tracemalloc
@pytest.mark.parametrize("is_ended", [False, True])
async def test_a_bomb_is_read_a_little_at_a_time(*, is_ended: bool) -> None:
    """S-66: a thousand times as much may lie in one receive, the last one too."""
    squeezer = zlib.compressobj(wbits=-15)
    bomb = b"".join(squeezer.compress(bytes(MEBIBYTE)) for _ in range(99))
    bomb += squeezer.flush(zlib.Z_SYNC_FLUSH)
    async with open_rig(is_compressed=True) as rig:
        await rig.peer.send_bytes(
            build_frame(rig.peer, BINARY, bomb, length=2**30, rsv=4)
        )
        if is_ended:
            await rig.peer.send_eof()
        tracemalloc.start()
        size = 0
        async with rig.connection.message_reader() as reader:
            while size < 99 * MEBIBYTE:
                part = await reader.read_exactly(65536)
                assert part == bytes(65536)
                size += len(part)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 * MEBIBYTE
    assert size == 99 * MEBIBYTE


# Text.


MIXED = "aé€😀" * 3


@both_roles
@plain_or_compressed
async def test_text_may_be_cut_at_any_byte(
    *, is_client: bool, is_compressed: bool
) -> None:
    """S-67, A-26: between fragments, within a frame, and in both places."""
    data = MIXED.encode()
    async with open_rig(is_client=is_client, is_compressed=is_compressed) as rig:
        for cut in range(len(data) + 1):
            payload = compress(data) if is_compressed else data
            at = min(cut, len(payload))
            first = build_frame(
                rig.peer, TEXT, payload[:at], fin=False, rsv=4 * is_compressed
            )
            rest = build_frame(rig.peer, CONTINUATION, payload[at:])
            wire = first + rest
            for receive_end in (len(first) - 1, len(first), len(first) + 3):
                await rig.peer.send_bytes(wire[:receive_end])
                await settle_in_memory()
                parts: list[str | bytes] = []
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read_message, rig.connection, parts)
                    await settle_in_memory()
                    await rig.peer.send_bytes(wire[receive_end:])
                assert "".join(map(str, parts)) == MIXED
                assert "" not in parts
        await check_connection(rig)


async def settle_in_memory() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_no_part_of_text_ends_within_a_character() -> None:
    async with open_rig() as rig:
        await rig.peer.send_frame(TEXT, b"a\xf0\x9f", fin=False)
        async with (
            rig.connection.message_reader() as reader,
            trio.open_nursery() as nursery,
        ):
            assert isinstance(reader, TextReader)
            assert await anext(reader) == "a"
            parts: list[str] = []

            async def take() -> None:
                parts.append(await anext(reader))

            nursery.start_soon(take)
            await rig.peer.send_frame(CONTINUATION, b"\x98", fin=False)
            await settle()
            assert parts == []
            await rig.peer.send_frame(CONTINUATION, b"\x80b", fin=False)
            await settle()
            assert parts == ["😀b"]
            await rig.peer.send_frame(CONTINUATION)
        await check_connection(rig)


# The connection dies in the middle.


BROKEN: dict[str, tuple[Callable[[RawPeer], Awaitable[None]], int | None]] = {
    "new_text": (lambda peer: peer.send_text("new"), 1002),
    "new_fragment": (lambda peer: peer.send_frame(BINARY, fin=False), 1002),
    "reserved_bit": (lambda peer: peer.send_frame(CONTINUATION, rsv=2), 1002),
    "bad_utf_8": (lambda peer: peer.send_frame(CONTINUATION, b"ok\xff"), 1007),
    "torn_utf_8": (lambda peer: peer.send_frame(CONTINUATION, b"ok\xc3"), 1007),
    "wrong_mask": (lambda peer: peer.send_frame(0, masked=not peer.is_client), 1002),
    "close": (lambda peer: peer.send_close(4001, "bye"), 4001),
    "eof": (RawPeer.send_eof, None),
}


@both_roles
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("is_waiting", [True, False])
async def test_what_came_is_read_and_then_why_there_is_no_more(
    autojump_clock: trio.testing.MockClock,
    name: str,
    *,
    is_client: bool,
    is_waiting: bool,
) -> None:
    """S-68, A-20."""
    break_rule, code = BROKEN[name]
    async with open_rig(is_client=is_client) as rig:
        await rig.peer.send_frame(TEXT, b"good", fin=False)
        await rig.peer.send_frame(CONTINUATION, b" start", fin=False)
        async with rig.connection.message_reader() as reader:
            if is_waiting:
                assert await reader.read(10) == "good start"
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(check_end, rig, reader, code, "")
                    await settle()
                    await break_rule(rig.peer)
            else:
                await break_rule(rig.peer)
                await settle()
                await check_end(rig, reader, code, "good start")
        if code is not None:
            assert (await rig.peer.receive_close())[0] == code
        with pytest.raises(ConnectionClosed):
            await rig.connection.message_reader().__aenter__()


async def check_end(
    rig: Rig, reader: MessageReader, code: int | None, expected: str
) -> None:
    assert isinstance(reader, TextReader)
    if expected:
        assert await reader.read(len(expected)) == expected
    with pytest.raises(ConnectionClosed) as caught:
        await reader.read()
    assert caught.value.reason is not None
    assert caught.value.reason.code == (code or 1006)
    if code in (1002, 1007):
        assert isinstance(caught.value.__cause__, ProtocolViolation)
        assert caught.value.__cause__.code == code
    assert not reader.at_end


@pytest.mark.parametrize("name", ["aclose", "abort"])
@pytest.mark.parametrize("is_whole", [True, False])
async def test_our_own_end_drops_what_was_not_read(
    autojump_clock: trio.testing.MockClock, name: str, *, is_whole: bool
) -> None:
    """And a message without its end is never taken for a whole one."""
    async with open_rig() as rig, trio.open_nursery() as nursery:
        await rig.peer.send_frame(BINARY, b"unread", fin=is_whole)
        async with rig.connection.message_reader() as reader:
            await settle()
            nursery.start_soon(getattr(rig.connection, name))
            await settle()
            for _ in range(2):
                with pytest.raises(ConnectionClosed):
                    await reader.read(100)
            assert not reader.at_end


@pytest.mark.parametrize("name", ["aclose", "abort"])
async def test_our_own_end_wakes_a_reader_that_waits(
    autojump_clock: trio.testing.MockClock, name: str
) -> None:
    async with open_reader() as (rig, reader), trio.open_nursery() as nursery:
        nursery.start_soon(check_end_of_bytes, reader)
        await settle()
        nursery.start_soon(getattr(rig.connection, name))


async def check_end_of_bytes(reader: MessageReader) -> None:
    assert isinstance(reader, BytesReader)
    with pytest.raises(trio.BrokenResourceError) as caught:
        await reader.receive_some()
    assert isinstance(caught.value.__cause__, ConnectionClosed)


async def test_a_whole_message_that_was_read_stays_one_when_we_end() -> None:
    async with open_bytes(b"all") as reader:
        assert await reader.read(3) == b"all"
        assert reader.at_end
    async with open_rig() as rig:
        await rig.peer.send_frame(BINARY, b"all")
        async with rig.connection.message_reader() as whole:
            assert await whole.read(3) == b"all"
            await rig.connection.abort()
            assert whole.at_end
            assert await whole.read() == b""


# The calls.


async def test_so_many_bytes_are_read_as_asked_for() -> None:
    """A-22."""
    async with open_bytes(b"one", b"", b"two", b"drei") as reader:
        assert reader.kind == "bytes"
        assert await reader.read(0) == b""
        assert await reader.read(2) == b"on"
        assert await reader.read(2) == b"et"
        assert await reader.read_exactly(0) == b""
        assert await reader.read_exactly(4) == b"wodr"
        assert not is_at_end(reader)
        assert await reader.read(-1) == b"ei"
        assert is_at_end(reader)
        assert await reader.read() == b""
        assert await reader.read(1) == b""
        assert await reader.receive_some() == b""


async def test_so_many_characters_are_read_as_asked_for() -> None:
    async with open_text("äöü€😀 and so on") as reader:
        assert reader.kind == "text"
        assert await reader.read(0) == ""
        assert await reader.read(3) == "äöü"
        assert await reader.read_exactly(2) == "€😀"
        assert await anext(reader) == " and so on"
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        assert await reader.read() == ""


async def test_a_message_that_ends_early_tells_what_there_was() -> None:
    """A-23."""
    async with open_bytes(b"abc", b"de") as reader:
        with pytest.raises(IncompleteMessage) as caught:
            await reader.read_exactly(6)
        assert (caught.value.partial, caught.value.expected) == (b"abcde", 6)
        with pytest.raises(IncompleteMessage):
            await reader.read_exactly(1)
        assert await reader.read_exactly(0) == b""
    async with open_text("äb") as text:
        with pytest.raises(IncompleteMessage) as caught:
            await text.read_exactly(3)
        assert caught.value.partial == "äb"


async def test_a_buffer_is_filled_as_far_as_the_message_goes() -> None:
    """A-23."""
    async with open_bytes(b"0123", b"456789", b"abcdef") as reader:
        array_of_bytes = bytearray(5)
        assert await reader.readinto(array_of_bytes) == 5
        assert array_of_bytes == b"01234"
        words = array.array("H", [0, 0])
        assert await reader.readinto(memoryview(words)) == 4
        assert words.tobytes() == b"5678"
        middle = bytearray(b"xxxx")
        assert await reader.readinto(memoryview(middle)[1:3]) == 2
        assert middle == b"x9ax"
        assert await reader.readinto(bytearray()) == 0
        rest = bytearray(8)
        assert await reader.readinto(rest) == 5
        assert rest == b"bcdef\0\0\0"
        assert await reader.readinto(rest) == 0


@pytest.mark.parametrize("buffer", [b"12345678", memoryview(b"1"), "text", None])
async def test_what_cannot_be_written_to_takes_nothing(buffer: object) -> None:
    async with open_bytes(b"message") as reader:
        with pytest.raises(TypeError):
            await reader.readinto(buffer)  # type: ignore[arg-type]  # on purpose
        assert await reader.read() == b"message"


@pytest.mark.parametrize("size", [-2, -1000])
async def test_a_size_less_than_all_is_wrong(size: int) -> None:
    async with open_bytes(b"message") as reader:
        with pytest.raises(ValueError, match="-1 or more"):
            await reader.read(size)
        with pytest.raises(ValueError, match="0 or more"):
            await reader.read_exactly(-1)
        with pytest.raises(ValueError, match="1 or more"):
            await reader.receive_some(0)
        assert await reader.read() == b"message"


@pytest.mark.parametrize("size", [2.0, "2", True, b"2"])
async def test_a_size_is_an_int(size: object) -> None:
    number: int = size  # type: ignore[assignment]  # on purpose
    async with open_bytes(b"message") as reader, open_text("message") as text:
        for call in (
            reader.read,
            reader.read_exactly,
            reader.receive_some,
            text.read,
            text.read_exactly,
        ):
            with pytest.raises(TypeError, match="must be an int"):
                await call(number)
        assert await reader.read() == b"message"
        assert await text.read() == "message"


@pytest.mark.parametrize("limit", [1.0, "1", True])
async def test_the_limit_of_a_message_is_an_int_or_none(limit: int) -> None:
    async with open_rig() as rig:
        with pytest.raises(TypeError, match="max_bytes must be an int"):
            rig.connection.message_reader(max_bytes=limit)
        with pytest.raises(ValueError, match="max_bytes must be 0 or more"):
            rig.connection.message_reader(max_bytes=-1)


async def test_what_becomes_of_the_rest_is_one_of_two() -> None:
    async with open_rig() as rig:
        with pytest.raises(ValueError, match="abandon must be 'drain' or 'close'"):
            rig.connection.message_reader(abandon="ignore")  # type: ignore[arg-type]  # on purpose


async def test_a_binary_message_is_a_stream_to_receive_from() -> None:
    """A-24."""
    async with open_bytes(b"abc", b"de") as reader:
        assert isinstance(reader, trio.abc.ReceiveStream)
        with trio.testing.assert_checkpoints():
            assert await reader.receive_some(2) == b"ab"
        with trio.testing.assert_checkpoints():
            assert await reader.receive_some() == b"c"
        with trio.CancelScope() as scope:
            scope.cancel()
            await reader.receive_some()
        assert scope.cancelled_caught
        assert await reader.receive_some(None) == b"de"
        with trio.testing.assert_checkpoints():
            assert await reader.receive_some() == b""


async def test_a_stream_that_was_closed_gives_nothing_and_the_message_goes() -> None:
    async with open_reader(BINARY, b"part", length=10) as (rig, reader):
        assert isinstance(reader, BytesReader)
        with trio.testing.assert_checkpoints():
            await reader.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await reader.receive_some()
        await reader.aclose()
        await rig.peer.send_bytes(build_rest(rig.peer, b"unread", 4))
        await check_connection(rig)


async def test_a_stream_breaks_with_the_connection() -> None:
    async with open_reader(BINARY, b"part") as (rig, reader):
        assert isinstance(reader, BytesReader)
        await rig.peer.aclose()
        assert await reader.receive_some() == b"part"
        await check_end_of_bytes(reader)


async def test_who_waits_is_told_when_the_stream_is_closed() -> None:
    async with open_reader() as (rig, reader), trio.open_nursery() as nursery:
        assert isinstance(reader, BytesReader)

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await reader.receive_some()

        nursery.start_soon(wait)
        await settle()
        await reader.aclose()
        await rig.peer.send_bytes(build_rest(rig.peer, bytes(1000), 0))
        await check_connection(rig)


@pytest.mark.parametrize("text", ["", "unread"])
async def test_nothing_can_be_read_behind_the_block(text: str) -> None:
    async with open_rig() as rig:
        await rig.peer.send_text(text)
        async with rig.connection.message_reader() as reader:
            pass
        assert isinstance(reader, TextReader)
        calls: list[Callable[[], Awaitable[str]]] = [
            reader.read,
            partial(reader.read, 0),
            partial(reader.read_exactly, 0),
            reader.__anext__,
        ]
        for call in calls:
            with pytest.raises(trio.ClosedResourceError):
                await call()
        assert reader.at_end == (not text)
        await check_connection(rig)


async def test_one_task_at_a_time_reads_a_message() -> None:
    async with open_reader(BINARY, b"0123") as (rig, reader):
        async with trio.open_nursery() as nursery:
            got: list[str | bytes] = []

            async def read() -> None:
                got.append(await reader.read_exactly(6))

            nursery.start_soon(read)
            await settle()
            for call in (reader.read, partial(reader.read, 0)):
                with pytest.raises(trio.BusyResourceError):
                    await call()
            await rig.peer.send_bytes(build_rest(rig.peer, b"4567", 4))
        assert got == [b"012345"]
        assert await reader.read(2) == b"67"


async def test_a_call_keeps_others_out_while_it_lets_them_run() -> None:
    """Between its parts, too: what it wants would have a hole."""
    size = 131_072
    async with open_rig(options=UNLIMITED) as rig:
        for number in range(16):
            kind = CONTINUATION if number else BINARY
            await rig.peer.send_frame(kind, bytes([number]) * size, fin=number == 15)
        async with (
            rig.connection.message_reader() as reader,
            trio.open_nursery() as nursery,
        ):
            disturbed = 0

            async def disturb() -> None:
                nonlocal disturbed
                while True:
                    with pytest.raises(trio.BusyResourceError):
                        await reader.read(1)
                    disturbed += 1
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(disturb)
            data = await reader.read()
            nursery.cancel_scope.cancel()
        assert data == b"".join(bytes([number]) * size for number in range(16))
        assert disturbed > 0


async def test_a_reader_is_for_one_block() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        reading = rig.connection.message_reader()

        async def enter() -> None:
            async with reading as reader:
                assert await reader.read() == "one"

        nursery.start_soon(enter)
        await settle()
        with pytest.raises(RuntimeError, match="one message only"):
            await reading.__aenter__()
        await rig.peer.send_text("one")
        await settle()
        with pytest.raises(RuntimeError, match="one message only"):
            await reading.__aenter__()
        await check_connection(rig)


async def test_a_block_that_was_not_entered_may_be_entered_again() -> None:
    async with open_rig() as rig:
        reading = rig.connection.message_reader()
        with trio.CancelScope() as scope:
            scope.cancel()
            await reading.__aenter__()
        await rig.peer.send_text("one")
        async with reading as reader:
            assert await reader.read() == "one"


# Leaving early.


async def leave_by_return(rig: Rig) -> None:
    async with rig.connection.message_reader() as reader:
        assert await reader.read(1) in {"a", b"a"}
        return


async def leave_by_break(rig: Rig) -> None:
    while True:
        async with rig.connection.message_reader() as reader:
            await reader.read(1)
            break


async def raise_amid(rig: Rig, abandon: Literal["drain", "close"] = "drain") -> None:
    async with rig.connection.message_reader(abandon=abandon) as reader:
        await reader.read(1)
        raise KeyError("mine")


async def leave_by_exception(rig: Rig) -> None:
    with pytest.raises(KeyError, match="mine"):
        await raise_amid(rig)


async def leave_by_timeout(rig: Rig) -> None:
    with trio.move_on_after(1) as scope:
        async with rig.connection.message_reader() as reader:
            await reader.read()
    assert scope.cancelled_caught


async def leave_unread(rig: Rig) -> None:
    async with rig.connection.message_reader():
        pass


WAYS = pytest.mark.parametrize(
    "leave",
    [
        leave_by_return,
        leave_by_break,
        leave_by_exception,
        leave_by_timeout,
        leave_unread,
    ],
)
Leave = Callable[[Rig], Awaitable[None]]


@both_roles
@both_kinds
@plain_or_compressed
@WAYS
async def test_the_next_message_is_whole_however_the_block_was_left(
    autojump_clock: trio.testing.MockClock,
    leave: Leave,
    opcode: Opcode,
    *,
    is_client: bool,
    is_compressed: bool,
) -> None:
    """W6, A-27."""
    async with open_rig(is_client=is_client, is_compressed=is_compressed) as rig:
        data = b"abcdefgh" * 10
        payload = compress(data) if is_compressed else data
        rsv = 4 * is_compressed
        await rig.peer.send_frame(opcode, payload, fin=False, rsv=rsv)
        await leave(rig)
        tail = TAIL + compress(b"the rest") if is_compressed else b"the rest"
        await rig.peer.send_frame(PING, b"between")
        assert (await rig.peer.receive_frame()).payload == b"between"
        await rig.peer.send_frame(CONTINUATION, tail[:3], fin=False)
        await rig.peer.send_frame(CONTINUATION, tail[3:])
        await send_message(rig.peer, opcode, b"next", is_compressed=is_compressed)
        assert await rig.connection.get_message() == as_kind(opcode, b"next")
        await check_connection(rig)


@pytest.mark.parametrize(
    "leave", [leave_by_return, leave_by_break, leave_by_exception, leave_unread]
)
async def test_the_next_message_may_wait_behind_the_one_that_was_left(
    leave: Leave,
) -> None:
    async with open_rig() as rig:
        await send_message(rig.peer, BINARY, b"a" * 3000, cuts=(1000, 2000))
        await send_message(rig.peer, TEXT, b"next")
        await leave(rig)
        assert await rig.connection.get_message() == "next"
        await check_connection(rig)


async def check_connection_of(rig: Rig) -> None:
    await rig.peer.send_frame(PING, b"still there")
    assert (await rig.peer.receive_frame()).payload == b"still there"


@both_roles
@pytest.mark.parametrize("is_raising", [True, False])
async def test_who_does_not_want_the_rest_may_end_the_connection(
    *, is_client: bool, is_raising: bool
) -> None:
    """A-27."""
    async with open_rig(is_client=is_client) as rig:
        await rig.peer.send_frame(BINARY, b"a" * 10, fin=False)
        if is_raising:
            with pytest.raises(KeyError):
                await raise_amid(rig, "close")
        else:
            async with rig.connection.message_reader(abandon="close"):
                pass
        assert await rig.peer.receive_close() == (
            1008,
            "a message was not read to its end",
        )
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1008


async def test_a_message_that_has_come_to_its_end_closes_nothing() -> None:
    async with open_rig() as rig:
        for _ in range(2):
            await rig.peer.send_frame(BINARY, b"whole")
        async with rig.connection.message_reader(abandon="close") as reader:
            assert await reader.read() == b"whole"
        async with rig.connection.message_reader(abandon="close"):
            await settle()
        await check_connection(rig)


@pytest.mark.parametrize("is_in_one_frame", [True, False])
async def test_no_more_is_dropped_than_a_message_may_have(
    *, is_in_one_frame: bool
) -> None:
    """Whatever a frame announces counts at once."""
    async with open_rig(options=SMALL) as rig:
        if is_in_one_frame:
            await rig.peer.send_bytes(
                build_frame(rig.peer, BINARY, b"part", length=2**40)
            )
        else:
            await rig.peer.send_frame(BINARY, b"part", fin=False)
        async with rig.connection.message_reader():
            pass
        if is_in_one_frame:
            await rig.peer.send_bytes(build_rest(rig.peer, b"x", 4))
        else:
            await rig.peer.send_frame(CONTINUATION, bytes(1000), fin=False)
            await check_connection_of(rig)
            await rig.peer.send_frame(CONTINUATION, b"x")
        code, reason = await rig.peer.receive_close()
        assert (code, reason) == (1008, "the rest of a message is too much to drop")


# A limit.


@both_roles
@both_kinds
@plain_or_compressed
async def test_a_message_as_large_as_its_limit_is_read(
    opcode: Opcode, *, is_client: bool, is_compressed: bool
) -> None:
    text = "€" * 100
    async with open_rig(is_client=is_client, is_compressed=is_compressed) as rig:
        await send_message(
            rig.peer, opcode, text.encode(), cuts=(5,), is_compressed=is_compressed
        )
        async with rig.connection.message_reader(max_bytes=300) as reader:
            assert await reader.read() == as_kind(opcode, text.encode())
        await check_connection(rig)


@both_roles
@both_kinds
@plain_or_compressed
@pytest.mark.parametrize("cuts", [(), (5,), (6, 8)])
@pytest.mark.parametrize("is_queued", [True, False])
async def test_a_message_larger_than_its_limit_is_1009(
    opcode: Opcode,
    cuts: tuple[int, ...],
    *,
    is_client: bool,
    is_compressed: bool,
    is_queued: bool,
) -> None:
    async with open_rig(is_client=is_client, is_compressed=is_compressed) as rig:
        if is_queued:
            await send_too_much(rig, opcode, cuts, is_compressed=is_compressed)
            await settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check_too_large, rig.connection)
            await settle()
            if not is_queued:
                await send_too_much(rig, opcode, cuts, is_compressed=is_compressed)
        assert (await rig.peer.receive_close())[0] == 1009


async def send_too_much(
    rig: Rig, opcode: Opcode, cuts: tuple[int, ...], *, is_compressed: bool
) -> None:
    data = "€".encode() * 100
    with suppress(trio.BrokenResourceError):  # it may end before the last fragment
        await send_message(
            rig.peer, opcode, data, cuts=cuts, is_compressed=is_compressed
        )


async def check_too_large(connection: WebSocketConnection) -> None:
    with pytest.raises(ConnectionClosed) as caught:
        await read_message(connection, [], max_bytes=299)
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1009
    with pytest.raises(ConnectionClosed):
        await connection.get_message()


async def test_a_frame_that_announces_too_much_is_1009_at_once() -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(build_frame(rig.peer, BINARY, b"x", length=300))
        await check_too_large(rig.connection)


async def test_a_limit_of_0_lets_an_empty_message_pass() -> None:
    async with open_rig() as rig:
        await send_message(rig.peer, TEXT, b"")
        async with rig.connection.message_reader(max_bytes=0) as reader:
            assert await reader.read() == ""
        await check_connection(rig)


# The order of the calls.


Served = list[tuple[str, object]]
Take = Callable[[WebSocketConnection, str, Served], Awaitable[None]]


async def take_by_reading(
    connection: WebSocketConnection, name: str, served: Served
) -> None:
    async with connection.message_reader() as reader:
        assert isinstance(reader, TextReader)
        part = await reader.read(1)
        await settle()
        served.append((name, part + await reader.read()))


def take_by(call: Callable[[WebSocketConnection], Awaitable[object]]) -> Take:
    async def take(connection: WebSocketConnection, name: str, served: Served) -> None:
        served.append((name, await call(connection)))

    return take


async def get_one_of_many(connection: WebSocketConnection) -> object:
    [message] = await connection.get_messages(1)
    return message


WAYS_TO_TAKE = [
    take_by(WebSocketConnection.get_message),
    take_by_reading,
    take_by(get_one_of_many),
    take_by_reading,
    take_by(WebSocketConnection.receive),
    take_by(WebSocketConnection.__anext__),
    take_by_reading,
    take_by_reading,
    take_by(WebSocketConnection.get_text),
] * 2


@pytest.mark.parametrize("is_fragmented", [True, False])
async def test_all_who_want_a_message_are_served_in_the_order_of_their_calls(
    *, is_fragmented: bool
) -> None:
    """Each message goes to one, by whatever call."""
    async with open_rig() as rig:
        served: Served = []
        count = len(WAYS_TO_TAKE)
        async with trio.open_nursery() as nursery:
            for number, take in enumerate(WAYS_TO_TAKE):
                nursery.start_soon(take, rig.connection, f"{number:02}", served)
                await settle()
            for number in range(count):
                await send_message(
                    rig.peer, TEXT, b"%02d" % number, cuts=(1,) * is_fragmented
                )
        # In which order they come back is for the scheduler to say.
        assert sorted(served) == [(f"{number:02}",) * 2 for number in range(count)]
        await check_connection(rig)


async def test_a_task_cannot_ask_for_the_next_message_within_its_own_block() -> None:
    async with open_rig() as rig:
        connection = rig.connection
        await rig.peer.send_text("one")
        await rig.peer.send_text("two")
        async with connection.message_reader() as reader:
            for call in (
                connection.get_message,
                connection.get_messages,
                connection.receive,
                connection.get_text,
                connection.message_reader().__aenter__,
                connection.__anext__,
            ):
                with pytest.raises(RuntimeError, match="message of its own"):
                    await call()
            assert await reader.read() == "one"
        assert await connection.get_message() == "two"
        await check_connection(rig)


async def test_a_call_that_is_cancelled_leaves_the_queue() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        connection = rig.connection
        scopes = [trio.CancelScope() for _ in range(4)]
        parts: list[str | bytes] = []

        async def get(scope: trio.CancelScope) -> None:
            with scope:
                await connection.get_message()

        async def read(scope: trio.CancelScope) -> None:
            with scope:
                await read_message(connection, parts)

        for scope, call in zip(scopes, (get, read, read, get), strict=True):
            nursery.start_soon(call, scope)
            await settle()
        await rig.peer.send_frame(TEXT, b"for nobody who went", fin=False)
        await settle()
        scopes[1].cancel()
        await settle()
        scopes[0].cancel()
        scopes[3].cancel()
        await settle()
        await rig.peer.send_frame(CONTINUATION, b"!")
        await settle()
        assert "".join(map(str, parts)) == "for nobody who went!"
        await check_connection(rig)


async def test_who_is_next_in_the_queue_gets_at_once_what_has_come() -> None:
    """S-65: of a message that the first had waited for."""
    async with open_rig() as rig, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def get() -> None:
            with scope:
                await rig.connection.get_message()

        nursery.start_soon(get)
        await settle()
        parts: list[str] = []

        async def read() -> None:
            async with rig.connection.message_reader() as reader:
                parts.append(str(await reader.read(5)))

        nursery.start_soon(read)
        await settle()
        await rig.peer.send_frame(TEXT, b"start", fin=False)
        await settle()
        assert parts == []
        scope.cancel()
        await settle()
        assert parts == ["start"]
        await rig.peer.send_frame(CONTINUATION)
        await check_connection(rig)


@pytest.mark.parametrize("end", ["peer_closes", "peer_vanishes", "aclose", "abort"])
async def test_all_who_wait_wake_when_the_connection_ends(
    autojump_clock: trio.testing.MockClock, end: str
) -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        await rig.peer.send_frame(BINARY, fin=False)
        reader = await rig.connection.message_reader().__aenter__()
        connection = rig.connection
        woken = 0

        async def wait(call: Callable[[], Awaitable[object]]) -> None:
            nonlocal woken
            with pytest.raises(
                (ConnectionClosed, trio.EndOfChannel, trio.ClosedResourceError)
            ):
                await call()
            woken += 1

        calls: list[Callable[[], Awaitable[object]]] = [
            reader.read,
            connection.get_message,
            connection.message_reader().__aenter__,
            connection.get_messages,
            connection.message_reader().__aenter__,
        ]
        for call in calls:
            nursery.start_soon(wait, call)
            await settle()
        if end == "peer_closes":
            await rig.peer.send_close()
        elif end == "peer_vanishes":
            await rig.peer.aclose()
        else:
            nursery.start_soon(getattr(connection, end))
        await settle()
        assert woken == len(calls)


async def test_messages_behind_one_that_is_read_are_kept_for_who_waits() -> None:
    """Also if the peer closed since; but its Close is not answered before."""
    async with open_rig(options=ConnectionOptions(message_queue_size=5)) as rig:
        connection = rig.connection
        await send_message(rig.peer, TEXT, b"one", cuts=(1,))
        got: list[str | bytes] = []

        async def get_all() -> None:
            got.extend([message async for message in connection])

        async with trio.open_nursery() as nursery:
            async with connection.message_reader() as reader:
                nursery.start_soon(get_all)
                assert await reader.read() == "one"
                await rig.peer.send_text("two")
                await rig.peer.send_text("three")
                await rig.peer.send_close(1001)
                await settle()
                assert got == []
                await connection.send_message("still open")
            assert (await rig.peer.receive_frame()).payload == b"still open"
            assert (await rig.peer.receive_close())[0] == 1001
            await rig.peer.aclose()
        assert got == ["two", "three"]


async def test_a_violation_behind_a_message_waits_for_the_end_of_the_block() -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("one")
        await rig.peer.send_frame(TEXT, b"\xff")
        async with rig.connection.message_reader() as reader:
            assert await reader.read() == "one"
            await settle()
            await rig.connection.send_message("reply")
        assert (await rig.peer.receive_frame()).payload == b"reply"
        assert (await rig.peer.receive_close())[0] == 1007


# What comes between.


async def test_pings_are_answered_while_a_reader_waits() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        await rig.peer.send_frame(TEXT, b"start", fin=False)
        async with rig.connection.message_reader() as reader:
            assert await reader.read(5) == "start"
            # While a part is being worked on, and while the next is awaited.
            for _ in range(2):
                await check_connection_of(rig)
                nursery.start_soon(reader.read, 1)
                await settle()
                await check_connection_of(rig)
                await rig.peer.send_frame(CONTINUATION, b"x", fin=False)
                await settle()


async def test_a_flood_of_pings_within_a_message_delays_no_part() -> None:
    async with open_rig() as rig:
        stream = b""
        for number in range(10):
            stream += build_frame(
                rig.peer, CONTINUATION if number else TEXT, b"x", fin=number == 9
            )
            stream += build_frame(rig.peer, PONG, b"") * 100
        await rig.peer.send_bytes(stream)
        async with rig.connection.message_reader() as reader:
            assert await reader.read() == "x" * 10
        await check_connection(rig)


@pytest.mark.parametrize("is_read", [True, False])
async def test_what_is_not_wanted_beside_a_reader_does_not_touch_it(
    *, is_read: bool
) -> None:
    """With ``cancel_on_close`` messages that nobody waits for are dropped."""
    async with open_rig() as rig:
        connection = rig.connection
        async with connection.cancel_on_close(discard=True):
            if not is_read:
                await send_message(rig.peer, TEXT, b"dropped", cuts=(2,))
                await settle()
            async with trio.open_nursery() as nursery:
                parts: list[str | bytes] = []
                nursery.start_soon(read_message, connection, parts)
                await settle()
                await send_message(rig.peer, TEXT, b"read", cuts=(2,))
                await settle()
            assert "".join(map(str, parts)) == "read"
        await check_connection(rig)


# One message on to another connection.


@plain_or_compressed
@pytest.mark.parametrize("fragment_size", [None, 1000])
async def test_messages_go_there_and_back_while_they_arrive(
    open_stream_pair: OpenStreamPair,
    transport: str,
    fragment_size: int | None,
    *,
    is_compressed: bool,
) -> None:
    """S-71: in both directions at once."""
    messages: list[str | bytes] = [
        make_noise(300_000),
        "é€😀" * 30_000,
        "",
        b"",
        "short",
        bytes(1_000_000),
    ]

    async def echo(connection: WebSocketConnection) -> None:
        for _ in messages:
            async with connection.message_reader() as reader:
                await connection.forward_message(reader, fragment_size=fragment_size)

    async def send(connection: WebSocketConnection) -> None:
        for message in messages:
            await connection.send_message(message)

    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams, is_compressed=is_compressed) as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, server)
        nursery.start_soon(send, client)
        for message in messages:
            assert await client.get_message() == message


async def test_of_bombs_that_are_unread_at_the_end_of_a_stream_few_go_off() -> None:
    """A receive may hold a thousand times as much as it has bytes."""
    squeezer = zlib.compressobj(wbits=-15)
    async with open_rig(is_compressed=True) as rig:
        frames: list[bytes] = []
        for _ in range(40):
            bomb = squeezer.compress(bytes(MEBIBYTE))
            bomb += squeezer.flush(zlib.Z_SYNC_FLUSH)
            bomb = bomb.removesuffix(b"\x00\x00\xff\xff")
            frames.append(build_frame(rig.peer, BINARY, bomb, rsv=4))
        await rig.peer.send_bytes(b"".join(frames))
        await settle()
        rig.link.closing.drop()
        await settle()
        count = 0
        with suppress(ConnectionClosed):
            while True:
                assert await rig.connection.get_message() == bytes(MEBIBYTE)
                count += 1
        assert 4 <= count <= 12


@needs_tracemalloc
@plain_or_compressed
async def test_an_echo_of_a_large_message_needs_little_memory(
    open_stream_pair: OpenStreamPair, *, is_compressed: bool
) -> None:
    """S-71."""
    block = make_noise(65_536) + bytes(196_608)
    count = 80  # blocks: 20 MiB
    async with (
        open_stream_pair("socket") as streams,
        open_pair(streams, is_compressed=is_compressed) as (client, server),
        trio.open_nursery() as nursery,
    ):

        async def echo() -> None:
            async with server.message_reader() as reader:
                await server.forward_message(reader)

        async def send() -> None:
            async with client.message_writer() as writer:
                for _ in range(count):
                    await writer.send(block)

        tracemalloc.start()
        nursery.start_soon(echo)
        nursery.start_soon(send)
        async with client.message_reader() as reader:
            assert isinstance(reader, BytesReader)
            for _ in range(count):
                assert await reader.read_exactly(len(block)) == block
            assert await reader.read() == b""
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 6 * MEBIBYTE


async def test_a_message_that_breaks_off_is_not_forwarded_as_whole() -> None:
    async with open_reader(BINARY, b"half") as (rig, reader), open_rig() as other:
        await rig.peer.aclose()
        with pytest.raises(ConnectionClosed) as caught:
            await other.connection.forward_message(reader)
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1006
        first = await other.peer.receive_frame()
        assert (first.opcode, first.payload, first.fin) == (BINARY, b"half", False)
        assert (await other.peer.receive_close())[0] == 1011

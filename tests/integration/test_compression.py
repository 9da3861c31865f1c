"""Connections that agree on compression, from the entry points to the wire."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionClosed,
    DeflateAgreement,
    PerMessageDeflate,
    WebSocketConnection,
    WebSocketRequest,
    connect_websocket_url,
    open_websocket,
    open_websocket_url,
    serve_websocket,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket._options import Compression
from trio_websocket.frames import Frame, FrameStream, Opcode
from trio_websocket.testing import FaultyStream

TAIL = b"\x00\x00\xff\xff"
SENTENCE = "The quick brown fox jumps over the lazy dog. "

Pair = tuple[WebSocketConnection, WebSocketConnection]


@asynccontextmanager
async def open_pair(
    client: Compression = "deflate",
    server: Compression = "deflate",
    *,
    stream: trio.abc.Stream | None = None,
    peer_stream: trio.abc.Stream | None = None,
) -> AsyncGenerator[Pair]:
    """Open a client and a server that are connected in memory."""
    in_memory = trio.testing.memory_stream_pair()
    ours, theirs = stream or in_memory[0], peer_stream or in_memory[1]
    opened: list[WebSocketConnection] = []

    async def accept() -> None:
        request = await wrap_server_stream(nursery, theirs, compression=server)
        opened.append(await request.accept())

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as opening:
            opening.start_soon(accept)
            connection = await wrap_client_stream(
                nursery, ours, "localhost", "/", compression=client
            )
        yield connection, opened[0]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ("deflate", "deflate", DeflateAgreement(False, False, 12, 12)),
        ("deflate", None, None),
        (None, "deflate", None),
        (None, None, None),
        (
            PerMessageDeflate(server_max_window_bits=10),
            PerMessageDeflate(client_no_context_takeover=True),
            DeflateAgreement(False, True, 10, 12),
        ),
    ],
)
async def test_both_ends_know_what_was_agreed_on(
    client: Compression, server: Compression, expected: DeflateAgreement | None
) -> None:
    """S-58."""
    async with open_pair(client, server) as ends:
        assert [end.compression for end in ends] == [expected] * 2
        for sender, receiver in (ends, ends[::-1]):
            await sender.send_message(SENTENCE)
            assert await receiver.get_message() == SENTENCE


TAKEOVERS = [
    PerMessageDeflate(threshold=0),
    PerMessageDeflate(
        client_no_context_takeover=True, server_no_context_takeover=True, threshold=0
    ),
    PerMessageDeflate(client_max_window_bits=9, server_max_window_bits=15),
    PerMessageDeflate(client_max_window_bits=8, server_max_window_bits=8, level=9),
]


@pytest.mark.parametrize("options", TAKEOVERS)
async def test_messages_of_every_size_go_both_ways(options: PerMessageDeflate) -> None:
    draw = random.Random(7)  # noqa: S311  # not a secret
    async with open_pair(options, options) as ends:
        for size in (0, 1, 31, 32, 125, 126, 5000, 65535, 65536, 300_000):
            text = "".join(draw.choices("abc \u20ac", k=size))
            data = draw.randbytes(size)
            for sender, receiver in (ends, ends[::-1]):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sender.send_message, text)
                    assert await receiver.get_message() == text
                async with trio.open_nursery() as nursery:
                    send = partial(sender.send_message, compress=False)
                    nursery.start_soon(send, text)
                    assert await receiver.get_text() == text
                async with trio.open_nursery() as nursery:
                    messages: list[str | bytes | bytearray | memoryview]
                    messages = [data, text, data]
                    nursery.start_soon(sender.send_messages, messages)
                    received = [await receiver.get_message() for _ in range(3)]
                    assert received == messages


async def test_what_is_on_the_wire_is_short() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    faulty = FaultyStream(ours)
    async with open_pair(stream=faulty, peer_stream=theirs) as (client, server):
        before = faulty.bytes_sent
        for _ in range(10):
            await client.send_message(SENTENCE * 10)
            assert await server.get_message() == SENTENCE * 10
        assert faulty.bytes_sent - before < 300
        await client.send_text(SENTENCE * 10, compress=False)
        await client.send_bytes(SENTENCE.encode() * 10, compress=False)
        assert faulty.bytes_sent - before > 900


async def test_pings_go_between_compressed_messages() -> None:
    async with open_pair() as (client, server), trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(client.ping)
            nursery.start_soon(client.send_message, SENTENCE)
        for _ in range(20):
            assert await server.get_message() == SENTENCE


async def test_a_compressed_message_that_was_cancelled_is_sent_all_the_same() -> None:
    """The next one refers to it."""
    ours, theirs = trio.testing.memory_stream_pair()
    faulty = FaultyStream(ours)
    messages = [f"{SENTENCE} {number}" for number in range(4)]
    async with open_pair(stream=faulty, peer_stream=theirs) as (client, server):
        faulty.stall_sending()
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in messages]

            async def send(number: int) -> None:
                with scopes[number]:
                    await client.send_message(messages[number])

            for number in range(4):
                nursery.start_soon(send, number)
                await trio.testing.wait_all_tasks_blocked()
            for scope in scopes:
                scope.cancel()
        faulty.resume_sending()
        await client.send_message("last " * 9)
        received = [await server.get_message() for _ in range(5)]
        assert received == [*messages, "last " * 9]


async def test_a_message_that_nothing_refers_to_is_withdrawn_when_cancelled() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    faulty = FaultyStream(ours)
    options = PerMessageDeflate(client_no_context_takeover=True)
    async with open_pair(options, stream=faulty, peer_stream=theirs) as ends:
        client, server = ends
        faulty.stall_sending()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_message, "first " * 9)
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_when_blocked, scope)
                await client.send_message("never " * 9)
            faulty.resume_sending()
        await client.send_message("last " * 9)
        assert await server.get_message() == "first " * 9
        assert await server.get_message() == "last " * 9


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


# Hostile peers.


@asynccontextmanager
async def open_attack() -> AsyncGenerator[tuple[WebSocketConnection, FrameStream]]:
    """Open a server, and a client that sends what frames it likes."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        await ours.send_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        request = await wrap_server_stream(nursery, theirs, compression="deflate")
        connection = await request.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += await ours.receive_some()
        yield connection, FrameStream(ours, client=True)
        nursery.cancel_scope.cancel()


def compress(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-15)
    compressed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed.removesuffix(TAIL)


@pytest.mark.parametrize("size", [None, 1000], ids=["whole", "fragments"])
async def test_a_bomb_ends_the_connection_with_1009_and_takes_little_memory(
    size: int | None,
) -> None:
    """S-61."""
    bomb = Frame(Opcode.BINARY, compress(bytes(52_428_800)), rsv1=True)
    frames = [bomb] if size is None else bomb.fragment(size)
    async with open_attack() as (connection, attacker):
        await attacker.send_frame(*frames)
        tracemalloc.start()
        try:
            with pytest.raises(ConnectionClosed):
                await connection.get_message()
            assert tracemalloc.get_traced_memory()[1] < 4_194_304
        finally:
            tracemalloc.stop()
        closing = await attacker.receive_frame()
        assert closing.payload[:2] == (1009).to_bytes(2)


@pytest.mark.parametrize(
    ("payload", "code"), [(b"\xff" * 9, 1007), (compress(b"\xff" * 9), 1007)]
)
async def test_what_is_wrong_with_a_compressed_message_ends_the_connection(
    payload: bytes, code: int
) -> None:
    async with open_attack() as (connection, attacker):
        await attacker.send_frame(Frame(Opcode.TEXT, payload, rsv1=True))
        with pytest.raises(ConnectionClosed):
            await connection.get_message()
        closing = await attacker.receive_frame()
        assert closing.payload[:2] == code.to_bytes(2)


# The entry points.


async def test_a_server_compresses_for_clients_that_offer_it() -> None:
    async def echo(request: WebSocketRequest) -> None:
        connection = await request.accept()
        async for message in connection:
            await connection.send_message(message)

    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket, compression="deflate")
        server = await nursery.start(serve, echo, "127.0.0.1", 0, None)
        url = f"ws://127.0.0.1:{server.port}/"
        async with (
            open_websocket_url(url, compression="deflate") as by_url,
            open_websocket(
                "127.0.0.1",
                server.port,
                "/",
                use_ssl=False,
                compression=PerMessageDeflate(),
            ) as by_host,
            open_websocket_url(url) as plain,
        ):
            in_nursery = await connect_websocket_url(
                nursery, url, compression="deflate"
            )
            for client in (by_url, by_host, in_nursery, plain):
                assert (client.compression is None) is (client is plain)
                for message in (SENTENCE, SENTENCE.encode() * 9999):
                    await client.send_message(message)
                    assert await client.get_message() == message
            await in_nursery.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("server", "request_option", "is_agreed"),
    [
        (None, "deflate", True),
        ("deflate", None, False),
        ("deflate", PerMessageDeflate(server_max_window_bits=9), True),
    ],
)
async def test_a_request_may_be_accepted_in_another_way(
    server: Compression, request_option: Compression, *, is_agreed: bool
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def accept() -> None:
        request = await wrap_server_stream(nursery, theirs, compression=server)
        await request.accept(compression=request_option)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        client = await wrap_client_stream(
            nursery, ours, "localhost", "/", compression="deflate"
        )
        assert (client.compression is not None) is is_agreed
        nursery.cancel_scope.cancel()

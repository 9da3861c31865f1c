"""Both sides send at full speed at the same time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from trio_websocket import (
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    open_websocket,
    serve_websocket,
    wrap_client_stream,
    wrap_server_stream,
)

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
OpenStreamPair = Callable[[str], AbstractAsyncContextManager[StreamPair]]

MESSAGE = bytes(range(256)) * 4096  # 1 MiB
MESSAGE_COUNT = 100


@asynccontextmanager
async def open_ends(
    streams: StreamPair,
) -> AsyncGenerator[tuple[WebSocketConnection, WebSocketConnection]]:
    client_stream, server_stream = streams
    ends: list[WebSocketConnection] = []

    async def accept() -> None:
        request = await wrap_server_stream(nursery, server_stream)
        ends.append(await request.accept())

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as opening:
            opening.start_soon(accept)
            client = await wrap_client_stream(nursery, client_stream, "localhost", "/")
        yield client, ends[0]
        nursery.cancel_scope.cancel()


async def send_all(connection: WebSocketConnection) -> None:
    for _ in range(MESSAGE_COUNT):
        await connection.send_message(MESSAGE)


async def receive_all(connection: WebSocketConnection) -> None:
    for _ in range(MESSAGE_COUNT):
        assert await connection.get_message() == MESSAGE


async def talk(streams: StreamPair) -> None:
    async with open_ends(streams) as ends:
        async with trio.open_nursery() as nursery:
            for end in ends:
                nursery.start_soon(send_all, end)
                nursery.start_soon(receive_all, end)
        for end in ends:
            assert end.closed is None
            await end.ping()


@pytest.mark.parametrize("kind", ["socket", "tls"])
async def test_100_mib_each_way_at_once_arrive(
    open_stream_pair: OpenStreamPair, kind: str
) -> None:
    """W1."""
    async with open_stream_pair(kind) as streams:
        await talk(streams)


async def test_100_mib_each_way_arrive_over_a_stream_that_holds_nothing() -> None:
    """W1: each byte that is sent waits until the other side has read it."""
    await talk(trio.testing.lockstep_stream_pair())


async def test_many_small_messages_each_way_arrive_in_order(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    count = 5_000

    async def send_numbers(connection: WebSocketConnection) -> None:
        for number in range(count):
            await connection.send_message(str(number))

    async def receive_numbers(connection: WebSocketConnection) -> None:
        for number in range(count):
            assert await connection.get_message() == str(number)

    async with (
        open_stream_pair(transport) as streams,
        open_ends(streams) as ends,
        trio.open_nursery() as nursery,
    ):
        for end in ends:
            nursery.start_soon(send_numbers, end)
            nursery.start_soon(receive_numbers, end)


async def flood(request: WebSocketRequest) -> None:
    connection = await request.accept()
    while True:
        await connection.send_message(MESSAGE)


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_block_with_unread_messages_can_be_left(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, *, is_secure: bool
) -> None:
    """W2: the server sends without end, and nobody here takes more than one."""
    async with trio.open_nursery() as nursery:
        serve = partial(
            serve_websocket, flood, "127.0.0.1", 0, server_tls if is_secure else None
        )
        server = await nursery.start(serve)
        assert isinstance(server, WebSocketServer)
        async with open_websocket(
            "127.0.0.1", server.port, "/", use_ssl=client_tls if is_secure else False
        ) as connection:
            assert await connection.get_message() == MESSAGE
        assert connection.close_received is not None
        assert connection.close_received.code == 1000
        nursery.cancel_scope.cancel()


async def test_an_unread_flood_stops_where_it_comes_from() -> None:
    """What nobody takes stays with the sender: at most a receive and the queue."""
    sent = 0

    async def count() -> None:
        nonlocal sent
        while True:
            await server.send_message(bytes(100_000))
            sent += 1

    async with (
        open_ends(trio.testing.lockstep_stream_pair()) as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(count)
        await trio.testing.wait_all_tasks_blocked()
        assert sent <= 3
        taken = 10
        for _ in range(taken):
            await client.get_message()
        await trio.testing.wait_all_tasks_blocked()
        assert taken <= sent <= taken + 3
        nursery.cancel_scope.cancel()

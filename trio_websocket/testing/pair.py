"""Both ends of a connection in one task."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
import trio.testing

from .._client.connect import wrap_client_stream
from .._connection.connection import WebSocketConnection
from .._nursery import open_bare_nursery
from .._options import (
    CONN_TIMEOUT,
    MAX_MESSAGE_SIZE,
    MESSAGE_QUEUE_SIZE,
    RECEIVE_BYTES,
    ConnectionOptions,
)
from .._server.serve import wrap_server_stream


@asynccontextmanager
async def open_connection_pair(
    *,
    path: str = "/",
    subprotocol: str | None = None,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    disconnect_timeout: float = CONN_TIMEOUT,
) -> AsyncGenerator[tuple[WebSocketConnection, WebSocketConnection]]:
    """Open a client and a server that are connected in memory.

    Both are the real thing, after a real opening handshake; only the stream between
    them is in memory. No network and no real time is needed, so a test that uses a
    mock clock always runs in the same way::

        async def test_the_greeter_greets(autojump_clock):
            async with open_connection_pair() as (client, server):
                await client.send_message("Ada")
                await greet(server)
                assert await client.get_message() == "Hello, Ada!"

    When the block is left, both ends are closed with 1000. An exception leaves the
    block as it is, never in a group.

    Args:
        path: What the client asks for: path and query.
        subprotocol: A subprotocol that the client offers and the server accepts.
        message_queue_size: How many received messages may wait unread at each end.
        max_message_size: The most bytes of a message that each end receives.
        receive_buffer_size: The most bytes that each end reads at once; None leaves the
            choice to the stream.
        disconnect_timeout: Seconds for the whole closing of each end.

    Yields:
        The client's end and the server's end, both open.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value cannot be used.

    """
    options = ConnectionOptions(
        message_queue_size=message_queue_size,
        max_message_size=max_message_size,
        receive_buffer_size=receive_buffer_size,
        disconnect_timeout=disconnect_timeout,
    )
    connections: list[WebSocketConnection] = []

    def close(_error: BaseException | None) -> None:
        if not connections:
            nursery.cancel_scope.cancel()
        for connection in connections:
            nursery.start_soon(connection.aclose)

    async with open_bare_nursery(close) as nursery:
        client, server = await _connect(nursery, path, subprotocol, options)
        connections += client, server
        yield client, server


async def _connect(
    nursery: trio.Nursery,
    path: str,
    subprotocol: str | None,
    options: ConnectionOptions,
) -> tuple[WebSocketConnection, WebSocketConnection]:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    send_server, receive_server = trio.open_memory_channel[WebSocketConnection](1)

    async def accept() -> None:
        request = await wrap_server_stream(
            nursery,
            server_stream,
            message_queue_size=options.message_queue_size,
            max_message_size=options.max_message_size,
            receive_buffer_size=options.receive_buffer_size,
            disconnect_timeout=options.disconnect_timeout,
        )
        send_server.send_nowait(await request.accept(subprotocol=subprotocol))

    nursery.start_soon(accept)
    client = await wrap_client_stream(
        nursery,
        client_stream,
        "localhost",
        path,
        subprotocols=None if subprotocol is None else [subprotocol],
        message_queue_size=options.message_queue_size,
        max_message_size=options.max_message_size,
        receive_buffer_size=options.receive_buffer_size,
        disconnect_timeout=options.disconnect_timeout,
    )
    return client, await receive_server.receive()

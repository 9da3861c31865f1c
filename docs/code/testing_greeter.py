"""A program that greets, and its tests for pytest with pytest-trio."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket.testing import FaultyStream, RawPeer, open_connection_pair


async def greet(connection: WebSocketConnection) -> None:
    """Greet everybody who says a name."""
    async for name in connection:
        if isinstance(name, bytes):
            await connection.aclose(1003, "names are text")
        else:
            await connection.send_message(f"Hello, {name}!")


async def test_greets_by_name() -> None:
    """Both ends are here, and no network is between them."""
    async with (
        open_connection_pair() as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(greet, server)
        await client.send_message("Ada")
        assert await client.get_message() == "Hello, Ada!"
        await client.aclose()


async def test_refuses_bytes() -> None:
    """What one end said when it closed is seen at the other."""
    async with open_connection_pair() as (client, server):
        await client.send_message(b"Ada")
        await greet(server)
        assert client.close_received is not None
        assert client.close_received.code == 1003


async def serve_greeter(stream: trio.abc.Stream) -> None:
    """Serve one client on a stream."""
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, stream)
        connection = await request.accept()
        with suppress(ConnectionClosed):
            await greet(connection)


async def test_a_client_that_breaks_the_rules_is_told_so() -> None:
    """A raw peer sends what no library would."""
    client_stream, server_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_greeter, server_stream)
        async with await RawPeer.connect(client_stream) as peer:
            await peer.send_frame(1, b"Ada", masked=False)
            code, _ = await peer.receive_close()
            assert code == 1002


async def test_a_network_that_falls_silent(autojump_clock: MockClock) -> None:
    """A faulty stream stands still; the five seconds pass at once."""
    client_stream, server_stream = memory_stream_pair()
    faulty = FaultyStream(client_stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_greeter, server_stream)
        client = await wrap_client_stream(nursery, faulty, "localhost", "/")
        faulty.stall_receiving()
        await client.send_message("Ada")
        with pytest.raises(trio.TooSlowError), trio.fail_after(5):
            await client.get_message()
        assert autojump_clock.current_time() == 5
        await client.abort()

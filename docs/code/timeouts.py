"""Time limits of a program's own."""

from __future__ import annotations

import trio

from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    connect_websocket_url,
)


async def connect_soon(nursery: trio.Nursery, url: str) -> WebSocketConnection:
    """Connect within ten seconds or raise `trio.TooSlowError`."""
    with trio.fail_after(10):
        return await connect_websocket_url(nursery, url)


async def get_answer(connection: WebSocketConnection) -> str | bytes | None:
    """Wait five seconds for a message; None if there is none."""
    with trio.move_on_after(5):
        return await connection.get_message()
    return None


async def send_in_time(connection: WebSocketConnection, message: str) -> None:
    """Give up a peer that does not take a message within five seconds."""
    with trio.move_on_after(5) as scope:
        await connection.send_message(message)
    if scope.cancelled_caught:
        await connection.abort()


async def heartbeat(connection: WebSocketConnection) -> None:
    """Give up a peer that does not answer a ping within ten seconds."""
    try:
        while True:
            await trio.sleep(30)
            with trio.fail_after(10):
                await connection.ping()
    except trio.TooSlowError:
        await connection.abort()
    except ConnectionClosed:
        pass


async def echo(connection: WebSocketConnection) -> None:
    """Send every message back, as long as the peer is alive."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heartbeat, connection)
        async for message in connection:
            await connection.send_message(message)
        nursery.cancel_scope.cancel()

"""A client that comes back when its connection is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    open_websocket_url,
)


async def stay_connected(
    url: str, talk: Callable[[WebSocketConnection], Awaitable[object]]
) -> None:
    """Run a function with a connection, again and again, until it returns."""
    delay = 1.0
    while True:
        try:
            async with open_websocket_url(url) as connection:
                delay = 1.0
                await talk(connection)
                return
        except (ConnectionClosed, HandshakeError):
            await trio.sleep(delay)
            delay = min(2 * delay, 60)

"""A client that comes back when its connection is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import trio

from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection

Open = Callable[[], AbstractAsyncContextManager[WebSocketConnection]]
Talk = Callable[[WebSocketConnection], Awaitable[object]]


async def stay_connected(open_connection: Open, talk: Talk) -> None:
    """Open a connection and talk, again and again, until ``talk`` returns."""
    delay = 1.0
    while True:
        try:
            async with open_connection() as connection:
                delay = 1.0
                await talk(connection)
                return
        except (ConnectionClosed, HandshakeError):
            await trio.sleep(delay)
            delay = min(2 * delay, 60)

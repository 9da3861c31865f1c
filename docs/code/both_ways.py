"""One connection, two tasks: one listens, one speaks."""

from __future__ import annotations

from collections.abc import Callable

import trio

from trio_websocket import WebSocketConnection

Hear = Callable[[str | bytes], object]


async def listen(connection: WebSocketConnection, hear: Hear) -> None:
    """Hear what comes, until the connection is closed."""
    async for message in connection:
        hear(message)


async def talk(connection: WebSocketConnection, hear: Hear) -> None:
    """Speak once a second, and listen all the time."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, connection, hear)
        for number in range(3):
            await connection.send_message(f"message {number}")
            await trio.sleep(1)
        await connection.aclose()

"""One connection, two tasks: one listens, one speaks."""

from __future__ import annotations

import trio

from trio_websocket import WebSocketConnection


async def listen(connection: WebSocketConnection, heard: list[str | bytes]) -> None:
    """Note down what comes, until the connection is closed."""
    async for message in connection:
        heard.append(message)


async def talk(connection: WebSocketConnection) -> list[str | bytes]:
    """Speak once a second and listen all the time."""
    heard: list[str | bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, connection, heard)
        for number in range(3):
            await connection.send_message(f"message {number}")
            await trio.sleep(1)
        await connection.aclose()
    return heard

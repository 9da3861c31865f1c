"""A thread that sends through a connection of the Trio thread."""

from __future__ import annotations

import trio

from trio_websocket import WebSocketConnection


def count(connection: WebSocketConnection, limit: int) -> None:
    """Count aloud. This runs in a thread, so it may block as long as it likes."""
    for number in range(limit):
        trio.from_thread.run(connection.send_message, str(number))


async def count_in_thread(connection: WebSocketConnection) -> None:
    """Run the counting in a thread, while other tasks go on."""
    await trio.to_thread.run_sync(count, connection, 3)

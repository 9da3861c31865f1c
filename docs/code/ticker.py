"""A handler that only sends."""

from __future__ import annotations

import trio

from trio_websocket import WebSocketRequest


async def tick(request: WebSocketRequest) -> None:
    """Send the time until the client leaves."""
    connection = await request.accept()
    async with connection.cancel_on_close(discard=True):
        while True:
            await connection.send_message(str(trio.current_time()))
            await trio.sleep(1)

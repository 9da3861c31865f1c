"""Send each message to everybody, and wait for nobody."""

from __future__ import annotations

import trio

from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest


class Room:
    """Those who want to hear everything."""

    def __init__(self) -> None:
        self.members: set[WebSocketConnection] = set()

    async def handle(self, request: WebSocketRequest) -> None:
        """Accept a client and send its messages to everybody."""
        connection = await request.accept()
        self.members.add(connection)
        try:
            async for message in connection:
                await self.send_to_all(message)
        finally:
            self.members.remove(connection)

    async def send_to_all(self, message: str | bytes) -> None:
        """Send a message to everybody at the same time."""
        async with trio.open_nursery() as nursery:
            for member in self.members:
                nursery.start_soon(self._send, member, message)

    async def _send(self, member: WebSocketConnection, message: str | bytes) -> None:
        with trio.move_on_after(5) as scope:
            try:
                await member.send_message(message)
            except ConnectionClosed:
                return
        if scope.cancelled_caught:
            await member.abort()

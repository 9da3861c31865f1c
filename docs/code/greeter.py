"""The program under test on the page about testing."""

from __future__ import annotations

from trio_websocket import WebSocketConnection


async def greet(connection: WebSocketConnection) -> None:
    """Greet everybody who says a name."""
    async for name in connection:
        if isinstance(name, bytes):
            await connection.aclose(1003, "names are text")
        else:
            await connection.send_message(f"Hello, {name}!")

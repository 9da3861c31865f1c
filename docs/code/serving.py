"""A server among other tasks of a program."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from trio_websocket import WebSocketRequest, WebSocketServer, serve_websocket


@asynccontextmanager
async def open_server(
    handler: Callable[[WebSocketRequest], Awaitable[object]],
) -> AsyncGenerator[int]:
    """Serve in the background of a block, on a port that the block is given."""
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket, handler, "127.0.0.1", 0, None
        )
        yield server.port
        nursery.cancel_scope.cancel()

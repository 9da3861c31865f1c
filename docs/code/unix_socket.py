"""A server and a client over a Unix socket."""

from __future__ import annotations

from typing import NoReturn

import trio

from trio_websocket import (
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    wrap_client_stream,
)


async def greet(request: WebSocketRequest) -> None:
    """Greet a client."""
    connection = await request.accept()
    await connection.send_message("hello")


async def serve(
    path: str, *, task_status: trio.TaskStatus[WebSocketServer]
) -> NoReturn:
    """Serve at a path of the file system."""
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(path)
        listening.listen()
        server = WebSocketServer(greet, [trio.SocketListener(listening)])
        await server.run(task_status=task_status)


async def connect(nursery: trio.Nursery, path: str) -> WebSocketConnection:
    """Connect to such a server."""
    stream = await trio.open_unix_socket(path)
    return await wrap_client_stream(nursery, stream, "localhost", "/")

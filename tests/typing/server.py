"""What type checkers say of the server's entry points; checked and never run."""

from __future__ import annotations

from functools import partial
from typing import assert_type

import trio

from trio_websocket import (
    Endpoint,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    serve_websocket,
    server_ssl_context,
    wrap_server_stream,
)


async def handle(request: WebSocketRequest) -> None:
    assert_type(request.headers, list[tuple[bytes, bytes]])
    assert_type(request.path, str)
    assert_type(request.proposed_subprotocols, tuple[str, ...])
    assert_type(request.local, Endpoint | str)
    assert_type(request.remote, Endpoint | str)
    if request.path == "/forbidden":
        await request.reject(403, extra_headers={"X-Why": "because"}, body=b"no")
        return
    connection = await request.accept(subprotocol="chat", extra_headers=[(b"a", b"b")])
    assert_type(connection, WebSocketConnection)


async def serve(nursery: trio.Nursery, stream: trio.abc.Stream) -> None:
    start = partial(serve_websocket, handle, None, 0, server_ssl_context("file"))
    server: WebSocketServer = await nursery.start(start)
    assert_type(server.port, int)
    assert_type(server.listeners, list[Endpoint | str])
    request = await wrap_server_stream(nursery, stream, 1, 2**20, 2**16)
    assert_type(request, WebSocketRequest)


def make_mistakes(listeners: list[trio.SocketListener]) -> None:
    WebSocketServer(handle, listeners)
    WebSocketServer(handle)  # type: ignore[call-arg]
    WebSocketServer(handle, listeners, on_handler_error="explode")  # type: ignore[arg-type]

"""What goes through a connection that is used as a stream of bytes."""

from __future__ import annotations

import ssl

import trio

from trio_websocket import WebSocketConnection, wrap_client_stream


def add_tls(
    connection: WebSocketConnection, context: ssl.SSLContext, host: str
) -> trio.SSLStream[trio.abc.Stream]:
    """Speak TLS through a connection, as the client."""
    return trio.SSLStream(connection.as_stream(), context, server_hostname=host)


async def open_inner(
    nursery: trio.Nursery, connection: WebSocketConnection
) -> WebSocketConnection:
    """Open a second WebSocket through a connection."""
    stream = connection.as_stream()
    return await wrap_client_stream(nursery, stream, "inner.example", "/chat")

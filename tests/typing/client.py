"""What type checkers say of the client's entry points; checked and never run."""

from __future__ import annotations

import ssl
from contextlib import AbstractAsyncContextManager
from typing import assert_type

import trio

from trio_websocket import (
    WebSocketConnection,
    client_ssl_context,
    connect_websocket,
    connect_websocket_url,
    open_websocket,
    open_websocket_url,
    wrap_client_stream,
)


async def open_in_every_way(nursery: trio.Nursery, stream: trio.abc.Stream) -> None:
    async with open_websocket("h", 80, "/", use_ssl=False) as connection:
        assert_type(connection, WebSocketConnection)
    async with open_websocket_url("wss://h/", client_ssl_context()) as connection:
        assert_type(connection, WebSocketConnection)
    assert_type(
        await connect_websocket(nursery, "h", 80, "/", use_ssl=True),
        WebSocketConnection,
    )
    assert_type(await connect_websocket_url(nursery, "ws://h/"), WebSocketConnection)
    assert_type(
        await wrap_client_stream(nursery, stream, "h", "/"), WebSocketConnection
    )


async def give_every_option(nursery: trio.Nursery, context: ssl.SSLContext) -> None:
    open_websocket(
        "h",
        80,
        "/",
        use_ssl=context,
        subprotocols=["a"],
        extra_headers=[(b"a", b"b")],
        message_queue_size=1,
        max_message_size=float("inf"),
        receive_buffer_size=None,
        connect_timeout=1.5,
        disconnect_timeout=1,
    )
    await connect_websocket_url(nursery, "wss://h", context, disconnect_timeout=1)


def give_headers_in_every_form(
    pairs: list[tuple[bytes, bytes]], mapping: dict[str, str], mixed: dict[str, bytes]
) -> None:
    open_websocket_url("ws://h", extra_headers=pairs)
    open_websocket_url("ws://h", extra_headers=mapping)
    open_websocket_url("ws://h", extra_headers=mixed)
    open_websocket_url("ws://h", extra_headers=(("a", b"b"), (b"c", "d")))
    open_websocket_url("ws://h", extra_headers={"Authorization": "Bearer x"})


def name_the_type_of_an_opening() -> AbstractAsyncContextManager[WebSocketConnection]:
    return open_websocket("h", 80, "/", use_ssl=False)


async def make_mistakes(nursery: trio.Nursery) -> None:
    open_websocket("h", 80, "/")  # type: ignore[call-arg]
    open_websocket("h", "80", "/", use_ssl=False)  # type: ignore[arg-type]
    open_websocket("h", 80, "/", use_ssl=None)  # type: ignore[arg-type]
    open_websocket_url("ws://h", extra_headers=1)  # type: ignore[arg-type]
    open_websocket_url("ws://h", receive_buffer_size=1.5)  # type: ignore[arg-type]
    await connect_websocket_url(nursery, "ws://h", connect_timeout=1)  # type: ignore[call-arg]
    await connect_websocket_url(nursery, "ws://h", disconnect_timeout="1")  # type: ignore[arg-type]

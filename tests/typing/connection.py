"""What type checkers say of a connection; checked and never run."""

from __future__ import annotations

from typing import assert_type

import trio

from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionRejected,
    ConnectionState,
    Endpoint,
    WebSocketConnection,
)


async def use(connection: WebSocketConnection) -> None:
    assert_type(await connection.get_message(), str | bytes)
    assert_type(await connection.receive(), str | bytes)
    async for message in connection:
        assert_type(message, str | bytes)
    await connection.send_message("text")
    await connection.send_message(memoryview(b"bytes"))
    await connection.send("text")
    await connection.send_text("text")
    await connection.send_text(b"bytes")  # type: ignore[arg-type]
    await connection.send_bytes(memoryview(b"bytes"))
    await connection.send_bytes("text")  # type: ignore[arg-type]
    assert_type(await connection.get_text(), str)
    assert_type(await connection.get_bytes(), bytes)
    assert_type(await connection.ping(), float)
    await connection.pong(b"payload")
    await connection.aclose(1000, "bye")
    await connection.aclose(None)
    await connection.abort()
    await connection.wait_closed()
    async with connection.cancel_on_close(discard=True) as nothing:
        assert_type(nothing, None)


def look_at(connection: WebSocketConnection) -> None:
    assert_type(connection.closed, CloseReason | None)
    assert_type(connection.close_sent, CloseReason | None)
    assert_type(connection.close_received, CloseReason | None)
    assert_type(connection.local, Endpoint | str)
    assert_type(connection.remote, Endpoint | str)
    assert_type(connection.path, str)
    assert_type(connection.subprotocol, str | None)
    assert_type(connection.handshake_headers, tuple[tuple[bytes, bytes], ...])
    assert_type(connection.latency, float | None)
    assert_type(connection.state, ConnectionState)
    assert_type(connection.is_client, bool)
    assert_type(connection.is_server, bool)


def use_as_a_channel(
    connection: WebSocketConnection,
) -> trio.abc.Channel[str | bytes]:
    return connection


def read_errors(
    closed: ConnectionClosed, rejected: ConnectionRejected, failed: ConnectionFailed
) -> OSError:
    assert_type(closed.reason, CloseReason | None)
    assert_type(rejected.status_code, int)
    assert_type(rejected.headers, tuple[tuple[bytes, bytes], ...])
    assert_type(rejected.body, bytes | None)
    assert_type(failed.target, str)
    return failed


class Closed(ConnectionClosed):
    """A subclass as Selenium's: it calls nobody."""

    def __init__(self, reason: CloseReason) -> None:
        self.reason = reason


async def make_mistakes(connection: WebSocketConnection) -> None:
    await connection.send_message(1)  # type: ignore[arg-type]
    await connection.ping("text")  # type: ignore[call-overload]
    connection.path = "/"  # type: ignore[misc]

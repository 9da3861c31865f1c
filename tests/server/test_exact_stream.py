"""Serving a stream that must be told at each call how much to receive."""

from __future__ import annotations

import logging
from typing import cast

import pytest
import trio
import trio.testing

from trio_websocket import (
    InvalidHandshake,
    WebSocketRequest,
    WebSocketServer,
    wrap_server_stream,
)
from trio_websocket.testing import RawPeer

Clock = trio.testing.MockClock

REQUEST = (
    b"GET / HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)


class ExactStream:
    """A stream that keeps to the letter of Trio's documentation and goes no further.

    It is told at each call how much to receive, or None: there is no default.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError

    async def receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


trio.abc.Stream.register(ExactStream)


class OneStreamListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener with one client, and none after it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._streams = [stream]

    async def accept(self) -> trio.abc.Stream:
        if not self._streams:
            await trio.sleep_forever()
        return self._streams.pop()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def open_pair() -> tuple[RawPeer, trio.abc.Stream]:
    client, server = trio.testing.memory_stream_pair()
    return RawPeer(client), cast("trio.abc.Stream", ExactStream(server))


async def reject(request: WebSocketRequest) -> None:
    await request.reject(404)


async def echo_once(request: WebSocketRequest) -> None:
    connection = await request.accept()
    await connection.send_message(await connection.get_message())


async def test_a_bad_request_on_it_is_answered_and_raised(
    autojump_clock: Clock,
) -> None:
    peer, stream = open_pair()
    await peer.send_bytes(b"hello\r\n\r\n")
    async with trio.open_nursery() as nursery:
        with pytest.raises(InvalidHandshake):
            await wrap_server_stream(nursery, stream)
    assert (await peer.receive_eof()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_a_request_on_it_can_be_rejected(autojump_clock: Clock) -> None:
    peer, stream = open_pair()
    await peer.send_bytes(REQUEST)
    async with trio.open_nursery() as nursery:
        await reject(await wrap_server_stream(nursery, stream))
    assert (await peer.receive_eof()).startswith(b"HTTP/1.1 404 Not Found\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "first_line"),
    [
        (REQUEST, b"HTTP/1.1 404 Not Found\r\n"),
        (REQUEST.replace(b"GET", b"PUT"), b"HTTP/1.1 405 Method Not Allowed\r\n"),
    ],
)
async def test_a_server_says_no_on_it(
    request_bytes: bytes,
    first_line: bytes,
    autojump_clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer, stream = open_pair()
    server = WebSocketServer(reject, [OneStreamListener(stream)])
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        await peer.send_bytes(request_bytes)
        assert (await peer.receive_eof()).startswith(first_line)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_a_server_speaks_on_it(autojump_clock: Clock) -> None:
    peer, stream = open_pair()
    server = WebSocketServer(echo_once, [OneStreamListener(stream)])
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        client = await RawPeer.connect(peer.stream)
        await client.send_text("hello")
        frame = await client.receive_frame()
        assert frame.payload == b"hello"
        assert await client.receive_close() == (1000, "")
        nursery.cancel_scope.cancel()

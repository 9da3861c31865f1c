"""A client on real sockets, over TLS, and over streams of every kind."""

from __future__ import annotations

import gc
import logging
import ssl
import sys
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionRejected,
    Endpoint,
    InvalidHandshake,
    WebSocketConnection,
    WebSocketRequest,
    client_ssl_context,
    connect_websocket,
    connect_websocket_url,
    open_websocket,
    open_websocket_url,
    serve_websocket,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket.testing import RawPeer

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
OpenStreamPair = Callable[[str], AbstractAsyncContextManager[StreamPair]]


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def check(connection: WebSocketConnection) -> None:
    """Whether a connection to an echo does what it should."""
    for message in "text", "", b"bytes", b"", "ü" * 100_000, bytes(2**20):
        await connection.send_message(message)
        assert await connection.get_message() == message
    assert await connection.ping() > 0
    assert await connection.ping(b"payload") == connection.latency
    await connection.pong()


class Echo:
    """An echo server that listens, in the clear or over TLS.

    Attributes:
        scheme: The scheme of its URL.
        port: Its port.
        client_tls: The context for a client, or None.

    """

    def __init__(self, port: int, client_tls: ssl.SSLContext | None) -> None:
        self.scheme = "ws" if client_tls is None else "wss"
        self.port = port
        self.client_tls = client_tls

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/"

    @property
    def use_ssl(self) -> bool | ssl.SSLContext:
        return False if self.client_tls is None else self.client_tls


@pytest.fixture(params=["ws", "wss"])
async def server(
    request: pytest.FixtureRequest,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    nursery: trio.Nursery,
) -> Echo:
    is_secure = request.param == "wss"
    serve = partial(
        serve_websocket,
        echo,
        "localhost",
        0,
        server_tls if is_secure else None,
        max_message_size=2**24,
    )
    started = await nursery.start(serve)
    endpoint = started.listeners[0]
    assert isinstance(endpoint, Endpoint)
    return Echo(endpoint.port, client_tls if is_secure else None)


async def test_open_websocket_works(server: Echo) -> None:
    async with open_websocket(
        "localhost", server.port, "/", use_ssl=server.use_ssl
    ) as client:
        await check(client)
    assert client.closed is not None
    assert client.closed.code == 1000


async def test_open_websocket_url_works(server: Echo) -> None:
    async with open_websocket_url(server.url, server.client_tls) as client:
        await check(client)


async def test_connect_websocket_works(server: Echo) -> None:
    # S-81
    async with trio.open_nursery() as nursery:
        client = await connect_websocket(
            nursery, "localhost", server.port, "/", use_ssl=server.use_ssl
        )
        assert len(nursery.child_tasks) == 1
        await check(client)
        await client.aclose(4000, "bye")
    assert client.close_received is not None
    assert client.close_received.code == 4000


async def test_connect_websocket_url_works(server: Echo) -> None:
    async with trio.open_nursery() as nursery:
        client = await connect_websocket_url(nursery, server.url, server.client_tls)
        async with client:
            await check(client)


async def test_both_ends_are_known_before_and_after_the_close(server: Echo) -> None:
    async with open_websocket_url(server.url, server.client_tls) as client:
        remote = client.remote
        assert isinstance(remote, Endpoint)
        assert remote.port == server.port
        assert remote.is_ssl == (server.scheme == "wss")
        local = client.local
        assert isinstance(local, Endpoint)
    assert client.remote is remote
    assert client.local is local


async def test_a_context_that_verifies_nothing_connects_to_anybody(
    server: Echo,
) -> None:
    # S-7
    context = client_ssl_context(verify=False) if server.client_tls else None
    async with open_websocket_url(server.url, context) as client:
        await client.send_message("hello")
        assert await client.get_message() == "hello"


async def test_many_clients_are_served_at_the_same_time(server: Echo) -> None:
    async def converse(number: int) -> None:
        async with open_websocket_url(server.url, server.client_tls) as client:
            await client.send_message(str(number))
            assert await client.get_message() == str(number)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(converse, number)


UNIX = pytest.param(
    "unix",
    marks=pytest.mark.skipif(sys.platform == "win32", reason="they are TCP there"),
)


@pytest.mark.parametrize("kind", ["memory", "tls", "socket", UNIX, "tls in memory"])
async def test_a_stream_of_any_kind_can_be_wrapped(
    kind: str,
    open_stream_pair: OpenStreamPair,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    # S-82, W16
    async with (
        open_streams(kind, open_stream_pair, server_tls, client_tls) as (
            client_end,
            server_end,
        ),
        trio.open_nursery() as nursery,
    ):
        ends: list[Endpoint | str] = []

        async def serve() -> None:
            request = await wrap_server_stream(nursery, server_end)
            await echo(request)
            ends.extend([request.local, request.remote])

        nursery.start_soon(serve)
        client = await wrap_client_stream(nursery, client_end, "localhost", "/x?y")
        before = [client.local, client.remote]
        await check(client)
        await client.aclose()
        ends.extend([client.local, client.remote])
        assert ends[-2:] == before
        assert client.path == "/x?y"
    expected = Endpoint if kind in {"tls", "socket"} else str
    assert all(isinstance(end, expected) for end in ends)
    assert len(ends) == 4


@asynccontextmanager
async def open_streams(
    kind: str,
    open_stream_pair: OpenStreamPair,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> AsyncGenerator[StreamPair]:
    match kind:
        case "unix":
            left, right = trio.socket.socketpair()
            yield trio.SocketStream(left), trio.SocketStream(right)
        case "tls in memory":
            left_end, right_end = trio.testing.memory_stream_pair()
            yield (
                trio.SSLStream(left_end, client_tls, server_hostname="localhost"),
                trio.SSLStream(right_end, server_tls, server_side=True),
            )
        case _:
            async with open_stream_pair(kind) as pair:
                yield pair


async def wrap_both(
    nursery: trio.Nursery,
    pair: StreamPair,
    receive_buffer_size: int,
    behind: bytes = b"",
) -> tuple[WebSocketConnection, RawPeer]:
    """Make a client, and a raw peer that sends something behind its answer."""
    clients: list[WebSocketConnection] = []

    async def wrap() -> None:
        clients.append(
            await wrap_client_stream(
                nursery, pair[0], "h", "/", receive_buffer_size=receive_buffer_size
            )
        )

    async with trio.open_nursery() as opening:
        opening.start_soon(wrap)
        peer = await RawPeer.accept(pair[1], behind=behind)
    return clients[0], peer


@pytest.mark.parametrize("size", [1, 16])
async def test_what_tls_has_decrypted_already_is_not_forgotten(
    size: int, open_stream_pair: OpenStreamPair
) -> None:
    # S-1
    async with open_stream_pair("tls") as pair, trio.open_nursery() as nursery:
        client, peer = await wrap_both(nursery, pair, size)
        await peer.send_bytes(b"".join(b"\x81\x03%03d" % n for n in range(100)))
        received = [await client.get_message() for _ in range(100)]
        assert received == [f"{n:03}" for n in range(100)]
        await client.abort()


async def test_a_large_message_over_tls_arrives_whole(
    open_stream_pair: OpenStreamPair,
) -> None:
    # S-2
    async with open_stream_pair("tls") as pair, trio.open_nursery() as nursery:
        client, peer = await wrap_both(nursery, pair, 4096)
        data = bytes(range(256)) * 4096
        nursery.start_soon(peer.send_frame, 2, data[:-1])
        assert await client.get_message() == data[:-1]
        await client.abort()


async def test_messages_that_come_with_the_answer_are_not_lost(
    transport: str, open_stream_pair: OpenStreamPair
) -> None:
    # S-3
    async with open_stream_pair(transport) as pair, trio.open_nursery() as nursery:
        frames = b"\x81\x01a\x81\x01b\x81\x01c"
        client, _ = await wrap_both(nursery, pair, 65536, behind=frames)
        assert [await client.get_message() for _ in range(3)] == ["a", "b", "c"]
        await client.abort()


async def test_a_message_in_front_of_the_end_of_the_stream_is_delivered(
    transport: str, open_stream_pair: OpenStreamPair
) -> None:
    # S-4
    async with open_stream_pair(transport) as pair, trio.open_nursery() as nursery:
        client, peer = await wrap_both(nursery, pair, 65536)
        await peer.send_text("the last word")
        nursery.start_soon(pair[1].aclose)  # over TLS, after its close_notify
        assert await client.get_message() == "the last word"
        with pytest.raises(ConnectionClosed) as caught:
            await client.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1006


class DevtoolsClosed(ConnectionClosed):
    """The exception of a program that never calls ours."""

    def __init__(self, reason: CloseReason | None) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.reason}>"


async def test_seleniums_way_works(server: Echo) -> None:
    received: list[str | bytes] = []
    ends: list[DevtoolsClosed] = []

    async def read(client: WebSocketConnection) -> None:
        while True:
            try:
                received.append(await client.get_message())
            except ConnectionClosed as closed:
                ends.append(DevtoolsClosed(closed.reason))
                break

    async with trio.open_nursery() as nursery:
        client = await connect_websocket_url(
            nursery, server.url, server.client_tls, max_message_size=2**24
        )
        nursery.start_soon(read, client)
        for number in range(10):
            await client.send_message(f'{{"id": {number}}}')
        await client.send_message(bytes(2**24))
        while len(received) < 11:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await client.aclose()
    assert received[:2] == ['{"id": 0}', '{"id": 1}']
    assert received[10] == bytes(2**24)
    assert "CloseReason<code=1000" in repr(ends[0])
    assert str(ends[0]) == f"the connection is closed: {ends[0].reason}"


async def end_every_way(server: Echo, port_of_trouble: int) -> None:
    """End connections in many ways, rude ones among them."""
    async with open_websocket_url(server.url, server.client_tls):
        pass
    with trio.CancelScope() as scope:
        async with open_websocket_url(server.url, server.client_tls):
            scope.cancel()
            await trio.sleep_forever()
    async with trio.open_nursery() as nursery:
        client = await connect_websocket_url(nursery, server.url, server.client_tls)
        await client.abort()
    async with trio.open_nursery() as nursery:
        await connect_websocket_url(nursery, server.url, server.client_tls)
        nursery.cancel_scope.cancel()
    url = f"ws://127.0.0.1:{port_of_trouble}"
    for path, error in (
        ("/garbage", InvalidHandshake),
        ("/reject", ConnectionRejected),
        ("/hang-up", ConnectionFailed),
    ):
        with pytest.raises(error):
            await open_websocket_url(url + path).__aenter__()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect_websocket_url, nursery, f"{url}/silent")
            await trio.testing.wait_all_tasks_blocked(0.01)
            scope.cancel()


async def make_trouble(stream: trio.SocketStream) -> None:
    peer = RawPeer(stream)
    match (await peer.receive_head()).split()[1]:
        case b"/garbage":
            await peer.send_bytes(b"garbage\r\n\r\n")
        case b"/reject":
            await peer.send_bytes(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        case b"/silent":
            await peer.receive_eof()
        case _:
            pass


async def test_no_socket_is_left_open(server: Echo, nursery: trio.Nursery) -> None:
    # T14; the sockets of both sides are here
    serve_trouble = partial(trio.serve_tcp, make_trouble, 0, host="127.0.0.1")
    [listener] = await nursery.start(serve_trouble)
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await end_every_way(server, listener.socket.getsockname()[1])
        await trio.testing.wait_all_tasks_blocked(0.01)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_what_happens_is_logged_for_those_who_debug(
    server: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio-websocket")
    async with open_websocket_url(server.url, server.client_tls) as client:
        pass
    ours = [record for record in caplog.records if record.name == "trio-websocket"]
    assert {record.levelno for record in ours} == {logging.DEBUG}
    messages = [record.getMessage() for record in ours]
    assert f"connecting to localhost:{server.port}" in messages
    assert any(message.startswith(f"{client} ") for message in messages)

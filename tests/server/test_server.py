from __future__ import annotations

import logging
import math
import socket
import ssl
from pathlib import Path
from typing import Protocol, cast

import pytest
import trio
import trio.testing

from trio_websocket import Endpoint, WebSocketRequest, WebSocketServer
from trio_websocket._server.session import Handler
from trio_websocket.testing import FaultyStream, RawPeer

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


class MakeServer(Protocol):
    def __call__(
        self, handler: Handler, listeners: list[MemoryListener], **options: object
    ) -> object: ...


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener in memory."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](math.inf)
        self.is_closed = False

    def __repr__(self) -> str:
        return "<a listener in memory>"

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        self.is_closed = True
        await self._receive.aclose()

    def dial(self) -> trio.abc.Stream:
        client_stream, server_stream = trio.testing.memory_stream_pair()
        self._send.send_nowait(server_stream)
        return client_stream

    def offer(self, stream: trio.abc.Stream) -> None:
        self._send.send_nowait(stream)

    async def connect(self) -> RawPeer:
        return await RawPeer.connect(self.dial())


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def hold(request: WebSocketRequest) -> None:
    await request.accept()
    await trio.sleep_forever()


async def check_echo(peer: RawPeer) -> None:
    await peer.send_text("hello")
    assert (await peer.receive_frame()).payload == b"hello"


async def listen(family: socket.AddressFamily, address: object) -> trio.SocketListener:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    await sock.bind(address)
    sock.listen()
    return trio.SocketListener(sock)


# Its listeners (T-06).


def test_a_server_needs_a_listener() -> None:
    with pytest.raises(ValueError, match="at least one listener"):
        WebSocketServer(echo, [])


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"max_message_size": -1}, ValueError, "max_message_size must be 0 or more"),
        ({"connect_timeout": math.nan}, ValueError, "connect_timeout must be 0 or"),
        ({"shutdown_timeout": -1}, ValueError, "shutdown_timeout must be 0 or more"),
        ({"shutdown_timeout": "1"}, TypeError, "shutdown_timeout must be a number"),
        (
            {"on_handler_error": "ignore"},
            ValueError,
            "on_handler_error must be 'log', 'raise' or a function, not 'ignore'",
        ),
        ({"on_handler_error": []}, ValueError, "on_handler_error must be"),
        ({"colour": 1}, TypeError, "colour"),
    ],
)
def test_a_server_checks_its_options(
    options: dict[str, object], error: type[Exception], sentence: str
) -> None:
    make = cast("MakeServer", WebSocketServer)
    with pytest.raises(error, match=sentence):
        make(echo, [MemoryListener()], **options)


async def test_a_server_with_a_tcp_listener_has_its_port() -> None:
    async with await listen(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        server = WebSocketServer(echo, (listener,))
        number = listener.socket.getsockname()[1]
        assert server.port == number
        [endpoint] = server.listeners
        assert repr(endpoint) == (
            f'Endpoint(address="127.0.0.1", port={number}, is_ssl=False)'
        )


async def test_a_server_with_a_tls_listener_has_its_port(
    server_tls: ssl.SSLContext,
) -> None:
    async with await listen(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        tls_listener = trio.SSLListener(listener, server_tls)
        server = WebSocketServer(echo, [tls_listener])
        [endpoint] = server.listeners
        assert isinstance(endpoint, Endpoint)
        assert endpoint.is_ssl
        assert endpoint.port == server.port == listener.socket.getsockname()[1]


async def test_a_server_with_several_listeners_has_no_one_port() -> None:
    listeners = [MemoryListener(), MemoryListener()]
    server = WebSocketServer(echo, listeners)
    assert server.listeners == ["<a listener in memory>"] * 2
    with pytest.raises(RuntimeError, match="several listeners"):
        assert server.port


async def test_a_listener_that_has_no_port_is_named() -> None:
    server = WebSocketServer(echo, [MemoryListener()])
    with pytest.raises(RuntimeError, match="<a listener in memory>"):
        assert server.port


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
async def test_a_unix_listener_has_a_path(tmp_path: Path) -> None:
    # D-11, T15
    path = str(tmp_path / "socket")
    async with await listen(socket.AF_UNIX, path) as listener:
        server = WebSocketServer(echo, [listener])
        assert server.listeners == [f"unix:{path}"]
        with pytest.raises(RuntimeError, match="has no port: unix:"):
            assert server.port


async def test_the_list_of_listeners_is_a_new_one_each_time() -> None:
    server = WebSocketServer(echo, [MemoryListener()])
    server.listeners.clear()
    assert len(server.listeners) == 1


# Running.


async def test_a_server_serves_each_of_its_listeners(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "trio-websocket")
    listeners = [MemoryListener(), MemoryListener()]
    server = WebSocketServer(echo, listeners)
    async with trio.open_nursery() as nursery:
        assert await nursery.start(server.run) is server
        for listener in listeners:
            peer = await listener.connect()
            await check_echo(peer)
            await peer.aclose()
        nursery.cancel_scope.cancel()
    assert "listening on" in caplog.text
    assert [listener.is_closed for listener in listeners] == [True, True]


async def test_a_server_that_is_cancelled_at_once_closes_its_listeners() -> None:
    listeners = [MemoryListener(), MemoryListener()]
    with trio.CancelScope() as scope:
        scope.cancel()
        await WebSocketServer(echo, listeners).run()
    assert scope.cancelled_caught
    assert [listener.is_closed for listener in listeners] == [True, True]


async def test_a_listener_that_fails_ends_the_server() -> None:
    listener = MemoryListener()
    await listener.aclose()
    with pytest.RaisesGroup(trio.ClosedResourceError, flatten_subgroups=True):
        await WebSocketServer(echo, [listener]).run()


async def test_a_server_has_the_options_for_each_connection(
    autojump_clock: Clock,
) -> None:
    async def accept(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await connection.get_message()

    listener = MemoryListener()
    server = WebSocketServer(
        accept, [listener], max_message_size=3, disconnect_timeout=5
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        peer = await listener.connect()
        await peer.send_text("long")
        assert (await peer.receive_close())[0] == 1009
        peer = await listener.connect()
        start = trio.current_time()
        await peer.send_text("a")
        assert (await peer.receive_close())[0] == 1000
        assert await peer.receive_eof() == b""
        assert trio.current_time() - start == 5
        nursery.cancel_scope.cancel()


# The end of a server (D-9).


async def end_server(
    handler: Handler,
    peers: list[RawPeer],
    listener: MemoryListener,
    *,
    shutdown_timeout: float = 1,
    disconnect_timeout: float = 60,
    count: int = 3,
) -> float:
    """Cancel a server with so many clients, and tell how many seconds it takes."""
    server = WebSocketServer(
        handler,
        [listener],
        shutdown_timeout=shutdown_timeout,
        disconnect_timeout=disconnect_timeout,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        peers += [await listener.connect() for _ in range(count)]
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        start = trio.current_time()
    return trio.current_time() - start


async def test_clients_that_answer_hold_a_cancelled_server_no_longer(
    autojump_clock: Clock,
) -> None:
    heard: list[tuple[int | None, str]] = []

    async def answer(peer: RawPeer) -> None:
        heard.append(await peer.receive_close())
        await peer.send_close(1001)
        assert await peer.receive_eof() == b""

    listener = MemoryListener()
    server = WebSocketServer(echo, [listener])
    async with trio.open_nursery() as clients, trio.open_nursery() as nursery:
        await nursery.start(server.run)
        for _ in range(3):
            clients.start_soon(answer, await listener.connect())
        nursery.cancel_scope.cancel()
    assert heard == [(1001, "")] * 3
    assert trio.current_time() == 0


@pytest.mark.parametrize("shutdown_timeout", [0, 0.25, 1, 7])
async def test_clients_that_do_not_answer_share_the_shutdown_timeout(
    autojump_clock: Clock, shutdown_timeout: float
) -> None:
    peers: list[RawPeer] = []
    listener = MemoryListener()
    seconds = await end_server(hold, peers, listener, shutdown_timeout=shutdown_timeout)
    assert seconds == shutdown_timeout
    for peer in peers:
        assert await peer.receive_close() == (1001, "")
        assert await peer.receive_eof() == b""
    assert listener.is_closed


async def test_the_disconnect_timeout_may_end_it_sooner(autojump_clock: Clock) -> None:
    peers: list[RawPeer] = []
    seconds = await end_server(
        hold, peers, MemoryListener(), shutdown_timeout=9, disconnect_timeout=2
    )
    assert seconds == 2


async def test_a_client_that_takes_nothing_is_dropped_at_the_shutdown_timeout(
    autojump_clock: Clock,
) -> None:
    async def send_for_ever(request: WebSocketRequest) -> None:
        connection = await request.accept()
        while True:
            await connection.send_message(bytes(1000))

    client_stream, server_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(server_stream)
    listener = MemoryListener()
    listener.offer(faulty)
    async with trio.open_nursery() as nursery:
        await nursery.start(WebSocketServer(send_for_ever, [listener]).run)
        await RawPeer.connect(client_stream)
        faulty.stall_sending()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 1


async def test_handlers_are_cancelled_at_once(autojump_clock: Clock) -> None:
    times: list[float] = []

    async def note_time(request: WebSocketRequest) -> None:
        await request.accept()
        try:
            await trio.sleep_forever()
        finally:
            times.append(trio.current_time())

    assert await end_server(note_time, [], MemoryListener()) == 1
    assert times == [0, 0, 0]


async def test_a_request_that_was_not_answered_yet_is_dropped(
    autojump_clock: Clock,
) -> None:
    async def think(request: WebSocketRequest) -> None:
        await trio.sleep_forever()

    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(WebSocketServer(think, [listener]).run)
        whole, half = RawPeer(listener.dial()), RawPeer(listener.dial())
        await whole.send_bytes(REQUEST)
        await half.send_bytes(REQUEST[:50])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await whole.receive_eof() == b""
    assert await half.receive_eof() == b""
    assert trio.current_time() == 0


async def test_a_rejection_that_lingers_is_cut_short(autojump_clock: Clock) -> None:
    async def reject(request: WebSocketRequest) -> None:
        await request.reject(404)

    peers: list[RawPeer] = []
    assert await end_server(reject, peers, MemoryListener()) == 0
    assert [peer.head[:12] for peer in peers] == [b"HTTP/1.1 404"] * 3


async def test_a_connection_that_is_closing_gets_no_more_time_than_the_others(
    autojump_clock: Clock,
) -> None:
    async def accept(request: WebSocketRequest) -> None:
        await request.accept()

    peers: list[RawPeer] = []
    assert await end_server(accept, peers, MemoryListener()) == 1
    for peer in peers:
        assert await peer.receive_close() == (1000, "")
        assert await peer.receive_eof() == b""


async def test_connections_in_a_nursery_of_the_programs_outlive_the_server(
    autojump_clock: Clock,
) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as handlers:
        server = WebSocketServer(echo, [listener], handler_nursery=handlers)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            peer = await listener.connect()
            nursery.cancel_scope.cancel()
        assert listener.is_closed
        await check_echo(peer)
        assert trio.current_time() == 0
        handlers.cancel_scope.cancel()
    assert await peer.receive_close() == (1001, "")
    assert await peer.receive_eof() == b""

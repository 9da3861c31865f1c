from __future__ import annotations

import errno
import inspect
import math
import ssl
from typing import Protocol, cast

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionClosed,
    ConnectionFailed,
    Endpoint,
    InvalidHandshake,
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
    wrap_server_stream,
)
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


class Wrap(Protocol):
    async def __call__(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, **options: object
    ) -> WebSocketRequest: ...


class Serve(Protocol):
    async def __call__(
        self, handler: object, host: str, port: int, tls: None, **options: object
    ) -> None: ...


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def check_echo(port: int) -> None:
    async with open_websocket_url(f"ws://127.0.0.1:{port}/") as client:
        await client.send_message("hello")
        assert await client.get_message() == "hello"


# Serving a host and a port (T-05).


async def test_serving_goes_on_once_it_listens(nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
    assert isinstance(server, WebSocketServer)
    assert server.port > 0
    await check_echo(server.port)


async def test_the_four_first_parameters_have_names(nursery: trio.Nursery) -> None:
    async def serve(task_status: trio.TaskStatus[WebSocketServer]) -> None:
        await serve_websocket(
            handler=echo,
            host=b"127.0.0.1",
            port=0,
            ssl_context=None,
            task_status=task_status,
        )

    server = await nursery.start(serve)
    await check_echo(server.port)


async def test_handlers_run_in_the_nursery_that_is_given(
    nursery: trio.Nursery,
) -> None:
    async with trio.open_nursery() as handlers:

        async def serve(task_status: trio.TaskStatus[WebSocketServer]) -> None:
            await serve_websocket(
                *(echo, "127.0.0.1", 0, None),
                handler_nursery=handlers,
                task_status=task_status,
            )

        server = await nursery.start(serve)
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}/"):
            assert len(handlers.child_tasks) == 1


async def test_without_a_host_every_interface_is_served(nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_websocket, echo, None, 0, None)
    endpoints = cast("list[Endpoint]", server.listeners)
    assert all(endpoint.address.is_unspecified for endpoint in endpoints)
    [port] = [endpoint.port for endpoint in endpoints if endpoint.address.version == 4]
    await check_echo(port)


async def test_tls_is_served_with_a_context(
    nursery: trio.Nursery, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, server_tls)
    [endpoint] = cast("list[Endpoint]", server.listeners)
    assert endpoint.is_ssl
    url = f"wss://localhost:{server.port}/"
    async with open_websocket_url(url, client_tls) as client:
        await client.send_message("hello")
        assert await client.get_message() == "hello"


async def test_an_address_that_is_in_use_is_an_os_error(nursery: trio.Nursery) -> None:
    server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which one is told by errno
        await nursery.start(serve_websocket, echo, "127.0.0.1", server.port, None)
    assert type(caught.value) is OSError
    assert caught.value.errno == errno.EADDRINUSE
    await check_echo(server.port)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("max_message_size", "large", TypeError),
        ("message_queue_size", -1, ValueError),
        ("shutdown_timeout", math.nan, ValueError),
        ("on_handler_error", "ignore", ValueError),
        ("colour", "red", TypeError),
    ],
)
async def test_wrong_options_leave_no_listener(
    option: str, value: object, error: type[Exception], nursery: trio.Nursery
) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: object = listener.socket.getsockname()[1]
    assert isinstance(port, int)
    await listener.aclose()
    serve = cast("Serve", serve_websocket)
    with pytest.raises(error):
        await serve(echo, "127.0.0.1", port, None, **{option: value})
    await nursery.start(serve_websocket, echo, "127.0.0.1", port, None)
    await check_echo(port)


async def test_a_cancelled_server_does_not_listen_any_more() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
        port = server.port
        nursery.cancel_scope.cancel()
    with trio.socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        await sock.connect(("127.0.0.1", port))


def test_the_parameters_of_trio_websocket_are_there() -> None:
    sizes = ["message_queue_size", "max_message_size", "receive_buffer_size"]
    times = ["connect_timeout", "disconnect_timeout"]
    parameters = inspect.signature(serve_websocket).parameters
    assert list(parameters)[:-1] == [
        *("handler", "host", "port", "ssl_context"),
        *("handler_nursery", *sizes, *times, "task_status"),
    ]
    parameters = inspect.signature(WebSocketServer).parameters
    assert list(parameters)[:-1] == [
        *("handler", "listeners", "handler_nursery", *sizes, *times)
    ]
    parameters = inspect.signature(wrap_server_stream).parameters
    assert list(parameters)[:-1] == ["nursery", "stream", *sizes]
    kinds = {parameters[name].kind for name in sizes}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


# Serving one stream (T-04).


async def test_a_stream_is_served(nursery: trio.Nursery) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    await client_stream.send_all(REQUEST)
    request = await wrap_server_stream(nursery, server_stream)
    count = len(nursery.child_tasks)
    connection = await request.accept()
    assert len(nursery.child_tasks) == count + 1
    peer = RawPeer(client_stream)
    await peer.receive_head()
    await peer.send_text("hello")
    assert await connection.get_message() == "hello"


@pytest.mark.parametrize(
    ("sent", "answer", "problem"),
    [
        (
            REQUEST.replace(b"GET", b"POST"),
            b"HTTP/1.1 405 Method Not Allowed\r\n",
            "the method is not GET",
        ),
        (
            REQUEST.replace(b": 13", b": 8"),
            b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\n",
            "the WebSocket version is 8, not 13",
        ),
        (
            REQUEST.replace(b"Host", b"Hast"),
            b"HTTP/1.1 400 Bad Request\r\n",
            "the Host header is missing",
        ),
        (
            REQUEST[:-2] + b"X-A: " + bytes(20_000),
            b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
            "the request has more than 16384 bytes of headers",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"HTTP/1.1 400 Bad Request\r\n",
            "the request is not HTTP",
        ),
    ],
)
async def test_a_bad_request_on_a_stream_is_answered_and_raised(
    sent: bytes, answer: bytes, problem: str, autojump_clock: Clock
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    await client_stream.send_all(sent)
    async with trio.open_nursery() as nursery:
        with pytest.raises(InvalidHandshake) as caught:
            await wrap_server_stream(nursery, server_stream)
        assert not nursery.child_tasks
    assert caught.value.problem == problem
    assert caught.value.__context__ is None
    heard = await RawPeer(client_stream).receive_eof()
    assert heard.startswith(answer)
    assert b"\r\nConnection: close\r\n" in heard
    assert trio.current_time() <= 1


async def test_a_bad_request_of_a_client_that_takes_no_answer_is_raised_in_time(
    autojump_clock: Clock,
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    await client_stream.send_all(b"hello\r\n")
    faulty = FaultyStream(server_stream)
    faulty.stall_sending()
    async with trio.open_nursery() as nursery:
        with pytest.raises(InvalidHandshake):
            await wrap_server_stream(nursery, faulty, disconnect_timeout=3)
    assert trio.current_time() == 3
    assert await RawPeer(client_stream).receive_eof() == b""


@pytest.mark.parametrize("sent", [b"", REQUEST[:-1]])
async def test_a_stream_that_ends_before_the_request_has_failed(
    sent: bytes, nursery: trio.Nursery
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    await client_stream.send_all(sent)
    await client_stream.aclose()
    with pytest.raises(ConnectionFailed):
        await wrap_server_stream(nursery, server_stream)
    with pytest.raises(trio.ClosedResourceError):
        await server_stream.receive_some()


async def test_waiting_for_a_request_may_be_cancelled(autojump_clock: Clock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    await client_stream.send_all(REQUEST[:30])
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(100) as scope:
            await wrap_server_stream(nursery, server_stream)
        assert not nursery.child_tasks
    assert scope.cancelled_caught
    assert trio.current_time() == 100
    assert await RawPeer(client_stream).receive_eof() == b""


async def test_the_three_sizes_may_be_given_by_position() -> None:
    # T-05: trio-websocket had them so.
    client_stream, server_stream = trio.testing.memory_stream_pair()
    sizes: list[int | None] = []

    class Recorder(FaultyStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            sizes.append(max_bytes)
            return await super().receive_some(max_bytes)

    peer = RawPeer(client_stream)
    await peer.send_bytes(REQUEST)
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, Recorder(server_stream), 2, 5, 7)
        connection = await request.accept()
        await peer.receive_head()
        for text in ("one", "two", "three", "longer"):
            await peer.send_text(text)
        await trio.testing.wait_all_tasks_blocked()
        # Two wait unread, and behind them the bytes of one receive.
        assert [await connection.get_message() for _ in range(3)] == [
            *("one", "two", "three")
        ]
        with pytest.raises(ConnectionClosed) as caught:
            await connection.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1009
        nursery.cancel_scope.cancel()
    assert set(sizes) == {7}


async def test_the_closing_of_a_wrapped_stream_has_a_timeout(
    autojump_clock: Clock,
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    await client_stream.send_all(REQUEST)
    async with trio.open_nursery() as nursery:
        stream = server_stream
        request = await wrap_server_stream(nursery, stream, disconnect_timeout=4)
        connection = await request.accept()
        await connection.aclose()
    assert trio.current_time() == 4


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("max_message_size", "large", TypeError),
        ("disconnect_timeout", -1, ValueError),
        ("connect_timeout", 5, TypeError),  # there is none here: use a cancel scope
    ],
)
async def test_wrong_options_for_a_stream_leave_it_as_it_is(
    option: str, value: object, error: type[Exception], nursery: trio.Nursery
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    wrap = cast("Wrap", wrap_server_stream)
    with pytest.raises(error):
        await wrap(nursery, server_stream, **{option: value})
    await client_stream.send_all(b"hello")
    assert await server_stream.receive_some() == b"hello"


async def test_a_nursery_that_is_cancelled_drops_its_connection_at_once(
    autojump_clock: Clock,
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    peer = RawPeer(client_stream)
    await peer.send_bytes(REQUEST)
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, server_stream)
        connection = await request.accept()
        await peer.receive_head()
        nursery.cancel_scope.cancel()
    assert await peer.receive_eof() == b""
    assert connection.closed is not None
    assert connection.closed.code == 1006
    assert trio.current_time() == 0

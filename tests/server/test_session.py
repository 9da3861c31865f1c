from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import cast

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
)
from trio_websocket._nursery import find_leaves
from trio_websocket._options import CONN_TIMEOUT
from trio_websocket._server.session import Handler, OnHandlerError
from trio_websocket.testing import FaultyStream, RawPeer, open_connection_pair

Clock = trio.testing.MockClock
Subject = WebSocketRequest | WebSocketConnection
Ending = Callable[[WebSocketConnection], Awaitable[object]]

CLOSE, PING, PONG = 8, 9, 10

REQUEST = (
    b"GET / HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener in memory."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](math.inf)

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        await self._receive.aclose()

    def dial(self) -> trio.abc.Stream:
        client_stream, server_stream = trio.testing.memory_stream_pair()
        self._send.send_nowait(server_stream)
        return client_stream

    def offer(self, stream: trio.abc.Stream) -> None:
        self._send.send_nowait(stream)

    async def connect(self) -> RawPeer:
        return await RawPeer.connect(self.dial())


@asynccontextmanager
async def open_server(
    handler: Handler,
    *,
    on_handler_error: OnHandlerError = "log",
    connect_timeout: float = CONN_TIMEOUT,
    disconnect_timeout: float = CONN_TIMEOUT,
) -> AsyncGenerator[MemoryListener]:
    listener = MemoryListener()
    server = WebSocketServer(
        handler,
        [listener],
        connect_timeout=connect_timeout,
        disconnect_timeout=disconnect_timeout,
        on_handler_error=on_handler_error,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield listener
        nursery.cancel_scope.cancel()


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def do_nothing(request: WebSocketRequest) -> None:
    pass


async def fail_unanswered(request: WebSocketRequest) -> None:
    raise ValueError("the handler is broken")


async def fail_accepted(request: WebSocketRequest) -> None:
    await request.accept()
    raise ValueError("the handler is broken")


async def check_echo(peer: RawPeer) -> None:
    await peer.send_text("hello")
    assert (await peer.receive_frame()).payload == b"hello"


async def check_open(listener: MemoryListener) -> None:
    """Whether the server still answers."""
    peer = await listener.connect()
    assert b" 101 " in peer.head
    await peer.aclose()


def find_errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno > logging.DEBUG]


def take_error(caplog: pytest.LogCaptureFixture) -> BaseException:
    """The exception whose traceback was logged, once and in the right place."""
    [record] = find_errors(caplog)
    assert (record.name, record.levelno) == ("trio-websocket", logging.ERROR)
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert error is not None
    return error


def through_three_nurseries(
    kind: type[BaseException],
) -> AbstractContextManager[object, bool]:
    """Those of the connection, of trio.serve_listeners, and of the server."""
    inner = pytest.RaisesGroup(pytest.RaisesExc(kind))
    return pytest.RaisesGroup(pytest.RaisesGroup(inner))


# Before the handler.


async def test_a_bad_request_is_answered_without_the_handler(
    autojump_clock: Clock,
) -> None:
    async with open_server(fail_unanswered, on_handler_error="raise") as listener:
        peer = RawPeer(listener.dial())
        await peer.send_bytes(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await peer.receive_eof()
        assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert trio.current_time() == 0


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: local"])
async def test_a_client_that_leaves_before_its_request_is_no_error(
    start: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(echo, on_handler_error="raise") as listener:
        peer = RawPeer(listener.dial())
        await peer.send_bytes(start)
        await peer.send_eof()
        assert await peer.receive_eof() == b""
        await check_open(listener)
    assert find_errors(caplog) == []


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: local"])
async def test_a_client_that_falls_silent_is_dropped_at_the_connect_timeout(
    start: bytes, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # T-07, S-39
    async with open_server(fail_unanswered, connect_timeout=7) as listener:
        peer = RawPeer(listener.dial())
        await peer.send_bytes(start)
        assert await peer.receive_eof() == b""
    assert trio.current_time() == 7
    assert find_errors(caplog) == []


async def test_the_connect_timeout_is_over_with_the_request(
    autojump_clock: Clock,
) -> None:
    async def accept_late(request: WebSocketRequest) -> None:
        await trio.sleep(100)
        await echo(request)

    async with open_server(accept_late, connect_timeout=7) as listener:
        peer = await listener.connect()
        await check_echo(peer)
        assert trio.current_time() == 100


# The end of a handler.


async def test_the_connection_of_a_handler_that_returns_is_closed_with_1000(
    autojump_clock: Clock,
) -> None:
    async def accept(request: WebSocketRequest) -> None:
        await request.accept()

    async with open_server(accept) as listener:
        peer = await listener.connect()
        assert await peer.receive_close() == (1000, "")
        await peer.send_close()
        assert await peer.receive_eof() == b""
        assert trio.current_time() == 0


async def test_a_client_that_does_not_answer_the_close_is_dropped_in_time(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # T-07
    async def accept(request: WebSocketRequest) -> None:
        await request.accept()

    async with open_server(accept, disconnect_timeout=9) as listener:
        peer = await listener.connect()
        assert await peer.receive_close() == (1000, "")
        assert await peer.receive_eof() == b""
    assert trio.current_time() == 9
    assert find_errors(caplog) == []


@pytest.mark.parametrize("handler", [fail_unanswered, do_nothing])
async def test_a_handler_that_ends_without_an_answer_gives_500_at_once(
    handler: Handler, autojump_clock: Clock
) -> None:
    # S-49, D-10
    async with open_server(handler) as listener:
        peer = await listener.connect()
        assert peer.head == (
            b"HTTP/1.1 500 Internal Server Error\r\n"
            b"Content-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert await peer.receive_eof() == b""
        assert trio.current_time() == 0


async def test_a_handler_that_rejects_is_done(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def reject(request: WebSocketRequest) -> None:
        await request.reject(404, body=b"nothing here")

    async with open_server(reject) as listener:
        peer = await listener.connect()
        assert peer.head.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert await peer.receive_eof() == b"nothing here"
        assert trio.current_time() == 0
    assert find_errors(caplog) == []


async def test_a_client_that_pings_after_our_close_ends_in_order(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # D-4
    async def accept(request: WebSocketRequest) -> None:
        await request.accept()

    async with open_server(accept, on_handler_error="raise") as listener:
        for _ in range(2):
            peer = await listener.connect()
            assert await peer.receive_close() == (1000, "")
            await peer.send_frame(PING, b"are you there")
            await peer.send_close()
            assert await peer.receive_eof() == b""
    assert trio.current_time() == 0
    assert find_errors(caplog) == []


# A handler that fails.


@pytest.mark.parametrize("handler", [fail_unanswered, fail_accepted])
async def test_a_failure_is_logged_once_with_its_traceback(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    # S-38, T3
    async with open_server(handler) as listener:
        peer = await listener.connect()
        await peer.send_eof()
        await peer.receive_eof()
    error = take_error(caplog)
    assert isinstance(error, ValueError)
    assert error.__traceback__ is not None
    assert error.__context__ is None
    assert "fail_" in caplog.text


async def test_a_failure_ends_its_own_connection_only(autojump_clock: Clock) -> None:
    # S-38, T3, D-8
    async def fail_at_a_word(request: WebSocketRequest) -> None:
        connection = await request.accept()
        async for message in connection:
            if message == "fail":
                raise ValueError("the handler is broken")
            await connection.send_message(message)

    async with open_server(fail_at_a_word) as listener:
        first, second = await listener.connect(), await listener.connect()
        await check_echo(first)
        await check_echo(second)
        await first.send_text("fail")
        assert await first.receive_close() == (1011, "")
        await check_echo(second)
        await check_echo(await listener.connect())


@pytest.mark.parametrize("subprotocol", ["nope", None])
async def test_a_wrong_answer_is_a_failure_like_any_other(
    subprotocol: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    # D-8
    async def answer(request: WebSocketRequest) -> None:
        if subprotocol:
            await request.accept(subprotocol=subprotocol)
        await request.reject(101)

    async with open_server(answer) as listener:
        peer = await listener.connect()
        assert b" 500 " in peer.head
    assert isinstance(take_error(caplog), ValueError)


async def test_a_handler_that_is_not_async_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(request: WebSocketRequest) -> None:
        pass

    async with open_server(cast("Handler", answer)) as listener:
        peer = await listener.connect()
        assert b" 500 " in peer.head
    assert isinstance(take_error(caplog), TypeError)


async def test_a_failure_is_heard_of_also_when_the_client_cannot_be_told(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(fail_unanswered) as listener:
        client_stream, server_stream = trio.testing.memory_stream_pair()
        faulty = FaultyStream(server_stream)
        faulty.stall_sending()
        listener.offer(faulty)
        peer = RawPeer(client_stream)
        await peer.send_bytes(REQUEST)
        await trio.sleep(1)
        assert find_errors(caplog) == []
    assert isinstance(take_error(caplog), ValueError)
    assert trio.current_time() == 1


async def test_a_client_that_takes_no_answer_is_dropped_in_time(
    autojump_clock: Clock,
) -> None:
    async with open_server(fail_unanswered, disconnect_timeout=3) as listener:
        client_stream, server_stream = trio.testing.memory_stream_pair()
        faulty = FaultyStream(server_stream)
        faulty.stall_sending()
        listener.offer(faulty)
        with pytest.raises(EOFError):
            await RawPeer.connect(client_stream)
    assert trio.current_time() == 3


# The connection of a handler is closed.


async def wait_for_message(connection: WebSocketConnection) -> None:
    await connection.get_message()


async def wait_in_a_nursery(connection: WebSocketConnection) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_message, connection)
        nursery.start_soon(wait_for_message, connection)


async def wait_in_nested_nurseries(connection: WebSocketConnection) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_message, connection)
        nursery.start_soon(wait_in_a_nursery, connection)


@pytest.mark.parametrize(
    "wait", [wait_for_message, wait_in_a_nursery, wait_in_nested_nurseries]
)
@pytest.mark.parametrize("on_handler_error", ["log", "raise"])
@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_handler_may_end_with_its_connection(
    wait: Ending,
    on_handler_error: OnHandlerError,
    *,
    is_closed: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "trio-websocket")

    async def handle(request: WebSocketRequest) -> None:
        await wait(await request.accept())

    async with open_server(handle, on_handler_error=on_handler_error) as listener:
        peer = await listener.connect()
        if is_closed:
            await peer.send_close(4000)
            assert await peer.receive_close() == (4000, "")
        await peer.send_eof()
        assert await peer.receive_eof() == b""
        await check_open(listener)
    assert find_errors(caplog) == []
    assert "the handler ended with its connection" in caplog.text


async def test_a_handler_may_end_with_a_connection_that_it_closed_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A task that our Close woke fails with another reason than the peer gives later.

    That is an end of the same connection all the same.
    """

    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_message, connection)
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope(shield=True):
                await connection.aclose(4001)

    async with open_server(handle, on_handler_error="raise") as listener:
        peer = await listener.connect()
        assert await peer.receive_close() == (4001, "")
        await peer.send_close(4002)
        assert await peer.receive_eof() == b""
    assert find_errors(caplog) == []


async def test_a_client_that_has_gone_when_it_is_accepted_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # T2
    has_gone = trio.Event()

    async def accept(request: WebSocketRequest) -> None:
        await has_gone.wait()
        await request.accept()

    async with open_server(accept, on_handler_error="raise") as listener:
        peer = RawPeer(listener.dial())
        await peer.send_bytes(REQUEST)
        await trio.testing.wait_all_tasks_blocked()
        await peer.aclose()
        has_gone.set()
        await trio.testing.wait_all_tasks_blocked()
        await check_open(listener)
    assert find_errors(caplog) == []


async def test_the_end_of_another_connection_is_a_failure(
    autojump_clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(request: WebSocketRequest) -> None:
        await request.accept()
        async with open_connection_pair() as (client, server):
            await server.aclose(4000)
            await client.get_message()

    async with open_server(handle) as listener:
        peer = await listener.connect()
        assert await peer.receive_close() == (1011, "")
    error = take_error(caplog)
    assert isinstance(error, ConnectionClosed)
    assert error.reason is not None
    assert error.reason.code == 4000


async def test_the_end_of_another_connection_before_the_answer_is_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(request: WebSocketRequest) -> None:
        raise ConnectionClosed(None)

    async with open_server(handle) as listener:
        peer = await listener.connect()
        assert b" 500 " in peer.head
    assert isinstance(take_error(caplog), ConnectionClosed)


async def test_a_failure_beside_the_end_of_the_connection_is_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            await connection.get_message()
        except ConnectionClosed as closed:
            raise ExceptionGroup("both", [closed, ValueError()]) from None

    async with open_server(handle) as listener:
        peer = await listener.connect()
        await peer.send_close()
        await peer.receive_close()
        await peer.receive_eof()
    assert isinstance(take_error(caplog), ExceptionGroup)


# What becomes of a failure.


@pytest.mark.parametrize("handler", [fail_unanswered, fail_accepted])
async def test_a_failure_may_be_raised_through_three_nurseries(
    autojump_clock: Clock, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    listener = MemoryListener()
    server = WebSocketServer(handler, [listener], on_handler_error="raise")
    await RawPeer(listener.dial()).send_bytes(REQUEST)
    with through_three_nurseries(ValueError):
        await server.run()
    assert find_errors(caplog) == []


async def test_a_failure_that_is_raised_is_told_to_the_client(
    autojump_clock: Clock,
) -> None:
    heard: list[bytes | int | None] = []

    async def talk(listener: MemoryListener) -> None:
        peer = await listener.connect()
        heard.append(peer.head[:12])
        if peer.head.startswith(b"HTTP/1.1 101"):
            heard.append((await peer.receive_close())[0])

    for handler in (fail_unanswered, fail_accepted):
        listener = MemoryListener()
        server = WebSocketServer(handler, [listener], on_handler_error="raise")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, listener)
            with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
                await server.run()
    assert heard == [b"HTTP/1.1 500", b"HTTP/1.1 101", 1011]


async def test_a_failure_that_is_raised_says_goodbye_to_the_other_clients(
    autojump_clock: Clock,
) -> None:
    async def handle(request: WebSocketRequest) -> None:
        if request.path == "/fail":
            raise ValueError("the handler is broken")
        await echo(request)

    async def talk(listener: MemoryListener) -> None:
        peer = await listener.connect()
        await RawPeer.connect(listener.dial(), path="/fail")
        heard.append(await peer.receive_close())

    heard: list[tuple[int | None, str]] = []
    listener = MemoryListener()
    server = WebSocketServer(handle, [listener], on_handler_error="raise")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, listener)
        with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
            await server.run()
    assert heard == [(1001, "")]


async def test_a_failure_that_is_raised_goes_to_the_handler_nursery() -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as outer:
        with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(ValueError))):
            async with trio.open_nursery() as handlers:
                server = WebSocketServer(
                    fail_unanswered,
                    [listener],
                    handler_nursery=handlers,
                    on_handler_error="raise",
                )
                await outer.start(server.run)
                await listener.connect()
                await trio.sleep_forever()
        outer.cancel_scope.cancel()


async def test_a_failure_may_be_given_to_a_function(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures: list[tuple[Exception, Subject]] = []

    def note(failure: Exception, subject: Subject) -> None:
        failures.append((failure, subject))

    for handler in (fail_unanswered, fail_accepted):
        async with open_server(handler, on_handler_error=note) as listener:
            peer = await listener.connect()
            await peer.send_eof()
            await peer.receive_eof()
    (first, request), (second, connection) = failures
    assert isinstance(first, ValueError)
    assert isinstance(second, ValueError)
    assert isinstance(request, WebSocketRequest)
    assert isinstance(connection, WebSocketConnection)
    assert find_errors(caplog) == []


async def test_a_failure_may_be_given_to_an_async_function(
    autojump_clock: Clock,
) -> None:
    failures: list[Exception] = []

    async def note(failure: Exception, subject: Subject) -> None:
        await trio.sleep(5)
        failures.append(failure)

    async with open_server(fail_accepted, on_handler_error=note) as listener:
        peer = await listener.connect()
        # The client does not wait for it.
        assert await peer.receive_close() == (1011, "")
        await peer.send_close()
        assert await peer.receive_eof() == b""
        assert (trio.current_time(), failures) == (0, [])
        await trio.sleep(6)
        assert [type(failure) for failure in failures] == [ValueError]


async def test_what_the_function_raises_ends_the_server() -> None:
    def fail(failure: Exception, subject: Subject) -> None:
        raise KeyError("the hook is broken") from failure

    listener = MemoryListener()
    server = WebSocketServer(fail_unanswered, [listener], on_handler_error=fail)
    await RawPeer(listener.dial()).send_bytes(REQUEST)
    with through_three_nurseries(KeyError):
        await server.run()


# What goes through.


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("on_handler_error", ["log", "raise"])
async def test_what_is_no_failure_goes_through(
    autojump_clock: Clock,
    kind: type[BaseException],
    on_handler_error: OnHandlerError,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stop(request: WebSocketRequest) -> None:
        await request.accept()
        raise kind

    listener = MemoryListener()
    server = WebSocketServer(stop, [listener], on_handler_error=on_handler_error)
    await RawPeer(listener.dial()).send_bytes(REQUEST)
    with through_three_nurseries(kind):
        await server.run()
    assert find_errors(caplog) == []


@pytest.mark.parametrize("on_handler_error", ["log", "raise"])
async def test_a_failure_beside_what_goes_through_is_not_lost(
    autojump_clock: Clock,
    on_handler_error: OnHandlerError,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stop(request: WebSocketRequest) -> None:
        await request.accept()
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])

    listener = MemoryListener()
    server = WebSocketServer(stop, [listener], on_handler_error=on_handler_error)
    await RawPeer(listener.dial()).send_bytes(REQUEST)
    with pytest.raises(BaseExceptionGroup) as caught:
        await server.run()
    assert caught.value.subgroup(KeyboardInterrupt)
    assert caught.value.subgroup(ValueError) is None
    assert isinstance(take_error(caplog), ExceptionGroup)


@pytest.mark.parametrize("on_handler_error", ["log", "raise"])
async def test_a_handler_that_is_cancelled_and_fails_is_logged(
    on_handler_error: OnHandlerError,
    autojump_clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("the clean-up is broken")

    async def handle(request: WebSocketRequest) -> None:
        await request.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            await trio.sleep_forever()

    async with open_server(handle, on_handler_error=on_handler_error) as listener:
        peer = await listener.connect()
    assert peer.head.startswith(b"HTTP/1.1 101 ")
    # The other task was cancelled; that is for Trio, and nothing to be logged.
    error = take_error(caplog)
    assert [type(leaf) for leaf in find_leaves(error)] == [ValueError]


async def test_a_handler_that_is_cancelled_with_its_connection_is_no_failure(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def close_when_cancelled(connection: WebSocketConnection) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await connection.wait_closed()
            await connection.send_message("too late")

    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_when_cancelled, connection)
            await connection.get_message()

    async with open_server(handle, on_handler_error="raise") as listener:
        peer = await listener.connect()
    assert await peer.receive_close() == (1001, "")
    assert find_errors(caplog) == []


# Where it runs.


async def test_each_connection_is_one_task_in_the_handler_nursery(
    autojump_clock: Clock,
) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as outer, trio.open_nursery() as handlers:
        server = WebSocketServer(echo, [listener], handler_nursery=handlers)
        await outer.start(server.run)
        peer = await listener.connect()
        for number in range(2, 5):
            peer = await listener.connect()
            await check_echo(peer)
            assert len(handlers.child_tasks) == number
            await peer.send_frame(PING)
            assert (await peer.receive_frame()).opcode == PONG
            assert len(handlers.child_tasks) == number
        await peer.send_close()
        assert (await peer.receive_frame()).opcode == CLOSE
        assert await peer.receive_eof() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert len(handlers.child_tasks) == 3
        handlers.cancel_scope.cancel()
        outer.cancel_scope.cancel()


async def test_the_handler_and_its_connection_end_together(
    autojump_clock: Clock,
) -> None:
    async def leave_a_task(request: WebSocketRequest) -> None:
        background.start_soon(echo, request)
        await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as background, open_server(leave_a_task) as listener:
        peer = await listener.connect()
        assert await peer.receive_close() == (1000, "")
        await peer.send_close()
        assert await peer.receive_eof() == b""


class StrangeStream(trio.abc.Stream):
    """A stream that raises what no stream should, once it has done some calls."""

    def __init__(
        self, stream: trio.abc.Stream, *, receives: float = math.inf, sends: float = 1
    ) -> None:
        self._stream = stream
        self._receives = receives
        self._sends = sends

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self._sends:
            raise trio.BusyResourceError("the stream is broken in a way of its own")
        self._sends -= 1
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self._receives:
            raise trio.BusyResourceError("the stream is broken in a way of its own")
        self._receives -= 1
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def wait_for_the_end(request: WebSocketRequest) -> None:
    connection = await request.accept()
    with pytest.raises(ConnectionClosed) as caught:
        await connection.get_message()
    assert isinstance(caught.value.__cause__, trio.BusyResourceError)


@pytest.mark.parametrize("receives", [0, 1])
async def test_a_strange_stream_ends_its_own_connection_only(
    receives: int, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    async with open_server(wait_for_the_end) as listener:
        ours, theirs = trio.testing.memory_stream_pair()
        listener.offer(StrangeStream(theirs, receives=receives))
        await ours.send_all(REQUEST)
        await RawPeer(ours, is_client=True).receive_eof()
        await trio.testing.wait_all_tasks_blocked()
        leaves = find_leaves(take_error(caplog))
        assert [type(leaf) for leaf in leaves] == [trio.BusyResourceError]
        await check_open(listener)


async def test_a_strange_stream_that_fails_while_the_server_is_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    async with open_server(wait_for_the_end) as listener:
        ours, theirs = trio.testing.memory_stream_pair()
        listener.offer(StrangeStream(theirs))
        await ours.send_all(REQUEST)
        await trio.testing.wait_all_tasks_blocked()
    [error] = find_leaves(take_error(caplog))
    assert isinstance(error, trio.BusyResourceError)

"""Openings that fail: at once, with the right exception, and with nothing left open."""

from __future__ import annotations

import math
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionFailed,
    ConnectionRejected,
    ConnectionTimeout,
    HandshakeError,
    InvalidHandshake,
    connect_websocket,
    connect_websocket_url,
    open_websocket_url,
    wrap_client_stream,
)
from trio_websocket._transport.socket_stream import SocketStream
from trio_websocket.testing import FaultyStream, RawPeer

Serve = Callable[[trio.SocketStream], Awaitable[object]]
ServeRaw = Callable[[Serve], AbstractAsyncContextManager[int]]


class Redirect(Protocol):
    def __call__(self, port: int, delay: float = 0) -> list[tuple[str, int]]: ...


StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
OpenStreamPair = Callable[[str], AbstractAsyncContextManager[StreamPair]]

LINGER = "hh" if sys.platform == "win32" else "ii"
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n"
)


async def fail_to_wrap(stream: trio.abc.Stream) -> HandshakeError:
    """Wrap a stream; the error must come at the await, and leave no task."""
    async with trio.open_nursery() as nursery:
        with pytest.raises(HandshakeError) as caught:
            await wrap_client_stream(nursery, stream, "h.example", "/")
        assert not nursery.child_tasks
    return caught.value


async def fail_to_open(port: int, connect_timeout: float = 60) -> HandshakeError:
    url = f"ws://127.0.0.1:{port}/"
    with pytest.raises(HandshakeError) as caught:
        await open_websocket_url(url, connect_timeout=connect_timeout).__aenter__()
    return caught.value


async def answer(stream: trio.abc.Stream, *pieces: bytes) -> bytes:
    """Answer a request with these bytes; return what came behind the request."""
    peer = RawPeer(stream)
    await peer.receive_head()
    for piece in pieces:
        await peer.send_bytes(piece)
    return await peer.receive_eof()


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n",
    ],
)
async def test_a_server_that_hangs_up_is_told_at_once(
    bad: bytes, transport: str, open_stream_pair: OpenStreamPair
) -> None:
    # T4
    async with open_stream_pair(transport) as (client, server):

        async def serve() -> None:
            peer = RawPeer(server)
            await peer.receive_head()
            await peer.send_bytes(bad)
            await peer.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            error = await fail_to_wrap(client)
    assert isinstance(error, ConnectionFailed)
    assert isinstance(error, OSError)
    assert error.cause is None
    assert error.target == "h.example"


async def test_open_websocket_tells_at_once_too(serve_raw: ServeRaw) -> None:
    # T4
    async def serve(stream: trio.SocketStream) -> None:
        await RawPeer(stream).receive_head()

    async with serve_raw(serve) as port:
        error = await fail_to_open(port)
    assert isinstance(error, ConnectionFailed)
    assert str(error) == f"the connection to 127.0.0.1:{port} failed"


class TardyStream(SocketStream):
    """A socket that Trio calls readable once before there is something to read."""

    __slots__ = ("is_tardy",)

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.is_tardy = True

    def read_now(self, size: int) -> bytes | None:
        if self.is_tardy:
            self.is_tardy = False
            return None
        return super().read_now(size)


@pytest.mark.skipif(sys.platform == "win32", reason="a socket is no file there")
async def test_an_answer_that_is_not_there_yet_is_waited_for() -> None:
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    async with theirs, trio.open_nursery() as nursery:
        nursery.start_soon(RawPeer.accept, theirs)
        connection = await wrap_client_stream(nursery, TardyStream(ours), "h", "/")
        await connection.abort()


async def test_a_reset_is_the_cause(serve_raw: ServeRaw) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await RawPeer(stream).receive_head()
        linger = struct.pack(LINGER, 1, 0)  # on, for no time: closing is a reset
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with serve_raw(serve) as port:
        error = await fail_to_open(port)
    assert isinstance(error, ConnectionFailed)
    assert isinstance(error.cause, ConnectionResetError)
    assert error.__cause__ is error.cause
    assert error.errno == error.cause.errno


async def test_a_request_that_cannot_be_sent_is_told() -> None:
    client, _server = trio.testing.memory_stream_pair()
    faulty = FaultyStream(client)
    faulty.cut_after_sending(10)
    error = await fail_to_wrap(faulty)
    assert isinstance(error, ConnectionFailed)
    assert isinstance(error.cause, trio.BrokenResourceError)


async def test_a_rejection_tells_everything_and_comes_bare() -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            answer,
            server,
            b"HTTP/1.1 403 No\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nbody",
        )
        error = await fail_to_wrap(client)
    assert isinstance(error, ConnectionRejected)
    assert error.status_code == 403
    assert error.headers == ((b"x-why", b"because"), (b"content-length", b"4"))
    assert error.body == b"body"
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_a_rejection_whose_body_ends_with_the_stream_is_told() -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            peer = RawPeer(server)
            await peer.receive_head()
            await peer.send_bytes(b"HTTP/1.1 500 Oops\r\n\r\nall of it")
            await peer.aclose()

        nursery.start_soon(serve)
        error = await fail_to_wrap(client)
    assert isinstance(error, ConnectionRejected)
    assert error.body == b"all of it"


async def test_a_rejection_with_a_body_without_end_is_told_soon() -> None:
    # T13
    sent = 0
    client, server = trio.testing.lockstep_stream_pair()

    async def serve() -> None:
        nonlocal sent
        peer = RawPeer(server)
        await peer.receive_head()
        await peer.send_bytes(b"HTTP/1.1 403 No\r\nContent-Length: 41943040\r\n\r\n")
        try:
            while True:
                await peer.send_bytes(bytes(4096))
                sent += 4096
        except trio.BrokenResourceError:
            await peer.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        error = await fail_to_wrap(client)
    assert isinstance(error, ConnectionRejected)
    assert error.body == bytes(65536)
    assert sent == 65536


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 102 Wait\r\n\r\n" * 17, "interim answers"),
        (b"HTTP/1.1 150 Odd\r\n\r\n", "status 150"),
        (ACCEPTED % b"d3Jvbmc=" + b"\r\n", "Accept"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "more than 16384 bytes of headers"),
    ],
    ids=["garbage", "interims", "odd status", "accept", "long"],
)
async def test_an_answer_that_breaks_the_rules_is_an_invalid_handshake(
    reply: bytes, problem: str, transport: str, open_stream_pair: OpenStreamPair
) -> None:
    # D-3, S-57, T6
    left: list[bytes] = []
    async with open_stream_pair(transport) as (client, server):

        async def serve() -> None:
            left.append(await answer(server, reply))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            error = await fail_to_wrap(client)
    assert isinstance(error, InvalidHandshake)
    assert problem in str(error)
    assert error.__cause__ is None
    assert left == [b""]  # the client has closed, and sent nothing


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (("Sec-WebSocket-Protocol", "chat"), "subprotocol"),
        (("Sec-WebSocket-Extensions", "permessage-deflate"), "extension"),
    ],
)
async def test_what_nobody_offered_may_not_be_chosen(
    header: tuple[str, str], problem: str
) -> None:
    # S-57
    left: list[bytes] = []
    client, server = trio.testing.memory_stream_pair()

    async def serve() -> None:
        peer = await RawPeer.accept(server, headers=[header])
        left.append(await peer.receive_eof())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        error = await fail_to_wrap(client)
    assert isinstance(error, InvalidHandshake)
    assert problem in str(error)
    assert left == [b""]


async def test_an_error_is_raised_at_the_await_and_not_in_the_nursery() -> None:
    client, server = trio.testing.memory_stream_pair()
    is_done = False

    async def work() -> None:
        nonlocal is_done
        await trio.testing.wait_all_tasks_blocked()
        is_done = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, server, b"HTTP/1.1 204 No Content\r\n\r\n")
        nursery.start_soon(work)
        with pytest.raises(ConnectionRejected):
            await wrap_client_stream(nursery, client, "h.example", "/")
        assert not nursery.cancel_scope.cancel_called
    assert is_done


@pytest.mark.parametrize(
    ("error", "is_also"),
    [
        (ConnectionRejected, HandshakeError),
        (InvalidHandshake, HandshakeError),
        (ConnectionTimeout, HandshakeError),
        (ConnectionFailed, HandshakeError),
        (ConnectionFailed, OSError),
    ],
)
def test_programs_can_catch_failures_by_kind(
    error: type[Exception], is_also: type[Exception]
) -> None:
    # S-77
    assert issubclass(error, is_also)


async def test_a_name_server_that_is_silent_is_given_up_on_time(
    autojump_clock: trio.testing.MockClock, redirect: Redirect
) -> None:
    redirect(1, math.inf)
    with pytest.raises(ConnectionTimeout):
        await open_websocket_url("ws://h.example/").__aenter__()
    assert trio.current_time() == 60


async def test_a_silent_server_is_given_up_on_time(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    # T6
    left: list[bytes] = []
    is_ended = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        peer = RawPeer(stream)
        await peer.receive_head()
        mock_clock.jump(7)
        left.append(await peer.receive_eof())
        is_ended.set()

    async with serve_raw(serve) as port:
        error = await fail_to_open(port, connect_timeout=7)
        await is_ended.wait()
    assert isinstance(error, ConnectionTimeout)
    assert error.timeout == 7
    assert error.__cause__ is None
    assert error.__context__ is None
    assert left == [b""]


async def test_a_server_that_is_silent_in_tls_is_given_up_on_time(
    mock_clock: trio.testing.MockClock,
    serve_raw: ServeRaw,
    client_tls: ssl.SSLContext,
) -> None:
    is_ended = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        mock_clock.jump(7)
        await RawPeer(stream).receive_eof()
        is_ended.set()

    async with serve_raw(serve) as port:
        url = f"wss://127.0.0.1:{port}/"
        opening = open_websocket_url(url, client_tls, connect_timeout=7)
        with pytest.raises(ConnectionTimeout):
            await opening.__aenter__()
        await is_ended.wait()


async def test_one_deadline_spans_all_stages(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw, redirect: Redirect
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await RawPeer(stream).receive_head()
        mock_clock.jump(20)
        await trio.sleep_forever()

    async def pass_time() -> None:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(40)

    async with serve_raw(serve) as port, trio.open_nursery() as nursery:
        redirect(port, 40)
        nursery.start_soon(pass_time)
        with pytest.raises(ConnectionTimeout):
            await open_websocket_url("ws://h.example/").__aenter__()
    assert trio.current_time() == 60


async def test_a_rejection_whose_body_comes_too_slowly_is_still_a_rejection(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        peer = RawPeer(stream)
        await peer.receive_head()
        head = b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\n"
        await peer.send_bytes(head + b"slow")
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(60)
        await trio.sleep_forever()  # the end of the stream would end the body too

    async with serve_raw(serve) as port:
        error = await fail_to_open(port)
    assert trio.current_time() == 60
    assert isinstance(error, ConnectionRejected)
    assert error.status_code == 503
    assert error.body == b"slow"


async def test_no_time_at_all_is_a_timeout() -> None:
    error = await fail_to_open(1, connect_timeout=0)
    assert isinstance(error, ConnectionTimeout)


async def test_cancelled_while_it_waits_for_the_answer_it_closes_the_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(5) as scope:
            await wrap_client_stream(nursery, client, "h.example", "/")
        assert scope.cancelled_caught
        assert not nursery.child_tasks
    assert await answer(server) == b""


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_cancelled_connect_closes_the_socket_and_leaves_no_task(
    scheme: str, serve_raw: ServeRaw, client_tls: ssl.SSLContext
) -> None:
    is_reached = trio.Event()
    is_ended = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        is_reached.set()
        await RawPeer(stream).receive_eof()
        is_ended.set()

    async with serve_raw(serve) as port, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await is_reached.wait()
                scope.cancel()

            nursery.start_soon(cancel)
            await connect_websocket(
                nursery,
                "localhost",
                port,
                "/",
                use_ssl=client_tls if scheme == "wss" else False,
            )
        assert scope.cancelled_caught
        await is_ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks


async def test_a_nursery_that_takes_no_more_is_an_error_and_closes_the_stream() -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as closed:
        pass
    async with trio.open_nursery() as nursery:
        ends: list[bytes] = []

        async def serve() -> None:
            peer = await RawPeer.accept(server)
            ends.append(await peer.receive_eof())

        nursery.start_soon(serve)
        with pytest.raises(RuntimeError, match="closed"):
            await wrap_client_stream(closed, client, "h.example", "/")
    assert ends == [b""]


@pytest.mark.parametrize("host", ["localhost", "other.example"])
async def test_a_certificate_that_proves_nothing_is_told_at_once(  # noqa: PLR0917
    host: str,
    serve_raw: ServeRaw,
    redirect: Redirect,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    # D-14, S-6, T5
    received: list[bytes] = []
    is_ended = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        tls_stream = trio.SSLStream(stream, server_tls, server_side=True)
        with pytest.raises(trio.BrokenResourceError):
            await tls_stream.do_handshake()
        received.append(await RawPeer(stream).receive_eof())
        is_ended.set()

    async with serve_raw(serve) as port, trio.open_nursery() as nursery:
        redirect(port)
        # The first name is right, but without options nobody trusts the authority.
        context = None if host == "localhost" else client_tls
        with pytest.raises(ConnectionFailed) as caught:
            await connect_websocket_url(nursery, f"wss://{host}/", context)
        await is_ended.wait()
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert caught.value.cause is caught.value.__cause__
    assert received == [b""]


async def test_the_password_of_a_url_is_in_no_message(serve_raw: ServeRaw) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await RawPeer(stream).receive_head()

    async with serve_raw(serve) as port:
        with pytest.raises(ConnectionFailed) as caught:
            await open_websocket_url(f"ws://user:secret@127.0.0.1:{port}/").__aenter__()
    assert "secret" not in str(caught.value)
    assert "user" not in str(caught.value)

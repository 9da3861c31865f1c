from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, cast

import pytest
import trio
import trio.testing
import trustme

from trio_websocket._errors import ConnectionFailed
from trio_websocket._transport.dial import build_target, dial, start_tls
from trio_websocket._transport.socket_stream import HoldingStream, SocketStream
from trio_websocket._transport.tls import client_ssl_context
from trio_websocket.testing import FaultyStream

posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="sockets are no files there, so none is wrapped"
)
NAMES = ("TCP_KEEPIDLE", "TCP_KEEPALIVE")  # Linux; macOS
KEEPALIVE_DELAY = next(getattr(socket, name) for name in NAMES if hasattr(socket, name))

V4Address = tuple[
    Literal[socket.AddressFamily.AF_INET],
    socket.SocketKind,
    int,
    str,
    tuple[str, int],
]
V6Address = tuple[
    Literal[socket.AddressFamily.AF_INET6],
    socket.SocketKind,
    int,
    str,
    tuple[str, int, int, int] | tuple[int, bytes],
]


class Resolver(trio.abc.HostnameResolver):
    """A DNS of the test's own.

    Attributes:
        asked: The names that were asked for.

    """

    def __init__(self, **addresses: list[str]) -> None:
        self.asked: list[str] = []
        self._addresses = addresses

    async def getaddrinfo(  # noqa: PLR0917  # as in Trio
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,  # noqa: ARG002
        type: int = 0,  # noqa: A002, ARG002
        proto: int = 0,  # noqa: ARG002
        flags: int = 0,  # noqa: ARG002
    ) -> list[V4Address | V6Address]:
        assert host is not None
        assert isinstance(port, int)
        name = host.decode()
        self.asked.append(name)
        if name not in self._addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in self._addresses[name]
        ]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise AssertionError(sockaddr, flags)


def install(**addresses: list[str]) -> Resolver:
    resolver = Resolver(**addresses)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


def check_prepared(stream: trio.abc.Stream) -> SocketStream:
    """Check that a stream is one over a socket that was set up."""
    assert isinstance(stream, SocketStream)
    sock = stream.socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, KEEPALIVE_DELAY) == 60
    return stream


@asynccontextmanager
async def listen() -> AsyncGenerator[tuple[trio.SocketListener, int]]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener, listener.socket.getsockname()[1]


async def find_free_port() -> int:
    async with listen() as (_, port):
        return port


async def fail_to_dial(
    host: str, port: int, context: ssl.SSLContext | None = None
) -> ConnectionFailed:
    with pytest.raises(ConnectionFailed) as caught:
        await dial(host, port, context)
    return caught.value


async def fail_to_start_tls(
    stream: trio.abc.Stream, context: ssl.SSLContext, host: str = "localhost"
) -> ConnectionFailed:
    with pytest.raises(ConnectionFailed) as caught:
        await start_tls(stream, context, host, target="the target")
    return caught.value


async def test_a_stream_to_the_port_is_opened() -> None:
    async with listen() as (listener, port):
        stream = await dial("127.0.0.1", port, None)
        accepted = await listener.accept()
        async with stream, accepted:
            await stream.send_all(b"hello")
            assert await accepted.receive_some() == b"hello"


@posix_only
async def test_a_socket_that_was_dialled_is_set_up() -> None:
    async with listen() as (listener, port):
        stream = check_prepared(await dial("127.0.0.1", port, None))
        assert not isinstance(stream, HoldingStream)
        accepted = await listener.accept()
        async with stream, accepted:
            with trio.testing.assert_no_checkpoints():
                assert stream.write_now(b"hello") == 5
            assert await accepted.receive_some() == b"hello"


@posix_only
async def test_a_socket_that_was_dialled_is_set_up_beneath_tls_too(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    has_shaken_hands = trio.Event()

    async def serve(listener: trio.SocketListener) -> None:
        async with await listener.accept() as accepted:
            await trio.SSLStream(accepted, server_tls, server_side=True).do_handshake()
            has_shaken_hands.set()
            assert await accepted.receive_some() == b"past TLS"

    async with listen() as (listener, port), trio.open_nursery() as nursery:
        nursery.start_soon(serve, listener)
        stream = await dial("127.0.0.1", port, client_tls)
        assert isinstance(stream, trio.SSLStream)
        tls_stream = cast("trio.SSLStream[trio.abc.Stream]", stream)
        assert isinstance(tls_stream.transport_stream, HoldingStream)
        async with check_prepared(tls_stream.transport_stream) as inner:
            await has_shaken_hands.wait()
            with trio.testing.assert_no_checkpoints():
                assert inner.write_now(b"past TLS") == 8


async def test_a_refused_port_tells_the_number_of_the_system() -> None:
    # S-77
    port = await find_free_port()
    error = await fail_to_dial("127.0.0.1", port)
    assert error.errno == errno.ECONNREFUSED
    assert error.target == f"127.0.0.1:{port}"
    assert isinstance(error.cause, ConnectionRefusedError)
    assert isinstance(error.__cause__, OSError)


async def test_of_several_addresses_that_fail_the_first_is_told() -> None:
    install(many=["127.0.0.1", "127.0.0.2"])
    error = await fail_to_dial("many", await find_free_port())
    assert error.errno == errno.ECONNREFUSED
    assert isinstance(error.cause, ConnectionRefusedError)
    assert "127.0.0.1" in str(error.cause)


async def test_of_several_addresses_one_that_answers_is_enough() -> None:
    async with listen() as (_, port):
        install(many=["127.0.0.2", "127.0.0.1"])
        stream = await dial("many", port, None)
        await stream.aclose()


async def test_an_unknown_name_is_told() -> None:
    resolver = install()
    error = await fail_to_dial("nobody", 80)
    assert resolver.asked == ["nobody"]
    assert isinstance(error.cause, socket.gaierror)
    assert error.errno == socket.EAI_NONAME
    assert error.__cause__ is error.cause


async def test_tls_is_spoken_if_there_is_a_context(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with listen() as (listener, port), trio.open_nursery() as nursery:

        async def serve() -> None:
            accepted = await listener.accept()
            stream = trio.SSLStream(accepted, server_tls, server_side=True)
            async with stream:
                await stream.send_all(await stream.receive_some())

        nursery.start_soon(serve)
        stream = await dial("127.0.0.1", port, client_tls)
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("mistake", ["unknown authority", "wrong name"])
async def test_a_certificate_that_does_not_prove_the_name_is_told_at_once(
    mistake: str,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    # D-14, S-6, T5
    context, host = client_tls, "other.example"
    if mistake == "unknown authority":
        context, host = client_ssl_context(), "localhost"
    received: list[bytes] = []
    client_end, server_end = trio.testing.memory_stream_pair()

    async def serve() -> None:
        stream = trio.SSLStream(server_end, server_tls, server_side=True)
        try:
            received.append(bytes(await stream.receive_some()))
        except trio.BrokenResourceError:
            received.append(b"broken")
        await trio.aclose_forcefully(server_end)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        error = await fail_to_start_tls(client_end, context, host)
    assert isinstance(error.cause, ssl.SSLCertVerificationError)
    assert error.__cause__ is error.cause
    assert str(error).startswith("the connection to the target failed: [SSL: CERT")
    assert received == [b"broken"]  # the end of the stream, and not a byte before


async def test_a_server_without_tls_is_told_at_once(client_tls: ssl.SSLContext) -> None:
    client_end, server_end = trio.testing.memory_stream_pair()
    await server_end.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    error = await fail_to_start_tls(client_end, client_tls)
    assert isinstance(error.cause, ssl.SSLError)
    with pytest.raises(trio.BrokenResourceError):
        await server_end.send_all(b"x")  # the client's end is closed


async def test_a_server_that_hangs_up_during_tls_is_told_at_once(
    client_tls: ssl.SSLContext,
) -> None:
    client_end, server_end = trio.testing.memory_stream_pair()
    await server_end.send_stream.aclose()
    error = await fail_to_start_tls(client_end, client_tls)
    assert isinstance(error.cause, ssl.SSLError)


async def test_a_stream_that_breaks_during_tls_is_told_at_once(
    client_tls: ssl.SSLContext,
) -> None:
    client_end, _server_end = trio.testing.memory_stream_pair()
    faulty = FaultyStream(client_end)
    faulty.cut_after_sending(10)
    error = await fail_to_start_tls(faulty, client_tls)
    assert isinstance(error.cause, trio.BrokenResourceError)


async def test_a_context_that_cannot_be_used_leaves_no_stream_open(
    server_tls: ssl.SSLContext,
) -> None:
    client_end, server_end = trio.testing.memory_stream_pair()
    error = await fail_to_start_tls(client_end, server_tls)
    assert isinstance(error.cause, ssl.SSLError)
    assert await server_end.receive_some() == b""


async def test_cancelled_during_tls_it_leaves_no_stream_open(
    autojump_clock: trio.testing.MockClock, client_tls: ssl.SSLContext
) -> None:
    client_end, server_end = trio.testing.memory_stream_pair()
    with trio.move_on_after(5) as scope:
        await start_tls(client_end, client_tls, "localhost", target="the target")
    assert scope.cancelled_caught
    hello = bytearray()
    while data := await server_end.receive_some():
        hello += data
    assert hello


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("h.example", "h.example:80"),
        ("127.0.0.1", "127.0.0.1:80"),
        ("::1", "[::1]:80"),
    ],
)
def test_a_target_is_written_as_in_a_url(host: str, target: str) -> None:
    assert build_target(host, 80) == target

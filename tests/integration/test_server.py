"""A server on real sockets, and clients of every kind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionClosed,
    ConnectionFailed,
    ConnectionRejected,
    Endpoint,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
    wrap_client_stream,
)
from trio_websocket.testing import RawPeer

RudeClient = Callable[[trio.SocketStream], Awaitable[object]]

REQUEST = (
    b"GET / HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"X-Note: a\r\n"
    b"\r\n"
)


OPENING_OF_TLS = bytes.fromhex("1603010200010001fc0303") + bytes(500)


class Recorder(trio.abc.Listener[trio.SocketStream]):
    """A listener that remembers which sockets it gave away."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self.socket = listener.socket
        self.sockets: list[trio.socket.SocketType] = []
        self._listener = listener

    async def accept(self) -> trio.SocketStream:
        stream = await self._listener.accept()
        self.sockets.append(stream.socket)
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()

    @property
    def port(self) -> int:
        number: object = self.socket.getsockname()[1]
        assert isinstance(number, int)
        return number

    async def dial(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def check_echo(connection: WebSocketConnection) -> None:
    """Whether each kind of message comes back as the same kind (S-85)."""
    await connection.send_message("hello")
    assert await connection.get_message() == "hello"
    await connection.send_message(b"\x00\xff")
    assert await connection.get_message() == b"\x00\xff"


def find_errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno > logging.DEBUG]


async def open_listener() -> trio.SocketListener:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener


def reset(stream: trio.SocketStream) -> None:
    """Have the socket send a reset when it is closed."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


# Rude clients (S-39, D-2, T1).


def sending(data: bytes, *answers: bytes) -> RudeClient:
    """Send something, and be answered with one of these or with nothing."""

    async def send(stream: trio.SocketStream) -> None:
        await stream.send_all(data)
        heard = await RawPeer(stream).receive_eof()
        assert heard.startswith(answers)
        assert b"\r\nConnection: close\r\n" in heard

    return send


async def say_nothing(stream: trio.SocketStream) -> None:
    assert await RawPeer(stream).receive_eof() == b""


async def fall_silent(stream: trio.SocketStream) -> None:
    await stream.send_all(REQUEST[:60])
    assert await RawPeer(stream).receive_eof() == b""


async def leave_at_once(stream: trio.SocketStream) -> None:
    pass


async def reset_at_once(stream: trio.SocketStream) -> None:
    reset(stream)


async def reset_amid_the_request(stream: trio.SocketStream) -> None:
    await stream.send_all(REQUEST[:60])
    reset(stream)


async def reset_behind_the_request(stream: trio.SocketStream) -> None:
    # T2
    await stream.send_all(REQUEST)
    reset(stream)


async def reset_behind_a_bad_request(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
    reset(stream)


async def reset_amid_a_frame(stream: trio.SocketStream) -> None:
    await RawPeer.connect(stream)
    await stream.send_all(b"\x81\xfe\xff")
    reset(stream)


async def leave_amid_a_frame(stream: trio.SocketStream) -> None:
    await RawPeer.connect(stream)
    await stream.send_all(b"\x81\xfe\xff")


async def offer_a_bad_extension(stream: trio.SocketStream) -> None:
    offer = 'permessage-deflate; server_max_window_bits=abc; =; a="b'
    peer = await RawPeer.connect(stream, headers=[("Sec-WebSocket-Extensions", offer)])
    assert peer.head.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in peer.head.lower()


async def send_a_frame_that_is_not_masked(stream: trio.SocketStream) -> None:
    peer = await RawPeer.connect(stream)
    await peer.send_frame(1, b"hello", masked=False)
    assert (await peer.receive_close())[0] == 1002


async def ping_after_the_close(stream: trio.SocketStream) -> None:
    # D-4
    peer = await RawPeer.connect(stream)
    await peer.send_close()
    await peer.send_frame(9, b"are you there")
    assert await peer.receive_close() == (1000, "")


def change(old: bytes, new: bytes) -> bytes:
    assert old in REQUEST
    return REQUEST.replace(old, new, 1)


async def send_plain_http(stream: trio.SocketStream) -> None:
    await stream.send_all(REQUEST)
    # An alert of TLS, or nothing.
    assert b"HTTP" not in await RawPeer(stream).receive_eof()


async def send_half_an_opening(stream: trio.SocketStream) -> None:
    await stream.send_all(OPENING_OF_TLS[:50])
    await RawPeer(stream).receive_eof()


async def reset_amid_the_opening(stream: trio.SocketStream) -> None:
    await stream.send_all(OPENING_OF_TLS[:50])
    reset(stream)


# With these the server loses its patience; the others have all the time that they need.
SILENT_CLIENTS = [say_nothing, fall_silent, send_half_an_opening]


def choose_timeout(rude: RudeClient) -> float:
    return 0.5 if rude in SILENT_CLIENTS else 60


RUDE_CLIENTS: dict[str, RudeClient] = {
    "plain GET": sending(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 426 "),
    "POST": sending(change(b"GET", b"POST"), b"HTTP/1.1 405 "),
    "version 8": sending(change(b": 13", b": 8"), b"HTTP/1.1 426 "),
    "missing key": sending(change(b"WebSocket-Key", b"Key"), b"HTTP/1.1 400 "),
    "TLS on the plain port": sending(OPENING_OF_TLS, b"HTTP/1.1 400 "),
    "200 KiB header": sending(
        REQUEST[:-2] + b"X-Long: " + b"a" * 200 * 1024 + b"\r\n\r\n", b"HTTP/1.1 431 "
    ),
    "200 KiB without a line": sending(b"a" * 200 * 1024, b"HTTP/1.1 4"),
    "HTTP/1.0": sending(change(b"HTTP/1.1", b"HTTP/1.0"), b"HTTP/1.1 400 "),
    "HTTP/2": sending(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 400 "),
    "two hosts": sending(change(b"Host", b"Host: a\r\nHost"), b"HTTP/1.1 400 "),
    "binary": sending(bytes(range(256)), b"HTTP/1.1 400 "),
    "body": sending(change(b"X-Note: a", b"Content-Length: 5"), b"HTTP/1.1 400 "),
    "silence": say_nothing,
    "half a request, then silence": fall_silent,
    "gone at once": leave_at_once,
    "reset at once": reset_at_once,
    "reset amid the request": reset_amid_the_request,
    "reset behind the request": reset_behind_the_request,
    "reset behind a bad request": reset_behind_a_bad_request,
    "reset amid a frame": reset_amid_a_frame,
    "gone amid a frame": leave_amid_a_frame,
    "bad extension": offer_a_bad_extension,
    "not masked": send_a_frame_that_is_not_masked,
    "ping after the close": ping_after_the_close,
}


@pytest.mark.parametrize("rude", RUDE_CLIENTS.values(), ids=RUDE_CLIENTS)
async def test_a_rude_client_disturbs_nobody(
    rude: RudeClient, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Recorder(await open_listener())
    server = WebSocketServer(
        echo, [listener], connect_timeout=choose_timeout(rude), on_handler_error="raise"
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        url = f"ws://127.0.0.1:{listener.port}"
        async with open_websocket_url(url) as polite:
            await check_echo(polite)
            async with await listener.dial() as stream:
                await rude(stream)
            await check_echo(polite)
            async with open_websocket_url(url) as late:
                await check_echo(late)
        nursery.cancel_scope.cancel()
    assert {sock.fileno() for sock in listener.sockets} == {-1}
    assert find_errors(caplog) == []


HEADERS = [line.partition(b":")[0] for line in REQUEST.split(b"\r\n")[1:-2]]


@pytest.mark.parametrize("header", HEADERS, ids=bytes.decode)
@pytest.mark.parametrize("is_name", [True, False], ids=["name", "value"])
async def test_a_header_that_is_not_ascii_disturbs_nobody(
    header: bytes, *, is_name: bool, caplog: pytest.LogCaptureFixture
) -> None:
    # S-39, D-2, T1
    old = b"\r\n" + header + b": "
    sent = change(old, b"\r\n\xff" + old[2:] if is_name else old + b"\xff")
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
        url = f"ws://127.0.0.1:{server.port}"
        async with open_websocket_url(url) as polite:
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                peer = RawPeer(stream)
                await peer.send_bytes(sent)
                head = await peer.receive_head()
            assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 101 "))
            # Only a value that nobody has to understand may be like that.
            is_harmless = header == b"X-Note" and not is_name
            assert head.startswith(b"HTTP/1.1 101 ") == is_harmless
            await check_echo(polite)
        nursery.cancel_scope.cancel()
    assert find_errors(caplog) == []


@pytest.mark.parametrize(
    "rude",
    [
        send_plain_http,
        send_half_an_opening,
        reset_amid_the_opening,
        reset_at_once,
        say_nothing,
    ],
)
async def test_a_rude_client_disturbs_nobody_on_tls(
    rude: RudeClient,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # S-39
    listener = Recorder(await open_listener())
    server = WebSocketServer(
        echo,
        [trio.SSLListener(listener, server_tls, https_compatible=True)],
        connect_timeout=choose_timeout(rude),
        on_handler_error="raise",
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        url = f"wss://localhost:{server.port}"
        async with open_websocket_url(url, client_tls) as polite:
            async with await listener.dial() as stream:
                await rude(stream)
            await check_echo(polite)
            async with open_websocket_url(url, client_tls) as late:
                await check_echo(late)
        nursery.cancel_scope.cancel()
    assert {sock.fileno() for sock in listener.sockets} == {-1}
    assert find_errors(caplog) == []


async def test_a_tls_client_that_does_not_trust_the_server_disturbs_nobody(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, server_tls)
        url = f"wss://localhost:{server.port}"
        with pytest.raises(ConnectionFailed):
            async with open_websocket_url(url):
                raise AssertionError("the certificate is nobody's")
        async with open_websocket_url(url, client_tls) as polite:
            await check_echo(polite)
        nursery.cancel_scope.cancel()
    assert find_errors(caplog) == []


# Many clients.


async def test_two_hundred_rude_clients_leave_no_task_and_no_socket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def be_rude(number: int) -> None:
        kind = number % 4
        async with await listener.dial() as stream:
            if kind == 0:
                await stream.send_all(REQUEST)
            else:
                peer = await RawPeer.connect(stream)
                await peer.send_frame(2, bytes(kind * 20_000))
                await peer.send_bytes(b"\x82\xff")
            if kind % 2:
                reset(stream)

    listener = Recorder(await open_listener())
    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as handlers:
            server = WebSocketServer(
                echo, [listener], handler_nursery=handlers, on_handler_error="raise"
            )
            await outer.start(server.run)
            async with trio.open_nursery() as clients:
                for number in range(200):
                    clients.start_soon(be_rude, number)
            async with open_websocket_url(f"ws://127.0.0.1:{listener.port}") as last:
                # The listener is a queue: all others were accepted before this one.
                await check_echo(last)
        # Here the task of each client has ended by itself.
        outer.cancel_scope.cancel()
    assert len(listener.sockets) > 150  # some systems forget those that were reset
    assert {sock.fileno() for sock in listener.sockets} == {-1}
    assert find_errors(caplog) == []


async def test_two_clients_and_a_handler_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # S-38, T3
    async def fail_at_a_word(request: WebSocketRequest) -> None:
        connection = await request.accept()
        async for message in connection:
            if message == "fail":
                raise ValueError("the handler is broken")
            await connection.send_message(message)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            serve_websocket, fail_at_a_word, "127.0.0.1", 0, None
        )
        url = f"ws://127.0.0.1:{server.port}"
        async with open_websocket_url(url) as first, open_websocket_url(url) as second:
            await first.send_message("fail")
            with pytest.raises(ConnectionClosed) as caught:
                await first.get_message()
            await check_echo(second)
            async with open_websocket_url(url) as third:
                await check_echo(third)
        nursery.cancel_scope.cancel()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1011
    [record] = find_errors(caplog)
    assert "the handler is broken" in caplog.text
    assert "Traceback" in caplog.text
    assert record.name == "trio-websocket"


# What a handler answers.


async def test_a_handler_that_answers_nothing_is_a_rejection_at_once() -> None:
    # S-49, D-10
    async def ignore(request: WebSocketRequest) -> None:
        pass

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, ignore, "127.0.0.1", 0, None)
        with pytest.raises(ConnectionRejected) as caught, trio.fail_after(10):
            async with open_websocket_url(f"ws://127.0.0.1:{server.port}"):
                raise AssertionError("nobody has accepted")
        nursery.cancel_scope.cancel()
    assert caught.value.status_code == 500


async def test_a_client_that_sends_a_lot_still_reads_its_rejection() -> None:
    """A socket that is closed with unread bytes would reset the answer away."""

    async def reject(request: WebSocketRequest) -> None:
        await is_sent.wait()
        await request.reject(403, body=b"go away")

    async def send_a_lot() -> None:
        await stream.send_all(REQUEST + bytes(1_000_000))

    is_sent = trio.Event()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, reject, "127.0.0.1", 0, None)
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with stream:
            async with trio.open_nursery() as sending:
                sending.start_soon(send_a_lot)
                await trio.testing.wait_all_tasks_blocked(0.05)
                is_sent.set()
            heard = await RawPeer(stream).receive_eof()
        nursery.cancel_scope.cancel()
    assert heard.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert heard.endswith(b"go away")


async def test_a_client_that_sends_a_lot_still_reads_its_refusal() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(change(b"GET", b"PUT") + bytes(1_000_000))
            heard = await RawPeer(stream).receive_eof()
        nursery.cancel_scope.cancel()
    assert heard.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")


# Where it listens.


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
async def test_the_system_looks_after_clients_that_are_silent_for_long(
    *, is_tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    plain = Recorder(await open_listener())
    listener = trio.SSLListener(plain, server_tls, https_compatible=True)
    async with trio.open_nursery() as nursery:
        server = WebSocketServer(echo, [listener if is_tls else plain])
        await nursery.start(server.run)
        url = f"{'wss' if is_tls else 'ws'}://localhost:{plain.port}"
        async with open_websocket_url(url, client_tls if is_tls else None):
            [sock] = plain.sockets
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        nursery.cancel_scope.cancel()


async def test_tcp_knows_both_ends() -> None:
    ends: list[tuple[object, object]] = []

    async def note_ends(request: WebSocketRequest) -> None:
        ends.append((request.local, request.remote))
        connection = await request.accept()
        ends.append((connection.local, connection.remote))

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, note_ends, "127.0.0.1", 0, None)
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}") as client:
            await client.wait_closed()
        nursery.cancel_scope.cancel()
    assert isinstance(client.local, Endpoint)
    local, remote = f"{client.remote}", f"{client.local}"
    assert [(f"{here}", f"{there}") for here, there in ends] == [(local, remote)] * 2
    assert client.local.port != server_port_of(client)


def server_port_of(client: WebSocketConnection) -> int:
    assert isinstance(client.remote, Endpoint)
    return client.remote.port


async def test_tls_is_served_over_any_stream(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
        async def accept(self) -> trio.abc.Stream:
            return await streams.receive()

        async def aclose(self) -> None:
            await streams.aclose()

    dial, streams = trio.open_memory_channel[trio.abc.Stream](1)
    listener = trio.SSLListener(MemoryListener(), server_tls, https_compatible=True)
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        await nursery.start(WebSocketServer(echo, [listener]).run)
        await dial.send(server_stream)
        stream = trio.SSLStream(client_stream, client_tls, server_hostname="localhost")
        client = await wrap_client_stream(nursery, stream, "localhost", "/")
        await check_echo(client)
        await client.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
async def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    # D-11, T15
    path = str(tmp_path / "socket")
    ends: list[object] = []

    async def note_ends(request: WebSocketRequest) -> None:
        ends.append(request.local)
        await echo(request)

    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await sock.bind(path)
    sock.listen()
    server = WebSocketServer(note_ends, [trio.SocketListener(sock)])
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        stream = await trio.open_unix_socket(path)
        client = await wrap_client_stream(nursery, stream, "localhost", "/")
        await check_echo(client)
        await client.aclose()
        nursery.cancel_scope.cancel()
    assert ends == [f"unix:{path}"]
    assert client.remote == f"unix:{path}"


# How it ends.


@asynccontextmanager
async def open_clients(
    url: str, context: ssl.SSLContext | None
) -> AsyncGenerator[list[WebSocketConnection]]:
    async with (
        open_websocket_url(url, context) as first,
        open_websocket_url(url, context) as second,
        open_websocket_url(url, context) as third,
    ):
        yield [first, second, third]


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
async def test_a_cancelled_server_says_1001_to_every_client(
    *, is_tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    # D-9
    scheme, context = ("wss", client_tls) if is_tls else ("ws", None)
    scope = trio.CancelScope()

    async def serve(task_status: trio.TaskStatus[WebSocketServer]) -> None:
        tls = server_tls if is_tls else None
        with scope:
            await serve_websocket(*(echo, "127.0.0.1", 0, tls), task_status=task_status)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        url = f"{scheme}://localhost:{server.port}"
        async with open_clients(url, context) as clients:
            await check_echo(clients[0])
            scope.cancel()
            for client in clients:
                await client.wait_closed()
    for client in clients:
        assert client.close_received is not None
        assert client.close_received.code == 1001


async def test_a_cancelled_server_waits_for_a_rude_client_no_longer_than_it_may() -> (
    None
):
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[WebSocketServer]) -> None:
            await serve_websocket(
                *(echo, "127.0.0.1", 0, None),
                shutdown_timeout=0.2,
                task_status=task_status,
            )

        server = await nursery.start(serve)
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        peer = await RawPeer.connect(stream)
        start = trio.current_time()
        nursery.cancel_scope.cancel()
    assert 0.2 <= trio.current_time() - start < 5
    assert await peer.receive_close() == (1001, "")
    assert await peer.receive_eof() == b""
    await peer.aclose()


PROGRAM = """
import sys, trio, trio_websocket

async def echo(request):
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)

async def main():
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            trio_websocket.serve_websocket, echo, "127.0.0.1", 0, None
        )
        print(server.port, flush=True)

try:
    trio.run(main)
except* KeyboardInterrupt:
    print("interrupted", flush=True)
"""


async def receive_line(stream: trio.abc.ReceiveStream) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = await stream.receive_some(1)
        assert data
        line += data
    return line


@pytest.mark.skipif(os.name != "posix", reason="no SIGINT for one process here")
@pytest.mark.usefixtures("ctrl_c")
async def test_a_program_that_is_interrupted_says_1001_to_every_client() -> None:
    # S-40
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with process.stdout, process.stderr:
        try:
            port = int(await receive_line(process.stdout))
            async with open_clients(f"ws://127.0.0.1:{port}", None) as clients:
                await check_echo(clients[0])
                process.send_signal(signal.SIGINT)
                for client in clients:
                    with pytest.raises(ConnectionClosed) as caught:
                        await client.get_message()
                    assert caught.value.reason is not None
                    assert caught.value.reason.code == 1001
            assert await receive_line(process.stdout) == b"interrupted\n"
            assert await process.stderr.receive_some() == b""
            with trio.fail_after(5):
                assert await process.wait() == 0
        finally:
            process.kill()

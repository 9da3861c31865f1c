from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionRejected,
    Endpoint,
    WebSocketConnection,
    WebSocketRequest,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket.testing import RawPeer

Clock = trio.testing.MockClock

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # RFC 6455 section 1.3
    b"\r\n"
)


def build_request(*lines: str, path: str = "/chat?room=1") -> bytes:
    head = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


OFFERING = build_request("Sec-WebSocket-Protocol: chat, v2.chat")


@asynccontextmanager
async def open_request(
    sent: bytes = OFFERING,
) -> AsyncGenerator[tuple[WebSocketRequest, RawPeer]]:
    """A request in memory, and the client that made it."""
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        peer = RawPeer(client_stream)
        await peer.send_bytes(sent)
        yield await wrap_server_stream(nursery, server_stream), peer
        nursery.cancel_scope.cancel()


async def check_echo(connection: WebSocketConnection, peer: RawPeer) -> None:
    await peer.send_text("ping")
    assert await connection.get_message() == "ping"
    await connection.send_message("pong")
    assert (await peer.receive_frame()).payload == b"pong"


async def is_silent(peer: RawPeer) -> bool:
    """Whether nothing was sent to the client."""
    with trio.move_on_after(0) as scope:
        await peer.stream.receive_some()
    return scope.cancelled_caught


# What it is (T-08).


async def test_the_headers_are_in_lower_case_and_in_the_order_of_the_wire() -> None:
    sent = build_request(
        "X-B: 1",
        "Sec-WebSocket-Protocol: chat",
        "Sec-WebSocket-Extensions: foo",
        "X-A: 2",
        "x-b: 3",
    )
    async with open_request(sent) as (request, _):
        assert request.headers == [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"sec-websocket-version", b"13"),
            (b"x-b", b"1"),
            (b"x-a", b"2"),
            (b"x-b", b"3"),
        ]
        assert request.headers is request.headers


async def test_the_path_is_the_target_as_it_came() -> None:
    async with open_request(build_request(path="/a%20b?x=y%26&z")) as (request, _):
        assert request.path == "/a%20b?x=y%26&z"


@pytest.mark.parametrize(
    ("lines", "proposed"),
    [
        ([], ()),
        (["chat"], ("chat",)),
        (["b,a ,  c"], ("b", "a", "c")),
        (["b, a", "c"], ("b", "a", "c")),
    ],
)
async def test_the_proposed_subprotocols_are_in_the_clients_order(
    lines: list[str], proposed: tuple[str, ...]
) -> None:
    headers = [f"Sec-WebSocket-Protocol: {line}" for line in lines]
    async with open_request(build_request(*headers)) as (request, _):
        assert request.proposed_subprotocols == proposed


async def test_a_request_over_memory_names_its_stream() -> None:
    async with open_request() as (request, _):
        assert "StapledStream" in str(request.local)
        assert request.remote == request.local


async def test_a_request_over_tcp_knows_both_ends_also_when_it_is_over() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    client_stream = await trio.testing.open_stream_to_socket_listener(listener)
    server_stream = await listener.accept()
    await listener.aclose()
    async with client_stream, trio.open_nursery() as nursery:
        await client_stream.send_all(OFFERING)
        request = await wrap_server_stream(nursery, server_stream)
        await client_stream.aclose()
        await request.reject(404)
    assert isinstance(request.local, Endpoint)
    assert isinstance(request.remote, Endpoint)
    assert str(request.local.address) == "127.0.0.1"
    assert request.remote.port != request.local.port


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
async def test_a_request_over_a_unix_socket_says_so() -> None:
    # T15
    client_socket, server_socket = trio.socket.socketpair()
    async with trio.SocketStream(client_socket) as client_stream:
        await client_stream.send_all(OFFERING)
        async with trio.open_nursery() as nursery:
            stream = trio.SocketStream(server_socket)
            request = await wrap_server_stream(nursery, stream)
            assert request.local == "unix:"
            assert request.remote == "unix:"
            await client_stream.aclose()
            await request.reject(404)


async def test_a_request_takes_attributes_of_the_programs() -> None:
    async with open_request() as (request, _):
        vars(request)["user"] = "Ada"
        assert vars(request)["user"] == "Ada"


async def test_a_request_is_no_connection() -> None:
    # py-libp2p tells them apart in this way.
    async with open_request() as (request, _):
        assert not hasattr(request, "send_message")


# Accepting.


async def test_accepting_opens_the_connection() -> None:
    async with open_request() as (request, peer):
        connection = await request.accept()
        assert await peer.receive_head() == ANSWER
        assert connection.is_server
        assert connection.path == "/chat?room=1"
        assert connection.subprotocol is None
        assert connection.handshake_headers == ()
        await check_echo(connection, peer)


async def test_accepting_a_subprotocol_tells_the_client() -> None:
    async with open_request() as (request, peer):
        connection = await request.accept(subprotocol="v2.chat")
        assert b"\r\nSec-WebSocket-Protocol: v2.chat\r\n" in await peer.receive_head()
        assert connection.subprotocol == "v2.chat"


@pytest.mark.parametrize("sent", [OFFERING, build_request()])
async def test_accepting_a_subprotocol_that_was_not_offered_is_an_error(
    sent: bytes,
) -> None:
    # S-50, D-8
    async with open_request(sent) as (request, peer):
        with pytest.raises(ValueError, match="does not offer the subprotocol 'nope'"):
            await request.accept(subprotocol="nope")
        assert await is_silent(peer)
        connection = await request.accept()
        assert await peer.receive_head() == ANSWER
        assert connection.subprotocol is None
        await check_echo(connection, peer)


async def test_extra_headers_come_behind_those_of_the_handshake() -> None:
    async with open_request() as (request, peer):
        extra: list[tuple[bytes, bytes]] = [(b"X-B", b"1"), (b"X-A", b"2")]
        await request.accept(extra_headers=extra)
        head = await peer.receive_head()
        assert head == ANSWER[:-2] + b"X-B: 1\r\nX-A: 2\r\n\r\n"
        assert extra == [(b"X-B", b"1"), (b"X-A", b"2")]


@pytest.mark.parametrize(
    "extra", [{"X-A": "1"}, [("X-A", "1")], ((b"X-A", "1"),), [("X-A", b"1")]]
)
async def test_extra_headers_may_be_a_mapping_or_pairs_of_str_or_bytes(
    extra: Mapping[str, str] | list[tuple[str | bytes, str | bytes]],
) -> None:
    async with open_request() as (request, peer):
        await request.accept(extra_headers=extra)
        assert b"\r\nX-A: 1\r\n\r\n" in await peer.receive_head()


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ([("X-A", "a\r\nb")], ValueError),
        ([("X A", "a")], ValueError),
        ([("Sec-WebSocket-Accept", "a")], ValueError),
        ([("Content-Length", "3")], ValueError),
        ("X-A: 1", TypeError),
        ([("X-A", 1)], TypeError),
    ],
)
async def test_accepting_with_headers_that_cannot_be_sent_is_an_error(
    extra: object, error: type[Exception]
) -> None:
    async with open_request() as (request, peer):
        with pytest.raises(error):
            await request.accept(extra_headers=cast("Mapping[str, str]", extra))
        assert await is_silent(peer)
        await request.accept()
        assert await peer.receive_head() == ANSWER


async def test_a_second_accept_is_an_error_and_changes_nothing() -> None:
    async with open_request() as (request, peer):
        connection = await request.accept(subprotocol="chat")
        await peer.receive_head()
        with pytest.raises(ValueError, match="was answered already"):
            await request.accept(subprotocol="v2.chat")
        assert connection.subprotocol == "chat"
        assert connection.closed is None
        await check_echo(connection, peer)


async def test_a_rejection_behind_an_accept_is_an_error_and_changes_nothing() -> None:
    async with open_request() as (request, peer):
        connection = await request.accept()
        await peer.receive_head()
        with pytest.raises(ValueError, match="was answered already"):
            await request.reject(403)
        await check_echo(connection, peer)


async def test_what_the_client_sends_before_it_is_accepted_is_not_lost() -> None:
    async with open_request() as (request, peer):
        await peer.send_text("early")
        connection = await request.accept()
        assert await connection.get_message() == "early"


async def test_what_comes_with_the_request_is_not_lost() -> None:
    # The masked text "Hello" of RFC 6455 section 5.7.
    frame = bytes.fromhex("818537fa213d7f9f4d5158")
    async with open_request(OFFERING + frame[:4]) as (request, peer):
        await peer.send_bytes(frame[4:] + frame)
        connection = await request.accept()
        assert await connection.get_message() == "Hello"
        assert await connection.get_message() == "Hello"


# Rejecting.


@pytest.mark.parametrize(
    ("status_code", "first_line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (302, b"HTTP/1.1 302 Found\r\n"),
        (403, b"HTTP/1.1 403 Forbidden\r\n"),
        (599, b"HTTP/1.1 599 \r\n"),
        (999, b"HTTP/1.1 999 \r\n"),
    ],
)
async def test_a_rejection_is_a_whole_response(
    autojump_clock: Clock, status_code: int, first_line: bytes
) -> None:
    async with open_request() as (request, peer):
        await request.reject(status_code)
        end = b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        assert await peer.receive_eof() == first_line + end


async def test_a_rejection_may_have_headers_and_a_body(autojump_clock: Clock) -> None:
    extra: list[tuple[bytes, bytes]] = [(b"X-Reason", b"full")]
    async with open_request() as (request, peer):
        await request.reject(503, extra_headers=extra, body=b"come back later")
        assert await peer.receive_eof() == (
            b"HTTP/1.1 503 Service Unavailable\r\n"
            b"X-Reason: full\r\n"
            b"Content-Length: 15\r\n"
            b"Connection: close\r\n"
            b"\r\n"
            b"come back later"
        )
    assert extra == [(b"X-Reason", b"full")]


async def test_a_rejection_tells_the_length_only_once(autojump_clock: Clock) -> None:
    async with open_request() as (request, peer):
        extra = {"Content-Length": "3"}
        await request.reject(403, extra_headers=extra, body=b"abc")
        assert (await peer.receive_eof()).lower().count(b"content-length") == 1


@pytest.mark.parametrize(
    ("status_code", "extra", "body", "error"),
    [
        # S-50, D-8
        (101, None, None, ValueError),
        (199, None, None, ValueError),
        (1000, None, None, ValueError),
        ("403", None, None, TypeError),
        (True, None, None, TypeError),
        (204, None, b"abc", ValueError),
        (403, {"Content-Length": "2"}, b"abc", ValueError),
        (403, {"Transfer-Encoding": "chunked"}, b"abc", ValueError),
        (403, {"X-A": "\n"}, None, ValueError),
        (403, ["X-A"], None, TypeError),
        (403, None, "abc", TypeError),
        (403, None, "", TypeError),
    ],
)
async def test_a_rejection_that_is_no_response_is_an_error(
    status_code: int,
    extra: Mapping[str, str] | None,
    body: bytes | None,
    error: type[Exception],
) -> None:
    async with open_request() as (request, peer):
        with pytest.raises(error):
            await request.reject(status_code, extra_headers=extra, body=body)
        assert await is_silent(peer)
        await request.reject(403)
        assert b" 403 " in await peer.receive_head()


async def test_a_rejected_request_cannot_be_answered_again() -> None:
    async with open_request() as (request, peer):
        await request.reject(403)
        with pytest.raises(ValueError, match="was answered already"):
            await request.reject(404)
        with pytest.raises(ValueError, match="was answered already"):
            await request.accept()
        await peer.receive_head()
        assert await is_silent(peer)


async def test_a_rejection_does_not_wait_for_the_client(autojump_clock: Clock) -> None:
    async with open_request() as (request, peer):
        await request.reject(403)
        assert trio.current_time() == 0
        assert b" 403 " in await peer.receive_head()


async def test_a_rejection_ends_when_the_client_has_closed(
    autojump_clock: Clock,
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        await client_stream.send_all(OFFERING)
        request = await wrap_server_stream(nursery, server_stream)
        await request.reject(403)
        assert len(nursery.child_tasks) == 1
        await client_stream.aclose()
    assert trio.current_time() == 0


async def test_a_rejection_ends_after_a_second_whatever_the_client_does(
    autojump_clock: Clock,
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        await client_stream.send_all(OFFERING)
        request = await wrap_server_stream(nursery, server_stream)
        await request.reject(403)
    assert trio.current_time() == 1
    with pytest.raises(trio.ClosedResourceError):
        await server_stream.receive_some()


async def test_a_client_sees_the_whole_rejection(autojump_clock: Clock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def reject() -> None:
            request = await wrap_server_stream(nursery, server_stream)
            headers = {"X-A": "1"}
            await request.reject(403, extra_headers=headers, body=b"My body")

        nursery.start_soon(reject)
        with pytest.raises(ConnectionRejected) as caught:
            await wrap_client_stream(nursery, client_stream, "localhost", "/")
    assert caught.value.status_code == 403
    assert caught.value.headers == (
        (b"x-a", b"1"),
        (b"content-length", b"7"),
        (b"connection", b"close"),
    )
    assert caught.value.body == b"My body"
    assert trio.current_time() == 0

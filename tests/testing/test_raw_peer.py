from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket.testing import FaultyStream, RawFrame, RawPeer


async def accept(nursery: trio.Nursery, stream: trio.abc.Stream) -> WebSocketConnection:
    request = await wrap_server_stream(nursery, stream)
    return await request.accept()


async def serve_one(stream: trio.abc.Stream) -> None:
    async with trio.open_nursery() as nursery:
        connection = await accept(nursery, stream)
        with pytest.raises(ConnectionClosed):
            await connection.get_message()


async def test_the_example_of_the_documentation_works() -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_one, server_stream)
        async with await RawPeer.connect(client_stream) as peer:
            await peer.send_frame(1, b"half", fin=False)
            await peer.send_close(1001)
            assert await peer.receive_close() == (1001, "")


# The handshake.


async def test_a_client_asks_correctly() -> None:
    stream, other = trio.testing.memory_stream_pair()
    requests: list[WebSocketRequest] = []

    async def serve() -> None:
        request = await wrap_server_stream(nursery, other)
        requests.append(request)
        connection = await request.accept(subprotocol="chat")
        await connection.send_message("welcome")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        peer = await RawPeer.connect(
            stream,
            "example.com",
            "/chat?room=1",
            [("Sec-WebSocket-Protocol", "chat"), (b"X-Name", b"\xe9")],
        )
        frame = await peer.receive_frame()
        await peer.aclose()
    assert requests[0].path == "/chat?room=1"
    assert requests[0].proposed_subprotocols == ("chat",)
    assert (b"x-name", b"\xe9") in requests[0].headers
    assert peer.head.startswith(b"HTTP/1.1 101 ")
    assert peer.head.endswith(b"\r\n\r\n")
    assert b"\r\nSec-WebSocket-Protocol: chat\r\n" in peer.head
    assert peer.is_client
    assert frame == RawFrame(1, b"welcome")


async def test_a_client_sends_exactly_this() -> None:
    stream, other = trio.testing.memory_stream_pair()
    await other.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\nrest")
    peer = await RawPeer.connect(stream, headers=[("Cookie", "a=\xe9")])
    assert peer.head == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert await other.receive_some() == (
        b"GET / HTTP/1.1\r\n"
        b"Host: localhost\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Cookie: a=\xe9\r\n"
        b"\r\n"
    )
    await other.aclose()
    assert await peer.receive_eof() == b"rest"


async def test_a_server_accepts_correctly() -> None:
    stream, other = trio.testing.memory_stream_pair()
    peers: list[RawPeer] = []

    async def serve() -> None:
        headers = [("Sec-WebSocket-Protocol", "chat"), ("X-Name", "\xe9")]
        peers.append(await RawPeer.accept(other, headers, behind=b"\x81\x02hi"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        client = await wrap_client_stream(
            nursery, stream, "localhost", "/", subprotocols=["chat"]
        )
        assert client.subprotocol == "chat"
        assert (b"x-name", b"\xe9") in client.handshake_headers
        assert await client.get_message() == "hi"
        assert peers[0].head.startswith(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert not peers[0].is_client
        await peers[0].aclose()


async def test_a_server_sends_exactly_this() -> None:
    stream, other = trio.testing.memory_stream_pair()
    await other.send_all(
        b"GET / HTTP/1.1\r\nsec-websocket-key :  dGhlIHNhbXBsZSBub25jZQ== \r\n\r\n"
    )
    await RawPeer.accept(stream, behind=b"\x80\x80")
    assert (
        await other.receive_some()
        == (  # the accept value is of RFC 6455 section 1.3
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            b"\r\n"
            b"\x80\x80"
        )
    )


async def test_a_request_without_a_key_is_accepted_all_the_same() -> None:
    stream, other = trio.testing.memory_stream_pair()
    await other.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    peer = await RawPeer.accept(stream)
    assert peer.head == b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert bytes(await other.receive_some()).startswith(b"HTTP/1.1 101 ")


async def test_heads_are_received_one_after_the_other() -> None:
    stream, other = trio.testing.memory_stream_pair()
    peer = RawPeer(FaultyStream(stream, max_receive_size=1))
    assert peer.head == b""
    await other.send_all(b"HTTP/1.1 100\r\n\r\nHTTP/1.1 200\r\nA: b\r\n\r\n\x81\x00")
    assert await peer.receive_head() == b"HTTP/1.1 100\r\n\r\n"
    assert await peer.receive_head() == b"HTTP/1.1 200\r\nA: b\r\n\r\n"
    assert peer.head == b"HTTP/1.1 200\r\nA: b\r\n\r\n"
    assert await peer.receive_frame() == RawFrame(1, b"")


@pytest.mark.parametrize("open_peer", [RawPeer.connect, RawPeer.accept])
async def test_an_end_within_the_head_is_told(
    open_peer: Callable[[trio.abc.Stream], Awaitable[RawPeer]],
) -> None:
    stream, other = trio.testing.memory_stream_pair()
    await other.send_all(b"HTTP/1.1 101 Swi")
    await other.send_eof()
    with pytest.raises(EOFError, match="ended behind b'HTTP/1"):
        await open_peer(stream)


# Frames.


@pytest.mark.parametrize(
    ("is_client", "masked", "is_masked"),
    [
        (True, None, True),
        (True, False, False),
        (False, None, False),
        (False, True, True),
    ],
)
async def test_frames_are_masked_as_the_role_demands_unless_told_otherwise(
    *,
    is_client: bool,
    masked: bool | None,
    is_masked: bool,
) -> None:
    stream, other = trio.testing.memory_stream_pair()
    peer = RawPeer(stream, is_client=is_client)
    await peer.send_frame(1, b"Hello", masked=masked)
    masked_hello = (
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"  # RFC 6455 section 5.7
    )
    expected = masked_hello if is_masked else b"\x81\x05Hello"
    assert await other.receive_some() == expected


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize(
    ("opcode", "fin", "rsv"),
    [(0, False, 0), (2, True, 4), (9, True, 0), (15, False, 7)],
)
async def test_a_frame_arrives_as_it_was_sent(
    *,
    is_client: bool,
    size: int,
    opcode: int,
    fin: bool,
    rsv: int,
) -> None:
    stream, other = trio.testing.memory_stream_pair()
    sender = RawPeer(stream, is_client=is_client)
    receiver = RawPeer(FaultyStream(other, max_receive_size=1000))
    payload = bytes(range(256)) * 256
    await sender.send_frame(opcode, payload[:size], fin=fin, rsv=rsv)
    await sender.send_text("\xe9")
    expected = RawFrame(opcode, payload[:size], fin, rsv, is_client)
    assert await receiver.receive_frame() == expected
    assert await receiver.receive_frame() == RawFrame(
        1, "\xe9".encode(), is_masked=is_client
    )


async def test_bytes_are_sent_as_they_are() -> None:
    stream, other = trio.testing.memory_stream_pair()
    await RawPeer(stream).send_bytes(b"\xff\x00")
    assert await other.receive_some() == b"\xff\x00"


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x05", b"\x81\x05Hell"])
async def test_an_end_within_a_frame_is_told(data: bytes) -> None:
    stream, other = trio.testing.memory_stream_pair()
    await other.send_all(data)
    await other.send_eof()
    with pytest.raises(EOFError):
        await RawPeer(stream).receive_frame()


async def test_a_cancelled_receive_loses_nothing() -> None:
    stream, other = trio.testing.memory_stream_pair()
    peer = RawPeer(stream)
    for byte in b"\x81\x02hi":
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.receive_frame)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        await other.send_all(bytes([byte]))
    assert await peer.receive_frame() == RawFrame(1, b"hi")


# Close frames and the end of the stream.


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (1000, "", b"\x03\xe8"),
        (4000, "bye \xe9", b"\x0f\xa0bye \xc3\xa9"),
        (0, "", b"\x00\x00"),
        (None, "", b""),
    ],
)
async def test_a_close_arrives_as_it_was_sent(
    code: int | None, reason: str, payload: bytes
) -> None:
    stream, other = trio.testing.memory_stream_pair()
    sender, receiver = RawPeer(stream), RawPeer(other)
    await sender.send_close(code, reason)
    assert await receiver.receive_frame() == RawFrame(8, payload, is_masked=True)
    await sender.send_close(code, reason)
    assert await receiver.receive_close() == (code, reason)


async def test_a_close_is_1000_without_a_reason() -> None:
    stream, other = trio.testing.memory_stream_pair()
    await RawPeer(stream).send_close()
    assert await RawPeer(other).receive_close() == (1000, "")


@pytest.mark.parametrize(("opcode", "payload"), [(1, b"hello"), (9, b""), (8, b"\x03")])
async def test_another_frame_is_no_close(opcode: int, payload: bytes) -> None:
    stream, other = trio.testing.memory_stream_pair()
    await RawPeer(stream).send_frame(opcode, payload)
    with pytest.raises(AssertionError, match=f"not RawFrame.opcode={opcode}, "):
        await RawPeer(other).receive_close()


async def test_the_end_comes_with_all_that_is_unread() -> None:
    stream, other = trio.testing.memory_stream_pair()
    peer = RawPeer(stream)
    await other.send_all(b"\x81\x00\x82\x00")
    assert await peer.receive_frame() == RawFrame(1, b"")
    await other.send_all(b"\x83\x00")
    await other.send_eof()
    assert await peer.receive_eof() == b"\x82\x00\x83\x00"
    assert await peer.receive_eof() == b""


async def test_a_peer_that_has_ended_its_direction_still_receives() -> None:
    stream, other = trio.testing.memory_stream_pair()
    peer = RawPeer(stream)
    await peer.send_eof()
    assert await other.receive_some() == b""
    await other.send_all(b"\x81\x00")
    assert await peer.receive_frame() == RawFrame(1, b"")


async def test_a_stream_without_directions_cannot_be_ended_in_one() -> None:
    stream, _other = trio.testing.memory_stream_pair()
    with pytest.raises(TypeError, match="cannot be half-closed"):
        await RawPeer(FaultyStream(stream)).send_eof()


async def test_closing_drops_the_stream() -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    connections: list[WebSocketConnection] = []

    async def serve() -> None:
        connections.append(await accept(nursery, server_stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with await RawPeer.connect(client_stream) as peer:
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosed) as caught:
            await connections[0].get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1006
    with pytest.raises(trio.ClosedResourceError):
        await peer.send_text("too late")


async def test_a_broken_stream_raises_what_it_raises() -> None:
    stream, _other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    peer = RawPeer(faulty)
    await faulty.cut()
    for call in (peer.receive_frame, peer.receive_eof, peer.send_close):
        with pytest.raises(trio.BrokenResourceError):
            await call()

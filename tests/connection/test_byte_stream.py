"""The connection as a stream of bytes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket._options import ConnectionOptions
from trio_websocket.testing import FaultyStream

from .rig import OpenStreamPair, Rig, StreamPair, open_pair, open_rig, settle

TEXT, BINARY, CLOSE = 1, 2, 8
IMPATIENT = ConnectionOptions(disconnect_timeout=0.05)


@asynccontextmanager
async def open_lockstep_pair(_: str) -> AsyncGenerator[StreamPair]:
    yield trio.testing.lockstep_stream_pair()


async def clog(stream: trio.abc.Stream) -> None:
    """Send until that takes waiting."""
    while True:
        with trio.move_on_after(0.02) as scope:
            await stream.send_all(bytes(2**17))
        if scope.cancelled_caught:
            return


@pytest.mark.parametrize("is_lockstep", [True, False])
async def test_it_does_what_trio_wants_of_a_stream(
    open_stream_pair: OpenStreamPair, transport: str, *, is_lockstep: bool
) -> None:
    """A stream in memory takes everything, so it is never clogged."""
    can_clog = is_lockstep or transport != "memory"
    open_streams = open_lockstep_pair if is_lockstep else open_stream_pair
    async with AsyncExitStack() as stack:

        async def make_streams() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            streams = await stack.enter_async_context(open_streams(transport))
            pair = await stack.enter_async_context(
                open_pair(streams, options=IMPATIENT)
            )
            return pair[0].as_stream(), pair[1].as_stream()

        async def make_clogged_streams() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            streams = await make_streams()
            for stream in streams:
                await clog(stream)
            return streams

        await trio.testing.check_two_way_stream(
            make_streams, make_clogged_streams if can_clog else None
        )


async def receive_text(rig: Rig) -> None:
    frame = await rig.peer.receive_frame()
    assert frame.opcode == BINARY
    assert frame.payload == b"out"


async def test_bytes_leave_in_binary_messages_and_come_as_they_arrive() -> None:
    async with open_rig() as rig:
        stream = rig.connection.as_stream()
        await stream.send_all(memoryview(b"out"))
        await receive_text(rig)
        await rig.peer.send_frame(BINARY, b"abc", fin=False)
        assert await stream.receive_some(2) == b"ab"
        assert await stream.receive_some(2) == b"c"
        await rig.peer.send_frame(0, b"d")
        await rig.peer.send_frame(BINARY, b"")
        await rig.peer.send_frame(BINARY, b"e")
        assert await stream.receive_some() == b"d"
        assert await stream.receive_some() == b"e"


async def test_much_leaves_in_messages_that_any_peer_takes() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        data = bytes(range(240)) * 1250
        nursery.start_soon(rig.connection.as_stream().send_all, bytearray(data))
        received = b""
        while len(received) < len(data):
            frame = await rig.peer.receive_frame()
            assert frame.opcode == BINARY
            assert frame.fin
            assert len(frame.payload) <= 2**17
            received += frame.payload
        assert received == data


async def test_a_text_message_ends_the_stream() -> None:
    async with open_rig() as rig:
        await rig.peer.send_frame(TEXT, b"text")
        with pytest.raises(trio.BrokenResourceError) as caught:
            await rig.connection.as_stream().receive_some()
        assert isinstance(caught.value.__cause__, ConnectionClosed)
        assert rig.connection.closed is not None
        assert rig.connection.closed.code == 1003
        frame = await rig.peer.receive_frame()
        assert frame.opcode == CLOSE
        assert frame.payload.startswith(b"\x03\xeb")


@pytest.mark.parametrize(
    ("code", "is_end"), [(1000, True), (1001, True), (1002, False), (4000, False)]
)
async def test_the_stream_ends_if_the_peer_closes_in_order(
    code: int, *, is_end: bool
) -> None:
    async with open_rig() as rig:
        stream = rig.connection.as_stream()
        await rig.peer.send_frame(BINARY, b"last")
        await rig.peer.send_frame(CLOSE, code.to_bytes(2, "big"))
        assert await stream.receive_some() == b"last"
        for _ in range(2):
            if is_end:
                assert await stream.receive_some() == b""
            else:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.wait_send_all_might_not_block()


async def test_a_close_amid_a_message_is_not_the_end_of_a_stream() -> None:
    async with open_rig() as rig:
        stream = rig.connection.as_stream()
        await rig.peer.send_frame(BINARY, b"first", fin=False)
        assert await stream.receive_some() == b"first"
        await rig.peer.send_frame(CLOSE, b"\x03\xe8")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_a_close_behind_a_message_that_has_hardly_begun_is_no_end_either() -> (
    None
):
    async with open_rig() as rig:
        await rig.peer.send_frame(BINARY, b"", fin=False)
        await rig.peer.send_frame(CLOSE, b"\x03\xe8")
        stream = rig.connection.as_stream()
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()


async def test_a_connection_that_is_lost_breaks_the_stream() -> None:
    async with open_rig() as rig:
        await rig.peer.stream.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await rig.connection.as_stream().receive_some()


async def test_a_wait_to_send_ends_with_the_connection() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    faulty = FaultyStream(ours)
    faulty.stall_sending()
    async with open_rig((faulty, theirs)) as rig, trio.open_nursery() as nursery:
        stream = rig.connection.as_stream()
        await clog(stream)

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.wait_send_all_might_not_block()

        nursery.start_soon(wait)
        await settle()
        await rig.connection.abort()


async def test_a_wrong_limit_is_refused() -> None:
    async with open_rig() as rig:
        stream = rig.connection.as_stream()
        for limit in (1.5, True, "1"):
            with pytest.raises(TypeError):
                await stream.receive_some(limit)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="1 or more"):
            await stream.receive_some(0)


async def echo_bytes(stream: trio.abc.Stream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def echo_messages(connection: WebSocketConnection) -> None:
    async for message in connection:
        await connection.send_message(message)


async def test_tls_runs_through_it(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    data = bytes(range(250)) * 2000
    async with open_pair() as (client, server), trio.open_nursery() as nursery:
        outer = trio.SSLStream(
            client.as_stream(), client_tls, server_hostname="localhost"
        )
        inner = trio.SSLStream(server.as_stream(), server_tls, server_side=True)
        nursery.start_soon(echo_bytes, inner)
        nursery.start_soon(outer.send_all, data)
        received = b""
        while len(received) < len(data):
            received += await outer.receive_some(65536)
        assert received == data
        await outer.aclose()


async def test_a_second_websocket_runs_through_it() -> None:
    async with open_pair() as (client, server), trio.open_nursery() as nursery:

        async def serve() -> None:
            request = await wrap_server_stream(nursery, server.as_stream())
            await echo_messages(await request.accept())

        nursery.start_soon(serve)
        inner = await wrap_client_stream(
            nursery, client.as_stream(), "inner.example", "/inner"
        )
        await inner.send_message("through two of them")
        assert await inner.get_message() == "through two of them"
        await inner.aclose()
        assert client.closed is not None

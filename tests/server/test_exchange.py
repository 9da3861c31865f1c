from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio
import trio.testing

from trio_websocket import CloseReason, ConnectionClosed, ConnectionFailed
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.server_handshake import Refusal, ServerHandshake
from trio_websocket._protocol.upgrade_request import UpgradeRequest
from trio_websocket._server.exchange import (
    Exchange,
    receive_request,
    receive_request_now,
    say_and_end,
)
from trio_websocket.testing import FaultyStream, RawPeer, open_connection_pair

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
OpenStreamPair = Callable[[str], AbstractAsyncContextManager[StreamPair]]

Clock = trio.testing.MockClock

REQUEST = (
    b"GET /chat HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
OPTIONS = ConnectionOptions(disconnect_timeout=3)


class SimplexEnd(trio.abc.Stream):
    """A stream that cannot be closed in one direction only."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("nobody needs to know")

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def make_exchange(
    nursery: trio.Nursery, *, options: ConnectionOptions = OPTIONS
) -> tuple[Exchange, RawPeer, FaultyStream]:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    peer = RawPeer(client_stream)
    await peer.send_bytes(REQUEST)
    faulty = FaultyStream(server_stream)
    handshake = ServerHandshake()
    request = await receive_request(faulty, handshake, options)
    assert isinstance(request, UpgradeRequest)
    exchange = Exchange(faulty, handshake, request, nursery=nursery, options=options)
    return exchange, peer, faulty


# Receiving a request.


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_request_is_received_in_whatever_pieces_it_comes(size: int) -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(REQUEST)
    options = ConnectionOptions(receive_buffer_size=size)
    request = await receive_request(server, ServerHandshake(), options)
    assert isinstance(request, UpgradeRequest)
    assert request.target == "/chat"


async def test_a_request_that_is_no_good_is_received_as_a_refusal() -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(REQUEST.replace(b"GET", b"PUT"))
    request = await receive_request(server, ServerHandshake(), OPTIONS)
    assert isinstance(request, Refusal)
    assert request.status_code == 405


@pytest.mark.parametrize("start", [b"", REQUEST[:30]])
async def test_a_client_that_leaves_before_its_request_has_failed(start: bytes) -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(start)
    await client.aclose()
    with pytest.raises(ConnectionFailed) as caught:
        await receive_request(server, ServerHandshake(), OPTIONS)
    assert caught.value.__cause__ is None
    assert str(caught.value) == "the connection to the client failed"


async def test_a_stream_that_breaks_before_the_request_is_the_cause() -> None:
    _, server = trio.testing.memory_stream_pair()
    faulty = FaultyStream(server)
    await faulty.cut()
    with pytest.raises(ConnectionFailed) as caught:
        await receive_request(faulty, ServerHandshake(), OPTIONS)
    assert isinstance(caught.value.__cause__, trio.BrokenResourceError)


# Saying the last thing.


async def test_a_stream_ends_as_soon_as_the_client_has_closed_it(
    autojump_clock: Clock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_and_end, server, b"bye", 60)
        assert await RawPeer(client).receive_eof() == b"bye"
        await client.aclose()
    assert trio.current_time() == 0


async def test_what_the_client_sends_meanwhile_is_thrown_away(
    autojump_clock: Clock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_and_end, server, b"bye", 60)
        for _ in range(100):
            await client.send_all(bytes(10_000))
            await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        await client.aclose()
    assert trio.current_time() == 0


async def test_a_client_that_does_not_close_is_waited_for_one_second(
    autojump_clock: Clock,
) -> None:
    _client, server = trio.testing.memory_stream_pair()
    await say_and_end(server, b"bye", 60)
    assert trio.current_time() == 1
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_some()


async def test_a_stream_that_cannot_be_half_closed_is_closed_in_the_end(
    autojump_clock: Clock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    await say_and_end(SimplexEnd(server), b"bye", 60)
    assert await RawPeer(client).receive_eof() == b"bye"
    assert trio.current_time() == 1


async def test_a_client_that_takes_nothing_is_waited_for_as_long_as_was_said(
    autojump_clock: Clock,
) -> None:
    _client, server = trio.testing.lockstep_stream_pair()
    await say_and_end(server, b"bye", 3)
    assert trio.current_time() == 3
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_some()


async def test_a_client_that_has_gone_is_not_told(autojump_clock: Clock) -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.aclose()
    await say_and_end(server, b"bye", 60)
    assert trio.current_time() == 0
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_some()


async def test_the_last_word_counts_as_started_once_it_was_handed_over(
    autojump_clock: Clock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        await nursery.start(say_and_end, server, b"bye", 60)
        assert trio.current_time() == 0
        assert await client.receive_some() == b"bye"
    assert trio.current_time() == 1


async def test_the_last_word_counts_as_started_also_when_it_cannot_be_said(
    autojump_clock: Clock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.aclose()
    async with trio.open_nursery() as nursery:
        await nursery.start(say_and_end, server, b"bye", 60)


async def test_a_cancelled_last_word_closes_the_stream(autojump_clock: Clock) -> None:
    client, server = trio.testing.memory_stream_pair()
    with trio.move_on_after(0.5) as scope:
        await say_and_end(SimplexEnd(server), b"bye", 60)
    assert scope.cancelled_caught
    assert await RawPeer(client).receive_eof() == b"bye"
    assert trio.current_time() == 0.5


# Accepting.


async def test_a_cancelled_accept_drops_the_connection(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, faulty = await make_exchange(nursery)
        faulty.stall_sending()
        with trio.move_on_after(2) as scope:
            await exchange.accept(None, [])
        assert scope.cancelled_caught
        assert exchange.is_answered
        assert await peer.receive_eof() == b""
    assert trio.current_time() == 2


async def test_accepting_a_client_that_has_gone_says_that_it_is_closed() -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, _ = await make_exchange(nursery)
        await peer.aclose()
        with pytest.raises(ConnectionClosed) as caught:
            await exchange.accept(None, [])
        assert exchange.is_own_end(caught.value)
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1006


async def test_accepting_into_a_nursery_that_has_ended_drops_the_stream() -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, _ = await make_exchange(nursery)
    with pytest.raises(RuntimeError):
        await exchange.accept(None, [])
    assert await peer.receive_eof() == b""


async def test_accepting_into_a_cancelled_nursery_says_that_it_is_closed() -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, _ = await make_exchange(nursery)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), pytest.raises(ConnectionClosed):
            await exchange.accept(None, [])
    assert exchange.is_answered
    await peer.receive_eof()


# Rejecting.


async def test_a_cancelled_rejection_drops_the_stream(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, faulty = await make_exchange(nursery)
        faulty.stall_sending()
        with trio.move_on_after(2) as scope:
            await exchange.reject(404, [], b"")
        assert scope.cancelled_caught
        assert exchange.is_answered
        assert await peer.receive_eof() == b""
    assert trio.current_time() == 2


async def test_a_rejection_that_the_client_does_not_take_ends_in_time(
    autojump_clock: Clock,
) -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, faulty = await make_exchange(nursery)
        faulty.stall_sending()
        await exchange.reject(404, [], b"")
        assert await peer.receive_eof() == b""
    assert trio.current_time() == OPTIONS.disconnect_timeout


async def test_rejecting_in_a_nursery_that_has_ended_drops_the_stream() -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, _ = await make_exchange(nursery)
    with pytest.raises(RuntimeError):
        await exchange.reject(404, [], b"")
    assert await peer.receive_eof() == b""


# Closing.


async def test_there_is_nothing_to_close_before_the_request_was_accepted() -> None:
    async with trio.open_nursery() as nursery:
        exchange, _, _ = await make_exchange(nursery)
        exchange.close(1000)
        assert not exchange.is_answered
        closed = ConnectionClosed(CloseReason(1000, None))
        assert not exchange.is_own_end(closed)


async def test_closing_begins_the_closing_handshake(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, _ = await make_exchange(nursery)
        await exchange.accept(None, [])
        await peer.receive_head()
        exchange.close(1011)
        assert await peer.receive_close() == (1011, "")
    assert trio.current_time() == OPTIONS.disconnect_timeout


async def test_the_end_of_a_connection_is_told_from_that_of_another() -> None:
    async with open_connection_pair() as (client, _), trio.open_nursery() as nursery:
        await client.aclose()
        exchange, peer, _ = await make_exchange(nursery)
        connection = await exchange.accept(None, [])
        await peer.receive_head()
        await peer.send_close()
        with pytest.raises(ConnectionClosed) as own:
            await connection.get_message()
        with pytest.raises(ConnectionClosed) as other:
            await client.get_message()
        assert exchange.is_own_end(own.value)
        assert not exchange.is_own_end(other.value)
        assert not exchange.is_own_end(ValueError())


async def test_an_end_in_the_words_of_trio_is_the_same_end() -> None:
    async with open_connection_pair() as (client, _), trio.open_nursery() as nursery:
        await client.aclose()
        exchange, peer, _ = await make_exchange(nursery)
        connection = await exchange.accept(None, [])
        await peer.receive_head()
        await peer.send_close()
        with pytest.raises(trio.EndOfChannel) as own_end:
            await connection.receive()
        with pytest.raises(trio.BrokenResourceError) as own_break:
            await connection.send("too late")
        with pytest.raises(trio.ClosedResourceError) as other:
            await client.receive()
        assert exchange.is_own_end(own_end.value)
        assert exchange.is_own_end(own_break.value)
        assert not exchange.is_own_end(other.value)
        assert not exchange.is_own_end(trio.BrokenResourceError())


async def test_an_end_that_was_told_before_the_peer_closed_too_is_its_own() -> None:
    async with trio.open_nursery() as nursery:
        exchange, peer, _ = await make_exchange(nursery)
        connection = await exchange.accept(None, [])
        await peer.receive_head()
        exchange.close(1000)
        with pytest.raises(ConnectionClosed) as early:
            await connection.get_message()
        await peer.send_close(4000)
        await connection.wait_closed()
        with pytest.raises(ConnectionClosed) as late:
            await connection.get_message()
        assert early.value.reason is not late.value.reason
        assert exchange.is_own_end(early.value)
        assert exchange.is_own_end(late.value)


async def test_a_stream_that_fails_has_no_request_yet(
    open_stream_pair: OpenStreamPair,
) -> None:
    """Whoever waits for it then is told why."""
    async with open_stream_pair("socket") as (stream, _):
        await stream.aclose()
        assert (
            receive_request_now(stream, ServerHandshake(), ConnectionOptions()) is None
        )
        with pytest.raises(ConnectionFailed):
            await receive_request(stream, ServerHandshake(), ConnectionOptions())

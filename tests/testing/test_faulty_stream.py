from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed, wrap_client_stream
from trio_websocket.testing import FaultyStream, RawPeer

OpenStreamPair = Callable[
    [str], AbstractAsyncContextManager[tuple[trio.abc.Stream, trio.abc.Stream]]
]
Pair = tuple[FaultyStream, FaultyStream]


def make_pair(
    *, max_receive_size: int | None = None, max_send_size: int | None = None
) -> tuple[FaultyStream, trio.abc.Stream]:
    stream, other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(
        stream, max_receive_size=max_receive_size, max_send_size=max_send_size
    )
    return faulty, other


async def receive_into(received: bytearray, stream: trio.abc.ReceiveStream) -> None:
    while data := await stream.receive_some():
        received += data


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Receive until the end, or until nothing more comes."""
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_into, received, stream)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return bytes(received)


async def send_pieces(stream: trio.abc.SendStream, *pieces: bytes) -> None:
    for piece in pieces:
        await stream.send_all(piece)


async def send_for_ever(stream: trio.abc.SendStream) -> None:
    while True:
        await stream.send_all(b"x" * 2**20)


async def expect_error(
    error: type[Exception], call: Callable[[], Awaitable[object]]
) -> None:
    with pytest.raises(error):
        await call()


async def expect_broken(stream: trio.abc.Stream) -> None:
    await expect_error(trio.BrokenResourceError, partial(stream.send_all, b"x"))
    wait = stream.wait_send_all_might_not_block
    await expect_error(trio.BrokenResourceError, wait)
    await expect_error(trio.BrokenResourceError, stream.receive_some)


async def expect_gone(stream: trio.abc.Stream, *, received: bytes = b"") -> None:
    """Expect that the peer has gone after so many bytes, in order or with a reset."""
    data = bytearray()
    with contextlib.suppress(trio.BrokenResourceError):
        await receive_into(data, stream)
    assert data == received


async def serve_one(stream: trio.abc.Stream) -> None:
    async with await RawPeer.accept(stream) as peer:
        await peer.receive_eof()


async def test_the_example_of_the_documentation_works(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(client_stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_one, server_stream)
        client = await wrap_client_stream(nursery, faulty, "localhost", "/")
        faulty.cut_after_sending(10)
        with pytest.raises(ConnectionClosed):
            await client.send_message("longer than ten bytes")


# Without a fault.


async def test_without_a_fault_it_keeps_the_rules_of_streams() -> None:
    async def make_memory() -> Pair:
        one, other = trio.testing.memory_stream_pair()
        return FaultyStream(one), FaultyStream(other)

    async def make_lockstep() -> Pair:
        one, other = trio.testing.lockstep_stream_pair()
        return FaultyStream(one), FaultyStream(other)

    await trio.testing.check_two_way_stream(make_memory, make_lockstep)


async def test_in_pieces_it_keeps_the_rules_of_streams() -> None:
    async def make_memory() -> Pair:
        one, other = trio.testing.memory_stream_pair()
        return (
            FaultyStream(one, max_receive_size=999, max_send_size=999),
            FaultyStream(other, max_receive_size=999, max_send_size=999),
        )

    await trio.testing.check_two_way_stream(make_memory, None)


async def test_bytes_pass_and_are_counted(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (stream, other):
        faulty = FaultyStream(stream)
        assert (faulty.bytes_sent, faulty.bytes_received) == (0, 0)
        await faulty.send_all(b"ask")
        assert await other.receive_some() == b"ask"
        await faulty.wait_send_all_might_not_block()
        await other.send_all(b"answer")
        assert await faulty.receive_some(1) == b"a"
        assert (faulty.bytes_sent, faulty.bytes_received) == (3, 1)
        assert await faulty.receive_some() == b"nswer"
        assert (faulty.bytes_sent, faulty.bytes_received) == (3, 6)
        await other.aclose()
        assert await faulty.receive_some() == b""


async def test_closing_wakes_the_calls_that_wait(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (stream, other):
        faulty = FaultyStream(stream)
        faulty.stall_sending()

        async with trio.open_nursery() as nursery:
            for call in (partial(faulty.send_all, b"x"), faulty.receive_some):
                nursery.start_soon(expect_error, trio.ClosedResourceError, call)
            await trio.testing.wait_all_tasks_blocked()
            await trio.aclose_forcefully(faulty)
        await expect_gone(other)


# Delays and pieces.


async def test_each_call_is_delayed(autojump_clock: trio.testing.MockClock) -> None:
    stream, other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream, send_delay=2, receive_delay=3, max_send_size=1)
    await faulty.send_all(b"ask")
    assert trio.current_time() == 2
    await faulty.wait_send_all_might_not_block()
    assert trio.current_time() == 4
    await other.send_all(b"answer")
    assert await faulty.receive_some() == b"answer"
    assert trio.current_time() == 7


async def test_received_bytes_are_handed_out_in_pieces() -> None:
    faulty, other = make_pair(max_receive_size=2)
    await other.send_all(b"abcde")
    assert await faulty.receive_some() == b"ab"
    assert await faulty.receive_some(1) == b"c"
    assert await faulty.receive_some(100) == b"de"


async def test_others_get_their_turn_between_the_pieces() -> None:
    faulty, other = make_pair(max_send_size=2)
    pieces: list[bytes] = []

    async def receive() -> None:
        while piece := await other.receive_some():
            pieces.append(bytes(piece))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await faulty.send_all(bytearray(b"abcde"))
        await faulty.aclose()
    assert b"".join(pieces) == b"abcde"
    assert len(pieces) > 1


@pytest.mark.parametrize("size", [0, -1])
async def test_a_piece_has_at_least_one_byte(size: int) -> None:
    with pytest.raises(ValueError, match="a size must be 1 or more"):
        make_pair(max_receive_size=size)
    with pytest.raises(ValueError, match="a size must be 1 or more"):
        make_pair(max_send_size=size)


# Cuts.


async def test_a_cut_breaks_this_end_and_is_seen_by_the_other(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (stream, other):
        faulty = FaultyStream(stream)
        await faulty.cut()
        await expect_broken(faulty)
        await expect_gone(other)


async def expect_a_cut_to_wake_calls(faulty: FaultyStream) -> None:
    async with trio.open_nursery() as nursery:
        for call in (partial(send_for_ever, faulty), faulty.receive_some):
            nursery.start_soon(expect_error, trio.BrokenResourceError, call)
        await trio.testing.wait_all_tasks_blocked()
        await faulty.cut()


@pytest.mark.parametrize("kind", ["socket", "tls"])
async def test_a_cut_wakes_the_calls_that_wait(
    open_stream_pair: OpenStreamPair, kind: str
) -> None:
    async with open_stream_pair(kind) as (stream, _other):
        await expect_a_cut_to_wake_calls(FaultyStream(stream))


async def test_a_cut_wakes_the_calls_that_wait_in_memory() -> None:
    stream, _other = trio.testing.lockstep_stream_pair()
    await expect_a_cut_to_wake_calls(FaultyStream(stream))


async def test_a_cut_wakes_a_call_that_is_delayed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, _other = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream, receive_delay=100)

    async with trio.open_nursery() as nursery:
        call = faulty.receive_some
        nursery.start_soon(expect_error, trio.BrokenResourceError, call)
        await trio.sleep(1)
        await faulty.cut()
    assert trio.current_time() == 1


async def test_a_closed_stream_stays_closed_when_it_is_cut() -> None:
    faulty, _other = make_pair()
    await faulty.aclose()
    await faulty.cut()
    with pytest.raises(trio.ClosedResourceError):
        await faulty.receive_some()


async def test_a_cut_stream_can_be_closed() -> None:
    faulty, _other = make_pair()
    await faulty.cut()
    await faulty.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await faulty.send_all(b"x")


@pytest.mark.parametrize("size", range(8))
async def test_exactly_so_many_bytes_are_sent_before_a_cut(
    open_stream_pair: OpenStreamPair, transport: str, size: int
) -> None:
    async with open_stream_pair(transport) as (stream, other):
        faulty = FaultyStream(stream, max_send_size=2)
        # TLS has sent session tickets: unread, they would make of the end a reset.
        await other.send_all(b"hello")
        assert await faulty.receive_some() == b"hello"
        await send_pieces(faulty, b"be", b"fore")
        faulty.cut_after_sending(size)
        with pytest.raises(trio.BrokenResourceError):
            await send_pieces(faulty, b"ab", b"cde", b"f", b"gh")
        assert faulty.bytes_sent == 6 + size
        await expect_gone(other, received=b"before" + b"abcdefgh"[:size])
        await expect_broken(faulty)


async def test_the_call_that_sends_the_last_byte_before_a_cut_succeeds() -> None:
    faulty, other = make_pair()
    faulty.cut_after_sending(3)
    await faulty.send_all(b"abc")
    await expect_gone(other, received=b"abc")
    await expect_broken(faulty)


@pytest.mark.parametrize("size", range(6))
async def test_exactly_so_many_bytes_are_received_before_a_cut(
    open_stream_pair: OpenStreamPair, transport: str, size: int
) -> None:
    async with open_stream_pair(transport) as (stream, other):
        faulty = FaultyStream(stream, max_receive_size=2)
        await other.send_all(b"abcdef")
        faulty.cut_after_receiving(size)
        received = bytearray()
        with pytest.raises(trio.BrokenResourceError):
            await receive_into(received, faulty)
        assert received == b"abcdef"[:size]
        assert faulty.bytes_received == size
        await expect_broken(faulty)
        await expect_gone(other)


@pytest.mark.parametrize("size", [0, 3])
async def test_a_limit_reaches_a_call_that_waits(size: int) -> None:
    faulty, other = make_pair()
    received = bytearray()
    async with trio.open_nursery() as nursery:
        receive = partial(receive_into, received, faulty)
        nursery.start_soon(expect_error, trio.BrokenResourceError, receive)
        await trio.testing.wait_all_tasks_blocked()
        faulty.cut_after_receiving(size)
        await trio.testing.wait_all_tasks_blocked()
        if size:
            await other.send_all(b"abcdef")
    assert received == b"abcdef"[:size]


async def test_a_limit_reaches_a_call_that_is_about_to_return() -> None:
    faulty, other = make_pair()
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await faulty.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await other.send_all(b"abcdef")
        faulty.cut_after_receiving(3)
    assert received == [b"abc"]
    await expect_broken(faulty)


async def test_a_number_of_bytes_is_not_negative() -> None:
    faulty, _other = make_pair()
    for limit in (faulty.cut_after_sending, faulty.cut_after_receiving):
        with pytest.raises(ValueError, match="must be 0 or more, not -1"):
            limit(-1)


# Swallowing, stalling, ending.


async def test_what_is_swallowed_is_sent_and_never_arrives() -> None:
    faulty, other = make_pair()
    await faulty.send_all(b"before")
    faulty.swallow_sending()
    await faulty.send_all(b"after")
    await faulty.wait_send_all_might_not_block()
    assert faulty.bytes_sent == 11
    assert await receive_all(other) == b"before"
    await other.send_all(b"answer")
    assert await faulty.receive_some() == b"answer"


async def test_a_stalled_call_sends_when_it_may_go_on() -> None:
    faulty, other = make_pair()
    faulty.stall_sending()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faulty.send_all, b"late")
        assert await receive_all(other) == b""
        assert faulty.bytes_sent == 0
        faulty.resume_sending()
        assert await receive_all(other) == b"late"


async def test_a_stalled_stream_may_block_a_sender() -> None:
    faulty, _other = make_pair()
    faulty.stall_sending()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faulty.wait_send_all_might_not_block)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    faulty.resume_sending()
    await faulty.wait_send_all_might_not_block()


async def test_a_call_is_stalled_before_its_next_piece() -> None:
    one, other = trio.testing.lockstep_stream_pair()
    faulty = FaultyStream(one, max_send_size=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faulty.send_all, b"abcd")
        await trio.testing.wait_all_tasks_blocked()
        faulty.stall_sending()
        assert await receive_all(other) == b"ab"
        faulty.resume_sending()
        assert await receive_all(other) == b"cd"


async def test_a_silent_peer_is_heard_when_it_may_go_on(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (stream, other):
        faulty = FaultyStream(stream)
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await faulty.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            faulty.stall_receiving()
            await other.send_all(b"late")
            await trio.testing.wait_all_tasks_blocked()
            assert received == []
            faulty.resume_receiving()
        assert received == [b"late"]


async def test_the_end_comes_behind_what_was_sent(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (stream, other):
        faulty = FaultyStream(stream, max_receive_size=4)
        await other.send_all(b"before")
        await faulty.end_receiving()
        await other.send_all(b"after")
        assert await faulty.receive_some() == b"befo"
        assert await faulty.receive_some(1) == b"r"
        assert await faulty.receive_some() == b"e"
        assert await faulty.receive_some() == b""
        await faulty.end_receiving()
        assert await faulty.receive_some() == b""
        assert faulty.bytes_received == 6
        await faulty.send_all(b"still open")
        await faulty.wait_send_all_might_not_block()


async def test_the_end_reaches_a_call_that_waits(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (stream, _other):
        faulty = FaultyStream(stream)
        received: list[bytes] = []

        async def receive() -> None:
            received.append(await faulty.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await faulty.end_receiving()
        assert received == [b""]


async def test_bytes_that_were_read_ahead_survive_a_cancellation() -> None:
    faulty, other = make_pair()
    await other.send_all(b"before")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faulty.end_receiving)
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    await other.send_all(b" and after")
    assert await receive_all(faulty) == b"before and after"


async def test_a_stream_that_has_ended_can_be_ended() -> None:
    faulty, other = make_pair()
    await other.aclose()
    await faulty.end_receiving()
    assert await faulty.receive_some() == b""


async def test_a_broken_stream_can_be_ended() -> None:
    stream, _other = trio.testing.memory_stream_pair()
    inner = FaultyStream(stream)
    await inner.cut()
    faulty = FaultyStream(inner)
    await faulty.end_receiving()
    assert await faulty.receive_some() == b""


async def test_errors_of_the_stream_beneath_come_through() -> None:
    stream, _other = trio.testing.memory_stream_pair()
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await FaultyStream(stream).receive_some()

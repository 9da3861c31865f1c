"""The scheduling contract: when a call lets others run, and sees a cancellation.

How often a task lets others run is counted, so the same calls give the same number each
time, on any machine.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed, WebSocketConnection
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.frame_header import Opcode, build_header

from .rig import OpenStreamPair, Rig, build_connection, open_pair, open_rig, settle

ON_POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="a socket is not written without waiting there"
)
ALL_AT_HAND = ConnectionOptions(message_queue_size=10_000)
QUEUE_SIZES = pytest.mark.parametrize("queue_size", [0, 1, 3, 10_000])

Call = Callable[[WebSocketConnection], Awaitable[object]]


class Watcher(trio.abc.Instrument):
    """Counts how often its task lets others run."""

    def __init__(self) -> None:
        self.count = 0
        self._task = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self._task


async def count_turns(calls: Callable[[], Awaitable[None]]) -> int:
    """Tell how often others may run meanwhile."""
    watcher = Watcher()
    trio.lowlevel.add_instrument(watcher)
    await calls()
    trio.lowlevel.remove_instrument(watcher)
    return watcher.count


async def put_at_hand(rig: Rig, payload: bytes, count: int) -> None:
    """Have the peer send so many messages that a call finds at hand."""
    await rig.peer.send_bytes(
        (build_header(Opcode.TEXT, len(payload)) + payload) * count
    )
    await settle()


# 1,000 small messages.


@QUEUE_SIZES
@pytest.mark.parametrize("name", ["get_message", "__anext__"])
async def test_1000_messages_that_are_taken_one_by_one_give_3_turns(
    name: str, queue_size: int
) -> None:
    async def take() -> None:
        for _ in range(1000):
            await getattr(rig.connection, name)()

    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await put_at_hand(rig, b"hello", 1000)
        assert await count_turns(take) == 3


@pytest.mark.parametrize(("limit", "turns"), [(None, 1), (250, 2), (16, 3), (1, 3)])
@QUEUE_SIZES
async def test_1000_messages_that_are_taken_together_give_few_turns(
    limit: int | None, turns: int, queue_size: int
) -> None:
    async def take() -> None:
        count = 0
        while count < 1000:
            count += len(await rig.connection.get_messages(limit))

    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await put_at_hand(rig, b"hello", 1000)
        assert await count_turns(take) == turns


@ON_POSIX
async def test_1000_messages_that_are_sent_one_by_one_give_15_turns(
    open_stream_pair: OpenStreamPair,
) -> None:
    async def send() -> None:
        for _ in range(1000):
            await rig.connection.send_message("hello")

    async with open_stream_pair("socket") as streams, open_rig(streams) as rig:
        assert await count_turns(send) == 1000 // 64


@ON_POSIX
async def test_1000_messages_that_are_sent_together_give_a_turn_between_batches(
    open_stream_pair: OpenStreamPair,
) -> None:
    async def send() -> None:
        await rig.connection.send_messages(["hello"] * 1000)

    async with open_stream_pair("socket") as streams, open_rig(streams) as rig:
        assert 3 <= await count_turns(send) <= 6


@pytest.mark.parametrize("name", ["receive", "send"])
async def test_calls_in_the_manner_of_a_channel_always_give_a_turn(name: str) -> None:
    async def call() -> None:
        for _ in range(100):
            if name == "send":
                await connection.send("hello")
            else:
                await rig.connection.receive()

    async with open_rig(options=ALL_AT_HAND) as rig:
        await put_at_hand(rig, b"hello", 1000)
        connection, link = build_connection(TakingStream())
        rig.nursery.start_soon(link.run)
        assert 100 <= await count_turns(call) <= 110


# Large ones.


@pytest.mark.parametrize("name", ["get_message", "__anext__", "get_messages"])
@pytest.mark.parametrize(
    "payload",
    # Nobody has counted the UTF-8 of text, which may have four bytes a character.
    [b"x" * 65_536, "\u00e4".encode() * 16_384],
)
async def test_large_messages_at_hand_give_turns_for_their_bytes(
    name: str, payload: bytes
) -> None:
    async def take() -> None:
        count = 0
        while count < 32:
            messages = await getattr(rig.connection, name)()
            count += len(messages) if name == "get_messages" else 1

    async with open_rig(options=ALL_AT_HAND) as rig:
        for _ in range(32):
            await put_at_hand(rig, payload, 1)
        turns = await count_turns(take)
        assert turns == (1 if name == "get_messages" else 8)


class TakingStream(trio.abc.Stream):
    """A stream that takes at once whatever is written, and has nothing to say."""

    def write_now(self, data: bytes | memoryview) -> int:
        return len(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("never asked")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        assert max_bytes == 65536
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_text_that_is_sent_counts_as_what_it_is_on_the_wire() -> None:
    async def send() -> None:
        for _ in range(32):
            await connection.send_message("ä" * 32_768)

    connection, link = build_connection(TakingStream(), is_client=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        assert await count_turns(send) == 8
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [16_000, 60_000, 130_000, 500_000])
async def test_each_128_kib_that_are_sent_together_give_a_turn(size: int) -> None:
    async def send() -> None:
        await connection.send_messages([bytes(size)] * (4_000_000 // size))

    connection, link = build_connection(TakingStream())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        batches = 4_000_000 // max(131_072 // size * size, size)
        assert await count_turns(send) >= batches - 1
        nursery.cancel_scope.cancel()


# Other calls.


@ON_POSIX
async def test_a_pong_gives_turns_too(open_stream_pair: OpenStreamPair) -> None:
    async def send() -> None:
        for _ in range(1024):
            await rig.connection.pong()

    async with open_stream_pair("socket") as streams, open_rig(streams) as rig:
        assert await count_turns(send) == 16


@pytest.mark.parametrize(
    "name", ["get_message", "__anext__", "get_messages", "ping", "pong"]
)
async def test_calls_that_fail_give_turns_too(name: str) -> None:
    async def fail() -> None:
        for _ in range(2570):
            with pytest.raises((ConnectionClosed, StopAsyncIteration)):
                await getattr(rig.connection, name)()

    async with open_rig() as rig:
        await rig.connection.abort()
        assert 9 <= await count_turns(fail) <= 11


@pytest.mark.parametrize("name", ["send_message", "send_messages"])
async def test_sending_that_fails_gives_turns_too(name: str) -> None:
    async def fail() -> None:
        for _ in range(2570):
            with pytest.raises(ConnectionClosed):
                await getattr(rig.connection, name)("x")

    async with open_rig() as rig:
        await rig.connection.abort()
        assert 9 <= await count_turns(fail) <= 11


async def test_calls_of_many_kinds_on_many_connections_share_one_budget(
    open_stream_pair: OpenStreamPair,
) -> None:
    async def call() -> None:
        for _ in range(128):
            await client.get_message()
            await anext(client)
            await client.pong()
            await rig.connection.get_message()
            await rig.connection.get_messages(1)
            await client.send_message("")
            await client.send_messages(["x"])
            await server.pong()

    async with (
        open_stream_pair("socket") as streams,
        open_pair(streams, options=ALL_AT_HAND) as (client, server),
        open_rig(options=ALL_AT_HAND) as rig,
    ):
        for _ in range(300):
            await server.send_message("hello")
        await put_at_hand(rig, b"hello", 300)
        await trio.lowlevel.checkpoint()
        # Half of them send: in all 512, and 64 of those give a turn.
        assert 7 <= await count_turns(call) <= 9


# What others see of it.


async def test_a_task_beside_a_flood_has_its_turns() -> None:
    turns = 0

    async def run_beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with open_rig(options=ALL_AT_HAND) as rig, trio.open_nursery() as nursery:
        await put_at_hand(rig, b"hello", 5120)
        nursery.start_soon(run_beside)
        await trio.lowlevel.checkpoint()
        before = turns
        for _ in range(5120):
            await rig.connection.get_message()
        # Which of two tasks runs first in a turn is a matter of chance.
        assert 19 <= turns - before <= 21
        nursery.cancel_scope.cancel()


async def test_a_message_at_hand_is_taken_without_a_turn() -> None:
    async with open_rig() as rig:
        for call in (
            rig.connection.get_message,
            rig.connection.get_messages,
            rig.connection.__anext__,
        ):
            await put_at_hand(rig, b"hello", 1)
            with trio.testing.assert_no_checkpoints():
                await call()


# Cancellation.


CALLS: dict[str, Call] = {
    "get_message": lambda end: end.get_message(),
    "anext": anext,
    "get_messages": lambda end: end.get_messages(1),
    "send_message": lambda end: end.send_message(""),
    "send_messages": lambda end: end.send_messages(["", b""]),
    "send_nothing": lambda end: end.send_messages([]),
    "send_very_many": lambda end: end.send_messages(["x"] * 300),
    "pong": lambda end: end.pong(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("connections", [1, 3])
async def test_a_cancellation_is_seen_within_16_calls(
    open_stream_pair: OpenStreamPair, call: Call, connections: int
) -> None:
    """Also if they go to several connections in turn."""
    async with (
        open_stream_pair("socket") as streams,
        open_pair(streams, options=ALL_AT_HAND) as (client, server),
        open_rig(options=ALL_AT_HAND) as first,
        open_rig(options=ALL_AT_HAND) as second,
    ):
        for _ in range(100):
            await server.send_message("hello")
        for rig in (first, second):
            await put_at_hand(rig, b"hello", 100)
        ends = [client, first.connection, second.connection][:connections]
        for is_cancelled in (False, True, True, True):
            with trio.CancelScope() as scope:
                if is_cancelled:
                    scope.cancel()
                for number in range(16):
                    await call(ends[number % connections])
            assert scope.cancelled_caught is is_cancelled


@pytest.mark.parametrize("name", ["receive", "send", "aclose"])
async def test_a_cancellation_is_seen_at_once_by_calls_that_promise_it(
    name: str,
) -> None:
    async with open_rig() as rig:
        await put_at_hand(rig, b"hello", 1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await getattr(rig.connection, name)(*(["x"] if name == "send" else []))
        assert scope.cancelled_caught

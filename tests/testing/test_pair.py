from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionState,
    WebSocketConnection,
)
from trio_websocket.testing import open_connection_pair


def reason_of(connection: WebSocketConnection) -> tuple[int, str | None]:
    assert isinstance(connection.closed, CloseReason)
    return connection.closed.code, connection.closed.reason


async def greet(connection: WebSocketConnection) -> None:
    name = await connection.get_message()
    await connection.send_message(f"Hello, {name!s}!")


async def test_the_example_of_the_documentation_works(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_connection_pair() as (client, server):
        await client.send_message("Ada")
        await greet(server)
        assert await client.get_message() == "Hello, Ada!"


async def test_the_client_comes_first() -> None:
    async with open_connection_pair() as (client, server):
        assert client.is_client
        assert server.is_server


@pytest.mark.parametrize("sender", [0, 1])
@pytest.mark.parametrize("message", ["text", b"binary", "", b"", "x" * 100_000])
async def test_messages_go_both_ways_in_one_task(
    sender: int, message: str | bytes
) -> None:
    async with open_connection_pair() as pair:
        await pair[sender].send_message(message)
        assert await pair[1 - sender].get_message() == message


async def test_a_ping_is_answered(autojump_clock: trio.testing.MockClock) -> None:
    async with open_connection_pair() as (client, server):
        assert await client.ping() == 0
        assert await server.ping() == 0


async def test_the_path_arrives() -> None:
    async with open_connection_pair(path="/chat?room=1") as (client, server):
        assert client.path == server.path == "/chat?room=1"


async def test_there_is_no_subprotocol_unless_asked_for() -> None:
    async with open_connection_pair() as (client, server):
        assert client.subprotocol is None
        assert server.subprotocol is None


async def test_a_subprotocol_is_offered_and_accepted() -> None:
    async with open_connection_pair(subprotocol="chat") as (client, server):
        assert client.subprotocol == server.subprotocol == "chat"


async def test_leaving_closes_both_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_connection_pair() as (client, server):
        assert client.closed is None
        assert server.closed is None
    for connection in (client, server):
        assert reason_of(connection) == (1000, None)
        assert connection.state is ConnectionState.CLOSED
    assert trio.current_time() == 0


async def test_leaving_leaves_no_task(autojump_clock: trio.testing.MockClock) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_connection_pair():
        pass
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("message_queue_size", [0, 1, math.inf])
async def test_unread_messages_do_not_hold_up_leaving(
    autojump_clock: trio.testing.MockClock, message_queue_size: float
) -> None:
    async with open_connection_pair(message_queue_size=message_queue_size) as pair:
        for connection in pair:
            for number in range(10):
                await connection.send_message(f"message {number}")
    assert [reason_of(connection) for connection in pair] == [(1000, None)] * 2
    assert trio.current_time() == 0


@pytest.mark.parametrize("closer", [0, 1])
async def test_one_end_may_be_closed_already(
    autojump_clock: trio.testing.MockClock, closer: int
) -> None:
    async with open_connection_pair() as pair:
        await pair[closer].aclose(4000, "enough")
        with pytest.raises(ConnectionClosed):
            await pair[1 - closer].get_message()
    assert [reason_of(connection) for connection in pair] == [(4000, "enough")] * 2


@pytest.mark.parametrize("aborter", [0, 1])
async def test_one_end_may_be_dropped_already(
    autojump_clock: trio.testing.MockClock, aborter: int
) -> None:
    async with open_connection_pair() as pair:
        await pair[aborter].abort()
    assert pair[0].state is pair[1].state is ConnectionState.CLOSED
    assert trio.current_time() == 0


async def test_an_exception_comes_out_bare(
    autojump_clock: trio.testing.MockClock,
) -> None:
    error = KeyError("of the body")
    ends: list[WebSocketConnection] = []

    async def leave() -> None:
        async with open_connection_pair() as pair:
            ends.extend(pair)
            raise error

    with pytest.raises(KeyError) as caught:
        await leave()
    assert caught.value is error
    assert [reason_of(end) for end in ends] == [(1000, None)] * 2


async def test_a_cancelled_block_is_left_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ends: list[WebSocketConnection] = []
    with trio.move_on_after(1) as scope:
        async with open_connection_pair() as pair:
            ends += pair
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == 1
    assert [end.state for end in ends] == [ConnectionState.CLOSED] * 2


async def test_a_cancelled_opening_leaves_no_task(
    autojump_clock: trio.testing.MockClock,
) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_connection_pair():
            raise AssertionError("the block was entered")
    assert scope.cancelled_caught
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("sender", [0, 1])
@pytest.mark.parametrize(("unread", "is_answered"), [(3, True), (4, False)])
async def test_the_queue_has_the_size_asked_for(
    *,
    autojump_clock: trio.testing.MockClock,
    sender: int,
    unread: int,
    is_answered: bool,
) -> None:
    async with open_connection_pair(message_queue_size=3) as pair:
        for _ in range(unread):
            await pair[sender].send_message("unread")
        with trio.move_on_after(1) as scope:
            await pair[sender].ping()
        assert scope.cancelled_caught is not is_answered


@pytest.mark.parametrize("closer", [0, 1])
async def test_closing_takes_the_time_asked_for(
    autojump_clock: trio.testing.MockClock, closer: int
) -> None:
    async with open_connection_pair(disconnect_timeout=5) as pair:
        for _ in range(3):  # with these unread, the other end does not see the Close
            await pair[closer].send_message("unread")
        await pair[closer].aclose()
        assert trio.current_time() == 5


async def count_turns(receive_buffer_size: int | None, receiver: int) -> int:
    """Count the turns that it takes to receive 1,000 bytes."""

    class Counter(trio.abc.Instrument):
        def __init__(self) -> None:
            self.turns: list[str] = []

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.turns.append(task.name)

    counter = Counter()
    async with open_connection_pair(receive_buffer_size=receive_buffer_size) as pair:
        trio.lowlevel.add_instrument(counter)
        await pair[1 - receiver].send_message(b"x" * 1000)
        assert await pair[receiver].get_message() == b"x" * 1000
        trio.lowlevel.remove_instrument(counter)
    return len(counter.turns)


@pytest.mark.parametrize("receiver", [0, 1])
async def test_the_buffer_has_the_size_asked_for(receiver: int) -> None:
    assert await count_turns(1, receiver) > 1000
    assert await count_turns(100, receiver) < 100
    assert await count_turns(None, receiver) < 50


@pytest.mark.parametrize("sender", [0, 1])
async def test_a_message_has_at_most_the_size_asked_for(
    autojump_clock: trio.testing.MockClock, sender: int
) -> None:
    async with open_connection_pair(max_message_size=10) as pair:
        await pair[sender].send_message(b"x" * 10)
        assert await pair[1 - sender].get_message() == b"x" * 10
        await pair[sender].send_message(b"x" * 11)
        with pytest.raises(ConnectionClosed):
            await pair[1 - sender].get_message()
        assert reason_of(pair[1 - sender])[0] == 1009


async def test_a_bad_option_is_told_before_anything_happens() -> None:
    with pytest.raises(ValueError, match="message_queue_size"):
        async with open_connection_pair(message_queue_size=-1):
            raise AssertionError("the block was entered")


async def test_a_bad_subprotocol_is_told() -> None:
    with pytest.raises(ValueError, match="'a b' is not a token"):
        async with open_connection_pair(subprotocol="a b"):
            raise AssertionError("the block was entered")

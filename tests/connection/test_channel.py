"""The connection in Trio's words: a channel of messages."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed, WebSocketConnection

from .rig import OpenStreamPair, open_pair, open_rig, settle

ORDERLY_CODES = [1000, 1001]
OTHER_CODES = [None, 1002, 1008, 1011, 4000]
ALL_CODES = [*ORDERLY_CODES, *OTHER_CODES]


async def receive_all(
    channel: trio.abc.ReceiveChannel[str | bytes],
) -> list[str | bytes]:
    return [value async for value in channel]


async def send_two(channel: trio.abc.SendChannel[str | bytes]) -> None:
    await channel.send("text")
    await channel.send(b"bytes")


async def test_a_connection_is_a_channel_for_those_who_know_channels(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (client, server),
    ):
        assert isinstance(client, trio.abc.Channel)
        await send_two(client)
        assert [await server.receive(), await server.receive()] == ["text", b"bytes"]


@pytest.mark.parametrize("code", ORDERLY_CODES)
async def test_receiving_ends_when_the_peer_closes_in_order(code: int) -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("last")
        await rig.peer.send_close(code)
        assert await rig.connection.receive() == "last"
        with pytest.raises(trio.EndOfChannel) as caught:
            await rig.connection.receive()
        assert isinstance(caught.value.__cause__, ConnectionClosed)


@pytest.mark.parametrize("code", OTHER_CODES)
async def test_receiving_breaks_when_the_peer_closes_otherwise(
    code: int | None,
) -> None:
    async with open_rig() as rig:
        await rig.peer.send_close(code)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await rig.connection.receive()
        assert isinstance(caught.value.__cause__, ConnectionClosed)
        assert caught.value.__cause__.reason is rig.connection.closed


async def test_receiving_breaks_when_the_stream_ends() -> None:
    async with open_rig() as rig:
        await rig.peer.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await rig.connection.receive()


@pytest.mark.parametrize("name", ["aclose", "abort"])
async def test_receiving_on_a_channel_that_we_closed_says_so(name: str) -> None:
    async with open_pair() as (client, _server):
        await getattr(client, name)()
        with pytest.raises(trio.ClosedResourceError) as caught:
            await client.receive()
        assert isinstance(caught.value.__cause__, ConnectionClosed)


async def test_a_task_that_receives_while_another_closes_is_told_so() -> None:
    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.receive()

    async with open_pair() as (client, _server), trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await settle()
        await client.aclose()


@pytest.mark.parametrize("name", ["aclose", "abort"])
async def test_sending_on_a_channel_that_we_closed_says_so(name: str) -> None:
    async with open_pair() as (client, _server):
        await getattr(client, name)()
        with pytest.raises(trio.ClosedResourceError) as caught:
            await client.send("too late")
        assert isinstance(caught.value.__cause__, ConnectionClosed)


@pytest.mark.parametrize("code", ALL_CODES)
async def test_sending_breaks_when_the_peer_has_closed(code: int | None) -> None:
    async with open_rig() as rig:
        await rig.peer.send_close(code)
        await settle()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await rig.connection.send("too late")
        assert isinstance(caught.value.__cause__, ConnectionClosed)


@pytest.mark.parametrize("name", ["aclose", "abort"])
@pytest.mark.parametrize("code", ALL_CODES)
async def test_a_channel_that_we_close_behind_the_peer_is_closed_by_us(
    code: int | None, name: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_rig() as rig:
        await rig.peer.send_close(code)
        await settle()
        with pytest.raises(trio.BrokenResourceError):
            await rig.connection.send("too late")
        await getattr(rig.connection, name)()
        with pytest.raises(trio.ClosedResourceError) as caught:
            await rig.connection.receive()
        assert isinstance(caught.value.__cause__, ConnectionClosed)
        with pytest.raises(trio.ClosedResourceError) as caught:
            await rig.connection.send("too late")
        assert isinstance(caught.value.__cause__, ConnectionClosed)


async def test_sending_what_is_no_message_is_refused() -> None:
    async with open_rig() as rig:
        with pytest.raises(TypeError, match="a message must be str, bytes"):
            await rig.connection.send(1)  # type: ignore[arg-type]
        await rig.connection.send("still open")
        assert (await rig.peer.receive_frame()).payload == b"still open"


# async for.


@pytest.mark.parametrize("code", ORDERLY_CODES)
async def test_a_loop_ends_when_the_peer_closes_in_order(code: int) -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("last")
        await rig.peer.send_close(code)
        assert await receive_all(rig.connection) == ["last"]


@pytest.mark.parametrize("code", OTHER_CODES)
async def test_a_loop_raises_when_the_peer_closes_otherwise(code: int | None) -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("last")
        await rig.peer.send_close(code)
        assert await anext(rig.connection) == "last"
        with pytest.raises(ConnectionClosed) as caught:
            await anext(rig.connection)
        assert caught.value.reason is rig.connection.closed


async def test_a_loop_raises_when_the_stream_ends() -> None:
    async with open_rig() as rig:
        await rig.peer.aclose()
        with pytest.raises(ConnectionClosed):
            await anext(rig.connection)


@pytest.mark.parametrize("name", ["aclose", "abort"])
async def test_a_loop_ends_when_we_close(name: str) -> None:
    done: list[list[str | bytes]] = []

    async def loop() -> None:
        done.append(await receive_all(client))

    async with open_pair() as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop)
            await server.send_message("first")
            await settle()
            await getattr(client, name)()
        assert done == [["first"]]


# Checkpoints.


async def test_receiving_sending_and_closing_are_always_checkpoints(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (client, server),
    ):
        for _ in range(20):
            with trio.testing.assert_checkpoints():
                await server.send("hello")
            await settle()  # so that nothing has to be waited for
            with trio.testing.assert_checkpoints():
                assert await client.receive() == "hello"
        with trio.testing.assert_checkpoints():
            await client.aclose()
        for connection in (client, server):
            with trio.testing.assert_checkpoints():
                await fail_to_receive(connection)
            with trio.testing.assert_checkpoints():
                await fail_to_send(connection)
            with trio.testing.assert_checkpoints():
                await connection.aclose()
            with trio.testing.assert_checkpoints():
                await connection.wait_closed()
            with trio.testing.assert_checkpoints():
                await connection.abort()


async def fail_to_receive(connection: WebSocketConnection) -> None:
    with pytest.raises((trio.EndOfChannel, trio.ClosedResourceError)):
        await connection.receive()


async def fail_to_send(connection: WebSocketConnection) -> None:
    with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
        await connection.send("too late")


@pytest.mark.parametrize("name", ["receive", "send"])
async def test_a_cancelled_channel_call_does_nothing(
    open_stream_pair: OpenStreamPair, transport: str, name: str
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (client, server),
    ):
        await server.send_message("kept")
        await settle()
        with trio.CancelScope() as scope:
            scope.cancel()
            await (client.receive() if name == "receive" else client.send("unsent"))
        assert scope.cancelled_caught
        await client.send_message("sent")
        assert await server.get_message() == "sent"
        assert await client.get_message() == "kept"


async def test_values_leave_and_arrive_in_the_order_of_the_calls() -> None:
    """Although each call gives up a turn, and which task runs next is chance."""
    sent: list[str] = []
    calls: list[int] = []
    received: dict[int, str | bytes] = {}

    async def send(sender: int) -> None:
        for number in range(50):
            sent.append(f"{sender} {number}")
            await client.send(sent[-1])

    async def receive() -> None:
        for _ in range(50):
            call = len(calls)
            calls.append(call)
            received[call] = await server.receive()

    async with open_pair() as (client, server):
        async with trio.open_nursery() as nursery:
            for sender in range(3):
                nursery.start_soon(send, sender)
                nursery.start_soon(receive)
        assert [received[call] for call in calls] == sent

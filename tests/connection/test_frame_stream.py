"""Frames over a stream, one by one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_websocket.frames import Frame, FrameParser, FrameStream, Opcode

KEY = b"\x37\xfa\x21\x3d"
HELLO = Frame(Opcode.TEXT, b"Hello")
PING = Frame(Opcode.PING, b"Hello")

Ends = tuple[FrameStream, FrameStream]


@asynccontextmanager
async def open_ends() -> AsyncGenerator[Ends]:
    ours, theirs = trio.testing.memory_stream_pair()
    client = FrameStream(ours, client=True)
    server = FrameStream(theirs, client=False)
    async with client, server:
        yield client, server


async def test_frames_go_both_ways() -> None:
    async with open_ends() as (client, server):
        await client.send_frame(HELLO)
        assert (await server.receive_frame()).unmask() == HELLO
        await server.send_frame(PING, HELLO)
        assert await client.receive_frame() == PING
        assert await client.receive_frame() == HELLO


async def test_a_client_masks_each_frame_with_a_key_of_its_own() -> None:
    """S-31."""
    ours, theirs = trio.testing.memory_stream_pair()
    frames = [
        Frame(Opcode.TEXT, b"half a ", fin=False),
        Frame(Opcode.PING),
        Frame(Opcode.CONTINUATION, b"message"),
    ]
    await FrameStream(ours, client=True).send_frame(*frames)
    sent = FrameParser(is_masked=True).feed(await theirs.receive_some())
    assert [frame.unmask() for frame in sent] == frames
    assert len({frame.masking_key for frame in sent}) == 3


async def test_a_key_that_was_given_is_used() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    frame = Frame(Opcode.TEXT, b"Hello", masking_key=KEY)
    await FrameStream(ours, client=True).send_frame(frame)
    assert await theirs.receive_some() == frame.pack()


async def test_a_server_masks_nothing() -> None:
    async with open_ends() as (client, server):
        with pytest.raises(ValueError, match="a server does not mask"):
            await server.send_frame(HELLO, Frame(Opcode.TEXT, masking_key=KEY))
        await server.send_frame(HELLO)
        assert await client.receive_frame() == HELLO


@pytest.mark.parametrize("is_client", [True, False])
async def test_a_frame_with_a_wrong_mask_is_refused(*, is_client: bool) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    frame = Frame(Opcode.TEXT, masking_key=KEY if is_client else None)
    await theirs.send_all(frame.pack())
    with pytest.raises(ValueError, match="masked"):
        await FrameStream(ours, client=is_client).receive_frame()


async def test_what_was_received_with_the_handshake_comes_first() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    wire = HELLO.pack() + PING.pack()
    stream = FrameStream(ours, client=True, received=wire[:10])
    await theirs.send_all(wire[10:])
    assert await stream.receive_frames(2) == [HELLO, PING]


async def test_frames_before_a_violation_are_received() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(HELLO.pack() + PING.pack() + b"\x09\x00")
    stream = FrameStream(ours, client=True)
    assert await stream.receive_frames(2) == [HELLO, PING]
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be a fragment"):
            await stream.receive_frame()


async def test_a_payload_over_the_limit_is_refused() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(HELLO.pack())
    with pytest.raises(ValueError, match="has 5 bytes, which are more than 4"):
        await FrameStream(ours, client=True, max_payload_size=4).receive_frame()


async def test_as_many_frames_are_received_as_are_asked_for() -> None:
    async with open_ends() as (client, server):
        assert await client.receive_frames(0) == []
        await server.send_frame(*[HELLO] * 3)
        assert await client.receive_frames(2) == [HELLO] * 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_frame, PING)
            assert await client.receive_frames(2) == [HELLO, PING]
        with pytest.raises(ValueError, match="must be 0 or more, not -1"):
            await client.receive_frames(-1)


async def test_the_end_between_two_frames_is_the_end() -> None:
    async with open_ends() as (client, server):
        await server.send_frame(HELLO, PING)
        await server.aclose()
        with pytest.raises(trio.EndOfChannel):
            await client.receive_frames(3)
        assert [frame async for frame in client] == [HELLO, PING]


async def test_the_end_within_a_frame_is_none() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(HELLO.pack()[:-1])
    await theirs.aclose()
    with pytest.raises(trio.BrokenResourceError, match="within a frame"):
        await FrameStream(ours, client=True).receive_frame()


async def test_closing_closes_the_stream_beneath() -> None:
    async with open_ends() as (client, server):
        await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_frame(HELLO)
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_frame()
        with pytest.raises(trio.EndOfChannel):
            await server.receive_frame()


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with open_ends() as (client, server):
        wire = Frame(Opcode.TEXT, b"Hello").pack()
        for at in range(len(wire)):
            await server.stream.send_all(wire[at : at + 1])
            if at < len(wire) - 1:
                with trio.move_on_after(0):
                    await client.receive_frame()
        assert await client.receive_frame() == HELLO


async def test_behind_a_send_that_was_cut_short_nothing_is_sent() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with FrameStream(ours, client=True) as client, theirs:
        with trio.move_on_after(0.01) as scope:
            await client.send_frame(HELLO)
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError, match="sent in part"):
            await client.send_frame(HELLO)


async def test_a_send_that_was_cancelled_before_it_began_does_no_harm() -> None:
    async with open_ends() as (client, server):
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.send_frame(HELLO)
        await client.send_frame(PING)
        assert (await server.receive_frame()).unmask() == PING


async def test_many_tasks_may_send_and_receive() -> None:
    got: list[bytes] = []

    async def receive() -> None:
        got.extend(bytes(it.payload) for it in await server.receive_frames(10))

    async with open_ends() as (client, server), trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(receive)
            frames = [Frame(Opcode.BINARY, b"%d" % number * 1000)] * 10
            nursery.start_soon(client.send_frame, *frames)
    assert sorted(got) == sorted([b"%d" % number * 1000 for number in range(10)] * 10)

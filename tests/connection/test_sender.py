from __future__ import annotations

import array
import ctypes
import random
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed, WebSocketConnection
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.sliced_frame import SLICE_SIZE

from .rig import OpenStreamPair, settle
from .sending import (
    COMPRESSED,
    LARGE,
    WIRES,
    Wire,
    open_pair,
    open_rig,
    receive_message,
    send_by_writer,
    stall,
)

DRAW = random.Random(35)  # noqa: S311  # not a secret
ROLES = pytest.mark.parametrize("is_client", [True, False])


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    """How the two ends talk."""
    return WIRES[str(request.param)]


# Messages that are cut.


@ROLES
async def test_text_is_cut_into_fragments_without_regard_to_characters(
    wire: Wire, *, is_client: bool
) -> None:
    """S-33, W-17."""
    text = "\u00e9" * 1000
    async with open_rig(wire, is_client=is_client) as rig:
        await rig.connection.send_message(text, fragment_size=7)
        message = await receive_message(rig.peer)
        assert message.kind is Opcode.TEXT
        assert message.frames[0].rsv == (0 if wire.deflate is None else 4)
        assert max(len(frame.payload) for frame in message.frames) == 7
        assert message.payload.decode() == text


@pytest.mark.parametrize("nothing", ["", b"", bytearray()])
async def test_of_an_empty_message_there_is_one_frame(
    wire: Wire, nothing: str | bytes | bytearray
) -> None:
    """S-34."""
    async with open_rig(wire) as rig:
        await rig.connection.send_message(nothing, fragment_size=7)
        [frame] = (await receive_message(rig.peer)).frames
        assert (frame.payload, frame.fin, frame.rsv) == (b"", True, 0)


@pytest.mark.parametrize("message", ["text", b"data"])
async def test_a_message_that_is_short_is_cut_but_not_compressed(
    message: str | bytes,
) -> None:
    async with open_rig(COMPRESSED) as rig:
        if isinstance(message, str):
            await rig.connection.send_text(message, fragment_size=3)
        else:
            await rig.connection.send_bytes(message, fragment_size=3)
        cut = await receive_message(rig.peer)
        assert [len(frame.payload) for frame in cut.frames] == [3, 1]
        assert cut.payload in {b"text", b"data"}
        assert cut.frames[0].rsv == 0


async def test_text_that_cannot_be_encoded_is_not_begun(wire: Wire) -> None:
    async with open_pair(wire) as (client, server):
        with pytest.raises(UnicodeEncodeError):
            await client.send_message("text \ud800", fragment_size=2)
        await client.send_message("next message", fragment_size=2)
        assert await server.get_message() == "next message"


@pytest.mark.parametrize("size", [SLICE_SIZE, SLICE_SIZE + 1, 250_000, 10**9])
async def test_large_messages_are_cut_into_large_fragments(
    wire: Wire, size: int
) -> None:
    data = DRAW.randbytes(600_000)
    async with open_pair(wire) as ends:
        for sender, receiver in (ends, ends[::-1]):
            buffer = bytearray(data)
            for message in (data, buffer):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send_cut, sender, message, size)
                    assert await receiver.get_message() == data
            buffer.clear()


async def send_cut(
    connection: WebSocketConnection, message: str | bytes | bytearray, size: int
) -> None:
    await connection.send_message(message, fragment_size=size)


@ROLES
async def test_pings_are_answered_between_the_fragments_of_a_message(
    *, is_client: bool
) -> None:
    """S-35: a peer that reads slowly does not wait for the end of the message."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with (
        open_rig(streams=(ours, theirs), is_client=is_client) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send_cut, rig.connection, "x" * 100_000, 1000)
        assert not (await rig.peer.receive_frame()).fin
        await rig.peer.send_frame(Opcode.PING, b"ping")
        message = await receive_message(rig.peer)
        assert [frame.payload for frame in message.between] == [b"ping"]
        assert len(message.frames) == 99


async def test_other_messages_wait_for_the_last_fragment() -> None:
    faulty, streams = stall()
    async with open_rig(streams=streams) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(send_cut, rig.connection, "x" * 20_000, 5000)
        await settle()
        assert rig.link.sender.encode is None
        nursery.start_soon(rig.connection.send_message, "whole")
        nursery.start_soon(rig.connection.send_messages, ["batch"])
        await settle()
        faulty.resume_sending()
        assert (await receive_message(rig.peer)).payload == b"x" * 20_000
        others = [(await receive_message(rig.peer)).payload for _ in range(2)]
        assert sorted(others) == [b"batch", b"whole"]
        assert rig.link.sender.encode == rig.link.engine.encode


async def test_nothing_of_a_message_follows_our_close() -> None:
    """RFC 6455 section 5.5.1."""
    faulty, streams = stall()
    async with (
        open_rig(streams=streams, is_client=False) as rig,
        trio.open_nursery() as nursery,
    ):
        errors: list[ConnectionClosed] = []

        async def send() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await send_cut(rig.connection, b"x" * 20_000, 5000)
            errors.append(caught.value)

        nursery.start_soon(send)
        await settle()
        rig.nursery.start_soon(rig.connection.aclose)
        await settle()
        faulty.resume_sending()
        assert not (await rig.peer.receive_frame()).fin
        assert await rig.peer.receive_close() == (1000, "")
        await rig.peer.send_close()
        assert await rig.peer.receive_eof() == b""
        await settle()
        assert [error.reason and error.reason.code for error in errors] == [1000]


async def test_nothing_of_a_cancelled_message_follows_our_close() -> None:
    faulty, streams = stall()
    async with open_rig(streams=streams, is_client=False) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_cut, rig.connection, b"x" * 20_000, 5000)
            await settle()
            rig.nursery.start_soon(rig.connection.aclose)
            await settle()
            nursery.cancel_scope.cancel()
        faulty.resume_sending()
        assert not (await rig.peer.receive_frame()).fin
        assert await rig.peer.receive_close() == (1000, "")
        await rig.peer.send_close()
        assert await rig.peer.receive_eof() == b""


@pytest.mark.parametrize("size", [700, 5000, SLICE_SIZE + 1])
async def test_a_cut_message_that_is_cancelled_half_way_leaves_whole(
    wire: Wire, size: int
) -> None:
    """S-76: also if its buffer has changed since."""
    data = DRAW.randbytes(500_000)
    buffer = bytearray(data)
    faulty, streams = stall()
    async with open_rig(wire, streams) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_cut, rig.connection, buffer, size)
            await settle()
            nursery.cancel_scope.cancel()
        buffer[:] = b"changed"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_cut, rig.connection, b"next", 3)
            await settle()
            faulty.resume_sending()
            message = await receive_message(rig.peer)
            assert message.payload == data
            assert max(len(frame.payload) for frame in message.frames) == size
            assert (await receive_message(rig.peer)).payload == b"next"


async def test_a_part_that_is_cancelled_leaves_whole() -> None:
    """A program that goes on sends a message without a hole."""
    faulty, streams = stall()
    async with open_rig(streams=streams) as rig, trio.open_nursery() as nursery:

        async def send() -> None:
            async with rig.connection.message_writer(fragment_size=5000) as writer:
                with trio.move_on_after(0):
                    await writer.send(b"never begun")
                with scope:
                    await writer.send(b"x" * 20_000)
                await writer.send(b"the rest")

        scope = trio.CancelScope()
        nursery.start_soon(send)
        await settle()
        scope.cancel()
        await settle()
        faulty.resume_sending()
        assert (await receive_message(rig.peer)).payload == b"x" * 20_000 + b"the rest"
        assert scope.cancelled_caught


# Buffers.


@dataclass(frozen=True)
class Buffer:
    """A buffer, and what it is on the wire."""

    view: memoryview | bytearray
    data: bytes


def make_buffers(size: int) -> dict[str, Buffer]:
    data = bytes(range(250)) * (size // 250)
    numbers = array.array("d", range(size // 8))
    shorts = (ctypes.c_uint16 * (size // 2))(*range(2000))
    return {
        "bytearray": Buffer(bytearray(data), data),
        "read_only": Buffer(memoryview(data), data),
        "with_gaps": Buffer(memoryview(data)[::2], data[::2]),
        "backwards": Buffer(memoryview(data)[::-1], data[::-1]),
        "numbers": Buffer(memoryview(numbers), numbers.tobytes()),
        "rows": Buffer(memoryview(data).cast("B", (250, size // 250)), data),
        "foreign": Buffer(memoryview(shorts), bytes(shorts)),
    }


@ROLES
@pytest.mark.parametrize("wire_name", ["plain", "plain_without_lane", "no_takeover"])
@pytest.mark.parametrize("name", make_buffers(4000))
async def test_a_buffer_of_any_form_is_sent_as_its_bytes(
    wire_name: str, name: str, *, is_client: bool
) -> None:
    async with open_rig(WIRES[wire_name], is_client=is_client) as rig:
        for size in (4000, 400_000):
            buffer = make_buffers(size)[name]
            for fragment_size in (None, 1000, 140_000):
                await rig.connection.send_message(
                    buffer.view, fragment_size=fragment_size
                )
                message = await receive_message(rig.peer)
                assert message.kind is Opcode.BINARY
                assert message.payload == buffer.data


async def test_a_buffer_is_free_when_its_call_has_ended(
    open_stream_pair: OpenStreamPair, transport: str, wire: Wire
) -> None:
    numbers = array.array("d", range(100_000))
    data = bytearray(800_000)
    async with (
        open_stream_pair(transport) as streams,
        open_pair(wire, streams) as ends,
    ):
        for sender, receiver in (ends, ends[::-1]):
            for size in (None, 200_000):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(take, receiver, 2)
                    with memoryview(numbers) as view:
                        await sender.send_message(view, fragment_size=size)
                    numbers.append(1.0)
                    await sender.send_message(data, fragment_size=size)
                    data.append(1)


async def take(connection: WebSocketConnection, count: int) -> None:
    for _ in range(count):
        await connection.get_message()


# Messages in one frame.


@ROLES
async def test_large_messages_may_be_in_a_batch(wire: Wire, *, is_client: bool) -> None:
    batch: list[str | bytes | bytearray | memoryview] = [
        "small",
        bytearray(LARGE),
        LARGE,
        "last",
    ]
    async with open_rig(wire, is_client=is_client) as rig:
        await rig.connection.send_messages(batch)
        for message in batch:
            frame = await rig.peer.receive_frame()
            assert frame.fin
            if not frame.rsv:
                assert frame.payload in {b"small", b"last", LARGE}
            assert isinstance(message, str) == (frame.opcode == Opcode.TEXT)


@pytest.mark.parametrize("wire_name", ["plain", "compressed", "plain_without_lane"])
async def test_small_messages_let_others_run(
    open_stream_pair: OpenStreamPair, wire_name: str
) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while turns < 10:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with (
        open_stream_pair("socket") as streams,
        open_rig(WIRES[wire_name], streams) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(count_turns)
        nursery.start_soon(rig.peer.receive_eof)
        for _ in range(200):
            await rig.connection.send_message("x" * 5000)
        assert turns > 1
        before = turns = 0
        nursery.start_soon(count_turns)
        await rig.connection.send_messages(["x" * 5000] * 200)
        assert turns > before
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("wire_name", ["plain", "compressed", "plain_without_lane"])
async def test_small_messages_that_wait_know_when_the_connection_ends(
    wire_name: str,
) -> None:
    _, streams = stall()
    async with (
        open_rig(WIRES[wire_name], streams) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(expect_closed, rig.connection)
        await settle()
        await rig.connection.abort()


async def test_messages_know_that_their_turn_will_not_come() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        writer = await rig.connection.message_writer().__aenter__()
        await writer.send("begun")
        nursery.start_soon(expect_closed, rig.connection)
        await settle()
        with pytest.raises(TypeError, match=r"^a message must be .*, not int$"):
            await rig.connection.send(7)  # type: ignore[arg-type]  # on purpose
        await writer.__aexit__(ValueError, ValueError(), None)


async def expect_closed(connection: WebSocketConnection) -> None:
    with pytest.raises(ConnectionClosed):
        await connection.send_message("small")


# Many at the same time.


COUNT = 50  # of the messages of each task


async def send_in_some_way(
    connection: WebSocketConnection, text: str, size: int
) -> None:
    compress = DRAW.random() < 0.5
    parts = [text[:5], text[5 : 5 + size], text[5 + size :]]
    match DRAW.randrange(5):
        case 0:
            await connection.send_message(text, compress=compress)
        case 1:
            await connection.send_message(
                text, compress=compress, fragment_size=size // 3 + 5
            )
        case 2:
            await send_by_writer(connection, parts)
        case 3:
            await connection.send_message(parts, compress=compress)
        case _:
            await connection.send_messages([text])


async def send_many(connection: WebSocketConnection, task: int) -> None:
    for number in range(COUNT):
        size = DRAW.choice([0, 10, 100, 1000])
        text = f"{task} {number} {size} " + "\u20ac" * size
        await send_in_some_way(connection, text, size)


async def check_many(connection: WebSocketConnection, tasks: int) -> None:
    numbers: dict[str, int] = {}
    for _ in range(COUNT * tasks):
        task, number, size, rest = str(await connection.get_message()).split(" ")
        assert rest == "\u20ac" * int(size)
        assert int(number) == numbers.get(task, -1) + 1
        numbers[task] = int(number)


async def ping_often(connection: WebSocketConnection) -> None:
    for _ in range(20):
        assert await connection.ping() >= 0


@pytest.mark.parametrize(
    ("kind", "wire_name"),
    [
        ("memory", "plain"),
        ("socket", "compressed"),
        ("tls", "plain_without_lane"),
    ],
)
@ROLES
async def test_messages_of_all_forms_at_the_same_time_arrive_whole_and_in_order(
    open_stream_pair: OpenStreamPair, kind: str, wire_name: str, *, is_client: bool
) -> None:
    """S-35, W5: with pings, also of the other end."""
    async with (
        open_stream_pair(kind) as streams,
        open_pair(WIRES[wire_name], streams) as ends,
        trio.open_nursery() as nursery,
    ):
        sender, receiver = ends if is_client else ends[::-1]
        nursery.start_soon(check_many, receiver, 20)
        for task in range(20):
            nursery.start_soon(send_many, sender, task)
        for end in ends:
            nursery.start_soon(ping_often, end)

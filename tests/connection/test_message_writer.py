from __future__ import annotations

import zlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Protocol

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed
from trio_websocket._connection.message_writer import Kind
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.sliced_frame import SLICE_SIZE

from .rig import OpenStreamPair, Rig, settle
from .sending import (
    COMPRESSED,
    SENT_IN_EVERY_WAY,
    TAIL,
    WAYS,
    WIRES,
    Waiting,
    Wire,
    open_pair,
    open_rig,
    receive_message,
    send_by_writer,
    stall,
)

TEXT = ["The quick ", "brown \u20ac", " fox"]
DATA = [b"The quick ", b"\x00\xff", b" fox" * 100]


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    """How the two ends talk."""
    return WIRES[str(request.param)]


class Failure(Exception):
    """What the block of a program raises."""


async def check_works(rig: Rig) -> None:
    """Check that messages leave, by the quick path if there is one."""
    assert rig.link.sender.encode == rig.link.engine.encode
    await rig.connection.send_message("still", compress=False)
    assert (await receive_message(rig.peer)).payload == b"still"


# The message.


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("parts", [TEXT, DATA], ids=["text", "bytes"])
async def test_each_part_is_a_frame_that_leaves_at_once(
    wire: Wire, parts: Sequence[str | bytes], *, is_client: bool
) -> None:
    """S-69: an empty frame ends the message."""
    inflator = zlib.decompressobj(-15)
    opcode = Opcode.TEXT if isinstance(parts[0], str) else Opcode.BINARY
    is_compressed = wire.deflate is not None
    async with open_rig(wire, is_client=is_client) as rig:
        async with rig.connection.message_writer() as writer:
            for number, part in enumerate(parts):
                await writer.send(part)
                frame = await rig.peer.receive_frame()
                assert frame.opcode == (0 if number else opcode)
                assert frame.rsv == (0 if number or not is_compressed else 4)
                assert not frame.fin
                assert frame.is_masked is is_client
                data = frame.payload
                if is_compressed:
                    data = inflator.decompress(data)
                assert data == (part.encode() if isinstance(part, str) else part)
        last = await rig.peer.receive_frame()
        assert (last.opcode, last.fin, last.rsv) == (0, True, 0)
        if is_compressed:
            assert inflator.decompress(last.payload + TAIL) == b""
        else:
            assert last.payload == b""
        await check_works(rig)


async def test_messages_in_parts_follow_one_another(wire: Wire) -> None:
    async with open_pair(wire) as ends:
        for sender, receiver in (ends, ends[::-1]):
            for _ in range(3):
                await send_by_writer(sender, TEXT)
                assert await receiver.get_message() == "".join(TEXT)
                await sender.send_message(DATA)
                assert await receiver.get_message() == b"".join(DATA)


async def test_a_message_in_parts_may_be_left_uncompressed() -> None:
    async with open_rig(COMPRESSED) as rig:
        async with rig.connection.message_writer(compress=False) as writer:
            await writer.send("not compressed")
        message = await receive_message(rig.peer)
        assert [frame.rsv for frame in message.frames] == [0, 0]
        assert message.payload == b"not compressed"


async def test_parts_are_cut_into_fragments_of_a_size(wire: Wire) -> None:
    async with open_rig(wire) as rig:
        async with rig.connection.message_writer(fragment_size=7) as writer:
            for part in DATA:
                await writer.send(part)
        message = await receive_message(rig.peer)
        assert message.kind is Opcode.BINARY
        assert message.payload == b"".join(DATA)
        assert max(len(frame.payload) for frame in message.frames) == 7


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_a_message_of_a_kind_needs_no_part(wire: Wire, kind: Kind) -> None:
    async with open_pair(wire) as (client, server):
        async with client.message_writer(kind) as writer:
            assert writer.kind == kind
        assert await server.get_message() == ("" if kind == "text" else b"")
        await client.send_message("next message")
        assert await server.get_message() == "next message"


async def test_a_message_without_parts_needs_a_kind() -> None:
    async with open_rig() as rig:
        with pytest.raises(ValueError, match=r"^a message without parts needs a kind$"):
            async with rig.connection.message_writer() as writer:
                assert writer.kind is None
        await check_works(rig)


@pytest.mark.parametrize(("nothing", "kind"), [("", "text"), (b"", "bytes")])
async def test_an_empty_part_sends_nothing_but_tells_the_kind(
    nothing: str | bytes, kind: Kind
) -> None:
    async with open_rig() as rig:
        async with rig.connection.message_writer() as writer:
            await writer.send(nothing)
            assert writer.kind == kind
        message = await receive_message(rig.peer)
        assert len(message.frames) == 1
        assert message.payload == b""


@pytest.mark.parametrize("kind", ["binary", "", 1, b"text"])
async def test_a_kind_is_text_or_bytes(kind: Kind) -> None:
    async with open_rig() as rig:
        with pytest.raises(ValueError, match=r"^kind must be 'text', 'bytes' or None"):
            rig.connection.message_writer(kind)


@pytest.mark.parametrize(
    ("size", "error"),
    [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)],
)
async def test_a_fragment_has_a_size(size: int, error: type[Exception]) -> None:
    async with open_rig() as rig:
        with pytest.raises(error, match=r"^fragment_size must be .*, not "):
            rig.connection.message_writer(fragment_size=size)
        with pytest.raises(error, match=r"^fragment_size must be .*, not "):
            await rig.connection.send_message("text", fragment_size=size)
        await check_works(rig)


@pytest.mark.parametrize(
    ("kind", "part", "words"),
    [
        ("text", b"data", "a part of a text message cannot be bytes"),
        ("bytes", "text", "a part of a bytes message cannot be str"),
        ("text", None, "a message must be .*, not NoneType"),
        (None, 7, "a message must be .*, not int"),
        (None, ["part"], "a message must be .*, not list"),
    ],
)
async def test_a_part_of_another_kind_is_refused(
    kind: Kind | None, part: str, words: str
) -> None:
    async with open_pair() as (client, server):
        async with client.message_writer(kind) as writer:
            with pytest.raises(TypeError, match=f"^{words}$"):
                await writer.send(part)
            assert writer.kind == kind
            await writer.send(b"good" if kind == "bytes" else "good")
            with pytest.raises(TypeError, match="a message must be"):
                await writer.send(None)  # type: ignore[arg-type]  # on purpose
        message = await server.get_message()
        assert message == (b"good" if kind == "bytes" else "good")


async def test_text_that_cannot_be_encoded_is_refused_and_tells_no_kind() -> None:
    """Half a surrogate pair has no UTF-8, though the next part may bring the other."""
    async with open_pair() as (client, server):
        async with client.message_writer() as writer:
            for half in ("\ud83d", "\ude00"):
                with pytest.raises(UnicodeEncodeError):
                    await writer.send(half)
            assert writer.kind is None
            await writer.send(b"data")
        assert await server.get_message() == b"data"


# The block.


async def fail_while_others_wait(
    rig: Rig, waiting: Waiting, nursery: trio.Nursery, part: str
) -> None:
    async with rig.connection.message_writer() as writer:
        await writer.send(part)
        await waiting.run(nursery)
        raise Failure


async def test_a_failure_in_the_block_ends_the_connection(wire: Wire) -> None:
    """S-70: all who wait know at once, and the exception comes out bare."""
    async with open_rig(wire) as rig, trio.open_nursery() as nursery:
        waiting = Waiting(rig.connection)
        with pytest.raises(Failure):
            await fail_while_others_wait(rig, waiting, nursery, "begun")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(waiting.errors) == sorted(WAYS)
        await rig.peer.receive_frame()
        assert await rig.peer.receive_close() == (
            1011,
            "a message could not be completed",
        )
        assert rig.connection.closed is not None
        assert rig.connection.closed.code == 1011
        with pytest.raises(ConnectionClosed):
            await rig.connection.send_message("too late")


async def test_a_failure_before_the_first_part_ends_the_connection_too() -> None:
    async with open_rig() as rig:
        with pytest.raises(Failure):
            async with rig.connection.message_writer():
                raise Failure
        assert (await rig.peer.receive_close())[0] == 1011


async def test_a_cancelled_block_ends_the_connection(wire: Wire) -> None:
    async with open_rig(wire) as rig:
        with trio.CancelScope() as scope:
            async with rig.connection.message_writer() as writer:
                await writer.send("begun")
                scope.cancel()
                await writer.send("more")
        assert scope.cancelled_caught
        await rig.peer.receive_frame()
        assert (await rig.peer.receive_close())[0] == 1011


async def test_a_part_is_sent_within_the_block_only() -> None:
    async with open_rig() as rig:
        writer = rig.connection.message_writer()
        with pytest.raises(trio.ClosedResourceError):
            await writer.send("before")
        async with writer:
            await writer.send("within")
        with pytest.raises(trio.ClosedResourceError):
            await writer.send("behind")
        assert (await receive_message(rig.peer)).payload == b"within"


async def test_a_writer_is_used_for_one_message() -> None:
    async with open_rig() as rig:
        writer = rig.connection.message_writer("text")
        async with writer:
            pass
        await rig.peer.receive_frame()
        with pytest.raises(RuntimeError, match="one message only"):
            await writer.__aenter__()
        await check_works(rig)


async def test_a_writer_is_entered_once_also_while_it_waits() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        writer = rig.connection.message_writer("text")

        async def use() -> None:
            async with writer:
                await writer.send("mine")

        async with rig.connection.message_writer("text"):
            nursery.start_soon(use)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="one message only"):
                await writer.__aenter__()
        assert (await receive_message(rig.peer)).payload == b""
        assert (await receive_message(rig.peer)).payload == b"mine"


async def test_only_one_task_sends_a_part_at_a_time() -> None:
    faulty, streams = stall()
    async with open_rig(streams=streams) as rig:
        async with (
            rig.connection.message_writer() as writer,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(writer.send, "first")
            await settle()
            with pytest.raises(trio.BusyResourceError):
                await writer.send("second")
            faulty.resume_sending()
        assert (await receive_message(rig.peer)).payload == b"first"


async def test_a_block_that_is_left_while_a_part_is_being_sent_fails() -> None:
    faulty, streams = stall()
    async with (
        open_rig(streams=streams, is_client=False) as rig,
        trio.open_nursery() as nursery,
    ):
        errors: list[ConnectionClosed] = []

        async def send_part() -> None:
            part = "x" * 20_000
            try:
                await writer.send(part)
            except ConnectionClosed as closed:
                errors.append(closed)

        async with rig.connection.message_writer(fragment_size=5000) as writer:
            nursery.start_soon(send_part)
            await settle()
        faulty.resume_sending()
        frame = await rig.peer.receive_frame()
        assert not frame.fin
        # What was not built yet does not follow our Close.
        assert (await rig.peer.receive_close())[0] == 1011
        await rig.peer.send_close()
        assert await rig.peer.receive_eof() == b""
        await settle()
        assert [error.reason and error.reason.code for error in errors] == [1011]


@pytest.mark.parametrize("way", WAYS)
async def test_a_task_in_its_own_block_sends_nothing_else(way: str) -> None:
    async with open_rig() as rig:
        async with rig.connection.message_writer("text") as writer:
            with pytest.raises(RuntimeError, match="in the middle of a message"):
                await WAYS[way](rig.connection)
            await writer.send("works")
        assert (await receive_message(rig.peer)).payload == b"works"
        await check_works(rig)


async def test_pings_go_between_the_parts() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        async with rig.connection.message_writer() as writer:
            await writer.send("first")
            await rig.peer.send_frame(Opcode.PING, b"theirs")
            await settle()
            nursery.start_soon(rig.connection.ping, b"ours")
            await settle()
            await rig.connection.pong(b"alive")
            await writer.send("second")
        message = await receive_message(rig.peer)
        assert message.payload == b"firstsecond"
        assert [(frame.opcode, frame.payload) for frame in message.between] == [
            (Opcode.PONG, b"theirs"),
            (Opcode.PING, b"ours"),
            (Opcode.PONG, b"alive"),
        ]
        await rig.peer.send_frame(Opcode.PONG, b"ours")


async def test_messages_leave_in_the_order_of_the_calls() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        waiting = Waiting(rig.connection)
        async with rig.connection.message_writer() as writer:
            await writer.send("first")
            await waiting.run(nursery)
            assert rig.link.sender.encode is None
        for payload in (b"first", *SENT_IN_EVERY_WAY):
            assert (await receive_message(rig.peer)).payload == payload
        await check_works(rig)


async def test_one_who_waits_and_is_cancelled_loses_its_place() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        waiting = Waiting(rig.connection)
        async with rig.connection.message_writer("text"):
            async with trio.open_nursery() as cancelled:
                await waiting.run(cancelled)
                cancelled.cancel_scope.cancel()
            nursery.start_soon(rig.connection.send_message, "next")
            await settle()
        assert (await receive_message(rig.peer)).payload == b""
        assert (await receive_message(rig.peer)).payload == b"next"
        assert not waiting.sent
        await check_works(rig)


# The end of the connection.


async def be_closed_by_peer(rig: Rig) -> None:
    await rig.peer.send_close(1001)
    await settle()
    await rig.peer.aclose()


async def be_reset(rig: Rig) -> None:
    await rig.peer.aclose()


async def be_failed(rig: Rig) -> None:
    await rig.peer.send_frame(3)
    await settle()
    await rig.peer.aclose()


async def close(rig: Rig) -> None:
    rig.nursery.start_soon(rig.connection.aclose)
    await settle()
    await rig.peer.aclose()


async def abort(rig: Rig) -> None:
    await rig.connection.abort()


@pytest.mark.parametrize("end", [be_closed_by_peer, be_reset, be_failed, close, abort])
async def test_the_end_of_the_connection_wakes_all_who_wait(
    open_stream_pair: OpenStreamPair,
    transport: str,
    end: Callable[[Rig], Awaitable[None]],
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams=streams) as rig,
        trio.open_nursery() as nursery,
    ):
        waiting = Waiting(rig.connection)
        writer = await rig.connection.message_writer().__aenter__()
        await writer.send("begun")
        await waiting.run(nursery)
        await end(rig)
        await rig.connection.wait_closed()
        await settle()
        assert sorted(waiting.errors) == sorted(WAYS)
        with pytest.raises(ConnectionClosed):
            await writer.send("too late")
        with pytest.raises(ConnectionClosed):
            await writer.__aexit__(None, None, None)
        with pytest.raises(ConnectionClosed):
            await rig.connection.message_writer().__aenter__()
        reasons = {error.reason for error in waiting.errors.values()}
        assert reasons == {rig.connection.closed}


@pytest.mark.parametrize("end", [be_reset, close, abort])
async def test_the_end_of_the_connection_wakes_who_sends_a_part(
    end: Callable[[Rig], Awaitable[None]],
) -> None:
    _, streams = stall()
    async with open_rig(streams=streams) as rig, trio.open_nursery() as nursery:
        errors: list[ConnectionClosed] = []

        async def send() -> None:
            try:
                await send_by_writer(rig.connection, [b"part", b"more"])
            except ConnectionClosed as closed:
                errors.append(closed)

        nursery.start_soon(send)
        await settle()
        await end(rig)
        await rig.connection.abort()
        await settle()
        assert [error.reason for error in errors] == [rig.connection.closed]


# Iterables.


def yield_parts(count: int, error: Exception | None = None) -> Iterator[str]:
    for number in range(count):
        yield f"part {number} "
    if error is not None:
        raise error


async def yield_parts_later(
    count: int, error: Exception | None = None
) -> AsyncGenerator[str]:
    for part in yield_parts(count, error):
        await trio.lowlevel.checkpoint()
        yield part


YIELDS = pytest.mark.parametrize("give", [yield_parts, yield_parts_later])


class Give(Protocol):
    """Gives so many parts, and then raises an error."""

    def __call__(
        self, count: int, error: Exception | None = None
    ) -> Iterable[str] | AsyncIterable[str]: ...


@YIELDS
async def test_the_parts_of_an_iterable_are_one_message(wire: Wire, give: Give) -> None:
    async with open_pair(wire) as (client, server):
        await client.send_message(give(3))
        assert await server.get_message() == "part 0 part 1 part 2 "
        await client.send_text("of one kind")
        assert await server.get_message() == "of one kind"


@YIELDS
@pytest.mark.parametrize("size", [1, 3, None])
async def test_the_parts_of_an_iterable_may_be_cut(give: Give, size: int) -> None:
    async with open_rig() as rig:
        await rig.connection.send_message(give(2), fragment_size=size)
        message = await receive_message(rig.peer)
        assert message.payload == b"part 0 part 1 "
        assert max(len(frame.payload) for frame in message.frames) == (size or 7)


@YIELDS
async def test_an_iterable_without_parts_is_no_message(give: Give) -> None:
    async with open_rig() as rig:
        with pytest.raises(ValueError, match=r"^a message needs one part at least$"):
            await rig.connection.send_message(give(0))
        await check_works(rig)


async def test_an_iterable_of_an_empty_part_is_an_empty_message() -> None:
    async with open_pair() as (client, server):
        await client.send_message([b""])
        assert await server.get_message() == b""


@YIELDS
async def test_an_iterable_that_fails_before_its_first_part_changes_nothing(
    give: Give,
) -> None:
    async with open_rig() as rig:
        with pytest.raises(Failure):
            await rig.connection.send_message(give(0, Failure()))
        await check_works(rig)


@YIELDS
async def test_an_iterable_that_fails_later_ends_the_connection(give: Give) -> None:
    async with open_rig() as rig:
        with pytest.raises(Failure):
            await rig.connection.send_message(give(1, Failure()))
        assert (await rig.peer.receive_frame()).payload == b"part 0 "
        assert (await rig.peer.receive_close())[0] == 1011


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([1], ValueError),
        ([None], ValueError),
        (["\ud800"], UnicodeEncodeError),
        ({"a": 1}, ValueError),
        (7, ValueError),
    ],
)
async def test_what_has_no_first_part_changes_nothing(
    parts: list[str], error: type[Exception]
) -> None:
    async with open_rig() as rig:
        with pytest.raises(error):
            await rig.connection.send_message(parts)
        await check_works(rig)


@pytest.mark.parametrize("part", [b"bytes", None, 7])
async def test_a_later_part_of_another_kind_ends_the_connection(part: str) -> None:
    async with open_rig() as rig:
        with pytest.raises(TypeError):
            await rig.connection.send_message(["text", part])
        await rig.peer.receive_frame()
        assert (await rig.peer.receive_close())[0] == 1011


async def test_others_send_until_the_first_part_is_there() -> None:
    send_part, receive_part = trio.open_memory_channel[str](0)
    async with open_rig() as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.send_message, receive_part)
        await settle()
        await check_works(rig)
        async with send_part:
            await send_part.send("first")
            nursery.start_soon(rig.connection.send_message, "waits")
            await settle()
            await send_part.send("second")
        message = await receive_message(rig.peer)
        assert message.payload == b"firstsecond"
        assert (await receive_message(rig.peer)).payload == b"waits"


# Buffers.


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("size", [None, 1000, SLICE_SIZE, SLICE_SIZE + 1, 200_000])
async def test_a_large_buffer_is_a_part_and_is_free_behind_the_call(
    wire: Wire, size: int | None, *, is_client: bool
) -> None:
    data = bytearray(bytes(range(251)) * 2000)
    expected = bytes(data)
    async with open_rig(wire, is_client=is_client) as rig:
        async with rig.connection.message_writer(fragment_size=size) as writer:
            await writer.send(data)
            data.append(1)
            data[:] = b"changed"
            await writer.send(data)
            data.clear()
        message = await receive_message(rig.peer)
        assert message.payload == expected + b"changed"
        largest = max(len(frame.payload) for frame in message.frames)
        assert size is None or largest <= size


@pytest.mark.parametrize("size", [None, 5000, 200_000])
async def test_a_buffer_is_free_where_the_error_of_its_call_is_handled(
    size: int | None,
) -> None:
    _, streams = stall()
    data = bytearray(1_000_000)
    async with open_rig(streams=streams) as rig, trio.open_nursery() as nursery:
        writing = trio.Event()

        async def send() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await rig.connection.send_message(data, fragment_size=size)
            data.append(1)
            assert caught.value.__traceback__ is not None
            writing.set()

        nursery.start_soon(send)
        await settle()
        with pytest.raises(BufferError):
            data.append(1)
        await rig.connection.abort()
        await writing.wait()

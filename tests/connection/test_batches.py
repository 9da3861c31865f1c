"""Many messages in one call: ``get_messages`` and ``send_messages``."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Iterable, Iterator

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed, WebSocketConnection
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.frame_header import (
    MAX_HEADER_SIZE,
    Opcode,
    build_header,
)
from trio_websocket._protocol.state import ConnectionState
from trio_websocket.frames import Frame, Opcode as FrameOpcode
from trio_websocket.testing import FaultyStream

from .rig import OpenStreamPair, Rig, open_pair, open_rig, settle

QUEUE_SIZES = pytest.mark.parametrize("queue_size", [0, 1, 3, math.inf])
MEBIBYTE = 2**20

Messages = list[str | bytes]


def build_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return build_header(opcode, len(payload), fin=fin) + payload


def build_texts(*texts: str) -> bytes:
    return b"".join(build_frame(Opcode.TEXT, text.encode()) for text in texts)


CLOSE = build_frame(Opcode.CLOSE, b"\x0f\xa1")
VIOLATION = build_frame(3, b"")


# get_messages.


@QUEUE_SIZES
async def test_all_messages_at_hand_are_taken_at_once(queue_size: float) -> None:
    """Also more than the queue holds: all that was received."""
    options = ConnectionOptions(message_queue_size=queue_size)
    texts = [str(number) for number in range(1000)]
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(build_texts(*texts))
        await settle()
        assert await rig.connection.get_messages() == texts


@QUEUE_SIZES
async def test_text_and_bytes_of_all_kinds_come_in_their_order(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: float
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    sent: Messages = ["", b"", "\u20ac", b"\0\xff", "x" * 70_000, b"y" * 200_000]
    got: Messages = []
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams, options=options) as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(server.send_messages, sent * 10)
        while len(got) < len(sent) * 10:
            got += await client.get_messages()
    assert got == sent * 10


@QUEUE_SIZES
async def test_at_least_one_message_is_waited_for(queue_size: float) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    got: Messages = []

    async def take() -> None:
        got.extend(await rig.connection.get_messages())

    async with open_rig(options=options) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await settle()
        assert not got
        await rig.peer.send_bytes(build_texts("a", "b", "c"))
        await settle()
        assert got == ["a"]
        assert await rig.connection.get_messages() == ["b", "c"]


@QUEUE_SIZES
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 999, 1000, 1001, 10**30])
async def test_no_more_messages_are_taken_than_the_limit(
    queue_size: float, limit: int
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    texts = [str(number) for number in range(1000)]
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(build_texts(*texts))
        await settle()
        got = await rig.connection.get_messages(limit)
        assert got == texts[:limit]
        got += await rig.connection.get_messages(3) if limit < 1000 else []
        got += await rig.connection.get_messages() if len(got) < 1000 else []
        assert got == texts


@pytest.mark.parametrize("limit", [True, False, 1.0, math.inf, "1", [1]])
async def test_a_limit_that_is_no_int_is_a_type_error(limit: int) -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("kept")
        with pytest.raises(TypeError, match="limit must be an int or None"):
            await rig.connection.get_messages(limit)
        assert await rig.connection.get_messages() == ["kept"]


@pytest.mark.parametrize("limit", [0, -1, -(10**30)])
async def test_a_limit_below_1_is_a_value_error(limit: int) -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("kept")
        with pytest.raises(ValueError, match="limit must be 1 or more"):
            await rig.connection.get_messages(limit)
        assert await rig.connection.get_messages() == ["kept"]


@pytest.mark.parametrize("queue_size", [0, 1, 3])
@pytest.mark.parametrize("end", [CLOSE, VIOLATION])
async def test_replies_to_all_messages_leave_before_the_answer_to_what_is_behind(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: int, end: bytes
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, options=options) as rig,
    ):
        await rig.peer.send_bytes(build_texts(*"abcdef") + end)
        await settle()
        replied = 0
        while replied < 6:
            messages = await rig.connection.get_messages()
            await rig.connection.send_messages(messages)
            replied += len(messages)
        payloads = [(await rig.peer.receive_frame()).payload for _ in range(6)]
        assert b"".join(payloads) == b"abcdef"
        code, _ = await rig.peer.receive_close()
        assert code == (4001 if end is CLOSE else 1002)


@pytest.mark.parametrize("end", [CLOSE, VIOLATION])
async def test_all_is_taken_up_to_a_close_or_violation(end: bytes) -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(build_texts(*"abcdef") + end + build_texts("behind"))
        await settle()
        assert await rig.connection.get_messages() == list("abcdef")
        assert rig.connection.closed is None
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_messages()


@pytest.mark.parametrize("end", [CLOSE, VIOLATION])
async def test_a_reply_leaves_first_also_when_it_is_the_turn_of_others(
    end: bytes,
) -> None:
    """The budget is used up by the call, which lets others run with all in its hand."""
    for _ in range(10):  # which task runs first in a turn is a matter of chance
        async with open_rig() as rig:
            await rig.peer.send_bytes(build_texts(*["x"] * 300) + end)
            await settle()
            messages = await rig.connection.get_messages()
            assert len(messages) == 300
            await rig.connection.send_message("reply")
            assert (await rig.peer.receive_frame()).payload == b"reply"
            assert (await rig.peer.receive_close())[0] in (4001, 1002)


async def test_pings_between_messages_are_answered_and_separate_nothing() -> None:
    async with open_rig() as rig:
        ping = build_frame(Opcode.PING, b"ping")
        await rig.peer.send_bytes(ping.join(build_texts(text) for text in "abcdef"))
        await settle()
        assert await rig.connection.get_messages() == list("abcdef")
        for _ in range(5):
            assert (await rig.peer.receive_frame()).payload == b"ping"


async def test_half_a_message_is_left_for_the_next_call() -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(
            build_texts("a", "b") + build_frame(Opcode.TEXT, b"c", fin=False)
        )
        await settle()
        assert await rig.connection.get_messages() == ["a", "b"]
        await rig.peer.send_frame(Opcode.CONTINUATION, b"d")
        assert await rig.connection.get_messages() == ["cd"]


@QUEUE_SIZES
async def test_messages_before_one_over_the_limit_are_taken_first(
    queue_size: float,
) -> None:
    options = ConnectionOptions(max_message_size=100, message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(
            build_texts("a", "b", "c") + build_frame(Opcode.BINARY, bytes(101))
        )
        await settle()
        assert await rig.connection.get_messages() == ["a", "b", "c"]
        assert rig.connection.closed is None
        with pytest.raises(ConnectionClosed, match="1009"):
            await rig.connection.get_messages()


async def test_what_came_before_the_close_of_the_peer_is_still_taken_after_it() -> None:
    options = ConnectionOptions(message_queue_size=10)
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(build_texts(*"abc") + CLOSE)
        await settle()
        assert rig.connection.close_received is not None
        assert await rig.connection.get_messages(2) == ["a", "b"]
        assert await rig.connection.get_messages() == ["c"]
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_messages()
        assert caught.value.reason is rig.connection.closed


async def test_nothing_is_taken_after_our_own_close() -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(build_texts(*"abc"))
        await settle()
        rig.nursery.start_soon(rig.connection.aclose)
        await rig.peer.receive_close()
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_messages()


async def test_the_end_of_the_connection_wakes_who_waits() -> None:
    error: list[ConnectionClosed] = []

    async def take() -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_messages()
        error.append(caught.value)

    async with open_rig() as rig, trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await settle()
        await rig.peer.aclose()
    assert error[0].reason is rig.connection.closed


class Takers:
    """Tasks that wait for messages, in the order in which they were started."""

    def __init__(self, rig: Rig, nursery: trio.Nursery) -> None:
        self.got: dict[int, Messages] = {}
        self._connection = rig.connection
        self._nursery = nursery

    async def start(self, *, takes_many: bool) -> None:
        take = self._take_many if takes_many else self._take_one
        number = len(self._nursery.child_tasks)
        self._nursery.start_soon(take, number)
        await settle()

    async def _take_many(self, number: int) -> None:
        self.got[number] = await self._connection.get_messages()

    async def _take_one(self, number: int) -> None:
        self.got[number] = [await self._connection.get_message()]


@QUEUE_SIZES
async def test_tasks_that_wait_are_served_first_come_first_served(
    queue_size: float,
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        async with trio.open_nursery() as nursery:
            takers = Takers(rig, nursery)
            for number in range(6):
                await takers.start(takes_many=number % 2 == 0)
            await rig.peer.send_bytes(build_texts(*"abcdef"))
        expected = {number: [text] for number, text in enumerate("abcdef")}
        assert takers.got == expected


async def take_in_any_way(
    connection: WebSocketConnection, choose: random.Random, count: int
) -> Messages:
    """Take so many messages, by a call of another kind each time."""
    got: Messages = []
    while len(got) < count:
        match choose.randrange(5):
            case 0:
                got.append(await connection.get_message())
            case 1:
                got.append(await anext(connection))
            case 2:
                got.append(await connection.receive())
            case 3:
                got += await connection.get_messages(choose.randrange(1, 5))
            case _:
                got += await connection.get_messages()
        if choose.random() < 0.2:
            await settle()
    return got


@QUEUE_SIZES
@pytest.mark.parametrize("seed", range(5))
async def test_calls_of_all_kinds_lose_and_reorder_nothing(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: float, seed: int
) -> None:
    choose = random.Random(seed)  # noqa: S311  # the same each time
    options = ConnectionOptions(message_queue_size=queue_size)
    sent: Messages = []
    wire = b""
    for number in range(200):
        text = str(number) * choose.choice([1, 1, 1, 100, 20_000])
        sent.append(text)
        payload = text.encode()
        cut = choose.choice([0, 0, 0, len(payload) // 2])
        if cut:
            wire += build_frame(Opcode.TEXT, payload[:cut], fin=False)
            wire += build_frame(Opcode.PONG, b"")
        wire += build_frame(Opcode.CONTINUATION if cut else Opcode.TEXT, payload[cut:])
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, options=options) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(rig.peer.send_bytes, wire)
        assert await take_in_any_way(rig.connection, choose, len(sent)) == sent


# send_messages.


async def receive_messages(rig: Rig, count: int) -> Messages:
    """Receive so many frames of messages, as the peer sees them."""
    messages: Messages = []
    for _ in range(count):
        frame = await rig.peer.receive_frame()
        assert frame.fin
        assert frame.is_masked is rig.connection.is_client
        is_text = frame.opcode == Opcode.TEXT
        messages.append(frame.payload.decode() if is_text else frame.payload)
    return messages


@pytest.mark.parametrize("is_client", [True, False])
async def test_each_message_of_an_iterable_is_sent(
    open_stream_pair: OpenStreamPair, transport: str, *, is_client: bool
) -> None:
    messages: list[str | bytes | bytearray | memoryview] = [
        "",
        "text",
        "\u20ac\U0001f600",
        b"",
        b"bytes",
        bytearray(b"array"),
        memoryview(b"0123456789")[::2],
        "behind",
    ]
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_client=is_client) as rig,
    ):
        await rig.connection.send_messages(messages)
        assert await receive_messages(rig, 8) == [
            *("", "text", "\u20ac\U0001f600", b""),
            *(b"bytes", b"array", b"02468", "behind"),
        ]


class Text(str):
    __slots__ = ()


class Data(bytes):
    __slots__ = ()


async def test_messages_of_a_subclass_are_sent_too() -> None:
    async with open_rig() as rig:
        await rig.connection.send_messages(["a", Text("b"), "c", Data(b"d"), "e"])
        assert await receive_messages(rig, 5) == ["a", "b", "c", b"d", "e"]


KINDS: dict[str, Callable[[list[str]], Iterable[str]]] = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda texts: (text for text in texts),
    "dict": dict.fromkeys,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_any_iterable_will_do(kind: Callable[[list[str]], Iterable[str]]) -> None:
    texts = [str(number) for number in range(1000)]
    async with open_rig() as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.send_messages, kind(texts))
        assert await receive_messages(rig, 1000) == texts


@pytest.mark.parametrize("nothing", [[], (), iter(()), {}])
async def test_nothing_is_sent_of_an_empty_iterable(nothing: Iterable[str]) -> None:
    async with open_rig() as rig:
        await rig.connection.send_messages(nothing)
        await rig.connection.send_message("first")
        assert await receive_messages(rig, 1) == ["first"]


async def test_what_cannot_be_iterated_is_a_type_error() -> None:
    async with open_rig() as rig:
        with pytest.raises(TypeError, match="iterable"):
            await rig.connection.send_messages(1)  # type: ignore[arg-type]
        assert rig.connection.state is ConnectionState.OPEN


BEFORE = pytest.mark.parametrize("before", [0, 1, 3, 255, 256, 257, 600])


@BEFORE
@pytest.mark.parametrize("wrong", [None, 1, ["a"], object()])
async def test_a_message_of_a_wrong_type_ends_it_behind_those_before(
    before: int, wrong: object
) -> None:
    async with open_rig() as rig:
        messages: list[object] = ["x"] * before
        with pytest.raises(TypeError, match=r"a message must be str, bytes"):
            await rig.connection.send_messages([*messages, wrong, "never"])  # type: ignore[list-item]
        await rig.connection.send_message("behind")
        assert await receive_messages(rig, before + 1) == ["x"] * before + ["behind"]


@BEFORE
async def test_text_with_surrogates_ends_it_behind_those_before(before: int) -> None:
    async with open_rig() as rig:
        with pytest.raises(ValueError, match="surrogates"):
            await rig.connection.send_messages(["x"] * before + ["\ud800", "never"])
        await rig.connection.send_message("behind")
        assert await receive_messages(rig, before + 1) == ["x"] * before + ["behind"]


@BEFORE
async def test_an_iterable_that_fails_ends_it_behind_those_before(before: int) -> None:
    def generate() -> Iterator[str]:
        yield from ["x"] * before
        raise ZeroDivisionError

    async with open_rig() as rig:
        with pytest.raises(ZeroDivisionError):
            await rig.connection.send_messages(generate())
        await rig.connection.send_message("behind")
        assert await receive_messages(rig, before + 1) == ["x"] * before + ["behind"]


@pytest.mark.parametrize("is_client", [True, False])
async def test_large_messages_may_be_among_small_ones(
    open_stream_pair: OpenStreamPair, transport: str, *, is_client: bool
) -> None:
    messages: Messages = []
    for number, size in enumerate([1, 131_058, 131_072, 131_073, 500_000, 2, 65_536]):
        messages += [f"{number}", b"%d" % number * size, f"\u20ac{number}" * size]
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_client=is_client) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(rig.connection.send_messages, messages)
        assert await receive_messages(rig, len(messages)) == messages


class WritingStream(FaultyStream):
    """A stream that takes all at once, and tells how much it was each time.

    Attributes:
        sizes: The sizes.

    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.sizes: list[int] = []

    def write_now(self, data: bytes | memoryview) -> int:
        self.sizes.append(len(data))
        return len(data)


def open_writing() -> tuple[WritingStream, trio.abc.Stream]:
    stream, peer_stream = trio.testing.memory_stream_pair()
    return WritingStream(stream), peer_stream


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 60_000, 131_058])
async def test_messages_leave_in_few_writes_of_at_most_128_kib(size: int) -> None:
    streams = open_writing()
    async with open_rig(streams) as rig:
        await rig.connection.send_messages([bytes(size)] * 1000)
    sizes = streams[0].sizes
    # Frames of wsproto are not measured before they are built: the widest is assumed.
    head_size = MAX_HEADER_SIZE if LANE is None else len(build_header(2, size)) + 4
    per_write = min(256, 131_072 // (size + head_size))
    assert len(sizes) == math.ceil(1000 / per_write)
    assert max(sizes) <= 131_072


async def test_each_message_is_asked_for_only_if_those_before_leave() -> None:
    """The iterable may be endless."""
    asked = 0

    def generate() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(1000)

    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    faulty.stall_sending()
    async with open_rig((faulty, peer_stream)) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.send_messages, generate())
        await settle()
        assert 0 < asked <= 256
        nursery.cancel_scope.cancel()


async def test_many_messages_of_several_tasks_do_not_mix(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async def send(sender: int) -> None:
        for start in range(0, 400, 100):
            await client.send_messages(
                f"{sender} {number} " + "x" * 1000
                for number in range(start, start + 100)
            )
            await client.send_message(f"{sender} {start + 99}.5 ")

    got: dict[str, list[float]] = {}
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (client, server),
        trio.open_nursery() as nursery,
    ):
        for sender in range(3):
            nursery.start_soon(send, sender)
        for _ in range(3 * 404):
            name, number, _ = str(await server.get_message()).split(" ")
            got.setdefault(name, []).append(float(number))
    halves = [99.5, 199.5, 299.5, 399.5]
    assert got == {name: sorted([*range(400), *halves]) for name in "012"}


async def test_many_messages_wait_behind_what_waits_already() -> None:
    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    faulty.stall_sending()
    async with open_rig((faulty, peer_stream)) as rig, trio.open_nursery() as nursery:
        for call in (
            lambda: rig.connection.send_message("1"),
            lambda: rig.connection.send_messages(["2", "3"]),
            lambda: rig.connection.send_message("4"),
            lambda: rig.connection.send_messages(["5"]),
        ):
            nursery.start_soon(call)
            await settle()
        faulty.resume_sending()
        assert await receive_messages(rig, 5) == list("12345")


async def test_a_call_on_a_closed_connection_sends_nothing() -> None:
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.aclose)
        await rig.peer.receive_close()
        with pytest.raises(ConnectionClosed):
            await rig.connection.send_messages(["too late"])
        await rig.connection.send_messages([])  # there is nothing to complain of


async def test_a_connection_that_closes_ends_the_call_between_two_batches() -> None:
    asked = 0

    def generate() -> Iterator[str]:
        nonlocal asked
        while True:
            asked += 1
            yield "x"

    async with open_rig() as rig:
        rig.nursery.start_soon(close_soon, rig.connection)
        with pytest.raises(ConnectionClosed):
            await rig.connection.send_messages(generate())
        assert asked > 0
        assert asked % 256 == 0


async def close_soon(connection: WebSocketConnection) -> None:
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    await connection.abort()


@pytest.mark.parametrize("size", [10, 1000, 60_000, 150_000])
async def test_of_a_cancelled_call_some_first_messages_were_sent_whole(
    open_stream_pair: OpenStreamPair, transport: str, size: int
) -> None:
    count = min(20_000, 3_000_000 // size)
    messages = [b"%06d" % number * size for number in range(count)]
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (
            client,
            server,
        ),
    ):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send_messages, messages)
                for _ in range(10):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert scope.cancelled_caught
        got: Messages = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_message, "end")
            while (message := await server.get_message()) != "end":
                got.append(message)
        assert got == messages[: len(got)]
        await client.ping()


async def test_a_batch_of_bombs_is_bounded() -> None:
    """One receive may hold a hundred times as much as it has bytes."""
    squeezer = zlib.compressobj(wbits=-15)
    async with open_rig(is_compressed=True) as rig:
        frames: list[bytes] = []
        for _ in range(60):
            bomb = squeezer.compress(bytes(2**20)) + squeezer.flush(zlib.Z_SYNC_FLUSH)
            frame = Frame(FrameOpcode.BINARY, bomb[:-4], rsv1=True)
            frames.append(frame.pack())
        await rig.peer.send_bytes(b"".join(frames))
        await settle()
        count = 0
        while count < 60:
            messages = await rig.connection.get_messages()
            assert set(messages) == {bytes(2**20)}
            assert len(messages) <= 4
            count += len(messages)

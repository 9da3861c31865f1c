"""What is received, in which order it is acted on, and where back-pressure bites."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed, WebSocketConnection
from trio_websocket._errors import ProtocolViolation
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.frame_header import Opcode, build_header
from trio_websocket._protocol.state import ConnectionState
from trio_websocket.testing import FaultyStream

from .rig import (
    MuteStream,
    OpenStreamPair,
    Rig,
    SlowStream,
    check_dropped,
    open_pair,
    open_rig,
    settle,
)

QUEUE_SIZES = pytest.mark.parametrize("queue_size", [0, 1, 3, math.inf])


def get_code(connection: WebSocketConnection) -> int | None:
    return None if connection.closed is None else connection.closed.code


async def take_until_closed(connection: WebSocketConnection) -> list[str | bytes]:
    taken: list[str | bytes] = []
    try:
        while True:
            taken.append(await connection.get_message())
    except ConnectionClosed:
        return taken


@QUEUE_SIZES
async def test_messages_arrive_whole_and_in_order_with_any_queue(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: float
) -> None:
    """T-10, T-52."""
    options = ConnectionOptions(message_queue_size=queue_size)
    sent: list[str | bytes] = ["", b"", "text", b"bytes", "x" * 200_000, b"y" * 70_000]

    async def send() -> None:
        for message in sent * 10:
            await server.send_message(message)
        await server.aclose()

    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams, options=options) as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send)
        assert await take_until_closed(client) == sent * 10


@pytest.mark.parametrize("receive_size", [1, 7, 65536, None])
async def test_the_size_of_a_receive_makes_no_difference(
    receive_size: int | None,
) -> None:
    options = ConnectionOptions(receive_buffer_size=receive_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_frame(Opcode.TEXT, "hällo ".encode(), fin=False)
        await rig.peer.send_frame(Opcode.PING, b"ping")
        await rig.peer.send_frame(Opcode.CONTINUATION, "wörld".encode())
        assert await rig.connection.get_message() == "hällo wörld"
        assert (await rig.peer.receive_frame()).payload == b"ping"


# Back-pressure.


@pytest.mark.parametrize(("queue_size", "fitting"), [(0, 0), (1, 1), (3, 3)])
async def test_a_close_behind_a_message_without_room_is_not_answered(
    queue_size: int,
    fitting: int,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """With a queue of 0 one message is enough; programs of 0.12.2 rely on it."""
    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(is_client=False, options=options) as rig:
        for _ in range(fitting + 1):
            await rig.peer.send_text("unread")
        await rig.peer.send_close(4001)
        await trio.sleep(1000)
        assert get_code(rig.connection) is None
        await rig.connection.get_message()
        await settle()
        assert get_code(rig.connection) == 4001
        assert (await rig.peer.receive_close())[0] == 4001


@pytest.mark.parametrize("queue_size", [1, 3])
async def test_control_frames_in_front_of_the_next_message_are_processed(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: int
) -> None:
    """T9: with a full queue pings are answered, pongs noticed, and a Close is seen."""
    options = ConnectionOptions(message_queue_size=queue_size)
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, options=options) as rig,
        trio.open_nursery() as nursery,
    ):
        for _ in range(queue_size):
            await rig.peer.send_text("unread")
        for number in range(10):
            await rig.peer.send_frame(Opcode.PING, b"%d" % number)
            assert (await rig.peer.receive_frame()).payload == b"%d" % number
        nursery.start_soon(rig.connection.ping, b"ours")
        assert (await rig.peer.receive_frame()).payload == b"ours"
        await rig.peer.send_frame(Opcode.PONG, b"ours")
        await rig.peer.send_close(4001)
        assert await rig.peer.receive_close() == (4001, "")
        assert await take_until_closed(rig.connection) == ["unread"] * queue_size


async def test_reading_stops_in_front_of_a_message_without_room() -> None:
    """At most the queue and one receive are held; the rest stays with the peer."""
    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    options = ConnectionOptions(receive_buffer_size=1000)
    async with open_rig((faulty, peer_stream), options=options) as rig:
        for _ in range(100):
            await rig.peer.send_frame(Opcode.BINARY, bytes(998 - 2))
        await settle()
        assert faulty.bytes_received <= 3000
        for _ in range(100):
            assert len(await rig.connection.get_message()) == 996


async def test_reading_goes_on_within_a_message_once_it_has_begun() -> None:
    options = ConnectionOptions(message_queue_size=1)
    async with open_rig(options=options) as rig:
        await rig.peer.send_frame(Opcode.TEXT, b"one, ", fin=False)
        await settle()
        await rig.peer.send_frame(Opcode.PING, b"between")
        await rig.peer.send_frame(Opcode.CONTINUATION, b"two")
        await rig.peer.send_text("three")
        await rig.peer.send_frame(Opcode.PING, b"behind")
        assert (await rig.peer.receive_frame()).payload == b"between"
        await settle()
        assert await rig.connection.get_message() == "one, two"
        assert (await rig.peer.receive_frame()).payload == b"behind"
        assert await rig.connection.get_message() == "three"


async def test_a_peer_that_does_not_read_cannot_stop_us_from_reading(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    faulty.stall_sending()
    async with (
        open_rig((faulty, peer_stream)) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(rig.connection.send_message, "cannot leave")
        for number in range(1000):
            await rig.peer.send_frame(Opcode.PING, b"%d" % number)
            await rig.peer.send_text(f"message {number}")
            assert await rig.connection.get_message() == f"message {number}"
        faulty.resume_sending()
        assert (await rig.peer.receive_frame()).payload == b"cannot leave"
        pongs = [await rig.peer.receive_frame() for _ in range(32)]
        # The newest answer the older ones too, RFC 6455 section 5.5.3.
        assert [int(pong.payload) for pong in pongs] == list(range(968, 1000))
        assert {pong.opcode for pong in pongs} == {Opcode.PONG}


async def test_pongs_leave_in_the_order_of_the_pings(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        for number in range(30):
            await rig.peer.send_frame(Opcode.PING, b"%d" % number)
        pongs = [await rig.peer.receive_frame() for _ in range(30)]
        assert [int(pong.payload) for pong in pongs] == list(range(30))


async def test_a_pong_that_nobody_asked_for_is_ignored() -> None:
    """S-36."""
    async with open_rig() as rig:
        await rig.peer.send_frame(Opcode.PONG, b"unasked")
        await rig.peer.send_text("still here")
        assert await rig.connection.get_message() == "still here"


class OfAllKinds:
    """Whole messages with fragmented ones, large ones and control frames in between.

    Attributes:
        messages: What is to be delivered.
        wire: What the peer sends.

    """

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.wire = b""
        for number in range(40):
            large = b"%d" % number * 40_000
            self.messages += [str(number), large, f"{number} \u20ac", "", b"\0\xff"]
            self.wire += b"".join(
                (
                    build_frame(Opcode.TEXT, b"%d" % number),
                    build_frame(Opcode.PING, b"ping"),
                    build_frame(Opcode.BINARY, large),
                    build_frame(Opcode.TEXT, b"%d " % number, fin=False),
                    build_frame(Opcode.PING, b"between"),
                    build_frame(Opcode.CONTINUATION, b"\xe2", fin=False),
                    build_frame(Opcode.CONTINUATION, b"\x82\xac"),
                    build_frame(Opcode.TEXT, b""),
                    build_frame(Opcode.BINARY, b"\0\xff"),
                )
            )


def build_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return build_header(opcode, len(payload), fin=fin) + payload


@QUEUE_SIZES
@pytest.mark.parametrize("receive_size", [None, 1000, 65_536, 10_000_000])
async def test_messages_of_all_kinds_arrive_in_order_by_whatever_way(
    open_stream_pair: OpenStreamPair,
    transport: str,
    queue_size: float,
    receive_size: int | None,
) -> None:
    flow = OfAllKinds()
    options = ConnectionOptions(
        message_queue_size=queue_size, receive_buffer_size=receive_size
    )

    async def drain() -> None:
        await rig.peer.receive_eof()

    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, options=options) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(drain)
        nursery.start_soon(rig.peer.send_bytes, flow.wire)
        for expected in flow.messages:
            assert await rig.connection.get_message() == expected
        nursery.cancel_scope.cancel()


# Messages that are decoded ahead of the reader.


@QUEUE_SIZES
async def test_no_more_messages_are_unread_than_the_queue_holds(
    queue_size: float,
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(build_frame(Opcode.TEXT, b"x") * 500)
        await settle()
        assert len(rig.link.inbox.messages) == min(queue_size, 500)
        assert rig.link.inbox.is_ahead is False


@QUEUE_SIZES
async def test_a_ping_behind_many_messages_is_answered_when_few_are_unread(
    queue_size: float,
) -> None:
    """Also if they were all decoded at once for a task that asked."""
    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(
            build_frame(Opcode.TEXT, b"x") * 20 + build_frame(Opcode.PING, b"behind")
        )
        for _ in range(20 - int(min(queue_size, 20))):
            await rig.connection.get_message()
        assert (await rig.peer.receive_frame()).payload == b"behind"


@QUEUE_SIZES
@pytest.mark.parametrize("name", ["get_message", "receive"])
async def test_a_close_behind_many_messages_is_seen_when_few_are_unread(
    queue_size: float, name: str
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(
            build_frame(Opcode.TEXT, b"x") * 20 + build_frame(Opcode.CLOSE, b"\x0f\xa1")
        )
        for _ in range(20 - int(min(queue_size, 20))):
            await settle()
            assert get_code(rig.connection) is None
            await getattr(rig.connection, name)()
        assert await rig.peer.receive_close() == (4001, "")
        assert len(await take_until_closed(rig.connection)) == min(queue_size, 20)


@QUEUE_SIZES
async def test_a_violation_behind_many_messages_is_acted_on_when_all_were_taken(
    queue_size: float,
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_bytes(
            build_frame(Opcode.TEXT, b"x") * 20 + build_frame(3, b"")
        )
        for _ in range(20):
            await settle()
            assert rig.connection.closed is None
            await rig.connection.send_message("still open")
            await rig.connection.get_message()
        if queue_size:
            await settle()
            assert get_code(rig.connection) == 1002
        assert await take_until_closed(rig.connection) == []
        assert get_code(rig.connection) == 1002


@pytest.mark.parametrize("discard", [True, False])
async def test_what_was_decoded_in_advance_is_not_wanted_in_a_block_either(
    *, discard: bool
) -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(
            build_frame(Opcode.TEXT, b"x") * 20 + build_frame(Opcode.CLOSE, b"\x0f\xa1")
        )
        for _ in range(5):
            await rig.connection.get_message()
        async with rig.connection.cancel_on_close(discard=discard):
            await trio.Event().wait()
        code = 4001 if discard else 1008
        assert (await rig.peer.receive_close())[0] == code
        assert await take_until_closed(rig.connection) == []


async def test_what_was_decoded_in_advance_is_dropped_when_we_close() -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(build_frame(Opcode.TEXT, b"x") * 20)
        for _ in range(5):
            await rig.connection.get_message()
        rig.nursery.start_soon(rig.connection.aclose)
        await rig.peer.receive_close()
        assert await take_until_closed(rig.connection) == []


async def test_what_was_decoded_in_advance_is_delivered_when_the_peer_vanishes(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        await rig.peer.send_bytes(build_frame(Opcode.TEXT, b"x") * 20)
        for _ in range(5):
            await rig.connection.get_message()
        await rig.peer.aclose()
        assert len(await take_until_closed(rig.connection)) == 15
        assert get_code(rig.connection) == 1006


# Hand-over.


async def test_each_message_goes_to_one_task_first_come_first_served() -> None:
    """T-10."""
    got: dict[int, str | bytes] = {}

    async def get(number: int) -> None:
        got[number] = await rig.connection.get_message()

    async with open_rig() as rig:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(get, number)
                await settle()
            for number in range(10):
                await rig.peer.send_text(str(number))
        assert got == {number: str(number) for number in range(10)}


class ImpatientGetters:
    """Tasks that take messages, and are interrupted all the time while they wait."""

    def __init__(self, connection: WebSocketConnection, count: int) -> None:
        self.got: list[int] = []
        self._connection = connection
        self._count = count
        self._scopes: list[trio.CancelScope] = []

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(self._get)
            while len(self.got) < self._count:
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                while self._scopes:
                    self._scopes.pop().cancel()
            nursery.cancel_scope.cancel()

    async def _get(self) -> None:
        while True:
            with trio.CancelScope() as scope:
                self._scopes.append(scope)
                self.got.append(int(await self._connection.get_message()))


@QUEUE_SIZES
async def test_no_message_is_lost_to_cancellations(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: float
) -> None:
    count = 300

    async def send() -> None:
        for number in range(count):
            await server.send_message(str(number))
            for _ in range(number % 5):
                await trio.lowlevel.checkpoint()

    async with (
        open_stream_pair(transport) as streams,
        open_pair(
            streams, options=ConnectionOptions(message_queue_size=queue_size)
        ) as (client, server),
        trio.open_nursery() as nursery,
    ):
        getters = ImpatientGetters(client, count)
        nursery.start_soon(send)
        await getters.run()
    assert sorted(getters.got) == list(range(count))


@QUEUE_SIZES
@pytest.mark.parametrize("name", ["get_message", "receive"])
async def test_a_reply_leaves_before_the_answer_to_a_close_behind(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: float, name: str
) -> None:
    """Also when the task gives up a turn between taking a message and returning."""

    async def reply() -> None:
        take = getattr(rig.connection, name)
        await rig.connection.send_message(await take())

    options = ConnectionOptions(message_queue_size=queue_size)
    for _ in range(10):  # which task runs first in a turn is a matter of chance
        async with (
            open_stream_pair(transport) as streams,
            open_rig(streams, options=options) as rig,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(reply)
            await settle()
            await rig.peer.send_bytes(b"\x81\x01a\x88\x02\x03\xe8")
            assert (await rig.peer.receive_frame()).payload == b"a"
            assert (await rig.peer.receive_close())[0] == 1000


async def test_a_reply_leaves_first_also_when_it_is_the_turn_of_others() -> None:
    """The 256th call lets others run with the message in its hand."""
    calls = 0  # of this run of Trio, since the last turn of others

    async def reply() -> None:
        await rig.connection.send_message(await rig.connection.get_message())

    for _ in range(10):  # which task runs first in a turn is a matter of chance
        async with open_rig() as rig, trio.open_nursery() as nursery:
            for _ in range(255 - calls):
                await rig.connection.pong()
                await rig.peer.receive_frame()
            nursery.start_soon(reply)
            await settle()
            await rig.peer.send_bytes(b"\x81\x01a\x88\x02\x03\xe8")
            assert (await rig.peer.receive_frame()).payload == b"a"
            assert (await rig.peer.receive_close())[0] == 1000
            calls = 1  # the reply


@pytest.mark.parametrize("name", ["get_message", "receive", "get_messages"])
async def test_a_message_that_is_whole_while_the_one_before_is_taken_is_not_lost(
    open_stream_pair: OpenStreamPair, transport: str, name: str
) -> None:
    """The rest of it comes while a task gives up a turn with a message in its hand."""
    options = ConnectionOptions(message_queue_size=3)
    large = build_frame(Opcode.BINARY, bytes(200_000))
    for _ in range(10):  # which task runs first in a turn is a matter of chance
        async with (
            open_stream_pair(transport) as streams,
            open_rig(streams, options=options) as rig,
        ):
            await rig.peer.send_bytes(build_frame(Opcode.TEXT, b"a") + large[:100_000])
            await settle()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.peer.send_bytes, large[100_000:])
                for expected in ("a", bytes(200_000)):
                    message = await getattr(rig.connection, name)()
                    assert message in (expected, [expected])
            await rig.peer.send_text("behind")
            assert await rig.connection.get_message() == "behind"


@QUEUE_SIZES
async def test_replies_leave_before_the_answer_to_a_violation_behind(
    open_stream_pair: OpenStreamPair, transport: str, queue_size: float
) -> None:
    """Autobahn 3.2, 3.3, 4.1.3, 4.1.4, 4.2.3, 4.2.4 and 5.15."""
    options = ConnectionOptions(message_queue_size=queue_size)

    async def echo() -> None:
        with suppress(ConnectionClosed):
            while True:
                message = await rig.connection.get_message()
                await rig.connection.send_message(message)

    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, options=options) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo)
        await settle()
        texts = b"".join(b"\x81\x01%c" % number for number in b"abcdef")
        await rig.peer.send_bytes(texts + b"\x83\x00" + texts)
        for letter in "abcdef":
            assert (await rig.peer.receive_frame()).payload == letter.encode()
        assert (await rig.peer.receive_close())[0] == 1002


# Violations.


@pytest.mark.parametrize("queue_size", [1, 3, math.inf])
async def test_messages_before_a_violation_are_delivered_first(
    queue_size: float,
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_text("before")
        await rig.peer.send_frame(Opcode.PING, b"x", fin=False)
        await settle()
        assert rig.connection.state is ConnectionState.FAILING
        assert rig.connection.closed is None
        assert await take_until_closed(rig.connection) == ["before"]
        assert (await rig.peer.receive_close())[0] == 1002
        assert get_code(rig.connection) == 1002


@pytest.mark.parametrize("name", ["get_message", "receive", "get_messages"])
async def test_a_violation_is_acted_on_when_the_message_before_it_was_taken(
    open_stream_pair: OpenStreamPair, transport: str, name: str
) -> None:
    """However it was taken, and though nothing more comes."""
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        await rig.peer.send_text("before")
        await rig.peer.send_frame(3)
        await settle()
        assert await getattr(rig.connection, name)() in ("before", ["before"])
        assert (await rig.peer.receive_close())[0] == 1002


async def test_a_violation_is_acted_on_at_once_if_nothing_is_unread() -> None:
    async with open_rig() as rig:
        await rig.peer.send_frame(3)
        assert (await rig.peer.receive_close())[0] == 1002


async def test_what_lies_behind_a_violation_is_never_looked_at() -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(b"\x83\x00" + b"\x81\x05hello" + b"\x88\x02\x03\xe8")
        assert await take_until_closed(rig.connection) == []
        assert rig.connection.close_received is None


async def test_sending_is_possible_until_a_violation_is_acted_on() -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("before")
        await rig.peer.send_frame(11)
        await settle()
        await rig.connection.send_message("still open")
        assert (await rig.peer.receive_frame()).payload == b"still open"
        await rig.connection.get_message()
        assert (await rig.peer.receive_close())[0] == 1002


# Messages over the limit.


LIMIT = ConnectionOptions(max_message_size=100)


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
async def test_a_message_of_the_limit_arrives(opcode: Opcode) -> None:
    async with open_rig(options=LIMIT) as rig:
        await rig.peer.send_frame(opcode, b"x" * 100)
        assert len(await rig.connection.get_message()) == 100


async def test_a_message_over_the_limit_ends_the_connection_for_who_asks(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, options=LIMIT) as rig,
    ):
        await rig.peer.send_frame(Opcode.TEXT, b"x" * 101)
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert get_code(rig.connection) == 1009
        assert "100 bytes" in str(caught.value)
        assert isinstance(caught.value.__cause__, ProtocolViolation)
        assert caught.value.__cause__.code == 1009
        code, reason = await rig.peer.receive_close()
        assert code == 1009
        assert "100 bytes" in reason
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        await check_dropped(rig.link.stream)


async def test_a_task_that_waits_already_asks_for_a_message_over_the_limit() -> None:
    async with open_rig(options=LIMIT) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(take_until_closed, rig.connection)
        await settle()
        await rig.peer.send_frame(Opcode.TEXT, b"x" * 101)
        assert (await rig.peer.receive_close())[0] == 1009


async def test_a_message_over_the_limit_that_nobody_asks_for_stops_the_reader(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    async with open_rig((faulty, peer_stream), options=LIMIT) as rig:
        await rig.peer.send_frame(Opcode.TEXT, b"x" * 1_000_000)
        await rig.peer.send_frame(Opcode.PING, b"behind")
        await trio.sleep(1000)
        assert faulty.bytes_received <= 65536
        assert rig.connection.closed is None
        await rig.connection.send_message("still open")
        assert (await rig.peer.receive_frame()).payload == b"still open"
        await take_until_closed(rig.connection)
        assert get_code(rig.connection) == 1009


@QUEUE_SIZES
async def test_messages_before_one_over_the_limit_are_delivered_first(
    queue_size: float,
) -> None:
    options = ConnectionOptions(max_message_size=100, message_queue_size=queue_size)
    async with open_rig(options=options) as rig:
        await rig.peer.send_text("before")
        await rig.peer.send_frame(Opcode.TEXT, b"x" * 101)
        await settle()
        assert rig.connection.closed is None
        assert await take_until_closed(rig.connection) == ["before"]
        assert get_code(rig.connection) == 1009


@pytest.mark.parametrize("name", ["get_message", "receive", "get_messages"])
@pytest.mark.parametrize("queue_size", [1, 3])
async def test_a_message_over_the_limit_is_found_behind_one_that_was_taken(
    open_stream_pair: OpenStreamPair, transport: str, name: str, queue_size: int
) -> None:
    options = ConnectionOptions(max_message_size=100, message_queue_size=queue_size)
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, options=options) as rig,
    ):
        await rig.peer.send_text("before")
        await rig.peer.send_frame(Opcode.BINARY, bytes(101))
        await settle()
        assert await getattr(rig.connection, name)() in ("before", ["before"])
        await rig.connection.send_message("still open")
        assert await take_until_closed(rig.connection) == []
        assert get_code(rig.connection) == 1009


async def test_a_reply_leaves_before_the_answer_to_a_message_over_the_limit() -> None:
    async with open_rig(options=LIMIT) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(reply_once, rig)
        await settle()
        await rig.peer.send_bytes(b"\x81\x01a" + b"\x82\x65" + bytes(101))
        assert (await rig.peer.receive_frame()).payload == b"a"
        assert (await rig.peer.receive_close())[0] == 1009


async def reply_once(rig: Rig) -> None:
    await rig.connection.send_message(await rig.connection.get_message())
    await take_until_closed(rig.connection)


async def test_no_limit_means_no_limit() -> None:
    options = ConnectionOptions(max_message_size=math.inf)
    async with open_rig(options=options) as rig:
        await rig.peer.send_frame(Opcode.BINARY, bytes(3_000_000))
        assert await rig.connection.get_message() == bytes(3_000_000)


# A rude peer.


@pytest.mark.parametrize("kind", ["memory", "socket"])
@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.BINARY])
async def test_a_flood_of_tiny_frames_leaves_others_their_turns(
    open_stream_pair: OpenStreamPair, kind: str, opcode: Opcode
) -> None:
    """20,000 frames come in one receive; a task beside need not wait for them."""
    turns = 0

    async def run_beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async def take_all() -> None:
        for _ in range(20_000):
            await rig.connection.get_message()

    flood = bytes([0x80 | opcode, 0]) * 20_000 + b"\x89\x03end"
    async with (
        open_stream_pair(kind) as streams,
        open_rig(streams) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(rig.peer.send_bytes, flood)
        nursery.start_soon(run_beside)
        if opcode is Opcode.BINARY:
            nursery.start_soon(take_all)
        while (await rig.peer.receive_frame()).payload != b"end":
            pass
        nursery.cancel_scope.cancel()
    assert turns > 60


async def test_what_is_still_decoded_at_the_end_is_answered_only_without_waiting() -> (
    None
):
    """Time is up while a ping waits behind messages that nobody takes."""
    stream, peer_stream = trio.testing.memory_stream_pair()
    async with open_rig((SlowStream(stream), peer_stream)) as rig:
        await rig.peer.send_bytes(
            build_frame(Opcode.TEXT, b"x") * 3 + build_frame(Opcode.PING, b"")
        )
        await settle()
        rig.link.closing.limit(0)
        await rig.connection.wait_closed()
        assert await take_until_closed(rig.connection) == ["x"] * 3
    assert await rig.peer.receive_eof() == b""


async def test_a_task_that_waits_gets_what_is_still_decoded_at_the_end() -> None:
    """The first pong fails, and time is up while the reader is busy with pings."""
    stream, peer_stream = trio.testing.memory_stream_pair()
    options = ConnectionOptions(disconnect_timeout=0)
    taken: list[str | bytes] = []

    async def take_all() -> None:
        taken.extend(await take_until_closed(rig.connection))

    async with (
        open_rig((MuteStream(stream), peer_stream), options=options) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(take_all)
        await settle()
        ping = build_frame(Opcode.PING, b"")
        await rig.peer.send_bytes(ping * 100 + build_frame(Opcode.TEXT, b"x") * 10)
    assert taken == ["x"] * 10
    assert isinstance(rig.link.closing.cause, trio.BrokenResourceError)


async def test_a_flood_of_pings_costs_no_memory() -> None:
    """The peer does not read, so no answer leaves: 32 wait, and no more."""
    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    faulty.stall_sending()
    async with open_rig((faulty, peer_stream)) as rig:
        for _ in range(10):
            await rig.peer.send_bytes((b"\x89\x7d" + bytes(125)) * 1000)
        await settle()
        faulty.resume_sending()
        await settle()
        # As many again may have been with the writer already.
        assert faulty.bytes_sent <= (32 + 32) * (125 + 6)


async def test_a_cut_at_any_byte_is_a_defined_end() -> None:
    """Received bytes: whole messages are delivered, and nothing hangs."""
    frames = (
        b"\x81\x05hello"
        b"\x02\x03abc\x89\x04ping\x00\x01d\x80\x01e"
        b"\x82\x7e\x01\x00" + bytes(256) + b"\x88\x05\x0f\xa1bye"
    )
    messages = ["hello", b"abcde", bytes(256)]
    ends = [7, 24, 24 + 260]
    for size in range(len(frames) + 1):
        stream, peer_stream = trio.testing.memory_stream_pair()
        faulty = FaultyStream(stream)
        faulty.cut_after_receiving(size)
        async with open_rig((faulty, peer_stream)) as rig:
            await rig.peer.send_bytes(frames)
            taken = await take_until_closed(rig.connection)
            await rig.peer.aclose()
            await rig.connection.wait_closed()
        assert taken == messages[: sum(size >= end for end in ends)]
        assert get_code(rig.connection) == (4001 if size == len(frames) else 1006)


async def test_an_end_at_any_byte_is_a_defined_end() -> None:
    frames = b"\x81\x05hello\x89\x04ping\x82\x7e\x00\x7e" + bytes(126)
    for size in range(len(frames) + 1):
        async with open_rig() as rig:
            await rig.peer.send_bytes(frames[:size])
            await rig.peer.aclose()
            taken = await take_until_closed(rig.connection)
            await rig.connection.wait_closed()
        assert taken == ["hello", bytes(126)][: (size >= 7) + (size >= len(frames))]
        assert get_code(rig.connection) == 1006


async def test_a_cut_at_any_byte_that_is_sent_is_a_defined_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for size in range(30):
        stream, peer_stream = trio.testing.memory_stream_pair()
        faulty = FaultyStream(stream)
        faulty.cut_after_sending(size)
        async with open_rig((faulty, peer_stream)) as rig:
            with suppress(ConnectionClosed):
                while True:
                    await rig.connection.send_message("hello")
            await rig.connection.wait_closed()
            assert isinstance(rig.link.closing.cause, trio.BrokenResourceError)
            assert get_code(rig.connection) == 1006
            assert rig.connection.state is ConnectionState.CLOSED

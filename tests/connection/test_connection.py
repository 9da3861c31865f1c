from __future__ import annotations

import array
import ctypes
import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed, Endpoint, WebSocketConnection
from trio_websocket._errors import ProtocolViolation
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.state import ConnectionState
from trio_websocket.testing import FaultyStream, open_connection_pair

from .rig import (
    MuteStream,
    OpenStreamPair,
    Rig,
    StreamPair,
    build_connection,
    open_pair,
    open_rig,
    settle,
)

ON_POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="a socket is not written without waiting there"
)

# What it is.


@pytest.mark.parametrize("is_client", [True, False])
async def test_a_connection_knows_its_role(*, is_client: bool) -> None:
    async with open_rig(is_client=is_client) as rig:
        assert rig.connection.is_client is is_client
        assert rig.connection.is_server is not is_client


async def test_connections_are_numbered_through() -> None:
    numbers = [
        int(str(build_connection(stream, is_client=is_client)[0]).split("-")[1])
        for stream, is_client in zip(
            trio.testing.memory_stream_pair(), (True, False), strict=True
        )
    ]
    assert numbers[1] == numbers[0] + 1
    assert next(WebSocketConnection.CONNECTION_ID) == numbers[1] + 1


async def test_the_name_of_a_connection_tells_its_role() -> None:
    """T-09."""
    async with open_pair() as (client, server):
        assert str(client).startswith("client-")
        assert str(server).startswith("server-")


async def test_a_connection_knows_what_the_handshake_was_about() -> None:
    """T-09."""
    async with open_connection_pair(path="/x?y", subprotocol="chat") as (
        client,
        server,
    ):
        assert client.path == server.path == "/x?y"
        assert client.subprotocol == server.subprotocol == "chat"
        assert client.handshake_headers == server.handshake_headers == ()


async def test_the_ends_of_a_socket_are_known_also_when_it_is_closed(
    open_stream_pair: OpenStreamPair,
) -> None:
    async with (
        open_stream_pair("socket") as streams,
        open_pair(streams) as (client, server),
    ):
        await client.aclose()
        assert isinstance(client.local, Endpoint)
        assert isinstance(server.remote, Endpoint)
        assert repr(client.local) == repr(server.remote)
        assert repr(client.remote) == repr(server.local)


async def test_attributes_of_ones_own_may_be_set() -> None:
    async with open_rig() as rig:
        rig.connection.user = "Ada"  # type: ignore[attr-defined]


async def test_a_new_connection_is_open() -> None:
    async with open_rig() as rig:
        assert rig.connection.state is ConnectionState.OPEN
        assert rig.connection.closed is None
        assert rig.connection.close_sent is None
        assert rig.connection.close_received is None
        assert rig.connection.latency is None


# Messages.


@pytest.mark.parametrize(
    ("message", "opcode", "payload"),
    [
        ("", Opcode.TEXT, b""),
        ("hällo", Opcode.TEXT, "hällo".encode()),
        (b"", Opcode.BINARY, b""),
        (b"bytes", Opcode.BINARY, b"bytes"),
        (bytearray(b"array"), Opcode.BINARY, b"array"),
        (memoryview(b"0123456789")[::2], Opcode.BINARY, b"02468"),
        (memoryview(array.array("H", [1, 1])), Opcode.BINARY, b"\1\0\1\0"),
        (memoryview(ctypes.c_uint8(7)), Opcode.BINARY, b"\7"),
    ],
)
async def test_text_goes_as_text_and_anything_bytes_like_as_binary(
    message: str | bytes | bytearray | memoryview, opcode: Opcode, payload: bytes
) -> None:
    """T-11, T20."""
    async with open_rig() as rig:
        await rig.connection.send_message(message)
        frame = await rig.peer.receive_frame()
        assert (frame.opcode, frame.payload, frame.fin) == (opcode, payload, True)
        assert frame.is_masked


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("message", [None, 1, [1], {"a": 1}, object(), "\ud800"])
async def test_what_cannot_be_sent_is_refused_and_changes_nothing(
    message: object,
) -> None:
    """S-75."""
    async with open_rig() as rig:
        with pytest.raises(
            ValueError, match=r"a message must be str, bytes|surrogates"
        ):
            await rig.connection.send_message(message)  # type: ignore[arg-type]
        await rig.connection.send_message(Text("still here"))
        assert (await rig.peer.receive_frame()).payload == b"still here"


async def test_a_buffer_may_be_changed_while_its_message_waits() -> None:
    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    faulty.stall_sending()
    buffer = bytearray(b"before")
    async with open_rig((faulty, peer_stream)) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.send_message, buffer)
        await settle()
        buffer[:] = b"after!"
        faulty.resume_sending()
        assert (await rig.peer.receive_frame()).payload == b"before"


async def test_what_is_received_are_real_bytes() -> None:
    async with open_rig() as rig:
        await rig.peer.send_frame(Opcode.BINARY, b"bytes")
        assert type(await rig.connection.get_message()) is bytes


async def test_senders_at_the_same_time_do_not_mix_and_keep_their_order(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    count = 20

    async def send(sender: int) -> None:
        for number in range(count):
            await client.send_message(f"{sender} {number} " + "x" * 50_000)

    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (client, server),
        trio.open_nursery() as nursery,
    ):
        for sender in range(5):
            nursery.start_soon(send, sender)
        numbers: dict[str, list[int]] = {}
        for _ in range(5 * count):
            sender_name, number, rest = str(await server.get_message()).split(" ")
            assert rest == "x" * 50_000
            numbers.setdefault(sender_name, []).append(int(number))
        assert len(numbers) == 5
        assert all(sent == list(range(count)) for sent in numbers.values())


async def test_messages_leave_in_the_order_of_the_calls() -> None:
    """Also at the calls that let others run."""
    calls: list[str] = []

    async def send(sender: int) -> None:
        for number in range(400):
            calls.append(f"{sender} {number}")
            await client.send_message(calls[-1])

    options = ConnectionOptions(message_queue_size=10_000)
    async with open_pair(options=options) as (client, server):
        async with trio.open_nursery() as nursery:
            for sender in range(3):
                nursery.start_soon(send, sender)
        assert [await server.get_message() for _ in calls] == calls


# Cancelled sends.


class Trickle(trio.abc.Stream):
    """A stream that takes ten bytes at a time, each when the other side has read."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            await self._stream.send_all(rest[:10])
            rest = rest[10:]

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("never asked")

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


def open_trickle() -> StreamPair:
    stream, peer_stream = trio.testing.lockstep_stream_pair()
    return Trickle(stream), peer_stream


FIRST = b"first" * 2_000_000  # more than the buffers of any socket hold


async def cancel_a_send_half_way(rig: Rig, data: bytes | bytearray) -> None:
    """Send to a peer that does not read yet."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.send_message, data)
        await settle()
        assert nursery.child_tasks
        nursery.cancel_scope.cancel()


async def check_nothing_is_torn(rig: Rig, data: bytes) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.send_message, b"second")
        assert (await rig.peer.receive_frame()).payload == data
        assert (await rig.peer.receive_frame()).payload == b"second"


@pytest.mark.parametrize("kind", ["socket", "tls"])
@pytest.mark.parametrize("is_client", [True, False])
async def test_a_send_cancelled_half_way_leaves_whole(
    open_stream_pair: OpenStreamPair, kind: str, *, is_client: bool
) -> None:
    """S-76, T10, W4, D-12."""
    async with (
        open_stream_pair(kind) as streams,
        open_rig(streams, is_client=is_client) as rig,
    ):
        await cancel_a_send_half_way(rig, FIRST)
        await check_nothing_is_torn(rig, FIRST)


async def test_a_send_cancelled_half_way_leaves_whole_ten_bytes_at_a_time() -> None:
    """S-76, T10, W4, D-12."""
    data = bytes(range(256))
    async with open_rig(open_trickle()) as rig:
        await cancel_a_send_half_way(rig, data)
        await check_nothing_is_torn(rig, data)


async def test_a_send_cancelled_before_its_first_byte_is_withdrawn(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    """T11."""
    async with (
        open_stream_pair(transport) as streams,
        open_rig((FaultyStream(streams[0]), streams[1])) as rig,
        trio.open_nursery() as nursery,
    ):
        assert isinstance(rig.link.stream, FaultyStream)
        rig.link.stream.stall_sending()
        nursery.start_soon(rig.connection.send_message, b"first")
        await settle()
        await cancel_a_send_half_way(rig, b"withdrawn")
        rig.link.stream.resume_sending()
        await check_nothing_is_torn(rig, b"first")


async def test_a_large_buffer_may_be_changed_once_its_call_has_ended(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    """A first part of it has left, if the stream takes any."""
    buffer = bytearray(FIRST)
    async with (
        open_stream_pair(transport) as streams,
        open_rig((streams[0], streams[1])) as rig,
    ):
        if transport == "memory":
            await rig.connection.send_message(buffer)
        else:
            await cancel_a_send_half_way(rig, buffer)
        buffer[:] = b"resized"
        await check_nothing_is_torn(rig, FIRST)


async def test_a_large_buffer_cannot_be_resized_before_its_call_has_ended() -> None:
    stream, peer_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    faulty.stall_sending()
    buffer = bytearray(FIRST)
    async with (
        open_rig((faulty, peer_stream)) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(rig.connection.send_message, buffer)
        await settle()
        with pytest.raises(BufferError):
            buffer.append(0)
        faulty.resume_sending()
        assert (await rig.peer.receive_frame()).payload == FIRST
    buffer.append(0)


class BusySenders:
    """Tasks that send one message after the other, each of the same size.

    Attributes:
        sent: How many of its messages each sender knows to be sent.
        errors: What ended them.

    """

    def __init__(self, connection: WebSocketConnection, nursery: trio.Nursery) -> None:
        self.sent = [0] * 5
        self.errors: list[ConnectionClosed] = []
        for sender in range(5):
            nursery.start_soon(self._send, connection, sender)

    async def _send(self, connection: WebSocketConnection, sender: int) -> None:
        try:
            while True:
                await connection.send_message(b"%d" % sender * 20_000)
                self.sent[sender] += 1
        except ConnectionClosed as closed:
            self.errors.append(closed)


@pytest.mark.parametrize("kind", ["socket", "tls"])
async def test_senders_wait_for_a_peer_that_does_not_read_and_can_be_cancelled(
    open_stream_pair: OpenStreamPair, kind: str
) -> None:
    async with open_stream_pair(kind) as streams, open_rig(streams) as rig:
        async with trio.open_nursery() as nursery:
            senders = BusySenders(rig.connection, nursery)
            await settle()
            assert len(nursery.child_tasks) == 5
            nursery.cancel_scope.cancel()
        got = [0] * 5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.connection.send_message, b"end")
            while (payload := (await rig.peer.receive_frame()).payload) != b"end":
                sender = int(payload[:1])
                assert payload == b"%d" % sender * 20_000
                got[sender] += 1
        # Of each, one may have left whose sender was cancelled before it knew.
        for known, arrived in zip(senders.sent, got, strict=True):
            assert known <= arrived <= known + 1
        await rig.peer.send_frame(Opcode.PING, b"ping")
        assert (await rig.peer.receive_frame()).payload == b"ping"


@pytest.mark.parametrize("kind", ["socket", "tls"])
async def test_senders_that_wait_are_woken_when_the_connection_is_aborted(
    open_stream_pair: OpenStreamPair, kind: str
) -> None:
    async with open_stream_pair(kind) as streams, open_rig(streams) as rig:
        async with trio.open_nursery() as nursery:
            senders = BusySenders(rig.connection, nursery)
            await settle()
            await rig.connection.abort()
        assert len(senders.errors) == 5
        assert {error.reason for error in senders.errors} == {rig.connection.closed}


@pytest.mark.parametrize("kind", ["socket", "tls"])
async def test_senders_that_wait_are_woken_when_the_peer_vanishes(
    open_stream_pair: OpenStreamPair, kind: str
) -> None:
    async with open_stream_pair(kind) as streams, open_rig(streams) as rig:
        async with trio.open_nursery() as nursery:
            senders = BusySenders(rig.connection, nursery)
            await settle()
            await rig.peer.aclose()
        assert len(senders.errors) == 5
        for error in senders.errors:
            assert isinstance(error.__cause__, trio.BrokenResourceError)


@pytest.mark.parametrize("message", ["small", b"large" * 100_000, bytearray(b"other")])
async def test_a_message_that_cannot_be_written_says_why(
    message: str | bytes | bytearray,
) -> None:
    stream, peer_stream = trio.testing.memory_stream_pair()
    options = ConnectionOptions(disconnect_timeout=0)
    async with open_rig((MuteStream(stream), peer_stream), options=options) as rig:
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.send_message(message)
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
        assert caught.value.reason is rig.connection.closed


# Pings.


async def test_a_ping_returns_its_round_trip(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """T-12."""

    async def answer() -> None:
        ping = await rig.peer.receive_frame()
        await trio.sleep(0.25)
        await rig.peer.send_frame(Opcode.PONG, ping.payload)

    async with open_rig() as rig:
        rig.nursery.start_soon(answer)
        assert await rig.connection.ping() == 0.25
        assert rig.connection.latency == 0.25


async def test_a_ping_is_answered_over_any_stream(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (client, server),
    ):
        for connection in (client, server):
            for payload in (None, b"", b"x" * 125):
                assert await connection.ping(payload) >= 0


async def test_a_pong_settles_its_ping_and_those_sent_before() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        for payload in (b"1", b"2", b"3"):
            nursery.start_soon(rig.connection.ping, payload)
            assert (await rig.peer.receive_frame()).payload == payload
        await rig.peer.send_frame(Opcode.PONG, b"2")
        await settle()
        assert len(nursery.child_tasks) == 1
        await rig.peer.send_frame(Opcode.PONG, b"3")


@pytest.mark.parametrize(
    ("payload", "error"),
    [(b"x" * 126, ValueError), ("text", TypeError), (bytearray(b"x"), TypeError)],
)
@pytest.mark.parametrize("name", ["ping", "pong"])
async def test_a_payload_that_cannot_be_sent_is_refused(
    name: str, payload: bytes, error: type[Exception]
) -> None:
    """S-75, D-6."""
    async with open_rig() as rig:
        call: Callable[[bytes], Awaitable[object]] = getattr(rig.connection, name)
        for _ in range(2):
            with pytest.raises(error):
                await call(payload)
        await rig.connection.pong(b"still here")
        assert (await rig.peer.receive_frame()).payload == b"still here"


async def test_a_payload_in_flight_is_refused() -> None:
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.ping, b"same")
        await rig.peer.receive_frame()
        with pytest.raises(ValueError, match="in flight"):
            await rig.connection.ping(b"same")


async def test_a_cancelled_ping_may_be_sent_again() -> None:
    """T8."""
    async with open_rig() as rig:
        for _ in range(3):
            with trio.CancelScope() as scope:
                rig.nursery.start_soon(cancel_when_settled, scope)
                await rig.connection.ping(b"same")
            assert scope.cancelled_caught


async def cancel_when_settled(scope: trio.CancelScope) -> None:
    await settle()
    scope.cancel()


async def test_a_pong_of_ones_own_has_the_payload_that_was_given() -> None:
    """T-12."""
    async with open_rig() as rig:
        for payload in (None, b"alive"):
            await rig.connection.pong(payload)
            frame = await rig.peer.receive_frame()
            assert (frame.opcode, frame.payload) == (Opcode.PONG, payload or b"")


# cancel_on_close.


async def test_a_block_is_cancelled_when_the_connection_closes(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        rig.nursery.start_soon(rig.peer.send_close, 4001)
        async with rig.connection.cancel_on_close():
            await trio.Event().wait()
        assert rig.connection.close_received is not None
        assert rig.connection.close_received.code == 4001


async def test_a_block_of_a_closed_connection_is_cancelled_at_once() -> None:
    async with open_rig() as rig:
        await rig.connection.abort()
        async with rig.connection.cancel_on_close():
            await trio.Event().wait()


async def test_a_block_that_ends_by_itself_leaves_the_connection_alone() -> None:
    async with open_rig() as rig:
        async with rig.connection.cancel_on_close():
            await trio.lowlevel.checkpoint()
        await rig.peer.send_text("kept")
        await settle()
        assert await rig.connection.get_message() == "kept"
        await rig.connection.abort()


async def test_a_message_that_nobody_wants_ends_the_connection_with_1008(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        rig.nursery.start_soon(rig.peer.send_text, "unwanted")
        async with rig.connection.cancel_on_close():
            await trio.Event().wait()
        code, reason = await rig.peer.receive_close()
        assert (code, reason) == (1008, "a message came that nobody wanted")
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert isinstance(caught.value.__cause__, ProtocolViolation)
        assert caught.value.__cause__.code == 1008


@pytest.mark.parametrize("payload", [b"unwanted", b"x" * 101])
async def test_a_message_from_before_the_block_is_not_wanted_either(
    payload: bytes,
) -> None:
    options = ConnectionOptions(max_message_size=100)
    async with open_rig(options=options) as rig:
        await rig.peer.send_frame(Opcode.TEXT, payload)
        await settle()
        async with rig.connection.cancel_on_close():
            await trio.Event().wait()
        assert (await rig.peer.receive_close())[0] == 1008


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize("queue_size", [0, 1, 3])
async def test_messages_that_nobody_wants_are_dropped_and_the_close_is_seen(
    queue_size: int, *, is_early: bool
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size, max_message_size=100)

    async def talk() -> None:
        for _ in range(3):
            await rig.peer.send_text("unwanted")
            await rig.peer.send_frame(Opcode.BINARY, bytes(100_000))
            await rig.peer.send_frame(Opcode.TEXT, b"x" * 60, fin=False)
            await rig.peer.send_frame(Opcode.PING, b"between")
            await rig.peer.send_frame(Opcode.CONTINUATION, b"x" * 60, fin=False)
            await rig.peer.send_frame(Opcode.CONTINUATION, b"x" * 60)
        await rig.peer.send_close(4001)

    async with open_rig(options=options) as rig:
        rig.nursery.start_soon(talk)
        if is_early:
            await settle()
        async with rig.connection.cancel_on_close(discard=True):
            await trio.Event().wait()
        for _ in range(3):
            assert (await rig.peer.receive_frame()).payload == b"between"
        assert await rig.peer.receive_close() == (4001, "")


async def test_what_is_skipped_is_skipped_to_its_end() -> None:
    """The block is left in the middle of a message that was over the limit."""
    options = ConnectionOptions(max_message_size=100)
    async with open_rig(options=options) as rig:
        async with rig.connection.cancel_on_close(discard=True):
            await rig.peer.send_frame(Opcode.BINARY, bytes(60), fin=False)
            await rig.peer.send_frame(Opcode.CONTINUATION, bytes(60), fin=False)
            await settle()
        await rig.peer.send_frame(Opcode.CONTINUATION, b"its end")
        await rig.peer.send_frame(Opcode.BINARY, b"x" * 100)
        assert await rig.connection.get_message() == b"x" * 100


async def test_a_message_that_a_task_waits_for_is_wanted() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        rig.nursery.start_soon(rig.peer.send_bytes, b"\x81\x01a\x81\x01b")
        async with rig.connection.cancel_on_close():
            assert await rig.connection.get_message() == "a"
            assert await rig.connection.get_message() == "b"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("discard", [True, False])
async def test_a_violation_behind_an_unread_message_is_acted_on_in_a_block(
    *, discard: bool
) -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("unwanted")
        await rig.peer.send_frame(11)
        await settle()
        async with rig.connection.cancel_on_close(discard=discard):
            await trio.Event().wait()
        assert (await rig.peer.receive_close())[0] == 1002


async def test_a_message_over_the_limit_that_a_task_waits_for_is_1009() -> None:
    options = ConnectionOptions(max_message_size=100)
    async with open_rig(options=options) as rig:
        rig.nursery.start_soon(rig.peer.send_frame, Opcode.BINARY, bytes(101))
        async with rig.connection.cancel_on_close(discard=True):
            with pytest.raises(ConnectionClosed):
                await rig.connection.get_message()
        assert (await rig.peer.receive_close())[0] == 1009


async def test_blocks_may_be_nested_and_each_is_cancelled() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(wait_in_blocks, rig.connection)
        await settle()
        await rig.peer.send_close()


async def wait_in_blocks(connection: WebSocketConnection) -> None:
    async with (
        connection.cancel_on_close(),
        connection.cancel_on_close(discard=True),
    ):
        await trio.Event().wait()


async def test_an_exception_leaves_a_block_as_it_is() -> None:
    async with open_rig() as rig:
        with pytest.raises(KeyError):
            async with rig.connection.cancel_on_close():
                raise KeyError

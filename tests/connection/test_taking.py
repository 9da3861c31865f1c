"""A task that wants a message receives it for itself, if much was there last time.

Peers write here without a turn of the scheduler, so that the reader, which waits for
the same bytes, cannot be the one who finds them.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.frame_header import Opcode, build_header, mask_payload
from trio_websocket._protocol.state import ConnectionState
from trio_websocket._transport.socket_stream import SocketStream, prepare_socket

from .rig import DEFAULTS, Rig, open_rig, settle

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="sockets are no files there, and not read at once"
)

KEY = b"\x37\xfa\x21\x3d"
MUCH = 40_000  # bytes: more than half of what is received at once
BOTH_ROLES = pytest.mark.parametrize("is_client", [True, False])


@asynccontextmanager
async def open_socket_rig(
    *,
    is_client: bool = True,
    options: ConnectionOptions = DEFAULTS,
    kind: type[SocketStream] = SocketStream,
) -> AsyncGenerator[Rig]:
    """Run a connection on a socket that hands over what is written at once."""
    ours, theirs = trio.socket.socketpair()
    streams = kind(trio.SocketStream(ours)), prepare_socket(trio.SocketStream(theirs))
    try:
        async with open_rig(streams, is_client=is_client, options=options) as rig:
            yield rig
    finally:
        ours.close()
        theirs.close()


def build_frame(
    rig: Rig, opcode: int, payload: bytes = b"", *, fin: bool = True
) -> bytes:
    """Build a frame such as the peer sends."""
    key = KEY if rig.connection.is_server else None
    header = build_header(opcode, len(payload), fin=fin, masking_key=key)
    return header + (payload if key is None else mask_payload(payload, key))


def write(rig: Rig, *frames: bytes) -> None:
    """Have the peer write frames without a turn of the scheduler."""
    data = b"".join(frames)
    assert isinstance(rig.peer.stream, SocketStream)
    assert rig.peer.stream.write_now(data) == len(data)


async def make_much_flow(rig: Rig) -> None:
    """Let the reader receive so much that a task receives for itself from now on."""
    write(rig, build_frame(rig, Opcode.BINARY, bytes(MUCH)))
    await settle()
    assert await rig.connection.get_message() == bytes(MUCH)


@BOTH_ROLES
async def test_what_has_come_is_received_without_a_turn(*, is_client: bool) -> None:
    async with open_socket_rig(is_client=is_client) as rig:
        await make_much_flow(rig)
        write(rig, build_frame(rig, Opcode.TEXT, b"hello"))
        with trio.testing.assert_no_checkpoints():
            assert await rig.connection.get_message() == "hello"


async def test_a_task_goes_on_receiving_as_long_as_much_is_there() -> None:
    async with open_socket_rig() as rig:
        await make_much_flow(rig)
        for _ in range(4):
            write(rig, build_frame(rig, Opcode.BINARY, bytes(MUCH)))
            with trio.testing.assert_no_checkpoints():
                await rig.connection.get_message()
        write(rig, build_frame(rig, Opcode.TEXT, b"little"))
        with trio.testing.assert_no_checkpoints():
            await rig.connection.get_message()
        # Where little is there, it is left to the reader, who has to look anyway.
        write(rig, build_frame(rig, Opcode.TEXT, b"more"))
        with trio.testing.assert_checkpoints():
            assert await rig.connection.get_message() == "more"


async def test_a_task_that_finds_nothing_waits() -> None:
    async with open_socket_rig() as rig, trio.open_nursery() as nursery:
        await make_much_flow(rig)
        nursery.start_soon(rig.connection.get_message)
        await settle()
        assert nursery.child_tasks
        write(rig, build_frame(rig, Opcode.TEXT, b"hello"))


async def test_a_message_that_comes_in_parts_is_waited_for() -> None:
    async with open_socket_rig() as rig:
        frame = build_frame(rig, Opcode.BINARY, bytes(100_000))
        await make_much_flow(rig)
        for _ in range(3):
            write(rig, frame[:MUCH])
            rig.nursery.start_soon(write_later, rig, frame[MUCH:])
            assert await rig.connection.get_message() == bytes(100_000)


async def write_later(rig: Rig, data: bytes) -> None:
    await trio.testing.wait_all_tasks_blocked()
    write(rig, data)


class CountingStream(SocketStream):
    """A socket that tells what was received, and how.

    Attributes:
        straight: How many bytes were received straight to a place in a buffer.
        others: How many were not.

    """

    straight = 0
    others = 0

    def read_now(self, size: int) -> bytes | None:
        data = super().read_now(size)
        self.others += len(data or b"")
        return data

    def read_now_into(self, buffer: memoryview) -> int | None:
        count = super().read_now_into(buffer)
        self.straight += count or 0
        return count


@BOTH_ROLES
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
async def test_a_large_message_is_received_straight_to_its_place(
    opcode: Opcode, *, is_client: bool
) -> None:
    payload = "a\u20ac\u00e9".encode() * 150_000
    async with (
        open_socket_rig(is_client=is_client, kind=CountingStream) as rig,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            frames = build_frame(rig, opcode, payload)
            frames += build_frame(rig, Opcode.TEXT, b"behind")
            nursery.start_soon(rig.peer.send_bytes, frames)
            message = await rig.connection.get_message()
            assert await rig.connection.get_message() == "behind"
            expected = payload.decode() if opcode is Opcode.TEXT else payload
            assert message == expected
            await settle()
        stream = rig.link.stream
        assert isinstance(stream, CountingStream)
        is_straight = stream.straight > 2 * stream.others
        assert is_straight is (LANE is not None)


async def test_a_task_goes_on_receiving_behind_a_large_message() -> None:
    """If the message was received straight to its place, which a lane can do."""
    async with open_socket_rig() as rig:
        await make_much_flow(rig)
        write(rig, build_frame(rig, Opcode.BINARY, bytes(200_000)))
        with trio.testing.assert_no_checkpoints():
            assert await rig.connection.get_message() == bytes(200_000)
        write(rig, build_frame(rig, Opcode.TEXT, b"behind"))
        without_lane = LANE is None
        with nullcontext() if without_lane else trio.testing.assert_no_checkpoints():
            assert await rig.connection.get_message() == "behind"


@pytest.mark.parametrize("receive_size", [1, 2, 7])
async def test_no_task_receives_for_ever_without_a_turn(receive_size: int) -> None:
    options = ConnectionOptions(receive_buffer_size=receive_size)
    async with open_socket_rig(options=options, kind=CountingStream) as rig:
        write(rig, build_frame(rig, Opcode.TEXT, b"x"))
        await settle()
        await rig.connection.get_message()
        write(rig, build_frame(rig, Opcode.TEXT, b"0123456789" * 100))
        with trio.testing.assert_checkpoints():
            assert len(await rig.connection.get_message()) == 1000


# What a task leaves behind is not left to nobody.


async def test_a_message_behind_many_pings_is_found() -> None:
    async with open_socket_rig() as rig:
        await make_much_flow(rig)
        pings = [build_frame(rig, Opcode.PING)] * 100
        write(rig, *pings, build_frame(rig, Opcode.TEXT, b"behind"))
        assert await rig.connection.get_message() == "behind"


async def test_a_ping_behind_a_message_is_answered() -> None:
    async with open_socket_rig() as rig:
        await make_much_flow(rig)
        write(
            rig,
            build_frame(rig, Opcode.TEXT, b"message"),
            build_frame(rig, Opcode.PING, b"behind"),
        )
        assert await rig.connection.get_message() == "message"
        assert (await rig.peer.receive_frame()).payload == b"behind"


@BOTH_ROLES
async def test_a_close_behind_a_message_is_answered_behind_the_reply(
    *, is_client: bool
) -> None:
    async with open_socket_rig(is_client=is_client) as rig:
        await make_much_flow(rig)
        write(
            rig,
            build_frame(rig, Opcode.TEXT, b"message"),
            build_frame(rig, Opcode.CLOSE, b"\x0f\xa1"),
        )
        await rig.connection.send_message(await rig.connection.get_message())
        assert (await rig.peer.receive_frame()).payload == b"message"
        assert (await rig.peer.receive_close())[0] == 4001


async def test_a_server_that_meets_a_close_drops_the_stream_at_once() -> None:
    """Whoever has met it: the peer waits for us."""
    async with open_socket_rig(is_client=False) as rig:
        await make_much_flow(rig)
        write(rig, build_frame(rig, Opcode.CLOSE, b"\x0f\xa1"))
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_message()
        await settle()
        assert rig.connection.state is ConnectionState.CLOSED


@BOTH_ROLES
async def test_a_violation_behind_a_message_is_answered_behind_the_reply(
    *, is_client: bool
) -> None:
    async with open_socket_rig(is_client=is_client) as rig:
        await make_much_flow(rig)
        write(
            rig,
            build_frame(rig, Opcode.TEXT, b"message"),
            build_frame(rig, 3),
        )
        await rig.connection.send_message(await rig.connection.get_message())
        assert (await rig.peer.receive_frame()).payload == b"message"
        assert (await rig.peer.receive_close())[0] == 1002


async def test_a_message_over_the_limit_is_found() -> None:
    options = ConnectionOptions(max_message_size=MUCH)
    async with open_socket_rig(options=options) as rig:
        await make_much_flow(rig)
        write(rig, build_header(Opcode.BINARY, MUCH + 1) + bytes(100))
        with pytest.raises(ConnectionClosed, match="1009"):
            await rig.connection.get_message()


class Takers:
    """Two tasks that ask for a message, the second in the middle of the first's turn.

    Attributes:
        got: What they got, in order.

    """

    def __init__(self, rig: Rig, name: str) -> None:
        self.got: list[object] = []
        self._rig = rig
        self._take: Callable[[], Awaitable[object]] = getattr(rig.connection, name)

    async def take_first(self) -> None:
        self.got.append(await self._take())

    async def take_second(self) -> None:
        """Ask when the first was given a message, and has perhaps not run with it."""
        while not (self._rig.link.inbox.has_handed_over or self.got):
            await trio.lowlevel.checkpoint()
        write(self._rig, build_frame(self._rig, Opcode.TEXT, b"second"))
        self.got.append(await self._take())


@pytest.mark.parametrize("name", ["get_message", "receive", "get_messages"])
async def test_two_tasks_that_ask_are_both_served(name: str) -> None:
    for _ in range(20):  # which task runs first in a turn is a matter of chance
        async with open_socket_rig() as rig:
            await make_much_flow(rig)
            takers = Takers(rig, name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(takers.take_first)
                await settle()
                write(rig, build_frame(rig, Opcode.BINARY, bytes(MUCH)))
                nursery.start_soon(takers.take_second)
        one = [bytes(MUCH), "second"]
        assert takers.got in (one, [[message] for message in one])


async def test_what_was_received_in_vain_is_turned_away_in_a_block() -> None:
    async with open_socket_rig() as rig:
        await make_much_flow(rig)
        message = build_frame(rig, Opcode.TEXT, b"message")
        write(rig, *[message] * 5, build_frame(rig, Opcode.CLOSE))
        assert await rig.connection.get_message() == "message"
        async with rig.connection.cancel_on_close(discard=True):
            await trio.Event().wait()
        assert rig.connection.close_received is not None


async def test_no_more_is_received_than_somebody_takes() -> None:
    """At most the queue and two receives are held; the rest stays with the peer."""
    message = build_header(Opcode.BINARY, 1000) + bytes(1000)
    async with (
        open_socket_rig(kind=CountingStream) as rig,
        trio.open_nursery() as nursery,
    ):
        await make_much_flow(rig)
        nursery.start_soon(rig.peer.send_bytes, message * 1000)
        for taken in range(1, 401):
            await rig.connection.get_message()
            if taken % 20 == 0:
                await settle()
                stream = rig.link.stream
                assert isinstance(stream, CountingStream)
                assert stream.others - MUCH < taken * 1004 + 2 * 65_536
        nursery.cancel_scope.cancel()


# The end of the stream.


async def test_an_error_that_only_the_task_has_seen_is_the_cause() -> None:
    async with open_socket_rig() as rig:
        await make_much_flow(rig)
        await rig.connection.send_message("unread")
        close_now(rig)  # with unread bytes: a reset
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
        assert isinstance(caught.value.__cause__.__cause__, ConnectionResetError)
        assert rig.connection.closed is not None
        assert rig.connection.closed.code == 1006


async def test_the_end_of_the_stream_is_the_end_also_if_the_task_has_seen_it() -> None:
    async with open_socket_rig() as rig:
        await make_much_flow(rig)
        write(rig, build_frame(rig, Opcode.TEXT, b"last"))
        close_now(rig)
        assert await rig.connection.get_message() == "last"
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert caught.value.__cause__ is None
        assert rig.connection.closed is not None
        assert rig.connection.closed.code == 1006


def close_now(rig: Rig) -> None:
    """Have the peer vanish without a turn of the scheduler."""
    assert isinstance(rig.peer.stream, SocketStream)
    rig.peer.stream.socket.close()


@pytest.mark.parametrize("queue_size", [0, 1, 3])
async def test_nothing_is_lost_or_reordered_however_tasks_and_reader_take_turns(
    queue_size: int,
) -> None:
    options = ConnectionOptions(message_queue_size=queue_size)
    sent: list[str | bytes] = []
    got: list[str | bytes] = []
    async with open_socket_rig(options=options) as rig:
        for number in range(300):
            size = (1, 70, MUCH)[number % 3]
            payload = b"%d " % number + b"x" * size
            write(rig, build_frame(rig, Opcode.BINARY, payload))
            sent.append(payload)
            if number % 5 == 0:
                await settle()
            if number % 7 < 2:
                await trio.lowlevel.checkpoint()
            if number % 2:
                got.append(await rig.connection.get_message())
                got.append(await rig.connection.get_message())
    assert got == sent


class DeceivingStream(SocketStream):
    """A socket that says now and then that there is something when there is not."""

    calls = 0

    async def wait_readable(self) -> None:
        self.calls += 1
        if self.calls % 3:
            await trio.lowlevel.checkpoint()
        else:
            await super().wait_readable()


async def test_a_reader_that_is_woken_for_nothing_waits_again() -> None:
    async with open_socket_rig(kind=DeceivingStream) as rig:
        for number in range(10):
            await settle()
            write(rig, build_frame(rig, Opcode.TEXT, b"%d" % number))
            assert await rig.connection.get_message() == str(number)
        assert isinstance(rig.link.stream, DeceivingStream)
        assert rig.link.stream.calls > 20

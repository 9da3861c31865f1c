"""The task that a connection lives in, and what it says when that is cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from trio_websocket import ConnectionClosed
from trio_websocket._connection.link import Farewell, start_link
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.state import ConnectionState
from trio_websocket.testing import FaultyStream, RawPeer

from .rig import (
    OpenStreamPair,
    Rig,
    SlowStream,
    build_connection,
    check_dropped,
    open_rig,
    settle,
)

AT_ONCE = Farewell(grace=0)
ONE_SECOND = Farewell(grace=1)


def build_streams() -> tuple[FaultyStream, trio.abc.Stream]:
    stream, peer_stream = trio.testing.memory_stream_pair()
    return FaultyStream(stream), peer_stream


async def test_a_connection_is_one_task_of_its_nursery_whatever_it_does() -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream)) as rig, trio.open_nursery() as nursery:
        before = trio.lowlevel.current_statistics().tasks_living
        nursery.start_soon(rig.connection.send_message, "the writer has to wait")
        await settle()
        assert len(rig.nursery.child_tasks) == 1
        assert trio.lowlevel.current_statistics().tasks_living == before + 2
        stream.resume_sending()
        await settle()
        assert len(rig.nursery.child_tasks) == 1
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_an_idle_connection_is_two_tasks_in_all() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_rig() as rig:
        await rig.connection.send_message("hello")
        await settle()
        # The connection's own task, which is also its reader, and nothing else.
        assert trio.lowlevel.current_statistics().tasks_living == before + 1
        await rig.connection.abort()
        await settle()
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_nursery_that_takes_no_more_gets_no_connection(
    open_stream_pair: OpenStreamPair,
) -> None:
    async with open_stream_pair("socket") as (stream, peer_stream):
        async with trio.open_nursery() as nursery:
            pass
        _, link = build_connection(stream)
        with pytest.raises(RuntimeError):
            await start_link(nursery, link)
        await check_dropped(stream)
        assert await RawPeer(peer_stream).receive_eof() == b""


async def test_a_connection_started_in_a_cancelled_nursery_is_dropped(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (stream, peer_stream):
        connection, link = build_connection(stream)
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.cancel()
            await start_link(nursery, link)
        assert connection.state is ConnectionState.CLOSED
        await check_dropped(stream)
        assert await RawPeer(peer_stream).receive_eof() == b""


async def test_flushing_waits_until_what_was_posted_has_left() -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream)) as rig, trio.open_nursery() as nursery:
        rig.link.outbox.post(b"posted")
        nursery.start_soon(rig.link.flush)
        await settle()
        assert len(nursery.child_tasks) == 1
        stream.resume_sending()
        await settle()
        assert not nursery.child_tasks
        assert stream.bytes_sent == 6


async def test_flushing_a_connection_that_ends_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream)) as rig, trio.open_nursery() as nursery:
        rig.link.outbox.post(b"posted")
        nursery.start_soon(rig.connection.abort)
        with pytest.raises(ConnectionClosed) as caught:
            await rig.link.flush()
        assert caught.value.reason is rig.connection.closed


class Unclosable(trio.abc.Stream):
    """A stream of somebody else's that fails in its own way."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("never asked")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        assert max_bytes == 65536
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        raise ZeroDivisionError


async def test_tasks_are_woken_even_if_the_stream_cannot_be_dropped() -> None:
    connection, link = build_connection(Unclosable())
    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            await settle()
            link.closing.abort()
            with trio.CancelScope(shield=True):
                await connection.wait_closed()
    assert connection.state is ConnectionState.CLOSED


# A connection that has not had to wait yet.


def build_slow_streams() -> tuple[SlowStream, trio.abc.Stream]:
    stream, peer_stream = trio.testing.memory_stream_pair()
    return SlowStream(stream), peer_stream


LARGE = bytes(range(250)) * 40_000  # more than the buffers of any socket hold


@pytest.mark.parametrize("kind", ["socket", "tls", "memory"])
async def test_nothing_is_lost_when_something_has_to_wait_for_the_network(
    open_stream_pair: OpenStreamPair, kind: str
) -> None:
    """In the middle of a message that comes, and with a task that waits for it."""
    got: list[str | bytes] = []

    async def take() -> None:
        got.append(await rig.connection.get_message())

    header = b"\x82\x7f" + (300_000).to_bytes(8, "big")
    async with (
        open_stream_pair(kind) as streams,
        open_rig(streams) as rig,
        trio.open_nursery() as nursery,
    ):
        await rig.peer.send_bytes(header + LARGE[:100_000])
        nursery.start_soon(take)
        await settle()
        nursery.start_soon(rig.connection.send_message, LARGE)
        await settle()
        nursery.start_soon(rig.peer.send_bytes, LARGE[100_000:300_000])
        await settle()
        assert got == [LARGE[:300_000]]
        await rig.peer.send_frame(Opcode.PING, b"ping")
        assert (await rig.peer.receive_frame()).payload == LARGE
        assert (await rig.peer.receive_frame()).payload == b"ping"


async def test_what_was_posted_before_the_connection_runs_leaves_with_it() -> None:
    stream, peer_stream = build_slow_streams()
    _, link = build_connection(stream)
    link.outbox.post(b"early")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        assert await peer_stream.receive_some() == b"early"
        nursery.cancel_scope.cancel()


async def test_time_goes_on_when_the_close_has_to_wait_for_the_network(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = build_slow_streams()
    stream.stall_sending()
    options = ConnectionOptions(disconnect_timeout=5)
    async with open_rig((stream, peer_stream), options=options) as rig:
        await trio.sleep(1)
        await rig.connection.aclose()
        assert trio.current_time() == 6
        assert rig.connection.close_sent is None


async def test_a_close_that_has_to_wait_for_the_network_leaves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig(build_slow_streams()) as rig:
        rig.nursery.start_soon(rig.connection.aclose)
        assert await rig.peer.receive_close() == (1000, "")
        await rig.peer.send_close()
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        assert rig.connection.close_received is not None


@pytest.mark.parametrize("is_client", [True, False])
async def test_a_violation_is_answered_though_that_has_to_wait_for_the_network(
    *, is_client: bool
) -> None:
    async with open_rig(build_slow_streams(), is_client=is_client) as rig:
        await rig.peer.send_frame(3)
        assert (await rig.peer.receive_close())[0] == 1002
        await rig.peer.aclose()
        await rig.connection.wait_closed()


class SilentPeer(trio.abc.Stream):
    """A stream on which a peer breaks a rule and is silent from then on."""

    def __init__(self) -> None:
        self._is_first = True

    def write_now(self, data: bytes | memoryview) -> int:
        return len(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("never asked")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        assert max_bytes == 65536
        if self._is_first:
            self._is_first = False
            return b"\x83\x80\0\0\0\0"
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_peer_that_broke_a_rule_has_a_second_to_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The Close has left at once, and the end of sending needs a task."""
    connection, link = build_connection(SilentPeer(), is_client=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await connection.wait_closed()
    assert trio.current_time() == 1
    assert connection.close_sent is not None
    assert connection.close_sent.code == 1002


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_connection_may_end_in_the_moment_in_which_something_has_to_wait(
    *, is_cancelled: bool
) -> None:
    async with open_rig(build_slow_streams()) as rig, trio.open_nursery() as nursery:
        await settle()

        async def send() -> None:
            with pytest.raises(ConnectionClosed):
                await rig.connection.send_message("never")

        async def end() -> None:
            if is_cancelled:
                rig.nursery.cancel_scope.cancel()
            else:
                await rig.connection.abort()

        nursery.start_soon(send)
        nursery.start_soon(end)
    assert rig.connection.state is ConnectionState.CLOSED
    await check_dropped(rig.link.stream)


# The farewell.


@pytest.mark.parametrize("farewell", [AT_ONCE, ONE_SECOND])
async def test_a_cancelled_connection_says_that_it_goes_away(
    open_stream_pair: OpenStreamPair, transport: str, farewell: Farewell
) -> None:
    async with open_stream_pair(transport) as streams:
        peer = RawPeer(streams[1])
        closes: list[tuple[int | None, str]] = []

        async def answer() -> None:
            closes.append(await peer.receive_close())
            with suppress(trio.BrokenResourceError):  # the answer may come too late
                await peer.send_close(1001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            async with open_rig(streams, is_client=False, farewell=farewell) as rig:
                rig.nursery.cancel_scope.cancel()
        assert closes == [(1001, "")]
        assert rig.connection.close_sent is not None
        assert rig.connection.state is ConnectionState.CLOSED
        await check_dropped(streams[0])


@pytest.mark.parametrize("farewell", [AT_ONCE, ONE_SECOND])
async def test_a_farewell_leaves_though_it_has_to_wait_for_the_writer(
    autojump_clock: trio.testing.MockClock, farewell: Farewell
) -> None:
    async with open_rig(build_slow_streams(), farewell=farewell) as rig:
        rig.nursery.cancel_scope.cancel()
    assert await rig.peer.receive_close() == (1001, "")


@pytest.mark.parametrize("build", [build_streams, build_slow_streams])
async def test_a_farewell_of_no_time_does_not_wait(
    autojump_clock: trio.testing.MockClock,
    build: Callable[[], tuple[FaultyStream, trio.abc.Stream]],
) -> None:
    stream, peer_stream = build()
    stream.stall_sending()
    async with open_rig((stream, peer_stream), farewell=AT_ONCE) as rig:
        rig.nursery.cancel_scope.cancel()
    assert trio.current_time() == 0
    assert rig.connection.close_sent is None
    assert await rig.peer.receive_eof() == b""


@dataclass(frozen=True)
class Ending:
    """What the peer does while a connection says farewell, and when that ends."""

    act: Callable[[Rig], Awaitable[None]]
    seconds: float
    code: int


async def be_silent(rig: Rig) -> None:
    pass


async def answer_late(rig: Rig) -> None:
    await trio.sleep(0.5)
    await rig.peer.send_close(4001)


async def leave(rig: Rig) -> None:
    await trio.sleep(0.25)
    await rig.peer.aclose()


ENDINGS = {
    "silent": Ending(be_silent, seconds=1, code=1001),
    "late": Ending(answer_late, seconds=0.5, code=4001),
    "gone": Ending(leave, seconds=0.25, code=1001),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_a_farewell_has_so_much_time(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    ending = ENDINGS[name]
    async with trio.open_nursery() as nursery:
        async with open_rig(is_client=False, farewell=ONE_SECOND) as rig:
            nursery.start_soon(ending.act, rig)
            rig.nursery.cancel_scope.cancel()
        assert trio.current_time() == ending.seconds
    assert rig.connection.closed is not None
    assert rig.connection.closed.code == ending.code


async def test_a_farewell_that_cannot_be_said_has_no_more_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream), farewell=ONE_SECOND) as rig:
        rig.nursery.cancel_scope.cancel()
    assert trio.current_time() == 1
    assert rig.connection.close_sent is None


async def test_a_farewell_has_no_more_time_than_any_closing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    options = ConnectionOptions(disconnect_timeout=0.5)
    async with open_rig(options=options, farewell=ONE_SECOND) as rig:
        rig.nursery.cancel_scope.cancel()
    assert trio.current_time() == 0.5


async def test_a_farewell_leaves_a_closing_the_time_that_it_had_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    options = ConnectionOptions(disconnect_timeout=2)
    async with open_rig(options=options, farewell=ONE_SECOND) as rig:
        rig.nursery.start_soon(rig.connection.wait_closed)
        rig.link.closing.close(4000, None)
        await trio.sleep(1.5)
        rig.nursery.cancel_scope.cancel()
    assert trio.current_time() == 2
    assert rig.connection.closed is not None
    assert rig.connection.closed.code == 4000
    assert await rig.peer.receive_close() == (4000, "")
    assert await rig.peer.receive_eof() == b""


async def test_the_messages_that_come_during_a_farewell_go_nowhere() -> None:
    async with open_rig(is_client=False, farewell=ONE_SECOND) as rig:
        await rig.peer.send_text("unread")
        await settle()
        await rig.peer.send_text("behind it")
        await rig.peer.send_frame(Opcode.PING, b"ping")
        await rig.peer.send_close(1001)
        rig.nursery.cancel_scope.cancel()
    with pytest.raises(ConnectionClosed):
        await rig.connection.get_message()
    assert await rig.peer.receive_close() == (1001, "")
    assert await rig.peer.receive_eof() == b""


@pytest.mark.parametrize("farewell", [AT_ONCE, ONE_SECOND])
async def test_an_aborted_connection_says_no_farewell(
    farewell: Farewell, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_rig(farewell=farewell) as rig:
        rig.link.closing.abort()
        rig.nursery.cancel_scope.cancel()
    assert trio.current_time() == 0
    assert rig.connection.closed is not None
    assert rig.connection.closed.code == 1006
    assert await rig.peer.receive_eof() == b""


async def test_an_aclose_cancelled_together_with_its_connection_waits_for_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig(farewell=ONE_SECOND) as rig:
        await settle()
        rig.nursery.start_soon(rig.connection.aclose, 4000)
        await rig.peer.receive_close()
        rig.nursery.cancel_scope.cancel()
    # Which of the two tasks runs first is a matter of chance; neither waits for more
    # than the farewell may take.
    assert trio.current_time() <= 1
    assert rig.connection.closed is not None
    assert rig.connection.closed.code == 4000

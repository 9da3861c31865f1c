"""How a connection ends: what is said, what is known, who wakes, and when."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio
import trio.testing

from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection
from trio_websocket._errors import ProtocolViolation
from trio_websocket._nursery import find_leaves
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.state import ConnectionState
from trio_websocket.testing import FaultyStream

from .rig import (
    OpenStreamPair,
    Rig,
    build_connection,
    check_dropped,
    open_pair,
    open_rig,
    settle,
)

ROLES = pytest.mark.parametrize("is_client", [True, False], ids=["client", "server"])


def spell(reason: CloseReason | None) -> tuple[int, str | None] | None:
    return None if reason is None else (reason.code, reason.reason)


def get_state(rig: Rig) -> ConnectionState:
    return rig.connection.state


def build_streams() -> tuple[FaultyStream, trio.abc.Stream]:
    stream, peer_stream = trio.testing.memory_stream_pair()
    return FaultyStream(stream), peer_stream


# What each route leaves behind.


@ROLES
async def test_a_close_of_ours_is_answered(
    open_stream_pair: OpenStreamPair, transport: str, *, is_client: bool
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_client=is_client) as rig,
    ):
        rig.nursery.start_soon(rig.connection.aclose, 4000, "enough")
        assert await rig.peer.receive_close() == (4000, "enough")
        assert get_state(rig) is ConnectionState.LOCAL_CLOSING
        assert spell(rig.connection.closed) == (4000, "enough")
        assert spell(rig.connection.close_sent) == (4000, "enough")
        assert rig.connection.close_received is None
        await rig.peer.send_close(4001, "as you like")
        if is_client:  # the server ends the stream, RFC 6455 section 7.1.1
            await settle()
            assert get_state(rig) is ConnectionState.CLOSE_EXCHANGED
            await rig.peer.aclose()
        else:
            assert await rig.peer.receive_eof() == b""
        await rig.connection.wait_closed()
        assert get_state(rig) is ConnectionState.CLOSED
        assert spell(rig.connection.closed) == (4001, "as you like")
        assert spell(rig.connection.close_sent) == (4000, "enough")
        assert spell(rig.connection.close_received) == (4001, "as you like")
        await settle()
        assert not rig.nursery.child_tasks
        await check_dropped(rig.link.stream)


@ROLES
async def test_a_close_of_the_peer_is_answered_with_the_same(
    open_stream_pair: OpenStreamPair, transport: str, *, is_client: bool
) -> None:
    """T14: the client's socket is closed too."""
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_client=is_client) as rig,
    ):
        await rig.peer.send_close(4001, "bye")
        assert await rig.peer.receive_close() == (4001, "bye")
        if is_client:
            assert get_state(rig) is ConnectionState.CLOSE_EXCHANGED
            await rig.peer.aclose()
        else:
            assert await rig.peer.receive_eof() == b""
        await rig.connection.wait_closed()
        for reason in (
            rig.connection.closed,
            rig.connection.close_sent,
            rig.connection.close_received,
        ):
            assert spell(reason) == (4001, "bye")
        await settle()
        assert not rig.nursery.child_tasks
        await check_dropped(rig.link.stream)


@ROLES
async def test_an_empty_close_is_answered_with_an_empty_one(*, is_client: bool) -> None:
    async with open_rig(is_client=is_client) as rig:
        await rig.peer.send_close(None)
        assert await rig.peer.receive_close() == (None, "")
        assert spell(rig.connection.closed) == (1005, None)
        assert spell(rig.connection.close_sent) == (1005, None)


async def test_two_that_close_at_once_learn_the_code_of_the_other(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with (
        open_stream_pair(transport) as streams,
        open_pair(streams) as (client, server),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.aclose, 4001)
            nursery.start_soon(server.aclose, 4002)
        assert spell(client.closed) == spell(client.close_received) == (4002, None)
        assert spell(server.closed) == spell(server.close_received) == (4001, None)
        assert spell(client.close_sent) == (4001, None)
        assert spell(server.close_sent) == (4002, None)


@ROLES
async def test_a_violation_is_answered_with_its_code(
    open_stream_pair: OpenStreamPair, transport: str, *, is_client: bool
) -> None:
    """T17: the peer learns why before the stream ends, also with bytes unread here."""
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_client=is_client) as rig,
    ):
        await rig.peer.send_frame(3)
        await rig.peer.send_bytes(bytes(100_000))
        code, problem = await rig.peer.receive_close()
        assert code == 1002
        assert problem
        assert get_state(rig) is ConnectionState.FAILED
        await rig.peer.send_bytes(bytes(100_000))
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        assert spell(rig.connection.closed) == (1002, problem)
        assert spell(rig.connection.close_sent) == (1002, problem)
        assert rig.connection.close_received is None
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert isinstance(caught.value.__cause__, ProtocolViolation)
        assert caught.value.__cause__.code == 1002
        await check_dropped(rig.link.stream)


async def test_bad_text_is_answered_with_1007() -> None:
    """T17."""
    async with open_rig() as rig:
        await rig.peer.send_frame(Opcode.TEXT, b"\xff")
        code, _ = await rig.peer.receive_close()
        assert code == 1007


@pytest.mark.parametrize(
    "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]
)
async def test_a_close_code_that_may_not_be_sent_is_a_violation(code: int) -> None:
    """L-65."""
    async with open_rig() as rig:
        await rig.peer.send_close(code)
        assert (await rig.peer.receive_close())[0] == 1002
        assert isinstance(rig.link.closing.cause, ProtocolViolation)


@pytest.mark.parametrize(
    "code",
    [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999],
)
async def test_a_close_code_that_may_be_sent_is_taken_and_given_back(code: int) -> None:
    """L-65, with 1014, which came later."""
    async with open_rig() as rig:
        await rig.peer.send_close(code, "why")
        assert await rig.peer.receive_close() == (code, "why")
        assert spell(rig.connection.closed) == (code, "why")


async def test_a_stream_that_ends_without_a_close_is_1006(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        await rig.peer.aclose()
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert spell(caught.value.reason) == (1006, None)
        assert caught.value.__cause__ is None
        await rig.connection.wait_closed()
        assert (rig.connection.close_sent, rig.connection.close_received) == (
            None,
            None,
        )
        await check_dropped(rig.link.stream)


async def test_what_breaks_the_stream_is_the_cause() -> None:
    stream, peer_stream = build_streams()
    async with open_rig((stream, peer_stream)) as rig:
        await stream.cut()
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert spell(caught.value.reason) == (1006, None)
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)


async def test_a_reset_is_the_cause(open_stream_pair: OpenStreamPair) -> None:
    async with open_stream_pair("socket") as streams, open_rig(streams) as rig:
        # A socket that is closed with unread bytes sends a reset.
        await rig.connection.send_message("unread")
        await settle()
        await rig.peer.aclose()
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert spell(caught.value.reason) == (1006, None)
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
        await rig.connection.wait_closed()
        await check_dropped(rig.link.stream)


async def test_a_peer_that_goes_while_we_close_leaves_our_reason() -> None:
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.aclose, 4000, "ours")
        await rig.peer.receive_close()
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        assert spell(rig.connection.closed) == (4000, "ours")
        assert rig.connection.close_received is None
        assert not rig.link.closing.is_timed_out


async def test_an_aborted_connection_says_nothing(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    """L-63."""
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        await rig.connection.abort()
        assert get_state(rig) is ConnectionState.CLOSED
        assert spell(rig.connection.closed) == (1006, None)
        assert rig.connection.close_sent is None
        await check_dropped(rig.link.stream)
        assert await rig.peer.receive_eof() == b""
        await settle()
        assert not rig.nursery.child_tasks


async def test_aborting_leaves_unsaid_what_was_still_to_be_said(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream)) as rig:
        rig.nursery.start_soon(rig.connection.aclose, 4000, "ours")
        await settle()
        await rig.connection.abort()
        assert trio.current_time() < 1
        assert spell(rig.connection.closed) == (4000, "ours")
        assert rig.connection.close_sent is None
        assert await rig.peer.receive_eof() == b""


async def test_aborting_leaves_unsaid_what_could_have_been_said_at_once() -> None:
    async with open_rig() as rig:
        rig.link.closing.close(4000, "ours")
        await rig.connection.abort()
        assert rig.connection.close_sent is None
        assert await rig.peer.receive_eof() == b""


async def test_aborting_drops_what_nobody_has_taken() -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("unread")
        await settle()
        await rig.connection.abort()
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_message()


async def test_a_second_abort_changes_nothing() -> None:
    async with open_rig() as rig:
        await rig.peer.send_close(4001, "bye")
        await settle()
        for _ in range(2):
            await rig.connection.abort()
            assert spell(rig.connection.closed) == (4001, "bye")


async def test_a_connection_whose_nursery_is_cancelled_is_1006_at_once(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as streams:
        async with open_rig(streams) as rig:
            rig.nursery.cancel_scope.cancel()
        assert spell(rig.connection.closed) == (1006, None)
        assert get_state(rig) is ConnectionState.CLOSED
        await check_dropped(rig.link.stream)
        assert await rig.peer.receive_eof() == b""


async def test_what_fails_the_write_is_the_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = build_streams()
    stream.cut_after_sending(3)
    stream.stall_receiving()
    async with open_rig((stream, peer_stream)) as rig:
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.send_message("more than that")
        assert spell(caught.value.reason) == (1006, None)
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)


# Who wakes, and with what.


Route = Callable[[Rig, FaultyStream], Awaitable[None]]


async def close_here(rig: Rig, stream: FaultyStream) -> None:
    rig.nursery.start_soon(rig.connection.aclose, 4000)


async def close_there(rig: Rig, stream: FaultyStream) -> None:
    await rig.peer.send_close(4001)


async def violate(rig: Rig, stream: FaultyStream) -> None:
    await rig.peer.send_frame(3)


async def end_stream(rig: Rig, stream: FaultyStream) -> None:
    await stream.end_receiving()


async def cut(rig: Rig, stream: FaultyStream) -> None:
    await stream.cut()


async def abort(rig: Rig, stream: FaultyStream) -> None:
    await rig.connection.abort()


async def cancel(rig: Rig, stream: FaultyStream) -> None:
    rig.nursery.cancel_scope.cancel()


ROUTES: dict[str, tuple[Route, int, type[Exception] | None]] = {
    "close_here": (close_here, 4000, None),
    "close_there": (close_there, 4001, None),
    "violate": (violate, 1002, ProtocolViolation),
    "end_stream": (end_stream, 1006, None),
    "cut": (cut, 1006, trio.BrokenResourceError),
    "abort": (abort, 1006, None),
    "cancel": (cancel, 1006, None),
}


class Waiters:
    """Tasks that wait for something of a connection, each in its own way."""

    def __init__(self, connection: WebSocketConnection, nursery: trio.Nursery) -> None:
        self.errors: dict[str, ConnectionClosed] = {}
        self.others: list[str] = []
        for call in (
            connection.get_message,
            connection.ping,
            connection.pong,
            self._send,
        ):
            nursery.start_soon(self._wait_for_error, call)
        nursery.start_soon(self._wait_closed)
        nursery.start_soon(self._wait_in_block)
        self._connection = connection

    async def _send(self) -> None:
        await self._connection.send_message("cannot leave")

    async def _wait_for_error(self, call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await call()
        self.errors[call.__name__] = caught.value

    async def _wait_closed(self) -> None:
        await self._connection.wait_closed()
        self.others.append("closed")

    async def _wait_in_block(self) -> None:
        async with self._connection.cancel_on_close():
            await trio.Event().wait()
        self.others.append("block left")


@pytest.mark.parametrize("name", ROUTES)
@ROLES
async def test_every_task_that_waits_is_woken_by_every_end(
    name: str, autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    """S-74, T8, D-5, W9: nothing leaves, so each task waits until the end."""
    route, code, cause = ROUTES[name]
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with trio.open_nursery() as nursery:
        async with open_rig((stream, peer_stream), is_client=is_client) as rig:
            waiters = Waiters(rig.connection, nursery)
            await settle()
            assert not waiters.errors
            await route(rig, stream)
            await rig.connection.wait_closed()
            await settle()
        with trio.fail_after(0.5):
            await settle()
    assert trio.current_time() <= 61
    assert waiters.errors.keys() == {"get_message", "ping", "pong", "_send"}
    assert sorted(waiters.others) == ["block left", "closed"]
    for error in waiters.errors.values():
        assert error.reason is rig.connection.closed
        assert error.reason is not None
        assert error.reason.code == code
        assert isinstance(error.__cause__, cause or type(None))


@pytest.mark.parametrize("name", ROUTES)
async def test_a_ping_whose_pong_will_not_come_is_woken_by_every_end(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    """S-74, T8, D-5, W9: the ping has left, unlike in the test before."""
    route, code, cause = ROUTES[name]
    stream, peer_stream = build_streams()
    async with (
        trio.open_nursery() as nursery,
        open_rig((stream, peer_stream)) as rig,
    ):
        nursery.start_soon(expect_unanswered, rig.connection, cause)
        await rig.peer.receive_frame()
        await route(rig, stream)
        await rig.connection.wait_closed()
    assert rig.connection.closed is not None
    assert rig.connection.closed.code == code


@pytest.mark.parametrize("kind", ["socket", "tls"])
async def test_a_reset_is_the_cause_for_a_ping_too(
    open_stream_pair: OpenStreamPair, kind: str
) -> None:
    async with (
        open_stream_pair(kind) as streams,
        open_rig(streams) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(expect_unanswered, rig.connection, trio.BrokenResourceError)
        await settle()
        # A socket that is closed with unread bytes sends a reset.
        await rig.peer.aclose()


async def test_what_fails_the_write_is_the_cause_for_a_ping_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig(deaf_streams()) as rig:
        await expect_unanswered(rig.connection, trio.BrokenResourceError)
        assert trio.current_time() == 1


class BuggyStream(trio.abc.Stream):
    """A stream of somebody else's that has a fault, and on which nothing leaves."""

    def __init__(self) -> None:
        self.error = KeyError("a fault of the stream")
        self.is_failing = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        assert data
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("never asked")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        assert max_bytes == 65536
        await self.is_failing.wait()
        raise self.error

    async def aclose(self) -> None:
        self.error = KeyError("closed")
        await trio.lowlevel.checkpoint()


@ROLES
async def test_a_fault_of_the_stream_comes_out_of_the_nursery_and_wakes_every_task(
    *, is_client: bool
) -> None:
    """T19."""
    stream = BuggyStream()
    fault = stream.error
    connection, link = build_connection(stream, is_client=is_client)
    async with trio.open_nursery() as nursery:
        waiters = Waiters(connection, nursery)
        with pytest.RaisesGroup(KeyError, flatten_subgroups=True) as caught:
            async with trio.open_nursery() as home:
                home.start_soon(link.run)
                await settle()
                assert not waiters.errors
                stream.is_failing.set()
        assert find_leaves(caught.value) == [fault]
    assert waiters.errors.keys() == {"get_message", "ping", "pong", "_send"}
    assert sorted(waiters.others) == ["block left", "closed"]
    for error in waiters.errors.values():
        assert error.reason is connection.closed
        assert spell(error.reason) == (1006, None)
        assert error.__cause__ is fault
    assert connection.state is ConnectionState.CLOSED
    assert stream.error is not fault, "the stream was not closed"


# The same where the network is real, or nearly so.


async def end_peers_stream(rig: Rig, stream: FaultyStream) -> None:
    peer_stream = find_carrier(rig.peer.stream)  # without a close_notify
    assert isinstance(peer_stream, trio.abc.HalfCloseableStream)
    await peer_stream.send_eof()


def find_carrier(stream: trio.abc.Stream) -> trio.abc.Stream:
    """Return what carries TLS, or the stream itself."""
    if isinstance(stream, trio.SSLStream):
        return cast("trio.SSLStream[trio.abc.Stream]", stream).transport_stream
    return stream


MAIN_ROUTES: dict[str, tuple[Route, int, type[Exception] | None]] = {
    **{name: ROUTES[name] for name in ("close_here", "close_there", "violate")},
    "end_stream": (end_peers_stream, 1006, None),
    "abort": ROUTES["abort"],
}
SOON = ConnectionOptions(disconnect_timeout=0.2)


async def send_too_much(connection: WebSocketConnection) -> None:
    """Send more than the system takes while the peer does not read."""
    await connection.send_message(bytes(2**25))


@pytest.mark.parametrize("name", MAIN_ROUTES)
@ROLES
async def test_every_task_that_waits_is_woken_over_every_kind_of_stream(
    open_stream_pair: OpenStreamPair, transport: str, name: str, *, is_client: bool
) -> None:
    """S-74, T8, D-5, W9: the peer reads nothing, so nothing more leaves."""
    errors: dict[str, ConnectionClosed] = {}

    async def wait_for_error(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await call()
        errors[call.__name__] = caught.value

    async def send() -> None:
        await send_too_much(rig.connection)

    route, code, cause = MAIN_ROUTES[name]
    async with open_stream_pair(transport) as (ours, theirs):
        faulty = FaultyStream(ours)  # a stream in memory takes any number of bytes
        faulty.stall_sending()
        stream = faulty if transport == "memory" else ours
        async with (
            open_rig((stream, theirs), is_client=is_client, options=SOON) as rig,
            trio.open_nursery() as nursery,
        ):
            for call in rig.connection.get_message, rig.connection.ping, send:
                nursery.start_soon(wait_for_error, call)
                await settle()
            assert not errors
            with trio.fail_after(10):  # far from the 60 s that are usual
                await route(rig, faulty)
                await rig.connection.wait_closed()
                await settle()
            await check_dropped(rig.link.stream)
        assert errors.keys() == {"get_message", "ping", "send"}
        for error in errors.values():
            assert error.reason is rig.connection.closed
            assert error.reason is not None
            assert error.reason.code == code
            assert isinstance(error.__cause__, cause or type(None))


@pytest.mark.parametrize("kind", ["socket", "tls"])
@ROLES
async def test_a_silent_peer_has_until_the_deadline_on_a_real_network(
    open_stream_pair: OpenStreamPair, kind: str, *, is_client: bool
) -> None:
    async with (
        open_stream_pair(kind) as streams,
        open_rig(streams, is_client=is_client, options=SOON) as rig,
    ):
        before = trio.current_time()
        with trio.fail_after(10):
            await rig.connection.aclose(4000)
        assert trio.current_time() - before >= 0.2
        assert rig.link.closing.is_timed_out
        assert spell(rig.connection.close_sent) == (4000, None)
        await check_dropped(rig.link.stream)
        assert await rig.peer.receive_close() == (4000, "")
        assert await rig.peer.receive_eof() == b""


@pytest.mark.parametrize("kind", ["socket", "tls"])
@ROLES
async def test_a_peer_that_does_not_read_has_until_the_deadline_on_a_real_network(
    open_stream_pair: OpenStreamPair, kind: str, *, is_client: bool
) -> None:
    async with (
        open_stream_pair(kind) as streams,
        open_rig(streams, is_client=is_client, options=SOON) as rig,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(expect_unsent, rig.connection)
        await settle()
        before = trio.current_time()
        with trio.fail_after(10):
            await rig.connection.aclose(4000)
        assert trio.current_time() - before >= 0.2
        assert rig.link.closing.is_timed_out
        assert rig.connection.close_sent is None
        await check_dropped(rig.link.stream)


async def expect_unsent(connection: WebSocketConnection) -> None:
    with pytest.raises(ConnectionClosed):
        await send_too_much(connection)


@pytest.mark.parametrize("name", ROUTES)
async def test_calls_on_a_connection_that_has_ended_say_so(name: str) -> None:
    route, code, _ = ROUTES[name]
    stream, peer_stream = build_streams()
    async with open_rig((stream, peer_stream)) as rig:
        await route(rig, stream)
        await settle()
        await rig.peer.aclose()
        await settle()
    connection = rig.connection
    for call in (
        connection.get_message,
        connection.ping,
        connection.pong,
        lambda: connection.send_message("too late"),
        lambda: connection.send_message(None),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConnectionClosed) as caught:
            await call()
        assert caught.value.reason is connection.closed
        assert caught.value.reason is not None
        assert caught.value.reason.code == code
    await connection.wait_closed()
    await connection.abort()
    await connection.aclose()


async def test_a_ping_is_still_answered_while_we_close() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.ping, b"before")
        assert (await rig.peer.receive_frame()).payload == b"before"
        nursery.start_soon(rig.connection.aclose)
        await rig.peer.receive_close()
        await rig.peer.send_frame(Opcode.PONG, b"before")
        await rig.peer.send_close()
        await rig.peer.aclose()
    assert rig.connection.latency is not None


async def expect_unanswered(
    connection: WebSocketConnection, cause: type[Exception] | None = None
) -> None:
    with pytest.raises(ConnectionClosed) as caught:
        await connection.ping()
    assert isinstance(caught.value.__cause__, cause or type(None))


async def test_a_ping_that_the_peers_close_leaves_unanswered_is_woken_by_it() -> None:
    """D-5: also while the stream is still open."""
    async with open_rig() as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_unanswered, rig.connection)
            await rig.peer.receive_frame()
            await rig.peer.send_close()
        assert get_state(rig) is ConnectionState.CLOSE_EXCHANGED


# When.


@pytest.mark.parametrize("limit", [0, 5, 60])
@ROLES
async def test_a_peer_that_does_not_answer_has_until_the_deadline(
    limit: float, autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    options = ConnectionOptions(disconnect_timeout=limit)
    async with open_rig(is_client=is_client, options=options) as rig:
        await rig.connection.aclose(4000)
        assert trio.current_time() == limit
        assert spell(rig.connection.closed) == (4000, None)
        assert rig.link.closing.is_timed_out
        assert (await rig.peer.receive_close())[0] == 4000
        assert await rig.peer.receive_eof() == b""


@ROLES
async def test_a_peer_that_does_not_read_has_until_the_deadline(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream), is_client=is_client) as rig:
        await rig.connection.aclose()
        assert trio.current_time() == 60
        assert rig.connection.close_sent is None
        assert rig.link.closing.is_timed_out


async def test_without_a_deadline_an_answer_is_waited_for_as_long_as_it_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    options = ConnectionOptions(disconnect_timeout=math.inf)
    async with open_rig(options=options, is_client=False) as rig:
        rig.nursery.start_soon(rig.connection.aclose)
        await trio.sleep(86_400)
        assert get_state(rig) is ConnectionState.LOCAL_CLOSING
        await rig.peer.send_close()
        await rig.connection.wait_closed()
        assert not rig.link.closing.is_timed_out


async def test_a_client_waits_a_second_for_the_end_of_the_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.aclose)
        await trio.sleep(50)
        await rig.peer.send_close()
        await rig.connection.wait_closed()
        assert trio.current_time() == 51
        assert not rig.link.closing.is_timed_out


async def test_one_deadline_spans_all_of_the_closing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.aclose)
        await trio.sleep(59.5)
        await rig.peer.send_close()
        await rig.connection.wait_closed()
        assert trio.current_time() == 60
        assert not rig.link.closing.is_timed_out


async def test_a_server_ends_the_stream_as_soon_as_both_have_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig(is_client=False) as rig:
        rig.nursery.start_soon(rig.connection.aclose)
        await rig.peer.send_close()
        await rig.connection.wait_closed()
        assert trio.current_time() == 0


@pytest.mark.parametrize(("is_client", "seconds"), [(True, 1), (False, 0)])
async def test_a_peer_that_closes_and_leaves_the_stream_open_is_left(
    seconds: float, autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    """S-73, T7, D-7."""
    async with open_rig(is_client=is_client) as rig:
        await rig.peer.send_close()
        await rig.connection.wait_closed()
        assert trio.current_time() == seconds
        await settle()
        assert not rig.nursery.child_tasks
        assert (await rig.peer.receive_close())[0] == 1000
        assert await rig.peer.receive_eof() == b""


@ROLES
async def test_an_answer_that_cannot_leave_has_until_the_deadline(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    options = ConnectionOptions(disconnect_timeout=5)
    async with open_rig(
        (stream, peer_stream), is_client=is_client, options=options
    ) as rig:
        await rig.peer.send_close(4001)
        await rig.connection.wait_closed()
        assert trio.current_time() == 5
        assert spell(rig.connection.closed) == (4001, None)


@pytest.mark.parametrize(("is_client", "seconds"), [(True, 4), (False, 3)])
async def test_the_second_for_the_end_begins_when_our_close_has_left(
    seconds: float, autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream), is_client=is_client) as rig:
        await rig.peer.send_close(4001)
        await trio.sleep(3)
        stream.resume_sending()
        await rig.connection.wait_closed()
        assert trio.current_time() == seconds


@ROLES
async def test_after_a_violation_reading_goes_on_for_a_second(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    async with open_rig(is_client=is_client) as rig:
        await rig.peer.send_frame(3)
        await trio.sleep(0.9)
        await rig.peer.send_bytes(bytes(1_000_000))
        await rig.connection.wait_closed()
        assert trio.current_time() == 1


async def test_after_a_violation_a_server_ends_its_half_of_the_stream_at_once(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    """T17: the client knows that its turn has come, and is still read."""
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_client=False) as rig,
    ):
        before = trio.current_time()
        await rig.peer.send_frame(3)
        assert (await rig.peer.receive_close())[0] == 1002
        assert await find_carrier(rig.peer.stream).receive_some() == b""
        assert get_state(rig) is ConnectionState.FAILED
        await rig.peer.send_bytes(bytes(100_000))
        await settle()
        with pytest.raises(trio.BusyResourceError):
            await rig.link.stream.receive_some(1)
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        assert trio.current_time() - before < 1
        await check_dropped(rig.link.stream)


async def test_after_a_violation_a_server_ends_its_half_without_any_delay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig(is_client=False) as rig:
        await rig.peer.send_frame(3)
        await rig.peer.receive_close()
        assert await rig.peer.receive_eof() == b""
        assert trio.current_time() == 0
        await rig.peer.send_bytes(bytes(100_000))
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        assert trio.current_time() == 0  # the end lay behind what was still read


async def test_after_a_violation_a_client_leaves_the_end_to_the_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig() as rig:
        await rig.peer.send_frame(3)
        await rig.peer.receive_close()
        assert await rig.peer.receive_eof() == b""
        assert trio.current_time() == 1


@ROLES
async def test_after_a_violation_the_end_of_the_stream_is_the_end(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    async with open_rig(is_client=is_client) as rig:
        await rig.peer.send_frame(3)
        await trio.sleep(0.5)
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        assert trio.current_time() == 0.5


@ROLES
async def test_a_violation_that_cannot_be_told_has_until_the_deadline(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream), is_client=is_client) as rig:
        await rig.peer.send_frame(3)
        await rig.connection.wait_closed()
        assert trio.current_time() == 60


@ROLES
async def test_a_violation_while_we_close_ends_it_in_a_second(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    async with open_rig(is_client=is_client) as rig:
        rig.nursery.start_soon(rig.connection.aclose, 4000)
        await trio.sleep(10)
        await rig.peer.send_frame(3)
        await rig.connection.wait_closed()
        assert trio.current_time() == 11
        assert spell(rig.connection.closed) == (4000, None)
        assert isinstance(rig.link.closing.cause, ProtocolViolation)
        assert not rig.link.closing.is_timed_out


async def test_a_violation_while_our_close_waits_begins_its_second_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream)) as rig:
        rig.nursery.start_soon(rig.connection.aclose, 4000)
        await rig.peer.send_frame(3)
        await trio.sleep(10)
        stream.resume_sending()
        await rig.connection.wait_closed()
        assert trio.current_time() == 11


@pytest.mark.parametrize(("limit", "seconds"), [(60, 1), (0.25, 0.25)])
async def test_when_writing_has_failed_reading_has_a_second(
    limit: float, seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    options = ConnectionOptions(disconnect_timeout=limit)
    stream, peer_stream = deaf_streams()
    async with open_rig((stream, peer_stream), options=options) as rig:
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.send_message("nobody reads")
        assert trio.current_time() == seconds
        assert spell(caught.value.reason) == (1006, None)
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)


def deaf_streams() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Two ends of a stream on which the second can send but cannot be reached."""
    stream, peer_stream = trio.testing.memory_stream_pair()
    peer_stream.receive_stream.close()
    return stream, peer_stream


@ROLES
async def test_what_the_peer_said_last_is_found_when_writing_has_failed(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    async with open_rig(deaf_streams(), is_client=is_client) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, rig.connection, 4001)
            await trio.sleep(0.5)
            await rig.peer.send_text("last words")
            await rig.peer.send_close(4001)
            assert await rig.connection.get_message() == "last words"
        assert rig.link.closing.cause is None
        assert rig.connection.close_sent is None
        assert trio.current_time() == (1 if is_client else 0.5)


async def expect_closed(connection: WebSocketConnection, code: int) -> None:
    with pytest.raises(ConnectionClosed) as caught:
        await connection.send_message("nobody reads")
    assert caught.value.reason is not None
    assert caught.value.reason.code == code


async def test_what_was_received_is_delivered_although_writing_has_failed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody takes messages meanwhile, so the Close behind them is found at the end."""
    async with open_rig(deaf_streams()) as rig:
        await rig.peer.send_bytes(b"\x81\x01a" * 1000 + b"\x88\x02\x0f\xa1")
        await expect_closed(rig.connection, 4001)
        assert trio.current_time() == 1
        assert [await rig.connection.get_message() for _ in range(1000)] == ["a"] * 1000
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_message()


async def test_a_message_over_the_limit_is_not_read_to_its_end_for_that(
    autojump_clock: trio.testing.MockClock,
) -> None:
    options = ConnectionOptions(max_message_size=100)
    async with open_rig(deaf_streams(), options=options) as rig:
        await rig.peer.send_bytes(b"\x81\x01a\x81\x65" + b"x" * 101 + b"\x88\x00")
        await expect_closed(rig.connection, 1006)
        assert await rig.connection.get_message() == "a"


async def test_a_close_of_ours_when_writing_has_failed_takes_no_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig(deaf_streams()) as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, rig.connection, 4000)
            await trio.sleep(0.5)
            await rig.connection.aclose(4000)
            assert trio.current_time() == 1
        assert rig.connection.close_sent is None
        assert not rig.link.closing.is_timed_out


async def test_a_time_out_is_not_found_in_hindsight(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The peer left without a Close, but in time; that it is late now is no matter."""
    options = ConnectionOptions(disconnect_timeout=5)
    async with open_rig(options=options) as rig:
        rig.nursery.start_soon(rig.connection.aclose)
        await rig.peer.receive_close()
        await rig.peer.aclose()
        await trio.sleep(100)
        assert get_state(rig) is ConnectionState.CLOSED
        assert not rig.link.closing.is_timed_out


# aclose.


async def test_a_second_aclose_returns_at_once() -> None:
    """T-13."""
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.aclose, 4000)
        await rig.peer.receive_close()
        with trio.testing.assert_checkpoints():
            await rig.connection.aclose(4001)
        assert get_state(rig) is ConnectionState.LOCAL_CLOSING
        assert spell(rig.connection.closed) == (4000, None)


async def test_aclose_waits_for_the_end_that_the_peer_began(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_rig() as rig:
        await rig.peer.send_close(4001)
        await settle()
        for _ in range(2):
            await rig.connection.aclose(4000)
            assert get_state(rig) is ConnectionState.CLOSED
        assert spell(rig.connection.closed) == (4001, None)
        assert spell(rig.connection.close_sent) == (4001, None)


async def test_aclose_on_a_connection_that_has_ended_is_a_checkpoint() -> None:
    async with open_rig() as rig:
        await rig.connection.abort()
        with trio.testing.assert_checkpoints():
            await rig.connection.aclose()


async def test_a_block_closes_its_connection() -> None:
    async with open_pair() as (client, server):
        async with client as same:
            assert same is client
        assert client.state is ConnectionState.CLOSED
        assert spell(server.closed) == (1000, None)


async def test_an_aclose_that_is_cancelled_at_once_still_says_goodbye(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as streams, open_rig(streams) as rig:
        with trio.CancelScope() as scope:
            scope.cancel()
            await rig.connection.aclose(4000, "in a hurry")
        assert scope.cancelled_caught
        assert await rig.peer.receive_close() == (4000, "in a hurry")
        assert await rig.peer.receive_eof() == b""
        await rig.connection.wait_closed()
        assert spell(rig.connection.close_sent) == (4000, "in a hurry")
        await check_dropped(rig.link.stream)


async def test_an_aclose_that_is_cancelled_does_not_wait_for_the_network(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """T-13."""
    stream, peer_stream = build_streams()
    stream.stall_sending()
    async with open_rig((stream, peer_stream)) as rig:
        with trio.move_on_after(3) as scope:
            await rig.connection.aclose()
        assert scope.cancelled_caught
        await rig.connection.wait_closed()
        assert trio.current_time() == 3
        assert rig.connection.close_sent is None
        assert not rig.link.closing.is_timed_out


async def test_aclose_never_swallows_a_cancellation() -> None:
    """Not even while an exception is on its way; T-13, W15."""
    async with open_rig() as rig:
        with trio.CancelScope() as scope:
            try:
                raise KeyError
            except KeyError:
                scope.cancel()
                await rig.connection.aclose()
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (999, None, ValueError),
        (1004, None, ValueError),
        (5000, None, ValueError),
        (70000, None, ValueError),
        (-1, None, ValueError),
        ("1000", None, TypeError),
        (1000.0, None, TypeError),
        (1000, b"bytes", TypeError),
        (None, "a reason without a code", TypeError),
    ],
)
async def test_a_close_that_cannot_be_said_leaves_the_connection_open(
    code: int, reason: str | None, error: type[Exception]
) -> None:
    """S-75, D-13."""
    async with open_rig() as rig:
        with pytest.raises(error):
            await rig.connection.aclose(code, reason)
        assert rig.connection.closed is None
        await rig.connection.send_message("still here")
        frame = await rig.peer.receive_frame()
        assert frame.payload == b"still here"


@pytest.mark.parametrize(
    ("code", "sent", "closed"),
    [(None, None, 1005), (1005, None, 1005), (1006, 1000, 1006), (1015, 1000, 1015)],
)
async def test_codes_that_mean_something_else_are_sent_as_what_is_allowed(
    code: int | None, sent: int | None, closed: int
) -> None:
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.aclose, code)
        assert (await rig.peer.receive_close())[0] == sent
        assert spell(rig.connection.closed) == (closed, None)
        assert spell(rig.connection.close_sent) == (sent or 1005, None)


async def test_a_long_reason_is_cut_at_a_character() -> None:
    """L-64."""
    async with open_rig() as rig:
        rig.nursery.start_soon(rig.connection.aclose, 1000, "ä" * 100)
        assert await rig.peer.receive_close() == (1000, "ä" * 61)


# What comes in meanwhile.


@ROLES
async def test_what_the_peer_still_sends_while_we_close_is_passed_over(
    open_stream_pair: OpenStreamPair, transport: str, *, is_client: bool
) -> None:
    """S-72, S-37, D-4: pings get no answer, messages of any size go nowhere."""
    async with (
        open_stream_pair(transport) as streams,
        open_rig(streams, is_client=is_client) as rig,
    ):
        await rig.peer.send_text("unread")
        await settle()
        rig.nursery.start_soon(rig.connection.aclose)
        await rig.peer.receive_close()
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_message()
        for _ in range(3):
            await rig.peer.send_frame(Opcode.PING, b"ping")
            await rig.peer.send_frame(Opcode.PONG, b"pong")
            await rig.peer.send_frame(Opcode.BINARY, bytes(2**20 + 1))
        await rig.peer.send_close(4001)
        if is_client:
            await settle()
        else:
            assert await rig.peer.receive_eof() == b""
        assert spell(rig.connection.closed) == (4001, None)


@ROLES
async def test_closing_with_unread_messages_does_not_wait_for_anybody_to_take_them(
    autojump_clock: trio.testing.MockClock, *, is_client: bool
) -> None:
    """W2: the reader had stopped, and goes on to find the peer's Close."""
    async with open_rig(is_client=is_client) as rig:
        for _ in range(5):
            await rig.peer.send_text("unread")
        await rig.peer.send_close(4001)
        await settle()
        assert rig.connection.closed is None
        await rig.connection.aclose()
        assert trio.current_time() == (1 if is_client else 0)
        assert spell(rig.connection.closed) == (4001, None)


async def test_messages_before_the_peers_close_are_delivered_after_it() -> None:
    """T-10."""
    options = ConnectionOptions(message_queue_size=3)
    async with open_rig(options=options) as rig:
        for text in ("a", "b", "c"):
            await rig.peer.send_text(text)
        await rig.peer.send_close(4001)
        await rig.peer.receive_close()
        assert [await rig.connection.get_message() for _ in range(3)] == ["a", "b", "c"]
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert spell(caught.value.reason) == (4001, None)


async def test_no_pong_leaves_behind_our_close() -> None:
    async with open_rig() as rig:
        await rig.peer.send_bytes(b"\x88\x02\x03\xe8" + b"\x89\x00")
        await rig.peer.receive_close()
        await rig.peer.send_frame(Opcode.PING)
        await rig.peer.stream.send_all(b"")
        await settle()
        rig.nursery.cancel_scope.cancel()
    assert await rig.peer.receive_eof() == b""


async def test_closing_before_a_violation_is_acted_on_says_what_we_want_to_say() -> (
    None
):
    """The violation lies behind an unread message; it is the cause all the same."""
    async with open_rig() as rig:
        await rig.peer.send_text("unread")
        await rig.peer.send_frame(11)
        await settle()
        assert get_state(rig) is ConnectionState.FAILING
        assert rig.connection.closed is None
        rig.nursery.start_soon(rig.connection.aclose, 4000)
        assert (await rig.peer.receive_close())[0] == 4000
        await rig.peer.aclose()
        await rig.connection.wait_closed()
        assert spell(rig.connection.closed) == (4000, None)
        assert isinstance(rig.link.closing.cause, ProtocolViolation)


async def test_a_violation_that_nobody_came_to_is_the_cause_of_the_end() -> None:
    async with open_rig() as rig:
        await rig.peer.send_text("unread")
        await rig.peer.send_frame(11)
        await settle()
        rig.nursery.cancel_scope.cancel()
    assert spell(rig.connection.closed) == (1006, None)
    assert isinstance(rig.link.closing.cause, ProtocolViolation)

"""Each public call, cancelled at each moment of its life, over each kind of stream.

A call is made again and again, each time on a new connection, and cancelled at the n-th
moment at which its task stops or goes on, for n = 0, 1, ... until it completes before.
Each time the connection works afterwards, or is closed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pytest
import trio
import trio.testing

from trio_websocket import (
    BytesReader,
    ConnectionClosed,
    Endpoint,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    connect_websocket,
    open_websocket,
    serve_websocket,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket._protocol.state import ConnectionState

from .rig import OpenStreamPair, check_dropped, open_pair, settle

MEBIBYTE = "m" * 2**20
NOISE = hashlib.shake_128(b"noise").digest(400_000)
MANY: list[str | bytes | bytearray | memoryview] = [
    *map(str, range(300)),
    "m" * 200_000,
    bytearray(b"array"),
    "last",
]

Log = list[str | bytes]


@dataclass(frozen=True)
class Case:
    """A call, what the peer does meanwhile, and what is true afterwards.

    Attributes:
        call: Makes the call, and logs what it got or sent.
        drive: What the other end does meanwhile.
        check: Given the connection, its peer and the log.

    """

    call: Callable[[WebSocketConnection, Log], Awaitable[None]]
    drive: Callable[[WebSocketConnection], Awaitable[None]]
    check: Callable[[WebSocketConnection, WebSocketConnection, Log], Awaitable[None]]


class Canceller(trio.abc.Instrument):
    """Cancels a scope at the n-th moment at which its task stops or goes on."""

    def __init__(self, moment: int) -> None:
        self.scope = trio.CancelScope()
        self.is_reached = False
        self._task = trio.lowlevel.current_task()
        self._moment = moment
        self._count_down()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._count_down()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._count_down()

    def _count_down(self) -> None:
        if self._moment == 0:
            self.is_reached = True
            self.scope.cancel()
        self._moment -= 1


# What the other end does.


async def echo(peer: WebSocketConnection) -> None:
    with suppress(ConnectionClosed):
        async for message in peer:
            await peer.send_message(message)


async def speak_and_echo(peer: WebSocketConnection) -> None:
    await peer.send_message("spoken")
    await echo(peer)


async def speak_at_length_and_echo(peer: WebSocketConnection) -> None:
    with suppress(ConnectionClosed):
        await peer.send_message(NOISE)
        await peer.send_message("spoken")
        await echo(peer)


async def count_first_messages(peer: WebSocketConnection) -> None:
    """Tell how many of the many messages arrived, whole, in front of an end."""
    arrived: Log = []
    with suppress(ConnectionClosed):
        while "end" not in arrived:
            arrived += await peer.get_messages()
        count = len(arrived) - 1
        assert arrived == [*MANY[:count], "end"]
        await peer.send_message(str(count))
        await echo(peer)


async def close(peer: WebSocketConnection) -> None:
    await peer.aclose()


# The calls.


async def get_message(end: WebSocketConnection, log: Log) -> None:
    log.append(await end.get_message())


async def get_messages(end: WebSocketConnection, log: Log) -> None:
    log += await end.get_messages()


async def receive(end: WebSocketConnection, log: Log) -> None:
    log.append(await end.receive())


async def iterate(end: WebSocketConnection, log: Log) -> None:
    log.append(await anext(end))


async def read_message(end: WebSocketConnection, log: Log) -> None:
    async with end.message_reader() as reader:
        data = await reader.read()
    log.append(data)


async def read_large_message(end: WebSocketConnection, log: Log) -> None:
    """Read a message in all ways; what was read is never lost or told twice."""
    async with end.message_reader() as reader:
        assert isinstance(reader, BytesReader)
        log.append(await reader.read(1))
        log.append(await reader.read_exactly(150_000))
        log.append(await anext(reader))
        buffer = bytearray(100_000)
        assert await reader.readinto(buffer) == len(buffer)
        log.append(bytes(buffer))
        log.append(await reader.receive_some(1000))
        log.append(await reader.read())
        assert reader.at_end


async def read_and_retry(end: WebSocketConnection, log: Log) -> None:
    """Go on reading behind a call that was cancelled."""
    async with end.message_reader() as reader:
        assert isinstance(reader, BytesReader)
        try:
            log.append(await reader.read_exactly(250_000))
        finally:
            with trio.CancelScope(shield=True):
                log.append(await reader.read())
        await trio.lowlevel.checkpoint()


async def forward_message(end: WebSocketConnection, log: Log) -> None:
    async with end.message_reader() as reader:
        await end.forward_message(reader)


async def send_small_messages(end: WebSocketConnection, log: Log) -> None:
    for number in range(20):
        await end.send_message(str(number))
        log.append(str(number))


async def send_large_message(end: WebSocketConnection, log: Log) -> None:
    await end.send_message(MEBIBYTE)
    log.append(MEBIBYTE)


async def send_cut_message(end: WebSocketConnection, log: Log) -> None:
    await end.send_message(MEBIBYTE, fragment_size=50_000)
    log.append(MEBIBYTE)


async def send_in_parts(end: WebSocketConnection, log: Log) -> None:
    await end.send_message([MEBIBYTE[: 2**18]] * 4)
    log.append(MEBIBYTE)


async def send_by_writer(end: WebSocketConnection, log: Log) -> None:
    async with end.message_writer("text", fragment_size=50_000) as writer:
        for _ in range(4):
            await writer.send(MEBIBYTE[: 2**18])
    log.append(MEBIBYTE)


async def send_behind_another(end: WebSocketConnection, log: Log) -> None:
    async def hold(
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.CancelScope(shield=True):
            async with end.message_writer() as writer:
                task_status.started()
                await trio.testing.wait_all_tasks_blocked()
                await writer.send("held")
                log.append("held")

    async with trio.open_nursery() as nursery:
        await nursery.start(hold)
        await end.send_message("sent")
        log.append("sent")


async def send_many_messages(end: WebSocketConnection, log: Log) -> None:
    await end.send_messages(MANY)
    log += ["sent"] * len(MANY)


async def send(end: WebSocketConnection, log: Log) -> None:
    await end.send("sent")
    log.append("sent")


async def ping(end: WebSocketConnection, log: Log) -> None:
    assert await end.ping(b"payload") >= 0


async def pong(end: WebSocketConnection, log: Log) -> None:
    for _ in range(20):
        await end.pong(b"payload")


async def aclose(end: WebSocketConnection, log: Log) -> None:
    await end.aclose()


async def abort(end: WebSocketConnection, log: Log) -> None:
    await end.abort()


async def wait_closed(end: WebSocketConnection, log: Log) -> None:
    await end.wait_closed()


async def cancel_on_close(end: WebSocketConnection, log: Log) -> None:
    async with end.cancel_on_close():
        await trio.Event().wait()
    assert end.closed is not None


# What is true afterwards.


async def check_nothing_was_lost(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    if not log:
        log.append(await end.get_message())
    assert log == ["spoken"]
    await check_round_trip(end, peer, log)


async def check_read_or_dropped(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    assert log in ([], ["spoken"])
    await end.send_message("end")
    while (message := await end.get_message()) != "end":
        log.append(message)
    assert log in ([], ["spoken"])
    await check_round_trip(end, peer, log)


async def check_rest_was_dropped(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    read = b"".join(part for part in log if isinstance(part, bytes))
    assert NOISE.startswith(read)
    # A wait that was cancelled took nothing; a block that was left, all of it.
    if await end.get_message() == NOISE:
        assert not read
        assert await end.get_message() == "spoken"
    await check_round_trip(end, peer, log)


async def check_nothing_was_skipped(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    if log:
        assert b"".join(part for part in log if isinstance(part, bytes)) == NOISE
    else:
        assert await end.get_message() == NOISE
    assert await end.get_message() == "spoken"
    await check_round_trip(end, peer, log)


async def check_all_or_nothing_came_back(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    """A message that had begun and did not end has ended the connection."""
    if end.closed is not None:
        assert end.closed.code == 1011
        await check_closed(end, peer)
    else:
        await end.send_message("end")
        arrived: Log = []
        while (message := await end.get_message()) != "end":
            arrived.append(message)
        assert arrived in ([], ["spoken"])


async def check_messages_are_whole(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    await end.send_message("end")
    arrived: Log = []
    while (message := await end.get_message()) != "end":
        arrived.append(message)
    assert arrived[: len(log)] == log
    if len(arrived) > len(log):
        assert arrived[len(log) :] in ([str(len(log))], [MEBIBYTE], ["sent"])


async def check_message_is_whole_or_the_connection_ended(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    if end.closed is None:
        await check_messages_are_whole(end, peer, log)
        return
    await check_closed(end, peer)
    assert not log
    assert peer.close_received is not None
    assert peer.close_received.code == 1011


async def check_first_messages_are_whole(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    await end.send_message("end")
    assert int(await end.get_message()) >= len(log)
    await check_round_trip(end, peer, log)


async def check_round_trip(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    await end.ping(b"payload")
    await end.send_message("there and back")
    assert await end.get_message() == "there and back"


async def check_goodbye_was_heard(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    assert end.closed is not None
    await check_closed(end, peer)
    assert peer.close_received is not None
    assert peer.close_received.code == 1000


async def check_nothing_was_said(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    await check_closed(end, peer)
    assert (end.close_sent, peer.close_received) == (None, None)


async def check_closed_by_peer(
    end: WebSocketConnection, peer: WebSocketConnection, log: Log
) -> None:
    await check_closed(end, peer)
    assert end.close_received is not None


async def check_closed(end: WebSocketConnection, peer: WebSocketConnection) -> None:
    for side in (end, peer):
        await side.wait_closed()
        assert side.state is ConnectionState.CLOSED
        await side.aclose()
        with pytest.raises(ConnectionClosed):
            await side.send_message("too late")
        with pytest.raises(ConnectionClosed):
            await side.get_message()


CASES = {
    "get_message": Case(get_message, speak_and_echo, check_nothing_was_lost),
    "get_messages": Case(get_messages, speak_and_echo, check_nothing_was_lost),
    "receive": Case(receive, speak_and_echo, check_nothing_was_lost),
    "anext": Case(iterate, speak_and_echo, check_nothing_was_lost),
    "read": Case(read_message, speak_and_echo, check_read_or_dropped),
    "read_large": Case(
        read_large_message, speak_at_length_and_echo, check_rest_was_dropped
    ),
    "read_and_retry": Case(
        read_and_retry, speak_at_length_and_echo, check_nothing_was_skipped
    ),
    "forward": Case(forward_message, speak_and_echo, check_all_or_nothing_came_back),
    "small": Case(send_small_messages, echo, check_messages_are_whole),
    "large": Case(send_large_message, echo, check_messages_are_whole),
    "cut": Case(send_cut_message, echo, check_messages_are_whole),
    "behind": Case(send_behind_another, echo, check_messages_are_whole),
    "parts": Case(send_in_parts, echo, check_message_is_whole_or_the_connection_ended),
    "writer": Case(
        send_by_writer, echo, check_message_is_whole_or_the_connection_ended
    ),
    "many": Case(
        send_many_messages, count_first_messages, check_first_messages_are_whole
    ),
    "send": Case(send, echo, check_messages_are_whole),
    "ping": Case(ping, echo, check_round_trip),
    "pong": Case(pong, echo, check_round_trip),
    "aclose": Case(aclose, echo, check_goodbye_was_heard),
    "abort": Case(abort, echo, check_nothing_was_said),
    "wait_closed": Case(wait_closed, close, check_closed_by_peer),
    "cancel_on_close": Case(cancel_on_close, close, check_closed_by_peer),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("role", ["client", "server"])
async def test_after_any_cancellation_a_connection_works_or_is_closed(
    open_stream_pair: OpenStreamPair, transport: str, role: str, name: str
) -> None:
    """S-76, T8, T10, W4, D-12, L-63."""
    case = CASES[name]
    cancelled = moment = 0
    is_done = False
    while not is_done:
        async with (
            open_stream_pair(transport) as streams,
            open_pair(streams) as (client, server),
            trio.open_nursery() as nursery,
        ):
            end, peer = (client, server) if role == "client" else (server, client)
            nursery.start_soon(case.drive, peer)
            log: Log = []
            canceller = Canceller(moment)
            trio.lowlevel.add_instrument(canceller)
            with canceller.scope:
                await case.call(end, log)
            trio.lowlevel.remove_instrument(canceller)
            with trio.fail_after(10):  # none of this waits for a clock
                await case.check(end, peer, log)
            nursery.cancel_scope.cancel()
        cancelled += canceller.scope.cancelled_caught
        moment += 1
        is_done = not canceller.is_reached
    assert cancelled > 0


# The opening.


Result = WebSocketRequest | WebSocketConnection | None
Call = Callable[[], Awaitable[Result]]
Begin = Callable[[trio.Nursery, trio.abc.Stream], Awaitable[Call]]


async def begin_to_wrap_client_stream(
    nursery: trio.Nursery, stream: trio.abc.Stream
) -> Call:
    return partial(wrap_client_stream, nursery, stream, "localhost", "/")


async def begin_to_wrap_server_stream(
    nursery: trio.Nursery, stream: trio.abc.Stream
) -> Call:
    return partial(wrap_server_stream, nursery, stream)


async def begin_to_accept(nursery: trio.Nursery, stream: trio.abc.Stream) -> Call:
    request = await wrap_server_stream(nursery, stream)
    return request.accept


async def begin_to_reject(nursery: trio.Nursery, stream: trio.abc.Stream) -> Call:
    request = await wrap_server_stream(nursery, stream)

    async def reject() -> None:
        await request.reject(403, body=b"not today")

    return reject


async def be_server(nursery: trio.Nursery, stream: trio.abc.Stream) -> None:
    with suppress(HandshakeError, ConnectionClosed):
        request = await wrap_server_stream(nursery, stream)
        await echo(await request.accept())


async def be_client(nursery: trio.Nursery, stream: trio.abc.Stream) -> None:
    with suppress(HandshakeError):
        await echo(await wrap_client_stream(nursery, stream, "localhost", "/"))


OPENINGS: dict[
    str, tuple[Begin, Callable[[trio.Nursery, trio.abc.Stream], Awaitable[None]]]
] = {
    "wrap_client_stream": (begin_to_wrap_client_stream, be_server),
    "wrap_server_stream": (begin_to_wrap_server_stream, be_client),
    "accept": (begin_to_accept, be_client),
    "reject": (begin_to_reject, be_client),
}


async def check_use(result: Result) -> None:
    """Use what an opening has led to, to the end."""
    if isinstance(result, WebSocketRequest):
        result = await result.accept()
    if isinstance(result, WebSocketConnection):
        await result.send_message("there and back")
        assert await result.get_message() == "there and back"
        await result.aclose()


@pytest.mark.parametrize("name", OPENINGS)
async def test_after_any_cancellation_an_opening_has_led_to_all_or_nothing(
    open_stream_pair: OpenStreamPair, transport: str, name: str
) -> None:
    """S-76: no task is left, and the stream was dropped."""
    begin, be_peer = OPENINGS[name]
    cancelled = moment = 0
    is_done = False
    while not is_done:
        async with open_stream_pair(transport) as (client_stream, server_stream):
            stream, peer_stream = client_stream, server_stream
            if be_peer is be_client:
                stream, peer_stream = server_stream, client_stream
            with trio.fail_after(10):  # none of this waits for a clock
                async with trio.open_nursery() as peers, trio.open_nursery() as home:
                    peers.start_soon(be_peer, peers, peer_stream)
                    call = await begin(home, stream)
                    canceller = Canceller(moment)
                    trio.lowlevel.add_instrument(canceller)
                    result: Result = None
                    with canceller.scope:
                        result = await call()
                    trio.lowlevel.remove_instrument(canceller)
                    await check_use(result)
                await check_dropped(stream)
        cancelled += canceller.scope.cancelled_caught
        moment += 1
        is_done = not canceller.is_reached
    # What the socket takes at once leaves nothing to wait for.
    assert cancelled > 0 or (transport, name) == ("socket", "accept")


async def connect(port: int, scope: trio.CancelScope) -> None:
    async with trio.open_nursery() as nursery:
        connection = None
        with scope:
            connection = await connect_websocket(
                nursery, "127.0.0.1", port, "/", use_ssl=False
            )
        await check_use(connection)


async def enter_and_leave(port: int, scope: trio.CancelScope) -> None:
    with scope:
        async with open_websocket("127.0.0.1", port, "/", use_ssl=False) as connection:
            await connection.send_message("there and back")
            assert await connection.get_message() == "there and back"


async def accept_and_echo(request: WebSocketRequest) -> None:
    await echo(await request.accept())


@pytest.mark.parametrize("call", [connect, enter_and_leave])
async def test_after_any_cancellation_of_a_client_no_task_is_left_on_either_side(
    call: Callable[[int, trio.CancelScope], Awaitable[None]], nursery: trio.Nursery
) -> None:
    """S-76: not by the opening, nor by the end of a block."""
    server = await nursery.start(serve_websocket, accept_and_echo, "127.0.0.1", 0, None)
    [endpoint] = server.listeners
    assert isinstance(endpoint, Endpoint)
    await settle()
    before = trio.lowlevel.current_statistics().tasks_living
    cancelled = moment = 0
    is_done = False
    while not is_done:
        canceller = Canceller(moment)
        trio.lowlevel.add_instrument(canceller)
        with trio.fail_after(10):
            await call(endpoint.port, canceller.scope)
            trio.lowlevel.remove_instrument(canceller)
            while trio.lowlevel.current_statistics().tasks_living > before:
                await settle()
        cancelled += canceller.scope.cancelled_caught
        moment += 1
        is_done = not canceller.is_reached
    assert cancelled > 0

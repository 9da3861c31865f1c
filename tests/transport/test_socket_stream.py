from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_websocket._transport.socket_stream import (
    MAX_HELD_SIZE,
    HoldingStream,
    SocketStream,
    prepare_socket,
)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="sockets are no files there, so none is wrapped"
)


NAMES = ("TCP_KEEPIDLE", "TCP_KEEPALIVE")  # Linux; macOS
KEEPALIVE_DELAY = next(getattr(socket, name) for name in NAMES if hasattr(socket, name))


class SimulatedSocket(trio.socket.SocketType):
    """A socket of a simulated network: its descriptor is no socket's, or none."""

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM

    def fileno(self) -> int:
        return self._number

    def setsockopt(
        self, level: int, optname: int, value: object, optlen: int | None = None
    ) -> None:
        raise OSError(f"there is no option {level, optname, value, optlen}")


async def connect() -> tuple[trio.SocketStream, trio.SocketStream]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        client = await trio.open_tcp_stream("127.0.0.1", port)
        return client, await listener.accept()


def prepare(stream: trio.SocketStream) -> SocketStream:
    prepared = prepare_socket(stream)
    assert isinstance(prepared, SocketStream)
    return prepared


async def open_pair() -> tuple[SocketStream, SocketStream]:
    client, server = await connect()
    return prepare(client), prepare(server)


async def open_unix_pair() -> tuple[SocketStream, SocketStream]:
    """Open a pair between which the system moves nothing by itself."""
    left, right = trio.socket.socketpair()
    return prepare(trio.SocketStream(left)), prepare(trio.SocketStream(right))


async def open_clogged_pair() -> tuple[SocketStream, SocketStream]:
    client, server = await open_unix_pair()
    fill(client)
    fill(server)
    return client, server


async def open_holding_pair() -> tuple[HoldingStream, HoldingStream]:
    """Open a pair such as TLS is put on, which does not hold yet."""
    left, right = trio.socket.socketpair()
    return prepare_for_tls(left), prepare_for_tls(right)


def prepare_for_tls(sock: trio.socket.SocketType) -> HoldingStream:
    prepared = prepare_socket(trio.SocketStream(sock), is_under_tls=True)
    assert isinstance(prepared, HoldingStream)
    return prepared


async def open_clogged_holding_pair() -> tuple[HoldingStream, HoldingStream]:
    client, server = await open_holding_pair()
    fill(client)
    fill(server)
    return client, server


def fill(stream: SocketStream) -> int:
    """Write until the socket takes nothing; tell how much it took."""
    total = 0
    while size := stream.write_now(bytes(1_000_000)):
        total += size
    return total


def write_for_ever(stream: SocketStream) -> None:
    while True:
        stream.write_now(b"x")


async def test_it_keeps_to_trios_contract_of_a_stream() -> None:
    await trio.testing.check_half_closeable_stream(open_unix_pair, open_clogged_pair)


async def test_it_keeps_to_that_contract_beneath_tls_until_it_holds() -> None:
    await trio.testing.check_half_closeable_stream(
        open_holding_pair, open_clogged_holding_pair
    )


async def test_bytes_are_written_without_a_turn_of_the_scheduler() -> None:
    client, server = await open_pair()
    async with client, server:
        with trio.testing.assert_no_checkpoints():
            assert client.write_now(b"hello") == 5
            assert client.write_now(memoryview(b" you")) == 4
        assert await server.receive_some() == b"hello you"


async def test_what_a_full_socket_does_not_take_is_told() -> None:
    client, server = await open_pair()
    async with client, server:
        taken = fill(client)
        assert taken > 0
        received = 0
        while received < taken:
            received += len(await server.receive_some())
        assert received == taken


async def test_writing_to_a_peer_that_has_gone_tells_that_it_broke() -> None:
    client, server = await open_pair()
    async with client:
        client.write_now(b"unread")
        await server.aclose()  # with unread bytes: a reset
        with pytest.raises(trio.BrokenResourceError) as caught:
            write_for_ever(client)
        assert isinstance(caught.value.__cause__, ConnectionError)


async def test_a_closed_socket_is_not_written_even_if_its_number_is_used_again(
    tmp_path: Path,
) -> None:
    client, server = await open_pair()
    number = client.socket.fileno()
    await client.aclose()
    path = tmp_path / "innocent"
    with path.open("wb") as file:
        os.dup2(file.fileno(), number)
        with pytest.raises(trio.ClosedResourceError):
            client.write_now(b"secret")
    assert path.read_bytes() == b""
    await server.aclose()


async def test_its_repr_tells_the_socket() -> None:
    client, server = await open_pair()
    async with client, server:
        assert repr(client) == f"<SocketStream over {client.socket!r}>"


async def test_a_peer_that_has_vanished_is_noticed_after_a_minute_of_silence() -> None:
    client, server = await open_pair()
    async with client, server:
        for stream in client, server:
            sock = stream.socket
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, KEEPALIVE_DELAY) == 60


async def test_a_unix_socket_is_written_without_waiting_too() -> None:
    client, server = await open_unix_pair()
    async with client, server:
        assert client.write_now(b"x") == 1
        assert await server.receive_some() == b"x"


async def test_a_socket_that_was_closed_already_is_left_as_it_is() -> None:
    client, server = await connect()
    await client.aclose()
    await server.aclose()
    assert prepare_socket(client) is client


async def test_a_descriptor_that_is_no_socket_is_left_to_trio(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        stream = trio.SocketStream(SimulatedSocket(file.fileno()))
        assert prepare_socket(stream) is stream


# Reading without waiting.


def read(stream: SocketStream, size: int) -> bytes | None:
    return stream.read_now(size)


def read_into(stream: SocketStream, size: int) -> bytes | None:
    buffer = bytearray(b"?" * size)
    with memoryview(buffer) as view:
        count = stream.read_now_into(view)
    if count is None:
        assert buffer == b"?" * size
        return None
    assert buffer[count:] == b"?" * (size - count)
    return bytes(buffer[:count])


Read = Callable[[SocketStream, int], bytes | None]
READS = pytest.mark.parametrize("read_now", [read, read_into])


@READS
async def test_bytes_that_are_there_are_read_without_a_turn(read_now: Read) -> None:
    client, server = await open_unix_pair()
    async with client, server:
        client.write_now(b"0123456789")
        with trio.testing.assert_no_checkpoints():
            assert read_now(server, 4) == b"0123"
            assert read_now(server, 100) == b"456789"


@READS
async def test_that_there_are_no_bytes_yet_is_told(read_now: Read) -> None:
    client, server = await open_unix_pair()
    async with client, server:
        assert read_now(server, 100) is None
        client.write_now(b"x")
        assert read_now(server, 100) == b"x"
        assert read_now(server, 100) is None


@READS
async def test_the_end_is_no_bytes_again_and_again(read_now: Read) -> None:
    client, server = await open_unix_pair()
    async with server:
        client.write_now(b"last")
        await client.aclose()
        assert [read_now(server, 100) for _ in range(3)] == [b"last", b"", b""]


@READS
async def test_reading_from_a_peer_that_has_gone_tells_that_it_broke(
    read_now: Read,
) -> None:
    client, server = await open_pair()
    async with client:
        client.write_now(b"unread")
        await server.wait_readable()
        await server.aclose()  # with unread bytes: a reset
        await client.wait_readable()
        with pytest.raises(trio.BrokenResourceError) as caught:
            read_now(client, 100)
        assert isinstance(caught.value.__cause__, ConnectionError)
        # The system tells it once; who looks again sees the end.
        assert read_now(client, 100) == b""


@READS
async def test_a_closed_socket_is_not_read_even_if_its_number_is_used_again(
    tmp_path: Path, read_now: Read
) -> None:
    client, server = await open_unix_pair()
    number = client.socket.fileno()
    await client.aclose()
    path = tmp_path / "secret"
    path.write_bytes(b"secret")
    with path.open("rb") as file:
        os.dup2(file.fileno(), number)
        with pytest.raises(trio.ClosedResourceError):
            read_now(client, 100)
    await server.aclose()


async def test_waiting_ends_with_the_first_byte() -> None:
    client, server = await open_unix_pair()
    async with client, server, trio.open_nursery() as nursery:
        nursery.start_soon(server.wait_readable)
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        client.write_now(b"x")


async def test_waiting_takes_nothing_and_ends_at_once_while_bytes_are_there() -> None:
    client, server = await open_unix_pair()
    async with client, server:
        client.write_now(b"x")
        for _ in range(3):
            await server.wait_readable()
        assert server.read_now(100) == b"x"


async def test_waiting_ends_with_the_end_of_the_stream() -> None:
    client, server = await open_unix_pair()
    async with server:
        await client.aclose()
        await server.wait_readable()
        assert server.read_now(100) == b""


async def test_waiting_is_over_when_the_stream_is_closed() -> None:
    client, server = await open_unix_pair()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await server.wait_readable()

    async with client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await server.aclose()
        await wait()


# Holding what does not leave.


async def receive_all(stream: SocketStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await stream.receive_some()
    return received


async def test_what_leaves_at_once_is_not_held() -> None:
    client, server = await open_holding_pair()
    async with client, server:
        client.hold()
        await client.send_all(b"hello")
        assert not client.has_held
        assert server.read_now(100) == b"hello"
        await client.drain()


async def test_what_does_not_leave_is_held_and_nobody_waits() -> None:
    client, server = await open_holding_pair()
    async with client, server:
        client.hold()
        before = fill(client)
        for number in range(10):
            await client.send_all(b"%d" % number * 1000)
        assert client.has_held
        received = await receive_all(server, before)
        assert received == bytes(before)
        # What is held is behind nothing now, and yet nothing may overtake it.
        await client.send_all(b"last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.drain)
            numbers = b"".join(b"%d" % number * 1000 for number in range(10))
            assert await receive_all(server, 10_004) == numbers + b"last"
        assert not client.has_held


async def test_what_is_held_leaves_as_the_socket_takes_it() -> None:
    client, server = await open_holding_pair()
    data = bytes(range(256)) * 4000
    async with client, server, trio.open_nursery() as nursery:
        client.hold()
        await client.send_all(data)
        assert client.has_held
        nursery.start_soon(client.drain)
        assert await receive_all(server, len(data)) == data


async def test_who_waits_for_what_is_held_may_be_cancelled() -> None:
    client, server = await open_holding_pair()
    data = bytes(range(256)) * 4000
    async with client, server:
        client.hold()
        await client.send_all(data)
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.drain)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.drain)
            assert await receive_all(server, len(data)) == data


async def test_who_holds_takes_no_turn_but_to_wait_for_bytes() -> None:
    """TLS above it takes one for each call, and a second would only cost time."""
    client, server = await open_holding_pair()
    async with client, server:
        client.hold()
        server.hold()
        with trio.testing.assert_no_checkpoints():
            await client.send_all(b"hello")
            assert await server.receive_some(2) == b"he"
            assert await server.receive_some() == b"llo"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_later, client, b"later")
            with trio.testing.assert_checkpoints():
                assert await server.receive_some() == b"later"


async def send_later(stream: HoldingStream, data: bytes) -> None:
    await trio.testing.wait_all_tasks_blocked()
    await stream.send_all(data)


async def test_who_waits_for_bytes_may_be_cancelled_and_loses_none() -> None:
    client, server = await open_holding_pair()
    async with client, server:
        server.hold()
        with trio.move_on_after(0) as scope:
            await server.receive_some()
        assert scope.cancelled_caught
        await client.send_all(b"hello")
        assert await server.receive_some() == b"hello"


async def test_who_receives_of_a_closed_stream_is_told_so() -> None:
    client, server = await open_holding_pair()
    async with client, server:
        server.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close_later, server)
            with pytest.raises(trio.ClosedResourceError):
                await server.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await server.receive_some()


async def close_later(stream: HoldingStream) -> None:
    await trio.testing.wait_all_tasks_blocked()
    await stream.aclose()


async def test_a_send_that_has_begun_is_not_cancelled() -> None:
    client, server = await open_holding_pair()
    async with client, server:
        client.hold()
        received: bytes | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, b"whole")
            await server.wait_readable()
            received = server.read_now(100)
            nursery.cancel_scope.cancel()
        assert received == b"whole"


async def test_there_is_a_bound_to_what_is_held() -> None:
    client, server = await open_holding_pair()
    async with client, server:
        client.hold()
        fill(client)
        await client.send_all(bytes(MAX_HELD_SIZE))
        with pytest.raises(trio.BrokenResourceError, match="does not read"):
            await client.send_all(b"x")


async def test_closing_ends_the_wait_for_what_is_held() -> None:
    client, server = await open_holding_pair()

    async def drain() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.drain()

    async with server:
        client.hold()
        fill(client)
        await client.send_all(b"held")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await trio.testing.wait_all_tasks_blocked()
            await client.aclose()
        await drain()


@pytest.mark.parametrize("is_full", [True, False])
async def test_a_closed_stream_holds_nothing_more(*, is_full: bool) -> None:
    client, server = await open_holding_pair()
    async with server:
        client.hold()
        if is_full:
            fill(client)
            await client.send_all(b"held")
        await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"too late")


async def test_a_peer_that_goes_while_bytes_are_held_is_told() -> None:
    client, server = await open_holding_pair()
    async with client:
        client.hold()
        fill(client)
        await client.send_all(b"held")
        await server.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await client.drain()


async def test_tls_over_it_tears_no_record_though_senders_are_cancelled(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    client, server = await open_holding_pair()
    ours = trio.SSLStream(client, client_tls, server_hostname="localhost")
    theirs = trio.SSLStream(server, server_tls, server_side=True)
    count = 40

    async def drain_with_interruptions() -> None:
        while client.has_held:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as drainers:
                    drainers.start_soon(client.drain)
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
                    scope.cancel()

    async with client, server, trio.open_nursery() as nursery:
        nursery.start_soon(ours.do_handshake)
        await theirs.do_handshake()
        client.hold()
        for number in range(count):
            await ours.send_all(b"%2d" % number * 10_000)
        assert client.has_held
        nursery.start_soon(drain_with_interruptions)
        received = b""
        while len(received) < count * 20_000:
            received += await theirs.receive_some()
    expected = b"".join(b"%2d" % number * 10_000 for number in range(count))
    assert received == expected

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_websocket._transport.socket_stream import SocketStream, prepare_socket

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

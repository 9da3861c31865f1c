"""The floor of Trio: a bare stream, or a bare descriptor that Trio waits for."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable

import trio
from assignment import HOST, Assignment, announce, hear_port, take_assignment
from frames import HEAD_END, REQUEST, build_answer
from meter import Meter

from .bare_socket import Bytes, check_scene
from .scenes import BATCH, find_chunk

# As much as Trio's own streams receive at once.
_RECEIVE_SIZE = 65536
Receive = Callable[[int], Awaitable[bytes | bytearray]]
Send = Callable[[bytes], Awaitable[None]]


class Descriptor:
    """A socket by its number: tries first, and has Trio wait only if it must."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self._sock = sock  # it closes with its last reference
        self._number = sock.fileno()

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive something."""
        while True:
            try:
                return os.read(self._number, max_bytes)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._number)

    async def send_all(self, data: bytes) -> None:
        """Send everything."""
        rest = memoryview(data)
        while True:
            try:
                rest = rest[os.write(self._number, rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._number)
            if not rest:
                return


class BareTrio:
    """A stream, and what is measured on it."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._meter = Meter(assignment)
        self._chunk = find_chunk(assignment)
        self._bytes = Bytes(assignment)

    async def play(self) -> None:
        """Open the connection and do what the scene asks for, for ever."""
        stream = await open_stream(self._assignment)
        receive: Receive = stream.receive_some
        send: Send = stream.send_all
        if self._assignment.style == "descriptor":
            # Beside the socket that Trio has, which nobody uses any more.
            assert isinstance(stream, trio.SocketStream)
            descriptor = Descriptor(socket.socket(fileno=stream.socket.fileno()))
            receive, send = descriptor.receive_some, descriptor.send_all
        if self._assignment.role == "client":
            await send(REQUEST)
            await receive_head(receive)
        else:
            await send(build_answer(await receive_head(receive)))
        if self._assignment.scene == "receive":
            await self._receive(receive)
        elif self._assignment.scene == "send":
            await self._send(send)
        else:
            await self._echo(receive, send)

    async def _receive(self, receive: Receive) -> None:
        size, tick = self._bytes.size, self._meter.tick
        rest = 0
        while True:
            count, rest = divmod(rest + len(await receive(_RECEIVE_SIZE)), size)
            tick(count)

    async def _send(self, send: Send) -> None:
        data, count, chunk = self._bytes.frame, 1, self._chunk
        if self._assignment.style == "many":
            data, count, chunk = data * BATCH, BATCH, max(1, chunk // BATCH)
        while True:
            for _ in range(chunk):
                await send(data)
            self._meter.tick(count * chunk)

    async def _echo(
        self,
        receive: Receive,
        send: Send,
    ) -> None:
        is_client = self._assignment.role == "client"
        frame, size = self._bytes.frame, self._bytes.size
        while True:
            for _ in range(self._chunk):
                if is_client:
                    await send(frame)
                left = size
                while left:
                    left -= len(await receive(_RECEIVE_SIZE))
                if not is_client:
                    await send(frame)
            self._meter.tick(self._chunk)


async def open_stream(assignment: Assignment) -> trio.abc.Stream:
    """Connect, or accept a connection; TLS is prepared, the upgrade is not made."""
    if assignment.role == "client":
        stream = await trio.open_tcp_stream(HOST, hear_port())
        client_context = assignment.make_client_context()
        if client_context is None:
            return stream
        return trio.SSLStream(stream, client_context, server_hostname=HOST)
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    announce(listener.socket.getsockname()[1])
    stream = await listener.accept()
    server_context = assignment.make_server_context()
    if server_context is None:
        return stream
    return trio.SSLStream(stream, server_context, server_side=True)


async def receive_head(receive: Receive) -> bytes:
    """Receive the head of a request or an answer."""
    head = b""
    while HEAD_END not in head:
        # One byte at a time, for what comes behind it is measured.
        head += await receive(1)
    return head


def main() -> None:
    """Be the floor."""
    assignment = take_assignment()
    check_scene(assignment)
    trio.run(BareTrio(assignment).play)


if __name__ == "__main__":
    main()

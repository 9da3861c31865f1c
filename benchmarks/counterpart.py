"""The other end of every measurement: a neutral one, on plain sockets.

It sends bytes that were built before, and throws away what it receives, so that it is
much faster than any library. Where it has a CPU for itself it never sleeps while it is
measured against: to wake it up would cost the other end more than many a message.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import deflated
from assignment import HOST, Assignment, announce, hear_port, take_assignment
from frames import (
    BINARY,
    HEAD_END,
    REQUEST,
    build_answer,
    build_block,
    build_frame,
    build_header,
    build_message,
    build_request,
    measure_frame,
)

_MOST_HEADER = 10
# The size of a message that is read in parts, and what is repeated in it.
STREAMED_SIZE = 1 << 30
_STREAMED_BLOCK = 262144
# So many openings are under way at once, to keep a server busy.
OPENINGS_AT_ONCE = 8
# Connections are reset at the end: thousands of them must not linger in TIME_WAIT.
RESET = struct.pack("ii", 1, 0)


class Ended(Exception):
    """The other end has gone, as it does when it has measured enough."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How to wait for a socket that is not ready: by sleeping, or not at all."""

    is_patient: bool

    def wait(self, sock: socket.socket, *, is_write: bool = False) -> None:
        """Wait until a socket may be ready."""
        if self.is_patient:
            poll = select.poll()
            poll.register(sock, select.POLLOUT if is_write else select.POLLIN)
            poll.poll()

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send everything."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[sock.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self.wait(sock, is_write=True)

    def receive(self, sock: socket.socket, buffer: bytearray | memoryview) -> int:
        """Receive something.

        Raises:
            Ended: If nothing will come any more.

        """
        while True:
            try:
                count = sock.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                self.wait(sock)
            else:
                if not count:
                    raise Ended
                return count

    def receive_exactly(
        self, sock: socket.socket, size: int, buffer: bytearray
    ) -> None:
        """Receive so many bytes."""
        while size > 0:
            size -= self.receive(sock, buffer)

    def receive_frame(self, sock: socket.socket, buffer: bytearray) -> None:
        """Receive one frame, whose size is not known; nothing comes behind it."""
        count = self.receive(sock, buffer)
        while not (size := measure_frame(buffer[: min(count, _MOST_HEADER)])):
            with memoryview(buffer) as view, view[count:] as rest:
                count += self.receive(sock, rest)
        self.receive_exactly(sock, size - count, buffer)

    def receive_head(self, sock: socket.socket) -> bytes:
        """Receive the head of a request or an answer, and what came with it."""
        head, buffer = bytearray(), bytearray(4096)
        while HEAD_END not in head:
            head += buffer[: self.receive(sock, buffer)]
        return bytes(head)


class Counterpart:
    """One end that plays against the library under test."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._patience = Patience(assignment.is_patient)
        self._is_client = assignment.role == "server"
        self._buffer = bytearray(262144)

    def play(self) -> None:
        """Open the connections and do what the scene asks for, to the end."""
        scenes: dict[str, Callable[[list[socket.socket]], NoReturn]] = {
            "receive": self._flood,
            "send": self._sink,
            "read": self._stream,
            "write": self._sink,
            "ask": self._reply,
            "answer": self._drive,
            "chat": self._converse,
            "open": self._hold,
            "hold": self._hold,
            "broadcast": self._sink_all,
        }
        count: int | None = self._assignment.connections
        if self._assignment.scene == "open":
            count = None
        sockets = self._connect(count) if self._is_client else self._accept(count)
        scenes[self._assignment.scene](sockets)

    # The opening.

    def _connect(self, count: int | None) -> list[socket.socket]:
        port = hear_port()
        at_once = OPENINGS_AT_ONCE if count is None else 1
        sockets: list[socket.socket] = []
        while count is None or len(sockets) < count:
            fresh = [self._dial(port) for _ in range(at_once)]
            for sock in fresh:
                self._patience.receive_head(sock)
            sockets += fresh
        return sockets

    def _dial(self, port: int) -> socket.socket:
        sock = socket.socket()
        sock.connect((HOST, port))  # without the look-ups of create_connection
        context = self._assignment.make_client_context()
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=HOST)
        prepare(sock)
        is_compressed = self._assignment.is_compressed
        request = build_request(deflated.OFFER) if is_compressed else REQUEST
        self._patience.send(sock, request)
        return sock

    def _accept(self, count: int | None) -> list[socket.socket]:
        listener = socket.create_server((HOST, 0), backlog=1024)
        announce(listener.getsockname()[1])
        context = self._assignment.make_server_context()
        listener.settimeout(0)
        sockets: list[socket.socket] = []
        while count is None or len(sockets) < count:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                self._patience.wait(listener)
                continue
            if context is not None:
                sock.settimeout(None)
                sock = context.wrap_socket(sock, server_side=True)
            prepare(sock)
            request = self._patience.receive_head(sock)
            extension = deflated.OFFER if self._assignment.is_compressed else ""
            self._patience.send(sock, build_answer(request, extension))
            sockets.append(sock)
        return sockets

    # The scenes.

    def _build_frames(self) -> Sequence[bytes]:
        if self._assignment.is_compressed:
            return deflated.build_frames(
                self._assignment.size, is_masked=self._is_client
            )
        message = build_message(self._assignment.kind, self._assignment.size)
        return [build_frame(message, is_masked=self._is_client)]

    def _measure_frame(self) -> int:
        # What comes from a client is masked.
        message = build_message(self._assignment.kind, self._assignment.size)
        return len(build_frame(message, is_masked=not self._is_client))

    def _flood(self, sockets: list[socket.socket]) -> NoReturn:
        """Send without a pause."""
        if self._assignment.kind == "mix":
            self._converse(sockets)  # there are pongs to take
        (sock,) = sockets
        if self._assignment.is_compressed:
            block = b"".join(self._build_frames())
        else:
            block = build_block(
                self._assignment.kind, self._assignment.size, is_masked=self._is_client
            )
        while True:
            self._patience.send(sock, block)

    def _stream(self, sockets: list[socket.socket]) -> NoReturn:
        """Send one large message after the other; any bytes do for what is in them."""
        (sock,) = sockets
        if self._assignment.style == "whole":
            self._flood(sockets)
        header = build_header(
            0x80 | BINARY, STREAMED_SIZE, is_masked=self._is_client
        ) + (bytes(4) if self._is_client else b"")
        block = os.urandom(_STREAMED_BLOCK)
        while True:
            self._patience.send(sock, header)
            for _ in range(STREAMED_SIZE // _STREAMED_BLOCK):
                self._patience.send(sock, block)

    def _sink(self, sockets: list[socket.socket]) -> NoReturn:
        """Receive and forget."""
        (sock,) = sockets
        while True:
            self._patience.receive(sock, self._buffer)

    def _reply(self, sockets: list[socket.socket]) -> NoReturn:
        """Answer each message that comes."""
        (sock,) = sockets
        replies = itertools.cycle(self._build_frames())
        receive = self._find_receive()
        while True:
            receive(sock)
            self._patience.send(sock, next(replies))

    def _find_receive(self) -> Callable[[socket.socket], None]:
        """Find how to receive one message."""
        patience, buffer = self._patience, self._buffer
        if self._assignment.is_compressed:
            return lambda sock: patience.receive_frame(sock, buffer)
        size = self._measure_frame()
        return lambda sock: patience.receive_exactly(sock, size, buffer)

    def _drive(self, sockets: list[socket.socket]) -> NoReturn:
        """Send a message on one connection after the other, wait for each answer."""
        messages = itertools.cycle(self._build_frames())
        receive = self._find_receive()
        while True:
            for sock in sockets:
                self._patience.send(sock, next(messages))
                receive(sock)

    def _converse(self, sockets: list[socket.socket]) -> NoReturn:
        """Send without a pause, and receive and forget what comes back meanwhile."""
        (sock,) = sockets
        block = memoryview(
            build_block(
                self._assignment.kind, self._assignment.size, is_masked=self._is_client
            )
        )
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT)
        rest = block
        while True:
            with contextlib.suppress(BlockingIOError):
                rest = rest[sock.send(rest) :] or block
            with contextlib.suppress(BlockingIOError):
                if not sock.recv_into(self._buffer):
                    raise Ended
            if self._assignment.is_patient:
                poll.poll()

    def _sink_all(self, sockets: list[socket.socket]) -> NoReturn:
        """Receive and forget on all connections."""
        epoll = watch(sockets)
        by_number = {sock.fileno(): sock for sock in sockets}
        timeout = None if self._assignment.is_patient else 0
        while True:
            for number, _ in epoll.poll(timeout):
                self._patience.receive(by_number[number], self._buffer)

    def _hold(self, sockets: list[socket.socket]) -> NoReturn:
        """Keep the connections and sleep until the other end goes."""
        epoll = watch(sockets)
        while True:
            epoll.poll()
            self._patience.receive(sockets[0], self._buffer)


def watch(sockets: Iterable[socket.socket]) -> select.epoll:
    """Make an epoll that wakes up when one of the sockets has something."""
    epoll = select.epoll()
    for sock in sockets:
        epoll.register(sock, select.EPOLLIN)
    return epoll


def prepare(sock: socket.socket) -> None:
    """Make a socket that does not block, does not wait and does not linger."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.settimeout(0)


def main() -> None:
    """Play until the other end goes."""
    counterpart = Counterpart(take_assignment())
    with contextlib.suppress(Ended, ConnectionError, ssl.SSLError):
        counterpart.play()
    os._exit(0)  # closes thousands of sockets at once


if __name__ == "__main__":
    main()

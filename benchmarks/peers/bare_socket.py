"""The floor: a blocking socket that moves the bytes of messages and looks at none."""

from __future__ import annotations

import socket

from assignment import HOST, Assignment, announce, hear_port, skip, take_assignment
from frames import (
    HEAD_END,
    REQUEST,
    build_answer,
    build_frame,
    build_message,
)
from meter import Meter

from .scenes import BATCH, find_chunk

# What a loop that receives a flood asks for at once.
_RECEIVE_SIZE = 131072


class Bytes:
    """The bytes that go each way, built before anything is measured.

    Attributes:
        frame: The message as this end sends it.
        size: The bytes of the message as the other end sends it.

    """

    def __init__(self, assignment: Assignment) -> None:
        is_client = assignment.role == "client"
        message = build_message(assignment.kind, assignment.size)
        self.frame = build_frame(message, is_masked=is_client)
        self.size = len(build_frame(message, is_masked=not is_client))


class BareSocket:
    """A blocking socket."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._meter = Meter(assignment)
        self._chunk = find_chunk(assignment)
        self._bytes = Bytes(assignment)
        self._buffer = bytearray(max(_RECEIVE_SIZE, self._bytes.size))
        self._rest = 0
        self._sock = open_socket(assignment)

    def play(self) -> None:
        """Open the connection and do what the scene asks for, for ever."""
        if self._assignment.role == "client":
            self._sock.sendall(REQUEST)
            receive_head(self._sock)
        else:
            self._sock.sendall(build_answer(receive_head(self._sock)))
        scenes = {"receive": self._receive, "send": self._send}
        play = scenes.get(self._assignment.scene, self._echo)
        while True:
            play()

    def _receive(self) -> None:
        self._rest += self._sock.recv_into(self._buffer)
        count, self._rest = divmod(self._rest, self._bytes.size)
        self._meter.tick(count)

    def _send(self) -> None:
        data, count, chunk = self._bytes.frame, 1, self._chunk
        if self._assignment.style == "many":
            data, count, chunk = data * BATCH, BATCH, max(1, chunk // BATCH)
        for _ in range(chunk):
            self._sock.sendall(data)
        self._meter.tick(count * chunk)

    def _echo(self) -> None:
        is_client = self._assignment.role == "client"
        sock, frame, size = self._sock, self._bytes.frame, self._bytes.size
        for _ in range(self._chunk):
            if is_client:
                sock.sendall(frame)
            left = size
            while left:
                left -= sock.recv_into(self._buffer)
            if not is_client:
                sock.sendall(frame)
        self._meter.tick(self._chunk)


def open_socket(assignment: Assignment) -> socket.socket:
    """Connect, or accept a connection; TLS is made, the upgrade is not."""
    if assignment.role == "client":
        sock = socket.create_connection((HOST, hear_port()))
        context = assignment.make_client_context()
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=HOST)
    else:
        listener = socket.create_server((HOST, 0))
        announce(listener.getsockname()[1])
        sock, _ = listener.accept()
        context = assignment.make_server_context()
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive_head(sock: socket.socket) -> bytes:
    """Receive the head of a request or an answer."""
    head = b""
    while HEAD_END not in head:
        # One byte at a time, for what comes behind it is measured.
        head += sock.recv(1)
    return head


def check_scene(assignment: Assignment) -> None:
    """Skip what a floor has no say in."""
    if assignment.connections > 1 or assignment.has_bystander:
        skip("is a floor for one connection")
    if assignment.tasks > 1 or assignment.kind == "mix":
        skip("is a floor for one task and one kind of message")


def main() -> None:
    """Be the floor."""
    assignment = take_assignment()
    check_scene(assignment)
    BareSocket(assignment).play()


if __name__ == "__main__":
    main()

"""wsproto alone, on a blocking socket."""

from __future__ import annotations

from assignment import HOST, Assignment, skip, take_assignment
from frames import build_message
from meter import Meter
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    Event,
    Ping,
    Request,
    TextMessage,
)

from .bare_socket import open_socket
from .scenes import find_chunk

# As much as Trio's own streams receive at once.
_RECEIVE_SIZE = 65536


class Wsproto:
    """One connection, with a loop as simple as it can be."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._meter = Meter(assignment)
        self._chunk = find_chunk(assignment)
        self._message = build_message(
            "binary" if assignment.kind == "mix" else assignment.kind, assignment.size
        )
        self._is_server = assignment.role == "server"
        self._connection = WSConnection(
            ConnectionType.SERVER if self._is_server else ConnectionType.CLIENT
        )
        self._sock = open_socket(assignment)

    def play(self) -> None:
        """Open the connection and do what the scene asks for, for ever."""
        scenes = {
            "receive": self._receive,
            "send": self._send,
            "ask": self._ask,
            "answer": self._answer,
            "chat": self._answer,
        }
        self._shake_hands()
        play = scenes[self._assignment.scene]
        while True:
            for _ in range(self._chunk):
                play()
            self._meter.tick(self._chunk)

    def _shake_hands(self) -> None:
        self._messages: list[str | bytes] = []
        self._texts: list[str] = []
        self._parts: list[bytes | bytearray] = []
        self._is_open = False
        if not self._is_server:
            self._sock.sendall(self._connection.send(Request(HOST, "/")))
        while not self._is_open:
            self._pump()

    def _receive(self) -> None:
        while not self._messages:
            self._pump()
        self._messages.pop()

    def _send(self) -> None:
        self._say(self._message)

    def _ask(self) -> None:
        self._say(self._message)
        self._receive()

    def _answer(self) -> None:
        while not self._messages:
            self._pump()
        self._say(self._messages.pop())

    def _say(self, message: str | bytes) -> None:
        event: Event
        if isinstance(message, str):
            event = TextMessage(message)
        else:
            event = BytesMessage(message)
        self._sock.sendall(self._connection.send(event))

    def _pump(self) -> None:
        self._connection.receive_data(self._sock.recv(_RECEIVE_SIZE))
        for event in self._connection.events():
            if isinstance(event, TextMessage | BytesMessage):
                self._collect(event)
            elif isinstance(event, Ping):
                self._sock.sendall(self._connection.send(event.response()))
            elif isinstance(event, Request):
                self._sock.sendall(self._connection.send(AcceptConnection()))
                self._is_open = True
            elif isinstance(event, AcceptConnection):
                self._is_open = True

    def _collect(self, event: TextMessage | BytesMessage) -> None:
        if isinstance(event, TextMessage):
            self._texts.append(event.data)
        else:
            self._parts.append(event.data)
        if event.message_finished:
            is_text = isinstance(event, TextMessage)
            self._messages.append(
                "".join(self._texts) if is_text else b"".join(self._parts)
            )
            self._texts.clear()
            self._parts.clear()


def main() -> None:
    """Play the part of wsproto."""
    assignment = take_assignment()
    if assignment.tasks > 1 or assignment.connections > 1 or assignment.has_bystander:
        skip("does one thing at a time")
    Wsproto(assignment).play()


if __name__ == "__main__":
    main()

"""picows, which calls back with each frame, so that the scenes are its own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import picows
from assignment import HOST, Assignment, announce, hear_port, take_assignment
from counterpart import OPENINGS_AT_ONCE
from frames import build_message
from meter import Meter, Scales

from .loop import AsyncioLoop, run_asyncio
from .scenes import SETTLING_TIME, find_chunk

_TEXT, _BINARY, _PING = (
    picows.WSMsgType.TEXT,
    picows.WSMsgType.BINARY,
    picows.WSMsgType.PING,
)


class Scene(picows.WSListener):
    """What one connection does. As it is, it only keeps the connection."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.transport: picows.WSTransport | None = None
        self.is_writable = asyncio.Event()
        self.is_writable.set()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Begin."""
        self.transport = transport

    def pause_writing(self) -> None:
        """Hold senders back: the buffer of the transport is full."""
        self.is_writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self.is_writable.set()


class Receive(Scene):
    """Takes each message as an object of its own, as other libraries give it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.left = self.chunk = stage.chunk
        self.tick = stage.meter.tick

    def on_ws_frame(
        self,
        transport: picows.WSTransport,  # noqa: ARG002  # the listener's interface
        frame: picows.WSFrame,
    ) -> None:
        """Take a message."""
        if frame.msg_type is _TEXT:
            frame.get_payload_as_utf8_text()
        elif frame.msg_type is _BINARY:
            frame.get_payload_as_bytes()
        else:
            return
        self.left -= 1
        if not self.left:
            self.tick(self.chunk)
            self.left = self.chunk


class Send(Scene):
    """Sends, and waits only when the transport asks for it."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Begin to send."""
        super().on_ws_connected(transport)
        for _ in range(self.stage.assignment.tasks):
            self.stage.loop.start(self.send)

    async def send(self) -> None:
        """Send for ever."""
        assert self.transport is not None
        send, message, opcode = (
            self.transport.send,
            self.stage.message,
            self.stage.opcode,
        )
        chunk, tick = self.stage.chunk, self.stage.meter.tick
        is_writable, wait = self.is_writable.is_set, self.is_writable.wait
        while True:
            for _ in range(chunk):
                send(opcode, message)
                if not is_writable():
                    await wait()
            tick(chunk)


class Ask(Receive):
    """Sends a message each time one has come."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Send the first message."""
        transport.send(self.stage.opcode, self.stage.message)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Take a message, and send the next one."""
        super().on_ws_frame(transport, frame)
        transport.send(self.stage.opcode, self.stage.message)


class Answer(Scene):
    """Sends each message back, without a copy of it in between."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.chunk = stage.chunk if stage.assignment.connections == 1 else 1
        self.left = self.chunk
        self.tick = stage.meter.tick

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Send a message back."""
        if frame.msg_type is _PING:
            return
        transport.send(frame.msg_type, frame.get_payload_as_memoryview())
        self.left -= 1
        if not self.left:
            self.tick(self.chunk)
            self.left = self.chunk

    def pause_writing(self) -> None:
        """Take nothing more until what is there has been sent."""
        assert self.transport is not None
        self.transport.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        """Take messages again."""
        assert self.transport is not None
        self.transport.underlying_transport.resume_reading()


class Open(Scene):
    """Counts connections."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Count this one."""
        self.transport = transport
        self.stage.meter.tick(1)


class Hold(Scene):
    """Lets connections be weighed."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Count this one."""
        self.transport = transport
        if self.stage.scales.add():
            self.stage.loop.start(self.stage.weigh)


class Broadcast(Scene):
    """Sends on all connections."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Begin to send with the last connection."""
        self.transport = transport
        self.stage.listeners.append(self)
        if len(self.stage.listeners) == self.stage.assignment.connections:
            self.stage.loop.start(self.stage.broadcast)


_SCENES: dict[str, Callable[[Stage], Scene]] = {
    "receive": Receive,
    "send": Send,
    "ask": Ask,
    "answer": Answer,
    "chat": Answer,
    "open": Open,
    "hold": Hold,
    "broadcast": Broadcast,
}


class Stage:
    """What all connections share."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.loop = AsyncioLoop()
        self.meter = Meter(assignment)
        self.scales = Scales(assignment)
        self.listeners: list[Scene] = []
        self.chunk = find_chunk(assignment)
        kind = "binary" if assignment.kind == "mix" else assignment.kind
        message = build_message(kind, assignment.size)
        # It takes text as bytes only; to encode it each time is part of sending text.
        self.message = message.encode() if isinstance(message, str) else message
        self.opcode = _TEXT if isinstance(message, str) else _BINARY
        self._opened = 0

    async def play(self) -> None:
        """Be a server or a client, for ever."""
        scene = _SCENES[self.assignment.scene]
        bystander = self.meter.bystander
        if bystander is not None:
            self.loop.start(lambda: bystander.nap(self.loop.sleep))
        if self.assignment.role == "server":
            server = await picows.ws_create_server(
                lambda _: scene(self),
                HOST,
                0,
                ssl=self.assignment.make_server_context(),
                enable_auto_ping=False,
            )
            announce(server.sockets[0].getsockname()[1])
        else:
            port = hear_port()
            at_once = OPENINGS_AT_ONCE if self.assignment.scene == "open" else 1
            for _ in range(at_once):
                self.loop.start(lambda: self._join(port))
        await asyncio.sleep(self.assignment.time_limit)

    async def _join(self, port: int) -> None:
        scene = _SCENES[self.assignment.scene]
        is_endless = self.assignment.scene == "open"
        context = self.assignment.make_client_context()
        while is_endless or self._opened < self.assignment.connections:
            self._opened += 1
            await picows.ws_connect(
                lambda: scene(self),
                f"{self.assignment.url}:{port}/",
                ssl_context=context,
                enable_auto_ping=False,
            )

    async def weigh(self) -> None:
        """End with the memory of the connections."""
        await asyncio.sleep(SETTLING_TIME)
        gc.collect()
        self.scales.weigh()

    async def broadcast(self) -> None:
        """Send the message on all connections, for ever."""
        while True:
            for listener in self.listeners:
                assert listener.transport is not None
                listener.transport.send(self.opcode, self.message)
                if not listener.is_writable.is_set():
                    await listener.is_writable.wait()
            self.meter.tick(len(self.listeners))
            await asyncio.sleep(0)


def main() -> None:
    """Play the part of picows."""
    assignment = take_assignment()
    run_asyncio(assignment.loop, Stage(assignment).play)


if __name__ == "__main__":
    main()

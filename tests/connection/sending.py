"""Connections that may compress, with or without a lane, and what they send."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing

from trio_websocket import ConnectionClosed, PerMessageDeflate, WebSocketConnection
from trio_websocket._connection.connection import make_connection
from trio_websocket._connection.link import Link
from trio_websocket._options import ConnectionOptions
from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.deflate import DeflateAgreement, build_codec
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.lane import Lane
from trio_websocket._protocol.opened import Opened
from trio_websocket.testing import FaultyStream, RawFrame, RawPeer

from .rig import Rig, StreamPair

DEFLATE = PerMessageDeflate(threshold=8)
NO_TAKEOVER = PerMessageDeflate(
    threshold=8, client_no_context_takeover=True, server_no_context_takeover=True
)
TAIL = b"\x00\x00\xff\xff"

_CONTROL = 8  # the first opcode of the control frames


@dataclass(frozen=True)
class Wire:
    """What two ends have agreed on, and what they work with."""

    lane: Lane | None = LANE
    deflate: PerMessageDeflate | None = None

    def build_engine(self, *, is_client: bool) -> Engine:
        if self.deflate is None:
            return Engine(is_client=is_client, lane=self.lane)
        agreement = DeflateAgreement(
            server_no_context_takeover=self.deflate.server_no_context_takeover,
            client_no_context_takeover=self.deflate.client_no_context_takeover,
            server_max_window_bits=15,
            client_max_window_bits=15,
        )
        codec = build_codec(self.deflate, agreement, is_client=is_client)
        return Engine(is_client=is_client, lane=self.lane, codec=codec)


PLAIN = Wire()
COMPRESSED = Wire(deflate=DEFLATE)
WIRES = {
    "plain": PLAIN,
    "plain_without_lane": Wire(lane=None),
    "compressed": COMPRESSED,
    "compressed_without_lane": Wire(lane=None, deflate=DEFLATE),
    "no_takeover": Wire(deflate=NO_TAKEOVER),
}


def _build(
    stream: trio.abc.Stream, wire: Wire, *, is_client: bool
) -> tuple[WebSocketConnection, Link]:
    engine = wire.build_engine(is_client=is_client)
    opened = Opened(engine=engine, headers=(), subprotocol=None)
    options = ConnectionOptions(
        message_queue_size=10_000, max_message_size=2**24, disconnect_timeout=5
    )
    return make_connection(stream, opened, path="/", options=options)


@asynccontextmanager
async def open_rig(
    wire: Wire = PLAIN, streams: StreamPair | None = None, *, is_client: bool = True
) -> AsyncGenerator[Rig]:
    """Run a connection on the first stream for a block, and drop it at the end."""
    stream, peer_stream = streams or trio.testing.memory_stream_pair()
    connection, link = _build(stream, wire, is_client=is_client)
    peer = RawPeer(peer_stream, is_client=not is_client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        yield Rig(connection, link, peer, nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_pair(
    wire: Wire = PLAIN, streams: StreamPair | None = None
) -> AsyncGenerator[tuple[WebSocketConnection, WebSocketConnection]]:
    """Run a client and a server that are connected for a block, and drop them."""
    client_stream, server_stream = streams or trio.testing.memory_stream_pair()
    client, client_link = _build(client_stream, wire, is_client=True)
    server, server_link = _build(server_stream, wire, is_client=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client_link.run)
        nursery.start_soon(server_link.run)
        yield client, server
        nursery.cancel_scope.cancel()


def stall(streams: StreamPair | None = None) -> tuple[FaultyStream, StreamPair]:
    """Return a stream that takes nothing until it is told to, and its pair."""
    stream, peer_stream = streams or trio.testing.memory_stream_pair()
    faulty = FaultyStream(stream)
    faulty.stall_sending()
    return faulty, (faulty, peer_stream)


@dataclass(frozen=True)
class Message:
    """A message as it was on the wire.

    Attributes:
        frames: Its frames.
        between: The control frames between them.

    """

    frames: list[RawFrame]
    between: list[RawFrame]

    @property
    def kind(self) -> Opcode:
        """What its first frame says; the others are as they must be."""
        first, *others = self.frames
        assert all(frame.opcode == Opcode.CONTINUATION for frame in others)
        assert not any(frame.rsv for frame in others)
        assert [frame.fin for frame in self.frames] == [False] * len(others) + [True]
        return Opcode(first.opcode)

    @property
    def payload(self) -> bytes:
        """The whole payload, inflated as what stands for itself."""
        payload = b"".join(frame.payload for frame in self.frames)
        if not self.frames[0].rsv:
            return payload
        return zlib.decompressobj(-15).decompress(payload + TAIL)


async def receive_message(peer: RawPeer) -> Message:
    """Receive the frames up to the next that ends a message."""
    message = Message([], [])
    is_ended = False
    while not is_ended:
        frame = await peer.receive_frame()
        if frame.opcode >= _CONTROL:
            message.between.append(frame)
        else:
            message.frames.append(frame)
            is_ended = frame.fin
    return message


async def send_by_writer(
    connection: WebSocketConnection, parts: Sequence[str | bytes]
) -> None:
    async with connection.message_writer() as writer:
        for part in parts:
            await writer.send(part)


LARGE = b"large" * 50_000
# Every way to send, by its name. That is the message, too, but for the large one.
WAYS: dict[str, Callable[[WebSocketConnection], Awaitable[None]]] = {
    "writer": lambda connection: send_by_writer(connection, ["writer"]),
    "whole": lambda connection: connection.send_message("whole"),
    "large": lambda connection: connection.send_message(bytearray(LARGE)),
    "batch": lambda connection: connection.send_messages(["batch"]),
    "iterable": lambda connection: connection.send_message(["iterable"]),
    "cut": lambda connection: connection.send_message("cut", fragment_size=1),
}
SENT_IN_EVERY_WAY = [LARGE if way == "large" else way.encode() for way in WAYS]


class Waiting:
    """Tasks that send in every way.

    Attributes:
        errors: What they have raised, by their ways.
        sent: The ways in which a message was sent.

    """

    def __init__(self, connection: WebSocketConnection) -> None:
        self.errors: dict[str, ConnectionClosed] = {}
        self.sent: list[str] = []
        self._connection = connection

    async def run(self, nursery: trio.Nursery) -> None:
        """Start them one after the other."""
        for way in WAYS:
            nursery.start_soon(self._send, way)
            await trio.testing.wait_all_tasks_blocked()

    async def _send(self, way: str) -> None:
        try:
            await WAYS[way](self._connection)
        except ConnectionClosed as closed:
            self.errors[way] = closed
        else:
            self.sent.append(way)

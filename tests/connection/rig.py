"""A connection, and a raw peer at the other end of its stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType

from trio_websocket import WebSocketConnection
from trio_websocket._connection.connection import make_connection
from trio_websocket._connection.link import Farewell, Link
from trio_websocket._options import ConnectionOptions, PerMessageDeflate
from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.deflate import DeflateAgreement, build_codec
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.opened import Opened
from trio_websocket._transport.socket_stream import SocketStream
from trio_websocket.testing import FaultyStream, RawPeer

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
OpenStreamPair = Callable[[str], AbstractAsyncContextManager[StreamPair]]

DEFAULTS = ConnectionOptions()
AGREEMENT = DeflateAgreement(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=15,
    client_max_window_bits=15,
)


class SlowStream(FaultyStream):
    """A stream that takes nothing without waiting, though it might."""

    def write_now(self, data: bytes | memoryview) -> int:
        assert data
        return 0


class MuteStream(FaultyStream):
    """A stream to which nothing can be written any more."""

    def write_now(self, data: bytes | memoryview) -> int:
        raise trio.BrokenResourceError(data)


@dataclass(frozen=True)
class Rig:
    """A connection that lives in a nursery, and its peer.

    Attributes:
        connection: What is tested.
        link: What the connection is made of.
        peer: The other end.
        nursery: Where the connection's task is the only one.

    """

    connection: WebSocketConnection
    link: Link
    peer: RawPeer
    nursery: trio.Nursery


def build_connection(
    stream: trio.abc.Stream,
    *,
    is_client: bool = True,
    options: ConnectionOptions = DEFAULTS,
    farewell: Farewell | None = None,
    is_compressed: bool = False,
) -> tuple[WebSocketConnection, Link]:
    """Make a connection as if the opening handshake had just been done."""
    role = ConnectionType.CLIENT if is_client else ConnectionType.SERVER
    codec = None
    if is_compressed:
        codec = build_codec(PerMessageDeflate(), AGREEMENT, is_client=is_client)
    engine = Engine(Connection(role), is_client=is_client, lane=LANE, codec=codec)
    opened = Opened(engine=engine, headers=(), subprotocol=None)
    return make_connection(stream, opened, path="/", options=options, farewell=farewell)


@asynccontextmanager
async def open_rig(
    streams: StreamPair | None = None,
    *,
    is_client: bool = True,
    options: ConnectionOptions = DEFAULTS,
    farewell: Farewell | None = None,
    is_compressed: bool = False,
) -> AsyncGenerator[Rig]:
    """Run a connection on the first stream for a block, and drop it at the end."""
    stream, peer_stream = streams or trio.testing.memory_stream_pair()
    connection, link = build_connection(
        stream,
        is_client=is_client,
        options=options,
        farewell=farewell,
        is_compressed=is_compressed,
    )
    peer = RawPeer(peer_stream, is_client=not is_client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        yield Rig(connection, link, peer, nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_pair(
    streams: StreamPair | None = None,
    *,
    options: ConnectionOptions = DEFAULTS,
    is_compressed: bool = False,
) -> AsyncGenerator[tuple[WebSocketConnection, WebSocketConnection]]:
    """Run a client and a server that are connected for a block, and drop them."""
    client_stream, server_stream = streams or trio.testing.memory_stream_pair()
    client, client_link = build_connection(
        client_stream, options=options, is_compressed=is_compressed
    )
    server, server_link = build_connection(
        server_stream, is_client=False, options=options, is_compressed=is_compressed
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client_link.run)
        nursery.start_soon(server_link.run)
        yield client, server
        nursery.cancel_scope.cancel()


async def settle() -> None:
    """Wait until nothing moves any more, on this side of the network and beyond."""
    await trio.testing.wait_all_tasks_blocked(0.01)


async def check_dropped(stream: trio.abc.Stream) -> None:
    """Check that a stream of ours is really closed, down to the descriptor."""
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some(1)
    if isinstance(stream, trio.SSLStream):
        tls_stream = cast("trio.SSLStream[trio.abc.Stream]", stream)
        await check_dropped(tls_stream.transport_stream)
    elif isinstance(stream, SocketStream):
        assert stream.socket.fileno() == -1

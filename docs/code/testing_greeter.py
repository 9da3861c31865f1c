"""Tests of the greeter."""

from __future__ import annotations

import trio
from greeter import greet
from trio.testing import memory_stream_pair

from trio_websocket import wrap_client_stream
from trio_websocket.testing import FaultyStream, RawPeer, open_connection_pair


async def test_greets_by_name() -> None:
    """Both ends are here, in one task, with no network between them."""
    async with open_connection_pair() as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greet, server)
            await client.send_message("Ada")
            assert await client.get_message() == "Hello, Ada!"
            await client.aclose()


async def test_refuses_bytes() -> None:
    """What the greeter said when it closed is seen on the other end."""
    async with open_connection_pair() as (client, server):
        await client.send_message(b"Ada")
        await greet(server)
        await client.wait_closed()
        assert client.close_received is not None
        assert client.close_received.code == 1003


async def test_survives_a_peer_that_breaks_the_rules() -> None:
    """A raw peer sends what no library would."""
    client_stream, server_stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_rude, server_stream)
        connection = await wrap_client_stream(nursery, client_stream, "localhost", "/")
        await connection.wait_closed()
        assert connection.closed is not None
        assert connection.closed.code == 1002


async def be_rude(stream: trio.abc.Stream) -> None:
    """Accept a client, and send a frame of a kind that does not exist."""
    peer = await RawPeer.accept(stream)
    await peer.send_frame(3, b"?")
    assert (await peer.receive_close())[0] == 1002
    await peer.aclose()


async def test_hears_of_a_lost_connection() -> None:
    """A faulty stream is cut in the middle of a message."""
    client_stream, server_stream = memory_stream_pair()
    faulty = FaultyStream(client_stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(RawPeer.accept, server_stream)
        connection = await wrap_client_stream(nursery, faulty, "localhost", "/")
        faulty.cut_after_sending(3)
        nursery.start_soon(connection.send_message, "Ada")
        await connection.wait_closed()

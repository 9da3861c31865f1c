from __future__ import annotations

import socket
import ssl
import sys
from typing import cast

import pytest
import trio
import trio.testing

from trio_websocket._endpoint import Endpoint, find_listener_endpoint
from trio_websocket._transport.listen import open_listeners, prepare_accepted
from trio_websocket._transport.socket_stream import HoldingStream, SocketStream


async def close(*resources: trio.abc.AsyncResource) -> None:
    for resource in resources:
        await trio.aclose_forcefully(resource)


def find_port(listener: trio.abc.Listener[trio.abc.Stream]) -> int:
    endpoint = find_listener_endpoint(listener)
    assert isinstance(endpoint, Endpoint)
    return endpoint.port


async def test_clients_can_connect() -> None:
    [listener] = await open_listeners("127.0.0.1", 0, None)
    client = await trio.open_tcp_stream("127.0.0.1", find_port(listener))
    accepted = await listener.accept()
    await client.send_all(b"hello")
    assert await accepted.receive_some() == b"hello"
    await close(client, accepted, listener)


async def test_a_host_may_be_bytes() -> None:
    [listener] = await open_listeners(b"127.0.0.1", 0, None)
    assert find_port(listener)
    await close(listener)


async def test_no_host_is_every_interface() -> None:
    listeners = await open_listeners(None, 0, None)
    assert listeners
    for listener in listeners:
        assert isinstance(listener, trio.SocketListener)
        assert listener.socket.getsockname()[0] in {"0.0.0.0", "::"}
    await close(*listeners)


async def test_tls_is_spoken_if_there_is_a_context(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    [listener] = await open_listeners("127.0.0.1", 0, server_tls)
    assert isinstance(listener, trio.SSLListener)
    tls_listener = cast("trio.SSLListener[trio.abc.Stream]", listener)
    port = find_port(tls_listener)
    client = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=client_tls, https_compatible=True
    )
    accepted = await tls_listener.accept()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accepted.send_all, b"hello")
        assert await client.receive_some() == b"hello"
    # As HTTPS has it, neither side waits for the other's last word.
    await client.aclose()
    assert await accepted.receive_some() == b""
    await close(accepted, tls_listener)


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    [listener] = await open_listeners("127.0.0.1", 0, None)
    with pytest.raises(OSError, match=r"."):
        await open_listeners("127.0.0.1", find_port(listener), None)
    await close(listener)


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no files there")
async def test_an_accepted_socket_can_be_written_without_waiting() -> None:
    [listener] = await open_listeners("127.0.0.1", 0, None)
    client = await trio.open_tcp_stream("127.0.0.1", find_port(listener))
    accepted = await listener.accept()
    assert isinstance(prepare_accepted(accepted), SocketStream)
    await close(client, accepted, listener)


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no files there")
async def test_a_socket_accepted_beneath_tls_can_hold_what_does_not_leave(
    server_tls: ssl.SSLContext,
) -> None:
    [listener] = await open_listeners("127.0.0.1", 0, server_tls)
    client = await trio.open_tcp_stream("127.0.0.1", find_port(listener))
    accepted = await listener.accept()
    tls_stream = cast("trio.SSLStream[trio.abc.Stream]", accepted)
    assert isinstance(tls_stream.transport_stream, HoldingStream)
    await close(client, tls_stream, listener)


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_peer_under_tls_that_has_vanished_is_noticed_too(
    server_tls: ssl.SSLContext, *, is_ours: bool
) -> None:
    if is_ours:
        [listener] = await open_listeners("127.0.0.1", 0, server_tls)
    else:
        [listener] = await trio.open_ssl_over_tcp_listeners(
            0, server_tls, host="127.0.0.1"
        )
    assert isinstance(listener, trio.SSLListener)
    tls_listener = cast("trio.SSLListener[trio.SocketStream]", listener)
    port = find_port(tls_listener)
    client = await trio.open_tcp_stream("127.0.0.1", port)
    accepted = await tls_listener.accept()
    assert prepare_accepted(accepted) is accepted
    sock = accepted.transport_stream.socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await close(client, accepted, tls_listener)


async def test_tls_in_memory_stays_as_it_is(server_tls: ssl.SSLContext) -> None:
    stream, _ = trio.testing.memory_stream_pair()
    tls_stream = trio.SSLStream(stream, server_tls, server_side=True)
    assert prepare_accepted(tls_stream) is tls_stream


async def test_any_other_accepted_stream_stays_as_it_is() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    assert prepare_accepted(stream) is stream

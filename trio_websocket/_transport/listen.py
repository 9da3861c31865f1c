"""From a host and a port to listeners: TCP, TLS."""

from __future__ import annotations

import ssl
from typing import cast

import trio

from .socket_stream import keep_alive, prepare_socket


async def open_listeners(
    host: str | bytes | None, port: int, ssl_context: ssl.SSLContext | None
) -> list[trio.abc.Listener[trio.abc.Stream]]:
    """Listen on every address of a host.

    Args:
        host: A name or an address; None means every interface.
        port: The port; 0 lets the system choose one for each address.
        ssl_context: The context of the server, or None for no TLS.

    Raises:
        OSError: If an address cannot be bound.

    """
    if ssl_context is None:
        return [*await trio.open_tcp_listeners(port, host=host)]
    listeners = await trio.open_tcp_listeners(port, host=host)
    return [
        trio.SSLListener(_HoldingListener(each), ssl_context, https_compatible=True)
        for each in listeners
    ]


class _HoldingListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener for TLS: prepares a socket before TLS is put on it.

    Attributes:
        socket: Trio's socket, which the listener owns.

    """

    def __init__(self, listener: trio.SocketListener) -> None:
        self._listener = listener
        self.socket: trio.socket.SocketType = listener.socket

    async def accept(self) -> trio.abc.Stream:
        """Accept one connection."""
        return prepare_socket(await self._listener.accept(), is_under_tls=True)

    async def aclose(self) -> None:
        """Close the socket."""
        await self._listener.aclose()


def prepare_accepted(stream: trio.abc.Stream) -> trio.abc.Stream:
    """Set up a stream that a listener gave us, whatever it is."""
    if isinstance(stream, trio.SocketStream):
        return prepare_socket(stream)
    if not isinstance(stream, trio.SSLStream):
        return stream
    tls_stream = cast("trio.SSLStream[trio.abc.Stream]", stream)
    if isinstance(tls_stream.transport_stream, trio.SocketStream):
        keep_alive(tls_stream.transport_stream.socket)
    return tls_stream

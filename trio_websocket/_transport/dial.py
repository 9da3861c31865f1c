"""From a host and a port to a stream: DNS, TCP, TLS."""

from __future__ import annotations

import ssl

import trio

from .._errors import ConnectionFailed
from .._nursery import find_first
from .._stream import drop, failing_to_open
from .socket_stream import prepare_socket
from .tls import wrap_client


async def dial(
    host: str, port: int, ssl_context: ssl.SSLContext | None
) -> trio.abc.Stream:
    """Connect, and shake hands in TLS if there is a context.

    Raises:
        ConnectionFailed: If any of it fails; its cause is the exception.

    Cancellation:
        Leaves no socket open.

    """
    target = build_target(host, port)
    try:
        stream = prepare_socket(
            await _connect(host, port), is_under_tls=ssl_context is not None
        )
    except OSError as error:
        raise ConnectionFailed(target, find_first(error)) from error
    if ssl_context is None:
        return stream
    return await start_tls(stream, ssl_context, host, target=target)


async def _connect(host: str, port: int) -> trio.SocketStream:
    """Connect to the first address of a host that answers."""
    family = _find_family(host)
    if family is None:
        return await trio.open_tcp_stream(host, port)
    # Where there is but one address, a race takes a sixth of an opening.
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    is_connected = False
    try:
        await sock.connect((host, port))
        is_connected = True
        return trio.SocketStream(sock)
    finally:
        if not is_connected:
            sock.close()


def _find_family(host: str) -> int | None:
    """Find the family of an IP address; None for a name, or an address in a scope."""
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    try:
        trio.socket.inet_pton(family, host)
    except (OSError, ValueError):
        return None
    return family


async def start_tls(
    stream: trio.abc.Stream, context: ssl.SSLContext, host: str, *, target: str
) -> trio.SSLStream[trio.abc.Stream]:
    """Shake hands in TLS over a stream, which is closed if that fails."""
    is_done = False
    try:
        with failing_to_open(target):
            tls_stream = wrap_client(stream, context, host)
            await tls_stream.do_handshake()
        is_done = True
        return tls_stream
    finally:
        if not is_done:
            await drop(stream)  # noqa: ASYNC102  # shields itself, waits for nothing


def build_target(host: str, port: int) -> str:
    """Write down what is dialled, for people to read."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

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
            await trio.open_tcp_stream(host, port), is_under_tls=ssl_context is not None
        )
    except OSError as error:
        raise ConnectionFailed(target, find_first(error)) from error
    if ssl_context is None:
        return stream
    return await start_tls(stream, ssl_context, host, target=target)


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

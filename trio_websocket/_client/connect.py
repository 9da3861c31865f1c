"""The client's entry points: from a URL, a host or a stream to an open connection.

Theory of operation
===================

Each opens first (see ``opening``). Only when that has succeeded is there a connection,
and a task of its own: in the nursery that the caller gave, or in one that
``open_websocket`` hides (see ``_nursery``).

A block of ``open_websocket`` that is left in any way closes with 1000 and waits for the
closing handshake, which has its own deadline; one that is left by cancellation says
1001 if that can be written at once, and waits for nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Unpack

import trio

from .._connection.arguments import CommonArgs, check_names
from .._connection.closing import STREAM_END_TIMEOUT
from .._connection.connection import WebSocketConnection, make_connection
from .._connection.link import Farewell, start_link
from .._errors import DisconnectionTimeout
from .._nursery import find_leaves, open_bare_nursery
from .._options import (
    CONN_TIMEOUT,
    MAX_MESSAGE_SIZE,
    MESSAGE_QUEUE_SIZE,
    RECEIVE_BYTES,
    ConnectionOptions,
)
from .._protocol.headers import HeadersLike
from .._protocol.url import encode_authority, encode_resource, parse_url
from .opening import (
    check_target,
    check_texts,
    open_in_time,
    open_target,
    prepare,
    shake_hands,
)

_NORMAL_CLOSURE = 1000
_GOING_AWAY = 1001
_AT_ONCE = Farewell(grace=0)


class ConnectArgs(CommonArgs, total=False):
    """What ``connect_websocket`` and ``wrap_client_stream`` take beside the rest."""

    disconnect_timeout: float


@asynccontextmanager
async def open_websocket(
    host: str,
    port: int,
    resource: str,
    *,
    use_ssl: bool | ssl.SSLContext,
    subprotocols: Iterable[str] | None = None,
    extra_headers: HeadersLike | None = None,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    connect_timeout: float = CONN_TIMEOUT,
    disconnect_timeout: float = CONN_TIMEOUT,
    **more: Unpack[CommonArgs],
) -> AsyncGenerator[WebSocketConnection]:
    """Open a connection for the length of a block.

    In the block the connection is open; when it is left, the closing handshake has been
    made and the stream is dropped. An exception leaves the block as it is, never in a
    group of ours. A block that is left by cancellation does not wait for the handshake.

    Implements RFC 6455 section 4.1.

    Args:
        host: A host name, also an international one, or an IP address.
        port: The TCP port.
        resource: Path and query, such as ``/chat?room=1``. What is not ASCII is
            percent-encoded.
        use_ssl: True for TLS with the certificates of the system, a context for TLS
            with that, False for none.
        subprotocols: Names to offer, the best first.
        extra_headers: A mapping or pairs of str or bytes, sent behind our own headers.
            A ``Host`` replaces ours.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        receive_buffer_size: The most bytes that are read at once; None leaves the
            choice to the stream.
        connect_timeout: Seconds for the whole opening: DNS, TCP, TLS and the upgrade.
        disconnect_timeout: Seconds for the whole closing.
        more: ``compression``: ``"deflate"`` or a :class:`PerMessageDeflate` to offer
            that messages are compressed; None, the default, offers nothing.
            ``extensions``: classes, or functions without arguments, that make the
            extensions to offer, the best first; see :mod:`trio_websocket.extensions`.
            ``auto_pong``: whether pings of the peer are answered; True if not given.
            ``on_ping``: a function that is called with the connection and the payload
            of each ping. It is not awaited and must not wait: hand on what takes
            longer. What it raises ends the connection with 1011, and is the cause of
            the :exc:`ConnectionClosed`.
            ``json_dumps`` and ``json_loads``: functions for
            :meth:`~WebSocketConnection.send_json` and
            :meth:`~WebSocketConnection.get_json` instead of those of :mod:`json`.

    Yields:
        The open connection.

    Raises:
        ConnectionFailed: If DNS, TCP or TLS fails, or the peer hangs up. Also an
            ``OSError``; the cause is the exception.
        ConnectionRejected: If the server answers with another status than 101.
        InvalidHandshake: If the answer breaks the rules.
        ConnectionTimeout: If the opening takes longer than ``connect_timeout``.
        DisconnectionTimeout: If the block ended without an exception and the peer sent
            no Close within ``disconnect_timeout``.
        TypeError: If a value has the wrong type; nothing was sent.
        ValueError: If a value cannot be used; nothing was sent.

    """
    check_names(more, CommonArgs)
    options = ConnectionOptions(
        message_queue_size=message_queue_size,
        max_message_size=max_message_size,
        receive_buffer_size=receive_buffer_size,
        connect_timeout=connect_timeout,
        disconnect_timeout=disconnect_timeout,
        **more,
    )
    target = check_target(host, port, resource, use_ssl)
    handshake = prepare(
        target.host_header, resource, subprotocols, extra_headers, options=options
    )
    stream, opened = await open_in_time(target, handshake, options)
    connection, link = make_connection(
        stream, opened, path=target.resource, options=options, farewell=_AT_ONCE
    )

    def close(error: BaseException | None) -> None:
        code = _GOING_AWAY if _is_cancellation(error) else _NORMAL_CLOSURE
        link.closing.close(code, None)
        if error is not None and not isinstance(error, Exception):
            link.closing.limit(STREAM_END_TIMEOUT)  # Ctrl-C must not feel broken

    async with open_bare_nursery(close) as nursery:
        nursery.start_soon(link.run)
        yield connection
    if link.closing.is_timed_out:
        raise DisconnectionTimeout(disconnect_timeout)


def open_websocket_url(
    url: object,
    ssl_context: ssl.SSLContext | None = None,
    *,
    subprotocols: Iterable[str] | None = None,
    extra_headers: HeadersLike | None = None,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    connect_timeout: float = CONN_TIMEOUT,
    disconnect_timeout: float = CONN_TIMEOUT,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    **more: Unpack[CommonArgs],
) -> AbstractAsyncContextManager[WebSocketConnection]:
    """Open a connection to a URL for the length of a block; see :func:`open_websocket`.

    Implements RFC 6455 section 3.

    Args:
        url: A ``ws:`` or ``wss:`` URL, as a str or anything whose ``str()`` is one.
            User name, password and fragment are ignored; international names and
            characters are encoded.
        ssl_context: The context for ``wss:``; None makes one that trusts the
            certificates of the system.
        subprotocols: Names to offer, the best first.
        extra_headers: A mapping or pairs of str or bytes, sent behind our own headers.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        connect_timeout: Seconds for the whole opening.
        disconnect_timeout: Seconds for the whole closing.
        receive_buffer_size: The most bytes that are read at once.
        more: as there.

    Returns:
        An async context manager; nothing is dialled before it is entered.

    Raises:
        InvalidURL: At the call, if it is not the URL of a WebSocket. Also a
            ``ValueError``.
        ValueError: At the call, if there is a context for a ``ws:`` URL.

    """
    host, port, resource, use_ssl = split_url(url, ssl_context)
    return open_websocket(
        host,
        port,
        resource,
        use_ssl=use_ssl,
        subprotocols=subprotocols,
        extra_headers=extra_headers,
        message_queue_size=message_queue_size,
        max_message_size=max_message_size,
        receive_buffer_size=receive_buffer_size,
        connect_timeout=connect_timeout,
        disconnect_timeout=disconnect_timeout,
        **more,
    )


async def connect_websocket(
    nursery: trio.Nursery,
    host: str,
    port: int,
    resource: str,
    *,
    use_ssl: bool | ssl.SSLContext,
    subprotocols: Iterable[str] | None = None,
    extra_headers: HeadersLike | None = None,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    **more: Unpack[ConnectArgs],
) -> WebSocketConnection:
    """Open a connection that lives in a nursery of yours; see :func:`open_websocket`.

    The connection is one task in the nursery. It ends with the connection, so the
    nursery waits for it: call :meth:`WebSocketConnection.aclose`. A nursery that is
    cancelled drops the connection at once.

    Args:
        nursery: Where the connection's task runs.
        host: A host name or an IP address.
        port: The TCP port.
        resource: Path and query.
        use_ssl: True, False, or a context.
        subprotocols: Names to offer, the best first.
        extra_headers: A mapping or pairs of str or bytes.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        receive_buffer_size: The most bytes that are read at once.
        more: ``disconnect_timeout``: seconds for the whole closing; and as in
            :func:`open_websocket`.

    Raises:
        HandshakeError: As in :func:`open_websocket`, here at the ``await``. There is no
            deadline; use a cancel scope.
        TypeError: If a value has the wrong type; nothing was sent.
        ValueError: If a value cannot be used; nothing was sent.

    Cancellation:
        No stream is left open and no task is left in the nursery.

    """
    check_names(more, ConnectArgs)
    options = ConnectionOptions(
        message_queue_size=message_queue_size,
        max_message_size=max_message_size,
        receive_buffer_size=receive_buffer_size,
        **more,
    )
    target = check_target(host, port, resource, use_ssl)
    handshake = prepare(
        target.host_header, resource, subprotocols, extra_headers, options=options
    )
    stream, opened = await open_target(target, handshake, options)
    connection, link = make_connection(
        stream, opened, path=target.resource, options=options
    )
    await start_link(nursery, link)
    return connection


async def connect_websocket_url(
    nursery: trio.Nursery,
    url: object,
    ssl_context: ssl.SSLContext | None = None,
    *,
    subprotocols: Iterable[str] | None = None,
    extra_headers: HeadersLike | None = None,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    **more: Unpack[ConnectArgs],
) -> WebSocketConnection:
    """Open a connection to a URL in a nursery of yours; see :func:`connect_websocket`.

    Args:
        nursery: Where the connection's task runs.
        url: A ``ws:`` or ``wss:`` URL; see :func:`open_websocket_url`.
        ssl_context: The context for ``wss:``.
        subprotocols: Names to offer, the best first.
        extra_headers: A mapping or pairs of str or bytes.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        receive_buffer_size: The most bytes that are read at once.
        more: ``disconnect_timeout``: seconds for the whole closing; and as in
            :func:`open_websocket`.

    Raises:
        InvalidURL: If it is not the URL of a WebSocket. Also a ``ValueError``.
        HandshakeError: As in :func:`connect_websocket`.

    Cancellation:
        No stream is left open and no task is left in the nursery.

    """
    host, port, resource, use_ssl = split_url(url, ssl_context)
    return await connect_websocket(
        nursery,
        host,
        port,
        resource,
        use_ssl=use_ssl,
        subprotocols=subprotocols,
        extra_headers=extra_headers,
        message_queue_size=message_queue_size,
        max_message_size=max_message_size,
        receive_buffer_size=receive_buffer_size,
        **more,
    )


async def wrap_client_stream(
    nursery: trio.Nursery,
    stream: trio.abc.Stream,
    host: str,
    resource: str,
    *,
    subprotocols: Iterable[str] | None = None,
    extra_headers: HeadersLike | None = None,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    **more: Unpack[ConnectArgs],
) -> WebSocketConnection:
    """Open a connection over a stream that you have, as its client.

    The stream belongs to the connection from then on, also when the opening fails.

    Args:
        nursery: Where the connection's task runs.
        stream: Any stream; only ``send_all``, ``receive_some`` and ``aclose`` are used.
        host: The value of the ``Host`` header: a host, and a port if there is to be
            one.
        resource: Path and query.
        subprotocols: Names to offer, the best first.
        extra_headers: A mapping or pairs of str or bytes.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        receive_buffer_size: The most bytes that are read at once.
        more: ``disconnect_timeout``: seconds for the whole closing; and as in
            :func:`open_websocket`.

    Raises:
        HandshakeError: As in :func:`connect_websocket`.

    Cancellation:
        The stream is closed and no task is left in the nursery.

    """
    check_names(more, ConnectArgs)
    options = ConnectionOptions(
        message_queue_size=message_queue_size,
        max_message_size=max_message_size,
        receive_buffer_size=receive_buffer_size,
        **more,
    )
    check_texts(host=host, resource=resource)
    authority = encode_authority(host)
    handshake = prepare(
        authority, resource, subprotocols, extra_headers, options=options
    )
    opened = await shake_hands(stream, handshake, authority, options)
    path = encode_resource(resource)
    connection, link = make_connection(stream, opened, path=path, options=options)
    await start_link(nursery, link)
    return connection


def split_url(
    url: object,
    ssl_context: ssl.SSLContext | bool | None,  # noqa: FBT001  # as old programs call it
) -> tuple[str, int, str, bool | ssl.SSLContext]:
    """Split a URL into what ``open_websocket`` takes: host, port, resource, use_ssl.

    Programs written for trio-websocket 0.12.2 may give a bool as the context of a
    ``wss:`` URL; False means no TLS, and then the default port is that of ``ws:``.

    Raises:
        InvalidURL: If it is not the URL of a WebSocket.
        ValueError: If there is a context for a ``ws:`` URL.

    """
    parsed = parse_url(url)
    if ssl_context is None:
        return parsed.host, parsed.port, parsed.resource, parsed.is_secure
    if not parsed.is_secure:
        msg = "SSL context must be None for ws: URL scheme"
        raise ValueError(msg)
    if ssl_context is False:
        parsed = parse_url(f"ws:{str(url).partition(':')[2]}")
    return parsed.host, parsed.port, parsed.resource, ssl_context


def _is_cancellation(error: BaseException | None) -> bool:
    if error is None:
        return False
    return all(isinstance(leaf, trio.Cancelled) for leaf in find_leaves(error))

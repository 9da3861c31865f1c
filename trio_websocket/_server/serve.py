"""The server's entry points: for a host and a port, and for one stream."""

from __future__ import annotations

import ssl
from typing import NoReturn, Unpack

import trio

from .._connection.arguments import CommonArgs, check_names
from .._errors import InvalidHandshake
from .._options import (
    CONN_TIMEOUT,
    MAX_MESSAGE_SIZE,
    MESSAGE_QUEUE_SIZE,
    RECEIVE_BYTES,
    ConnectionOptions,
)
from .._protocol.server_handshake import Refusal, ServerHandshake
from .._stream import drop
from .._transport.listen import open_listeners
from .exchange import Exchange, receive_request, say_and_end
from .request import WebSocketRequest
from .server import ServerArgs, WebSocketServer
from .session import Handler


class WrapArgs(CommonArgs, total=False):
    """What ``wrap_server_stream`` takes beside the rest."""

    disconnect_timeout: float


async def serve_websocket(  # noqa: ASYNC114, ASYNC128  # run() tells task_status
    handler: Handler,
    host: str | bytes | None,
    port: int,
    ssl_context: ssl.SSLContext | None,
    *,
    handler_nursery: trio.Nursery | None = None,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    connect_timeout: float = CONN_TIMEOUT,
    disconnect_timeout: float = CONN_TIMEOUT,
    task_status: trio.TaskStatus[WebSocketServer] = trio.TASK_STATUS_IGNORED,
    **more: Unpack[ServerArgs],
) -> NoReturn:
    """Serve WebSockets on a host and a port until cancelled.

    Use ``await nursery.start(serve_websocket, handler, host, port, None)`` to go on
    once it listens; that gives the :class:`WebSocketServer`.

    Args:
        handler: An async function that gets a :class:`WebSocketRequest` for each
            client.
        host: A name or an address; None means every interface.
        port: The TCP port; 0 lets the system choose one.
        ssl_context: The context for ``wss:``, or None for ``ws:``.
        handler_nursery: Where the tasks of the clients run. None keeps them in the
            server, so that they end with it.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        receive_buffer_size: The most bytes that are read at once.
        connect_timeout: Seconds from the accepted stream to the whole request.
        disconnect_timeout: Seconds for the closing handshake.
        task_status: Told the server, once it listens.
        more: As in :class:`WebSocketServer`.

    Raises:
        OSError: If an address cannot be bound.
        ValueError: If a value is out of range.
        TypeError: If a value has the wrong type.

    Cancellation:
        Closes the listeners, says 1001 to every client and waits for their answers,
        ``shutdown_timeout`` at most.

    """
    listeners = await open_listeners(host, port, ssl_context)
    try:
        server = WebSocketServer(
            handler,
            listeners,
            handler_nursery=handler_nursery,
            message_queue_size=message_queue_size,
            max_message_size=max_message_size,
            receive_buffer_size=receive_buffer_size,
            connect_timeout=connect_timeout,
            disconnect_timeout=disconnect_timeout,
            **more,
        )
    except (TypeError, ValueError):
        for listener in listeners:
            await drop(listener)  # noqa: ASYNC120  # it has a shield
        raise
    await server.run(task_status=task_status)


async def wrap_server_stream(  # noqa: PLR0917  # as trio-websocket had it
    nursery: trio.Nursery,
    stream: trio.abc.Stream,
    message_queue_size: float = MESSAGE_QUEUE_SIZE,
    max_message_size: float = MAX_MESSAGE_SIZE,
    receive_buffer_size: int | None = RECEIVE_BYTES,
    **more: Unpack[WrapArgs],
) -> WebSocketRequest:
    """Wait for a request on a stream that you have, as its server.

    The stream belongs to the request from then on, also when there is no good one.

    Args:
        nursery: Where the connection's task will run.
        stream: Any stream; only ``send_all``, ``receive_some`` and ``aclose`` are used,
            and ``send_eof`` where there is one.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        receive_buffer_size: The most bytes that are read at once.
        more: ``disconnect_timeout``: seconds for the whole closing; and what
            :class:`WebSocketServer` says of connections: ``compression``,
            ``extensions``, ``auto_pong``, ``on_ping``, ``json_dumps``, ``json_loads``.

    Returns:
        The request, to be accepted or rejected.

    Raises:
        InvalidHandshake: If the request is not a good one. The client was told, with
            the status that fits.
        ConnectionFailed: If the client leaves before its request is whole.

    Cancellation:
        The stream is closed.

    """
    check_names(more, WrapArgs)
    options = ConnectionOptions(
        message_queue_size=message_queue_size,
        max_message_size=max_message_size,
        receive_buffer_size=receive_buffer_size,
        **more,
    )
    handshake = ServerHandshake()
    is_good = False
    try:
        request = await receive_request(stream, handshake, options)
        if isinstance(request, Refusal):
            await say_and_end(stream, request.answer, options.disconnect_timeout)
            raise InvalidHandshake(request.problem)
        is_good = True
    finally:
        if not is_good:
            await drop(stream)  # noqa: ASYNC102  # it has a shield
    exchange = Exchange(stream, handshake, request, nursery=nursery, options=options)
    return WebSocketRequest(exchange, request)

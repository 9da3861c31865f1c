"""A server: listeners, and a task for each client."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import NoReturn, Unpack

import trio

from .._connection.arguments import CommonArgs
from .._connection.link import Farewell
from .._endpoint import Endpoint, find_listener_endpoint
from .._options import (
    CONN_TIMEOUT,
    MAX_MESSAGE_SIZE,
    MESSAGE_QUEUE_SIZE,
    RECEIVE_BYTES,
    ConnectionOptions,
    check_timeout,
)
from .session import Handler, OnHandlerError, Session

logger = logging.getLogger("trio-websocket")

SHUTDOWN_TIMEOUT = 1.0  # seconds: Ctrl-C must not feel broken


class ServerArgs(CommonArgs, total=False):
    """What servers take beside the rest."""

    on_handler_error: OnHandlerError
    shutdown_timeout: float


class WebSocketServer:
    """A WebSocket server over any listeners.

    :func:`serve_websocket` makes one for a host and a port. Construct it yourself for
    listeners of your own: Unix sockets, sockets that were passed on, listeners that
    make streams of another kind.

    Args:
        handler: An async function that gets a :class:`WebSocketRequest` for each client
            and accepts or rejects it. The connection lives as long as the call.
        listeners: The listeners, at least one; the server owns them once it runs.
        handler_nursery: Where the tasks of the clients run. None keeps them in the
            server, so that they end with it.
        message_queue_size: How many received messages may wait unread.
        max_message_size: The most bytes of a message that is received.
        receive_buffer_size: The most bytes that are read at once; None leaves the
            choice to the stream.
        connect_timeout: Seconds from the accepted stream to the whole request, TLS
            included.
        disconnect_timeout: Seconds for the closing handshake.
        more: ``on_handler_error``: what becomes of an exception that leaves a handler.
            ``"log"``, the default, writes it to the log with its traceback; ``"raise"``
            lets it end the server (that of a handler which was cancelled is logged all
            the same); a function is called with the exception and the
            connection (or the request, if that was not accepted), and awaited if it is
            async; what it raises itself ends the server. In each case the client is
            told: 500, or Close 1011. A :exc:`ConnectionClosed` of the handler's own
            connection is no error.
            ``shutdown_timeout``: seconds that a cancelled server takes at most to say
            1001 to its clients and hear their answer, all at the same time; 1 if not
            given.
            ``compression``: ``"deflate"`` or a :class:`PerMessageDeflate` to compress
            messages for clients that offer it; None, the default, does not.
            ``extensions``: classes, or functions without arguments, that make the
            extensions to accept; see :mod:`trio_websocket.extensions`.
            ``auto_pong``: whether pings of the peer are answered; True if not given.
            ``on_ping``: a function that is called with the connection and the payload
            of each ping. It is not awaited and must not wait: hand on what takes
            longer. What it raises ends the connection with 1011, and is the cause of
            the :exc:`ConnectionClosed`.
            ``json_dumps`` and ``json_loads``: functions for
            :meth:`~WebSocketConnection.send_json` and
            :meth:`~WebSocketConnection.get_json` instead of those of :mod:`json`.

    Raises:
        ValueError: If there is no listener, or a value is out of range.
        TypeError: If a value has the wrong type.

    """

    def __init__(
        self,
        handler: Handler,
        listeners: Collection[trio.abc.Listener[trio.abc.Stream]],
        *,
        handler_nursery: trio.Nursery | None = None,
        message_queue_size: float = MESSAGE_QUEUE_SIZE,
        max_message_size: float = MAX_MESSAGE_SIZE,
        receive_buffer_size: int | None = RECEIVE_BYTES,
        connect_timeout: float = CONN_TIMEOUT,
        disconnect_timeout: float = CONN_TIMEOUT,
        **more: Unpack[ServerArgs],
    ) -> None:
        if len(listeners) == 0:
            msg = "a server needs at least one listener"
            raise ValueError(msg)
        options = ConnectionOptions(
            message_queue_size=message_queue_size,
            max_message_size=max_message_size,
            receive_buffer_size=receive_buffer_size,
            connect_timeout=connect_timeout,
            disconnect_timeout=disconnect_timeout,
        )
        self._listeners = listeners
        self._handler_nursery = handler_nursery
        self._session = _make_session(handler, options, **more)

    @property
    def port(self) -> int:
        """The port of the only listener.

        Raises:
            RuntimeError: If there are several listeners, or it has no port.

        """
        if len(self._listeners) > 1:
            msg = "a server with several listeners has no one port; see its listeners"
            raise RuntimeError(msg)
        (endpoint,) = self.listeners
        if isinstance(endpoint, Endpoint):
            return endpoint.port
        msg = f"the listener has no port: {endpoint}"
        raise RuntimeError(msg)

    @property
    def listeners(self) -> list[Endpoint | str]:
        """Where the server listens.

        An :class:`Endpoint` for TCP and TLS, ``unix:PATH`` for a Unix socket, and the
        ``repr`` of any other listener.
        """
        return [find_listener_endpoint(listener) for listener in self._listeners]

    async def run(  # noqa: ASYNC114  # no context manager of ours starts it
        self,
        *,
        task_status: trio.TaskStatus[WebSocketServer] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Serve until cancelled.

        Args:
            task_status: Told the server, once it listens.

        Cancellation:
            Closes the listeners, says 1001 to every client and waits for their answers,
            ``shutdown_timeout`` at most. Clients in a ``handler_nursery`` go on.

        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._serve)
            logger.debug("listening on %s", self.listeners)
            task_status.started(self)
            await trio.sleep_forever()

    async def _serve(  # noqa: ASYNC114, ASYNC128  # Trio tells task_status
        self, task_status: trio.TaskStatus[object]
    ) -> None:
        await trio.serve_listeners(
            self._session.run,
            [*self._listeners],
            handler_nursery=self._handler_nursery,
            task_status=task_status,
        )


def _make_session(
    handler: Handler,
    options: ConnectionOptions,
    *,
    on_handler_error: OnHandlerError = "log",
    shutdown_timeout: float = SHUTDOWN_TIMEOUT,
    **more: Unpack[CommonArgs],
) -> Session:
    if on_handler_error not in ("log", "raise") and not callable(on_handler_error):
        problem = "must be 'log', 'raise' or a function"
        raise ValueError(f"on_handler_error {problem}, not {on_handler_error!r}")
    check_timeout("shutdown_timeout", shutdown_timeout)
    options = replace(options, **more)
    return Session(handler, options, on_handler_error, Farewell(shutdown_timeout))

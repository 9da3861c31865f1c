"""The opening of one connection on a server, and what came of it.

Theory of operation
===================

Between the request and the answer nothing is read, so a client that talks before it was
accepted is slowed down and not lost: what came with the request waits for the
connection.

A request is answered once. ``accept`` makes the connection and lets the answer be the
first thing in its outbox, so the answer and the first message cannot be torn apart by a
cancellation. ``reject`` hands the answer to a task of its own, which then reads and
throws away until the client has closed, for a second at most: a socket that is closed
with unread bytes sends a reset, and the client may never read what we said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import EllipsisType

import trio

from .._connection.connection import WebSocketConnection, make_connection
from .._connection.link import Farewell, Link, start_link
from .._endpoint import Ends
from .._errors import ConnectionFailed
from .._options import RECEIVE_BYTES, Compression, ConnectionOptions, find_deflate
from .._protocol.extension import make_extensions
from .._protocol.headers import Headers
from .._protocol.server_handshake import Refusal, ServerHandshake
from .._protocol.upgrade_request import UpgradeRequest
from .._stream import STREAM_ERRORS, drop, end_sending, failing_to_open
from .._transport.socket_stream import SocketStream

# What ``receive`` and ``send`` raise because of a ConnectionClosed.
_IN_TRIOS_WORDS = (
    trio.EndOfChannel,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)

_LINGER_TIMEOUT = 1.0  # seconds: a client that is alive closes as soon as it has read


class Exchange:
    """One stream with a good request on it, and the answer.

    Attributes:
        stream: The stream of the client.
        ends: Where the stream begins and ends.
        connection: The connection, once the request was accepted.

    """

    __slots__ = (
        "_farewell",
        "_handshake",
        "_link",
        "_nursery",
        "_options",
        "_run_link",
        "_target",
        "connection",
        "ends",
        "stream",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        handshake: ServerHandshake,
        request: UpgradeRequest,
        *,
        nursery: trio.Nursery,
        options: ConnectionOptions,
        farewell: Farewell | None = None,
        run_link: Callable[[Link], Awaitable[object]] = Link.run,
    ) -> None:
        self.stream: trio.abc.Stream = stream
        self.ends: Ends = Ends(stream)
        self.connection: WebSocketConnection | None = None
        self._target = request.target
        self._handshake: ServerHandshake | None = handshake
        self._nursery = nursery
        self._options = options
        self._farewell = farewell
        self._run_link = run_link
        self._link: Link | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the request was accepted or rejected."""
        return self._handshake is None

    async def accept(
        self,
        subprotocol: str | None,
        headers: Headers,
        compression: Compression | EllipsisType = ...,
    ) -> WebSocketConnection:
        """Accept the request; see :meth:`WebSocketRequest.accept`."""
        handshake = self._find_handshake()
        if isinstance(compression, EllipsisType):
            compression = self._options.compression
        answer = handshake.accept(
            subprotocol=subprotocol,
            headers=headers,
            deflate=find_deflate(compression),
            extensions=make_extensions(self._options.extensions),
        )
        self._handshake = None
        assert handshake.opened is not None
        self.connection, link = make_connection(
            self.stream,
            handshake.opened,
            path=self._target,
            options=self._options,
            farewell=self._farewell,
            ends=self.ends,
        )
        self._link = link
        link.outbox.post(answer)
        await start_link(self._nursery, link, self._run_link)
        is_sent = False
        try:
            await link.flush()
            is_sent = True
        finally:
            if not is_sent:
                link.closing.abort()
        return self.connection

    async def reject(self, status_code: int, headers: Headers, body: bytes) -> None:
        """Reject the request; see :meth:`WebSocketRequest.reject`."""
        handshake = self._find_handshake()
        answer = handshake.reject(status_code, headers=headers, body=body)
        self._handshake = None
        is_said = False
        try:
            await self._nursery.start(
                say_and_end, self.stream, answer, self._options.disconnect_timeout
            )
            is_said = True
        finally:
            if not is_said:
                await drop(self.stream)  # noqa: ASYNC102  # it has a shield

    def close(self, code: int) -> None:
        """Begin to close the connection, if there is one."""
        if self._link is not None:
            self._link.closing.close(code, None)

    def is_own_end(self, error: BaseException) -> bool:
        """Whether an exception says that the connection here is closed."""
        if isinstance(error, _IN_TRIOS_WORDS) and error.__cause__ is not None:
            error = error.__cause__
        return self._link is not None and self._link.closing.has_raised(error)

    def _find_handshake(self) -> ServerHandshake:
        if self._handshake is None:
            raise ValueError("the request was answered already")
        return self._handshake


def receive_request_now(
    stream: trio.abc.Stream, handshake: ServerHandshake, options: ConnectionOptions
) -> UpgradeRequest | Refusal | None:
    """Read what is here already, which often is a whole request, good or bad.

    Returns:
        The request; None if it is not whole, or the stream cannot be read without
        waiting, or fails. ``receive_request`` then does the rest.

    """
    if not isinstance(stream, SocketStream):
        return None
    try:
        data = stream.read_now(options.receive_buffer_size or RECEIVE_BYTES)
    except STREAM_ERRORS:
        return None
    return handshake.receive_data(data) if data else None


async def receive_request(
    stream: trio.abc.Stream, handshake: ServerHandshake, options: ConnectionOptions
) -> UpgradeRequest | Refusal:
    """Read from a stream until there is a request, good or bad.

    Raises:
        ConnectionFailed: If the client leaves before.

    """
    while True:
        with failing_to_open("the client"):
            data = await stream.receive_some(options.receive_buffer_size)
        if not data:
            raise ConnectionFailed("the client")
        request = handshake.receive_data(data)
        if request is not None:
            return request


@trio.lowlevel.enable_ki_protection
async def say_and_end(  # noqa: ASYNC114  # no context manager of ours starts it
    stream: trio.abc.Stream,
    answer: bytes,
    seconds: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Send the last thing that is said on a stream, and close it once it was heard.

    Args:
        stream: The stream, which is closed whatever happens.
        answer: What to send.
        seconds: The time limit for all of it.
        task_status: Told when the answer was handed over, or never can be.

    """
    try:
        with trio.move_on_after(seconds):
            try:
                await stream.send_all(answer)
            finally:
                task_status.started()
            with trio.move_on_after(_LINGER_TIMEOUT):
                await end_sending(stream)
                while await stream.receive_some(None):
                    pass
    except STREAM_ERRORS:
        pass  # the client has gone; nobody is left to tell
    finally:
        await drop(stream)  # noqa: ASYNC102  # it has a shield

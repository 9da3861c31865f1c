"""One open WebSocket over any Trio stream: the object that programs talk to."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import trio

from .._close_reason import CloseReason
from .._endpoint import Endpoint, find_endpoints
from .._errors import ConnectionClosed
from .._options import ConnectionOptions
from .._protocol.opened import Opened
from .._protocol.pings import check_payload
from .._protocol.state import MAY_SEND_MESSAGES, ConnectionState
from .inbox import InboxClosed
from .link import Farewell, Link
from .outbox import OutboxBroken
from .turns import find_turns

_NORMAL_CLOSURE = 1000
_GOING_AWAY = 1001
_POLICY_VIOLATION = 1008
_MAX_BYTES_PER_CHARACTER = 4  # of UTF-8
_ORDERLY_CODES = (_NORMAL_CLOSURE, _GOING_AWAY)


class WebSocketConnection(trio.abc.Channel[str | bytes]):
    """One open WebSocket, client or server.

    Connections come from :func:`open_websocket_url` and its relatives, and on a server
    from :meth:`WebSocketRequest.accept`; programs do not construct them.

    The connection is a :class:`trio.abc.Channel` of messages: ``str`` is a text
    message, ``bytes`` a binary one. ``async for`` gives one message after the other; it
    ends when the peer closes with 1000 or 1001 or we close, and raises
    :exc:`ConnectionClosed` otherwise.

    Every method may be called by many tasks at the same time. Calls that wait for
    nothing may return without a turn of the scheduler: cancellation is looked at by at
    least every 16th such call, and other tasks run after 256 such calls or 256 KiB.
    :meth:`receive`, :meth:`send` and :meth:`aclose` are always checkpoints.

    Attributes of your own may be set on a connection.

    """

    CONNECTION_ID: Iterator[int] = itertools.count()

    def __init__(self, link: Link, opened: Opened, *, path: str) -> None:
        self._link = link
        self._engine = link.engine
        self._closing = link.closing
        self._path = path
        self._subprotocol = opened.subprotocol
        self._handshake_headers = opened.headers
        self._local, self._remote = find_endpoints(link.stream)
        self._turns = find_turns()

    def __str__(self) -> str:
        return self._link.name

    # What it is.

    @property
    def is_client(self) -> bool:
        """Whether this end asked for the connection."""
        return self._engine.is_client

    @property
    def is_server(self) -> bool:
        """Whether this end accepted the connection."""
        return not self._engine.is_client

    @property
    def local(self) -> Endpoint | str:
        """This end of the stream, as it was at the opening.

        An :class:`Endpoint` for TCP and TLS, ``unix:PATH`` for a Unix socket, and the
        ``repr`` of any other stream.
        """
        return self._local

    @property
    def remote(self) -> Endpoint | str:
        """The other end of the stream, in the form of :attr:`local`."""
        return self._remote

    @property
    def path(self) -> str:
        """The request target: path and query, as they were on the wire."""
        return self._path

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that both ends agreed on, or None (RFC 6455 section 1.9)."""
        return self._subprotocol

    @property
    def handshake_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers of the server's answer, without those of the handshake itself.

        Names are in lower case and in the order of the wire. Empty on a server: there
        :attr:`WebSocketRequest.headers` has those of the request.
        """
        return self._handshake_headers

    # How it is.

    @property
    def state(self) -> ConnectionState:
        """How far the connection is on its way from open to closed.

        It becomes ``CLOSED`` when the stream was dropped, a moment after :attr:`closed`
        is set.
        """
        return self._engine.state

    @property
    def closed(self) -> CloseReason | None:
        """Why the connection is closed or closing, or None while it is open.

        The Close that the peer sent, once it came; else ours as it was given to
        :meth:`aclose`; else 1006, if the stream ended without any.
        """
        return self._closing.reason

    @property
    def close_sent(self) -> CloseReason | None:
        """The Close frame that this end sent, or None.

        One that could not leave before the connection ended was not sent.
        """
        return self._closing.sent

    @property
    def close_received(self) -> CloseReason | None:
        """The Close frame that the peer sent, or None."""
        return self._closing.received

    @property
    def latency(self) -> float | None:
        """The latest round trip of a :meth:`ping` in seconds, or None before one."""
        return self._link.round_trips.latest

    # Messages.

    @trio.lowlevel.enable_ki_protection
    async def get_message(self) -> str | bytes:
        """Take the next message: str if it was text, bytes if it was binary.

        Messages that came before the peer's Close are still delivered after it; once we
        have closed, nothing is.

        Raises:
            ConnectionClosed: If no message will come any more. Its ``__cause__`` is
                what broke the connection, if it was broken.

        Cancellation:
            A cancelled call takes no message.

        Concurrency:
            Each message goes to one task, first come first served.

        """
        await self._turns.begin()
        try:
            message = await self._link.inbox.get()
        except InboxClosed:
            raise self._closing.error() from self._closing.cause
        if self._turns.is_used_up(measure_message(message)):
            await self._link.inbox.let_others_run()
        return message

    @trio.lowlevel.enable_ki_protection
    async def send_message(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message: text for a str, binary for anything bytes-like.

        Returns when the bytes were handed to the stream.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            ValueError: If the message is of another type, or text that cannot be
                encoded as UTF-8. The connection stays as it was.

        Cancellation:
            The message was sent whole or not at all; which of the two cannot be known.
            The connection works.

        Concurrency:
            Messages leave in the order of the calls.

        """
        await self._turns.begin()
        self._check_open()
        frame = self._engine.send_message(check_message(message, ValueError))
        await self._send(frame)
        if self._turns.is_used_up(len(frame)):
            await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> str | bytes:
        """Take the next message, in the manner of :class:`trio.abc.ReceiveChannel`.

        Raises:
            trio.EndOfChannel: If the peer closed with 1000 or 1001.
            trio.ClosedResourceError: If we closed, be it after the peer.
            trio.BrokenResourceError: If the connection ended in any other way; the
                cause is the :exc:`ConnectionClosed`.

        Cancellation:
            A cancelled call takes no message. Always a checkpoint.

        """
        # The two halves of a checkpoint around the call, so that tasks are served in
        # the order of their calls.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            message = await self.get_message()
        except ConnectionClosed as closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            if self._closing.is_ours:
                raise trio.ClosedResourceError from closed
            if self._is_closed_in_order():
                raise trio.EndOfChannel from closed
            raise trio.BrokenResourceError from closed
        await self._link.inbox.let_others_run()
        return message

    @trio.lowlevel.enable_ki_protection
    async def send(self, value: str | bytes) -> None:
        """Send a message, in the manner of :class:`trio.abc.SendChannel`.

        Raises:
            trio.ClosedResourceError: If we closed.
            trio.BrokenResourceError: If the connection ended in any other way; the
                cause is the :exc:`ConnectionClosed`.
            TypeError: If the message is of another type.
            ValueError: If it is text that cannot be encoded as UTF-8.

        Cancellation:
            As in :meth:`send_message`. Always a checkpoint.

        """
        await trio.lowlevel.checkpoint_if_cancelled()  # and the other half behind it
        try:
            await self.send_message(check_message(value, TypeError))
        except ConnectionClosed as closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            if self._closing.is_ours:
                raise trio.ClosedResourceError from closed
            raise trio.BrokenResourceError from closed
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def __anext__(self) -> str | bytes:
        try:
            return await self.get_message()
        except ConnectionClosed:
            if self._closing.is_local or self._is_closed_in_order():
                raise StopAsyncIteration from None
            raise

    # Pings.

    @trio.lowlevel.enable_ki_protection
    async def ping(self, payload: bytes | None = None) -> float:
        """Send a ping and wait for its pong (RFC 6455 section 5.5.2).

        A pong that answers a later ping settles this one too.

        Args:
            payload: At most 125 bytes, not those of another ping in flight; None draws
                four random bytes.

        Returns:
            The round trip in seconds.

        Raises:
            ConnectionClosed: If the connection is closed, or ends before the pong.
            TypeError: If the payload is not bytes.
            ValueError: If the payload is too long, or in flight already.

        Cancellation:
            The ping may have been sent. Its payload may be used again.

        """
        await self._turns.begin()
        self._check_open()
        ping = self._link.round_trips.begin(payload)
        try:
            await self._send(self._engine.send_ping(ping.payload))
            await ping.settled.wait()
        finally:
            self._link.round_trips.forget(ping)
        if ping.round_trip is None:
            raise self._closing.error() from self._closing.cause
        return ping.round_trip

    @trio.lowlevel.enable_ki_protection
    async def pong(self, payload: bytes | None = None) -> None:
        """Send a pong that nobody asked for, a sign of life (RFC 6455 section 5.5.3).

        Pings of the peer are answered without this.

        Args:
            payload: At most 125 bytes; None sends an empty one.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            TypeError: If the payload is not bytes.
            ValueError: If it is too long.

        Cancellation:
            The pong was sent or not; the connection works.

        """
        await self._turns.begin()
        self._check_open()
        content = b"" if payload is None else payload
        check_payload(content)
        await self._send(self._engine.send_pong(content))
        if self._turns.is_used_up(len(content)):
            await trio.lowlevel.cancel_shielded_checkpoint()

    # The end.

    @trio.lowlevel.enable_ki_protection
    async def aclose(
        self, code: int | None = _NORMAL_CLOSURE, reason: str | None = None
    ) -> None:
        """Close the connection: exchange Close frames, then drop the stream.

        Returns when the stream was dropped, which is ``disconnect_timeout`` seconds
        after the call at the latest. From the call on, nothing is delivered any more.
        Once this end has begun to close, further calls return at once; after the peer
        has closed, the call waits for the stream to be dropped.

        Implements RFC 6455 section 7.1.2.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999. None and 1005 send an
                empty Close; 1006 and 1015 are sent as 1000.
            reason: A text for people, cut at 123 bytes of UTF-8.

        Raises:
            TypeError: If an argument has the wrong type, or there is a reason without a
                code.
            ValueError: If the code may not be sent. Nothing was sent then, and the
                connection is open.

        Cancellation:
            The Close frame is sent if that needs no waiting, and the stream is dropped.
            Always a checkpoint.

        """
        if self._closing.is_local:
            await trio.lowlevel.checkpoint()
            return
        self._closing.close(code, reason)
        try:
            await self._closing.ended.wait()
        finally:
            self._closing.drop()  # needed only if this was cancelled

    @trio.lowlevel.enable_ki_protection
    async def abort(self) -> None:
        """Drop the stream without a word; the peer sees 1006.

        What was still to be sent is not sent, and nothing is delivered any more. For
        :meth:`receive`, :meth:`send` and loops it is a close of our own.

        Cancellation:
            The stream is dropped all the same.

        """
        self._closing.abort()
        await self._closing.ended.wait()

    async def wait_closed(self) -> None:
        """Wait until the stream was dropped, whoever closed and why.

        Never raises but for a cancellation, which leaves the connection as it is.
        """
        await self._closing.ended.wait()

    @asynccontextmanager
    async def cancel_on_close(self, *, discard: bool = False) -> AsyncGenerator[None]:
        """Run a block that is cancelled as soon as the connection closes.

        For those who only send, or wait for something else: without a task that takes
        messages, nobody would look behind the first unread one, where the Close is.

        Args:
            discard: What to do with a message that no task waits for: True drops it,
                False ends the connection with 1008.

        """
        scope = trio.CancelScope()
        with self._ignore_messages(discard=discard), scope:
            self._closing.dependents.add(scope)
            if self._closing.reason is not None:
                scope.cancel()
            try:
                yield
            finally:
                self._closing.dependents.remove(scope)

    def _check_open(self) -> None:
        is_open = self._engine.state in MAY_SEND_MESSAGES
        if self._closing.reason is not None or not is_open:
            raise self._closing.error() from self._closing.cause

    async def _send(self, frame: bytes) -> None:
        try:
            await self._link.outbox.send(frame)
        except OutboxBroken:
            pass
        else:
            return
        await self._closing.ended.wait()
        raise self._closing.error() from self._closing.cause

    def _is_closed_in_order(self) -> bool:
        received = self._closing.received
        return received is not None and received.code in _ORDERLY_CODES

    @contextmanager
    def _ignore_messages(self, *, discard: bool) -> Generator[None]:
        def on_message() -> None:
            if not discard:
                problem = "a message came that nobody wanted"
                self._link.reader.refuse(_POLICY_VIOLATION, problem)

        with self._link.inbox.unwanted(on_message):
            yield


def make_connection(
    stream: trio.abc.Stream,
    opened: Opened,
    *,
    path: str,
    options: ConnectionOptions,
    farewell: Farewell | None = None,
) -> tuple[WebSocketConnection, Link]:
    """Make a connection of a stream on which the opening has succeeded.

    Returns:
        The connection, and the link whose ``run`` must be started in a nursery.

    """
    number = next(WebSocketConnection.CONNECTION_ID)
    role = "client" if opened.engine.is_client else "server"
    link = Link(f"{role}-{number}", stream, opened.engine, options, farewell=farewell)
    return WebSocketConnection(link, opened, path=path), link


def measure_message(message: str | bytes) -> int:
    """Tell how many bytes a message has, at most: of text nobody has counted them."""
    is_exact = isinstance(message, bytes) or message.isascii()
    return len(message) if is_exact else _MAX_BYTES_PER_CHARACTER * len(message)


def check_message(message: object, error: type[TypeError | ValueError]) -> str | bytes:
    """Return text as it is and anything bytes-like as bytes; else raise an error."""
    if isinstance(message, str | bytes):
        return message
    if isinstance(message, bytearray):
        return bytes(message)
    if isinstance(message, memoryview):
        return cast("memoryview[int]", message).tobytes()
    kinds = "str, bytes, bytearray or memoryview"
    raise error(f"a message must be {kinds}, not {type(message).__name__}")

"""One open WebSocket over any Trio stream: the object that programs talk to."""

from __future__ import annotations

import itertools
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from typing import Literal, NoReturn, TypeAlias, cast, overload

import trio

from .._close_reason import CloseReason
from .._endpoint import Endpoint, Ends
from .._errors import ConnectionClosed
from .._options import ConnectionOptions
from .._protocol.deflate import DeflateAgreement
from .._protocol.extension import Extension
from .._protocol.opened import Opened
from .._protocol.pings import check_payload
from .._protocol.sliced_frame import SLICE_SIZE
from .._protocol.state import ConnectionState
from .byte_stream import ByteStream
from .inbox import InboxClosed
from .link import Farewell, Link
from .message_reader import Abandon, MessageReader, Reading, check_max_bytes
from .message_writer import Kind, MessageWriter, Parts, check_fragment_size
from .outbox import OutboxBroken
from .sender import BytesLike, WholeMessage, check_message
from .turns import LEAST_SENT_SIZE, find_turns

_NORMAL_CLOSURE = 1000
_UNSUPPORTED_DATA = 1003
_POLICY_VIOLATION = 1008
_MESSAGES_PER_BATCH = 256
_OPEN = ConnectionState.OPEN

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"


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
    least every 16th such call, and other tasks run after 256 such calls (64 if they
    send) or 256 KiB.
    :meth:`receive`, :meth:`send` and :meth:`aclose` are always checkpoints.

    Attributes of your own may be set on a connection.

    """

    # What each of them needs is kept small; attributes of the program go elsewhere.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_closing",
        "_compression",
        "_ends",
        "_engine",
        "_extensions",
        "_handshake_headers",
        "_inbox",
        "_link",
        "_options",
        "_outbox",
        "_path",
        "_sender",
        "_subprotocol",
        "_turns",
    )

    CONNECTION_ID: Iterator[int] = itertools.count()

    def __init__(
        self,
        link: Link,
        opened: Opened,
        *,
        path: str,
        options: ConnectionOptions,
        ends: Ends,
    ) -> None:
        self._link = link
        self._engine = link.engine
        self._closing = link.closing
        self._path = path
        self._options = options
        self._subprotocol = opened.subprotocol
        self._compression = opened.compression
        self._extensions = opened.extensions
        self._handshake_headers = opened.headers
        self._ends = ends
        self._turns = find_turns()
        self._inbox = link.inbox
        self._outbox = link.outbox
        self._sender = link.sender
        if options.on_ping is not None:
            hook = cast(
                "Callable[[WebSocketConnection, bytes], object]", options.on_ping
            )
            link.reader.on_ping = partial(hook, self)

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
        return self._ends.local

    @property
    def remote(self) -> Endpoint | str:
        """The other end of the stream, in the form of :attr:`local`."""
        return self._ends.remote

    @property
    def path(self) -> str:
        """The request target: path and query, as they were on the wire."""
        return self._path

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that both ends agreed on, or None (RFC 6455 section 1.9)."""
        return self._subprotocol

    @property
    def compression(self) -> DeflateAgreement | None:
        """What both ends agreed on about compression, or None (RFC 7692)."""
        return self._compression

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """The extensions that both ends agreed on, in the order of the server's answer.

        They are the instances of this connection (RFC 6455 section 9). Compression is
        not one of them; see :attr:`compression`.
        """
        return self._extensions

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

    @overload
    async def get_message(self, *, decode: Literal[True] = True) -> str | bytes: ...

    @overload
    async def get_message(self, *, decode: Literal[False]) -> bytes: ...

    @trio.lowlevel.enable_ki_protection
    async def get_message(self, *, decode: bool = True) -> str | bytes:
        """Take the next message: str if it was text, bytes if it was binary.

        Messages that came before the peer's Close are still delivered after it; once we
        have closed, nothing is.

        Args:
            decode: False gives text as bytes of UTF-8, too.

        Raises:
            ConnectionClosed: If no message will come any more. Its ``__cause__`` is
                what broke the connection, if it was broken.

        Cancellation:
            A cancelled call takes no message.

        Concurrency:
            Each message goes to one task, first come first served.

        """
        inbox, turns = self._inbox, self._turns
        if turns.free and len(inbox.messages) > inbox.spare and decode:
            turns.free -= 1
            return inbox.messages.popleft()  # noqa: ASYNC910  # see turns
        if turns.free:
            turns.free -= 1
        else:
            await turns.begin()
        try:
            await inbox.wait_for_turn()
            message = inbox.take()
            if message is None:
                message = await inbox.wait()
        except InboxClosed:
            raise self._closing.error() from self._closing.cause
        if turns.is_used_up(inbox.taken_size):
            await inbox.let_others_run()
        if not decode and isinstance(message, str):
            return message.encode()  # noqa: ASYNC910  # see turns
        return message  # noqa: ASYNC910  # see turns

    @trio.lowlevel.enable_ki_protection
    async def get_text(self) -> str:
        """Take the next message, which must be text.

        Raises:
            ConnectionClosed: As in :meth:`get_message`; or because the message was
                binary, which ends the connection with 1003.

        Cancellation:
            A cancelled call takes no message.

        """
        message = await self.get_message()
        if isinstance(message, bytes):
            self._refuse_kind("a binary message came where text was wanted")
        return message

    @trio.lowlevel.enable_ki_protection
    async def get_bytes(self) -> bytes:
        """Take the next message, which must be binary.

        Raises:
            ConnectionClosed: As in :meth:`get_message`; or because the message was
                text, which ends the connection with 1003.

        Cancellation:
            A cancelled call takes no message.

        """
        message = await self.get_message()
        if isinstance(message, str):
            self._refuse_kind("a text message came where binary was wanted")
        return message

    @trio.lowlevel.enable_ki_protection
    async def get_messages(self, limit: int | None = None) -> list[str | bytes]:
        """Take all messages at hand, one at least, in the order in which they came.

        At hand is what was received already; that may be more messages than the queue
        holds, up to those of one receive, or about 1 MiB of what is inflated. Messages
        behind the peer's Close do not count, nor does what is decoded only after
        something that came before it.

        Args:
            limit: The most messages to take; None sets no limit.

        Raises:
            ConnectionClosed: As in :meth:`get_message`.
            TypeError: If the limit is not an int.
            ValueError: If the limit is less than 1.

        Cancellation:
            A cancelled call takes no message.

        Concurrency:
            Tasks that wait for messages are served first come, first served.

        """
        count = _check_limit(limit)
        await self._turns.begin()
        inbox = self._inbox
        try:
            await inbox.wait_for_turn()
            messages = inbox.take_all(count) or [await inbox.wait()]
        except InboxClosed:
            raise self._closing.error() from self._closing.cause
        if self._turns.is_used_up(inbox.taken_size, calls=len(messages)):
            await inbox.let_others_run()
        return messages

    def message_reader(
        self, *, max_bytes: int | None = None, abandon: Abandon = "drain"
    ) -> AbstractAsyncContextManager[MessageReader]:
        """Read one message part by part, while it arrives.

        ``async with`` waits until the next message begins and gives a
        :class:`TextReader` or a :class:`BytesReader`; its ``kind`` tells which. No more
        of the message is held than what one receive brought, and what that is inflated
        to step by step, so ``max_message_size`` does not count here. The peer is read
        as fast as the program reads.

        Readers and whole-message calls may follow each other in any order.

        Args:
            max_bytes: The most bytes that the message may have, of text its UTF-8; None
                sets no limit. A longer one ends the connection with 1009.
            abandon: What becomes of the message if the block is left before its end, by
                whatever way: ``"drain"`` drops the rest as it comes, and ends the
                connection with 1008 if that is more than ``max_message_size``;
                ``"close"`` ends it with 1008 at once.

        Raises:
            ConnectionClosed: On entering the block, if no message will come any more,
                or if it came already and is too large.
            TypeError: If ``max_bytes`` is not an int.
            ValueError: If it is less than 0, or ``abandon`` is none of these.

        Cancellation:
            A cancelled wait takes no message. A block that is left by a cancellation is
            one that is left; see above.

        Concurrency:
            Other readers, and calls that take messages, wait for the end of the block,
            in the order of the calls. One within the block, by the same task, gets
            RuntimeError.

        """
        return Reading(
            self._link, max_bytes=check_max_bytes(max_bytes), abandon=abandon
        )

    @trio.lowlevel.enable_ki_protection
    async def send_message(  # noqa: ASYNC910  # see turns
        self,
        message: WholeMessage | Iterable[WholeMessage] | AsyncIterable[WholeMessage],
        *,
        compress: bool = True,
        fragment_size: int | None = None,
    ) -> None:
        """Send a message: text for a str, binary for anything bytes-like.

        Returns when the bytes were handed to the stream.

        Args:
            message: The message; or an iterable, asynchronous or not, of its parts, one
                at least. Each part leaves as soon as it is there, and they are of one
                kind. A ``bytearray`` must stay as it is, and cannot be resized, until
                the call returns.
            compress: Whether to compress it, if that was agreed on and it is not too
                short for that.
            fragment_size: The most bytes that a frame may carry; None sends a message
                in one frame, and each part of an iterable in one. Text is cut without
                regard to characters.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            TypeError: If the fragment size is not an int, or a later part is of another
                type than the first.
            ValueError: If the message is of another type, or text that cannot be
                encoded as UTF-8, or has no parts; or if the fragment size is less than
                1. The connection stays as it was.

        Cancellation:
            The message was sent whole or not at all; which of the two cannot be known.
            One that was compressed is sent where later ones may refer to it. The
            connection works. But a message in parts of which one has left cannot be
            completed: a cancellation ends the connection with 1011 then, and so does an
            exception of the iterable.

        Concurrency:
            Messages leave in the order of the calls, a message in parts in its turn
            when its first part is there. Until it has ended, all others wait.

        """
        sender, turns = self._sender, self._turns
        encode = sender.encode
        if (
            turns.free
            and encode is not None
            and fragment_size is None
            and compress
            and self._engine.state is _OPEN
            and self._closing.reason is None
            and (type(message) is str or type(message) is bytes)
            and len(message) <= SLICE_SIZE
        ):
            turns.free -= 1
            keys = sender.masking_keys
            frame = encode(message, None if keys is None else next(keys.stream))
            try:
                position = self._outbox.hand_over(frame)
            except OutboxBroken:
                await sender.raise_closed()
            is_small = position < LEAST_SENT_SIZE
            turns.size_left -= LEAST_SENT_SIZE if is_small else position
            if position < len(frame) or turns.size_left <= 0:
                await sender.finish(frame, position)
        else:
            await self._send_more(
                message, compress=compress, fragment_size=fragment_size
            )

    @trio.lowlevel.enable_ki_protection
    async def send_text(
        self, text: str, *, compress: bool = True, fragment_size: int | None = None
    ) -> None:
        """Send a text message; see :meth:`send_message`.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            TypeError: If it is not a str, or the fragment size not an int.
            ValueError: If it cannot be encoded as UTF-8, or the fragment size is less
                than 1.

        Cancellation:
            As in :meth:`send_message`.

        """
        await self.send_message(
            _check_text(text), compress=compress, fragment_size=fragment_size
        )

    @trio.lowlevel.enable_ki_protection
    async def send_bytes(
        self,
        data: BytesLike,
        *,
        compress: bool = True,
        fragment_size: int | None = None,
    ) -> None:
        """Send a binary message; see :meth:`send_message`.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            TypeError: If it is not bytes-like, or the fragment size not an int.
            ValueError: If the fragment size is less than 1.

        Cancellation:
            As in :meth:`send_message`.

        """
        await self.send_message(
            _check_bytes(data), compress=compress, fragment_size=fragment_size
        )

    async def forward_message(
        self,
        reader: MessageReader,
        *,
        compress: bool = True,
        fragment_size: int | None = None,
    ) -> None:
        """Send what is read of another message, part by part, as one message.

        No more of it is held than one part.

        Args:
            reader: The message, of this connection or another.
            compress: Whether to compress it, if that was agreed on.
            fragment_size: The most bytes that a frame may carry; None sends each part
                in one.

        Raises:
            ConnectionClosed: If either connection ends before the message. If the other
                one did, this one was ended with 1011.
            TypeError: If the fragment size is not an int.
            ValueError: If it is less than 1.

        Cancellation:
            As in :meth:`message_writer`: ends the connection with 1011.

        """
        async with self.message_writer(
            reader.kind, compress=compress, fragment_size=fragment_size
        ) as writer:
            async for part in reader:
                await writer.send(part)

    def message_writer(
        self,
        kind: Kind | None = None,
        *,
        compress: bool = True,
        fragment_size: int | None = None,
    ) -> MessageWriter:
        """Send one message part by part: ``async with`` the writer is the message.

        Each part leaves at once, compressed or not; only an extension of messages has
        them kept until the message is whole. Until the block is left no other
        message leaves this end; pings and pongs do. A block that is left by an
        exception or a cancellation ends the connection with 1011, because a message
        cannot be left unfinished.

        Args:
            kind: ``"text"`` or ``"bytes"``; None leaves it to the first part.
            compress: Whether to compress it, if that was agreed on.
            fragment_size: The most bytes that a frame may carry; None sends each part
                in one.

        Raises:
            ConnectionClosed: On entering or leaving the block, if the connection is
                closed or closing.
            TypeError: If the fragment size is not an int.
            ValueError: If the kind is none of these, or the fragment size is less than
                1; on leaving the block, if nothing has told the kind.

        Cancellation:
            Nothing was begun if the block was not entered. See above for the block.

        Concurrency:
            The messages of other tasks wait for the end of the block, in the order of
            the calls. A task that sends one within its own block gets RuntimeError.

        """
        return MessageWriter(
            self._sender, kind=kind, compress=compress, fragment_size=fragment_size
        )

    @trio.lowlevel.enable_ki_protection
    async def send_messages(  # noqa: ASYNC910  # there may be none
        self, messages: Iterable[WholeMessage]
    ) -> None:
        """Send many messages, each as :meth:`send_message` does, in few writes.

        They leave in batches of at most 128 KiB; other tasks run between two batches.

        Args:
            messages: Any iterable; it is asked for up to 256 messages in advance, so a
                ``bytearray`` must stay as it is until the call returns. If it raises an
                exception, what it gave before that is sent.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            TypeError: If a message is of another type; those before it were sent.
            ValueError: If a message is text that cannot be encoded as UTF-8; those
                before it were sent.

        Cancellation:
            Some first messages were sent, whole. The connection works.

        Concurrency:
            The messages of a call leave in order; those of other calls may come between
            two batches.

        """
        source = _Source(messages)
        is_first = True
        while batch := source.take(_MESSAGES_PER_BATCH):
            start = 0
            while start < len(batch):
                if not is_first:
                    await trio.lowlevel.checkpoint()
                is_first = False
                stop = await self._sender.send_batch(batch, start)
                if stop == start:
                    await self.send_message(check_message(batch[start], TypeError))
                    stop += 1
                start = stop
        if is_first:
            await self._turns.begin()
        source.check()

    @trio.lowlevel.enable_ki_protection
    async def send_json(self, /, *value: object, **fields: object) -> None:
        """Send a value as JSON, in a text message.

        The value is encoded by ``json_dumps``, an option of every entry point; by
        :func:`json.dumps` if none was given.

        Args:
            value: One value at most.
            fields: The fields of an object, in the place of a value. Without either an
                empty object is sent.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            TypeError: If there is more than one value, or it cannot be encoded.
            ValueError: If there are a value and fields, or it cannot be encoded.

        Cancellation:
            As in :meth:`send_message`.

        """
        if len(value) > 1:
            raise TypeError(f"send_json takes one value at most, not {len(value)}")
        if value and fields:
            raise ValueError("send_json takes a value or fields, not both")
        encoded = self._options.json_dumps(value[0] if value else fields)
        text = encoded if isinstance(encoded, str) else encoded.decode()
        await self.send_message(text)

    @trio.lowlevel.enable_ki_protection
    async def get_json(self) -> JSON:
        """Take the next message, which must be text, and decode it as JSON.

        It is decoded by ``json_loads``, an option of every entry point; by
        :func:`json.loads` if none was given.

        Raises:
            ConnectionClosed: As in :meth:`get_text`.
            ValueError: If the message is not JSON. It was taken; the connection works.

        Cancellation:
            A cancelled call takes no message.

        """
        text = await self.get_text()
        return cast("JSON", self._options.json_loads(text))

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
            if self._closing.is_orderly:
                raise trio.EndOfChannel from closed
            raise trio.BrokenResourceError from closed
        await self._inbox.let_others_run()
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

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> str | bytes:
        inbox, turns = self._inbox, self._turns
        if turns.free and len(inbox.messages) > inbox.spare:
            turns.free -= 1
            return inbox.messages.popleft()  # noqa: ASYNC910  # as get_message
        try:
            return await self.get_message()
        except ConnectionClosed:
            if self._closing.is_local or self._closing.is_orderly:
                raise StopAsyncIteration from None
            raise

    def as_stream(self) -> ByteStream:
        """Use the connection as a :class:`trio.abc.Stream` of bytes.

        For what speaks another protocol through a WebSocket: TLS, a tunnel for TCP,
        another WebSocket. The connection belongs to the stream from then on; pings go
        on, and nothing else should take or send messages.

        Bytes leave in binary messages of at most 128 KiB. A text message that comes
        ends the connection with 1003. There is no ``send_eof``: a WebSocket closes in
        both directions at once, so what was not received then is lost.
        """
        return ByteStream(self._link)

    # Pings.

    @overload
    async def ping(
        self, payload: bytes | None = None, *, wait: Literal[True] = True
    ) -> float: ...

    @overload
    async def ping(
        self, payload: bytes | None = None, *, wait: Literal[False]
    ) -> None: ...

    @trio.lowlevel.enable_ki_protection
    async def ping(
        self, payload: bytes | None = None, *, wait: bool = True
    ) -> float | None:
        """Send a ping and wait for its pong (RFC 6455 section 5.5.2).

        A pong that answers a later ping settles this one too.

        Args:
            payload: At most 125 bytes, not those of another ping in flight; None draws
                four random bytes.
            wait: Whether to wait for the pong; if not, nobody does.

        Returns:
            The round trip in seconds; None without waiting.

        Raises:
            ConnectionClosed: If the connection is closed, or ends before the pong.
            TypeError: If the payload is not bytes.
            ValueError: If the payload is too long, or in flight already.

        Cancellation:
            The ping may have been sent. Its payload may be used again.

        """
        await self._turns.begin()
        self._sender.check_open()
        ping = self._link.round_trips.begin(payload)
        try:
            await self._sender.send_frame(self._engine.send_ping(ping.payload))
            if not wait:
                if self._turns.is_used_up(LEAST_SENT_SIZE):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return None
            await ping.settled.wait()
        finally:
            self._link.round_trips.forget(ping)
        if ping.round_trip is None:
            raise self._closing.error() from self._closing.cause
        return ping.round_trip

    @trio.lowlevel.enable_ki_protection
    async def pong(self, payload: bytes | None = None) -> None:
        """Send a pong that nobody asked for, a sign of life (RFC 6455 section 5.5.3).

        Pings of the peer are answered without this, unless ``auto_pong`` is off.

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
        self._sender.check_open()
        content = b"" if payload is None else payload
        check_payload(content)
        await self._sender.send_frame(self._engine.send_pong(content))
        if self._turns.is_used_up(LEAST_SENT_SIZE):
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
        await self._closing.close_and_wait(code, reason)

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
            self._closing.dependents.append(scope)
            if self._closing.reason is not None:
                scope.cancel()
            try:
                yield
            finally:
                self._closing.dependents.remove(scope)

    async def _send_more(
        self, message: object, *, compress: bool, fragment_size: int | None
    ) -> None:
        """Send a message when it takes more than to encode and write it."""
        size = check_fragment_size(fragment_size)
        if isinstance(message, str | bytes | bytearray | memoryview):
            whole = cast("WholeMessage", message)
            if size is None:
                await self._sender.send_message(whole, compress=compress)
            else:
                await self._sender.cut_message(whole, size, compress=compress)
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        self._sender.check_open()
        parts = Parts(_check_parts(message))
        try:
            first = check_message(await anext(parts), ValueError)
        except StopAsyncIteration:
            raise ValueError("a message needs one part at least") from None
        if isinstance(first, str):
            first.encode()  # what cannot be encoded is not worth the connection
        async with self.message_writer(compress=compress, fragment_size=size) as writer:
            await writer.send(first)
            async for part in parts:
                await writer.send(check_message(part, TypeError))

    def _refuse_kind(self, problem: str) -> NoReturn:
        """End the connection over a message of the other kind."""
        self._link.reader.refuse(_UNSUPPORTED_DATA, problem)
        raise self._closing.error() from self._closing.cause

    @contextmanager
    def _ignore_messages(self, *, discard: bool) -> Generator[None]:
        def on_message() -> None:
            if not discard:
                problem = "a message came that nobody wanted"
                self._link.reader.refuse(_POLICY_VIOLATION, problem)

        with self._inbox.unwanted(on_message):
            yield


def make_connection(
    stream: trio.abc.Stream,
    opened: Opened,
    *,
    path: str,
    options: ConnectionOptions,
    farewell: Farewell | None = None,
    ends: Ends | None = None,
) -> tuple[WebSocketConnection, Link]:
    """Make a connection of a stream on which the opening has succeeded.

    Args:
        stream: The stream.
        opened: What the opening has come to.
        path: The request target.
        options: The options of the connection.
        farewell: What is said when the connection's task is cancelled.
        ends: What was found out about the stream already.

    Returns:
        The connection, and the link whose ``run`` must be started in a nursery.

    """
    number = next(WebSocketConnection.CONNECTION_ID)
    role = "client" if opened.engine.is_client else "server"
    link = Link(f"{role}-{number}", stream, opened.engine, options, farewell=farewell)
    ends = ends or Ends(stream)
    connection = WebSocketConnection(
        link, opened, path=path, options=options, ends=ends
    )
    return connection, link


def _check_parts(message: object) -> Iterable[object] | AsyncIterable[object]:
    """Return what gives the parts of a message."""
    name = type(message).__name__
    # A mapping would give its keys, which nobody means.
    is_meant = not isinstance(message, Mapping)
    if is_meant and isinstance(message, Iterable | AsyncIterable):
        return cast("Iterable[object] | AsyncIterable[object]", message)
    kinds = "str, bytes-like or an iterable of these"
    raise ValueError(f"a message must be {kinds}, not {name}")


def _check_text(text: object) -> str:
    if isinstance(text, str):
        return text
    raise TypeError(f"a text message must be a str, not {type(text).__name__}")


def _check_bytes(data: object) -> BytesLike:
    if isinstance(data, bytes | bytearray | memoryview):
        return cast("BytesLike", data)
    kind = type(data).__name__
    raise TypeError(f"a binary message must be bytes-like, not {kind}")


class _Source:
    """Messages of an iterable, of which an exception is kept until they are sent."""

    def __init__(self, messages: Iterable[WholeMessage]) -> None:
        self._iterator = iter(messages)
        self._error: Exception | None = None

    def take(self, limit: int) -> list[WholeMessage]:
        """Return the next messages, none at the end."""
        messages: list[WholeMessage] = []
        if self._error is None:
            try:
                messages.extend(itertools.islice(self._iterator, limit))
            except Exception as error:  # noqa: BLE001  # raised by ``check``
                self._error = error
        return messages

    def check(self) -> None:
        """Raise what the iterable has raised."""
        if self._error is not None:
            raise self._error


def _check_limit(limit: object) -> int:
    if limit is None:
        return sys.maxsize
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit must be an int or None, not {limit!r}")
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit!r}")
    return min(limit, sys.maxsize)

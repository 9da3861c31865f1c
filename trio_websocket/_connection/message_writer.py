"""Send one message part by part (RFC 6455 section 5.4).

Theory of operation
===================

Who writes a message holds the sender's lock from the beginning of the block to its end.
Each part becomes one fragment, or several of the size that was asked for, and leaves at
once; the message is ended by an empty fragment, so no part has to be kept back until it
is known whether another follows.

What has begun must end: the peer would take whatever comes next for a part of it. So a
block that raises, or is cancelled, ends the connection with 1011; it does so before the
first part, too, because a rule with an exception is not remembered. A part whose call
was cancelled leaves all the same, so that a program which goes on with the next part
sends a message without a hole.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Literal, Self, cast

import trio

from .._protocol.frame_header import Opcode
from .._protocol.outgoing_message import OutgoingMessage
from .sender import Borrowed, Sender, WholeMessage, check_message

Kind = Literal["text", "bytes"]

_OPCODES = {"text": Opcode.TEXT, "bytes": Opcode.BINARY}


class MessageWriter:
    """One message on its way out; see :meth:`WebSocketConnection.message_writer`.

    The block that it is used in is the message.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        kind: Kind | None,
        compress: bool,
        fragment_size: int | None,
    ) -> None:
        self._sender = sender
        self._kind: Kind | None = _check_kind(kind)
        self._compress = compress
        self._fragment_size = check_fragment_size(fragment_size)
        self._message: OutgoingMessage | None = None
        self._was_entered = False
        self._is_open = False
        self._is_sending = False

    @property
    def kind(self) -> Literal["text", "bytes"] | None:
        """``"text"`` or ``"bytes"``; None while nothing has told which."""
        return self._kind

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise RuntimeError("a message writer is used for one message only")
        self._was_entered = True
        await trio.lowlevel.checkpoint_if_cancelled()
        self._sender.check_open()
        await self._sender.acquire()
        self._is_open = True
        return self

    @trio.lowlevel.enable_ki_protection
    async def send(self, part: WholeMessage) -> None:
        """Send the next part: a str of a text message, anything bytes-like of another.

        Returns when the bytes were handed to the stream. An empty part sends nothing.

        Raises:
            ConnectionClosed: If the connection is closed or closing.
            TypeError: If the part is of the wrong type for the message, or any.
            ValueError: If it is text that cannot be encoded as UTF-8.
            trio.ClosedResourceError: If the block of the writer was left.
            trio.BusyResourceError: If another task is sending a part.

        Cancellation:
            The part was not sent, or it leaves whole after the call; which of the two
            cannot be known. Always a checkpoint.

        """
        self._check_usable()
        kind = self._find_kind(check_message(part, TypeError))
        await trio.lowlevel.checkpoint_if_cancelled()
        self._sender.check_open()
        self._is_sending = True
        try:
            with Borrowed(part) as content:
                data = content.encode() if isinstance(content, str) else content
                self._kind = kind
                if data:
                    await self._send(data, is_last=False)
        finally:
            self._is_sending = False
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False
        try:
            if error is not None or self._is_sending:
                self._sender.give_up()
            elif self._kind is None:
                raise ValueError("a message without parts needs a kind")
            else:
                self._sender.check_open()
                await self._finish()  # noqa: ASYNC102  # it sends in any case
        finally:
            self._sender.release()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _finish(self) -> None:
        """End the message; one that is cancelled has done so all the same."""
        try:
            await self._send(b"", is_last=True)
        except Exception:
            self._sender.give_up()  # an extension has failed
            raise

    async def _send(self, data: bytes | memoryview, *, is_last: bool) -> None:
        if self._message is None:
            assert self._kind is not None
            self._message = self._sender.begin_message(
                _OPCODES[self._kind], compress=self._compress
            )
        size = self._fragment_size
        frames = self._message.build(data, is_last=is_last, max_size=size)
        await self._sender.send_frames(frames)

    def _check_usable(self) -> None:
        if not self._is_open:
            raise trio.ClosedResourceError("the block of the message writer was left")
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending a part")

    def _find_kind(self, part: WholeMessage) -> Kind:
        kind: Kind = "text" if isinstance(part, str) else "bytes"
        if self._kind not in {None, kind}:
            name = type(part).__name__
            raise TypeError(f"a part of a {self._kind} message cannot be {name}")
        return kind


class Parts:
    """The parts of a message, of any iterable, asynchronous or not."""

    def __init__(self, parts: Iterable[object] | AsyncIterable[object]) -> None:
        self._later: AsyncIterator[object] | None = None
        self._now: Iterator[object] | None = None
        if isinstance(parts, AsyncIterable):
            self._later = aiter(parts)
        else:
            self._now = iter(parts)

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> object:  # noqa: ASYNC910  # not all can wait
        if self._later is not None:
            return await anext(self._later)
        assert self._now is not None
        try:
            return next(self._now)  # noqa: ASYNC910  # as above
        except StopIteration:
            raise StopAsyncIteration from None


def check_fragment_size(size: object) -> int | None:
    """Return the size of a fragment, or None if none is wanted.

    Raises:
        TypeError: If it is not an int.
        ValueError: If it is less than 1.

    """
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"fragment_size must be an int or None, not {size!r}")
    if size < 1:
        raise ValueError(f"fragment_size must be 1 or more, not {size!r}")
    return size


def _check_kind(kind: object) -> Kind | None:
    if kind is None or kind in _OPCODES:
        return cast("Kind | None", kind)
    raise ValueError(f"kind must be 'text', 'bytes' or None, not {kind!r}")

"""Read one message part by part, while it arrives.

Theory of operation
===================

Who reads a message holds the inbox's lock from its beginning to the end of the block,
so other readers and ``get_message`` wait in turn. The reader takes one part after the
other; what a call did not use of a part stays here for the next call. Nothing is ever
joined that was not asked for as one.

Text comes in whole characters: a part is what could be decoded so far.

A block may be left before the end of the message, by an exception too. What is still to
come is then dropped when it comes, without anybody waiting for it; or the connection is
ended with 1008, if that was asked for. In either case the next message is the next.

When the connection dies, what has arrived is still given out, and then the error.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, Literal, Self, TypeAlias, TypeVar, cast

import trio

from .._errors import ConnectionClosed, IncompleteMessage
from .inbox import InboxClosed
from .incoming_message import IncomingMessage, Part
from .link import Link
from .turns import find_turns

Abandon = Literal["drain", "close"]

_Part = TypeVar("_Part", str, bytes)

_POLICY_VIOLATION = 1008
_MESSAGE_TOO_BIG = 1009


class Source(Generic[_Part]):
    """The parts of one message that is being read."""

    def __init__(
        self,
        link: Link,
        incoming: IncomingMessage,
        join: Callable[[list[_Part]], _Part],
        *,
        abandon: Abandon,
    ) -> None:
        self._link = link
        self._incoming = incoming
        self._join: Callable[[list[_Part]], _Part] = join
        self._nothing: _Part = join([])
        self._rest: _Part = self._nothing
        self._position = 0
        self._abandon = abandon
        self._is_open = True
        self._is_busy = False
        self._turns = find_turns()

    @property
    def is_at_end(self) -> bool:
        """Whether all of the message was taken, and nothing more will come."""
        incoming = self._incoming
        has_rest = self._position < len(self._rest) or bool(incoming.parts)
        return incoming.is_whole and not (incoming.is_broken or has_rest)

    async def take(self, limit: int) -> _Part:
        """Take what is here, or wait for it; nothing at the end of the message.

        Args:
            limit: The most characters or bytes to take.

        """
        with self._use():
            return await self._take_in_turn(limit)

    async def collect(  # noqa: ASYNC910  # it may be here
        self, count: int | None
    ) -> _Part:
        """Take so much, or (None) all; less if the message ends before.

        Cancellation:
            What was taken is put back.

        """
        parts: list[_Part] = []
        left = count
        with self._use():
            try:
                while left is None or left > 0:
                    part = await self._take_in_turn(left or sys.maxsize)
                    if not part:
                        break
                    parts.append(part)
                    if left is not None:
                        left -= len(part)
            except BaseException:
                self._put_back(parts)
                raise
        taken = parts[0] if len(parts) == 1 else self._join(parts)
        return taken  # noqa: ASYNC910  # as above

    def leave(self) -> None:
        """Be done with the message, wherever in it this is."""
        if not self._is_open:
            return
        self._is_open = False
        if not self._incoming.is_over:
            self._link.reader.skip()
            if self._abandon == "close":
                problem = "a message was not read to its end"
                self._link.reader.refuse(_POLICY_VIOLATION, problem)
        self._link.inbox.leave()

    @contextmanager
    def _use(self) -> Generator[None]:
        """Keep other tasks out until a call has all that it wants."""
        self._check_open()
        if self._is_busy:
            raise trio.BusyResourceError("another task is reading this message")
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False

    async def _take_in_turn(self, limit: int) -> _Part:
        await self._turns.begin()
        part = await self._take(limit)
        if self._turns.is_used_up(len(part)):
            await trio.lowlevel.cancel_shielded_checkpoint()
        return part

    async def _take(self, limit: int) -> _Part:  # noqa: ASYNC910  # it may be here
        if self._position >= len(self._rest):
            part = await self._take_part()
            self._rest = self._nothing if part is None else cast("_Part", part)
            self._position = 0
        start, self._position = self._position, self._position + limit
        if not start and limit >= len(self._rest):
            part, self._rest, self._position = self._rest, self._nothing, 0
            return part  # noqa: ASYNC910  # as above
        return self._rest[start : self._position]  # noqa: ASYNC910  # as above

    async def _take_part(self) -> Part | None:  # noqa: ASYNC910  # it may be here
        try:
            return await self._link.inbox.take_part(self._incoming)
        except InboxClosed:
            self._check_open()  # another task may have left the block meanwhile
            closing = self._link.closing
            raise closing.error() from closing.cause

    def _put_back(self, parts: list[_Part]) -> None:
        taken = self._join(parts)
        self._rest = taken + self._rest[self._position :]
        self._position = 0

    def _check_open(self) -> None:
        if not self._is_open:
            raise trio.ClosedResourceError("the block of the message reader was left")


class TextReader:
    """A text message on its way in; see :meth:`WebSocketConnection.message_reader`.

    Sizes are numbers of characters. All methods raise

    * :exc:`ConnectionClosed` if the connection ends before the message; what had come
      is given out before;
    * :exc:`trio.ClosedResourceError` once the block was left;
    * :exc:`trio.BusyResourceError` while another task reads the same message;
    * :exc:`TypeError` for a size that is not an int, and :exc:`ValueError` for one that
      is negative, other than -1 where that means all.

    A call that is cancelled, or finds the connection ended, takes nothing.
    """

    kind: Literal["text"] = "text"

    def __init__(self, source: Source[str]) -> None:
        self._source = source

    @property
    def at_end(self) -> bool:
        """Whether all of the message was read. It may end without telling before."""
        return self._source.is_at_end

    @trio.lowlevel.enable_ki_protection
    async def read(self, n: int = -1) -> str:
        """Read n characters, or fewer if the message ends before; -1 reads them all."""
        return await self._source.collect(_check_count(n))

    @trio.lowlevel.enable_ki_protection
    async def read_exactly(self, n: int) -> str:
        """Read n characters.

        Raises:
            IncompleteMessage: If the message ends before. It has what was there, which
                was read.

        """
        text = await self._source.collect(_check_count(n, lowest=0))
        if len(text) < n:
            raise IncompleteMessage(text, n)
        return text

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> str:
        """Read what is here, or wait for it: one character at least."""
        part = await self._source.take(sys.maxsize)
        if not part:
            raise StopAsyncIteration
        return part


class BytesReader(trio.abc.ReceiveStream):
    """A binary message on its way in, and a stream that can be received from.

    See :meth:`WebSocketConnection.message_reader`. Sizes are numbers of bytes. What the
    methods raise is as in :class:`TextReader`, but for :meth:`receive_some`.
    """

    kind: Literal["bytes"] = "bytes"

    def __init__(self, source: Source[bytes]) -> None:
        self._source = source

    @property
    def at_end(self) -> bool:
        """Whether all of the message was read. It may end without telling before."""
        return self._source.is_at_end

    @trio.lowlevel.enable_ki_protection
    async def read(self, n: int = -1) -> bytes:
        """Read n bytes, or fewer if the message ends before; -1 reads them all."""
        return await self._source.collect(_check_count(n))

    @trio.lowlevel.enable_ki_protection
    async def read_exactly(self, n: int) -> bytes:
        """Read n bytes.

        Raises:
            IncompleteMessage: If the message ends before. It has what was there, which
                was read.

        """
        data = await self._source.collect(_check_count(n, lowest=0))
        if len(data) < n:
            raise IncompleteMessage(data, n)
        return data

    @trio.lowlevel.enable_ki_protection
    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer, or less of it if the message ends before.

        Returns:
            How many bytes were read.

        Raises:
            TypeError: If it is no buffer, or one that cannot be written to.

        """
        with memoryview(buffer) as view, view.cast("B") as target:
            if target.readonly:
                raise TypeError("the buffer cannot be written to")
            data = await self._source.collect(len(target))
            target[: len(data)] = data
        return len(data)

    @trio.lowlevel.enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Read what is here, in the manner of :class:`trio.abc.ReceiveStream`.

        Args:
            max_bytes: The most bytes to read; None sets no limit.

        Returns:
            One byte at least, or nothing at the end of the message.

        Raises:
            trio.BrokenResourceError: If the connection ends before the message; the
                cause is the :exc:`ConnectionClosed`.
            trio.ClosedResourceError: If the block was left.
            trio.BusyResourceError: If another task is reading the message.
            TypeError: If the limit is not an int.
            ValueError: If it is less than 1.

        Cancellation:
            Nothing was taken. Always a checkpoint.

        """
        limit = sys.maxsize
        if max_bytes is not None:
            limit = _check_int(max_bytes, "max_bytes", lowest=1)
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            data = await self._source.take(limit)
        except ConnectionClosed as closed:
            raise trio.BrokenResourceError from closed
        await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> bytes:
        """Read what is here, or wait for it: one byte at least."""
        part = await self._source.take(sys.maxsize)
        if not part:
            raise StopAsyncIteration
        return part

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Be done with the message, as at the end of the block."""
        self._source.leave()
        await trio.lowlevel.checkpoint()


MessageReader: TypeAlias = TextReader | BytesReader


class Reading:
    """The block in which a message is read."""

    def __init__(self, link: Link, *, max_bytes: float, abandon: Abandon) -> None:
        self._link = link
        self._max_bytes = max_bytes
        _check_abandon(abandon)
        self._abandon: Abandon = abandon
        self._source: Source[str] | Source[bytes] | None = None
        self._is_used = False

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> MessageReader:
        if self._is_used:
            raise RuntimeError("a message reader is used for one message only")
        self._is_used = True
        try:
            return await self._open()
        except BaseException:
            self._is_used = False
            raise

    async def _open(self) -> MessageReader:
        await trio.lowlevel.checkpoint_if_cancelled()
        link, closing = self._link, self._link.closing
        try:
            incoming = await link.inbox.open(self._max_bytes)
        except InboxClosed:
            raise closing.error() from closing.cause
        if incoming.size_left < 0:
            link.reader.refuse(_MESSAGE_TOO_BIG, "the message is larger than it may be")
            link.inbox.leave()
            raise closing.error() from closing.cause
        if incoming.is_text:
            text = self._source = Source(link, incoming, "".join, abandon=self._abandon)
            return TextReader(text)
        data = self._source = Source(link, incoming, b"".join, abandon=self._abandon)
        return BytesReader(data)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._source is not None
        self._source.leave()


def check_max_bytes(max_bytes: object) -> float:
    """Return a limit in bytes; None is none.

    Raises:
        TypeError: If it is not an int.
        ValueError: If it is less than 0.

    """
    if max_bytes is None:
        return math.inf
    return _check_int(max_bytes, "max_bytes", lowest=0)


def _check_abandon(abandon: object) -> None:
    if abandon not in {"drain", "close"}:
        raise ValueError(f"abandon must be 'drain' or 'close', not {abandon!r}")


def _check_count(count: object, *, lowest: int = -1) -> int | None:
    size = _check_int(count, "a size", lowest=lowest)
    return None if size == -1 else size


def _check_int(value: object, name: str, *, lowest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < lowest:
        raise ValueError(f"{name} must be {lowest} or more, not {value!r}")
    return value

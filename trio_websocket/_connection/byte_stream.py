"""The connection as a stream of bytes, for what speaks another protocol through it.

What is sent leaves in binary messages; how bytes are spread over messages means
nothing, so what is received is handed out as it arrives. A WebSocket has no half-close:
the stream ends in both directions at once, when either end closes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Generator
from contextlib import contextmanager

import trio

from .._errors import ConnectionClosed
from .._protocol.sliced_frame import SLICE_SIZE
from .inbox import InboxClosed
from .link import Link
from .message_reader import Source

_UNSUPPORTED_DATA = 1003
_NORMAL_CLOSURE = 1000


class ByteStream(trio.abc.Stream):
    """A connection as a :class:`trio.abc.Stream`; see ``as_stream``."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sender = link.sender
        self._message: Source[bytes] | None = None
        self._is_receiving = False
        self._is_sending = False

    @trio.lowlevel.enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is there, or wait for it.

        Args:
            max_bytes: The most bytes to receive; None sets no limit.

        Returns:
            One byte at least; nothing if the peer closed with 1000 or 1001.

        Raises:
            trio.BrokenResourceError: If the connection ended in any other way, also by
                a text message, which is answered with 1003. The cause is the
                :exc:`ConnectionClosed`.
            trio.ClosedResourceError: If this end closed.
            trio.BusyResourceError: If another task is receiving.
            TypeError: If the limit is not an int.
            ValueError: If the limit is less than 1.

        Cancellation:
            Nothing was taken. Always a checkpoint.

        """
        limit = _check_max_bytes(max_bytes)
        if self._is_receiving:
            raise trio.BusyResourceError("another task is receiving")
        self._is_receiving = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            data = await self._receive(limit)
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._is_receiving = False
        return data

    @trio.lowlevel.enable_ki_protection
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; returns when they were handed to the stream beneath.

        Raises:
            trio.BrokenResourceError: If the connection has ended; the cause is the
                :exc:`ConnectionClosed`.
            trio.ClosedResourceError: If this end closed.
            trio.BusyResourceError: If another task is sending.

        Cancellation:
            Some first bytes were sent; how many cannot be known. Always a checkpoint.

        """
        with self._sending():
            await trio.lowlevel.checkpoint_if_cancelled()
            self._sender.check_open()
            with memoryview(data) as view, view.cast("B") as content:
                for start in range(0, len(content), SLICE_SIZE):
                    part = bytes(content[start : start + SLICE_SIZE])
                    await self._sender.send_message(part, compress=True)
            await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def wait_send_all_might_not_block(self) -> None:
        """Wait until everything that was sent before has left.

        Raises:
            trio.BrokenResourceError: If the connection has ended.
            trio.ClosedResourceError: If this end closed.
            trio.BusyResourceError: If another task is sending.

        Cancellation:
            Nothing has changed. Always a checkpoint.

        """
        with self._sending():
            await trio.lowlevel.checkpoint()
            self._sender.check_open()
            await self._link.flush()
            self._sender.check_open()

    async def aclose(self) -> None:
        """Close the connection with 1000, and wait for that.

        Cancellation:
            As in :meth:`WebSocketConnection.aclose`. Always a checkpoint.

        """
        await self._link.closing.close_and_wait(_NORMAL_CLOSURE, None)

    async def _receive(  # noqa: ASYNC910  # something may be here
        self, limit: int
    ) -> bytes:
        while True:
            try:
                if self._message is None:
                    self._message = await self._open()
                data = await self._message.take(limit)
            except ConnectionClosed as closed:
                return self._end(closed)  # noqa: ASYNC910  # as above
            if data:
                return data  # noqa: ASYNC910  # as above
            self._message.leave()
            self._message = None

    async def _open(self) -> Source[bytes]:
        """Wait for the next message to begin."""
        inbox, closing = self._link.inbox, self._link.closing
        try:
            incoming = await inbox.open(math.inf)
        except InboxClosed:
            raise closing.error() from closing.cause
        if incoming.is_text:
            problem = "a text message came where bytes were wanted"
            self._link.reader.refuse(_UNSUPPORTED_DATA, problem)
            inbox.leave()
            raise closing.error() from closing.cause
        return Source(self._link, incoming, b"".join, abandon="drain")

    def _end(self, closed: ConnectionClosed) -> bytes:
        """Say that nothing more will come, in Trio's words."""
        if self._link.closing.is_ours:
            raise trio.ClosedResourceError from closed
        is_amid_message = self._message is not None
        if is_amid_message or not self._link.closing.is_orderly:
            raise trio.BrokenResourceError from closed
        return b""

    @contextmanager
    def _sending(self) -> Generator[None]:
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending")
        self._is_sending = True
        try:
            yield
        except ConnectionClosed as closed:
            if self._link.closing.is_ours:
                raise trio.ClosedResourceError from closed
            raise trio.BrokenResourceError from closed
        finally:
            self._is_sending = False


def _check_max_bytes(max_bytes: object) -> int:
    if max_bytes is None:
        return sys.maxsize
    if not isinstance(max_bytes, int) or isinstance(max_bytes, bool):
        raise TypeError(f"max_bytes must be an int or None, not {max_bytes!r}")
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be 1 or more, not {max_bytes!r}")
    return max_bytes

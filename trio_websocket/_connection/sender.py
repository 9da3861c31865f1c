"""What leaves: whole messages, messages in parts, pings and pongs.

Theory of operation
===================

A frame is built and put into the outbox in one go, without a turn of the scheduler in
between, so frames leave in the order in which they were built; a compressor and the
protocol's state depend on that. A message in one frame therefore needs no lock. One in
several does: who begins it holds the lock until its last frame was built, and meanwhile
every other message waits, in the order of the calls. Pings, pongs and the Close go
between the frames.

``encode`` is the short cut for messages in one frame. It is taken away while the lock
is held, so that one look at it tells a sender whether it may go ahead.

A fragment that was built leaves, also if the call that built it is cancelled: the next
one would make no sense without it. What was cut into many frames leaves as a whole.

When the connection ends the lock breaks, and who waits for it, or comes later, gets
``ConnectionClosed``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn, cast

import trio

from .._protocol.compressed_frames import Encode
from .._protocol.engine import Engine
from .._protocol.frame_header import Opcode
from .._protocol.outgoing_message import OutgoingMessage
from .._protocol.sliced_frame import SLICE_SIZE, SlicedFrame
from .._protocol.state import MAY_SEND_MESSAGES
from .closing import Closing
from .masking_keys import MaskingKeys, find_masking_keys
from .message_lock import LockBroken, MessageLock
from .outbox import MAX_BATCH_SIZE, Outbox, OutboxBroken
from .turns import LEAST_SENT_SIZE, find_turns

BytesLike = bytes | bytearray | memoryview
WholeMessage = str | BytesLike

_INTERNAL_ERROR = 1011


class Sender:
    """The sending half of one connection.

    Attributes:
        encode: Builds the frame of a message of ``SLICE_SIZE`` at most; None if that
            takes more than a lane, or another message has to end before.
        masking_keys: Where a client draws its keys.

    """

    __slots__ = (
        "_closing",
        "_engine",
        "_lock",
        "_outbox",
        "_turns",
        "encode",
        "masking_keys",
    )

    def __init__(self, engine: Engine, outbox: Outbox, closing: Closing) -> None:
        self._engine = engine
        self._outbox = outbox
        self._closing = closing
        self._turns = find_turns()
        self._lock: MessageLock | None = None  # most connections need none
        self.masking_keys: MaskingKeys | None = None
        if engine.is_client:
            self.masking_keys = find_masking_keys()
        self.encode: Encode | None = engine.encode

    def check_open(self) -> None:
        """See that a message may be sent.

        Raises:
            ConnectionClosed: If not.

        """
        is_open = self._engine.state in MAY_SEND_MESSAGES
        if self._closing.reason is not None or not is_open:
            raise self._closing.error() from self._closing.cause

    # Messages in one frame.

    async def send_message(self, message: WholeMessage, *, compress: bool) -> None:
        """Send a message when it takes more than to encode and write it.

        Raises:
            ConnectionClosed: If it cannot be sent.
            ValueError: If it cannot be encoded.

        """
        await self._turns.begin()
        self.check_open()
        await self._wait_for_turn()
        with Borrowed(message) as content:
            frame = self._engine.send_message(
                content, self._draw_key(), compress=compress
            )
            await self.send_frame(frame, must_leave=self._engine.keeps_context)
        if self._turns.is_used_up(max(len(frame), LEAST_SENT_SIZE)):
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_batch(self, messages: list[WholeMessage], start: int) -> int:
        """Send messages from one on, one batch.

        Returns:
            Which is the next; the first itself if it is to be sent alone.

        Raises:
            ConnectionClosed: If they cannot be sent.

        """
        await self._turns.begin()
        self.check_open()
        await self._wait_for_turn()
        keys = None
        if self.masking_keys is not None:
            keys = self.masking_keys.draw(len(messages) - start)
        frames, stop = self._engine.send_batch(messages, start, keys, MAX_BATCH_SIZE)
        if stop > start:
            await self.send_frame(frames, must_leave=self._engine.keeps_context)
            size = max(len(frames), LEAST_SENT_SIZE)
            if self._turns.is_used_up(size, calls=stop - start):
                await trio.lowlevel.cancel_shielded_checkpoint()
        return stop

    async def finish(  # noqa: ASYNC910  # see turns
        self, frame: bytes, position: int
    ) -> None:
        """Send what the stream did not take of a frame, and let others run."""
        if position < len(frame):
            try:
                await self._outbox.send_rest(
                    frame, position, must_leave=self._engine.keeps_context
                )
            except OutboxBroken:
                await self.raise_closed()
        if self._turns.is_used_up(len(frame) - position):
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_frame(  # noqa: ASYNC910  # see turns
        self, frame: bytes | SlicedFrame, *, must_leave: bool = False
    ) -> None:
        """Send a frame that was built just now.

        Args:
            frame: The frame, or several.
            must_leave: Whether it leaves even if the call is cancelled.

        Raises:
            ConnectionClosed: If it cannot be sent.

        """
        outbox = self._outbox
        try:
            position = outbox.hand_over(frame)
            if position < len(frame):
                await outbox.send_rest(frame, position, must_leave=must_leave)
        except OutboxBroken:
            await self.raise_closed()

    async def raise_closed(self) -> NoReturn:
        """Say why nothing can be sent, once that is known."""
        await self._closing.ended.wait()
        raise self._closing.error() from self._closing.cause

    # Messages in several frames.

    async def acquire(self) -> None:
        """Wait for the turn of a message in several frames; ``release`` must follow.

        Raises:
            ConnectionClosed: If nothing can be sent any more.
            RuntimeError: If the task holds the lock already.

        Cancellation:
            A cancelled call does not hold the lock.

        """
        if self._lock is None:
            self._lock = MessageLock()
        self.encode = None
        try:
            await self._lock.acquire()
        except LockBroken:
            raise self._closing.error() from self._closing.cause

    def release(self) -> None:
        """Let the next message leave."""
        assert self._lock is not None
        self._lock.release()
        if self._lock.is_free:
            self.encode = self._engine.encode

    async def cut_message(
        self, message: WholeMessage, size: int, *, compress: bool
    ) -> None:
        """Send a message in frames of a size.

        Args:
            message: The message.
            size: The most bytes of payload that a frame may have.
            compress: Whether to compress it, if it is worth it.

        Raises:
            ConnectionClosed: If it cannot be sent.
            ValueError: If it cannot be encoded.

        """
        await self._turns.begin()
        self.check_open()
        with Borrowed(message) as content:
            data = content.encode() if isinstance(content, str) else content
            await self.acquire()
            try:
                self.check_open()
                opcode = Opcode.TEXT if isinstance(content, str) else Opcode.BINARY
                is_worth_it = self._engine.is_worth_compressing(len(data))
                outgoing = self.begin_message(opcode, compress=compress and is_worth_it)
                await self.send_frames(
                    outgoing.build(data, is_last=True, max_size=size)
                )
            finally:
                self.release()

    def begin_message(self, opcode: Opcode, *, compress: bool) -> OutgoingMessage:
        """Begin a message in several frames, with the lock held."""
        return self._engine.begin_message(opcode, self._draw_key, compress=compress)

    async def send_frames(  # noqa: ASYNC910  # see turns
        self, frames: Iterator[bytes | SlicedFrame]
    ) -> None:
        """Send frames of a message in several; all that there are leave.

        Raises:
            ConnectionClosed: If they cannot be sent.

        Cancellation:
            What was not sent leaves after the call.

        """
        batches = _gather(frames)
        for batch in batches:
            # A Close may have been sent while the batch before was waiting.
            self.check_open()
            try:
                await self.send_frame(batch, must_leave=True)
            except trio.Cancelled:
                self._post_rest(batches)
                raise
            finally:
                # A traceback may keep the frame; it is not to keep the buffer, too.
                if isinstance(batch, SlicedFrame):
                    batch.let_go()
            if self._turns.is_used_up(max(len(batch), LEAST_SENT_SIZE)):
                await trio.lowlevel.cancel_shielded_checkpoint()

    def give_up(self) -> None:
        """End the connection, because a message that has begun will not end."""
        if self._closing.reason is None:
            self._closing.close(_INTERNAL_ERROR, "a message could not be completed")

    def abandon(self) -> None:
        """Wake all who wait for their turn: it will not come."""
        if self._lock is not None and self._closing.reason is not None:
            self._lock.break_up()

    def _post_rest(self, batches: Iterator[bytes | SlicedFrame]) -> None:
        if self._closing.reason is not None:
            return  # the message stays without an end: nothing follows a Close
        for batch in batches:
            if isinstance(batch, SlicedFrame):
                batch.own()
            self._outbox.post(batch)

    async def _wait_for_turn(self) -> None:  # noqa: ASYNC910  # often there is no need
        """Wait for the end of every message that was begun before."""
        if self.encode is None and self._lock is not None and not self._lock.is_free:
            await self.acquire()
            # What follows is done before anybody else has a turn.
            self.release()
            self.check_open()

    def _draw_key(self) -> bytes | None:
        return None if self.masking_keys is None else self.masking_keys.draw()


class Borrowed:
    """A message in a form that can be sent, and that is let go behind the block.

    Text and bytes are as they are. Of another buffer there is a view if it is large,
    and a copy if it is small or not in one piece.
    """

    __slots__ = ("_content",)

    def __init__(self, message: WholeMessage) -> None:
        self._content: str | bytes | memoryview
        if isinstance(message, str | bytes):
            self._content = message
        else:
            with memoryview(message) as view:
                is_large = view.nbytes > SLICE_SIZE
                is_view = is_large and view.c_contiguous
                self._content = view.cast("B") if is_view else view.tobytes()

    def __enter__(self) -> str | bytes | memoryview:
        return self._content

    def __exit__(self, *_: object) -> None:
        if isinstance(self._content, memoryview):
            self._content.release()


def check_message(message: object, error: type[TypeError | ValueError]) -> WholeMessage:
    """Return text and anything bytes-like as it is; else raise an error."""
    if isinstance(message, str | bytes | bytearray | memoryview):
        return cast("WholeMessage", message)
    kinds = "str, bytes, bytearray or memoryview"
    raise error(f"a message must be {kinds}, not {type(message).__name__}")


def _gather(
    frames: Iterator[bytes | SlicedFrame],
) -> Iterator[bytes | SlicedFrame]:
    """Join small frames, so that a write is worth it."""
    parts: list[bytes] = []
    size = 0
    for frame in frames:
        if isinstance(frame, SlicedFrame):
            assert not parts
            yield frame
            continue
        parts.append(frame)
        size += len(frame)
        if size >= LEAST_SENT_SIZE:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)

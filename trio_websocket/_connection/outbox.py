"""Bytes that must leave, in order.

Theory of operation
===================

Everything that a connection sends goes through one queue, so the order on the wire is
the order of the calls. Two rules follow from what Trio promises about ``send_all``,
which is that a cancelled one cannot say how much it wrote, and leaves a TLS stream
broken for good:

* Only the *writer* waits inside ``send_all``: a task of the connection, shielded from
  every cancellation but the end of the connection. It is started when there is
  something to write and ends when there is nothing.
* A sender that is cancelled while its bytes are still queued takes them back, and
  nothing of them is ever sent. Once the writer has them, or the socket took a first
  part of them, they stay and leave whole. No frame is ever torn.

A stream that can be written without blocking (``WritesNow``) is tried first: if nothing
waits in front, a sender gives its bytes to the socket at once, and only what the socket
did not take is left to the writer. TLS over such a socket (``Holds``) takes all that it
is given and holds what the socket did not take, so a sender may encrypt in its own
task, out of reach of a cancellation, and the writer only waits for the rest to leave.
The writer takes all that waits at once, so concurrent senders share one write.

A large frame is not built at once but in slices, by whoever writes it.

``post`` is for those that must not wait, the reader above all: a peer that does not
read must not stop us from reading. What is posted is bounded by its senders: one Close,
and pongs, of which the oldest are dropped when more than 32 wait, because an answer to
the newest ping answers the older ones too (RFC 6455 section 5.5.3).

When a write fails the outbox is broken: whoever waits, or comes later, gets
``OutboxBroken``. The outbox does not know why a connection ends, nor what the bytes
mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeGuard, cast

import trio

from .._protocol.sliced_frame import SLICE_SIZE, SlicedFrame
from .._stream import STREAM_ERRORS
from .per_run import PerRun

MAX_WAITING_PONGS = 32
MAX_BATCH_SIZE = 131_072  # bytes: larger writes cost the cache more than they save
# Bytes that a sender writes without letting others run: the largest message that peers
# take unless they were told otherwise, 1 MiB, and its header.
MAX_SIZE_AT_ONCE = 9 * SLICE_SIZE

_TURNS_WITHOUT_WAITING = 16  # start the writer, encrypt, write, come back: about eight


class WritesNow(Protocol):
    """A stream that can be written without blocking."""

    def write_now(self, data: bytes | memoryview) -> int:
        """Write what can be written at once and tell how many bytes that was.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream was closed.

        """
        ...


def writes_now(stream: object) -> TypeGuard[WritesNow]:
    """Tell whether a stream can be written without blocking."""
    # To look through a protocol takes a twentieth of an opening.
    return hasattr(stream, "write_now")


class OutboxBroken(Exception):
    """Nothing can be sent any more."""


class Holds(Protocol):
    """A stream that can take all that it is given and hold it until it has left."""

    def hold(self) -> None:
        """Do so from now on."""
        ...

    @property
    def has_held(self) -> bool:
        """Whether something is held."""
        ...

    async def drain(self) -> None:
        """Wait until nothing is held.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream is closed.

        """
        ...


class _Entry:
    """Bytes that wait, and what waits for them.

    ``position`` tells how many of them the stream has taken already.
    """

    __slots__ = ("data", "is_done", "is_started", "on_written", "position", "task")

    def __init__(
        self,
        data: bytes | SlicedFrame,
        position: int,
        *,
        on_written: Callable[[], None] | None = None,
    ) -> None:
        self.data = data
        self.position = position
        self.is_started = position > 0
        self.is_done = False
        self.on_written = on_written
        self.task: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)


class Outbox:
    """The queue of one connection and its writer.

    ``start`` gives the writer a home; ``on_waiting`` is called when it needs one.
    """

    __slots__ = (
        "_holds",
        "_idle_waiters",
        "_is_broken",
        "_is_encrypting",
        "_nursery",
        "_on_broken",
        "_on_waiting",
        "_pongs",
        "_queue",
        "_stream",
        "_writer_scope",
        "_writes_now",
    )

    def __init__(
        self,
        stream: trio.abc.SendStream,
        on_broken: Callable[[Exception], None],
        *,
        on_waiting: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream
        self._holds = _find_holding(stream)
        self._writes_now = stream if writes_now(stream) else None
        if self._holds is not None:
            self._holds.hold()
        self._is_encrypting = False
        self._on_broken = on_broken
        self._on_waiting = on_waiting
        self._nursery: trio.Nursery | None = None
        # Lists, because an empty deque has 600 bytes.
        self._queue: list[_Entry] = []
        self._pongs: list[_Entry] = []  # those in the queue that may be dropped
        self._writer_scope: trio.CancelScope | None = None
        self._is_broken = False
        self._idle_waiters: trio.lowlevel.ParkingLot | None = None  # if there are any

    @property
    def is_broken(self) -> bool:
        """Whether a write has failed or the connection has ended."""
        return self._is_broken

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        return not (self._queue or self._writer_scope or self._is_encrypting)

    def start(self, nursery: trio.Nursery) -> None:
        """Give the writer a home; what was posted before leaves now."""
        self._nursery = nursery
        self._wake_writer()

    def hand_over(self, data: bytes | SlicedFrame) -> int:
        """Give the stream what it takes without waiting.

        Returns:
            How many bytes it took; ``send_rest`` does the rest.

        Raises:
            OutboxBroken: If nothing can be sent.

        """
        if self._is_broken:
            raise OutboxBroken
        stream = self._writes_now
        if stream is None or self._queue or self._writer_scope is not None:
            return 0
        try:
            if isinstance(data, bytes):
                return stream.write_now(data)
            return _write_slices(stream, data)
        except STREAM_ERRORS as error:
            self._break(error)
            raise OutboxBroken from error

    async def send_rest(
        self, data: bytes | SlicedFrame, position: int, *, must_leave: bool = False
    ) -> None:
        """Send what the stream did not take at once, and return when it has it.

        Args:
            data: What ``hand_over`` was given.
            position: What that returned.
            must_leave: Whether it leaves even if the call is cancelled.

        Raises:
            OutboxBroken: If it could not leave. A part of it may have.

        Cancellation:
            Bytes of which nothing was handed over are withdrawn, unless they must
            leave; the others leave whole, after the call.

        """
        if self._holds is not None and self.is_idle and len(data) <= MAX_BATCH_SIZE:
            await self._encrypt(cast("bytes", data), self._holds)
        else:
            entry = _Entry(data, position)
            entry.is_started |= must_leave
            await self._enqueue(entry)

    async def _encrypt(self, data: bytes, holds: Holds) -> None:
        self._is_encrypting = True
        try:
            with trio.CancelScope(shield=True):
                await self._stream.send_all(data)
        except STREAM_ERRORS as error:
            self._break(error)
            raise OutboxBroken from error
        finally:
            self._is_encrypting = False
            self._wake_writer()
            self._note_idle()
        if self._is_broken:
            raise OutboxBroken
        if holds.has_held:
            entry = _Entry(b"", 0)
            entry.is_started = True
            await self._enqueue(entry)

    async def _enqueue(self, entry: _Entry) -> None:
        self._append(entry)
        entry.task = trio.lowlevel.current_task()

        def give_up(_: object) -> trio.lowlevel.Abort:
            entry.task = None
            if not entry.is_started:
                self._queue.remove(entry)
            elif isinstance(entry.data, SlicedFrame):
                entry.data.own()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)
        if not entry.is_done:
            raise OutboxBroken

    def post(
        self,
        data: bytes | SlicedFrame,
        *,
        is_pong: bool = False,
        on_written: Callable[[], None] | None = None,
    ) -> None:
        """Send bytes without waiting; they are dropped if nothing can be sent.

        Args:
            data: What to send.
            is_pong: Whether it may be dropped for newer ones.
            on_written: Called when the stream has taken all of it.

        """
        try:
            position = self.hand_over(data)
        except OutboxBroken:
            return
        if position < len(data):
            entry = _Entry(data, position, on_written=on_written)
            self._append(entry)
            if is_pong and not entry.is_started:
                self._pongs.append(entry)
                self._drop_old_pong()
        elif on_written is not None:
            on_written()

    async def flush(self) -> None:  # noqa: ASYNC910  # nothing may be there
        """Wait until nothing waits any more, or nothing can leave."""
        while not self.is_idle and not self._is_broken:
            if self._idle_waiters is None:
                self._idle_waiters = trio.lowlevel.ParkingLot()
            await self._idle_waiters.park()

    async def flush_without_waiting(self) -> None:  # noqa: ASYNC910  # as flush
        """Let leave what leaves without waiting for the network.

        Not a checkpoint for cancellation: this is for those who were just cancelled.
        The writer gets a few turns of the scheduler, which is all that a stream needs
        that takes the bytes at once; one that does not is left as it is.
        """
        for _ in range(_TURNS_WITHOUT_WAITING):
            if self.is_idle or self._is_broken:
                return  # noqa: ASYNC910  # as above
            await trio.lowlevel.cancel_shielded_checkpoint()

    def close(self) -> None:
        """Stop: nothing more leaves, and whoever waits gets ``OutboxBroken``."""
        self._is_broken = True
        if self._writer_scope is not None:
            self._writer_scope.cancel()
        entries, self._queue = self._queue, []
        for entry in entries:
            entry.wake()
        self._note_idle()

    def _append(self, entry: _Entry) -> None:
        self._queue.append(entry)
        self._wake_writer()

    def _wake_writer(self) -> None:
        """Start the writer if something waits and nobody writes."""
        is_writing = self._writer_scope is not None or self._is_encrypting
        if not self._queue or is_writing:
            return
        if self._nursery is not None:
            self._writer_scope = trio.CancelScope(shield=True)
            self._nursery.start_soon(self._write, self._writer_scope)
        elif self._on_waiting is not None:
            self._on_waiting()

    def _drop_old_pong(self) -> None:
        if len(self._pongs) > MAX_WAITING_PONGS:
            self._queue.remove(self._pongs.pop(0))

    @trio.lowlevel.enable_ki_protection
    async def _write(  # noqa: ASYNC910  # what was to be written may be withdrawn
        self, scope: trio.CancelScope
    ) -> None:
        try:
            with scope:
                while self._queue:
                    await self._write_batch(self._take_batch())
        except STREAM_ERRORS as error:
            self._break(error)
        finally:
            self._writer_scope = None
            self._note_idle()

    def _take_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        for entry in self._queue:
            size += len(entry.data)
            if batch and size > MAX_BATCH_SIZE:
                break
            batch.append(entry)
            entry.is_started = True
            if self._pongs and entry is self._pongs[0]:
                del self._pongs[0]
        del self._queue[: len(batch)]
        return batch

    async def _write_batch(self, batch: list[_Entry]) -> None:
        try:
            if isinstance(batch[0].data, SlicedFrame):
                await self._write_frame(batch[0].data, batch[0].position)
            else:
                await self._write_all(batch)
            for entry in batch:
                entry.is_done = True
                if entry.on_written is not None:
                    entry.on_written()
        finally:
            for entry in batch:
                entry.wake()

    async def _write_frame(  # noqa: ASYNC910  # a frame is never empty
        self, frame: SlicedFrame, position: int
    ) -> None:
        scratch = bytearray(SLICE_SIZE)
        turn_at = position
        while position < len(frame):
            with frame.cut(position, scratch) as part:
                # The stream was full for the first part; then it may take some at once,
                # and others have their turn now and then.
                is_turn = position >= turn_at
                if is_turn:
                    turn_at = position + MAX_SIZE_AT_ONCE
                await self._write_part(part, at_once=not is_turn)
                position += len(part)

    async def _write_all(self, batch: list[_Entry]) -> None:
        parts = [cast("bytes", entry.data) for entry in batch]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        position = batch[0].position  # only the first of a queue can have begun
        if self._holds is None and not position:
            await self._stream.send_all(data)
            return
        with memoryview(data) as view:
            while True:
                with view[position : position + SLICE_SIZE] as part:
                    await self._write_part(part, at_once=False)
                position += SLICE_SIZE
                if position >= len(data):
                    return

    async def _write_part(  # noqa: ASYNC910  # the stream may take it all at once
        self, part: memoryview, *, at_once: bool
    ) -> None:
        if self._writes_now is not None:
            written = self._writes_now.write_now(part) if at_once else 0
            if written < len(part):
                await self._stream.send_all(part[written:])
        elif self._holds is not None:
            await self._stream.send_all(part)
            await self._holds.drain()
        else:
            # A stream of the program's own may keep what it is given.
            await self._stream.send_all(bytes(part))

    def _note_idle(self) -> None:
        """Have those who wait for the end of it look whether it has come."""
        if self._idle_waiters is not None:
            self._idle_waiters.unpark_all()

    def _break(self, error: Exception) -> None:
        if not self._is_broken:
            self.close()
            self._on_broken(error)


def _find_holding(stream: trio.abc.SendStream) -> Holds | None:
    """Return what is under TLS, if that can hold bytes."""
    if not isinstance(stream, trio.SSLStream):
        return None
    transport = cast("trio.SSLStream[trio.abc.Stream]", stream).transport_stream
    return cast("Holds", transport) if hasattr(transport, "hold") else None


# Where a sender makes its slices; they are used at once.
_find_scratch = PerRun(lambda: bytearray(SLICE_SIZE)).find


def _write_slices(stream: WritesNow, frame: SlicedFrame) -> int:
    scratch = _find_scratch()
    position = 0
    while position < min(len(frame), MAX_SIZE_AT_ONCE):
        with frame.cut(position, scratch) as part:
            written = stream.write_now(part)
            position += written
            if written < len(part):
                break
    return position

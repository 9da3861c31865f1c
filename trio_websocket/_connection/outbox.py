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
did not take is left to the writer. The writer takes all that waits at once, so
concurrent senders share one write.

``post`` is for those that must not wait, the reader above all: a peer that does not
read must not stop us from reading. What is posted is bounded by its senders: one Close,
and pongs, of which the oldest are dropped when more than 32 wait, because an answer to
the newest ping answers the older ones too (RFC 6455 section 5.5.3).

When a write fails the outbox is broken: whoever waits, or comes later, gets
``OutboxBroken``. The outbox does not know why a connection ends, nor what the bytes
mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import trio

from .._stream import STREAM_ERRORS

MAX_WAITING_PONGS = 32
MAX_BATCH_SIZE = 131_072  # bytes: larger writes cost the cache more than they save

_TURNS_WITHOUT_WAITING = 16  # start the writer, encrypt, write, come back: about eight


@runtime_checkable
class WritesNow(Protocol):
    """A stream that can be written without blocking."""

    def write_now(self, data: bytes | memoryview) -> int:
        """Write what can be written at once and tell how many bytes that was.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream was closed.

        """
        ...


class OutboxBroken(Exception):
    """Nothing can be sent any more."""


class _Entry:
    """Bytes that wait, and what waits for them."""

    __slots__ = ("data", "is_done", "is_started", "on_written", "task")

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        on_written: Callable[[], None] | None = None,
    ) -> None:
        self.data = data
        self.is_started = False
        self.is_done = False
        self.on_written = on_written
        self.task: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)


class Outbox:
    """The queue of one connection and its writer."""

    def __init__(
        self, stream: trio.abc.SendStream, on_broken: Callable[[Exception], None]
    ) -> None:
        self._stream = stream
        self._writes_now = stream if isinstance(stream, WritesNow) else None
        self._on_broken = on_broken
        self._nursery: trio.Nursery | None = None
        self._queue: deque[_Entry] = deque()
        self._pongs: deque[_Entry] = deque()  # those in the queue that may be dropped
        self._writer_scope: trio.CancelScope | None = None
        self._is_broken = False
        self._idle_waiters = trio.lowlevel.ParkingLot()

    @property
    def is_broken(self) -> bool:
        """Whether a write has failed or the connection has ended."""
        return self._is_broken

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        return not self._queue and self._writer_scope is None

    def start(self, nursery: trio.Nursery) -> None:
        """Give the writer a home; what was posted before leaves now."""
        self._nursery = nursery
        if self._queue:
            self._start_writer(nursery)

    async def send(self, data: bytes) -> None:
        """Send bytes and return when they were handed to the stream.

        A call whose bytes the stream takes at once does not yield.

        Raises:
            OutboxBroken: If they could not leave. A part of them may have.

        Cancellation:
            Bytes of which nothing was handed over are withdrawn; the others leave
            whole, after the call.

        """
        rest = self._write_at_once(data)
        if not rest:
            return  # noqa: ASYNC910  # see turns
        entry = _Entry(rest)
        entry.is_started = len(rest) < len(data)
        self._append(entry)
        entry.task = trio.lowlevel.current_task()

        def give_up(_: object) -> trio.lowlevel.Abort:
            entry.task = None
            if not entry.is_started:
                self._queue.remove(entry)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)
        if not entry.is_done:
            raise OutboxBroken

    def post(
        self,
        data: bytes,
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
            rest = self._write_at_once(data)
        except OutboxBroken:
            return
        if rest:
            entry = _Entry(rest, on_written=on_written)
            entry.is_started = len(rest) < len(data)
            self._append(entry)
            if is_pong and not entry.is_started:
                self._pongs.append(entry)
                self._drop_old_pong()
        elif on_written is not None:
            on_written()

    async def flush(self) -> None:  # noqa: ASYNC910  # nothing may be there
        """Wait until nothing waits any more, or nothing can leave."""
        while not self.is_idle and not self._is_broken:
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
        entries, self._queue = self._queue, deque()
        for entry in entries:
            entry.wake()
        self._idle_waiters.unpark_all()

    def _write_at_once(self, data: bytes) -> bytes | memoryview:
        """Give the socket what it takes now and return the rest."""
        if self._is_broken:
            raise OutboxBroken
        if self._writes_now is None or not self.is_idle:
            return data
        try:
            written = self._writes_now.write_now(data)
        except STREAM_ERRORS as error:
            self._break(error)
            raise OutboxBroken from error
        return b"" if written == len(data) else memoryview(data)[written:]

    def _append(self, entry: _Entry) -> None:
        self._queue.append(entry)
        if self._nursery is not None and self._writer_scope is None:
            self._start_writer(self._nursery)

    def _drop_old_pong(self) -> None:
        if len(self._pongs) > MAX_WAITING_PONGS:
            self._queue.remove(self._pongs.popleft())

    def _start_writer(self, nursery: trio.Nursery) -> None:
        self._writer_scope = trio.CancelScope(shield=True)
        nursery.start_soon(self._write, self._writer_scope)

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
            self._idle_waiters.unpark_all()

    def _take_batch(self) -> list[_Entry]:
        batch = [self._queue.popleft()]
        size = len(batch[0].data)
        while self._queue and size + len(self._queue[0].data) <= MAX_BATCH_SIZE:
            batch.append(self._queue.popleft())
            size += len(batch[-1].data)
        for entry in batch:
            entry.is_started = True
            if self._pongs and entry is self._pongs[0]:
                self._pongs.popleft()
        return batch

    async def _write_batch(self, batch: list[_Entry]) -> None:
        data = batch[0].data
        if len(batch) > 1:
            data = b"".join(entry.data for entry in batch)
        try:
            await self._stream.send_all(data)
            for entry in batch:
                entry.is_done = True
                if entry.on_written is not None:
                    entry.on_written()
        finally:
            for entry in batch:
                entry.wake()

    def _break(self, error: Exception) -> None:
        self.close()
        self._on_broken(error)

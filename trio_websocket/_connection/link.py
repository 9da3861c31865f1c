"""The parts of one connection put together, and the task that they live in.

Theory of operation
===================

A connection is one task in a nursery that its user can see. In it live the reader and,
when something has to wait for the network, the writer. The task ends when the stream is
not needed any more, and then it drops the stream, whatever happened before: no route
leads out of ``run`` that leaves a stream open or a task waiting. When time is up, what
still waits to be written leaves if that goes without waiting, our Close above all.

When the task is cancelled, with its nursery or from further out, the connection is
over. What the peer still hears is the ``farewell``: nothing, a Close frame if that can
be written without waiting, or a Close frame and some time for the answer. The reader
starts again for that, under a shield with a deadline; it lost nothing when it was
cancelled.

A nursery is a third of the memory of an idle connection, and who can write without
waiting seldom needs one. So on such a stream the reader runs without; as soon as
something has to wait for the network it is interrupted, and goes on within a nursery.

Ctrl-C does not strike in here, nor in the calls of a connection: Python would raise it
between any two steps, with a task in a queue that does not sleep yet. Trio delivers it
where the program waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from .._options import ConnectionOptions
from .._protocol.engine import Engine
from .._protocol.state import ConnectionState
from .._stream import drop, end_sending
from .closing import Closing
from .inbox import Inbox
from .outbox import Outbox, writes_now
from .reader import Reader
from .round_trips import RoundTrips
from .sender import Sender

_GOING_AWAY = 1001
_WAITING_FOR_PONGS = (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)


@dataclass(frozen=True, slots=True)
class Farewell:
    """What a connection says when the task that it lives in is cancelled.

    Attributes:
        grace: How many seconds to wait for the peer's answer to our Close with 1001; 0
            sends it only if that needs no waiting.

    """

    grace: float


class Link:
    """One stream, the protocol on it, and everything that is done with them."""

    __slots__ = (
        "_farewell",
        "_has_begun",
        "_has_to_end_sending",
        "_needs_nursery",
        "_nursery",
        "_reading_scope",
        "closing",
        "engine",
        "inbox",
        "name",
        "outbox",
        "reader",
        "round_trips",
        "sender",
        "stream",
    )

    def __init__(
        self,
        name: str,
        stream: trio.abc.Stream,
        engine: Engine,
        options: ConnectionOptions,
        *,
        farewell: Farewell | None,
    ) -> None:
        self.name: str = name
        self.stream: trio.abc.Stream = stream
        self.engine: Engine = engine
        self.round_trips: RoundTrips = RoundTrips()
        self.closing: Closing = Closing(
            name, engine, disconnect_timeout=options.disconnect_timeout
        )
        self.reader: Reader = Reader(
            stream,
            engine,
            self.closing,
            round_trips=self.round_trips,
            options=options,
        )
        self.inbox: Inbox = Inbox(
            options.message_queue_size,
            refill=self.reader.refill,
            on_taken=self.reader.wake,
            advance=self.reader.advance,
        )
        self.outbox: Outbox = Outbox(
            stream, self.closing.lose_writing, on_waiting=self._ask_for_nursery
        )
        self.sender: Sender = Sender(engine, self.outbox, self.closing)
        self.reader.join(self.inbox, self.outbox)
        self.closing.join(
            self.inbox,
            self.outbox,
            wake_waiters=self._wake_waiters,
            end_sending=self._end_sending,
        )
        self._nursery: trio.Nursery | None = None
        self._needs_nursery = not writes_now(stream)
        self._reading_scope: trio.CancelScope | None = None
        self._has_begun = False
        self._has_to_end_sending = False
        self._farewell = farewell

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Run the connection until it has ended and its stream was dropped.

        Cancellation:
            Ends the connection, after the farewell.

        """
        self._has_begun = True
        try:
            if self._needs_nursery or not await self._read():
                async with trio.open_nursery() as nursery:
                    self._start(nursery)
                    await self._read()
        finally:
            try:
                await drop(self.stream)  # noqa: ASYNC102  # it has a shield
            finally:
                self.closing.end()

    def _start(self, nursery: trio.Nursery) -> None:
        """Give those a home who have to wait for the network."""
        self._nursery = nursery
        self.outbox.start(nursery)
        if self._has_to_end_sending:
            nursery.start_soon(end_sending, self.stream)

    async def _read(self) -> bool:
        """Read until the stream is not needed any more.

        Returns:
            Whether it came to that. If not, a nursery is needed before.

        """
        try:
            with self.closing.scope as scope:
                self._reading_scope = scope
                await self.reader.run()
            self._reading_scope = None
            if self._needs_nursery and self._nursery is None:
                return False
            await self.reader.finish()
            await self.outbox.flush_without_waiting()
            self.outbox.close()
        except Exception as error:
            self.closing.lose(error)
            self.outbox.close()
            raise
        except trio.Cancelled:
            self._reading_scope = None
            await self._say_farewell()  # noqa: ASYNC102  # it has a shield
            self.outbox.close()
            raise
        return True

    def _ask_for_nursery(self) -> None:
        """Have the reader go on within a nursery, if there is none."""
        if self._nursery is not None or self._needs_nursery:
            return
        if not self._has_begun:
            self._needs_nursery = True
        elif self._reading_scope is not None and not self.closing.is_dropping:
            self._needs_nursery = True
            deadline = self._reading_scope.deadline
            self.closing.scope = trio.CancelScope(deadline=deadline)
            self._reading_scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def flush(self) -> None:
        """Wait until everything that was posted was handed to the stream.

        Raises:
            ConnectionClosed: If it never will be.

        """
        await self.outbox.flush()
        if self.outbox.is_broken:
            await self.closing.ended.wait()
            raise self.closing.error() from self.closing.cause

    async def _say_farewell(self) -> None:
        if self._farewell is None or self.closing.is_dropping:
            return  # noqa: ASYNC910  # nothing is to be said
        grace = self._farewell.grace
        deadline = self.closing.scope.deadline
        with trio.CancelScope(shield=True, deadline=deadline) as scope:
            self.closing.scope = scope
            if self._nursery is not None:
                await self._say_goodbye(grace)
                return
            async with trio.open_nursery() as nursery:
                self._start(nursery)
                await self._say_goodbye(grace)
                self.outbox.close()

    async def _say_goodbye(self, grace: float) -> None:
        self.closing.close(_GOING_AWAY, None)
        if grace:
            self.closing.limit(grace)
            await self.reader.run()
        else:
            await self.outbox.flush_without_waiting()

    def _end_sending(self) -> None:
        if self._has_to_end_sending:
            return
        self._has_to_end_sending = True
        if self._nursery is not None:
            self._nursery.start_soon(end_sending, self.stream)
        else:
            self._ask_for_nursery()

    def _wake_waiters(self) -> None:
        self.reader.wake()
        self.sender.abandon()
        if self.engine.state not in _WAITING_FOR_PONGS:
            self.round_trips.abandon()


async def start_link(  # noqa: ASYNC910  # it cannot be cancelled half-way
    nursery: trio.Nursery,
    link: Link,
    run: Callable[[Link], Awaitable[object]] = Link.run,
) -> None:
    """Start a connection's task, or drop its stream if the nursery takes no more.

    Args:
        nursery: Where the task lives.
        link: The connection.
        run: What the task does: run the link, and perhaps look at how that ended.

    """
    is_started = False
    try:
        nursery.start_soon(run, link)
        is_started = True
    finally:
        if not is_started:
            await drop(link.stream)  # noqa: ASYNC102  # it has a shield

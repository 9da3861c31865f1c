"""Messages that have arrived, and the tasks that wait for one.

Theory of operation
===================

At most ``size`` messages lie here unread; behind them are the undecoded bytes of one
receive in the engine, and behind those the peer, who can send no more once the socket's
buffers are full. That is the back-pressure. Each task that waits is room for one more.

Whoever has a use for the next message decodes it: the reader while there is room, and a
task that finds nothing here but may find undecoded bytes (``refill``). A hand-over from
the reader is only for a task that had to wait.

A message given to a waiting task keeps its place until that task has run: it counts as
unread, and the reader does nothing behind it. So a reply that the task sends in its
turn leaves before the answer to whatever came behind the message: our Close in reply to
the peer's, or to a violation. The same holds for a task that lets others run between
taking a message and returning with it. Waiting tasks are served first come, first
served.

Closing the inbox wakes them all. What was queued is still delivered if the peer closed
or vanished, and dropped if we closed. While somebody has said that messages are not
wanted (``unwanted``), one that no task waits for is not kept, also if it was here
before; and a task that wants one gets in the queue at once, where it can be seen.

The inbox does not know the protocol. ``on_taken`` tells the reader that there is room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

import trio

Message = str | bytes


class InboxClosed(Exception):
    """No message will come any more."""


class _Ticket:
    """A task in the queue for a message."""

    __slots__ = ("message", "task")

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self.message: Message | None = None


class Inbox:
    """The messages of one connection that nobody has taken yet."""

    def __init__(
        self,
        size: float,
        *,
        refill: Callable[[], None],
        on_taken: Callable[[], None],
    ) -> None:
        self._size = size
        self._refill = refill
        self._on_taken = on_taken
        self._messages: deque[Message] = deque()
        self._tickets: deque[_Ticket] = deque()
        self._handed_over = 0
        self._on_unwanted: list[Callable[[], None]] = []
        self.is_closed: bool = False

    @property
    def has_room(self) -> bool:
        """Whether the next message may be decoded."""
        if self._tickets or self.is_closed or self._on_unwanted:
            return True
        return len(self._messages) + self._handed_over < self._size

    @property
    def has_waiters(self) -> bool:
        """Whether a task waits for a message."""
        return bool(self._tickets)

    @property
    def has_handed_over(self) -> bool:
        """Whether a task that was given a message has not run yet."""
        return self._handed_over > 0

    @property
    def is_unread(self) -> bool:
        """Whether a message is here that no task has taken, or not yet run with."""
        return bool(self._messages) or self._handed_over > 0

    @property
    def is_unwanted(self) -> bool:
        """Whether the next message would not be kept."""
        return bool(self._on_unwanted) and not self._tickets

    def turn_away(self) -> None:
        """Say that a message came which is not wanted."""
        self._on_unwanted[-1]()

    def put(self, message: Message) -> None:
        """Give a message to the task that waits longest, or keep it."""
        if self.is_closed:
            return
        if self._tickets:
            ticket = self._tickets.popleft()
            ticket.message = message
            self._handed_over += 1
            trio.lowlevel.reschedule(ticket.task)
        elif self._on_unwanted:
            self.turn_away()
        else:
            self._messages.append(message)

    async def get(self) -> Message:
        """Take the oldest message; does not yield if one is at hand.

        Raises:
            InboxClosed: Once no message will come any more.

        Cancellation:
            A cancelled call takes nothing.

        """
        if not self._messages and not self._on_unwanted:
            self._refill()
        if self._messages:
            message = self._messages.popleft()
            self._on_taken()
            return message  # noqa: ASYNC910  # see turns
        if self.is_closed:
            raise InboxClosed
        return await self._wait()

    async def let_others_run(self) -> None:
        """Give up a turn with a message just taken, which keeps its place meanwhile."""
        self._handed_over += 1
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._handed_over -= 1
        self._on_taken()

    async def _wait(self) -> Message:
        ticket = _Ticket()
        self._tickets.append(ticket)

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._tickets.remove(ticket)
            return trio.lowlevel.Abort.SUCCEEDED

        # The reader may have stopped in front of a message that there is room for now.
        self._on_taken()
        await trio.lowlevel.wait_task_rescheduled(give_up)
        if ticket.message is None:
            raise InboxClosed
        self._handed_over -= 1
        self._on_taken()
        return ticket.message

    def close(self, *, discard: bool) -> None:
        """Take no more messages and wake every task that waits for one.

        Args:
            discard: Whether messages that were not taken are dropped.

        """
        self.is_closed = True
        if discard:
            self._messages.clear()
        tickets, self._tickets = self._tickets, deque()
        for ticket in tickets:
            trio.lowlevel.reschedule(ticket.task)

    @contextmanager
    def unwanted(self, on_message: Callable[[], None]) -> Generator[None]:
        """Keep no message that no task waits for; ``on_message`` is called instead."""
        self._on_unwanted.append(on_message)
        try:
            if self._messages and not self.is_closed:
                self._messages.clear()
                on_message()
            self._on_taken()
            yield
        finally:
            self._on_unwanted.remove(on_message)

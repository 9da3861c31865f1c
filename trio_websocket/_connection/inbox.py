"""Messages that have arrived, and the tasks that wait for one.

Theory of operation
===================

At most ``size`` messages lie here unread because they came; behind them are the
undecoded bytes of one receive in the engine, and behind those the peer, who can send no
more once the socket's buffers are full. That is the back-pressure. Each task that waits
is room for one more.

Whoever has a use for the next message decodes it: the reader while there is room, and a
task that finds nothing here but may find undecoded bytes (``refill``). To decode many
at once costs little more than one, so such a task decodes up to ``BATCH_SIZE`` ahead of
the reader, which stands still until only ``size`` are left. A hand-over from the reader
is only for a task that had to wait.

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
from typing import Protocol

import trio

Message = str | bytes

_MAX_BYTES_PER_CHARACTER = 4  # of UTF-8
_NONE: deque[Message] = deque(maxlen=0)  # what an idle connection has; see ``put``
BATCH_SIZE = 256  # messages: what a task that wants one decodes at once, at most


class Refill(Protocol):
    """Decodes messages for a task that asks for them."""

    def __call__(self, limit: int, /, *, is_more: bool) -> None:
        """Decode until a message is at hand, or none can be had without waiting.

        Args:
            limit: How many messages to decode at most; 0 decodes none.
            is_more: Whether the task has messages in its hands already, so that nothing
                may be done which must wait for its reply to them.

        """
        ...


class InboxClosed(Exception):
    """No message will come any more."""


class _Ticket:
    """A task in the queue for a message."""

    __slots__ = ("_queue", "message", "task")

    def __init__(self, queue: list[_Ticket]) -> None:
        self.task = trio.lowlevel.current_task()
        self.message: Message | None = None
        self._queue = queue
        queue.append(self)

    def give_up(self, _: object) -> trio.lowlevel.Abort:
        """Leave the queue because the task was cancelled."""
        self._queue.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED


class Inbox:
    """The messages of one connection that nobody has taken yet.

    Attributes:
        messages: The messages, oldest first. While there are more than ``spare`` of
            them, the oldest may be taken without a call.
        spare: See ``messages``.
        taken_size: How many bytes the last call that took messages has to answer for:
            those it took, and those that were decoded for it in advance.
        is_closed: Whether no message will come any more.
        is_dry: Whether nothing can be decoded before the reader has received more, so
            that a task that finds no message need not ask.
        handed_over: How many tasks were given a message and have not run yet.

    """

    __slots__ = (
        "_fresh_size",
        "_on_taken",
        "_on_unwanted",
        "_refill",
        "_size",
        "_tickets",
        "handed_over",
        "is_closed",
        "is_dry",
        "messages",
        "spare",
        "taken_size",
    )

    def __init__(
        self,
        size: float,
        *,
        refill: Refill,
        on_taken: Callable[[], None],
    ) -> None:
        self.messages: deque[Message] = _NONE
        self.spare: float = size + 1  # the reader must be told when there is room again
        self.taken_size: int = 0
        self.is_closed: bool = False
        self.is_dry: bool = False
        self._size = size
        self._refill = refill
        self._on_taken = on_taken
        self._tickets: list[_Ticket] = []  # an empty deque has 600 bytes
        self.handed_over: int = 0
        self._fresh_size = 0  # on the wire, of what was decoded for the task that asks
        self._on_unwanted: list[Callable[[], None]] = []

    @property
    def room(self) -> int:
        """How many more messages may be decoded, in one go."""
        if self._tickets:
            return 1
        if self.is_closed or self._on_unwanted:
            return BATCH_SIZE
        free = self._size - len(self.messages) - self.handed_over
        return int(min(max(free, 0), BATCH_SIZE))

    @property
    def is_ahead(self) -> bool:
        """Whether more messages are unread than may come before one is asked for."""
        return len(self.messages) > self._size

    @property
    def has_waiters(self) -> bool:
        """Whether a task waits for a message."""
        return bool(self._tickets)

    @property
    def has_handed_over(self) -> bool:
        """Whether a task that was given a message has not run yet."""
        return self.handed_over > 0

    @property
    def is_unread(self) -> bool:
        """Whether a message is here that no task has taken, or not yet run with."""
        return bool(self.messages) or self.handed_over > 0

    @property
    def is_unwanted(self) -> bool:
        """Whether the next message would not be kept."""
        return bool(self._on_unwanted) and not self._tickets

    def turn_away(self) -> None:
        """Say that a message came which is not wanted."""
        self._on_unwanted[-1]()

    def put(self, messages: list[Message], size: int) -> None:
        """Give messages to the tasks that wait longest, or keep them.

        Args:
            messages: The messages, no more than there was room for.
            size: How many bytes they had on the wire.

        """
        if self.is_closed:
            return
        self._fresh_size += size
        if self._tickets:
            (message,) = messages
            ticket = self._tickets.pop(0)
            ticket.message = message
            self.handed_over += 1
            trio.lowlevel.reschedule(ticket.task)
        elif self._on_unwanted:
            self.turn_away()
        elif self.messages is _NONE:
            self.messages = deque(messages)  # made late: an empty one has 600 bytes
        else:
            self.messages += messages

    def take(self) -> Message | None:
        """Take the oldest message; None if a task has to wait for it.

        Raises:
            InboxClosed: Once no message will come any more.

        """
        has_asked = not self.messages
        if has_asked:
            if self.is_dry and not self.is_closed:
                return None
            self._ask(BATCH_SIZE)
        if self.messages:
            message = self.messages.popleft()
            self.taken_size = self._fresh_size if has_asked else _measure(message)
            if not self.is_ahead:
                self._on_taken()
            return message
        if self.is_closed:
            raise InboxClosed
        return None

    async def wait(self) -> Message:
        """Wait for the next message that no task before this one wants.

        Raises:
            InboxClosed: Once no message will come any more.

        Cancellation:
            A cancelled call takes nothing.

        """
        ticket = _Ticket(self._tickets)
        if not self.is_dry:
            # The reader may have stopped in front of what there is room for now.
            self._on_taken()
        await trio.lowlevel.wait_task_rescheduled(ticket.give_up)
        if ticket.message is None:
            raise InboxClosed
        self.handed_over -= 1
        self._on_taken()
        self.taken_size = _measure(ticket.message)
        return ticket.message

    def take_all(self, limit: int) -> list[Message]:
        """Take all messages at hand, oldest first; none if a task has to wait.

        Args:
            limit: The most messages to take.

        Raises:
            InboxClosed: Once no message will come any more.

        """
        has_asked = not self.messages
        if has_asked:
            self._ask(limit)
        if not self.messages and self.is_closed:
            raise InboxClosed
        taken: list[Message] = []
        while self.messages and len(taken) < limit:
            if len(self.messages) <= limit - len(taken):
                taken += self.messages
                self.messages.clear()
                self._refill(limit - len(taken), is_more=True)
            else:
                taken.append(self.messages.popleft())
        self.taken_size = self._fresh_size if has_asked else sum(map(_measure, taken))
        if taken:
            self._on_taken()
        return taken

    def _ask(self, limit: int) -> None:
        """Have messages decoded for the task that asks, if it may take them at once."""
        if not (self.is_closed or self._tickets or self._on_unwanted):
            self._fresh_size = 0
            self._refill(limit, is_more=False)

    async def let_others_run(self) -> None:
        """Give up a turn with a message just taken, which keeps its place meanwhile."""
        self.handed_over += 1
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.handed_over -= 1
        self._on_taken()

    def close(self, *, discard: bool) -> None:
        """Take no more messages and wake every task that waits for one.

        Args:
            discard: Whether messages that were not taken are dropped.

        """
        self.is_closed = True
        if discard:
            self.messages.clear()
        for ticket in self._tickets:
            trio.lowlevel.reschedule(ticket.task)
        self._tickets.clear()

    @contextmanager
    def unwanted(self, on_message: Callable[[], None]) -> Generator[None]:
        """Keep no message that no task waits for; ``on_message`` is called instead."""
        self._on_unwanted.append(on_message)
        try:
            if self.messages and not self.is_closed:
                self.messages.clear()
                on_message()
            self._on_taken()
            yield
        finally:
            self._on_unwanted.remove(on_message)


def _measure(message: Message) -> int:
    """Tell how many bytes a message has, at most: of text nobody has counted them."""
    is_exact = isinstance(message, bytes) or message.isascii()
    return len(message) if is_exact else _MAX_BYTES_PER_CHARACTER * len(message)

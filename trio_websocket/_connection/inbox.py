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

A task may also read a message while it arrives (``open``). It holds a lock until it is
done with the message, and every other task that wants one waits for that, in the order
of the calls. Its place in the queue is a ticket like any other, but one that a message
is given to which has only begun. ``spare``, the quick path, is out of reach meanwhile.

Closing the inbox wakes them all. What was queued is still delivered if the peer closed
or vanished, and dropped if we closed. While somebody has said that messages are not
wanted (``unwanted``), one that no task waits for is not kept, also if it was here
before; and a task that wants one gets in the queue at once, where it can be seen.

The inbox does not know the protocol. ``on_taken`` tells the reader that there is room.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

import trio

from .incoming_message import IncomingMessage, Part
from .message_lock import LockBroken, MessageLock

Message = str | bytes

_MAX_BYTES_PER_CHARACTER = 4  # of UTF-8
_NONE: deque[Message] = deque(maxlen=0)  # what an idle connection has; see ``put``
_MAX_BATCH_BYTES = 1_048_576  # one receive may hold a hundred times that, compressed
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

    __slots__ = ("_queue", "max_size", "message", "task")

    def __init__(self, queue: list[_Ticket], *, max_size: float | None = None) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.max_size = max_size  # of a message that is read while it arrives
        self.message: Message | IncomingMessage | None = None
        self._queue = queue
        queue.append(self)

    async def wait(self) -> None:
        """Wait until the ticket was served, or will not be."""
        self.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._give_up)

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
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
        is_streaming: Whether a task reads a message while it arrives, or waits to.
        incoming: The message that is being read, if it has begun.

    """

    __slots__ = (
        "_advance",
        "_fresh_size",
        "_lock",
        "_on_taken",
        "_on_unwanted",
        "_refill",
        "_size",
        "_tickets",
        "handed_over",
        "incoming",
        "is_closed",
        "is_dry",
        "is_streaming",
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
        advance: Callable[[], None],
    ) -> None:
        """Make an empty inbox.

        Args:
            size: How many messages may lie here because they came.
            refill: See `Refill`.
            on_taken: Tells the reader that there may be room.
            advance: Decodes the next part of a message for the task that reads it, if
                it can be had without waiting.

        """
        self.messages: deque[Message] = _NONE
        self.spare: float = size + 1  # the reader must be told when there is room again
        self.taken_size: int = 0
        self.is_closed: bool = False
        self.is_dry: bool = False
        self._size = size
        self.is_streaming: bool = False
        self.incoming: IncomingMessage | None = None
        self._lock: MessageLock | None = None  # most connections need none
        self._refill = refill
        self._on_taken = on_taken
        self._advance = advance
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
    def unread_size(self) -> int:
        """How many characters or bytes are here that no task has taken."""
        parts = () if self.incoming is None else self.incoming.parts
        return sum(map(len, self.messages)) + sum(map(len, parts))

    @property
    def is_unwanted(self) -> bool:
        """Whether the next message would not be kept."""
        return bool(self._on_unwanted) and not self._tickets

    @property
    def wants_parts(self) -> bool:
        """Whether the next message is for a task that reads it while it arrives."""
        return bool(self._tickets) and self._tickets[0].max_size is not None

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
            if self.wants_parts:
                self.begin(message).complete(message)
            else:
                self._serve(message)
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
        try:
            await ticket.wait()
        except trio.Cancelled:
            if self.wants_parts:
                self._advance()  # what has begun is for the next in the queue
            raise
        message = ticket.message
        if message is None:
            raise InboxClosed
        assert not isinstance(message, IncomingMessage)
        self.handed_over -= 1
        self._on_taken()
        self.taken_size = _measure(message)
        return message

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
        size = 0  # of what was decoded for this call
        while self.messages and len(taken) < limit:
            if len(self.messages) > limit - len(taken):
                taken.append(self.messages.popleft())
                continue
            taken += self.messages
            self.messages.clear()
            if size >= _MAX_BATCH_BYTES:
                break
            before = self._fresh_size
            try:
                self._refill(limit - len(taken), is_more=True)
            except BaseException:  # an extension of the program's has failed
                self.messages.extendleft(reversed(taken))
                raise
            size += self._fresh_size - before
        self.taken_size = self._fresh_size if has_asked else sum(map(_measure, taken))
        if taken:
            self._on_taken()
        return taken

    def _ask(self, limit: int) -> None:
        """Have messages decoded for the task that asks, if it may take them at once."""
        if not (self.is_closed or self._tickets or self._on_unwanted):
            self._fresh_size = 0
            self._refill(limit, is_more=False)

    # A message that is read while it arrives.

    async def wait_for_turn(self) -> None:  # noqa: ASYNC910  # often there is no need
        """Wait for the end of every message that is being read, or was to be, before.

        Raises:
            InboxClosed: Once no message will come any more.
            RuntimeError: If the task itself is reading one.

        """
        if self._lock is not None and not self._lock.is_free:
            await self._acquire(self._lock)
            # What follows is done before anybody else has a turn.
            self._release(self._lock)

    async def open(self, max_size: float) -> IncomingMessage:
        """Wait for the next message to begin; ``leave`` must follow.

        Args:
            max_size: How many bytes it may have.

        Raises:
            InboxClosed: Once no message will come any more.
            RuntimeError: If the task is reading one already.

        Cancellation:
            A cancelled call takes nothing.

        """
        if self._lock is None:
            self._lock = MessageLock()
        await self._acquire(self._lock)
        try:
            if self.messages:
                message = self.messages.popleft()
                self._begin(max_size, message).complete(message)
                self._on_taken()
            elif self.is_closed:
                raise InboxClosed
            else:
                await self._wait_for_beginning(max_size)
            self._note_streaming()
            assert self.incoming is not None
        except BaseException:
            self._note_streaming()
            self._release(self._lock)
            raise
        return self.incoming

    async def _wait_for_beginning(  # noqa: ASYNC910  # something may be here
        self, max_size: float
    ) -> None:
        ticket = _Ticket(self._tickets, max_size=max_size)
        self.is_streaming = True
        try:
            self._advance()
        except BaseException:  # an extension of the program's has failed
            self._tickets[:] = [other for other in self._tickets if other is not ticket]
            raise
        if ticket.message is None and not self.is_closed:
            self._on_taken()
            await ticket.wait()
            self.handed_over -= ticket.message is not None
        if ticket.message is None:
            raise InboxClosed

    def begin(self, part: Part) -> IncomingMessage:
        """Give the task that is the next to read a message one that has begun.

        Args:
            part: What tells the kind of the message.

        """
        max_size = self._tickets[0].max_size
        assert max_size is not None
        incoming = self._begin(max_size, part)
        self._serve(incoming)
        return incoming

    def _begin(self, max_size: float, part: Part) -> IncomingMessage:
        is_text = isinstance(part, str)
        self.incoming = IncomingMessage(is_text=is_text, max_size=max_size)
        return self.incoming

    async def take_part(  # noqa: ASYNC910  # one may be here
        self, incoming: IncomingMessage
    ) -> Part | None:
        """Take the next part of the message that is being read; None at its end.

        Raises:
            InboxClosed: If the rest of the message will not come, or was left.

        Cancellation:
            A cancelled call takes nothing.

        """
        while not incoming.parts:
            if incoming.is_broken:
                raise InboxClosed
            if incoming.is_whole:
                return None  # noqa: ASYNC910  # as above
            self._advance()
            if not (incoming.parts or incoming.is_over):
                self._on_taken()
                await incoming.wait()
        part = incoming.parts.popleft()
        self._on_taken()
        return part  # noqa: ASYNC910  # as above

    def leave(self) -> None:
        """Have the next task take messages, whatever is left of this one."""
        assert self._lock is not None
        assert self.incoming is not None
        self.incoming.break_off(discard=True)
        self.incoming = None
        self._note_streaming()
        self._release(self._lock)
        self._on_taken()

    async def _acquire(  # noqa: ASYNC910  # it may be free
        self, lock: MessageLock
    ) -> None:
        self.spare = math.inf
        try:
            await lock.acquire()
        except LockBroken:
            raise InboxClosed from None

    def _release(self, lock: MessageLock) -> None:
        lock.release()
        if lock.is_free:
            self.spare = self._size + 1

    def _serve(self, message: Message | IncomingMessage) -> None:
        """Give a message to the task that waits longest."""
        ticket = self._tickets.pop(0)
        ticket.message = message
        if ticket.task is not None:
            self.handed_over += 1
            trio.lowlevel.reschedule(ticket.task)

    def _note_streaming(self) -> None:
        is_wanted = any(ticket.max_size is not None for ticket in self._tickets)
        self.is_streaming = is_wanted or self.incoming is not None

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
            if ticket.task is not None:
                trio.lowlevel.reschedule(ticket.task)
        self._tickets.clear()
        if self.incoming is not None:
            self.incoming.break_off(discard=discard)
        if self._lock is not None and not self.messages:
            self._lock.break_up()

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

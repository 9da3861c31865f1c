"""Receive, feed the engine, deliver.

Theory of operation
===================

One task of each connection receives from its stream, for as long as the stream exists.
It never waits for a writer, and for a consumer only in front of a message that finds no
room; so pings are answered and a Close is seen however busy the application is, and two
sides that both send at full speed cannot block each other.

``pump`` takes events from the engine and acts on them. It does not wait, and two kinds
of tasks run it: the reader, and a task in ``get_message`` that finds no message at hand
(``refill``), which saves a turn of the scheduler for each message of a flood. Such a
task also receives, if the stream can be read without waiting and had much to give last
time. The reader, which waits for the same stream meanwhile, is woken for what that task
leaves behind, and finds what is wrong with the stream by itself. The pump stops

* when the engine needs bytes: then the reader receives;
* when the next frame begins a message and there is no room for it, and the reader also
  when messages were decoded ahead of it;
* while a task that was given a message has not run: what comes behind the message may
  end the connection, and that task's reply is to leave before;
* after some events, because a peer can put tens of thousands into one receive, and
  other tasks want their turn;
* for good, at a message over the limit or at a violation.

A violation is acted on when every message before it was taken, which is at once if none
is unread. A message over the limit is nobody's business until somebody asks for it;
then it ends the connection with 1009. Until then the peer is simply not read. Where
messages are not wanted anyway, it is passed over like any other.

A task may read a message while it arrives. Then the engine tells it in parts, and each
part goes to that task; the pump stops while one is not taken, and in front of a Close
until the task is done with the message. What was joined already of a message that such
a task asks for, the parts of one over the limit too, is its first part. A message that
is not read to its end is dropped as it comes, up to the limit.

When the reader stops in front of something it parks; whoever changes what it waits for
(``wake``) lets it look again. Waking too often does no harm.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeGuard

import trio

from .._options import RECEIVE_BYTES, ConnectionOptions
from .._protocol.assembler import Assembler, MessageTooBig
from .._protocol.engine import Engine
from .._protocol.events import (
    CloseReceived,
    MessagesReceived,
    Pause,
    Piece,
    PingReceived,
    PongReceived,
    RareEvent,
    ViolationFound,
)
from .._protocol.receive_buffer import ReceiveBuffer
from .._protocol.state import MAY_SEND_MESSAGES, ConnectionState
from .._stream import STREAM_ERRORS
from .closing import Closing
from .inbox import BATCH_SIZE, Inbox
from .incoming_message import IncomingMessage
from .outbox import Outbox
from .per_run import PerRun
from .round_trips import RoundTrips

logger = logging.getLogger("trio-websocket")

_POLICY_VIOLATION = 1008
_MESSAGE_TOO_BIG = 1009
_INTERNAL_ERROR = 1011
_MAX_FINISHING_SIZE = 4_194_304  # bytes: more than a receive can hold uncompressed
_EVENTS_PER_TURN = 32  # less than a millisecond of work, so that floods delay nobody
_RECEIVES_PER_CALL = 16  # as above, for a task that receives for itself
_VACANCY_FACTOR = 8  # a large message goes straight to its place in large receives


class ReadsNow(Protocol):
    """A stream that can be read without blocking."""

    def read_now(self, size: int) -> bytes | None:
        """Read what is there, if there is something; nothing at the end.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream was closed.

        """
        ...

    def read_now_into(self, buffer: memoryview) -> int | None:
        """Read what is there into a buffer and tell how much that was.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream was closed.

        """
        ...

    def wait_readable(self) -> Awaitable[None]:
        """Wait until there is something, or the end."""
        ...


def reads_now(stream: object) -> TypeGuard[ReadsNow]:
    """Tell whether a stream can be read without blocking."""
    return hasattr(stream, "read_now_into")  # as writes_now


class Reader:
    """The receiving half of one connection.

    Attributes:
        on_ping: What is called with the payload of each ping.

    """

    __slots__ = (
        "_answers_pings",
        "_assembler",
        "_closing",
        "_engine",
        "_inbox",
        "_is_finishing",
        "_is_flowing",
        "_is_skipping",
        "_max_plain_size",
        "_max_size",
        "_message_size",
        "_outbox",
        "_parked",
        "_reads_now",
        "_receive_size",
        "_round_trips",
        "_skip_left",
        "_stream",
        "_stream_error",
        "_too_big",
        "_violation",
        "_wait_scope",
        "on_ping",
    )

    def __init__(
        self,
        stream: trio.abc.ReceiveStream,
        engine: Engine,
        closing: Closing,
        *,
        round_trips: RoundTrips,
        options: ConnectionOptions,
    ) -> None:
        self._stream = stream
        self._engine = engine
        self._closing = closing
        self._round_trips = round_trips
        self._reads_now = stream if reads_now(stream) else None
        self._receive_size = options.receive_buffer_size
        self._max_size = options.max_message_size
        self._max_plain_size = int(min(options.max_message_size, sys.maxsize))
        self._answers_pings = options.auto_pong
        self.on_ping: Callable[[bytes], object] | None = None
        self._is_flowing = False
        self._stream_error: Exception | None = None
        self._assembler: Assembler | None = None  # the lane needs none
        self._message_size = 0
        self._is_finishing = False
        self._is_skipping = False
        self._skip_left: float = 0
        self._too_big: tuple[MessageTooBig, Piece] | None = None
        self._violation: ViolationFound | None = None
        self._parked: trio.lowlevel.Task | None = None
        self._wait_scope: trio.CancelScope | None = None

    def join(self, inbox: Inbox, outbox: Outbox) -> None:
        """Meet the parts that this one serves."""
        self._inbox = inbox
        self._outbox = outbox

    async def run(self) -> None:
        """Read until the stream has ended or is not needed any more.

        Cancellation:
            Nothing that was received is lost: a second call goes on where it stopped.

        """
        while True:
            pause = self._pump()
            if pause is None:
                await trio.lowlevel.checkpoint()
            elif pause is Pause.ROOM:
                await self._park()
            elif pause is Pause.ENDED and self._is_ours_to_end():
                await self._outbox.flush()
                return
            else:
                self._inbox.is_dry = not self._is_flowing
                try:
                    # No coroutine of ours in between: an idle connection would keep it.
                    data = await self._wait_for_data()
                    self._inbox.is_dry = False
                    if self._take_in(data) == 0:
                        self._closing.lose(self._stream_error)
                        return
                except STREAM_ERRORS as error:
                    self._closing.lose(error)
                    return  # noqa: ASYNC910  # the reader is done

    async def finish(self) -> None:  # noqa: ASYNC910  # often nothing is left
        """Decode what was received, room or not: the stream will not be read again.

        That is at most what one receive held. A Close may be in it, and the messages in
        front of it are better delivered than lost. But a peer that compresses can put a
        thousand times as much into it, so there is an end to that.
        """
        self._is_finishing = True
        while True:
            if self._pump() is not None:
                return  # noqa: ASYNC910  # as above
            await trio.lowlevel.checkpoint()

    def refill(self, limit: int, *, is_more: bool) -> None:
        """Decode messages for a task that asks; see ``Refill``."""
        if not limit:
            return
        pause: Pause | None = Pause.DATA
        if self._engine.has_undecoded or self._violation or self._too_big:
            pause = self._pump(limit, is_more=is_more)
        elif not self._is_flowing:
            return
        if not is_more:
            self._receive_more(pause, limit)

    def advance(self) -> None:
        """Decode, and receive, for a task that reads a message while it arrives."""
        self._receive_more(self._pump(1), 1)

    def _receive_more(self, pause: Pause | None, limit: int) -> None:
        """Receive and decode for a task until it has something, or nothing is there."""
        for _ in range(_RECEIVES_PER_CALL):
            if pause is not Pause.DATA or not self._receive_for_caller():
                return
            pause = self._pump(limit)

    def skip(self) -> None:
        """Drop the rest of the message that was being read.

        If that is more than a message may have, the connection ends with 1008.
        """
        self._is_skipping = True
        self._skip_left = self._max_size

    def wake(self) -> None:
        """Look again at what the reader stopped for."""
        task, self._parked = self._parked, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        elif self._wait_scope is not None and self._is_left_behind:
            self._wait_scope.cancel()

    @property
    def _is_left_behind(self) -> bool:
        """Whether a task that received for itself left something to the reader."""
        return (
            self._engine.has_undecoded
            or self._engine.is_over
            or self._violation is not None
            or self._too_big is not None
        )

    async def _park(self) -> None:
        self._parked = trio.lowlevel.current_task()

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)

    def _is_ours_to_end(self) -> bool:
        """Whether only the end of the stream is missing, and the server is to make it.

        RFC 6455 section 7.1.1: the server closes first, so that it is the server's
        side that holds the connection in TIME_WAIT the client could not re-use.
        """
        is_exchanged = self._engine.state is ConnectionState.CLOSE_EXCHANGED
        return is_exchanged and not self._engine.is_client

    def _wait_for_data(self) -> Awaitable[bytes | bytearray | None]:
        """Wait for bytes, or (None) for the time to look at the stream."""
        if self._reads_now is None:
            return self._stream.receive_some(self._receive_size)
        if self._is_flowing:
            return self._wait_while_others_receive(self._reads_now)
        return self._reads_now.wait_readable()

    async def _wait_while_others_receive(self, stream: ReadsNow) -> None:
        with trio.CancelScope() as self._wait_scope:
            await stream.wait_readable()
        self._wait_scope = None

    def _take_in(self, data: bytes | bytearray | None) -> int | None:
        """Give the engine what has come, and tell how much; 0 is the end."""
        if self._reads_now is not None:
            return self._receive_now(self._reads_now)
        assert data is not None
        self._engine.receive_data(data)
        return len(data)

    def _receive_for_caller(self) -> bool:
        """Receive in the task that wants a message, if much was there last time."""
        if self._reads_now is None or not self._is_flowing:
            return False
        try:
            return bool(self._receive_now(self._reads_now))
        except STREAM_ERRORS as error:
            self._stream_error = error  # told once; the reader sees only that it ended
            return False

    def _receive_now(self, stream: ReadsNow) -> int | None:
        """Receive what is there and tell how many bytes; None if there are none yet."""
        size = self._receive_size or RECEIVE_BYTES
        vacancy = None
        if self._is_flowing:  # for little it is not worth while
            vacancy = self._engine.vacancy(
                _VACANCY_FACTOR * size, least=size, buffer=_find_receive_buffer()
            )
        if vacancy is None:
            data = stream.read_now(size)
            count = None if data is None else len(data)
            if data:
                self._engine.receive_data(data)
        else:
            with vacancy:
                count = stream.read_now_into(vacancy)
            if count:
                self._engine.fill_vacancy(count)
        self._is_flowing = count is not None and count > size // 2
        return count

    def _pump(self, asked: int = 0, *, is_more: bool = False) -> Pause | None:
        """Act on events; tell why there is none, or None after many.

        Args:
            asked: How many messages a task wants; 0 is for the reader.
            is_more: Whether that task has some already.

        """
        inbox, engine = self._inbox, self._engine
        for _ in range(_EVENTS_PER_TURN):
            if (  # the quick answer of "no" to whether there is a reason to stop
                inbox.messages
                or inbox.handed_over
                or self._violation is not None
                or self._too_big is not None
                or is_more
                or inbox.is_streaming
            ):
                pause = self._look_for_stop(is_asked=asked > 0, is_more=is_more)
                if pause is not None:
                    return pause
            room = asked or inbox.room or (BATCH_SIZE * self._is_finishing)
            max_size = self._max_plain_size
            if inbox.is_streaming and inbox.wants_parts and engine.tells_parts:
                max_size = 0
            event = engine.next_event(room=room, max_size=max_size)
            if isinstance(event, MessagesReceived):
                inbox.put(event.messages, event.size)
                if asked and inbox.messages:
                    return Pause.ROOM
                if not engine.has_undecoded:
                    return Pause.DATA
            elif isinstance(event, Pause):
                return event
            else:
                self._handle(event)
        return None

    def _look_for_stop(self, *, is_asked: bool, is_more: bool) -> Pause | None:
        """Act on what stopped the reader if its time has come."""
        if self._inbox.is_closed or (self._is_finishing and self._too_big is None):
            return Pause.ENDED if self._has_enough else None
        is_waiting_for_data = not (
            self._engine.has_undecoded or self._violation or self._too_big
        )
        if self._inbox.has_handed_over and is_waiting_for_data:
            return Pause.DATA  # by the time that more comes, the task will have run
        if (
            self._is_finishing
            or self._inbox.has_handed_over
            or (self._inbox.is_streaming and self._is_part_waiting(is_asked=is_asked))
            or (self._inbox.is_unread if is_asked else self._inbox.is_ahead)
            or (is_more and (self._violation or self._engine.is_before_close))
        ):
            return Pause.ROOM
        if self._violation is not None:
            return self._judge_violation(self._violation)
        if self._too_big is not None:
            return self._judge_size(*self._too_big)
        return None

    @property
    def _has_enough(self) -> bool:
        """Whether so much is unread that the rest is dropped when the stream is."""
        limit = max(_MAX_FINISHING_SIZE, 2 * self._max_size)
        return self._is_finishing and self._inbox.unread_size >= limit

    def _is_part_waiting(self, *, is_asked: bool) -> bool:
        """Whether the task that reads a message has to do something first."""
        incoming = self._inbox.incoming
        if incoming is None:
            if self._inbox.wants_parts:
                self._hand_on()
            return self._inbox.incoming is not None
        if incoming.parts or (is_asked and incoming.is_over):
            return True
        is_end_near = self._violation is not None or self._engine.is_before_close
        return incoming.is_whole and is_end_near

    def _hand_on(self) -> None:
        """Give what is here of a message to the task that will read the rest."""
        too_big, assembler = self._too_big, self._assembler
        is_begun = assembler is not None and assembler.is_amid_message
        if assembler is None or not (is_begun or too_big):
            return
        part, size = assembler.hand_on() if is_begun else ("", 0)
        piece = None if too_big is None else too_big[1]
        kind = part if piece is None else piece.data
        self._too_big = None
        self._message_size = 0
        incoming = self._begin(kind)
        incoming.size_left -= size
        if part:
            incoming.add(part, is_last=False)
        if piece is not None:
            self._add_part(incoming, piece)

    def _begin(self, part: str | bytes) -> IncomingMessage:
        """Give a message that has begun to the task that will read it."""
        incoming = self._inbox.begin(part)
        if not self._engine.tells_parts:
            # What extensions change is not decoded if it is over the limit.
            incoming.size_left = min(incoming.size_left, self._max_size)
        return incoming

    def _judge_violation(self, violation: ViolationFound) -> Pause | None:
        """Act on a violation once the messages before it were taken."""
        if self._inbox.is_unread:
            return Pause.ROOM
        self._closing.fail(violation)
        return None

    def _judge_size(self, error: MessageTooBig, piece: Piece) -> Pause | None:
        """Decide what to do about a message over the limit."""
        if self._inbox.is_unwanted:
            self._too_big = None
            self._assembler = None
            self._is_skipping = not piece.is_last
            self._skip_left = math.inf
            self._inbox.turn_away()
        elif not self._inbox.has_waiters:
            return Pause.ROOM
        else:
            self.refuse(_MESSAGE_TOO_BIG, error.problem)
        return None

    def refuse(self, code: int, problem: str) -> None:
        """End the connection over something that is legal but not wanted here."""
        if self._engine.state is ConnectionState.OPEN:
            self._engine.refuse()
            self._closing.fail(ViolationFound(code, problem))

    def _handle(self, event: RareEvent) -> None:
        match event:
            case Piece():
                self._add(event)
            case PingReceived(payload=payload):
                self._answer(payload)
            case PongReceived(payload=payload):
                self._round_trips.settle(payload)
            case CloseReceived():
                self._closing.receive(event)
            case ViolationFound():
                self._stop(event)
            case _:
                raise AssertionError(event)

    def _add(self, piece: Piece) -> None:
        if self._inbox.is_closed:
            return
        if self._is_skipping:
            self._drop(piece)
            return
        inbox, assembler = self._inbox, self._assembler
        if inbox.is_streaming:
            incoming = inbox.incoming
            if incoming is None and inbox.wants_parts:
                incoming = self._begin(piece.data)
            if incoming is not None and not incoming.is_whole:
                self._add_part(incoming, piece)
                return
        if assembler is None:
            assembler = self._assembler = Assembler(self._max_size)
        try:
            message = assembler.add(piece)
        except MessageTooBig as error:
            self._too_big = error, piece
        else:
            self._message_size += piece.size
            if message is not None:
                self._inbox.put([message], self._message_size)
                self._message_size = 0

    def _add_part(self, incoming: IncomingMessage, piece: Piece) -> None:
        """Give a part to the task that reads the message."""
        incoming.size_left -= piece.size
        if incoming.size_left < piece.pending:
            self.refuse(_MESSAGE_TOO_BIG, "the message is larger than it may be")
        else:
            incoming.add(piece.data, is_last=piece.is_last)

    def _drop(self, piece: Piece) -> None:
        """Drop a part of a message that nobody wants."""
        self._is_skipping = not piece.is_last
        self._skip_left -= piece.size
        if self._skip_left < piece.pending:
            self.refuse(_POLICY_VIOLATION, "the rest of a message is too much to drop")

    def _answer(self, payload: bytes) -> None:
        # A ping behind our Close is not answered: the peer will not wait for it.
        if self._engine.state not in MAY_SEND_MESSAGES:
            return
        if self._answers_pings:
            self._outbox.post(self._engine.send_pong(payload), is_pong=True)
        if self.on_ping is not None:
            try:
                self.on_ping(payload)
            except Exception as error:
                logger.exception("a function for pings has failed")
                self.refuse(_INTERNAL_ERROR, "a function for pings has failed")
                self._closing.cause = error

    def _stop(self, event: ViolationFound) -> None:
        if self._inbox.is_closed:
            self._closing.fail(event)
        else:
            self._violation = event
            self._closing.note_violation(event)


# Large, and so it is made when one is needed.
_find_receive_buffer = PerRun(ReceiveBuffer).find

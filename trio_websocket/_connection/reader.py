"""Receive, feed the engine, deliver.

Theory of operation
===================

One task of each connection receives from its stream, for as long as the stream exists.
It never waits for a writer, and for a consumer only in front of a message that finds no
room; so pings are answered and a Close is seen however busy the application is, and two
sides that both send at full speed cannot block each other.

``pump`` takes events from the engine and acts on them. It does not wait, and two kinds
of tasks run it: the reader, and a task in ``get_message`` that finds no message at hand
(``refill``), which saves a turn of the scheduler for each message of a flood. It stops

* when the engine needs bytes: then the reader receives;
* when the next frame begins a message and there is no room for it;
* while a task that was given a message has not run: what comes behind the message may
  end the connection, and that task's reply is to leave before;
* after some events, because a peer can put tens of thousands into one receive, and
  other tasks want their turn;
* for good, at a message over the limit or at a violation.

A violation is acted on when every message before it was taken, which is at once if none
is unread. A message over the limit is nobody's business until somebody asks for it;
then it ends the connection with 1009. Until then the peer is simply not read. Where
messages are not wanted anyway, it is passed over like any other.

When the reader stops in front of something it parks; whoever changes what it waits for
(``wake``) lets it look again. Waking too often does no harm.
"""

from __future__ import annotations

import trio

from .._options import ConnectionOptions
from .._protocol.assembler import Assembler, MessageTooBig
from .._protocol.engine import Engine
from .._protocol.events import (
    CloseReceived,
    Event,
    MessageReceived,
    Pause,
    Piece,
    PingReceived,
    PongReceived,
    ViolationFound,
)
from .._protocol.state import MAY_SEND_MESSAGES, ConnectionState
from .._stream import STREAM_ERRORS
from .closing import Closing
from .inbox import Inbox
from .outbox import Outbox
from .round_trips import RoundTrips

_MESSAGE_TOO_BIG = 1009
_EVENTS_PER_TURN = 32  # less than a millisecond of work, so that floods delay nobody


class Reader:
    """The receiving half of one connection."""

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
        self._receive_size = options.receive_buffer_size
        self._max_size = options.max_message_size
        self._assembler = Assembler(options.max_message_size)
        self._is_finishing = False
        self._is_skipping = False
        self._too_big: tuple[MessageTooBig, Piece] | None = None
        self._violation: ViolationFound | None = None
        self._parked: trio.lowlevel.Task | None = None

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
            elif self._is_ours_to_end():
                await self._outbox.flush()
                return
            elif not await self._receive():
                return

    async def finish(self) -> None:
        """Decode what was received, room or not: the stream will not be read again.

        That is at most what one receive held. A Close may be in it, and the messages in
        front of it are better delivered than lost.
        """
        self._is_finishing = True
        while True:
            if self._pump() is not None:
                return  # noqa: ASYNC910  # often nothing is left
            await trio.lowlevel.checkpoint()

    def refill(self) -> None:
        """Decode until a message is at hand, for a task that asks for one."""
        if self._engine.has_undecoded or self._violation or self._too_big:
            self._pump(is_asked=True)

    def wake(self) -> None:
        """Look again at what the reader stopped for."""
        task, self._parked = self._parked, None
        if task is not None:
            trio.lowlevel.reschedule(task)

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

    async def _receive(self) -> bool:
        try:
            data = await self._stream.receive_some(self._receive_size)
        except STREAM_ERRORS as error:
            self._closing.lose(error)
            return False  # noqa: ASYNC910  # the reader is done
        if not data:
            self._closing.lose(None)
            return False
        self._engine.receive_data(data)
        return True

    def _pump(self, *, is_asked: bool = False) -> Pause | None:
        """Act on events; tell why there is none, or None after many."""
        for _ in range(_EVENTS_PER_TURN):
            pause = self._look_for_stop(is_asked=is_asked)
            if pause is not None:
                return pause
            event = self._engine.next_event(
                has_room=self._inbox.has_room or self._is_finishing,
                max_size=self._max_size,
            )
            if isinstance(event, Pause):
                return event
            self._handle(event)
        return None

    def _look_for_stop(self, *, is_asked: bool) -> Pause | None:
        """Act on what stopped the reader if its time has come."""
        if self._inbox.is_closed or (self._is_finishing and self._too_big is None):
            return None
        if self._is_finishing or self._inbox.has_handed_over:
            return Pause.ROOM
        if is_asked and self._inbox.is_unread:
            return Pause.ROOM
        if self._violation is not None:
            return self._judge_violation(self._violation)
        if self._too_big is not None:
            return self._judge_size(*self._too_big)
        return None

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
            self._assembler = Assembler(self._max_size)
            self._is_skipping = not piece.is_last
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

    def _handle(self, event: Event) -> None:
        match event:
            case MessageReceived(data=message):
                self._inbox.put(message)
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
            self._is_skipping = not piece.is_last
            return
        try:
            message = self._assembler.add(piece)
        except MessageTooBig as error:
            self._too_big = error, piece
        else:
            if message is not None:
                self._inbox.put(message)

    def _answer(self, payload: bytes) -> None:
        # A ping behind our Close is not answered: the peer will not wait for it.
        if self._engine.state in MAY_SEND_MESSAGES:
            self._outbox.post(self._engine.send_pong(payload), is_pong=True)

    def _stop(self, event: ViolationFound) -> None:
        if self._inbox.is_closed:
            self._closing.fail(event)
        else:
            self._violation = event
            self._closing.note_violation(event)

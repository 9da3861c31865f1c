"""How a connection ends: the closing handshake and its deadlines (RFC 6455 section 7).

Theory of operation
===================

A connection ends in one of four ways, and each is one method here: we close
(``close``), the peer closes (``receive``), the peer broke a rule (``fail``), or the
stream is gone (``lose`` for reading, ``lose_writing`` for writing). Each decides three
things at once: what ``reason`` says from now on, whether a Close frame is posted, and
by when the stream is dropped at the latest. None of them waits. The last act is always
``end``: the stream was dropped, and everybody who still waits for anything is woken.

The deadlines are all one cancel scope, around the reader:

* ``disconnect_timeout`` from the first Close frame, whoever sent it: it spans writing
  ours, receiving the peer's, and the end of the stream;
* once ours has left and nothing but the end of the stream is missing, one second more
  at most. A server does not wait for it: it drops the stream first (RFC 6455 section
  7.1.1). A connection that we failed waits on both sides, because a socket that is
  closed with unread bytes sends a reset, and then the peer may never learn the code.
  A server ends its half of such a stream at once, where it can, so that the client
  knows that its turn has come;
* when writing has failed, one second for the reader to find what the peer said last.

``reason`` is the peer's Close once it came, else ours as given, else 1006. ``cause`` is
the exception that broke the connection, if one did; it is known as soon as the peer is
seen to break a rule, which may be long before that is acted on.

The module does not know who calls it: every method may be called by the reader, by a
task of the user's in the middle of its call, or by the connection's own task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from .._close_reason import CloseReason, check_close, closed_reason
from .._errors import ConnectionClosed, ProtocolViolation
from .._protocol.engine import Engine
from .._protocol.events import CloseReceived, ViolationFound
from .._protocol.state import ConnectionState
from .inbox import Inbox
from .outbox import Outbox

logger = logging.getLogger("trio-websocket")

STREAM_END_TIMEOUT = 1.0  # seconds: a peer that is alive ends the stream at once

_ORDERLY_CODES = (1000, 1001)  # normal closure, going away
_ABNORMAL_CLOSURE = 1006


class Closing:
    """The end of one connection.

    Attributes:
        reason: Why the connection is closed or closing, or None while it is open.
        sent: The Close that we sent, if we did. If it never left, that is known when
            the connection has ended.
        received: The Close that the peer sent, if it did.
        cause: The exception that broke the connection, if one did.
        is_local: Whether we closed first, in order or by ``abort``.
        is_ours: Whether we closed at all, first or after the peer.
        is_timed_out: Whether we closed and the peer let the deadline pass without its
            Close. It is decided when the connection has ended.
        is_dropping: Whether the stream is to be dropped without waiting for anything.
        scope: The scope that every deadline is set on; the reader runs in it.
        dependents: Scopes to cancel as soon as there is a reason.

    """

    __slots__ = (
        "_disconnect_timeout",
        "_end_sending",
        "_ended",
        "_engine",
        "_inbox",
        "_is_close_written",
        "_is_ended",
        "_name",
        "_outbox",
        "_reasons",
        "_wake_waiters",
        "_writing_error",
        "cause",
        "dependents",
        "is_dropping",
        "is_local",
        "is_ours",
        "is_timed_out",
        "reason",
        "received",
        "scope",
        "sent",
    )

    def __init__(self, name: str, engine: Engine, *, disconnect_timeout: float) -> None:
        self.reason: CloseReason | None = None
        self.sent: CloseReason | None = None
        self.received: CloseReason | None = None
        self.cause: BaseException | None = None
        self.is_local: bool = False
        self.is_ours: bool = False
        self.is_timed_out: bool = False
        self.is_dropping: bool = False
        self.scope: trio.CancelScope = trio.CancelScope()
        self.dependents: list[trio.CancelScope] = []
        self._ended: trio.Event | None = None
        self._is_ended = False
        self._name = name
        self._engine = engine
        self._disconnect_timeout = disconnect_timeout
        self._reasons: list[CloseReason] = []
        self._writing_error: Exception | None = None
        self._is_close_written = False

    def join(
        self,
        inbox: Inbox,
        outbox: Outbox,
        *,
        wake_waiters: Callable[[], None],
        end_sending: Callable[[], None],
    ) -> None:
        """Meet the parts that have to be told.

        Args:
            inbox: Closed when no message will come any more.
            outbox: Takes our Close.
            wake_waiters: Called whenever a task may wait for what will not come.
            end_sending: Called when nothing more will be sent, though the peer is still
                read.

        """
        self._inbox = inbox
        self._outbox = outbox
        self._wake_waiters = wake_waiters
        self._end_sending = end_sending

    @property
    def ended(self) -> trio.Event:
        """Set when the stream was dropped."""
        if self._ended is None:  # most connections have nobody who waits for it
            self._ended = trio.Event()
            if self._is_ended:
                self._ended.set()
        return self._ended

    @property
    def is_orderly(self) -> bool:
        """Whether the peer has closed as if all was said."""
        return self.received is not None and self.received.code in _ORDERLY_CODES

    def error(self) -> ConnectionClosed:
        """Build the error for those who want something of a closed connection."""
        error = ConnectionClosed(self.reason)
        error.__cause__ = self.cause
        return error

    def has_raised(self, error: BaseException) -> bool:
        """Whether an exception says that this connection, and no other, is closed.

        Not by ``reason`` as it is now: a task may have been woken by our Close, and the
        peer's came since.
        """
        return isinstance(error, ConnectionClosed) and any(
            error.reason is reason for reason in self._reasons
        )

    def close(self, code: int | None, reason: str | None) -> None:
        """Send our Close frame, unless one was sent or received already.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If the code may not be sent.

        """
        wire_code, wire_reason = check_close(code, reason)
        self.is_ours = True
        if self.reason is not None:
            return
        self.is_local = True
        self._settle(closed_reason(code, reason))
        self._send(wire_code, wire_reason)
        self._inbox.close(discard=True)
        self._wake_waiters()

    async def close_and_wait(self, code: int | None, reason: str | None) -> None:
        """Close, and wait until the stream was dropped; see ``aclose``.

        Cancellation:
            The stream is dropped. Always a checkpoint.

        """
        if self.is_local:
            await trio.lowlevel.checkpoint()
            return
        self.close(code, reason)
        try:
            await self.ended.wait()
        finally:
            self.drop()  # needed only if this was cancelled

    def receive(self, event: CloseReceived) -> None:
        """Take note of the peer's Close frame and answer it with the same."""
        self.received = closed_reason(event.code, event.reason)
        logger.debug("%s received %s", self._name, self.received)
        self._settle(self.received)
        if self._engine.state is ConnectionState.REMOTE_CLOSING:
            self._send(event.code, event.reason)
            self._inbox.close(discard=False)
        self._limit_to_stream_end()
        self._wake_waiters()

    def note_violation(self, event: ViolationFound) -> None:
        """Take note that the peer broke a rule, which is to be answered later."""
        self.cause = ProtocolViolation(event.code, event.problem)

    def fail(self, event: ViolationFound) -> None:
        """Give the connection up because of what the peer did (RFC 6455 section 7.1.7).

        Messages that came before are to be handed out first: the caller sees to that.
        """
        logger.debug("%s failed: %d %s", self._name, event.code, event.problem)
        self.note_violation(event)
        if self._engine.state is ConnectionState.FAILING:
            code, reason = check_close(event.code, event.problem)
            self._settle(closed_reason(code, reason))
            self._send(code, reason)
            self._inbox.close(discard=False)
        self._limit_to_stream_end()
        self._wake_waiters()

    def lose(self, error: Exception | None) -> None:
        """Take note that nothing can be received any more.

        Args:
            error: What the stream raised, or None if it ended in order.

        """
        if self.received is None and self.cause is None:
            self.cause = error
        if self.reason is None:
            self._settle(CloseReason(_ABNORMAL_CLOSURE, None))
        self._inbox.close(discard=False)

    def lose_writing(self, error: Exception) -> None:
        """Take note that nothing can be sent any more.

        What the peer sent before it went may still lie in the socket, its Close above
        all, so the reader gets a moment to find it.
        """
        logger.debug("%s cannot write: %r", self._name, error)
        self._writing_error = error
        self.limit(min(STREAM_END_TIMEOUT, self._disconnect_timeout))

    def abort(self) -> None:
        """Drop the stream without a word, not even one that was to be said before."""
        self.is_ours = True
        self.is_local = self.is_local or self.reason is None
        self._inbox.close(discard=True)
        self._outbox.close()
        self.lose(None)
        self.drop()

    def drop(self) -> None:
        """Have the connection's task drop the stream at once."""
        self.is_dropping = True
        self.scope.cancel()

    def end(self) -> None:
        """Take note that the stream was dropped, and wake everybody."""
        self.lose(self._writing_error)
        is_unanswered = self.is_local and self.received is None and self.cause is None
        is_late = trio.current_time() >= self.scope.deadline
        self.is_timed_out = is_unanswered and is_late
        if not self._is_close_written:
            self.sent = None
        self._engine.receive_eof()
        self._outbox.close()
        self._wake_waiters()
        self._is_ended = True
        if self._ended is not None:
            self._ended.set()
        logger.debug("%s ended: %s", self._name, self.reason)

    def limit(self, timeout: float) -> None:
        """Drop the stream in so many seconds, or earlier if that was said before."""
        deadline = trio.current_time() + timeout
        self.scope.deadline = min(self.scope.deadline, deadline)

    def _settle(self, reason: CloseReason) -> None:
        self.reason = reason
        self._reasons.append(reason)
        for scope in self.dependents:
            scope.cancel()

    def _send(self, code: int | None, reason: str) -> None:
        self.sent = closed_reason(code, reason)
        logger.debug("%s sends %s", self._name, self.sent)
        frame = self._engine.send_close(code, reason)
        self._outbox.post(frame, on_written=self._note_close_written)
        self.limit(self._disconnect_timeout)

    def _note_close_written(self) -> None:
        self._is_close_written = True
        if self._engine.state is not ConnectionState.LOCAL_CLOSING:
            self._limit_to_stream_end()

    def _limit_to_stream_end(self) -> None:
        if not self._is_close_written:
            return
        self.limit(STREAM_END_TIMEOUT)
        if self._engine.state is ConnectionState.FAILED and not self._engine.is_client:
            self._end_sending()

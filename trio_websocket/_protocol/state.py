"""The states of an open connection and the steps between them.

Theory of operation
===================

Both ends say goodbye with a Close frame, in either order, and then the stream ends
(RFC 6455 sections 1.4 and 7). What matters at any time is which of the two Close frames
are out, whether the peer broke the protocol, and whether the stream still exists. Each
combination that can occur is one state, and each thing that can happen is one step:

* the table does not know which side of the connection we are on, nor who is to blame;
* ``Engine.take_step`` is the only writer, so no two parts can disagree on the state;
* a step that the table does not have is a mistake of ours, never of the peer: what the
  peer may not do is found before a step is taken;
* ``CLOSED`` has no way out, and from every other state the end of the stream leads to
  it: whatever happens, a connection can end.

``FAILING`` is the state between finding a violation and answering it: messages that
came before it are still handed out and may be replied to, then our Close frame leaves.
"""

from __future__ import annotations

from enum import Enum, auto


class ConnectionState(Enum):
    """How far a connection is on its way from open to closed."""

    OPEN = auto()
    """Messages go both ways."""
    FAILING = auto()
    """The peer broke the protocol; earlier messages are still being handed out."""
    FAILED = auto()
    """The peer broke the protocol and our Close frame has left."""
    LOCAL_CLOSING = auto()
    """Our Close frame has left, the peer's has not come."""
    REMOTE_CLOSING = auto()
    """The peer's Close frame has come, ours has not left."""
    CLOSE_EXCHANGED = auto()
    """Both Close frames are out; only the end of the stream is missing."""
    CLOSED = auto()
    """The stream has ended."""


class Step(Enum):
    """What moves a connection from one state to the next."""

    CLOSE_SENT = auto()
    CLOSE_RECEIVED = auto()
    VIOLATION_FOUND = auto()
    STREAM_ENDED = auto()


TRANSITIONS: dict[ConnectionState, dict[Step, ConnectionState]] = {
    ConnectionState.OPEN: {
        Step.CLOSE_SENT: ConnectionState.LOCAL_CLOSING,
        Step.CLOSE_RECEIVED: ConnectionState.REMOTE_CLOSING,
        Step.VIOLATION_FOUND: ConnectionState.FAILING,
        Step.STREAM_ENDED: ConnectionState.CLOSED,
    },
    ConnectionState.FAILING: {
        Step.CLOSE_SENT: ConnectionState.FAILED,
        Step.STREAM_ENDED: ConnectionState.CLOSED,
    },
    ConnectionState.FAILED: {
        Step.STREAM_ENDED: ConnectionState.CLOSED,
    },
    ConnectionState.LOCAL_CLOSING: {
        Step.CLOSE_RECEIVED: ConnectionState.CLOSE_EXCHANGED,
        Step.VIOLATION_FOUND: ConnectionState.FAILED,
        Step.STREAM_ENDED: ConnectionState.CLOSED,
    },
    ConnectionState.REMOTE_CLOSING: {
        Step.CLOSE_SENT: ConnectionState.CLOSE_EXCHANGED,
        Step.STREAM_ENDED: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSE_EXCHANGED: {
        Step.STREAM_ENDED: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSED: {},
}

# Tuples: a look into a set would call the slow __hash__ of Enum.
MAY_SEND_MESSAGES = (ConnectionState.OPEN, ConnectionState.FAILING)
MAY_SEND_CLOSE = (*MAY_SEND_MESSAGES, ConnectionState.REMOTE_CLOSING)
MAY_RECEIVE = (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)

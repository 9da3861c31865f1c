"""What the engine reports: one frozen value for each thing that has happened.

What is made for each frame is a tuple: a frozen dataclass costs three times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple


class Pause(Enum):
    """Why the engine has no event to report now."""

    DATA = auto()  # every byte was used; more must be received
    ROOM = auto()  # the next frame begins a message that nobody has room for
    ENDED = auto()  # after a Close frame or a violation nothing is parsed any more


class Piece(NamedTuple):
    """A part of a message, as it came off the wire.

    Attributes:
        data: What this part holds: str of a text message, bytes of a binary one.
        size: How many bytes of payload it took on the wire.
        pending: How many bytes of payload its frame still announces.
        begins_frame: Whether it is the first part of a frame.
        is_last: Whether the message ends with it.

    """

    data: str | bytes
    size: int
    pending: int
    begins_frame: bool
    is_last: bool


class MessagesReceived(NamedTuple):
    """Whole messages that the lane took straight from the wire, one at least.

    Attributes:
        messages: The messages, in order.
        size: How many bytes their frames took on the wire.

    """

    messages: list[str | bytes]
    size: int


@dataclass(frozen=True, slots=True)
class PingReceived:
    """The peer sent a ping; it wants a pong with the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The peer sent a pong, asked for or not."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class CloseReceived:
    """The peer sent its Close frame.

    Attributes:
        code: The close code, or None if the frame was empty.
        reason: The reason in words, often empty.

    """

    code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ViolationFound:
    """The peer broke the protocol; nothing behind this can be trusted.

    Attributes:
        code: The close code to answer with: 1002 or 1007 (RFC 6455 section 7.4.1).
        problem: What was wrong, in words.

    """

    code: int
    problem: str


RareEvent = Piece | PingReceived | PongReceived | CloseReceived | ViolationFound
Event = MessagesReceived | RareEvent

"""The options of a connection, checked once at the door."""

from __future__ import annotations

import math
from dataclasses import dataclass

CONN_TIMEOUT = 60  # seconds; a handshake over a bad mobile network takes ten
MESSAGE_QUEUE_SIZE = 1  # messages; more only hides that the program is too slow
MAX_MESSAGE_SIZE = 2**20  # bytes; what a stranger may make us hold
RECEIVE_BYTES = 2**16  # bytes; larger buffers cost more to allocate than they save


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How a connection behaves. Every entry point takes these as keywords.

    Attributes:
        message_queue_size: How many received messages may wait for ``get_message``.
            When so many wait, reading stops at the next one, and so the peer is slowed
            down. With 0 a message is only decoded for somebody who waits for it;
            `math.inf` means no limit.
        max_message_size: The most bytes that a received message may have, of text its
            UTF-8. A longer one ends the connection with 1009.
            `math.inf` means no limit.
        receive_buffer_size: The most bytes that are taken from the stream at once, or
            eight times as many where that needs no more memory: into the place of a
            large message, or a buffer of 128 KiB that all connections share. None
            leaves the choice to the stream.
        connect_timeout: The seconds that the whole opening may take: DNS, TCP, TLS and
            the HTTP upgrade; on a server, from the accepted stream to the end of the
            request. `math.inf` means for ever.
        disconnect_timeout: The seconds from the first wish to close until the stream is
            dropped, whatever the peer does. `math.inf` means for ever.

    Raises:
        TypeError: If a value is of the wrong type (a bool is no number here).
        ValueError: If a value is out of range.

    """

    message_queue_size: float = MESSAGE_QUEUE_SIZE
    max_message_size: float = MAX_MESSAGE_SIZE
    receive_buffer_size: int | None = RECEIVE_BYTES
    connect_timeout: float = CONN_TIMEOUT
    disconnect_timeout: float = CONN_TIMEOUT

    def __post_init__(self) -> None:
        _check_size("message_queue_size", self.message_queue_size)
        _check_size("max_message_size", self.max_message_size)
        _check_buffer_size("receive_buffer_size", self.receive_buffer_size)
        check_timeout("connect_timeout", self.connect_timeout)
        check_timeout("disconnect_timeout", self.disconnect_timeout)


def _check_size(name: str, value: object) -> None:
    if value == math.inf:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int or math.inf, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must be 0 or more, not {value!r}")


def _check_buffer_size(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int or None, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, not {value!r}")


def check_timeout(name: str, value: object) -> None:
    """Check an option that is a number of seconds; an error tells its name."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    # Not "value < 0": that is false for NaN too.
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or more, not {value!r}")

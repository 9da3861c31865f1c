"""The options of a connection, checked once at the door."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Never, TypeAlias, cast

CONN_TIMEOUT = 60  # seconds; a handshake over a bad mobile network takes ten
MESSAGE_QUEUE_SIZE = 1  # messages; more only hides that the program is too slow
MAX_MESSAGE_SIZE = 2**20  # bytes; what a stranger may make us hold
RECEIVE_BYTES = 2**16  # bytes; larger buffers cost more to allocate than they save


SMALLEST_WINDOW = 8  # bits: 256 bytes (RFC 7692 section 7.1.2)
LARGEST_WINDOW = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class PerMessageDeflate:
    """How messages are compressed (RFC 7692), if the peer agrees.

    The defaults keep a connection small: the windows are most of its memory.

    Attributes:
        client_max_window_bits: The largest window of the client's messages, as a power
            of two: 8 to 15. 8 compresses nothing, as zlib cannot.
        server_max_window_bits: The same of the server's.
        client_no_context_takeover: Whether each message of the client's is compressed
            for itself: worse, but nothing is kept between messages.
        server_no_context_takeover: The same of the server's.
        level: How hard to try: 0 not at all, 1 fast, 9 slow; -1 is zlib's choice.
        mem_level: How much memory compressing may take beside the window: 1 to 9.
        threshold: The smallest message that is worth it, in bytes of UTF-8 or data.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If it is out of range.

    """

    client_max_window_bits: int = 12
    server_max_window_bits: int = 12
    client_no_context_takeover: bool = False
    server_no_context_takeover: bool = False
    level: int = -1
    mem_level: int = 5
    threshold: int = 32

    def __post_init__(self) -> None:
        window = (SMALLEST_WINDOW, LARGEST_WINDOW)
        _check_number("client_max_window_bits", self.client_max_window_bits, *window)
        _check_number("server_max_window_bits", self.server_max_window_bits, *window)
        _check_flag("client_no_context_takeover", self.client_no_context_takeover)
        _check_flag("server_no_context_takeover", self.server_no_context_takeover)
        _check_number("level", self.level, -1, 9)
        _check_number("mem_level", self.mem_level, 1, 9)
        _check_number("threshold", self.threshold, 0, None)


Compression: TypeAlias = Literal["deflate"] | PerMessageDeflate | None


Dumps: TypeAlias = Callable[[object], str | bytes]
Loads: TypeAlias = Callable[[str], object]
# What makes an Extension, a class that is in a layer above.
ExtensionMaker: TypeAlias = Callable[[], object]
# It takes a connection, which this layer does not know.
PingHook: TypeAlias = Callable[[Never, bytes], object]


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
        compression: How messages are compressed if the peer agrees; ``"deflate"`` means
            the defaults of `PerMessageDeflate`, None not at all.
        extensions: What makes the extensions of a connection: classes, or functions
            without arguments. Each is called once for each connection.
        auto_pong: Whether pings of the peer are answered.
        on_ping: What is called with the connection and the payload of each ping.
        json_dumps: What makes JSON of a value.
        json_loads: What reads JSON.

    Raises:
        TypeError: If a value is of the wrong type (a bool is no number here).
        ValueError: If a value is out of range.

    """

    message_queue_size: float = MESSAGE_QUEUE_SIZE
    max_message_size: float = MAX_MESSAGE_SIZE
    receive_buffer_size: int | None = RECEIVE_BYTES
    connect_timeout: float = CONN_TIMEOUT
    disconnect_timeout: float = CONN_TIMEOUT
    compression: Compression = None
    extensions: Sequence[ExtensionMaker] = ()
    auto_pong: bool = True
    on_ping: PingHook | None = None
    json_dumps: Dumps = json.dumps
    json_loads: Loads = json.loads

    def __post_init__(self) -> None:
        _check_size("message_queue_size", self.message_queue_size)
        _check_size("max_message_size", self.max_message_size)
        _check_buffer_size("receive_buffer_size", self.receive_buffer_size)
        check_timeout("connect_timeout", self.connect_timeout)
        check_timeout("disconnect_timeout", self.disconnect_timeout)
        find_deflate(self.compression)
        _check_makers("extensions", self.extensions)
        _check_flag("auto_pong", self.auto_pong)
        if self.on_ping is not None:
            _check_function("on_ping", self.on_ping)
        _check_function("json_dumps", self.json_dumps)
        _check_function("json_loads", self.json_loads)


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


def find_deflate(compression: object) -> PerMessageDeflate | None:
    """Find what the option ``compression`` stands for.

    Raises:
        TypeError: If it is nothing of what it may be.
        ValueError: If it is a str, and not "deflate".

    """
    if compression is None or isinstance(compression, PerMessageDeflate):
        return compression
    if not isinstance(compression, str):
        kinds = '"deflate", a PerMessageDeflate or None'
        raise TypeError(f"compression must be {kinds}, not {compression!r}")
    if compression != "deflate":
        raise ValueError(f'compression must be "deflate", not {compression!r}')
    return PerMessageDeflate()


def _check_makers(name: str, value: object) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        kinds = "a sequence of classes or functions"
        raise TypeError(f"{name} must be {kinds}, not {value!r}")
    for maker in cast("Sequence[object]", value):
        if not callable(maker):
            kind = "a class or a function"
            raise TypeError(f"each of the {name} must be {kind}, not {maker!r}")


def _check_number(name: str, value: object, lowest: int, highest: int | None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < lowest or (highest is not None and value > highest):
        span = f"{lowest} or more" if highest is None else f"{lowest} to {highest}"
        raise ValueError(f"{name} must be {span}, not {value!r}")


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {value!r}")


def _check_function(name: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {value!r}")

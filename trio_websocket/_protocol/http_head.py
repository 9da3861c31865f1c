"""Cut the heads of HTTP/1.1 messages out of a stream (RFC 9112 section 2.1).

wsproto and h11 are given one head at a time and nothing behind it, so that what comes
after the opening handshake stays with us. What is not HTTP at all is told from its
first bytes, because a peer that speaks something else may never send a blank line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .headers import Headers, find_values

# The size that h11 allows for what comes in pieces. What comes in one piece, it does
# not limit at all.
MAX_HEAD_SIZE = 16 * 1024
MAX_HEAD_LINES = 128  # a header in memory costs far more than its bytes

# RFC 9110 section 5.6.2.
TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# As much of a head as it takes to tell that it is not one.
_START_SIZE = 16

# h11's notion of it, which takes a bare LF for a line end (RFC 9112 section 2.2).
_BLANK_LINE = re.compile(rb"\n\r?\n")

# RFC 9110 section 7.2 with the host of RFC 3986 section 3.2.2, less the comma: it is in
# no name of a host, but it is what two Host headers look like when a proxy joins them.
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)"
    r"(?::0*(?P<port>[0-9]{0,5}))?"
)


class BadHead(Exception):
    """A head that is refused.

    Attributes:
        status_code: The HTTP status that says so, for a server.
        problem: What is wrong with it, as a sentence.
        headers: What that status demands to be said with it.

    """

    def __init__(
        self,
        status_code: int,
        problem: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(status_code, problem, headers)
        self.status_code = status_code
        self.problem = problem
        self.headers = headers


@dataclass(frozen=True, slots=True)
class HeadSyntax:
    """What a head must look like.

    Attributes:
        name: What to call the message in a sentence.
        could_start: Whether a head can begin with these bytes, at most 16 of them.
        first_line: The first line with its line end. It begins like a head.

    """

    name: str
    could_start: Callable[[bytes], bool]
    first_line: re.Pattern[bytes]


class HeadBuffer:
    """Received bytes: heads, one after the other, and what comes behind them.

    Each byte is looked at a fixed number of times, however the stream was cut up.
    """

    __slots__ = ("_data", "_has_first_line", "_searched", "_syntax")

    def __init__(self, syntax: HeadSyntax) -> None:
        self._syntax = syntax
        self._data: bytes | bytearray = b""
        self._searched = 0
        self._has_first_line = False

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take bytes that were received."""
        if not self._data:
            self._data = bytes(data)  # most heads come whole, and are not copied
        elif isinstance(self._data, bytearray):
            self._data += data
        else:
            self._data = bytearray(self._data) + data

    def take_head(self) -> bytes | None:
        """Take the next head with its blank line, or None while it is not whole.

        Raises:
            BadHead: If it is larger than 16 KiB or has more than 128 lines, or its
                beginning is not HTTP.

        """
        self._check_beginning()
        blank_line = _BLANK_LINE.search(self._data, self._searched, MAX_HEAD_SIZE)
        if blank_line is None:
            if len(self._data) >= MAX_HEAD_SIZE:
                problem = (
                    f"the {self._syntax.name} has more than 16384 bytes of headers"
                )
                raise BadHead(431, problem)
            self._searched = max(0, len(self._data) - 2)
            return None
        end = blank_line.end()
        head = bytes(self._data[:end])
        if head.count(b"\n") > MAX_HEAD_LINES:
            problem = f"the {self._syntax.name} has more than {MAX_HEAD_LINES} lines"
            raise BadHead(431, problem)
        self._data = self._data[end:]
        self._searched = 0
        self._has_first_line = False
        return head

    def take_rest(self) -> bytes:
        """Take what is behind the heads that were taken."""
        rest, self._data = bytes(self._data), b""
        return rest

    def _check_beginning(self) -> None:
        if self._has_first_line:
            return
        end = self._data.find(b"\n", self._searched, MAX_HEAD_SIZE) + 1
        if end and self._syntax.first_line.fullmatch(self._data, 0, end):
            self._has_first_line = True
            return
        if not self._syntax.could_start(bytes(self._data[:_START_SIZE])):
            raise BadHead(400, f"the {self._syntax.name} is not HTTP")
        if end:
            problem = f"the first line of the {self._syntax.name} is not HTTP"
            raise BadHead(400, problem)


def is_host(value: str) -> bool:
    """Whether that can be the value of a Host header (RFC 9110 section 7.2)."""
    match = _HOST.fullmatch(value)
    return match is not None and int(match["port"] or 0) <= 65535


def check_bodiless(headers: Headers) -> None:
    """Refuse headers of the program's that would announce a body.

    Raises:
        ValueError: If there is a Content-Length or a Transfer-Encoding.

    """
    for name in (b"Content-Length", b"Transfer-Encoding"):
        if find_values(headers, name):
            raise ValueError(f"a handshake cannot have a {name.decode()} header")

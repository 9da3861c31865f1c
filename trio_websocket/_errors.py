"""Every exception of the library.

::

    WebSocketError
     +-- HandshakeError
     |    +-- ConnectionTimeout
     |    +-- DisconnectionTimeout
     |    +-- ConnectionRejected
     |    +-- ConnectionFailed          (also OSError)
     |    +-- InvalidHandshake
     +-- ConnectionClosed
     +-- IncompleteMessage
     +-- InvalidURL                     (also ValueError)
     +-- ProtocolViolation              (only ever a __cause__)
     +-- TrioWebsocketInternalError     (not public)

An error is data: its fields are its arguments, and the sentence is built from them when
it is asked for. So it pickles and copies.
"""

from __future__ import annotations

from http import HTTPStatus

from ._close_reason import CloseReason


class WebSocketError(Exception):
    """The base of every exception that the library defines."""


class HandshakeError(WebSocketError):
    """The connection could not be opened, or not be ended, in good order.

    Catch it around ``open_websocket`` and its siblings for whatever kept the connection
    from coming about.
    """


class ConnectionTimeout(HandshakeError):
    """The connection did not open within ``connect_timeout``.

    Attributes:
        timeout: That time in seconds; None if it is not known.

    """

    def __init__(self, timeout: float | None = None) -> None:
        super().__init__(timeout)
        self.timeout = timeout

    def __str__(self) -> str:
        return f"the connection did not open {_within(self.timeout)}"


class DisconnectionTimeout(HandshakeError):
    """The peer did not answer our Close within ``disconnect_timeout``.

    The stream is closed all the same.

    Attributes:
        timeout: That time in seconds; None if it is not known.

    """

    def __init__(self, timeout: float | None = None) -> None:
        super().__init__(timeout)
        self.timeout = timeout

    def __str__(self) -> str:
        return f"the peer did not answer the Close {_within(self.timeout)}"


class ConnectionRejected(HandshakeError):
    """The server answered the opening handshake with a status other than 101.

    Attributes:
        status_code: The status of the HTTP response, 200 or more.
        headers: Its headers as pairs of (lower-case name, value), in the order of the
            wire.
        body: Its body, at most the first 64 KiB of it; empty if there was none.

    """

    def __init__(
        self,
        status_code: int,
        headers: tuple[tuple[bytes, bytes], ...],
        body: bytes | None,
    ) -> None:
        super().__init__(status_code, headers, body)
        self.status_code = status_code
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"{type(self).__name__}<status_code={self.status_code}>"

    def __str__(self) -> str:
        sentence = f"the server rejected the connection with status {self.status_code}"
        try:
            return f"{sentence} ({HTTPStatus(self.status_code).phrase})"
        except ValueError:
            return sentence


class ConnectionFailed(HandshakeError, OSError):
    """The connection broke before it was open: DNS, TCP, TLS, or the peer hung up.

    It is an `OSError` too, so that code which expects one from the network finds one.
    ``errno`` and ``strerror`` are those of the cause where it has them.

    Attributes:
        target: What was to be reached, for people to read.
        cause: The exception that ended the attempt, the first if several addresses
            were tried; None if the peer just hung up.

    """

    def __init__(self, target: str, cause: BaseException | None = None) -> None:
        code, text = None, "" if cause is None else str(cause)
        if isinstance(cause, OSError):
            code, text = cause.errno, cause.strerror or text
        # OSError reads two arguments as errno and strerror, whatever they are, so it is
        # given exactly those.
        OSError.__init__(self, code, text)
        self.target = target
        self.cause = cause

    def __reduce__(
        self,
    ) -> tuple[
        type[ConnectionFailed], tuple[str, BaseException | None], dict[str, object]
    ]:
        # Without this a copy would be built from errno and strerror.
        return type(self), (self.target, self.cause), self.__dict__

    def __str__(self) -> str:
        sentence = f"the connection to {self.target} failed"
        if self.cause is None:
            return sentence
        return f"{sentence}: {str(self.cause) or type(self.cause).__name__}"


class InvalidHandshake(HandshakeError):
    """The peer's part of the opening handshake broke the rules (RFC 6455 section 4).

    Attributes:
        problem: What was wrong, as the end of a sentence.

    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the opening handshake is invalid: {self.problem}"


class ConnectionClosed(WebSocketError):
    """The connection is closed, or closing, so the call could not do its work.

    Its ``__cause__`` is what broke the connection, if something did.

    Attributes:
        reason: Why the connection ended; None if nobody knows.

    """

    # A subclass whose __init__ neither calls ours nor sets the attribute still prints.
    reason: CloseReason | None = None

    def __init__(self, reason: CloseReason | None) -> None:
        super().__init__(reason)
        self.reason = reason

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.reason}>"

    def __str__(self) -> str:
        if self.reason is None:
            return "the connection is closed"
        return f"the connection is closed: {self.reason}"


class IncompleteMessage(WebSocketError):
    """A message ended before there was as much of it as was asked for.

    Attributes:
        partial: What there was: str of a text message, bytes of a binary one.
        expected: How many characters or bytes were asked for.

    """

    def __init__(self, partial: str | bytes, expected: int) -> None:
        super().__init__(partial, expected)
        self.partial = partial
        self.expected = expected

    def __str__(self) -> str:
        unit = "characters" if isinstance(self.partial, str) else "bytes"
        here = len(self.partial)
        return f"the message ended after {here} of {self.expected} {unit}"


class InvalidURL(WebSocketError, ValueError):
    """What was given is not the URL of a WebSocket (RFC 6455 section 3).

    Attributes:
        url: The URL, its user name and password blotted out; or the part of one that
            was given by itself, such as a host.
        problem: What is wrong with it, as the end of a sentence.

    """

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem)
        self.url = url
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.url!r} is not a WebSocket URL: {self.problem}"


class ProtocolViolation(WebSocketError):
    """The peer broke the protocol after the opening; the cause of a `ConnectionClosed`.

    Attributes:
        code: The close code that says so to the peer: 1002 or 1007, 1008 for a message
            that nobody wanted, 1009 for one that was too big.
        problem: What the peer did, as the end of a sentence.

    """

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(code, problem)
        self.code = code
        self.problem = problem

    def __str__(self) -> str:
        return f"the peer violated the protocol ({int(self.code)}): {self.problem}"


class TrioWebsocketInternalError(WebSocketError):
    """A fault of the library itself: exceptions came together that never should.

    Its ``__cause__`` is the group of them.
    """

    def __str__(self) -> str:
        return "internal error, please report it together with its cause"


def _within(timeout: float | None) -> str:
    return "in time" if timeout is None else f"within {timeout} s"

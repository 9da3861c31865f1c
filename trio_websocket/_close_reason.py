"""Close codes and reasons, and which of them may be sent (RFC 6455 section 7.4)."""

from __future__ import annotations

from enum import IntEnum

# RFC 6455 section 5.5: a control frame carries 125 bytes, and the code takes two.
MAX_REASON_SIZE = 123


class CloseCode(IntEnum):
    """The close codes that RFC 6455 and the IANA registry define.

    ``str()`` and comparisons treat a member as its number. Names that other libraries
    use, such as ``CloseCode.NORMAL`` or ``CloseCode.MESSAGE_TOO_LARGE``, are aliases.
    """

    NORMAL_CLOSURE = 1000  #: the purpose of the connection has been fulfilled
    GOING_AWAY = 1001  #: a server goes down, or a browser leaves the page
    PROTOCOL_ERROR = 1002  #: the peer broke RFC 6455
    UNSUPPORTED_DATA = 1003  #: say, binary where only text makes sense
    NO_STATUS_RCVD = 1005  #: never on the wire: the Close frame had no body
    ABNORMAL_CLOSURE = 1006  #: never on the wire: the stream ended without a Close
    INVALID_FRAME_PAYLOAD_DATA = 1007  #: say, text that is not UTF-8
    POLICY_VIOLATION = 1008  #: for whatever no other code says better
    MESSAGE_TOO_BIG = 1009  #: a message over the receiver's limit
    MANDATORY_EXT = 1010  #: the client needs an extension that it did not get
    INTERNAL_ERROR = 1011  #: the endpoint met a condition it did not expect
    SERVICE_RESTART = 1012  #: IANA: come back, after a random delay of seconds
    TRY_AGAIN_LATER = 1013  #: IANA: overloaded; come back when asked to
    BAD_GATEWAY = 1014  #: IANA: the server behind a gateway answered badly
    TLS_HANDSHAKE_FAILED = 1015  #: never on the wire: there was no connection

    # What Lomond, twspy and asws3 call them.
    NORMAL = 1000
    DATA_NOT_UNDERSTOOD = UNACCEPTABLE_DATA = NOACCEPT_DTYPE = 1003
    NO_STATUS = 1005
    ABNORMAL_CLOSE = 1006
    BAD_DATA = INCONSISTENT_DATA = INVALID_DATA = 1007
    POLICY = 1008
    MESSAGE_TOO_LARGE = MESSAGE_TOOBIG = 1009
    EXTENSION_FAILED = EXTENSION_NOT_PRESENT = MISSING_EXTENSIONS = 1010
    UNEXPECTED_CONDITION = UNABLE = 1011
    TLS_HANDSHAKE_FAILURE = 1015

    @property
    def description(self) -> str:
        """What the code says, in a few words of lower case."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    CloseCode.NORMAL_CLOSURE: "normal closure",
    CloseCode.GOING_AWAY: "going away",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.UNSUPPORTED_DATA: "unsupported data",
    CloseCode.NO_STATUS_RCVD: "no status code received",
    CloseCode.ABNORMAL_CLOSURE: "connection lost without a Close frame",
    CloseCode.INVALID_FRAME_PAYLOAD_DATA: "invalid payload data",
    CloseCode.POLICY_VIOLATION: "policy violation",
    CloseCode.MESSAGE_TOO_BIG: "message too big",
    CloseCode.MANDATORY_EXT: "mandatory extension missing",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.SERVICE_RESTART: "service restart",
    CloseCode.TRY_AGAIN_LATER: "try again later",
    CloseCode.BAD_GATEWAY: "bad gateway",
    CloseCode.TLS_HANDSHAKE_FAILED: "TLS handshake failed",
}

# Codes that describe an end without a Close frame; only an endpoint itself can
# conclude them (RFC 6455 section 7.4.1).
_LOCAL_CODES = frozenset({CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE_FAILED})

# Programs compare names, and for them this code has always been one of the range that
# RFC 6455 reserves.
_UNNAMED_CODES = frozenset({CloseCode.BAD_GATEWAY})


class CloseReason:
    """Why a connection ended: a code of RFC 6455 section 7.4, and a text.

    Two reasons are equal only if they are the same object, and every reason is true;
    compare ``code`` to find out what happened.

    Args:
        code: Any number. One that `CloseCode` knows becomes its member.
        reason: The text of the Close frame, or None if it had none.

    Raises:
        TypeError: If ``code`` is not a number.

    """

    def __init__(self, code: int, reason: str | None) -> None:
        self._code = _find_code(code)
        self._name = _find_name(self._code)
        self._reason = reason

    @classmethod
    def parse(cls, payload: bytes) -> CloseReason:
        """Read the body of a Close frame (RFC 6455 section 5.5.1).

        An empty one stands for 1005. Whether the code may be sent is not judged.

        Raises:
            ValueError: If it has one byte, or its text is not UTF-8.

        """
        if not payload:
            return cls(CloseCode.NO_STATUS_RCVD, None)
        if len(payload) == 1:
            raise ValueError("the body of a Close frame cannot have one byte")
        return cls(int.from_bytes(payload[:2], "big"), payload[2:].decode() or None)

    @property
    def code(self) -> int:
        """The close code: a `CloseCode` if it is a known one, else a plain number."""
        return self._code

    @property
    def name(self) -> str:
        """The name of the code, or of the range that it lies in.

        The ranges of RFC 6455 section 7.4.2 are ``RFC_RESERVED`` (1000 to 2999, 1014
        included), ``IANA_RESERVED`` (3000 to 3999) and ``PRIVATE_RESERVED`` (4000 to
        4999). Any other number is an ``INVALID_CODE``.
        """
        return self._name

    @property
    def reason(self) -> str | None:
        """The text that came with the code; None if there was none."""
        return self._reason

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}"
            f"<code={self._code}, name={self._name}, reason={self._reason}>"
        )


def closed_reason(code: int | None, reason: str | None) -> CloseReason:
    """Say as a `CloseReason` what a Close frame held.

    Args:
        code: The code of the frame; None (1005) if its body was empty.
        reason: The text of the frame; an empty one counts as none.

    """
    return CloseReason(
        CloseCode.NO_STATUS_RCVD if code is None else code, reason or None
    )


def check_close(code: int | None, reason: str | None) -> tuple[int | None, str]:
    """Find out what a Close frame may carry (RFC 6455 sections 5.5.1 and 7.4).

    Args:
        code: 1000 to 1003, 1007 to 1014 and 3000 to 4999 are sent as they are. None
            and 1005 mean a Close without a body. 1006 and 1015 may not be sent, but
            programs give them, so they are sent as 1000.
        reason: A text. Its UTF-8 is cut at 123 bytes, between two characters.

    Returns:
        The code and the text to send; the code is None if the body is to be empty.

    Raises:
        TypeError: If ``code`` is neither a whole number nor None, or ``reason`` neither
            a str nor None, or there is a reason but no code to go before it.
        ValueError: If the code may not be sent, or UTF-8 cannot encode the reason.

    """
    _check_types(code, reason)
    if code is None or code == CloseCode.NO_STATUS_RCVD:
        if reason:
            raise TypeError("a close reason needs a close code to go before it")
        return None, ""
    if code in _LOCAL_CODES:
        return int(CloseCode.NORMAL_CLOSURE), _cut_reason(reason or "")
    if not _is_sendable(code):
        raise ValueError(f"the close code {int(code)} may not be sent")
    return int(code), _cut_reason(reason or "")


def _find_code(code: int) -> int:
    try:
        return CloseCode(code)
    except ValueError:
        return code


def _find_name(code: int) -> str:
    if isinstance(code, CloseCode) and code not in _UNNAMED_CODES:
        return code.name
    if 1000 <= code < 3000:
        return "RFC_RESERVED"
    if 3000 <= code < 4000:
        return "IANA_RESERVED"
    if 4000 <= code < 5000:
        return "PRIVATE_RESERVED"
    return "INVALID_CODE"


def _check_types(code: object, reason: object) -> None:
    if not isinstance(code, int | None):
        raise TypeError(
            f"a close code must be an int or None, not {type(code).__name__}"
        )
    if not isinstance(reason, str | None):
        raise TypeError(
            f"a close reason must be a str or None, not {type(reason).__name__}"
        )


def _is_sendable(code: int) -> bool:
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _cut_reason(reason: str) -> str:
    try:
        encoded = reason.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the close reason holds a lone surrogate") from error
    # Whatever follows the last whole character is dropped with the rest.
    return encoded[:MAX_REASON_SIZE].decode(errors="ignore")

"""The tree of the errors, and what each of them says (T-50)."""

from __future__ import annotations

import copy
import errno
import pickle
import traceback

import pytest

import trio_websocket._errors as errors
from trio_websocket._close_reason import CloseReason
from trio_websocket._errors import (
    ConnectionClosed,
    ConnectionFailed,
    ConnectionRejected,
    ConnectionTimeout,
    DisconnectionTimeout,
    HandshakeError,
    IncompleteMessage,
    InvalidHandshake,
    InvalidURL,
    ProtocolViolation,
    TrioWebsocketInternalError,
    WebSocketError,
)

BYE = CloseReason(1001, "bye")

SENTENCES: list[tuple[WebSocketError, str]] = [
    (WebSocketError(), ""),
    (HandshakeError(), ""),
    (ConnectionTimeout(), "the connection did not open in time"),
    (ConnectionTimeout(60), "the connection did not open within 60 s"),
    (ConnectionTimeout(0.5), "the connection did not open within 0.5 s"),
    (DisconnectionTimeout(), "the peer did not answer the Close in time"),
    (DisconnectionTimeout(2), "the peer did not answer the Close within 2 s"),
    (
        ConnectionRejected(404, ((b"content-length", b"0"),), b""),
        "the server rejected the connection with status 404 (Not Found)",
    ),
    (
        ConnectionRejected(999, (), None),
        "the server rejected the connection with status 999",
    ),
    (ConnectionFailed("h:80"), "the connection to h:80 failed"),
    (
        ConnectionFailed("h:80", OSError(errno.ECONNREFUSED, "refused")),
        f"the connection to h:80 failed: [Errno {errno.ECONNREFUSED}] refused",
    ),
    (
        ConnectionFailed("h:80", RuntimeError("no luck")),
        "the connection to h:80 failed: no luck",
    ),
    (
        ConnectionFailed("h:80", EOFError()),
        "the connection to h:80 failed: EOFError",
    ),
    (
        InvalidHandshake("the Sec-WebSocket-Accept header is wrong"),
        "the opening handshake is invalid: the Sec-WebSocket-Accept header is wrong",
    ),
    (ConnectionClosed(None), "the connection is closed"),
    (
        ConnectionClosed(BYE),
        "the connection is closed: CloseReason<code=1001, name=GOING_AWAY, reason=bye>",
    ),
    (
        InvalidURL("http://x", "the scheme must be ws or wss"),
        "'http://x' is not a WebSocket URL: the scheme must be ws or wss",
    ),
    (
        IncompleteMessage(b"abc", 5),
        "the message ended after 3 of 5 bytes",
    ),
    (
        IncompleteMessage("äb", 3),
        "the message ended after 2 of 3 characters",
    ),
    (
        ProtocolViolation(1002, "reserved bits are set"),
        "the peer violated the protocol (1002): reserved bits are set",
    ),
    (
        TrioWebsocketInternalError(),
        "internal error, please report it together with its cause",
    ),
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_every_error_says_its_sentence(error: WebSocketError, sentence: str) -> None:
    assert str(error) == sentence


def test_the_table_holds_every_error_there_is() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == {type(error) for error, _ in SENTENCES}


@pytest.mark.parametrize("error", [error for error, _ in SENTENCES])
@pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy"])
def test_every_error_pickles_and_copies(error: WebSocketError, how: str) -> None:
    match how:
        case "pickle":
            other = pickle.loads(pickle.dumps(error))  # noqa: S301
        case "copy":
            other = copy.copy(error)
        case _:
            other = copy.deepcopy(error)
    assert other is not error
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert repr(vars(other)) == repr(vars(error))
    assert repr(other) == repr(error)


@pytest.mark.parametrize(
    ("error", "parents"),
    [
        (ConnectionTimeout, {HandshakeError}),
        (DisconnectionTimeout, {HandshakeError}),
        (ConnectionRejected, {HandshakeError}),
        (ConnectionFailed, {HandshakeError, OSError}),
        (InvalidHandshake, {HandshakeError}),
        (ConnectionClosed, set[type]()),
        (InvalidURL, {ValueError}),
        (ProtocolViolation, set[type]()),
        (TrioWebsocketInternalError, set[type]()),
    ],
)
def test_every_error_is_a_websocket_error_and_what_the_tree_says(
    error: type[WebSocketError], parents: set[type]
) -> None:
    candidates = {HandshakeError, OSError, ValueError}
    assert issubclass(error, WebSocketError)
    assert {parent for parent in candidates if issubclass(error, parent)} == parents


@pytest.mark.parametrize("error", [ConnectionTimeout, DisconnectionTimeout])
def test_a_timeout_knows_its_seconds(
    error: type[ConnectionTimeout | DisconnectionTimeout],
) -> None:
    assert error(3).timeout == 3
    assert error().timeout is None


def test_a_rejection_is_data() -> None:
    headers = ((b"x-a", b"1"), (b"x-b", b"2"))
    error = ConnectionRejected(404, headers, b"gone")
    assert (error.status_code, error.headers, error.body) == (404, headers, b"gone")
    assert error.args == (404, headers, b"gone")


def test_a_rejection_prints_its_status() -> None:
    class Refused(ConnectionRejected):
        pass

    assert repr(ConnectionRejected(404, (), b"")) == (
        "ConnectionRejected<status_code=404>"
    )
    assert repr(Refused(500, (), b"")) == "Refused<status_code=500>"


def test_a_failed_connection_has_the_number_and_the_text_of_its_cause() -> None:
    cause = OSError(errno.ECONNREFUSED, "refused")
    error = ConnectionFailed("h:80", cause)
    assert error.target == "h:80"
    assert error.cause is cause
    assert error.errno == errno.ECONNREFUSED
    assert error.strerror == "refused"


@pytest.mark.parametrize(
    ("cause", "text"),
    [(None, ""), (OSError("all failed"), "all failed"), (EOFError("cut"), "cut")],
)
def test_a_failed_connection_has_no_number_if_its_cause_has_none(
    cause: BaseException | None, text: str
) -> None:
    error = ConnectionFailed("h:80", cause)
    assert error.errno is None
    assert error.strerror == text


def test_a_copy_of_a_failed_connection_keeps_number_and_cause_and_notes() -> None:
    error = ConnectionFailed("h:80", OSError(errno.ECONNRESET, "reset"))
    error.add_note("by the way")
    other = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert other.errno == errno.ECONNRESET
    assert other.target == "h:80"
    assert repr(other.cause) == repr(error.cause)
    assert other.__notes__ == ["by the way"]


def test_the_reason_of_a_closed_connection_can_be_set() -> None:
    error = ConnectionClosed(None)
    error.reason = BYE
    assert error.reason is BYE
    assert copy.copy(error).reason is BYE


def test_a_closed_connection_prints_its_reason() -> None:
    assert repr(ConnectionClosed(BYE)) == (
        "ConnectionClosed<CloseReason<code=1001, name=GOING_AWAY, reason=bye>>"
    )
    assert repr(ConnectionClosed(None)) == "ConnectionClosed<None>"
    assert ConnectionClosed(BYE).args == (BYE,)


def test_a_subclass_of_connection_closed_need_not_call_its_parent() -> None:
    class Gone(ConnectionClosed):
        def __init__(self, reason: CloseReason | None) -> None:
            self.reason = reason

    error = Gone(BYE)
    assert repr(error) == "Gone<CloseReason<code=1001, name=GOING_AWAY, reason=bye>>"
    assert "CloseReason<" in str(error)
    assert copy.copy(error).reason is BYE


def test_a_subclass_of_connection_closed_need_not_set_the_reason() -> None:
    class Gone(ConnectionClosed):
        def __init__(self) -> None:
            pass

    assert repr(Gone()) == "Gone<None>"
    assert str(Gone()) == "the connection is closed"


def test_the_other_errors_keep_what_they_were_given() -> None:
    url = InvalidURL("http://x", "no")
    violation = ProtocolViolation(1007, "bad")
    assert (url.url, url.problem) == ("http://x", "no")
    assert (violation.code, violation.problem) == (1007, "bad")
    assert InvalidHandshake("bad").problem == "bad"


def test_a_traceback_ends_with_the_sentence() -> None:
    lines = traceback.format_exception_only(ConnectionTimeout(60))
    assert lines[-1].endswith(
        "ConnectionTimeout: the connection did not open within 60 s\n"
    )

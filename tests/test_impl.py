"""What programs import from where trio-websocket 0.12.2 had it (compat.md 3.1)."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import trio_websocket
from trio_websocket import InvalidURL, _impl

PUBLIC = (
    "CloseReason",
    "ConnectionClosed",
    "ConnectionRejected",
    "ConnectionTimeout",
    "DisconnectionTimeout",
    "Endpoint",
    "HandshakeError",
    "WebSocketConnection",
    "WebSocketRequest",
    "WebSocketServer",
    "connect_websocket",
    "connect_websocket_url",
    "open_websocket",
    "open_websocket_url",
    "serve_websocket",
    "wrap_client_stream",
    "wrap_server_stream",
)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_the_same_in_both_places(name: str) -> None:
    assert getattr(_impl, name) is getattr(trio_websocket, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONN_TIMEOUT", 60),
        ("MESSAGE_QUEUE_SIZE", 1),
        ("MAX_MESSAGE_SIZE", 2**20),
        ("RECEIVE_BYTES", 2**16),
    ],
)
def test_the_defaults_can_be_read(name: str, value: int) -> None:
    assert getattr(_impl, name) == value


def test_the_logger_is_the_one_that_programs_silence() -> None:
    assert _impl.logger is logging.getLogger("trio-websocket")


def test_the_internal_error_can_be_caught() -> None:
    assert issubclass(_impl.TrioWebsocketInternalError, Exception)


def test_the_package_alone_brings_the_module_with_it() -> None:
    program = "import trio_websocket; print(trio_websocket._impl.HandshakeError)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert "HandshakeError" in done.stdout


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("ws://h", ("h", 80, "/", False)),
        ("wss://H:444/x", ("h", 444, "/x", True)),
        ("ws://user:pw@h:1/p", ("h", 1, "/p", False)),
        ("ws://[::1]:8000/p?q#f", ("::1", 8000, "/p?q", False)),
    ],
)
def test_a_url_can_be_split(url: str, parts: tuple[str, int, str, bool]) -> None:
    split = getattr(_impl, "_url_to_host")  # noqa: B009  # private by its name only
    assert split(url, None) == parts


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("wss://h", ("h", 80, "/", False)),
        ("wss://h/p?q", ("h", 80, "/p?q", False)),
        ("wss://h:443", ("h", 443, "/", False)),
        ("wss://h:8000/x", ("h", 8000, "/x", False)),
        ("wss://[::1]", ("::1", 80, "/", False)),
    ],
)
def test_a_secure_url_without_tls_has_the_port_of_a_plain_one(
    url: str, parts: tuple[str, int, str, bool]
) -> None:
    split = getattr(_impl, "_url_to_host")  # noqa: B009  # private by its name only
    assert split(url, False) == parts


def test_a_bad_url_cannot_be_split() -> None:
    with pytest.raises(InvalidURL):
        _impl.split_url("http://h", None)

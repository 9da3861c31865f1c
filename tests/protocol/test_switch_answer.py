from __future__ import annotations

import pytest

from trio_websocket._protocol.switch_answer import explain_switch, prepare_switch

GOOD = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n"
    b"\r\n"
)


def add(*lines: bytes) -> bytes:
    return GOOD[:-2] + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@pytest.mark.parametrize("head", [GOOD, add(b"no colon"), add(b"Upgrade: h2c")])
def test_what_wsproto_judges_rightly_is_left_as_it_is(head: bytes) -> None:
    assert prepare_switch(head) == head


def test_connection_headers_are_joined() -> None:
    assert prepare_switch(add(b"CONNECTION: keep-alive")) == (
        b"HTTP/1.1 101 \r\n"
        b"connection: Upgrade, keep-alive\r\n"
        b"upgrade: websocket\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"sec-websocket-protocol: chat\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (GOOD.replace(b"1.1", b"1.0"), "the answer is not HTTP/1.1"),
        (
            add(b"sec-websocket-accept: x"),
            "the Sec-WebSocket-Accept header is repeated",
        ),
        (
            add(b"SEC-WEBSOCKET-PROTOCOL: chat"),
            "the Sec-WebSocket-Protocol header is repeated",
        ),
        (
            add(b"Connection: a", b"no colon"),
            "the headers of the answer are not valid HTTP",
        ),
    ],
)
def test_what_wsproto_would_overlook_is_invalid(head: bytes, problem: str) -> None:
    assert prepare_switch(head) is None
    assert explain_switch(head, ["chat"]) == problem


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b": websocket", b": h2c", "the Upgrade header is not websocket"),
        (b"Upgrade: websocket\r\n", b"", "the Upgrade header is not websocket"),
        (b": Upgrade", b": \xff", "the Connection header is not ASCII"),
        (b": Upgrade", b": close", "the Connection header lacks upgrade"),
        (
            b": chat",
            b": v2",
            "the server chose the subprotocol 'v2', which was not offered",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Extensions: x\r\n\r\n",
            "the server chose an extension, and none was offered",
        ),
        (b"-Accept:", b"-X:", "the Sec-WebSocket-Accept header is missing"),
        (b"", b"", "the Sec-WebSocket-Accept header is wrong"),
    ],
)
def test_what_wsproto_refuses_is_explained(
    old: bytes, new: bytes, problem: str
) -> None:
    assert explain_switch(GOOD.replace(old, new), ["chat"]) == problem

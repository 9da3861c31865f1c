"""Extensions in the opening handshake: compression is offered, accepted or declined."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

import pytest
from wsproto.utilities import generate_accept_token

from trio_websocket._errors import InvalidHandshake
from trio_websocket._options import PerMessageDeflate
from trio_websocket._protocol.client_handshake import ClientHandshake
from trio_websocket._protocol.deflate import DeflateAgreement
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import MessagesReceived, Pause, Piece
from trio_websocket._protocol.extension import Extension, Parameters
from trio_websocket._protocol.opened import Opened
from trio_websocket._protocol.server_handshake import ServerHandshake
from trio_websocket._protocol.upgrade_request import UpgradeRequest

from .sample_extensions import OtherSuffix, Suffix, Tuned

WIDE = PerMessageDeflate(client_max_window_bits=15, server_max_window_bits=15)
KEY = b"\x9a\x00\xff\x42"
TAIL = b"\x00\x00\xff\xff"


# The client.


def start(
    deflate: PerMessageDeflate | None = WIDE, extensions: Sequence[Extension] = ()
) -> ClientHandshake:
    return ClientHandshake(
        host="example.com",
        resource="/",
        headers=[(b"X-Last", b"1")],
        deflate=deflate,
        extensions=extensions,
    )


def answer(
    handshake: ClientHandshake,
    *extensions: bytes,
    rest: bytes = b"",
    end: bytes = b"\r\n",
) -> Opened:
    key = re.search(rb"\r\nSec-WebSocket-Key: (.*)\r\n", handshake.request())
    assert key is not None
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        *(b"Sec-WebSocket-Extensions: " + each for each in extensions),
        b"Sec-WebSocket-Accept: " + generate_accept_token(key[1]),
        b"X-More: 2",
        b"",
        b"",
    ]
    opened = handshake.receive_data(end.join(lines) + rest)
    assert opened is not None
    return opened


def test_a_client_offers_compression_in_one_header_before_those_of_the_program() -> (
    None
):
    lines = start(PerMessageDeflate()).request().split(b"\r\n")
    offers = (
        b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12;"
        b" client_max_window_bits=12, permessage-deflate; client_max_window_bits=12"
    )
    assert lines.index(offers) == lines.index(b"X-Last: 1") - 1
    assert b"xtensions" not in start(None).request()


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_server_may_accept_compression(end: bytes) -> None:
    use = b'permessage-deflate; server_max_window_bits="10"'
    opened = answer(start(), use, end=end)
    assert opened.compression == DeflateAgreement(
        server_no_context_takeover=False,
        client_no_context_takeover=False,
        server_max_window_bits=10,
        client_max_window_bits=15,
    )
    assert opened.headers == ((b"x-more", b"2"),)
    frame = opened.engine.send_message("text " * 9, KEY)
    assert isinstance(frame, bytes)
    assert frame[0] == 0xC1


def test_messages_that_come_with_the_answer_are_inflated() -> None:
    compressed = zlib.compressobj(wbits=-15)
    payload = compressed.compress(b"Hello" * 9) + compressed.flush(zlib.Z_SYNC_FLUSH)
    payload = payload.removesuffix(TAIL)
    frame = bytes([0xC1, len(payload)]) + payload
    opened = answer(start(), b"permessage-deflate", rest=frame)
    assert read(opened.engine) == "Hello" * 9


def read(engine: Engine) -> str | bytes:
    """Read one message that is there in one go."""
    match engine.next_event(room=1, max_size=1000):
        case MessagesReceived(messages=[message]) | Piece(data=message, is_last=True):
            assert engine.next_event(room=1, max_size=1000) is Pause.DATA
            return message
        case event:
            raise AssertionError(event)


@pytest.mark.parametrize("extensions", [[], [b""], [b" , "]])
def test_a_server_may_decline_compression(extensions: list[bytes]) -> None:
    opened = answer(start(), *extensions)
    assert opened.compression is None
    frame = opened.engine.send_message("text " * 9, KEY)
    assert isinstance(frame, bytes)
    assert frame[0] == 0x81


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ([b"x-other"], "the server chose the extension x-other, which was not offered"),
        (
            [b"permessage-deflate, x-other"],
            "the server chose the extension x-other, which was not offered",
        ),
        (
            [b"permessage-deflate, permessage-deflate"],
            "the server chose an extension twice",
        ),
        (
            [b"permessage-deflate", b"permessage-deflate"],
            "the server chose an extension twice",
        ),
        (
            [b"permessage-deflate; x"],
            "the server accepts permessage-deflate; x",
        ),
        (
            [b"permessage-deflate;"],
            "the extensions have '' where the name of a parameter belongs",
        ),
        ([b"permessage-d\xe9flate"], "the extensions are not ASCII"),
    ],
)
def test_an_answer_that_cannot_be_agreed_to_fails_the_handshake(
    extensions: list[bytes], problem: str
) -> None:
    """S-62."""
    with pytest.raises(InvalidHandshake) as caught:
        answer(start(), *extensions)
    assert caught.value.problem == problem
    assert caught.value.__cause__ is None


def test_an_extension_that_nobody_offered_fails_the_handshake() -> None:
    with pytest.raises(InvalidHandshake, match="and none was offered"):
        answer(start(None), b"permessage-deflate")


def test_a_client_offers_extensions_of_the_program_in_front_of_compression() -> None:
    request = start(WIDE, [Suffix(), Tuned()]).request()
    assert (
        b"\r\nSec-WebSocket-Extensions: x-suffix, x-tuned; level=5; strict, x-tuned,"
        b" permessage-deflate; client_max_window_bits\r\nX-Last: 1\r\n"
    ) in request
    request = start(None, [Suffix()]).request()
    assert b"\r\nSec-WebSocket-Extensions: x-suffix\r\n" in request


def test_a_client_uses_the_extensions_that_the_server_accepts() -> None:
    tuned = Tuned()
    extensions = [Suffix(), tuned, OtherSuffix()]
    frame = b"\x81\x03xab"
    values = [b"x-suffix", b'x-tuned; level="3", x-other-suffix']
    opened = answer(start(None, extensions), *values, rest=frame)
    assert opened.extensions == tuple(extensions)
    assert tuned.agreed == 3
    assert read(opened.engine) == "x"
    assert answer(start(None, extensions)).extensions == ()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"x-else", "the server chose the extension x-else, which was not offered"),
        (
            b"permessage-deflate",
            "the server chose the extension permessage-deflate, which was not offered",
        ),
        (
            b"x-suffix; a; a",
            "the extensions have a parameter twice in 'x-suffix; a; a'",
        ),
        (
            b"x-suffix; a=b",
            "the server chose the extension x-suffix; a=b: it has no parameter a",
        ),
    ],
)
def test_an_answer_about_extensions_that_will_not_do_fails_the_handshake(
    value: bytes, problem: str
) -> None:
    with pytest.raises(InvalidHandshake) as caught:
        answer(start(None, [Suffix()]), value)
    assert caught.value.problem == problem


def test_what_else_is_wrong_with_an_answer_is_still_found() -> None:
    use = b"HTTP/1.1 101 X\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    for rest, problem in (
        (b"\r\n", "the Upgrade header is not websocket"),
        (b"Bad header\r\n\r\n", "the headers of the answer are not valid HTTP"),
    ):
        with pytest.raises(InvalidHandshake) as caught:
            start().receive_data(use + rest)
        assert caught.value.problem == problem


# The server.


def request(*extensions: bytes, odd: bytes = b"") -> ServerHandshake:
    lines = [
        b"GET / HTTP/1.1",
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
        *(b"Sec-WebSocket-Extensions: " + each for each in extensions),
        *([b"X-Odd: " + odd] if odd else []),
        b"",
        b"",
    ]
    handshake = ServerHandshake()
    received = handshake.receive_data(b"\r\n".join(lines))
    assert isinstance(received, UpgradeRequest)
    assert b"sec-websocket-extensions" not in dict(received.headers)
    return handshake


def accept(
    handshake: ServerHandshake,
    deflate: PerMessageDeflate | None = WIDE,
    extensions: Sequence[Extension] = (),
) -> tuple[list[bytes], Opened]:
    """Accept a request: the extensions in the answer, and what is open."""
    head = handshake.accept(
        subprotocol=None,
        headers=[(b"X", b"1")],
        deflate=deflate,
        extensions=extensions,
    )
    assert head.endswith(b"\r\nX: 1\r\n\r\n")
    assert handshake.opened is not None
    return re.findall(rb"Sec-WebSocket-Extensions: (.*)\r\n", head), handshake.opened


# A header that is not ASCII is read in another way.
ODD = pytest.mark.parametrize("odd", [b"", b"\xe9"], ids=["ordinary", "odd"])


@ODD
@pytest.mark.parametrize(
    "offers",
    [
        [b"permessage-deflate; server_max_window_bits=10"],
        [b'x-other; a="b,c", permessage-deflate; server_max_window_bits="10"'],
        [b"deflate-frame", b"permessage-deflate; server_max_window_bits=10"],
        [b"permessage-deflate; x, permessage-deflate; server_max_window_bits=10"],
    ],
)
def test_a_server_accepts_an_offer_that_it_understands(
    offers: list[bytes], odd: bytes
) -> None:
    if b'"b,c"' in offers[0]:
        # No token has a comma in it, and so all of the header means nothing.
        assert accept(request(*offers, odd=odd))[0] == []
        return
    extensions, opened = accept(request(*offers, odd=odd))
    assert extensions == [b"permessage-deflate; server_max_window_bits=10"]
    assert opened.compression == DeflateAgreement(
        server_no_context_takeover=False,
        client_no_context_takeover=False,
        server_max_window_bits=10,
        client_max_window_bits=15,
    )
    frame = opened.engine.send_message("text " * 9)
    assert isinstance(frame, bytes)
    assert frame[0] == 0xC1


@ODD
@pytest.mark.parametrize(
    "offers",
    [
        [],
        [b""],
        [b"deflate-frame, x-webkit-deflate-frame"],
        [b"permessage-deflate; client_max_window_bits=abc"],
        [b"permessage-deflate; ;"],
    ],
)
def test_a_server_declines_what_it_does_not_understand(
    offers: list[bytes], odd: bytes
) -> None:
    """S-62, S-63, P2 of the faults of others."""
    extensions, opened = accept(request(*offers, odd=odd))
    assert extensions == []
    assert opened.compression is None
    frame = opened.engine.send_message("text " * 9)
    assert isinstance(frame, bytes)
    assert frame[0] == 0x81


def test_a_server_that_wants_no_compression_declines_it() -> None:
    extensions, opened = accept(request(b"permessage-deflate"), None)
    assert extensions == []
    assert opened.compression is None


@ODD
def test_a_server_uses_the_extensions_that_it_accepts(odd: bytes) -> None:
    handshake = request(
        b'x-else; a="b", x-other-suffix, permessage-deflate',
        b'x-tuned; level="7", x-suffix; a, x-suffix',
        odd=odd,
    )
    handshake.receive_data(b"\x81\x83" + bytes(4) + b"xab")
    suffix, other, tuned = Suffix(), OtherSuffix(), Tuned()
    values, opened = accept(handshake, None, [suffix, other, tuned])
    assert values == [b"x-other-suffix, x-tuned; level=5, x-suffix"]
    assert opened.extensions == (other, tuned, suffix)
    assert opened.engine.send_message("x") == b"\x81\x03xba"
    with_deflate = request(b"x-suffix, permessage-deflate", odd=odd)
    values, opened = accept(with_deflate, WIDE, [suffix])
    assert values == [b"x-suffix, permessage-deflate"]
    assert opened.compression is not None


class Broken(Suffix):
    """Accepts with what cannot be written."""

    def accept(self, offered: Mapping[str, str | None]) -> Parameters | None:
        return {"a": "b c", **offered}


def test_a_mistake_of_an_extension_leaves_the_request_unanswered() -> None:
    handshake = request(b"x-suffix")
    with pytest.raises(ValueError, match="cannot have the parameter 'a=b c'"):
        accept(handshake, None, [Broken()])
    assert accept(handshake, None, [Suffix()])[0] == [b"x-suffix"]

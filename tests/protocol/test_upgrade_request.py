from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from wsproto.events import AcceptConnection

from trio_websocket._protocol.extension_header import ExtensionUse
from trio_websocket._protocol.http_head import BadHead, HeadBuffer
from trio_websocket._protocol.upgrade_request import (
    REQUEST,
    UpgradeRequest,
    parse_request,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3

GOOD = (
    b"GET /chat?room=1 HTTP/1.1\r\n"
    b"Host: example.com:8000\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat, v2.chat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Cookie: a=b\r\n"
    b"\r\n"
)

# h11 reads it, and wsproto never sees it: this puts a request out of the ordinary.
ODD_HEADER = (b"x-odd", b"\xff")
ODD_LINE = b"X-Odd: \xff\r\n"


def change(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def add(*lines: bytes) -> bytes:
    return GOOD[:-2] + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def make_odd(head: bytes) -> bytes:
    return head[:-2] + ODD_LINE + b"\r\n"


def catch(head: bytes) -> BadHead:
    with pytest.raises(BadHead) as caught:
        parse_request(head)
    return caught.value


def test_an_ordinary_request_is_read_as_it_came() -> None:
    request, _ = parse_request(GOOD)
    assert request == UpgradeRequest(
        target="/chat?room=1",
        headers=[
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-key", KEY),
            (b"sec-websocket-version", b"13"),
            (b"cookie", b"a=b"),
        ],
        host="example.com:8000",
        subprotocols=("chat", "v2.chat"),
        extensions=(ExtensionUse("permessage-deflate"),),
    )


def test_a_request_out_of_the_ordinary_is_read_in_the_same_way() -> None:
    plain, _ = parse_request(GOOD)
    odd, _ = parse_request(make_odd(GOOD))
    assert odd.headers == [*plain.headers, ODD_HEADER]
    assert (odd.target, odd.host, odd.subprotocols) == (
        plain.target,
        plain.host,
        plain.subprotocols,
    )


@pytest.mark.parametrize("head", [GOOD, make_odd(GOOD)])
def test_the_handshake_can_accept_the_request(head: bytes) -> None:
    _, handshake = parse_request(head)
    answer = handshake.send(AcceptConnection(subprotocol="v2.chat"))
    assert b"\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n" in answer


@pytest.mark.parametrize(
    "head",
    [
        change(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
        change(b"Connection: Upgrade", b"connection:uPGRADE"),
        change(
            b"Connection: Upgrade", b"Connection: Upgrade\r\nConnection: keep-alive"
        ),
        change(
            b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: Upgrade"
        ),
        change(b"Upgrade: websocket", b"UPGRADE: WebSocket"),
        change(b"Upgrade: websocket", b"Upgrade: h2c, websocket"),
        change(b"Upgrade: websocket", b"Upgrade: websocket\r\nUpgrade: h2c"),
        change(b"Upgrade: websocket", b"Upgrade: h2c\r\nUpgrade: websocket"),
        GOOD.replace(b"\r\n", b"\n"),
        add(b"Content-Length: 0"),
        add(b"Content-Length: 0", b"content-length: 0"),
        add(b"Expect: 100-continue"),
        add(b"X-Folded: a", b"  b"),
        add(b"X-Note: \xe9t\xe9"),
    ],
)
def test_a_request_may_be_spelt_otherwise(head: bytes) -> None:
    request, handshake = parse_request(head)
    assert request.subprotocols == ("chat", "v2.chat")
    answer = handshake.send(AcceptConnection(subprotocol="chat"))
    assert ACCEPT in answer


@pytest.mark.parametrize(
    "host",
    [
        "EXAMPLE.com",
        "xn--bcher-kva:8000",
        "xn--bcher-kva.example",
        "xn--",
        "a" * 64 + ":8000",
        "[::1]:8000",
        "localhost:",
    ],
)
@pytest.mark.parametrize("end", [b"", ODD_LINE])
def test_the_host_is_told_as_it_came(host: str, end: bytes) -> None:
    head = change(b"example.com:8000", host.encode())[:-2] + end + b"\r\n"
    request, handshake = parse_request(head)
    assert request.host == host
    assert ACCEPT in handshake.send(AcceptConnection())


@pytest.mark.parametrize(
    ("lines", "subprotocols"),
    [
        ((), ("chat", "v2.chat")),
        ((b"sec-websocket-protocol:  a ,b,, c",), ("chat", "v2.chat", "a", "b", "c")),
        ((b"Sec-WebSocket-Protocol:",), ("chat", "v2.chat")),
    ],
)
@pytest.mark.parametrize("end", [(), (ODD_LINE.strip(),)])
def test_subprotocols_are_gathered_from_all_their_headers(
    lines: tuple[bytes, ...], subprotocols: tuple[str, ...], end: tuple[bytes, ...]
) -> None:
    request, handshake = parse_request(add(*lines, *end))
    assert request.subprotocols == subprotocols
    answer = handshake.send(AcceptConnection(subprotocol=subprotocols[-1]))
    assert f"\r\nSec-WebSocket-Protocol: {subprotocols[-1]}\r\n".encode() in answer


@pytest.mark.parametrize("end", [b"", ODD_LINE])
def test_a_client_may_offer_no_subprotocol(end: bytes) -> None:
    head = change(b"Sec-WebSocket-Protocol: chat, v2.chat\r\n", end)
    request, handshake = parse_request(head)
    assert request.subprotocols == ()
    assert b"Sec-WebSocket-Protocol" not in handshake.send(AcceptConnection())


HOST = b"Host: example.com:8000\r\n"
KEY_LINE = b"Sec-WebSocket-Key: " + KEY + b"\r\n"
VERSION_LINE = b"Sec-WebSocket-Version: 13\r\n"
BAD_HTTP = "the headers of the request are not valid HTTP"
BAD_HOST = "the Host header is not a host"
BAD_KEY = "the Sec-WebSocket-Key header is not 16 bytes in base64"

REFUSED = [
    # The HTTP itself and Host.
    (change(b"HTTP/1.1", b"HTTP/1.0"), 400, "the request is HTTP/1.0, not HTTP/1.1"),
    (change(b"HTTP/1.1", b"HTTP/2.0"), 400, "the request is HTTP/2.0, not HTTP/1.1"),
    (b"PRI * HTTP/2.0\r\n\r\n", 400, "the request is HTTP/2.0, not HTTP/1.1"),
    (add(b"no colon"), 400, BAD_HTTP),
    (add(b"Name : value"), 400, BAD_HTTP),
    (add(b"X-Note: \x00"), 400, BAD_HTTP),
    (change(HOST, b" folded: a\r\n" + HOST), 400, BAD_HTTP),
    (change(HOST, b""), 400, "the Host header is missing"),
    (change(HOST, HOST * 2), 400, "the Host header is repeated"),
    (change(HOST, HOST + b"host: b\r\n"), 400, "the Host header is repeated"),
    (change(b"example.com:8000", b""), 400, BAD_HOST),
    (change(b"example.com:8000", b"my host"), 400, BAD_HOST),
    (change(b"example.com:8000", b"a, b"), 400, BAD_HOST),
    (change(b"example.com:8000", b"a:b"), 400, BAD_HOST),
    (change(b"example.com:8000", b"a:65536"), 400, BAD_HOST),
    (change(b"example.com:8000", b"::1:8000"), 400, BAD_HOST),
    (change(b"example.com:8000", b"\xff"), 400, "the header host is not ASCII"),
    (add(b"Connection: \xff"), 400, "the header connection is not ASCII"),
    (add(b"Upgrade: \xff"), 400, "the header upgrade is not ASCII"),
    (
        change(b"chat, v2.chat", b"\xff"),
        400,
        "the header sec-websocket-protocol is not ASCII",
    ),
    (
        change(b"permessage-deflate", b"\xff"),
        400,
        "the header sec-websocket-extensions is not ASCII",
    ),
    (change(KEY, b"\xff"), 400, "the header sec-websocket-key is not ASCII"),
    (change(b"13", b"\xff"), 400, "the header sec-websocket-version is not ASCII"),
    (
        add(b"Sec-WebSocket-Other: \xff"),
        400,
        "the header sec-websocket-other is not ASCII",
    ),
    (add(b"Content-Length: 1"), 400, "the request announces a body"),
    (add(b"Transfer-Encoding: chunked"), 400, "the request announces a body"),
    (add(b"Transfer-Encoding: gzip"), 400, BAD_HTTP),
    (add(b"Content-Length: -1"), 400, BAD_HTTP),
    (add(b"Content-Length: 0", b"Content-Length: 1"), 400, BAD_HTTP),
    (add(b"Content-Length: " + b"9" * 30), 400, BAD_HTTP),
    # The method.
    (change(b"GET", b"POST"), 405, "the method is not GET"),
    (change(b"GET", b"HEAD"), 405, "the method is not GET"),
    (change(b"GET", b"get"), 405, "the method is not GET"),
    (change(b"GET", b"GETX"), 405, "the method is not GET"),
    # The upgrade.
    (change(b"Upgrade: websocket\r\n", b""), 426, "the Upgrade header lacks websocket"),
    (
        change(b": websocket", b": websockets"),
        426,
        "the Upgrade header lacks websocket",
    ),
    (change(b": websocket", b": h2c"), 426, "the Upgrade header lacks websocket"),
    (
        change(b"Connection: Upgrade\r\n", b""),
        426,
        "the Connection header lacks upgrade",
    ),
    (change(b": Upgrade", b": close"), 426, "the Connection header lacks upgrade"),
    # The version.
    (change(VERSION_LINE, b""), 400, "the Sec-WebSocket-Version header is missing"),
    (
        change(VERSION_LINE, VERSION_LINE * 2),
        400,
        "the Sec-WebSocket-Version header is repeated",
    ),
    (change(b"13", b"8, 13"), 400, "the Sec-WebSocket-Version header is not a number"),
    (change(b"13", b"x"), 400, "the Sec-WebSocket-Version header is not a number"),
    (change(b"13", b""), 400, "the Sec-WebSocket-Version header is not a number"),
    (change(b"13", b"8"), 426, "the WebSocket version is 8, not 13"),
    (change(b"13", b"25"), 426, "the WebSocket version is 25, not 13"),
    # The key.
    (change(KEY_LINE, b""), 400, "the Sec-WebSocket-Key header is missing"),
    (change(KEY_LINE, KEY_LINE * 2), 400, "the Sec-WebSocket-Key header is repeated"),
    (change(KEY, b"x"), 400, BAD_KEY),
    (change(KEY, b""), 400, BAD_KEY),
    (change(KEY, KEY[:-2]), 400, BAD_KEY),
    (change(KEY, KEY[1:]), 400, BAD_KEY),
    (change(KEY, KEY + b"="), 400, BAD_KEY),
    (change(KEY, b"*" + KEY[1:]), 400, BAD_KEY),
    (change(KEY, b"dGhlIHNhbXBsZSBub25jZTE="), 400, BAD_KEY),
]

DEMANDS = {
    405: ((b"Allow", b"GET"),),
    426: ((b"Upgrade", b"websocket"),),
}


@pytest.mark.parametrize("end", [b"", ODD_LINE])
@pytest.mark.parametrize(("head", "status_code", "problem"), REFUSED)
def test_any_other_request_is_refused_by_the_table(
    head: bytes, status_code: int, problem: str, end: bytes
) -> None:
    bad = catch(head[:-2] + end + b"\r\n")
    assert (bad.status_code, bad.problem) == (status_code, problem)
    if problem.startswith("the WebSocket version"):
        assert bad.headers == ((b"Sec-WebSocket-Version", b"13"),)
    else:
        assert bad.headers == DEMANDS.get(status_code, ())


@pytest.mark.parametrize("size", [1, 10_000])
def test_the_name_of_a_header_is_cut_in_the_sentence(size: int) -> None:
    bad = catch(add(b"Sec-WebSocket-" + b"a" * size + b": \xff"))
    assert bad.status_code == 400
    assert len(bad.problem) < 100


FAULTS = [
    (400, HOST, b""),
    (405, b"GET", b"PUT"),
    (426, b": websocket", b": h2c"),
    (426, b"13", b"8"),
    (400, KEY_LINE, b""),
]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_several_faults_the_first_in_the_order_of_the_table_counts(
    first: int,
) -> None:
    head = GOOD
    for _, old, new in FAULTS[first:]:
        head = head.replace(old, new, 1)
    bad = catch(head)
    assert bad.status_code == FAULTS[first][0]
    assert (bad.headers == ((b"Upgrade", b"websocket"),)) == (first == 2)


@pytest.mark.parametrize(
    "start", [b"G", b"GET", b"GET ", b"GET /", b"MKCALENDAR", b"M-SEARCH * HTTP/1.1"]
)
def test_a_method_could_start_a_request(start: bytes) -> None:
    heads = HeadBuffer(REQUEST)
    heads.receive_data(start)
    assert heads.take_head() is None


@pytest.mark.parametrize(
    "start", [b"\x16\x03\x01", b"\x00", b" GET", b"\r\n", b"GET\t/", b"<a>", b"{}"]
)
def test_what_is_not_a_method_cannot_start_a_request(start: bytes) -> None:
    heads = HeadBuffer(REQUEST)
    heads.receive_data(start)
    with pytest.raises(BadHead, match="the request is not HTTP"):
        heads.take_head()


@pytest.mark.parametrize(
    "line", [b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/1", b"GET /\xff HTTP/1.1"]
)
def test_a_bad_request_line_is_refused_before_the_blank_line(line: bytes) -> None:
    heads = HeadBuffer(REQUEST)
    heads.receive_data(line + b"\r\n")
    with pytest.raises(BadHead, match="the first line of the request is not HTTP"):
        heads.take_head()


LINES = st.sampled_from(
    [
        HOST,
        b"Host: \r\n",
        b"Host: xn--a\r\n",
        b"Upgrade: websocket\r\n",
        b"Upgrade: h2c\r\n",
        b"Upgrade: h2c,WebSocket\r\n",
        b"Connection: Upgrade\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: a, upgrade\r\n",
        KEY_LINE,
        b"Sec-WebSocket-Key: x\r\n",
        VERSION_LINE,
        b"Sec-WebSocket-Version: 8\r\n",
        b"Sec-WebSocket-Protocol: a, ,b\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b" folded\r\n",
        b"no colon\r\n",
    ]
)
METHODS = st.sampled_from([b"GET"] * 8 + [b"POST", b"HEAD"])
VERSIONS = st.sampled_from([b"1.1"] * 8 + [b"1.0"])


def judge(head: bytes) -> object:
    try:
        request, handshake = parse_request(head)
    except BadHead as bad:
        return bad.status_code, bad.problem, bad.headers
    answer = handshake.send(AcceptConnection())
    headers = [header for header in request.headers if header != ODD_HEADER]
    return request.target, headers, request.host, request.subprotocols, answer


# Most of the lines of a good request, so that good ones are found too.
@given(
    method=METHODS,
    version=VERSIONS,
    kept=st.sets(st.integers(1, 5), min_size=4),
    more=st.lists(LINES, max_size=3),
)
def test_wsproto_and_the_table_agree_on_every_request(
    method: bytes, version: bytes, kept: set[int], more: list[bytes]
) -> None:
    lines = GOOD.splitlines(keepends=True)
    chosen = b"".join(lines[index] for index in sorted(kept)) + b"".join(more)
    head = method + b" / HTTP/" + version + b"\r\n" + chosen + b"\r\n"
    assert judge(head) == judge(make_odd(head))

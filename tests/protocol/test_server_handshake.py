from __future__ import annotations

import re

import h11
import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import AcceptConnection, Ping, RejectConnection, RejectData, Request
from wsproto.handshake import H11Handshake

from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import Pause, PingReceived
from trio_websocket._protocol.headers import Headers
from trio_websocket._protocol.server_handshake import Refusal, ServerHandshake
from trio_websocket._protocol.upgrade_request import UpgradeRequest

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3

GOOD = (
    b"GET /x?y=1 HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat, v2\r\n"
    b"\r\n"
)


def build_ping(payload: bytes) -> bytes:
    return Connection(ConnectionType.CLIENT).send(Ping(payload))


def start(*, rest: bytes = b"") -> ServerHandshake:
    handshake = ServerHandshake()
    assert isinstance(handshake.receive_data(GOOD + rest), UpgradeRequest)
    return handshake


def accept(handshake: ServerHandshake) -> Engine:
    handshake.accept(subprotocol=None, headers=[])
    assert handshake.opened is not None
    return handshake.opened.engine


def read_pings(engine: Engine) -> list[bytes]:
    pings: list[bytes] = []
    while True:
        match engine.next_event(room=1, max_size=1):
            case PingReceived(payload):
                pings.append(payload)
            case event:
                assert event is Pause.DATA
                return pings


def refuse(data: bytes) -> Refusal:
    handshake = ServerHandshake()
    refusal = handshake.receive_data(data)
    assert isinstance(refusal, Refusal)
    assert handshake.is_answered
    assert handshake.opened is None
    return refusal


def read_response(
    data: bytes, method: str = "GET"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Read a response as another library does, and all of it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    assert client.their_state is h11.MUST_CLOSE
    return response.status_code, dict(response.headers), body


# Until there is a request.


def test_a_request_is_told_once_wherever_it_is_cut() -> None:
    rest = build_ping(b"one") + build_ping(b"two")
    stream = GOOD + rest
    for cut in range(len(stream) + 1):
        handshake = ServerHandshake()
        told = [handshake.receive_data(stream[:cut])]
        assert not handshake.is_answered
        told.append(handshake.receive_data(stream[cut:]))
        (request,) = filter(None, told)
        assert isinstance(request, UpgradeRequest)
        assert (request.target, request.host) == ("/x?y=1", "localhost")
        assert request.subprotocols == ("chat", "v2")
        assert read_pings(accept(handshake)) == [b"one", b"two"]


def test_a_request_may_come_byte_by_byte() -> None:
    handshake = ServerHandshake()
    told = [handshake.receive_data(bytes([byte])) for byte in GOOD]
    assert told[:-1] == [None] * (len(GOOD) - 1)
    assert isinstance(told[-1], UpgradeRequest)


def test_the_headers_told_are_in_lower_case_and_in_the_order_of_the_wire() -> None:
    request = ServerHandshake().receive_data(GOOD)
    assert isinstance(request, UpgradeRequest)
    assert request.headers == [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-key", KEY),
        (b"sec-websocket-version", b"13"),
    ]


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00", b"\x00", b"\r\n", b"{", b"\xff"]
)
def test_what_is_not_http_is_refused_by_its_first_byte(data: bytes) -> None:
    for refusal in (refuse(data), refuse(data[:1])):
        assert refusal.status_code == 400
        assert refusal.problem == "the request is not HTTP"


@pytest.mark.parametrize("line", [b"HTTP/2.0", b"HTTP/1.0", b"HTTP/1", b"FTP/1.1"])
def test_what_is_not_http_1_1_is_refused(line: bytes) -> None:
    assert refuse(b"PRI * " + line + b"\r\n\r\nSM\r\n\r\n").status_code == 400


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_too_many_headers_are_refused(end: bytes) -> None:
    bomb = GOOD[:-2] + b"a: b\r\n" * 200_000 + end
    refusal = refuse(bomb)
    assert refusal.status_code == 431
    assert refusal.problem == "the request has more than 16384 bytes of headers"


def test_a_long_head_is_refused_while_it_comes() -> None:
    bomb = GOOD[:-2] + b"a" * 20_000
    handshake = ServerHandshake()
    told = [handshake.receive_data(bomb[i : i + 1]) for i in range(20_000)]
    refusal = told.pop(16_383)
    assert isinstance(refusal, Refusal)
    assert refusal.status_code == 431
    assert told == [None] * 19_999


@pytest.mark.parametrize(
    ("change", "status_code", "demand"),
    [
        ((b"HTTP/1.1", b"HTTP/1.0"), 400, {}),
        ((b"Host: localhost", b"Host: \xff"), 400, {}),
        ((b": Upgrade", b": \xff"), 400, {}),
        ((b"chat, v2", b"\xff"), 400, {}),
        ((KEY, b"x"), 400, {}),
        ((b"GET", b"POST"), 405, {b"allow": b"GET"}),
        ((b": websocket", b": h2c"), 426, {b"upgrade": b"websocket"}),
        ((b": 13", b": 8"), 426, {b"sec-websocket-version": b"13"}),
    ],
)
def test_a_refusal_is_a_whole_response_that_says_why(
    change: tuple[bytes, bytes], status_code: int, demand: dict[bytes, bytes]
) -> None:
    refusal = refuse(GOOD.replace(*change))
    status, headers, body = read_response(refusal.answer)
    assert status == refusal.status_code == status_code
    assert body.decode() == refusal.problem + "\n"
    assert headers == {
        **demand,
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"%d" % len(body),
        b"connection": b"close",
    }


def test_the_refusal_of_a_head_request_has_no_body() -> None:
    refusal = refuse(GOOD.replace(b"GET", b"HEAD"))
    status, headers, body = read_response(refusal.answer, "HEAD")
    assert (status, body) == (405, b"")
    assert headers[b"allow"] == b"GET"
    assert refusal.answer.endswith(b"\r\n\r\n")


def test_a_refused_peer_is_not_listened_to() -> None:
    handshake = ServerHandshake()
    assert isinstance(handshake.receive_data(b"\x00"), Refusal)
    assert handshake.receive_data(GOOD) is None
    with pytest.raises(ValueError, match="the request was answered already"):
        handshake.accept(subprotocol=None, headers=[])
    with pytest.raises(ValueError, match="the request was answered already"):
        handshake.reject(404, headers=[])


def test_nothing_can_be_answered_before_a_request() -> None:
    handshake = ServerHandshake()
    assert handshake.receive_data(GOOD[:-1]) is None
    with pytest.raises(ValueError, match="there is no request to answer"):
        handshake.accept(subprotocol=None, headers=[])
    with pytest.raises(ValueError, match="there is no request to answer"):
        handshake.reject(404, headers=[])
    assert isinstance(handshake.receive_data(GOOD[-1:]), UpgradeRequest)
    assert not handshake.is_answered


# Accept.


def test_accept_builds_the_101_in_the_order_of_the_table() -> None:
    handshake = start()
    headers = [(b"X-First", b"1"), (b"Set-Cookie", b"a=b")]
    answer = handshake.accept(subprotocol="v2", headers=headers)
    assert answer.split(b"\r\n") == [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + ACCEPT,
        b"Sec-WebSocket-Protocol: v2",
        b"X-First: 1",
        b"Set-Cookie: a=b",
        b"",
        b"",
    ]
    assert handshake.is_answered
    assert handshake.opened is not None
    assert handshake.opened.subprotocol == "v2"
    assert handshake.opened.headers == ()
    assert not handshake.opened.engine.is_client
    assert headers == [(b"X-First", b"1"), (b"Set-Cookie", b"a=b")]


def test_accept_chooses_no_subprotocol_by_itself() -> None:
    handshake = start()
    assert b"Protocol:" not in handshake.accept(subprotocol=None, headers=[])
    assert handshake.opened is not None
    assert handshake.opened.subprotocol is None


def test_wsproto_as_a_client_is_content() -> None:
    client = H11Handshake(ConnectionType.CLIENT)
    request = Request(host="localhost", target="/", subprotocols=["a", "b"])
    server = ServerHandshake()
    assert isinstance(server.receive_data(client.send(request)), UpgradeRequest)
    client.receive_data(server.accept(subprotocol="b", headers=[(b"x-a", b"1")]))
    assert list(client.events()) == [
        AcceptConnection(subprotocol="b", extra_headers=[(b"x-a", b"1")])
    ]


@pytest.mark.parametrize("subprotocol", ["other", "", "CHAT", "chat, v2"])
def test_only_a_subprotocol_that_is_offered_can_be_accepted(subprotocol: str) -> None:
    handshake = start()
    text = re.escape(f"the client does not offer the subprotocol '{subprotocol}'")
    with pytest.raises(ValueError, match=text):
        handshake.accept(subprotocol=subprotocol, headers=[])
    assert not handshake.is_answered
    assert handshake.opened is None
    assert b": chat\r\n" in handshake.accept(subprotocol="chat", headers=[])


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding"])
def test_an_acceptance_cannot_announce_a_body(name: bytes) -> None:
    handshake = start()
    with pytest.raises(ValueError, match="a handshake cannot have a"):
        handshake.accept(subprotocol=None, headers=[(name, b"0")])
    assert handshake.accept(subprotocol=None, headers=[]).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_request_is_answered_once(*, is_accepted: bool) -> None:
    handshake = start()
    if is_accepted:
        handshake.accept(subprotocol=None, headers=[])
    else:
        handshake.reject(404, headers=[])
    opened = handshake.opened
    with pytest.raises(ValueError, match="the request was answered already"):
        handshake.accept(subprotocol="chat", headers=[])
    with pytest.raises(ValueError, match="the request was answered already"):
        handshake.reject(500, headers=[])
    assert handshake.opened is opened


def test_bytes_before_and_after_the_acceptance_reach_the_engine() -> None:
    handshake = start(rest=build_ping(b"one") + build_ping(b"two")[:3])
    assert handshake.receive_data(b"") is None
    engine = accept(handshake)
    assert read_pings(engine) == [b"one"]
    ping = build_ping(b"three")
    assert handshake.receive_data(ping[:4]) is None
    assert read_pings(engine) == []


def test_bytes_between_the_request_and_the_acceptance_are_kept() -> None:
    handshake = start(rest=build_ping(b"one"))
    ping = build_ping(b"two")
    assert handshake.receive_data(ping[:3]) is None
    assert handshake.receive_data(ping[3:] + GOOD[:0]) is None
    engine = accept(handshake)
    assert handshake.receive_data(build_ping(b"three")) is None
    assert read_pings(engine) == [b"one", b"two", b"three"]


# Reject.


@pytest.mark.parametrize(
    ("status_code", "headers", "body"),
    [
        (403, [], b""),
        (401, [(b"WWW-Authenticate", b"Basic")], b"who are you?"),
        (200, [(b"Content-Type", b"text/plain")], b"hello"),
        (301, [(b"Location", b"/elsewhere")], b""),
        (404, [(b"content-length", b"7"), (b"x-a", b"1")], b"My body"),
        (404, [(b"Content-Length", b"0")], b""),
        (999, [], b"My body"),
        (204, [], b""),
        (304, [(b"ETag", b"1")], b""),
    ],
)
def test_a_rejection_is_a_whole_response(
    status_code: int, headers: Headers, body: bytes
) -> None:
    handshake = start()
    given = list(headers)
    answer = handshake.reject(status_code, headers=given, body=body)
    assert given == headers
    assert handshake.is_answered
    assert handshake.opened is None
    status, received, content = read_response(answer)
    assert (status, content) == (status_code, body)
    assert received[b"connection"] == b"close"
    assert received.items() >= {(n.lower(), v) for n, v in headers}
    has_length = status_code not in {204, 304}
    assert received.get(b"content-length") == (
        b"%d" % len(body) if has_length else None
    )
    assert answer.lower().count(b"\ncontent-length:") == has_length


def test_wsproto_as_a_client_understands_a_rejection() -> None:
    client = H11Handshake(ConnectionType.CLIENT)
    server = ServerHandshake()
    server.receive_data(client.send(Request(host="localhost", target="/")))
    client.receive_data(server.reject(403, headers=[(b"X-A", b"1")], body=b"My body"))
    rejection, *rest = client.events()
    assert isinstance(rejection, RejectConnection)
    assert rejection.status_code == 403
    assert list(rejection.headers) == [
        (b"x-a", b"1"),
        (b"content-length", b"7"),
        (b"connection", b"close"),
    ]
    assert rest == [RejectData(b"My body", False), RejectData(b"", True)]


@pytest.mark.parametrize(
    "body", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aXbXcX")[::2]]
)
def test_a_body_may_be_any_kind_of_bytes(body: bytearray | memoryview) -> None:
    answer = start().reject(404, headers=[], body=body)
    assert read_response(answer)[2] == b"abc"


@pytest.mark.parametrize(
    ("status_code", "kind", "text"),
    [
        (True, TypeError, "the status of a response must be an int, not bool"),
        ("404", TypeError, "the status of a response must be an int, not str"),
        (404.0, TypeError, "the status of a response must be an int, not float"),
        (None, TypeError, "the status of a response must be an int, not NoneType"),
        (101, ValueError, "a rejection cannot have the status 101"),
        (199, ValueError, "a rejection cannot have the status 199"),
        (1000, ValueError, "a rejection cannot have the status 1000"),
        (-404, ValueError, "a rejection cannot have the status -404"),
    ],
)
def test_a_bad_status_is_refused_before_a_byte(
    status_code: int, kind: type[Exception], text: str
) -> None:
    handshake = start()
    with pytest.raises(kind, match=text):
        handshake.reject(status_code, headers=[])
    assert not handshake.is_answered
    assert handshake.accept(subprotocol=None, headers=[]).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("body", ["My body", 7, None, [1, 2]])
def test_a_body_of_another_type_is_refused_before_a_byte(body: bytes) -> None:
    handshake = start()
    text = f"the body of a response must be bytes, not {type(body).__name__}"
    with pytest.raises(TypeError, match=text):
        handshake.reject(404, headers=[], body=body)
    assert not handshake.is_answered


@pytest.mark.parametrize(
    ("status_code", "headers", "body", "text"),
    [
        (204, [], b"x", "a response with the status 204 has no body"),
        (304, [], b"x", "a response with the status 304 has no body"),
        (404, [(b"Content-Length", b"8")], b"My body", "header does not say 7"),
        (404, [(b"content-length", b"x")], b"", "header does not say 0"),
        (
            404,
            [(b"content-length", b"0"), (b"Content-Length", b"1")],
            b"",
            "header does not say 0",
        ),
        (
            404,
            [(b"transfer-encoding", b"chunked")],
            b"",
            "the Transfer-Encoding header",
        ),
    ],
)
def test_a_rejection_that_contradicts_itself_is_refused_before_a_byte(
    status_code: int, headers: Headers, body: bytes, text: str
) -> None:
    handshake = start()
    with pytest.raises(ValueError, match=text):
        handshake.reject(status_code, headers=headers, body=body)
    assert not handshake.is_answered
    assert handshake.reject(404, headers=[]).startswith(b"HTTP/1.1 404 ")

from __future__ import annotations

import base64
import itertools
import math
import operator
import re
from collections.abc import Iterable

import h11
import pytest
from wsproto.utilities import generate_accept_token

from trio_websocket._errors import ConnectionRejected, InvalidHandshake
from trio_websocket._protocol.client_handshake import ClientHandshake
from trio_websocket._protocol.events import Pause, PingReceived
from trio_websocket._protocol.opened import Opened

LIMIT = 65536
PING = b"\x89\x02hi"


def start(
    *, subprotocols: Iterable[str] | None = None, host: str = "example.com"
) -> ClientHandshake:
    return ClientHandshake(host=host, resource="/", subprotocols=subprotocols)


def build_answer(handshake: ClientHandshake, *lines: bytes) -> bytes:
    key = re.search(rb"\r\nSec-WebSocket-Key: (.*)\r\n", handshake.request())
    assert key is not None
    return b"\r\n".join(
        [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + generate_accept_token(key[1]),
            *lines,
            b"\r\n",
        ]
    )


def receive(handshake: ClientHandshake, data: bytes) -> Opened:
    opened = handshake.receive_data(data)
    assert opened is not None
    return opened


def receive_bytewise(handshake: ClientHandshake, data: bytes) -> None:
    for index in range(len(data)):
        assert handshake.receive_data(data[index : index + 1]) is None


def read_pings(opened: Opened) -> list[bytes]:
    pings: list[bytes] = []
    while True:
        match opened.engine.next_event(room=1, max_size=1):
            case PingReceived(payload):
                pings.append(payload)
            case event:
                assert event is Pause.DATA
                return pings


def catch_rejection(
    handshake: ClientHandshake, chunks: Iterable[bytes]
) -> ConnectionRejected:
    """Feed chunks until one of them, or the end of the stream, gets it rejected."""
    try:
        for chunk in chunks:
            assert handshake.receive_data(chunk) is None
        handshake.receive_eof()
    except ConnectionRejected as rejection:
        return rejection
    raise AssertionError("not rejected")


def catch_problem(handshake: ClientHandshake, data: bytes) -> str:
    with pytest.raises(InvalidHandshake) as caught:
        handshake.receive_data(data)
    assert caught.value.__cause__ is None
    return caught.value.problem


# The request.


def test_the_request_has_the_headers_in_the_order_of_the_table() -> None:
    handshake = ClientHandshake(
        host="example.com:8000",
        resource="/chat?room=1",
        subprotocols=(name for name in ("chat", "v2.chat")),
        headers=[(b"Cookie", b"a=b"), (b"X-Note", b"\xe9t\xe9")],
    )
    lines = handshake.request().split(b"\r\n")
    name, key = lines.pop(4).split(b": ")
    assert name == b"Sec-WebSocket-Key"
    assert len(base64.b64decode(key, validate=True)) == 16
    assert lines == [
        b"GET /chat?room=1 HTTP/1.1",
        b"Host: example.com:8000",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Protocol: chat, v2.chat",
        b"Cookie: a=b",
        b"X-Note: \xe9t\xe9",
        b"",
        b"",
    ]


def test_each_handshake_draws_its_own_key() -> None:
    assert start().request() != start().request()
    handshake = start()
    assert handshake.request() == handshake.request()


@pytest.mark.parametrize("subprotocols", [None, [], ()])
def test_without_subprotocols_there_is_no_header_for_them(
    subprotocols: Iterable[str] | None,
) -> None:
    assert b"Sec-WebSocket-Protocol" not in start(subprotocols=subprotocols).request()


@pytest.mark.parametrize(
    "host",
    [
        "a" * 63 + ":8000",
        "a" * 63 + ".example",
        "[::1]:39091",
        "xn--bcher-kva:8000",
        "placeholder",
        "under_score",
    ],
)
def test_the_host_is_sent_as_it_is_given(host: str) -> None:
    lines = start(host=host).request().split(b"\r\n")
    assert lines[1] == b"Host: " + host.encode()


def test_a_host_among_the_headers_stands_in_for_ours_in_its_place() -> None:
    headers = [(b"X-A", b"1"), (b"hOSt", b"other.example:1"), (b"X-B", b"2")]
    handshake = ClientHandshake(host="example.com", resource="/", headers=headers)
    lines = handshake.request().split(b"\r\n")
    assert lines[1] == b"Host: other.example:1"
    assert lines[6:] == [b"X-A: 1", b"X-B: 2", b"", b""]
    assert handshake.request().lower().count(b"\nhost:") == 1
    assert headers == [(b"X-A", b"1"), (b"hOSt", b"other.example:1"), (b"X-B", b"2")]


@pytest.mark.parametrize(
    ("subprotocols", "kind", "text"),
    [
        ("chat", TypeError, "subprotocols must be an iterable of str, not one str"),
        ([b"chat"], TypeError, "a subprotocol must be a str, not bytes"),
        (b"chat", TypeError, "a subprotocol must be a str, not int"),
        ([None], TypeError, "a subprotocol must be a str, not NoneType"),
        ([""], ValueError, "the subprotocol '' is not a token"),
        (["a b"], ValueError, "the subprotocol 'a b' is not a token"),
        (["a,b"], ValueError, "the subprotocol 'a,b' is not a token"),
        (["a\r\nb: c"], ValueError, r"the subprotocol 'a\\r\\nb: c' is not a token"),
        (["\xe9"], ValueError, "the subprotocol '\xe9' is not a token"),
        (["a", "b", "a"], ValueError, "the subprotocol 'a' is there twice"),
    ],
)
def test_bad_subprotocols_are_refused_before_a_byte(
    subprotocols: Iterable[str], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=f"^{text}$"):
        start(subprotocols=subprotocols)


@pytest.mark.parametrize(
    "host", ["", "my host", "a\r\nb: c", "b\xfccher.example", "::1", "a:b", "\ud800"]
)
def test_a_bad_host_is_refused_before_a_byte(host: str) -> None:
    with pytest.raises(ValueError, match="cannot be the value of the Host header"):
        start(host=host)


def test_a_bad_host_among_the_headers_is_refused_before_a_byte() -> None:
    with pytest.raises(ValueError, match="'my host' cannot be the value of the Host"):
        ClientHandshake(host="a", resource="/", headers=[(b"Host", b"my host")])
    with pytest.raises(ValueError, match="the Host header is there twice"):
        ClientHandshake(
            host="a", resource="/", headers=[(b"Host", b"b"), (b"host", b"b")]
        )


@pytest.mark.parametrize(
    "resource", ["", "/a b", "/\xe9", "/ HTTP/1.1\r\nHost: evil", "/\x00", "/a\n"]
)
def test_a_bad_resource_is_refused_before_a_byte(resource: str) -> None:
    with pytest.raises(ValueError, match="is not a request target"):
        ClientHandshake(host="a", resource=resource)


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding"])
def test_a_request_that_would_announce_a_body_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="a handshake cannot have a"):
        ClientHandshake(host="a", resource="/", headers=[(name, b"0")])


# A 101.


def test_a_good_answer_opens_the_connection_wherever_it_is_cut() -> None:
    for cut in range(200):
        handshake = start(subprotocols=["chat"])
        answer = build_answer(handshake, b"Sec-WebSocket-Protocol: chat", b"X-A: 1")
        stream = answer + PING
        opened = handshake.receive_data(stream[:cut])
        if opened is None:
            assert handshake.rejection is None
            opened = receive(handshake, stream[cut:])
        else:
            opened.engine.receive_data(stream[cut:])
        assert opened.headers == ((b"x-a", b"1"),)
        assert opened.subprotocol == "chat"
        assert opened.engine.is_client
        assert read_pings(opened) == [b"hi"]


def test_a_good_answer_may_come_byte_by_byte() -> None:
    handshake = start()
    answer = build_answer(handshake)
    receive_bytewise(handshake, answer[:-1])
    opened = receive(handshake, answer[-1:])
    assert opened.headers == ()
    assert opened.subprotocol is None
    assert read_pings(opened) == []


def test_frames_behind_the_answer_are_not_lost() -> None:
    handshake = start()
    opened = receive(handshake, build_answer(handshake) + PING * 1000)
    assert read_pings(opened) == [b"hi"] * 1000


def test_the_headers_that_are_not_of_the_handshake_are_kept_in_order() -> None:
    handshake = start()
    answer = build_answer(handshake, b"Set-Cookie: a=b", b"DATE: x", b"Set-Cookie: c=d")
    assert receive(handshake, answer).headers == (
        (b"set-cookie", b"a=b"),
        (b"date", b"x"),
        (b"set-cookie", b"c=d"),
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket", b"upgrade:WebSocket"),
        (b"Connection: Upgrade", b"CONNECTION: keep-alive, UPGRADE"),
        (b"Connection: Upgrade", b"Connection: Upgrade\r\nConnection: keep-alive"),
        (b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: Upgrade"),
        (b"101 Switching Protocols", b"101"),
        (b"101 Switching Protocols", b"101 "),
        (b"101 Switching Protocols", b"101 \xe9t\xe9"),
        (b"\r\n", b"\n"),
    ],
)
def test_an_answer_may_be_spelt_otherwise(old: bytes, new: bytes) -> None:
    handshake = start()
    answer = build_answer(handshake, b"X-A: 1")
    assert old in answer
    opened = receive(handshake, answer.replace(old, new) + PING)
    assert opened.headers == ((b"x-a", b"1"),)
    assert read_pings(opened) == [b"hi"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"HTTP/1.1", b"HTTP/1.0", "the answer is not HTTP/1.1"),
        (b"Upgrade: websocket\r\n", b"", "the Upgrade header is not websocket"),
        (b": websocket", b": h2c", "the Upgrade header is not websocket"),
        (b": websocket", b": websocket\xff", "the Upgrade header is not websocket"),
        (b"Connection: Upgrade\r\n", b"", "the Connection header lacks upgrade"),
        (b": Upgrade", b": close", "the Connection header lacks upgrade"),
        (b": Upgrade", b": Upgrade\xff", "the Connection header is not ASCII"),
        (
            b"Connection: Upgrade",
            b"Connection: close\r\nConnection: close",
            "the Connection header lacks upgrade",
        ),
        (
            b"Connection: Upgrade",
            b"Connection: Upgrade\r\nConnection: close\r\nbroken",
            "the headers of the answer are not valid HTTP",
        ),
        (
            b"Sec-WebSocket-Accept:",
            b"X-Accept:",
            "the Sec-WebSocket-Accept header is missing",
        ),
        (
            b"Sec-WebSocket-Accept: ",
            b"Sec-WebSocket-Accept: A",
            "the Sec-WebSocket-Accept header is wrong",
        ),
        (
            b"Sec-WebSocket-Accept: ",
            b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Accept: ",
            "the Sec-WebSocket-Accept header is repeated",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Protocol: chat\r\nsec-websocket-protocol: chat\r\n\r\n",
            "the Sec-WebSocket-Protocol header is repeated",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Protocol: other\r\n\r\n",
            "the server chose the subprotocol 'other', which was not offered",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Protocol: chat, v2\r\n\r\n",
            "the server chose the subprotocol 'chat, v2', which was not offered",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Protocol:\r\n\r\n",
            "the server chose the subprotocol '', which was not offered",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
            r"the server chose the subprotocol '\\xff', which was not offered",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "the server chose an extension, and none was offered",
        ),
        (
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Extensions: \xff\r\n\r\n",
            "the server chose an extension, and none was offered",
        ),
        (
            b"\r\n\r\n",
            b"\r\nno colon\r\n\r\n",
            "the headers of the answer are not valid HTTP",
        ),
        (
            b"\r\n\r\n",
            b"\r\nA: \x00\r\n\r\n",
            "the headers of the answer are not valid HTTP",
        ),
        (
            b"\r\n\r\n",
            b"\r\nContent-Length: x\r\n\r\n",
            "the headers of the answer are not valid HTTP",
        ),
    ],
)
def test_a_faulty_101_says_what_is_wrong_wherever_it_is_cut(
    old: bytes, new: bytes, problem: str
) -> None:
    for step in (1, 7, 1 << 20):
        handshake = start(subprotocols=["chat", "v2"])
        answer = build_answer(handshake)
        assert old in answer
        answer = answer.replace(old, new, 1)
        cut = (len(answer) - 1) // step * step
        for index in range(0, cut, step):
            assert handshake.receive_data(answer[index : index + step]) is None
        assert catch_problem(handshake, answer[cut:]) == problem


def test_a_long_subprotocol_is_cut_in_the_sentence() -> None:
    handshake = start()
    answer = build_answer(handshake, b"Sec-WebSocket-Protocol: " + b"a" * 5000)
    assert len(catch_problem(handshake, answer)) < 200


# Other 1xx.


@pytest.mark.parametrize("status", [b"100 Continue", b"102", b"103 Early Hints"])
def test_interim_answers_are_passed_over(status: bytes) -> None:
    interim = b"HTTP/1.1 %s\r\nLink: </a>\r\n\r\n" % status
    for step in (1, 1 << 20):
        handshake = start()
        stream = interim * 16 + build_answer(handshake)
        opened = None
        for index in range(0, len(stream), step):
            assert opened is None
            opened = handshake.receive_data(stream[index : index + step])
        assert opened is not None


def test_interim_answers_do_not_go_on_forever() -> None:
    problem = catch_problem(start(), b"HTTP/1.1 100 Continue\r\n\r\n" * 17)
    assert problem == "the server sent more than 16 interim answers"


@pytest.mark.parametrize("status", ["000", "099", "104", "199"])
def test_no_other_status_below_200_is_an_answer(status: str) -> None:
    answer = f"HTTP/1.1 {status} x\r\n\r\n".encode()
    problem = f"the server answered with status {int(status)}"
    assert catch_problem(start(), answer) == problem


# Garbage.


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00",
        b"\x00",
        b"\r\n\r\n",
        b"h",
        b"ttp/1.1 101",
        b"HTTP/2",
        b"HTTP/1.1101",
        b"HTTP/1.1  ",
        b"HTTP/1.1 OK",
        b"HTTP/1.1 1x",
        b"HTTP/1.d 101",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>",
        PING,
    ],
)
def test_garbage_is_refused_by_its_first_bytes(data: bytes) -> None:
    assert catch_problem(start(), data) == "the answer is not HTTP"
    handshake = start()
    with pytest.raises(InvalidHandshake, match="the answer is not HTTP"):
        receive_bytewise(handshake, data)


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 1010", b"HTTP/1.1 101x", b"HTTP/1.1 101 \x00", b"HTTP/1.1 10"]
)
def test_a_bad_status_line_is_refused_before_the_blank_line(line: bytes) -> None:
    problem = catch_problem(start(), line + b"\r\n")
    assert problem in {
        "the answer is not HTTP",
        "the first line of the answer is not HTTP",
    }


@pytest.mark.parametrize("status", [b"101 x", b"103 x", b"404 x"])
def test_too_many_headers_are_refused(status: bytes) -> None:
    bomb = b"HTTP/1.1 " + status + b"\r\n" + b"a: b\r\n" * 200_000
    problem = "the answer has more than 16384 bytes of headers"
    assert catch_problem(start(), bomb) == problem
    assert catch_problem(start(), bomb + b"\r\n") == problem
    handshake = start()
    with pytest.raises(InvalidHandshake, match=problem):
        receive_bytewise(handshake, bomb[:16384])


def test_the_end_of_the_stream_before_an_answer_is_left_to_the_caller() -> None:
    handshake = start()
    handshake.receive_eof()
    assert handshake.receive_data(b"HTTP/1.1 404 Not Found\r\n") is None
    handshake.receive_eof()
    assert handshake.rejection is None


# Rejections.


@pytest.mark.parametrize("status", [200, 204, 301, 401, 404, 426, 503, 999])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_any_status_from_200_on_is_a_rejection(status: int, version: str) -> None:
    answer = f"HTTP/{version} {status} x\r\nA: b\r\nContent-Length: 0\r\n\r\n".encode()
    rejection = catch_rejection(start(), [answer])
    assert rejection.status_code == status
    assert rejection.headers == ((b"a", b"b"), (b"content-length", b"0"))
    assert rejection.body == b""


BODIES = [
    (b"Content-Length: 7", b"My body", b"My body"),
    (b"Content-Length: 7", b"My body and garbage", b"My body"),
    (b"Content-Length: 7\r\nConnection: close", b"My body and garbage", b"My body"),
    (b"Content-Length: 70", b"My body", b"My body"),
    (b"Content-Length: 7, 7", b"My body", b"My body"),
    (b"A: b", b"My body", b"My body"),
    (b"A: b", b"", b""),
    (
        b"Transfer-Encoding: chunked",
        b"3\r\nMy \r\n4;x\r\nbody\r\n0\r\n\r\n",
        b"My body",
    ),
    (b"Transfer-Encoding: chunked", b"7\r\nMy body\r\n0\r\nA: b\r\n\r\n", b"My body"),
    (b"Transfer-Encoding: chunked", b"3\r\nMy \r\n4\r\nbo", b"My bo"),
    (b"Transfer-Encoding: chunked", b"3\r\nMy \r\nx\r\nbody\r\n0\r\n\r\n", b"My "),
    (b"Transfer-Encoding: chunked", b"3\r\nMy body", b"My "),
    (b"Transfer-Encoding: chunked", b"0\r\n\r\n", b""),
]


@pytest.mark.parametrize(("header", "wire", "body"), BODIES)
def test_a_body_is_read_by_its_framing_wherever_it_is_cut(
    header: bytes, wire: bytes, body: bytes
) -> None:
    stream = b"HTTP/1.1 403 \r\n" + header + b"\r\n\r\n" + wire
    name, value = header.split(b"\r\n")[0].lower().split(b": ")
    for step in (1, 2, 3, 5, 1 << 20):
        chunks = (stream[i : i + step] for i in range(0, len(stream), step))
        rejection = catch_rejection(start(), chunks)
        assert rejection.status_code == 403
        assert rejection.headers[0] == (name, value.split(b", ")[0])
        assert rejection.body == body


@pytest.mark.parametrize("status", [b"204 x", b"304 x"])
def test_some_statuses_have_no_body(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n"
    with pytest.raises(ConnectionRejected) as caught:
        start().receive_data(answer)
    assert caught.value.body == b""


def test_what_has_come_of_a_rejection_is_known_before_it_ends() -> None:
    handshake = start()
    head = b"HTTP/1.1 404 x\r\nContent-Length: 10\r\n\r\n"
    assert handshake.receive_data(head + b"abc") is None
    assert handshake.receive_data(b"de") is None
    rejection = handshake.rejection
    assert rejection is not None
    assert rejection.status_code == 404
    assert rejection.headers == ((b"content-length", b"10"),)
    assert rejection.body == b"abcde"


def test_a_rejection_whose_headers_are_not_http_is_invalid() -> None:
    for header in (b"no colon", b"Transfer-Encoding: gzip", b"Content-Length: x"):
        answer = b"HTTP/1.1 404 Not Found\r\n" + header + b"\r\n\r\n"
        problem = "the headers of the answer are not valid HTTP"
        assert catch_problem(start(), answer) == problem


@pytest.mark.parametrize(
    "header", [b"A: b", b"Content-Length: 41943040", b"Transfer-Encoding: chunked"]
)
@pytest.mark.parametrize("size", [1, 100, LIMIT - 1, LIMIT, LIMIT + 1, 2**20])
def test_a_body_is_read_up_to_64_kib_and_no_further(header: bytes, size: int) -> None:
    chunk = b"x" * size
    if header.endswith(b"chunked"):
        chunk = b"%x\r\n%s\r\n" % (size, chunk)
    chunks = itertools.repeat(chunk, 40 * 2**20)
    head = b"HTTP/1.1 403 x\r\n" + header + b"\r\n\r\n"
    rejection = catch_rejection(start(), itertools.chain([head], chunks))
    assert rejection.body == b"x" * LIMIT
    taken = 40 * 2**20 - operator.length_hint(chunks)
    assert taken == math.ceil(LIMIT / size)


def test_a_body_in_the_smallest_chunks_in_one_receive_is_cut_too() -> None:
    stream = b"HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\n"
    rejection = catch_rejection(start(), [stream + b"1\r\nx\r\n" * 2**20])
    assert rejection.body == b"x" * LIMIT


def test_endless_chunk_extensions_end_the_body() -> None:
    handshake = start()
    head = b"HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1;"
    chunks = (b"x" * 1000 for _ in range(20))
    assert handshake.receive_data(head) is None
    assert catch_rejection(handshake, chunks).body == b"x"
    assert next(chunks, None) is not None


def test_the_answer_of_another_http_library_is_understood() -> None:
    handshake = start()
    server = h11.Connection(h11.SERVER)
    server.receive_data(handshake.request())
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"GET", b"/")
    answer = server.send(h11.Response(status_code=503, headers=[("Retry-After", "9")]))
    answer += server.send(h11.Data(data=b"later"))
    answer += server.send(h11.EndOfMessage())
    rejection = catch_rejection(handshake, [answer])
    assert rejection.status_code == 503
    assert (b"retry-after", b"9") in rejection.headers
    assert rejection.body == b"later"

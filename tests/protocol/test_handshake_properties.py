from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, strategies as st
from wsproto.utilities import generate_accept_token

from trio_websocket._errors import ConnectionRejected, InvalidHandshake
from trio_websocket._protocol.client_handshake import ClientHandshake
from trio_websocket._protocol.opened import Opened
from trio_websocket._protocol.server_handshake import Refusal, ServerHandshake
from trio_websocket._protocol.upgrade_request import UpgradeRequest

GOOD_REQUEST = (
    b"GET /x HTTP/1.1\r\n"
    b"Host: a:80\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: a, b\r\n"
    b"Cookie: a=b\r\n"
    b"\r\n"
)
REQUESTS = [
    GOOD_REQUEST,
    GOOD_REQUEST.replace(b"a=b", b"\xff"),
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 3000 + b"\r\n",
    b"GET /" + b"a" * 17000,
]

GOOD_ANSWER = (
    b"HTTP/1.1 103 Early Hints\r\n"
    b"Link: </a>\r\n"
    b"\r\n"
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ACCEPT\r\n"
    b"Sec-WebSocket-Protocol: b\r\n"
    b"X-A: \xff\r\n"
    b"\r\n"
)
CHUNKED = b"HTTP/1.1 403 \r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = [
    GOOD_ANSWER + b"\x89\x00\x82\x01",
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nA: b\r\n\r\nMy body",
    CHUNKED + b"3\r\nMy \r\n4\r\nbody\r\n0\r\n\r\n",
    b"HTTP/1.0 500 Oops\r\n\r\nMy body",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 3000 + b"\r\n",
    b"HTTP/1.1 404 x\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000,
    b"\x16\x03\x01",
]

CUTS = st.lists(st.integers(0, 100_000), max_size=20)
# Where to put what in place of how many bytes.
POSITIONS = st.integers(0, 400)
SIZES = st.integers(0, 20)
TEXTS = st.sampled_from(
    [b"\r\n", b"\n\n", b",", b":", b" ", b"xn--", b"\xff", b"\x00", b"1", b"A" * 17000]
)
EDITS = st.lists(st.tuples(POSITIONS, SIZES, TEXTS | st.binary(max_size=4)), max_size=4)


def run_client(handshake: ClientHandshake, chunks: list[bytes]) -> object:
    """Tell how it ends, in plain values."""
    try:
        for index, chunk in enumerate(chunks):
            opened = handshake.receive_data(chunk)
            if opened is not None:
                assert isinstance(opened, Opened)
                opened.engine.receive_data(b"".join(chunks[index + 1 :]))
                event = opened.engine.next_event(room=1, max_size=1)
                return opened.headers, opened.subprotocol, event
        handshake.receive_eof()
    except InvalidHandshake as error:
        return error.problem
    except ConnectionRejected as error:
        return error.status_code, error.headers, error.body
    assert handshake.rejection is None
    return "the stream ended"


def run_server(chunks: list[bytes]) -> object:
    handshake = ServerHandshake()
    told = [handshake.receive_data(chunk) for chunk in chunks]
    results = [result for result in told if result is not None]
    match results:
        case []:
            return "the stream ended"
        case [Refusal() as refusal]:
            assert refusal.answer.startswith(b"HTTP/1.1 %d " % refusal.status_code)
            return refusal
        case [UpgradeRequest() as request]:
            answer = handshake.accept(subprotocol=None, headers=[])
            assert handshake.opened is not None
            event = handshake.opened.engine.next_event(room=1, max_size=1)
            return request, answer, event
        case _:
            raise AssertionError(results)


def start_client() -> tuple[ClientHandshake, bytes]:
    handshake = ClientHandshake(host="a", resource="/", subprotocols=["a", "b"])
    key = re.search(rb"Sec-WebSocket-Key: (.*)\r\n", handshake.request())
    assert key is not None
    return handshake, generate_accept_token(key[1])


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


def edit(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for start, size, new in edits:
        data = data[:start] + new + data[start + size :]
    return data


@pytest.mark.parametrize("request_", REQUESTS)
@given(edits=EDITS, cuts=CUTS)
def test_a_server_comes_to_the_same_end_however_the_stream_is_split(
    request_: bytes, edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    stream = edit(request_, edits) + b"\x89\x80abcd"
    assert run_server(split(stream, cuts)) == run_server([stream])


@pytest.mark.parametrize("answer", ANSWERS)
@given(edits=EDITS, cuts=CUTS)
def test_a_client_comes_to_the_same_end_however_the_stream_is_split(
    answer: bytes, edits: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    edited = edit(answer, edits)
    ends: list[object] = []
    for is_split in (True, False):
        handshake, accept = start_client()
        stream = edited.replace(b"ACCEPT", accept)
        # The token differs from run to run, its length does not.
        ends.append(run_client(handshake, split(stream, cuts if is_split else [])))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("stream", [*REQUESTS, *ANSWERS])
def test_the_end_is_the_same_byte_by_byte(stream: bytes) -> None:
    chunks = [stream[index : index + 1] for index in range(len(stream))]
    assert run_server(chunks) == run_server([stream])
    first, second = start_client()[0], start_client()[0]
    assert run_client(first, chunks) == run_client(second, [stream])


@given(chunks=st.lists(st.binary()))
def test_no_bytes_make_a_handshake_raise_a_foreign_error(chunks: list[bytes]) -> None:
    run_server(chunks)
    run_client(start_client()[0], chunks)


@given(body=st.lists(st.binary() | st.sampled_from([b"\r\n", b"1", b"0", b";", b"ff"])))
@pytest.mark.parametrize("header", ["A: b", "Transfer-Encoding: chunked"])
def test_no_body_makes_a_rejection_anything_else(
    header: str, body: list[bytes]
) -> None:
    head = f"HTTP/1.1 401 x\r\n{header}\r\n\r\n".encode()
    end = run_client(start_client()[0], [head, *body])
    assert isinstance(end, tuple)
    assert end[0] == 401
    assert end == run_client(start_client()[0], [head + b"".join(body)])

from __future__ import annotations

import re

import pytest

from trio_websocket._protocol.http_head import (
    MAX_HEAD_LINES,
    MAX_HEAD_SIZE,
    BadHead,
    HeadBuffer,
    HeadSyntax,
    check_bodiless,
    is_host,
)

# A head of this kind begins with "go" and has nothing but letters in its first line.
SYNTAX = HeadSyntax(
    "note",
    lambda start: start.startswith(b"go"[: len(start)]),
    re.compile(rb"[a-z]+\r?\n"),
)


def feed(data: bytes) -> HeadBuffer:
    heads = HeadBuffer(SYNTAX)
    heads.receive_data(data)
    return heads


@pytest.mark.parametrize(
    "head",
    [
        b"gone\r\n\r\n",
        b"gone\n\n",
        b"gone\r\n\n",
        b"gone\n\r\n",
        b"gone\r\na: b\r\nc: d\r\n\r\n",
    ],
)
def test_a_head_ends_with_its_blank_line_wherever_the_stream_is_cut(
    head: bytes,
) -> None:
    stream = head + b"\r\n\r\nrest"
    for cut in range(len(stream) + 1):
        heads = feed(stream[:cut])
        taken = heads.take_head()
        heads.receive_data(stream[cut:])
        assert (taken or heads.take_head()) == head
        assert heads.take_rest() == b"\r\n\r\nrest"
        assert heads.take_rest() == b""


def test_a_head_is_taken_byte_by_byte() -> None:
    heads = HeadBuffer(SYNTAX)
    stream = b"gone\r\na: b\r\n\r\n"
    taken: list[bytes | None] = []
    for index in range(len(stream)):
        heads.receive_data(stream[index : index + 1])
        taken.append(heads.take_head())
    assert taken == [None] * (len(stream) - 1) + [stream]


def test_heads_are_taken_one_after_the_other() -> None:
    heads = feed(b"go\r\n\r\ngone\n\ngo")
    assert heads.take_head() == b"go\r\n\r\n"
    assert heads.take_head() == b"gone\n\n"
    assert heads.take_head() is None
    heads.receive_data(bytearray(b"od\n\n"))
    assert heads.take_head() == b"good\n\n"


@pytest.mark.parametrize("start", [b"x", b"gx", b"\r\n", b"\n\n", b"\x16\x03\x01"])
def test_what_cannot_start_a_head_is_refused_at_once(start: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        feed(start).take_head()
    assert caught.value.status_code == 400
    assert caught.value.problem == "the note is not HTTP"
    assert caught.value.headers == ()


@pytest.mark.parametrize("start", [b"", b"g", b"go", b"go " * 10])
def test_what_could_start_a_head_is_waited_for(start: bytes) -> None:
    assert feed(start).take_head() is None


def test_a_bad_first_line_is_refused_when_it_ends() -> None:
    heads = feed(b"go away\r")
    assert heads.take_head() is None
    heads.receive_data(b"\n")
    with pytest.raises(BadHead) as caught:
        heads.take_head()
    assert caught.value.status_code == 400
    assert caught.value.problem == "the first line of the note is not HTTP"


def take_in_steps(heads: HeadBuffer, data: bytes, step: int) -> bytes | None:
    head = None
    for start in range(0, len(data), step):
        assert start < MAX_HEAD_SIZE
        heads.receive_data(data[start : start + step])
        head = heads.take_head()
        assert head is None or start + step >= len(data)
    return head


def build_head(size: int) -> bytes:
    return b"go\r\n" + b"a" * (size - 8) + b"\r\n\r\n"


@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_a_head_of_the_largest_size_is_taken(step: int) -> None:
    head = build_head(MAX_HEAD_SIZE)
    assert take_in_steps(HeadBuffer(SYNTAX), head, step) == head


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_head_of_too_many_lines_is_refused(step: int) -> None:
    lines = b"go\r\n" + b"a:b\r\n" * (MAX_HEAD_LINES - 2) + b"\r\n"
    assert take_in_steps(HeadBuffer(SYNTAX), lines, step) == lines
    with pytest.raises(BadHead) as caught:
        take_in_steps(HeadBuffer(SYNTAX), b"go\r\na:b\r\n" + lines[4:], step)
    assert caught.value.status_code == 431
    assert caught.value.problem == "the note has more than 128 lines"


@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
@pytest.mark.parametrize("size", [MAX_HEAD_SIZE + 1, 1 << 18])
def test_a_larger_head_is_refused_and_no_more_of_it_is_awaited(
    size: int, step: int
) -> None:
    heads = HeadBuffer(SYNTAX)
    with pytest.raises(BadHead) as caught:
        take_in_steps(heads, build_head(size), step)
    assert caught.value.status_code == 431
    assert caught.value.problem == "the note has more than 16384 bytes of headers"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65535",
        "localhost:00080",
        "localhost:000000000080",
        "EXAMPLE.com.",
        "under_score.example:8000",
        "xn--bcher-kva.example:8000",
        "127.0.0.1",
        "[::1]",
        "[::1]:8000",
        "[::ffff:10.0.0.1]",
        "a%20b",
    ],
)
def test_a_host_has_a_name_or_an_address_and_perhaps_a_port(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "my host",
        "a,b",
        "a, b",
        ":80",
        "a:b",
        "a:-1",
        "a:65536",
        "a:100000",
        "a:80:80",
        "a:8\N{SUPERSCRIPT TWO}",
        "::1",
        "[::1",
        "[::1]x",
        "[]",
        "[fe80::1%25eth0]",
        "user@host",
        "host/path",
        "a%2",
        "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
        "a\r\nb",
        "a\n",
    ],
)
def test_anything_else_is_no_host(host: str) -> None:
    assert not is_host(host)


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
def test_headers_that_announce_a_body_are_refused(name: str) -> None:
    check_bodiless([(b"content-type", b"text/plain")])
    with pytest.raises(ValueError, match=f"a handshake cannot have a {name} header"):
        check_bodiless([(name.lower().encode(), b"0")])

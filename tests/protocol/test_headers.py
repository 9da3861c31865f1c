from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import h11
import pytest
from hypothesis import given, settings, strategies as st

from trio_websocket._protocol.headers import (
    Headers,
    HeadersLike,
    build_headers,
    build_response,
    find_values,
    split_list,
)

PAIR = [(b"X-A", b"1")]


def pairs() -> Iterator[tuple[str, bytes]]:
    yield "X-A", b"1"


TEXT_MAPPING: Mapping[str, str] = {"X-A": "1"}
MIXED_MAPPING: dict[str | bytes, str | bytes] = {"X-A": b"1"}
BYTES_LIST: list[tuple[bytes, bytes]] = [(b"X-A", b"1")]
TEXT_LIST: list[tuple[str, str]] = [("X-A", "1")]
MIXED_LIST: list[tuple[str | bytes, str | bytes]] = [("X-A", b"1")]


@pytest.mark.parametrize(
    "make",
    [
        # Each is given to the function itself, so that the type checkers see it.
        lambda: build_headers(BYTES_LIST),
        lambda: build_headers(TEXT_LIST),
        lambda: build_headers(MIXED_LIST),
        lambda: build_headers(((b"X-A", b"1"),)),
        lambda: build_headers([("X-A", b"1")]),
        lambda: build_headers([(b"X-A", "1")]),
        lambda: build_headers({"X-A": "1"}),
        lambda: build_headers({"X-A": b"1"}),
        lambda: build_headers({b"X-A": b"1"}),
        lambda: build_headers({b"X-A": "1"}),
        lambda: build_headers(TEXT_MAPPING),
        lambda: build_headers(MIXED_MAPPING),
        lambda: build_headers(TEXT_MAPPING.items()),
        lambda: build_headers(pairs()),
    ],
)
def test_headers_come_as_mapping_or_pairs_of_str_or_bytes(
    make: type[Headers],
) -> None:
    assert make() == PAIR


@pytest.mark.parametrize("extra", [None, [], (), {}])
def test_no_headers_make_an_empty_list(extra: HeadersLike | None) -> None:
    assert build_headers(extra) == []


def test_a_pair_may_be_a_list() -> None:
    assert build_headers(cast("HeadersLike", [[b"X-A", "1"]])) == PAIR


def test_headers_keep_their_order_and_may_repeat() -> None:
    extra = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]
    assert build_headers(extra) == extra


def test_the_list_of_the_caller_is_neither_returned_nor_changed() -> None:
    extra = [(b"X-A", b" 1 ")]
    built = build_headers(extra)
    built.append((b"x-b", b"2"))
    assert extra == [(b"X-A", b" 1 ")]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (" \t1 2\t ", b"1 2"),
        ("", b""),
        ("  ", b""),
        (b"a\tb", b"a\tb"),
        (b"\x80\xff", b"\x80\xff"),
        ("~!", b"~!"),
    ],
)
def test_a_value_is_sent_without_the_white_space_round_it(
    value: str | bytes, sent: bytes
) -> None:
    assert build_headers([("X-A", value)]) == [(b"X-A", sent)]


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a:", "a\r\n", "ü", b"\xff", b"a\x00", "(a)", " a", "a\t", "a\x7f"],
)
def test_a_name_that_is_no_token_is_a_value_error(name: str | bytes) -> None:
    with pytest.raises(ValueError, match="name"):
        build_headers([(name, "secret")])


@pytest.mark.parametrize(
    "value",
    ["a\r\nb: c", "a\rb", "a\nb", "a\x00", b"a\x0b", b"\x7f", b"\n", b"secret\x1f"],
)
def test_a_value_with_a_control_character_is_a_value_error(value: str | bytes) -> None:
    with pytest.raises(ValueError, match="'X-A' holds a control character") as caught:
        build_headers([("X-A", value)])
    assert "secret" not in str(caught.value)


def test_a_value_of_str_that_is_not_ascii_is_a_value_error_that_hides_it() -> None:
    with pytest.raises(ValueError, match="header 'X-A' is not ASCII") as caught:
        build_headers([("X-A", "secret ü")])
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "name",
    [
        "Upgrade",
        "connection",
        "CONNECTION",
        "Sec-WebSocket-Key",
        "sec-websocket-protocol",
        b"Sec-WebSocket-",
    ],
)
def test_a_header_of_the_library_is_refused(name: str | bytes) -> None:
    with pytest.raises(ValueError, match="is set by the library"):
        build_headers([(name, "x")])


@pytest.mark.parametrize(
    "name", ["Host", "Origin", "Content-Length", "Sec-WebSocket", "Upgrade-X"]
)
def test_other_headers_are_for_the_program_to_set(name: str) -> None:
    assert build_headers([(name, "1")]) == [(name.encode(), b"1")]


def test_the_caller_may_forbid_more_headers() -> None:
    forbid = frozenset({b"content-length"})
    assert build_headers([("X-A", "1")], forbid=forbid) == PAIR
    with pytest.raises(ValueError, match="'Content-Length' is set by the library"):
        build_headers([("Content-Length", "1")], forbid=forbid)


@pytest.mark.parametrize(
    "extra",
    [
        "X-A: 1",
        b"X-A: 1",
        5,
        ["ab"],
        [b"ab"],
        [("a",)],
        [("a", "b", "c")],
        [None],
        [{"a", "b"}],
        [(1, "b")],
        [("a", 1)],
        [("a", None)],
        [(bytearray(b"a"), "b")],
        {"a": 1},
        {"a": ["b", "c"]},
    ],
)
def test_what_is_no_list_of_headers_is_a_type_error(extra: HeadersLike) -> None:
    with pytest.raises(TypeError, match="header"):
        build_headers(extra)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=5).map(b"X".__add__),
            st.one_of(st.binary(max_size=8), st.text(max_size=8)),
        )
    )
)
def test_what_is_built_goes_through_h11_as_it_is(
    extra: list[tuple[bytes, bytes | str]],
) -> None:
    try:
        built = build_headers(extra)
    except ValueError:
        return
    request = h11.Request(method="GET", target="/", headers=[(b"host", b"h"), *built])
    wire = h11.Connection(h11.CLIENT).send(request)
    server = h11.Connection(h11.SERVER)
    server.receive_data(wire or b"")
    seen = server.next_event()
    assert isinstance(seen, h11.Request)
    assert seen.headers.raw_items()[1:] == built


def test_values_are_found_in_any_letter_case_and_in_order() -> None:
    headers = ((b"X-A", b"1"), (b"x-b", b"2"), (b"x-a", b"3"))
    assert find_values(headers, b"X-a") == [b"1", b"3"]
    assert find_values(headers, b"x-c") == []


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b" , ,", []),
        (b"Upgrade", ["Upgrade"]),
        (b"keep-alive, Upgrade", ["keep-alive", "Upgrade"]),
        (b"\ta\t,b ,, c d", ["a", "b", "c d"]),
    ],
)
def test_a_list_is_split_at_commas(value: bytes, members: list[str]) -> None:
    assert split_list(value) == members


def test_a_list_that_is_not_ascii_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not ASCII") as caught:
        split_list(b"a, \xff")
    assert not isinstance(caught.value, UnicodeError)


@pytest.mark.parametrize(
    ("response", "wire"),
    [
        (
            build_response(400, []),
            (
                b"HTTP/1.1 400 Bad Request\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        ),
        (
            build_response(405, [(b"Allow", b"GET"), (b"X-A", b"1")], b"no"),
            (
                b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nX-A: 1\r\n"
                b"Content-Length: 2\r\nConnection: close\r\n\r\nno"
            ),
        ),
        (
            build_response(799, []),
            b"HTTP/1.1 799 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        (
            build_response(403, [(b"content-length", b"2")], b"no"),
            (
                b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n"
                b"Connection: close\r\n\r\nno"
            ),
        ),
        (
            build_response(204, []),
            b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        ),
        (
            build_response(304, [(b"ETag", b'"x"')]),
            b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nConnection: close\r\n\r\n',
        ),
    ],
)
def test_a_response_is_complete(response: bytes, wire: bytes) -> None:
    assert response == wire


@pytest.mark.parametrize("status_code", [200, 204, 304, 426, 999])
def test_a_client_understands_every_response(status_code: int) -> None:
    body = b"" if status_code in {204, 304} else b"some body"
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(build_response(status_code, [(b"X-A", b"1")], body))
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == status_code
    if body:
        data = client.next_event()
        assert isinstance(data, h11.Data)
        assert data.data == body
    assert isinstance(client.next_event(), h11.EndOfMessage)
    assert client.their_state is h11.MUST_CLOSE

"""The grammar of Sec-WebSocket-Extensions, in both directions."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from trio_websocket._protocol.extension_header import (
    BadExtensions,
    ExtensionUse,
    build_extensions,
    build_use,
    parse_extensions,
    read_parameters,
)

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~09azAZ"


def use(name: str, *parameters: tuple[str, str | None]) -> ExtensionUse:
    return ExtensionUse(name, parameters)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b" \t", []),
        (b",", []),
        (b", ,,\t,", []),
        (b"foo", [use("foo")]),
        (b" foo ", [use("foo")]),
        (b"foo,bar", [use("foo"), use("bar")]),
        (b",foo, ,bar,", [use("foo"), use("bar")]),
        (b"foo; a", [use("foo", ("a", None))]),
        (b"foo;a=1", [use("foo", ("a", "1"))]),
        (b"foo \t;\ta =\t1 ; b", [use("foo", ("a", "1"), ("b", None))]),
        (b'foo; a="1"', [use("foo", ("a", "1"))]),
        (b'foo; a="x\\y\\z" ,bar', [use("foo", ("a", "xyz")), use("bar")]),
        (b"foo; a; a=2, foo", [use("foo", ("a", None), ("a", "2")), use("foo")]),
        (TOKEN_CHARACTERS.encode(), [use(TOKEN_CHARACTERS)]),
        (
            b"permessage-deflate; client_max_window_bits; server_max_window_bits=10",
            [
                use(
                    "permessage-deflate",
                    ("client_max_window_bits", None),
                    ("server_max_window_bits", "10"),
                )
            ],
        ),
    ],
)
def test_a_good_value_is_read(value: bytes, expected: list[ExtensionUse]) -> None:
    assert parse_extensions([value]) == expected


def test_several_headers_are_one_list() -> None:
    assert parse_extensions([b"foo; a", b"", b"bar"]) == [
        use("foo", ("a", None)),
        use("bar"),
    ]
    assert parse_extensions([]) == []


@pytest.mark.parametrize(
    ("value", "found", "wanted"),
    [
        (b";", ";", "the name of an extension"),
        (b"foo, =", "=", "the name of an extension"),
        (b'"foo"', '"foo"', "the name of an extension"),
        (b"foo bar", "bar", "a comma or semicolon"),
        (b"foo=1", "=1", "a comma or semicolon"),
        (b"foo; a=1 2", "2", "a comma or semicolon"),
        (b"foo;", "", "the name of a parameter"),
        (b"foo; ;a", ";a", "the name of a parameter"),
        (b"foo; =1", "=1", "the name of a parameter"),
        (b"foo; a=", "", "a value"),
        (b"foo; a=,bar", ",bar", "a value"),
        (b'foo; a="1', '"1', "a value"),
        (b'foo; a="1\\"', '"1\\\\"', "a value"),
        (b'foo; a=""', '""', "a token within the quotes"),
        (b'foo; a="1,2"', '"1,2"', "a token within the quotes"),
        (b'foo; a="\\""', '"\\\\""', "a token within the quotes"),
        (b"foo\x00", "\\x00", "a comma or semicolon"),
    ],
)
def test_a_bad_value_is_told_apart(value: bytes, found: str, wanted: str) -> None:
    with pytest.raises(BadExtensions) as caught:
        parse_extensions([value])
    text = str(caught.value)
    assert text.startswith("the extensions have ")
    assert found in text
    assert text.endswith(f" where {wanted} belongs")


def test_what_is_not_ascii_is_told_apart() -> None:
    with pytest.raises(BadExtensions, match=r"^the extensions are not ASCII$"):
        parse_extensions([b"foo", b"b\xe4r"])


def test_the_sentence_about_a_bad_value_is_short() -> None:
    with pytest.raises(BadExtensions) as caught:
        parse_extensions([b"foo; " + b"=" * 10_000])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        b'a;b="' + b"\\" * 100_000,
        b'a;b="' + b"x" * 100_000,
        b"," * 100_000,
        b"a;" * 50_000,
        b" " * 100_000 + b"=",
        b"a;b=" * 25_000,
        b'a;b="x"' * 15_000,
    ],
    ids=["escapes", "quote", "commas", "parameters", "space", "values", "glued"],
)
def test_a_long_value_takes_time_in_proportion(value: bytes) -> None:
    """A reader that goes back again and again would take minutes (CVE-2020-7662)."""
    start = time.process_time()
    with suppress(BadExtensions):
        parse_extensions([value])
    assert time.process_time() - start < 5


TOKENS = st.text(TOKEN_CHARACTERS, min_size=1, max_size=9)
USES = st.builds(
    ExtensionUse,
    TOKENS,
    st.lists(st.tuples(TOKENS, st.none() | TOKENS), max_size=4).map(tuple),
)


@given(st.lists(USES, max_size=4))
def test_what_was_written_is_read_again(uses: list[ExtensionUse]) -> None:
    assert parse_extensions([build_extensions(uses)]) == uses


@given(st.text(TOKEN_CHARACTERS[:4] + '";=,\\ \t', max_size=30))
def test_any_text_is_read_or_told_apart(text: str) -> None:
    try:
        uses = parse_extensions([text.encode()])
    except BadExtensions:
        return
    assert parse_extensions([build_extensions(uses)]) == uses


@pytest.mark.parametrize(
    ("parameters", "written"),
    [
        ({}, "x"),
        ({"a": True, "b": False, "c": None}, "x; a"),
        ({"a": 0, "b": 15, "c": "y-z"}, "x; a=0; b=15; c=y-z"),
    ],
)
def test_parameters_are_written_by_their_type(
    parameters: dict[str, str | int | bool | None], written: str
) -> None:
    """W-41."""
    assert str(build_use("x", parameters)) == written


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ({"a b": True}, "a b"),
        ({"": 1}, "=1"),
        ({"a": ""}, "a="),
        ({"a": "b,c"}, "a=b,c"),
        ({"a": "\u20ac"}, "a=\u20ac"),
    ],
)
def test_a_parameter_that_is_no_token_cannot_be_written(
    parameters: dict[str, str | int | bool | None], shown: str
) -> None:
    with pytest.raises(ValueError, match="cannot have the parameter") as caught:
        build_use("x", parameters)
    assert str(caught.value) == f"the extension x cannot have the parameter {shown!r}"


def test_parameters_are_read_as_a_mapping_unless_one_is_repeated() -> None:
    [use] = parse_extensions([b'x; a; b="1"; c=2'])
    assert read_parameters(use) == {"a": None, "b": "1", "c": "2"}
    [use] = parse_extensions([b"x; a; a=1"])
    with pytest.raises(BadExtensions) as caught:
        read_parameters(use)
    assert str(caught.value) == "the extensions have a parameter twice in 'x; a; a=1'"

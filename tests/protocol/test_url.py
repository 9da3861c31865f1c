from __future__ import annotations

import traceback

import pytest
from hypothesis import given, settings, strategies as st
from yarl import URL

from trio_websocket._errors import InvalidURL
from trio_websocket._protocol.url import (
    WebSocketURL,
    build_host,
    encode_host,
    encode_resource,
    parse_url,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://h", WebSocketURL(False, "h", 80, "/")),
        ("wss://h", WebSocketURL(True, "h", 443, "/")),
        ("wss://H:444/x", WebSocketURL(True, "h", 444, "/x")),
        ("WsS://Example.ORG./A?B", WebSocketURL(True, "example.org.", 443, "/A?B")),
        ("ws://user:pw@h:1/p", WebSocketURL(False, "h", 1, "/p")),
        ("ws://us@er:p@w@h/p", WebSocketURL(False, "h", 80, "/p")),
        ("ws://h:/x", WebSocketURL(False, "h", 80, "/x")),
        ("wss://h:/x", WebSocketURL(True, "h", 443, "/x")),
        ("ws://h:0", WebSocketURL(False, "h", 0, "/")),
        ("ws://h:65535", WebSocketURL(False, "h", 65535, "/")),
        ("ws://h:" + "0" * 5000 + "80", WebSocketURL(False, "h", 80, "/")),
        ("wss://h:80", WebSocketURL(True, "h", 80, "/")),
        ("ws://h?x=1", WebSocketURL(False, "h", 80, "/?x=1")),
        ("ws://h:1?x=1", WebSocketURL(False, "h", 1, "/?x=1")),
        ("ws://h/p?", WebSocketURL(False, "h", 80, "/p?")),
        ("ws://h?", WebSocketURL(False, "h", 80, "/?")),
        ("ws://h/p?a?b/c", WebSocketURL(False, "h", 80, "/p?a?b/c")),
        ("ws://h/p?a=@b:c", WebSocketURL(False, "h", 80, "/p?a=@b:c")),
        ("ws://h//p//", WebSocketURL(False, "h", 80, "//p//")),
        ("ws://h/a/../b;c", WebSocketURL(False, "h", 80, "/a/../b;c")),
        ("ws://h#f", WebSocketURL(False, "h", 80, "/")),
        ("ws://h/p#f", WebSocketURL(False, "h", 80, "/p")),
        ("ws://h/p#a?b", WebSocketURL(False, "h", 80, "/p")),
        ("ws://h/p?q#a?b#c", WebSocketURL(False, "h", 80, "/p?q")),
        ("ws://h/%20%c3%BC%", WebSocketURL(False, "h", 80, "/%20%c3%BC%")),
        ("ws://h/a b?c d", WebSocketURL(False, "h", 80, "/a%20b?c%20d")),
        ("ws://h/ü?☃", WebSocketURL(False, "h", 80, "/%C3%BC?%E2%98%83")),
        (" ws://h/p ", WebSocketURL(False, "h", 80, "/p")),
        ("ws://127.0.0.1:8000/", WebSocketURL(False, "127.0.0.1", 8000, "/")),
        ("ws://[::1]", WebSocketURL(False, "::1", 80, "/")),
        ("ws://[2001:DB8::1]:81/", WebSocketURL(False, "2001:db8::1", 81, "/")),
        ("ws://[::1]:/", WebSocketURL(False, "::1", 80, "/")),
        ("ws://[fe80::1%eth0]:1", WebSocketURL(False, "fe80::1%eth0", 1, "/")),
        ("ws://[fe80::1%25Eth0]", WebSocketURL(False, "fe80::1%Eth0", 80, "/")),
        ("ws://[fe80::1%25]", WebSocketURL(False, "fe80::1%25", 80, "/")),
        ("ws://Bücher.example/", WebSocketURL(False, "xn--bcher-kva.example", 80, "/")),
        ("ws://my_host-/", WebSocketURL(False, "my_host-", 80, "/")),
        (URL("wss://h:1/a b?c=d"), WebSocketURL(True, "h", 1, "/a%20b?c=d")),
    ],
)
def test_a_url_is_parsed(url: object, expected: WebSocketURL) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "the scheme must be ws or wss"),
        ("h", "the scheme must be ws or wss"),
        ("//h", "the scheme must be ws or wss"),
        ("http://h", "the scheme must be ws or wss"),
        ("wsx://h", "the scheme must be ws or wss"),
        (b"ws://h", "the scheme must be ws or wss"),
        (None, "the scheme must be ws or wss"),
        ("ws:", "there is no host"),
        ("ws://", "there is no host"),
        ("ws:///p", "there is no host"),
        ("ws:h/p", "there is no host"),
        ("ws:/h/p", "there is no host"),
        ("ws://:80/", "there is no host"),
        ("ws://?x", "there is no host"),
        ("ws://#x", "there is no host"),
        ("ws://h:x/", "the port must be a number from 0 to 65535"),
        ("ws://h:65536/", "the port must be a number from 0 to 65535"),
        ("ws://h:-1/", "the port must be a number from 0 to 65535"),
        ("ws://h:+1/", "the port must be a number from 0 to 65535"),
        ("ws://h:1_0/", "the port must be a number from 0 to 65535"),
        ("ws://h: 1/", "the port must be a number from 0 to 65535"),
        ("ws://h:1:2/", "the port must be a number from 0 to 65535"),
        ("ws://h:\u0661/", "the port must be a number from 0 to 65535"),
        ("ws://h:²/", "the port must be a number from 0 to 65535"),
        ("ws://h:" + "9" * 5000, "the port must be a number from 0 to 65535"),
        ("ws://::1/", "there is no host"),
        ("ws://[::1]x/", "the host is followed by something else than a port"),
        ("ws://[::1/", "the IPv6 address is not valid"),
        ("ws://[::1::]/", "the IPv6 address is not valid"),
        ("ws://[fe80::1%]/", "the IPv6 address is not valid"),
        ("ws://[fe80::1%a b]/", "the IPv6 address is not valid"),
        ("ws://[fe80::1%ü]/", "the IPv6 address is not valid"),
        ("ws://[]/", "there is no IPv6 address in the brackets"),
        ("ws://[h]/", "there is no IPv6 address in the brackets"),
        ("ws://[127.0.0.1]/", "there is no IPv6 address in the brackets"),
        ("ws://my host/", "the host name is not valid"),
        ("ws://a..b/", "the host name is not valid"),
        ("ws://./", "the host name is not valid"),
        ("ws://.a/", "the host name is not valid"),
        ("ws://a%41/", "the host name is not valid"),
        ("ws://a]/", "the host name is not valid"),
        ("ws://a\\b/", "the host name is not valid"),
        ("ws://☃.example/", "the host name is not valid"),
        ("ws://\ud800/", "the host name is not valid"),
        ("ws://a\u2044b/", "the host name is not valid"),
        ("ws://" + "a" * 64 + "/", "the host name is not valid"),
        ("ws://" + "ü" * 64 + "/", "the host name is not valid"),
        ("ws://" + "a." * 127 + "/", "the host name is not valid"),
        ("ws://h/\t", "it holds a control character"),
        ("ws://h/a\rb", "it holds a control character"),
        ("ws://h/a\nb", "it holds a control character"),
        ("w\ns://h", "it holds a control character"),
        ("\tws://h", "it holds a control character"),
        ("ws://h\0", "it holds a control character"),
        ("ws://h/\x7f", "it holds a control character"),
        ("ws://h/\x85", "it holds a control character"),
        ("ws://h/#\n", "it holds a control character"),
        ("ws://h/\udfff", "it holds a lone surrogate"),
    ],
)
def test_what_is_no_url_is_an_invalid_url(url: object, problem: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse_url(url)
    assert caught.value.url == str(url)
    assert caught.value.problem == problem


def test_an_invalid_url_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^'http://h' is not a WebSocket URL: "):
        parse_url("http://h")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:hunter2@h/", "http://***@h/"),
        ("ws://user:hunter2@h:x/", "ws://***@h:x/"),
        ("ws://user:hunter2@/", "ws://***@/"),
        ("ws://user:hunter2@[::1::]/", "ws://***@[::1::]/"),
        ("ws://user:hunter2@h/\n", "ws://***@h/\n"),
        ("ws://user:x@hunter2@my host/", "ws://***@my host/"),
        ("ws:user:hunter2@h", "***@h"),
        ("user:hunter2@h", "***@h"),
        # A password that nobody has escaped ends the authority early.
        ("ws://user:hunter2/x@h/", "ws://***@h/"),
        ("ws://user:hunter2#x@h/", "ws://***@h/"),
        ("ws://user:x?hunter2@h/", "ws://***@h/"),
        ("ws://[user:hunter2/x@h/", "ws://***@h/"),
        ("ws://☃:1/hunter2@h/", "ws://***@h/"),
    ],
)
def test_no_error_tells_the_password(url: str, shown: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse_url(url)
    assert caught.value.url == shown
    # The last line of a traceback and those of its causes, without the source lines.
    chain = traceback.TracebackException.from_exception(caught.value)
    assert chain.__cause__ is None
    assert chain.__context__ is None
    assert "hunter2" not in "".join(chain.format_exception_only())


@settings(deadline=None)
@given(st.text())
def test_any_text_after_the_host_is_parsed_or_refused(text: str) -> None:
    try:
        url = parse_url(f"ws://h/{text}")
    except InvalidURL:
        return
    assert url.host == "h"
    assert url.resource.startswith("/")
    assert all("!" <= character <= "~" for character in url.resource)


@settings(deadline=None)
@given(st.text())
def test_any_text_in_place_of_the_authority_is_parsed_or_refused(text: str) -> None:
    try:
        url = parse_url(f"ws://{text}")
    except InvalidURL:
        return
    assert url.host
    assert all("!" <= character <= "~" for character in url.host + url.resource)
    assert 0 <= url.port <= 65535


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org."),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("FE80::1%Eth0", "fe80::1%Eth0"),
        ("[fe80::1%25]", "fe80::1%25"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("a。\uff42", "a.b"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("my_host", "my_host"),
        ("a" * 63, "a" * 63),
        (".".join(["a" * 63] * 3 + ["a" * 61]), ".".join(["a" * 63] * 3 + ["a" * 61])),
    ],
)
def test_a_host_is_encoded(host: str, encoded: str) -> None:
    assert encode_host(host) == encoded


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "h ",
        "h:80",
        "h/",
        "u@h",
        "a" * 64,
        ".".join(["a" * 63] * 4),
        "h\r\n",
        "h\n",
        "[h]",
        "[]",
        "[",
        "::1%",
        "::1%a%b",
        "::1%a\n",
        "ü" * 70,
        "-ü",
    ],
)
def test_a_bad_host_is_an_invalid_url_that_names_it(host: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        encode_host(host)
    assert caught.value.url == host


@pytest.mark.parametrize(
    ("resource", "encoded"),
    [
        ("", "/"),
        ("/", "/"),
        ("chat", "chat"),
        ("/%2f%zz%", "/%2f%zz%"),
        ("/a b", "/a%20b"),
        ("/ü", "/%C3%BC"),
        ("/\U0001f600", "/%F0%9F%98%80"),
        ("/\u2028\xa0", "/%E2%80%A8%C2%A0"),
        ("/a#b", "/a%23b"),
        ("/!\"$&'()*+,-.:;<=>?@[\\]^_`{|}~", "/!\"$&'()*+,-.:;<=>?@[\\]^_`{|}~"),
    ],
)
def test_a_resource_is_encoded(resource: str, encoded: str) -> None:
    assert encode_resource(resource) == encoded


@pytest.mark.parametrize("resource", ["/\r\nX: y", "/\t", "/\x7f", "\0", "/\ud800"])
def test_a_bad_resource_is_an_invalid_url_that_names_it(resource: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        encode_resource(resource)
    assert caught.value.url == resource


@pytest.mark.parametrize(
    ("host", "port", "is_secure", "header"),
    [
        ("h", 80, False, "h"),
        ("h", 443, True, "h"),
        ("h", 443, False, "h:443"),
        ("h", 80, True, "h:80"),
        ("h", 8000, False, "h:8000"),
        ("127.0.0.1", 1, False, "127.0.0.1:1"),
        ("::1", 80, False, "[::1]"),
        ("::1", 8000, True, "[::1]:8000"),
        ("fe80::1%eth0", 443, True, "[fe80::1]"),
        ("fe80::1%eth0", 444, True, "[fe80::1]:444"),
    ],
)
def test_the_host_header_is_built(
    host: str,
    port: int,
    is_secure: bool,  # noqa: FBT001 - a column of the table
    header: str,
) -> None:
    assert build_host(host, port, is_secure=is_secure) == header

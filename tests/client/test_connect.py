"""What a client asks for, in which words, and whom (T-01 to T-04, T-11, T20)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager

import pytest
import trio
import trio.testing
import yarl

from trio_websocket import (
    Endpoint,
    WebSocketConnection,
    open_websocket,
    open_websocket_url,
    wrap_client_stream,
)
from trio_websocket.testing import RawPeer

ServeRaw = Callable[
    [Callable[[trio.SocketStream], Awaitable[object]]],
    AbstractAsyncContextManager[int],
]
Redirect = Callable[[int], list[tuple[str, int]]]


class Wrapped:
    """What `wrap_client_stream` sent, and what came of it."""

    def __init__(self, connection: WebSocketConnection, head: bytes) -> None:
        self.connection = connection
        first, *rest = head.decode("latin-1").split("\r\n")
        self.request_line = first
        self.headers = [line.split(": ", 1) for line in rest if line]

    def find(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


async def wrap(
    host: str = "h.example",
    resource: str = "/",
    *,
    subprotocols: Iterable[str] | None = None,
    extra_headers: Iterable[tuple[str | bytes, str | bytes]] | None = None,
    answer: Iterable[tuple[str, str]] = (),
) -> Wrapped:
    """Wrap a stream whose other end accepts whatever is asked for."""
    client_end, server_end = trio.testing.memory_stream_pair()
    peers: list[RawPeer] = []

    async def accept() -> None:
        peers.append(await RawPeer.accept(server_end, headers=answer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        connection = await wrap_client_stream(
            nursery,
            client_end,
            host,
            resource,
            subprotocols=subprotocols,
            extra_headers=extra_headers,
        )
        await connection.abort()
    return Wrapped(connection, peers[0].head)


async def test_the_request_is_what_rfc_6455_section_4_1_wants() -> None:
    wrapped = await wrap(
        resource="/chat?room=1", subprotocols=["a", "b"], extra_headers=[("X-Y", "z")]
    )
    assert wrapped.request_line == "GET /chat?room=1 HTTP/1.1"
    assert [name for name, _ in wrapped.headers] == [
        "Host",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "X-Y",
    ]
    assert wrapped.find("Host") == ["h.example"]
    assert wrapped.find("Sec-WebSocket-Version") == ["13"]
    assert wrapped.find("Sec-WebSocket-Protocol") == ["a, b"]
    assert wrapped.find("X-Y") == ["z"]


@pytest.mark.parametrize(
    ("host", "header"),
    [
        ("h.example", "h.example"),
        ("h.example:8000", "h.example:8000"),
        ("bücher.example:8000", "xn--bcher-kva.example:8000"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("::1", "[::1]"),
        ("[::1]:8000", "[::1]:8000"),
    ],
)
async def test_the_host_header_is_written_as_http_wants_it(
    host: str, header: str
) -> None:
    # T16
    wrapped = await wrap(host)
    assert wrapped.find("Host") == [header]


async def test_a_host_of_the_programs_own_replaces_ours() -> None:
    wrapped = await wrap(extra_headers=[("X-A", "1"), ("host", "other.example")])
    assert wrapped.headers[0] == ["Host", "other.example"]
    assert wrapped.find("host") == []
    assert wrapped.find("X-A") == ["1"]


@pytest.mark.parametrize(
    "headers",
    [
        [("X-A", "1"), ("X-B", "2")],
        (("X-A", "1"), ("X-B", "2")),
        [(b"X-A", b"1"), (b"X-B", b"2")],
        [(b"X-A", "1"), ("X-B", b"2")],
        {"X-A": "1", "X-B": "2"},
        {b"X-A": b"1", b"X-B": b"2"},
    ],
    ids=repr,
)
async def test_headers_may_be_given_in_any_form(
    headers: Iterable[tuple[str | bytes, str | bytes]],
) -> None:
    wrapped = await wrap(extra_headers=headers)
    assert wrapped.headers[-2:] == [["X-A", "1"], ["X-B", "2"]]


async def test_subprotocols_may_come_from_a_generator() -> None:
    wrapped = await wrap(
        subprotocols=(name for name in "ab"), answer=[("Sec-WebSocket-Protocol", "b")]
    )
    assert wrapped.find("Sec-WebSocket-Protocol") == ["a, b"]
    assert wrapped.connection.subprotocol == "b"


async def test_a_server_may_choose_no_subprotocol() -> None:
    wrapped = await wrap(subprotocols=["a"])
    assert wrapped.connection.subprotocol is None


async def test_the_headers_of_the_answer_can_be_read() -> None:
    wrapped = await wrap(answer=[("X-First", "1"), ("x-second", "2")])
    assert wrapped.connection.handshake_headers == (
        (b"x-first", b"1"),
        (b"x-second", b"2"),
    )


async def test_a_resource_is_encoded_and_its_escapes_are_kept() -> None:
    wrapped = await wrap(resource="/ü/%C3?x=a b")
    assert wrapped.request_line == "GET /%C3%BC/%C3?x=a%20b HTTP/1.1"
    assert wrapped.connection.path == "/%C3%BC/%C3?x=a%20b"


async def test_an_empty_resource_is_the_root() -> None:
    wrapped = await wrap(resource="")
    assert wrapped.request_line == "GET / HTTP/1.1"


async def test_what_came_behind_the_answer_is_not_lost() -> None:
    # S-3
    client_end, server_end = trio.testing.memory_stream_pair()
    frames = b"\x81\x01a\x81\x01b\x82\x01c"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: RawPeer.accept(server_end, behind=frames))
        client = await wrap_client_stream(nursery, client_end, "h", "/")
        assert [await client.get_message() for _ in range(3)] == ["a", "b", b"c"]
        await client.abort()


@pytest.mark.parametrize(
    ("url", "asked", "host"),
    [
        ("ws://h.example/x", ("h.example", 80), "h.example"),
        ("ws://h.example:80/x", ("h.example", 80), "h.example"),
        ("ws://h.example:443/x", ("h.example", 443), "h.example:443"),
        ("ws://h.example:8000/x", ("h.example", 8000), "h.example:8000"),
        ("WS://H.Example/x", ("h.example", 80), "h.example"),
        ("ws://user:secret@h.example/x", ("h.example", 80), "h.example"),
        (
            "ws://bücher.example/x",
            ("xn--bcher-kva.example", 80),
            "xn--bcher-kva.example",
        ),
    ],
)
async def test_a_url_says_what_is_dialled_and_what_is_asked_for(  # noqa: PLR0917
    url: str,
    asked: tuple[str, int],
    host: str,
    serve_raw: ServeRaw,
    redirect: Redirect,
) -> None:
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        peer = await RawPeer.accept(stream)
        heads.append(peer.head)
        await peer.send_close()

    async with serve_raw(serve) as port:
        names = redirect(port)
        async with open_websocket_url(url) as client:
            assert client.path == "/x"
    assert names == [asked]
    assert b"\r\nHost: %b\r\n" % host.encode() in heads[0]
    assert b"secret" not in heads[0]
    assert b"uthorization" not in heads[0]


@pytest.mark.parametrize(
    ("url", "asked", "host"),
    [
        ("wss://localhost/", ("localhost", 443), "localhost"),
        ("wss://localhost:443/", ("localhost", 443), "localhost"),
        ("wss://localhost:80/", ("localhost", 80), "localhost:80"),
        ("wss://localhost:8443/", ("localhost", 8443), "localhost:8443"),
    ],
)
async def test_a_secure_url_has_a_default_port_of_its_own(  # noqa: PLR0917
    url: str,
    asked: tuple[str, int],
    host: str,
    serve_raw: ServeRaw,
    redirect: Redirect,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        tls_stream = trio.SSLStream(stream, server_tls, server_side=True)
        peer = await RawPeer.accept(tls_stream)
        heads.append(peer.head)
        await peer.send_close()

    async with serve_raw(serve) as port:
        names = redirect(port)
        async with open_websocket_url(url, client_tls):
            pass
    assert names == [asked]
    assert b"\r\nHost: %b\r\n" % host.encode() in heads[0]


async def test_an_international_name_is_encoded_once_for_everybody(
    serve_raw: ServeRaw, redirect: Redirect, server_tls: ssl.SSLContext
) -> None:
    asked_for: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def note_name(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        asked_for.append(name)

    async def serve(stream: trio.SocketStream) -> None:
        server_tls.sni_callback = note_name
        try:
            tls_stream = trio.SSLStream(stream, server_tls, server_side=True)
            await RawPeer(tls_stream).receive_head()
        finally:
            server_tls.sni_callback = None

    async with serve_raw(serve) as port:
        names = redirect(port)
        with pytest.raises(OSError, match=r"xn--bcher-kva\.example:443 failed"):
            await open_websocket_url("wss://BÜCHER.example/", context).__aenter__()
    assert names == [("xn--bcher-kva.example", 443)]
    assert asked_for == ["xn--bcher-kva.example"]


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_an_ipv6_address_is_dialled_and_put_into_brackets() -> None:
    # T16
    heads: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        peer = await RawPeer.accept(stream)
        heads.append(peer.head)
        await peer.send_close()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="::1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        async with open_websocket("::1", port, "/", use_ssl=False) as client:
            assert repr(client.remote) == repr(Endpoint("::1", port, False))
        nursery.cancel_scope.cancel()
    assert b"\r\nHost: [::1]:%d\r\n" % port in heads[0]


@pytest.mark.parametrize("kind", ["str", "yarl", "other"])
async def test_a_url_may_be_anything_that_says_one(
    kind: str, serve_raw: ServeRaw
) -> None:
    class Other:
        def __init__(self, text: str) -> None:
            self.text = text

        def __str__(self) -> str:
            return self.text

    async def serve(stream: trio.SocketStream) -> None:
        peer = await RawPeer.accept(stream)
        assert peer.head.startswith(b"GET /x?y=1 ")
        await peer.send_close()

    async with serve_raw(serve) as port:
        text = f"ws://127.0.0.1:{port}/x?y=1"
        url = {"str": text, "yarl": yarl.URL(text), "other": Other(text)}[kind]
        async with open_websocket_url(url) as client:
            assert client.path == "/x?y=1"

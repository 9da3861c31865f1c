"""The ends of a connection, and their URLs (T-15)."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import cast

import pytest
import trio
import trio.testing

from trio_websocket._endpoint import Endpoint, Ends, find_listener_endpoint


def find_endpoints(stream: trio.abc.Stream) -> tuple[Endpoint | str, Endpoint | str]:
    ends = Ends(stream)
    return ends.local, ends.remote


class FakeSocket:
    """A socket that says of itself what the test wants."""

    def __init__(self, local: object, remote: object = None) -> None:
        self._local = local
        self._remote = remote

    def getsockname(self) -> object:
        return self._tell(self._local)

    def getpeername(self) -> object:
        return self._tell(self._remote)

    def _tell(self, address: object) -> object:
        if isinstance(address, Exception):
            raise address
        return address


class SocketCarrier:
    """What the look-up needs of a stream or listener of somebody else's."""

    def __init__(self, sock: object) -> None:
        self._socket = sock

    @property
    def socket(self) -> object:
        if isinstance(self._socket, Exception):
            raise self._socket
        return self._socket


def carry(sock: object) -> trio.abc.Stream:
    return cast("trio.abc.Stream", SocketCarrier(sock))


def wrap_tls(stream: trio.abc.Stream) -> trio.abc.Stream:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return trio.SSLStream(stream, context, server_hostname="h")


def describe(end: Endpoint | str) -> str:
    """Tell an Endpoint from a str that looks like one."""
    return repr(end) if isinstance(end, Endpoint) else end


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (Endpoint("10.105.0.2", 80, False), "ws://10.105.0.2"),
        (Endpoint("127.0.0.1", 8000, False), "ws://127.0.0.1:8000"),
        (Endpoint(0, 443, True), "wss://0.0.0.0"),
        (Endpoint("10.0.0.1", 80, True), "wss://10.0.0.1:80"),
        (Endpoint("10.0.0.1", 443, False), "ws://10.0.0.1:443"),
        (Endpoint("::1", 8000, False), "ws://[::1]:8000"),
        (Endpoint("::", 443, True), "wss://[::]"),
    ],
)
def test_an_endpoint_has_a_url(endpoint: Endpoint, url: str) -> None:
    assert endpoint.url == url


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (
            Endpoint("127.0.0.1", 8000, False),
            'Endpoint(address="127.0.0.1", port=8000, is_ssl=False)',
        ),
        (
            Endpoint("::1", 443, True),
            'Endpoint(address="::1", port=443, is_ssl=True)',
        ),
    ],
)
def test_an_endpoint_prints_its_parts(endpoint: Endpoint, text: str) -> None:
    assert repr(endpoint) == str(endpoint) == text


@pytest.mark.parametrize("address", ["127.0.0.1", 0x7F000001, b"\x7f\x00\x00\x01"])
def test_an_endpoint_takes_an_address_in_any_form(address: str | int | bytes) -> None:
    assert Endpoint(address, 1, False).address == ipaddress.IPv4Address("127.0.0.1")


def test_an_endpoint_can_be_changed() -> None:
    endpoint = Endpoint("127.0.0.1", 80, False)
    endpoint.address = ipaddress.ip_address("::1")
    endpoint.port = 444
    endpoint.is_ssl = True
    assert endpoint.url == "wss://[::1]:444"


def test_a_host_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="localhost"):
        Endpoint("localhost", 80, False)


def test_endpoints_equal_only_themselves() -> None:
    assert Endpoint("::1", 80, False) != Endpoint("::1", 80, False)


ADDRESSES: list[tuple[object, str]] = [
    (("127.0.0.1", 80), 'Endpoint(address="127.0.0.1", port=80, is_ssl=False)'),
    (("::1", 80, 0, 0), 'Endpoint(address="::1", port=80, is_ssl=False)'),
    (
        ("fe80::1%eth0", 80, 0, 2),
        'Endpoint(address="fe80::1%eth0", port=80, is_ssl=False)',
    ),
    ("/run/ws.sock", "unix:/run/ws.sock"),
    (b"/run/ws.sock", "unix:/run/ws.sock"),
    ("", "unix:"),
    (b"", "unix:"),
    (b"\0abstract", "unix:@abstract"),
    ("\0abstract", "unix:@abstract"),
]


@pytest.mark.parametrize(("address", "text"), ADDRESSES)
def test_each_end_of_a_stream_is_found(address: object, text: str) -> None:
    other = ("10.0.0.1", 9)
    end = 'Endpoint(address="10.0.0.1", port=9, is_ssl=False)'
    here = find_endpoints(carry(FakeSocket(address, other)))
    there = find_endpoints(carry(FakeSocket(other, address)))
    assert [describe(found) for found in here] == [text, end]
    assert [describe(found) for found in there] == [end, text]


@pytest.mark.parametrize(("address", "text"), ADDRESSES)
def test_the_address_of_a_listener_is_found(address: object, text: str) -> None:
    listener = carry(FakeSocket(address))
    assert describe(find_listener_endpoint(listener)) == text


@pytest.mark.parametrize("layers", [1, 2, 3])
async def test_tls_is_taken_off_however_often_it_is_there(layers: int) -> None:
    stream: trio.abc.Stream = carry(FakeSocket(("::1", 1), ("::1", 2)))
    for _ in range(layers):
        stream = wrap_tls(stream)
    local, remote = find_endpoints(stream)
    assert describe(local) == 'Endpoint(address="::1", port=1, is_ssl=True)'
    assert describe(remote) == 'Endpoint(address="::1", port=2, is_ssl=True)'


async def test_tls_is_taken_off_a_listener() -> None:
    carrier = SocketCarrier(FakeSocket(("::1", 1)))
    listener = cast("trio.abc.Listener[trio.abc.Stream]", carrier)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found = find_listener_endpoint(trio.SSLListener(listener, context))
    assert describe(found) == 'Endpoint(address="::1", port=1, is_ssl=True)'


@pytest.mark.parametrize(
    "address",
    [
        OSError("closed"),
        RuntimeError("strange"),
        None,
        (),
        ("127.0.0.1",),
        (0, 0),  # AF_NETLINK
        (2, 1024),  # AF_VSOCK
        ("eth0", 2048, 0, 1, b""),  # AF_PACKET
        ("127.0.0.1", "80"),
        ["127.0.0.1", 80],
        17,
    ],
)
def test_a_socket_that_fails_to_tell_leaves_the_repr(address: object) -> None:
    carrier = carry(FakeSocket(address, ("::1", 2)))
    local, remote = find_endpoints(carrier)
    assert local == repr(carrier)
    assert describe(remote) == 'Endpoint(address="::1", port=2, is_ssl=False)'
    assert find_listener_endpoint(carrier) == repr(carrier)


@pytest.mark.parametrize("sock", [None, "socket", object(), RuntimeError("strange")])
def test_a_stream_without_a_real_socket_leaves_the_repr(sock: object) -> None:
    carrier = carry(sock)
    assert find_endpoints(carrier) == (repr(carrier), repr(carrier))
    assert find_listener_endpoint(carrier) == repr(carrier)


async def test_a_memory_stream_leaves_the_repr() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    assert find_endpoints(stream) == (repr(stream), repr(stream))


async def test_tls_over_a_memory_stream_leaves_the_repr_of_the_whole() -> None:
    stream = wrap_tls(trio.testing.memory_stream_pair()[0])
    assert find_endpoints(stream) == (repr(stream), repr(stream))


async def test_the_ends_of_a_real_connection_meet() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    at = find_listener_endpoint(listener)
    assert isinstance(at, Endpoint)
    async with listener:
        client = await trio.open_tcp_stream("127.0.0.1", at.port)
        server = await listener.accept()
    async with client, server:
        near = [describe(end) for end in find_endpoints(client)]
        far = [describe(end) for end in find_endpoints(server)]
    assert near == far[::-1]
    assert near[1] == repr(at)


async def test_a_closed_stream_leaves_the_repr() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await listener.aclose()
    assert find_listener_endpoint(listener) == repr(listener)


@pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here"
)
async def test_an_unnamed_pair_of_unix_sockets_has_empty_paths() -> None:
    here, there = trio.socket.socketpair()
    async with trio.SocketStream(here) as stream, trio.SocketStream(there):
        assert find_endpoints(stream) == ("unix:", "unix:")

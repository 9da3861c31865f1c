"""What the client's entry points take, and what they refuse before a byte is sent.

T-01 to T-04.
"""

from __future__ import annotations

import inspect
import math
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, cast

import pytest
import trio
import trio.testing

import trio_websocket
from trio_websocket import (
    InvalidURL,
    WebSocketConnection,
    connect_websocket,
    connect_websocket_url,
    open_websocket,
    open_websocket_url,
    wrap_client_stream,
)
from trio_websocket.testing import FaultyStream

Redirect = Callable[[int], list[tuple[str, int]]]


class Opens(Protocol):
    """`open_websocket` for a program without type checks."""

    def __call__(
        self, **arguments: object
    ) -> AbstractAsyncContextManager[WebSocketConnection]: ...


class Connects(Protocol):
    """`connect_websocket` likewise."""

    def __call__(
        self, nursery: trio.Nursery, **arguments: object
    ) -> Awaitable[WebSocketConnection]: ...


class Wraps(Protocol):
    """`wrap_client_stream` likewise."""

    def __call__(
        self, nursery: trio.Nursery, stream: trio.abc.Stream, **arguments: object
    ) -> Awaitable[WebSocketConnection]: ...


SIGNATURES = {
    "open_websocket": (
        "(host, port, resource, *, use_ssl, subprotocols=None, extra_headers=None, "
        "message_queue_size=1, max_message_size=1048576, receive_buffer_size=65536, "
        "connect_timeout=60, disconnect_timeout=60, **more)"
    ),
    "open_websocket_url": (
        "(url, ssl_context=None, *, subprotocols=None, extra_headers=None, "
        "message_queue_size=1, max_message_size=1048576, connect_timeout=60, "
        "disconnect_timeout=60, receive_buffer_size=65536, **more)"
    ),
    "connect_websocket": (
        "(nursery, host, port, resource, *, use_ssl, subprotocols=None, "
        "extra_headers=None, message_queue_size=1, max_message_size=1048576, "
        "receive_buffer_size=65536, **more)"
    ),
    "connect_websocket_url": (
        "(nursery, url, ssl_context=None, *, subprotocols=None, extra_headers=None, "
        "message_queue_size=1, max_message_size=1048576, receive_buffer_size=65536, "
        "**more)"
    ),
    "wrap_client_stream": (
        "(nursery, stream, host, resource, *, subprotocols=None, extra_headers=None, "
        "message_queue_size=1, max_message_size=1048576, receive_buffer_size=65536, "
        "**more)"
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_parameters_are_those_that_programs_know(name: str) -> None:
    signature = inspect.signature(getattr(trio_websocket, name))
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    described = signature.replace(
        parameters=bare, return_annotation=inspect.Signature.empty
    )
    assert str(described) == SIGNATURES[name]


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_connects_is_awaited_and_what_opens_is_entered(name: str) -> None:
    is_coroutine = inspect.iscoroutinefunction(getattr(trio_websocket, name))
    assert is_coroutine == (not name.startswith("open_"))


def test_a_bad_url_is_refused_at_the_call() -> None:
    with pytest.raises(InvalidURL, match="the scheme must be ws or wss"):
        open_websocket_url("http://h.example/")


def test_a_context_for_a_plain_url_is_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match=r"^SSL context must be None for ws: URL"):
        open_websocket_url("ws://h/", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


async def test_a_bad_url_is_refused_at_the_await() -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(InvalidURL):
            await connect_websocket_url(nursery, "ws:///no-host")
        with pytest.raises(ValueError, match="SSL context must be None"):
            await connect_websocket_url(
                nursery, "ws://h/", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            )


async def test_nothing_happens_before_the_block_is_entered(redirect: Redirect) -> None:
    names = redirect(1)
    open_websocket("h.example", 80, "/", use_ssl=cast("bool", "wrong"))
    open_websocket_url("ws://h.example")
    await trio.testing.wait_all_tasks_blocked()
    assert names == []


WRONG: list[tuple[dict[str, object], type[Exception], str]] = [
    ({"host": None}, TypeError, "the host must be a str, not NoneType"),
    ({"host": b"h"}, TypeError, "the host must be a str, not bytes"),
    ({"host": ""}, ValueError, "the host name is not valid"),
    ({"host": "a b"}, ValueError, "the host name is not valid"),
    ({"host": "h:80"}, ValueError, "the IPv6 address is not valid"),
    ({"host": "[h]"}, ValueError, "no IPv6 address in the brackets"),
    ({"port": "80"}, TypeError, "the port must be an int, not '80'"),
    ({"port": True}, TypeError, "the port must be an int, not True"),
    ({"port": -1}, ValueError, "the port must be a number from 0 to 65535"),
    ({"port": 65536}, ValueError, "the port must be a number from 0 to 65535"),
    ({"resource": None}, TypeError, "the resource must be a str, not NoneType"),
    ({"resource": b"/"}, TypeError, "the resource must be a str, not bytes"),
    ({"resource": "/\r\n"}, ValueError, "it holds a control character"),
    ({"use_ssl": 1}, TypeError, "`use_ssl` argument must be bool or ssl.SSLContext"),
    ({"use_ssl": None}, TypeError, "`use_ssl` argument must be bool or"),
    (
        {"use_ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
        ValueError,
        "a client cannot use an SSL context for servers",
    ),
    ({"subprotocols": "chat"}, TypeError, "must be an iterable of str, not one str"),
    ({"subprotocols": [b"chat"]}, TypeError, "a subprotocol must be a str"),
    ({"subprotocols": ["a b"]}, ValueError, "is not a token"),
    ({"extra_headers": 1}, TypeError, "headers must be a mapping or"),
    ({"extra_headers": [("a",)]}, TypeError, "must be a pair of name and value"),
    ({"extra_headers": {"a": "x\n"}}, ValueError, "holds a control character"),
    ({"extra_headers": {"Upgrade": "h2c"}}, ValueError, "is set by the library"),
    ({"extra_headers": {"Host": "a b"}}, ValueError, "value of the Host header"),
    ({"message_queue_size": -1}, ValueError, "message_queue_size must be 0 or more"),
    ({"message_queue_size": 1.5}, TypeError, "message_queue_size must be an int"),
    ({"max_message_size": None}, TypeError, "max_message_size must be an int"),
    ({"receive_buffer_size": 0}, ValueError, "receive_buffer_size must be 1 or more"),
    ({"disconnect_timeout": -1}, ValueError, "disconnect_timeout must be 0 or more"),
    ({"disconnect_timeout": "1"}, TypeError, "disconnect_timeout must be a number"),
    (
        {"compression": "gzip"},
        ValueError,
        "compression must be \"deflate\", not 'gzip'",
    ),
    ({"compression": True}, TypeError, 'compression must be "deflate", a PerMessage'),
    ({"compress": "deflate"}, TypeError, "there is no option 'compress' here"),
]
GOOD: dict[str, object] = {
    "host": "h.example",
    "port": 80,
    "resource": "/",
    "use_ssl": False,
}


@pytest.mark.parametrize(
    ("wrong", "kind", "sentence"),
    [*WRONG, ({"connect_timeout": math.nan}, ValueError, "connect_timeout must be")],
)
async def test_open_websocket_refuses_what_it_cannot_use_before_it_dials(
    wrong: dict[str, object],
    kind: type[Exception],
    sentence: str,
    redirect: Redirect,
) -> None:
    names = redirect(1)
    opening = cast("Opens", open_websocket)(**{**GOOD, **wrong})
    with pytest.raises(kind) as caught:
        await opening.__aenter__()
    assert sentence in str(caught.value)
    assert names == []


@pytest.mark.parametrize(
    ("wrong", "kind", "sentence"),
    [*WRONG, ({"connect_timeout": 1}, TypeError, "no option 'connect_timeout' here")],
)
async def test_connect_websocket_refuses_what_it_cannot_use_before_it_dials(
    wrong: dict[str, object],
    kind: type[Exception],
    sentence: str,
    redirect: Redirect,
) -> None:
    names = redirect(1)
    connect = cast("Connects", connect_websocket)
    async with trio.open_nursery() as nursery:
        with pytest.raises(kind) as caught:
            await connect(nursery, **{**GOOD, **wrong})
        assert not nursery.child_tasks
    assert sentence in str(caught.value)
    assert names == []


# The host of wrap_client_stream may have a port.
OF_STREAMS = [
    row
    for row in WRONG
    if not {"port", "use_ssl"} & {*row[0]} and row[0] != {"host": "h:80"}
]


@pytest.mark.parametrize(
    ("wrong", "kind", "sentence"),
    [
        *[row for row in OF_STREAMS if row[0] != {"host": ""}],
        ({"host": ""}, ValueError, "there is no host"),
        ({"connect_timeout": 1}, TypeError, "there is no option 'connect_timeout'"),
    ],
)
async def test_wrap_client_stream_refuses_what_it_cannot_use_before_it_sends(
    wrong: dict[str, object], kind: type[Exception], sentence: str
) -> None:
    client_end, _server_end = trio.testing.memory_stream_pair()
    stream = FaultyStream(client_end)
    wrap_stream = cast("Wraps", wrap_client_stream)
    arguments: dict[str, object] = {"host": "h.example", "resource": "/", **wrong}
    async with trio.open_nursery() as nursery:
        with pytest.raises(kind) as caught:
            await wrap_stream(nursery, stream, **arguments)
        assert not nursery.child_tasks
    assert sentence in str(caught.value)
    assert stream.bytes_sent == 0
    await stream.aclose()

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Literal, Protocol

import pytest
import trio

Serve = Callable[[trio.SocketStream], Awaitable[object]]
ServeRaw = Callable[[Serve], AbstractAsyncContextManager[int]]

V4Address = tuple[
    Literal[socket.AddressFamily.AF_INET],
    socket.SocketKind,
    int,
    str,
    tuple[str, int],
]
V6Address = tuple[
    Literal[socket.AddressFamily.AF_INET6],
    socket.SocketKind,
    int,
    str,
    tuple[str, int, int, int] | tuple[int, bytes],
]


class Redirector(trio.abc.HostnameResolver):
    """A DNS in which every name and port leads to one port of this machine."""

    def __init__(self, port: int, delay: float) -> None:
        self._port = port
        self._delay = delay
        self.asked: list[tuple[str, int]] = []

    async def getaddrinfo(  # noqa: PLR0917  # as in Trio
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,  # noqa: ARG002
        type: int = 0,  # noqa: A002, ARG002
        proto: int = 0,  # noqa: ARG002
        flags: int = 0,  # noqa: ARG002
    ) -> list[V4Address | V6Address]:
        assert host is not None
        assert isinstance(port, int)
        self.asked.append((host.decode(), port))
        await trio.sleep(self._delay)
        address = "127.0.0.1", self._port
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address)]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise AssertionError(sockaddr, flags)


class Redirect(Protocol):
    """What the fixture of that name is."""

    def __call__(self, port: int, delay: float = 0) -> list[tuple[str, int]]: ...


@pytest.fixture
def redirect() -> Redirect:
    """Lead every name and port to one port; returns what will have been asked for."""

    def install(port: int, delay: float = 0) -> list[tuple[str, int]]:
        redirector = Redirector(port, delay)
        trio.socket.set_custom_hostname_resolver(redirector)
        return redirector.asked

    return install


@pytest.fixture
def serve_raw() -> ServeRaw:
    """Run a server of bytes for a block, which gets its port."""

    @asynccontextmanager
    async def run(serve: Serve) -> AsyncGenerator[int]:
        async with trio.open_nursery() as nursery:
            start = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
            [listener] = await nursery.start(start)
            yield listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel()

    return run

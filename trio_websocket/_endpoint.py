"""Where a connection begins and ends, as far as its stream can tell.

A stream is asked at the opening, because a socket forgets its peer when it is closed or
reset. What it said is described when somebody wants to know: few programs do, and a
server opens many connections.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import trio


class Endpoint:
    """One end of a connection over TCP.

    Args:
        address: An IP address in any form that `ipaddress.ip_address` takes.
        port: The number of the port.
        is_ssl: Whether the connection is encrypted.

    Attributes:
        address: An `ipaddress.IPv4Address` or `ipaddress.IPv6Address`.
        port: The number of the port.
        is_ssl: Whether the connection is encrypted.

    Raises:
        ValueError: If ``address`` is not an IP address; host names are not looked up.

    """

    def __init__(self, address: str | int | bytes, port: int, is_ssl: bool) -> None:  # noqa: FBT001 - programs give it by position
        self.address: ipaddress.IPv4Address | ipaddress.IPv6Address = (
            ipaddress.ip_address(address)
        )
        self.port = port
        self.is_ssl = is_ssl

    @property
    def url(self) -> str:
        """A URL without a path; it leaves out the default port of its scheme."""
        scheme, default = ("wss", 443) if self.is_ssl else ("ws", 80)
        is_v6 = isinstance(self.address, ipaddress.IPv6Address)
        host = f"[{self.address}]" if is_v6 else str(self.address)
        return f"{scheme}://{host}" + ("" if self.port == default else f":{self.port}")

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(address="{self.address}", '
            f"port={self.port}, is_ssl={self.is_ssl})"
        )


# What is known of an end: how it is described, or the address and port of it.
_End = Endpoint | str | tuple[str, int]


class Ends:
    """The two ends of any stream, as they are at this moment.

    Each is an `Endpoint` if the stream has a ``socket`` of TCP, by itself or under any
    number of `trio.SSLStream`; ``unix:`` and the path for a Unix socket; and the
    ``repr()`` of the stream if it cannot tell. Nothing here ever raises.
    """

    __slots__ = ("_is_ssl", "_local", "_remote")

    def __init__(self, stream: trio.abc.Stream) -> None:
        inner, self._is_ssl = _unwrap(stream)
        sock = _find_socket(inner)
        local = None if sock is None else _ask(sock.getsockname)
        remote = None if sock is None else _ask(sock.getpeername)
        self._local: _End = repr(stream) if local is None else local
        self._remote: _End = repr(stream) if remote is None else remote

    @property
    def local(self) -> Endpoint | str:
        """This end, the same object each time."""
        if isinstance(self._local, tuple):
            self._local = Endpoint(*self._local, self._is_ssl)
        return self._local

    @property
    def remote(self) -> Endpoint | str:
        """The other end, the same object each time."""
        if isinstance(self._remote, tuple):
            self._remote = Endpoint(*self._remote, self._is_ssl)
        return self._remote


@runtime_checkable
class _Socket(Protocol):
    def getsockname(self) -> object: ...

    def getpeername(self) -> object: ...


# Trio's own first: to look at a protocol takes far longer than at a class.
_SOCKETS = (trio.socket.SocketType, _Socket)


def find_listener_endpoint(listener: object) -> Endpoint | str:
    """Find where a listener listens; never raises.

    Returns:
        What `Ends` would say of a socket that is bound there.

    """
    inner, is_ssl = _unwrap(listener)
    sock = _find_socket(inner)
    if sock is None:
        return repr(listener)
    end = _ask(sock.getsockname) or repr(listener)
    return Endpoint(*end, is_ssl) if isinstance(end, tuple) else end


def _unwrap(carrier: object) -> tuple[object, bool]:
    """Take the TLS off a stream or listener; say whether there was any."""
    inner = carrier
    while True:
        if isinstance(inner, trio.SSLStream):
            inner = cast("trio.SSLStream[trio.abc.Stream]", inner).transport_stream
        elif isinstance(inner, trio.SSLListener):
            listener = cast("trio.SSLListener[trio.abc.Stream]", inner)
            inner = listener.transport_listener
        else:
            return inner, inner is not carrier


def _find_socket(carrier: object) -> _Socket | None:
    try:
        sock: object = getattr(carrier, "socket", None)
        return sock if isinstance(sock, _SOCKETS) else None
    except Exception:  # noqa: BLE001 - a property of a stranger's class
        return None


def _ask(ask: Callable[[], object]) -> str | tuple[str, int] | None:
    """Ask a socket for an address of its own; None if that makes no sense."""
    try:
        address = ask()
    except Exception:  # noqa: BLE001 - closed, reset, or a stranger's class
        return None
    if isinstance(address, str | bytes):
        return f"unix:{_build_path(address)}"
    if not isinstance(address, tuple):
        return None
    match cast("tuple[object, ...]", address)[:2]:
        case (str(host), int(port)) if _is_ip(host):
            return host, port
        case _:
            return None


def _is_ip(host: str) -> bool:
    # The system is many times faster than ipaddress, but knows no scope of IPv6.
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    try:
        if "%" in host:
            ipaddress.ip_address(host)
        else:
            trio.socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def _build_path(address: str | bytes) -> str:
    path = os.fsdecode(address)
    # Linux's abstract names begin with NUL; "@" is how its tools print that.
    return f"@{path[1:]}" if path.startswith("\0") else path

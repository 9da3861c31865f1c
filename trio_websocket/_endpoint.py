"""Where a connection begins and ends, as far as its stream can tell."""

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


@runtime_checkable
class _Socket(Protocol):
    def getsockname(self) -> object: ...

    def getpeername(self) -> object: ...


def find_endpoints(stream: trio.abc.Stream) -> tuple[Endpoint | str, Endpoint | str]:
    """Find the local and the remote end of any stream; never raises.

    Returns:
        Two ends, each an `Endpoint` if the stream has a ``socket`` of TCP, by itself or
        under any number of `trio.SSLStream`; ``unix:`` and the path for a Unix socket;
        and the ``repr()`` of the stream if it cannot tell.

    """
    inner, is_ssl = _unwrap(stream)
    sock = _find_socket(inner)
    if sock is None:
        return repr(stream), repr(stream)
    local = _describe(sock.getsockname, is_ssl=is_ssl)
    remote = _describe(sock.getpeername, is_ssl=is_ssl)
    return local or repr(stream), remote or repr(stream)


def find_listener_endpoint(listener: object) -> Endpoint | str:
    """Find where a listener listens; never raises.

    Returns:
        What `find_endpoints` would say of a socket that is bound there.

    """
    inner, is_ssl = _unwrap(listener)
    sock = _find_socket(inner)
    if sock is None:
        return repr(listener)
    return _describe(sock.getsockname, is_ssl=is_ssl) or repr(listener)


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
        return sock if isinstance(sock, _Socket) else None
    except Exception:  # noqa: BLE001 - a property of a stranger's class
        return None


def _describe(ask: Callable[[], object], *, is_ssl: bool) -> Endpoint | str | None:
    """Make an end out of what a socket says of itself; None if it makes no sense."""
    try:
        address = ask()
    except Exception:  # noqa: BLE001 - closed, reset, or a stranger's class
        return None
    if isinstance(address, str | bytes):
        return f"unix:{_build_path(address)}"
    if not isinstance(address, tuple):
        return None
    match cast("tuple[object, ...]", address)[:2]:
        case (str(host), int(port)):
            try:
                return Endpoint(host, port, is_ssl)
            except ValueError:
                return None
        case _:
            return None


def _build_path(address: str | bytes) -> str:
    path = os.fsdecode(address)
    # Linux's abstract names begin with NUL; "@" is how its tools print that.
    return f"@{path[1:]}" if path.startswith("\0") else path

"""A socket that can be written without blocking.

Trio's own stream takes a turn of the scheduler for each write, which costs more than
the write itself. On POSIX the descriptor can be written at once instead, and whoever
sends waits only for what the socket did not take. The descriptor is asked for at each
write and never kept: once the socket is closed its number may belong to somebody else.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from contextlib import suppress

import trio

_KEEPALIVE_INTERVAL = 60  # seconds: below what routers forget an idle connection after


class SocketStream(trio.abc.HalfCloseableStream):
    """A ``trio.SocketStream`` with a write that does not wait.

    Attributes:
        socket: Trio's socket, which this stream owns.

    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self.socket!r}>"

    def write_now(self, data: bytes | memoryview) -> int:
        """Write what the socket takes at once and tell how many bytes that was.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream was closed.

        """
        number = self.socket.fileno()
        if number < 0:
            raise trio.ClosedResourceError
        try:
            return os.write(number, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it, waiting as long as it takes."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket may take more."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is there, at least one byte; nothing at the end."""
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()


def prepare_socket(stream: trio.SocketStream) -> trio.abc.Stream:
    """Set up a socket that the library made, and make it writable without blocking.

    TCP keepalive is turned on, so that a peer whose machine has gone is noticed in the
    end. Where a descriptor cannot be written as a file (Windows), or is not a real one,
    the stream is returned as it is.
    """
    keep_alive(stream.socket)
    if sys.platform != "win32" and _is_real(stream.socket):
        return SocketStream(stream)
    return stream


def keep_alive(sock: trio.socket.SocketType) -> None:
    """Have the system look after a peer that has been silent for a minute."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    # macOS refuses to set anything once the peer has gone; reading will tell that too.
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE"):  # Linux and Windows; macOS
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, _KEEPALIVE_INTERVAL)


def _is_real(sock: trio.socket.SocketType) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(sock.fileno()).st_mode)
    except OSError:
        return False

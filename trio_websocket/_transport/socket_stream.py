"""A socket that can be read and written without blocking.

Theory of operation
===================

Trio's own stream takes a turn of the scheduler for each call, which costs more than
the call itself. On POSIX the descriptor can be read and written at once instead, and
whoever does waits only for what the socket did not give or take. The descriptor is
asked for each time and never kept: once the socket is closed its number may belong to
somebody else.

Under TLS the same socket serves another master. Trio's TLS stream breaks for good when
a ``send_all`` of the stream beneath is cancelled, so whoever sends must either not be
cancelled or not wait. ``HoldingStream``, once it is told to hold, does not wait: it
takes what the TLS stream wants to send, gives the socket as much of it as goes, and
holds the rest until somebody waits in ``drain``. So a TLS record is never torn, the one
who waits can be cancelled, and a reader to whom TLS gives something to say never waits.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Awaitable
from contextlib import suppress

import trio

MAX_HELD_SIZE = 1_048_576  # bytes: several batches of an outbox, encrypted
_RECEIVE_SIZE = 65_536  # bytes: what a TLS stream leaves to the stream beneath it
_KEEPALIVE_INTERVAL = 60  # seconds: below what routers forget an idle connection after


class SocketStream(trio.abc.HalfCloseableStream):
    """A ``trio.SocketStream`` with a write that does not wait.

    Attributes:
        socket: Trio's socket, which this stream owns.

    """

    __slots__ = ("_stream", "socket")

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
        try:
            return os.write(self.socket.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._explain() from error

    def read_now(self, size: int) -> bytes | None:
        """Read what is there, ``size`` bytes at most; nothing at the end.

        Returns:
            The bytes, or None if there are none yet.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream was closed.

        """
        try:
            return os.read(self.socket.fileno(), size)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._explain() from error

    def read_now_into(self, buffer: memoryview) -> int | None:
        """Read what is there to the beginning of a buffer; 0 bytes at the end.

        Returns:
            How many bytes that was, or None if there are none yet.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream was closed.

        """
        try:
            return os.readv(self.socket.fileno(), [buffer])
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._explain() from error

    def wait_readable(self) -> Awaitable[None]:
        """Wait until there is something to read, or the end.

        Raises:
            trio.ClosedResourceError: If the stream is closed.

        """
        # Not a coroutine of ours: an idle connection would keep it.
        number = self.socket.fileno()
        if number < 0:
            raise trio.ClosedResourceError
        return trio.lowlevel.wait_readable(number)  # noqa: ASYNC105

    def _explain(self) -> trio.BrokenResourceError | trio.ClosedResourceError:
        """Say in Trio's words why the system refused."""
        if self.socket.fileno() < 0:
            return trio.ClosedResourceError()
        return trio.BrokenResourceError()

    def _fileno(self) -> int:
        number = self.socket.fileno()
        if number < 0:
            raise trio.ClosedResourceError
        return number

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


class HoldingStream(SocketStream):
    """A socket under TLS that can hold what it does not take at once."""

    __slots__ = ("_held", "_is_holding")

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self._held = bytearray()
        self._is_holding = False

    @property
    def has_held(self) -> bool:
        """Whether bytes are held that the socket has not taken."""
        return bool(self._held)

    def hold(self) -> None:
        """Have ``send_all`` wait no more from now on."""
        self._is_holding = True

    async def send_all(  # noqa: ASYNC910  # TLS takes a turn for each call
        self, data: bytes | bytearray | memoryview
    ) -> None:
        """Send all of it, or hold what does not leave at once.

        Raises:
            trio.BrokenResourceError: If the connection is gone, or too much would be
                held: whoever sends waits in ``drain``, but a peer can make TLS itself
                answer, and then not read the answers.
            trio.ClosedResourceError: If the stream was closed.

        """
        if not self._is_holding:
            await super().send_all(data)
            return
        self._fileno()  # raises if the stream is closed
        with memoryview(data) as view:
            written = 0 if self._held else self.write_now(view)
            self._held += view[written:]
        if len(self._held) > MAX_HELD_SIZE:
            msg = "the peer makes TLS answer and does not read the answers"
            raise trio.BrokenResourceError(msg)

    async def receive_some(  # noqa: ASYNC910  # as send_all
        self, max_bytes: int | None = None
    ) -> bytes:
        """Receive what is there, at least one byte; nothing at the end."""
        if not self._is_holding:
            return await super().receive_some(max_bytes)
        while True:
            data = self.read_now(max_bytes or _RECEIVE_SIZE)
            if data is not None:
                return data  # noqa: ASYNC910  # as above
            await trio.lowlevel.wait_readable(self._fileno())

    async def drain(self) -> None:
        """Wait until the socket has taken everything that is held.

        Raises:
            trio.BrokenResourceError: If the connection is gone.
            trio.ClosedResourceError: If the stream is closed.

        Cancellation:
            What was not taken is still held. Only one task may wait.

        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._held:
            await trio.lowlevel.wait_writable(self._fileno())
            with memoryview(self._held) as view:
                written = self.write_now(view)
            del self._held[:written]


def prepare_socket(
    stream: trio.SocketStream, *, is_under_tls: bool = False
) -> trio.abc.Stream:
    """Set up a socket that the library made, for reading and writing without blocking.

    TCP keepalive is turned on, so that a peer whose machine has gone is noticed in the
    end. Where a descriptor cannot be written as a file (Windows), or is not a real one,
    the stream is returned as it is.
    """
    keep_alive(stream.socket)
    if sys.platform != "win32" and _is_real(stream.socket):
        return HoldingStream(stream) if is_under_tls else SocketStream(stream)
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

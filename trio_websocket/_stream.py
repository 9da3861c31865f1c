"""What any stream does when it breaks, and how it is dropped."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import trio

from ._errors import ConnectionFailed

logger = logging.getLogger("trio-websocket")

STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


@contextmanager
def failing_to_open(target: str) -> Generator[None]:
    """Turn what a stream raises while a connection is opened into our own error.

    Raises:
        ConnectionFailed: Instead of an error of the stream. Trio's errors say only that
            it broke; what broke it is the error beneath, and that becomes the cause.

    """
    try:
        yield
    except STREAM_ERRORS as error:
        cause = error.__cause__ or error
        raise ConnectionFailed(target, cause) from cause


async def drop(stream: trio.abc.AsyncResource) -> None:  # noqa: ASYNC910  # as shielded
    """Close a stream at once, whatever state it is in."""
    with trio.CancelScope(shield=True):  # noqa: ASYNC912  # a forced close ends at once
        try:
            await trio.aclose_forcefully(stream)
        except STREAM_ERRORS as error:
            logger.debug("closing %r: %r", stream, error)


async def end_sending(stream: trio.abc.Stream) -> None:
    """Say that nothing more will be sent, if there is a way to say it.

    TLS cannot be closed on one side, but the socket that carries it may be. That is
    done to the socket itself: whoever receives in TLS may have to send at any moment,
    and Trio's streams let only one task do so. Nothing happens if the stream is broken:
    who would hear it is gone.
    """
    try:
        if isinstance(stream, trio.SSLStream):
            _shut_down(cast("trio.SSLStream[trio.abc.Stream]", stream))
        elif isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
    except STREAM_ERRORS as error:
        logger.debug("nobody hears the end of a stream: %r", error)
    await trio.lowlevel.checkpoint()


def _shut_down(stream: trio.abc.Stream) -> None:
    inner = stream
    while isinstance(inner, trio.SSLStream):
        inner = cast("trio.SSLStream[trio.abc.Stream]", inner).transport_stream
    sock: object = getattr(inner, "socket", None)
    if isinstance(sock, trio.socket.SocketType):
        sock.shutdown(trio.socket.SHUT_WR)

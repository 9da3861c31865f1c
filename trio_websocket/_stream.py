"""What any stream does when it breaks, and how it is dropped."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

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

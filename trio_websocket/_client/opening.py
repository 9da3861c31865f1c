"""The opening of one connection, from checked arguments to a stream that is open.

Theory of operation
===================

The stages (DNS, TCP, TLS, the HTTP upgrade) are one after the other, in the task that
asks for them. Everything that can be wrong with what the program gave is found before
the first of them. Whatever ends them, a failure, the deadline or a cancellation, the
stream is closed before the exception leaves; what a stream raises leaves as
``ConnectionFailed``, and what the server says as the handshake's own errors.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

import trio

from .._errors import ConnectionFailed, ConnectionTimeout, InvalidURL
from .._options import RECEIVE_BYTES, ConnectionOptions, find_deflate
from .._protocol.client_handshake import ClientHandshake
from .._protocol.extension import make_extensions
from .._protocol.headers import HeadersLike, build_headers
from .._protocol.opened import Opened
from .._protocol.url import build_host, encode_host, encode_resource
from .._stream import drop, failing_to_open
from .._transport.dial import build_target, dial
from .._transport.socket_stream import SocketStream
from .._transport.tls import choose_ssl_context

logger = logging.getLogger("trio-websocket")


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be dialled, checked and encoded.

    Attributes:
        host: A DNS name in ASCII, or an IP address without brackets.
        port: The TCP port.
        resource: The request target.
        ssl_context: The context, or None for no TLS.

    """

    host: str
    port: int
    resource: str
    ssl_context: ssl.SSLContext | None

    def __str__(self) -> str:
        return build_target(self.host, self.port)

    @property
    def host_header(self) -> str:
        """The value of the Host header."""
        is_secure = self.ssl_context is not None
        return build_host(self.host, self.port, is_secure=is_secure)


def check_target(host: str, port: object, resource: str, use_ssl: object) -> Target:
    """Check what is to be dialled.

    Raises:
        InvalidURL: If the host, the port or the resource cannot be one.
        TypeError: If a value has the wrong type.
        ValueError: If the context is one for servers.

    """
    ssl_context = choose_ssl_context(use_ssl)
    check_texts(host=host, resource=resource)
    if isinstance(port, bool) or not isinstance(port, int):
        msg = f"the port must be an int, not {port!r}"
        raise TypeError(msg)
    if not 0 <= port <= 65535:
        raise InvalidURL(f"{host}:{port}", "the port must be a number from 0 to 65535")
    return Target(encode_host(host), port, encode_resource(resource), ssl_context)


def check_texts(**texts: object) -> None:
    """Check that arguments are str; an error tells their names."""
    for name, text in texts.items():
        if not isinstance(text, str):
            msg = f"the {name} must be a str, not {type(text).__name__}"
            raise TypeError(msg)


def prepare(
    host_header: str,
    resource: str,
    subprotocols: Iterable[str] | None,
    extra_headers: HeadersLike | None,
    *,
    options: ConnectionOptions,
) -> ClientHandshake:
    """Check and build the request.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value cannot be sent.

    """
    return ClientHandshake(
        host=host_header,
        resource=encode_resource(resource),
        subprotocols=subprotocols,
        headers=build_headers(extra_headers),
        deflate=find_deflate(options.compression),
        extensions=make_extensions(options.extensions),
    )


async def open_in_time(
    target: Target, handshake: ClientHandshake, options: ConnectionOptions
) -> tuple[trio.abc.Stream, Opened]:
    """Open a target within the time that the options allow.

    Raises:
        ConnectionTimeout: If that is too little.
        HandshakeError: As in `open_target`.

    """
    with trio.move_on_after(options.connect_timeout):
        return await open_target(target, handshake, options)
    # A server that rejects us and then is slow with its words has said enough.
    raise handshake.rejection or ConnectionTimeout(options.connect_timeout)


async def open_target(
    target: Target, handshake: ClientHandshake, options: ConnectionOptions
) -> tuple[trio.abc.Stream, Opened]:
    """Dial a target and make the upgrade.

    Raises:
        HandshakeError: If any of it fails.

    Cancellation:
        Leaves no stream open.

    """
    logger.debug("connecting to %s", target)
    stream = await dial(target.host, target.port, target.ssl_context)
    return stream, await shake_hands(stream, handshake, str(target), options)


async def shake_hands(
    stream: trio.abc.Stream,
    handshake: ClientHandshake,
    target: str,
    options: ConnectionOptions,
) -> Opened:
    """Make the upgrade on a stream, which is closed if that fails.

    Args:
        stream: Any stream.
        handshake: The request, and the judge of the answer.
        target: What was dialled, for people to read.
        options: The options of the connection.

    Raises:
        ConnectionFailed: If the stream breaks, or the server hangs up.
        ConnectionRejected: If the server answers with another status than 101.
        InvalidHandshake: If the answer breaks the rules.

    """
    is_opened = False
    try:
        with failing_to_open(target):
            await _send(stream, handshake.request())
        while True:
            with failing_to_open(target):
                data = await _receive(stream, options.receive_buffer_size)
            if not data:
                handshake.receive_eof()
                raise ConnectionFailed(target)
            opened = handshake.receive_data(data)
            if opened is not None:
                is_opened = True
                return opened
    finally:
        if not is_opened:
            await drop(stream)  # noqa: ASYNC102  # shields itself, waits for nothing


async def _send(  # noqa: ASYNC910  # the caller receives next
    stream: trio.abc.Stream, request: bytes
) -> None:
    """Send a request, without a turn of the scheduler if the stream can do that."""
    written = stream.write_now(request) if isinstance(stream, SocketStream) else 0
    if written < len(request):
        await stream.send_all(request[written:])


async def _receive(stream: trio.abc.Stream, size: int | None) -> bytes | bytearray:
    """Receive a part of an answer, which is never here at once."""
    if not isinstance(stream, SocketStream):
        return await stream.receive_some(size)
    while True:
        await stream.wait_readable()
        data = stream.read_now(size or RECEIVE_BYTES)
        if data is not None:
            return data

"""A request for a connection, as an application sees it."""

from __future__ import annotations

from types import EllipsisType

from .._connection.connection import WebSocketConnection
from .._endpoint import Endpoint
from .._options import Compression
from .._protocol.headers import (
    Headers,
    HeadersLike,
    build_headers,
    pack_headers,
    unpack_headers,
)
from .._protocol.upgrade_request import UpgradeRequest
from .exchange import Exchange


class WebSocketRequest:
    """A client's request for a connection, which waits for an answer.

    Programs do not construct it: handlers of :func:`serve_websocket` are given one, and
    :func:`wrap_server_stream` returns one.

    Attributes of your own may be set on a request.

    """

    # What connections need is kept small; attributes of the program's go elsewhere.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_exchange",
        "_headers",
        "_path",
        "_subprotocols",
    )

    def __init__(self, exchange: Exchange, request: UpgradeRequest) -> None:
        self._exchange = exchange
        self._path = request.target
        self._subprotocols = request.subprotocols
        # A list would be the largest part of an idle connection.
        self._headers: bytes | Headers = pack_headers(request.headers)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as pairs of (lower-case name, value), in the order of the wire.

        Without ``Host``, ``Sec-WebSocket-Extensions`` and ``Sec-WebSocket-Protocol``.
        """
        if isinstance(self._headers, bytes):
            self._headers = unpack_headers(self._headers)
        return self._headers

    @property
    def path(self) -> str:
        """The request target: path and query, as they were on the wire."""
        return self._path

    @property
    def proposed_subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, in its order."""
        return self._subprotocols

    @property
    def local(self) -> Endpoint | str:
        """This end of the stream; see :attr:`WebSocketConnection.local`."""
        return self._exchange.ends.local

    @property
    def remote(self) -> Endpoint | str:
        """The client's end of the stream."""
        return self._exchange.ends.remote

    async def accept(
        self,
        *,
        subprotocol: str | None = None,
        extra_headers: HeadersLike | None = None,
        compression: Compression | EllipsisType = ...,
    ) -> WebSocketConnection:
        """Accept the request and return the open connection.

        Implements RFC 6455 section 4.2.2.

        Args:
            subprotocol: One of :attr:`proposed_subprotocols`, or None.
            extra_headers: A mapping or pairs of str or bytes, sent behind ours.
            compression: How to compress messages if the client offers it: ``"deflate"``
                or a :class:`PerMessageDeflate`; None does not. Left out, it is that of
                the server.

        Raises:
            ValueError: If the client did not offer the subprotocol, a header cannot be
                sent, an extension is wrong, or the request was answered already.
                Nothing was sent then.
            TypeError: If a header or an extension has the wrong type.
            ConnectionClosed: If the client has gone.

        Cancellation:
            The connection is dropped; the request counts as answered.

        """
        headers = build_headers(extra_headers)
        return await self._exchange.accept(subprotocol, headers, compression)

    async def reject(
        self,
        status_code: int,
        *,
        extra_headers: HeadersLike | None = None,
        body: bytes | None = None,
    ) -> None:
        """Reject the request with an HTTP response, and close.

        Args:
            status_code: The HTTP status, 200 to 999.
            extra_headers: A mapping or pairs of str or bytes; ``Content-Length`` and
                ``Connection: close`` are added.
            body: The body of the response, for people or programs.

        Raises:
            ValueError: If no response can be made of these, or the request was answered
                already. Nothing was sent then.
            TypeError: If a value has the wrong type.

        Cancellation:
            The stream is dropped; the request counts as answered.

        """
        content = b"" if body is None else body
        await self._exchange.reject(status_code, build_headers(extra_headers), content)

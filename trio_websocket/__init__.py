"""WebSockets for Trio: the public names."""

from __future__ import annotations

from . import _impl as _impl
from ._client.connect import (
    connect_websocket as connect_websocket,
    connect_websocket_url as connect_websocket_url,
    open_websocket as open_websocket,
    open_websocket_url as open_websocket_url,
    wrap_client_stream as wrap_client_stream,
)
from ._close_reason import CloseCode as CloseCode, CloseReason as CloseReason
from ._connection.byte_stream import ByteStream as ByteStream
from ._connection.connection import WebSocketConnection as WebSocketConnection
from ._connection.message_reader import (
    BytesReader as BytesReader,
    MessageReader as MessageReader,
    TextReader as TextReader,
)
from ._connection.message_writer import MessageWriter as MessageWriter
from ._endpoint import Endpoint as Endpoint
from ._errors import (
    ConnectionClosed as ConnectionClosed,
    ConnectionFailed as ConnectionFailed,
    ConnectionRejected as ConnectionRejected,
    ConnectionTimeout as ConnectionTimeout,
    DisconnectionTimeout as DisconnectionTimeout,
    HandshakeError as HandshakeError,
    IncompleteMessage as IncompleteMessage,
    InvalidHandshake as InvalidHandshake,
    InvalidURL as InvalidURL,
    ProtocolViolation as ProtocolViolation,
    WebSocketError as WebSocketError,
)
from ._options import PerMessageDeflate as PerMessageDeflate
from ._protocol.chosen_lane import lane as lane
from ._protocol.deflate import DeflateAgreement as DeflateAgreement
from ._protocol.state import ConnectionState as ConnectionState
from ._server.request import WebSocketRequest as WebSocketRequest
from ._server.serve import (
    serve_websocket as serve_websocket,
    wrap_server_stream as wrap_server_stream,
)
from ._server.server import WebSocketServer as WebSocketServer
from ._transport.tls import (
    client_ssl_context as client_ssl_context,
    server_ssl_context as server_ssl_context,
)
from ._version import __version__ as __version__

del annotations  # so that "import *" gives the public names and nothing else

"""The names that programs import from where trio-websocket 0.12.2 had them.

Nothing is defined here, and nothing new will be added: import from ``trio_websocket``.
"""

from __future__ import annotations

import logging

from ._client.connect import (
    connect_websocket as connect_websocket,
    connect_websocket_url as connect_websocket_url,
    open_websocket as open_websocket,
    open_websocket_url as open_websocket_url,
    split_url as split_url,
    wrap_client_stream as wrap_client_stream,
)
from ._close_reason import CloseReason as CloseReason
from ._connection.connection import WebSocketConnection as WebSocketConnection
from ._endpoint import Endpoint as Endpoint
from ._errors import (
    ConnectionClosed as ConnectionClosed,
    ConnectionRejected as ConnectionRejected,
    ConnectionTimeout as ConnectionTimeout,
    DisconnectionTimeout as DisconnectionTimeout,
    HandshakeError as HandshakeError,
    TrioWebsocketInternalError as TrioWebsocketInternalError,
)
from ._options import (
    CONN_TIMEOUT as CONN_TIMEOUT,
    MAX_MESSAGE_SIZE as MAX_MESSAGE_SIZE,
    MESSAGE_QUEUE_SIZE as MESSAGE_QUEUE_SIZE,
    RECEIVE_BYTES as RECEIVE_BYTES,
)
from ._server.request import WebSocketRequest as WebSocketRequest
from ._server.serve import (
    serve_websocket as serve_websocket,
    wrap_server_stream as wrap_server_stream,
)
from ._server.server import WebSocketServer as WebSocketServer

_url_to_host = split_url

logger = logging.getLogger("trio-websocket")

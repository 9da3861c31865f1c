"""The compression of websockets, the same for all of its event loops."""

from __future__ import annotations

from collections.abc import Sequence

from assignment import Assignment
from deflated import LEVEL, MEM_LEVEL, WINDOW
from websockets.extensions import ClientExtensionFactory, ServerExtensionFactory
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

_SETTINGS = {"level": LEVEL, "memLevel": MEM_LEVEL}


def build_client_extensions(
    assignment: Assignment,
) -> Sequence[ClientExtensionFactory] | None:
    """Build what a client offers."""
    if not assignment.is_compressed:
        return None
    return [
        ClientPerMessageDeflateFactory(
            server_max_window_bits=WINDOW,
            client_max_window_bits=WINDOW,
            compress_settings=_SETTINGS,
        )
    ]


def build_server_extensions(
    assignment: Assignment,
) -> Sequence[ServerExtensionFactory] | None:
    """Build what a server accepts."""
    if not assignment.is_compressed:
        return None
    return [
        ServerPerMessageDeflateFactory(
            server_max_window_bits=WINDOW,
            client_max_window_bits=WINDOW,
            compress_settings=_SETTINGS,
        )
    ]

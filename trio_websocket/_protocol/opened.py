"""What an opening handshake ends with when it succeeds."""

from __future__ import annotations

from dataclasses import dataclass

from .deflate import DeflateAgreement
from .engine import Engine
from .extension import Extension


@dataclass(frozen=True, slots=True)
class Opened:
    """An open connection.

    Attributes:
        engine: The protocol from here on. It holds the bytes that came behind the
            handshake already.
        headers: For a client, the headers of the server's answer in the order of the
            wire, names in lower case, without those that belong to the handshake. For a
            server, nothing.
        subprotocol: What was agreed on, if anything.
        compression: What was agreed on, if anything.
        extensions: The program's own that were accepted, in the order of that.

    """

    engine: Engine
    headers: tuple[tuple[bytes, bytes], ...]
    subprotocol: str | None
    compression: DeflateAgreement | None = None
    extensions: tuple[Extension, ...] = ()

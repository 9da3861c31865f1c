"""An extension with a parameter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar

from trio_websocket.extensions import MessageExtension


class Digest(MessageExtension):
    """Puts a digest behind each message, as long as both ends want it."""

    name: ClassVar[str] = "x-digest"

    def __init__(self, size: int = 32) -> None:
        self.size = size

    def offer(self) -> list[dict[str, int]]:
        """Offer the size that we want (the client)."""
        return [{"size": self.size}]

    def accept(self, offered: Mapping[str, str | None]) -> dict[str, int]:
        """Answer with the smaller one (the server)."""
        self.size = min(self.size, read_size(offered))
        return {"size": self.size}

    def confirm(self, accepted: Mapping[str, str | None]) -> None:
        """Take the answer (the client)."""
        size = read_size(accepted)
        if size > self.size:
            raise ValueError("that is more than was offered")
        self.size = size

    def encode(self, kind: str, data: bytes) -> bytes:
        """Put a digest behind a message."""
        return data + self.digest(data)

    def decode(self, kind: str, data: bytes, max_size: int) -> bytes:
        """Take it off, if it is right."""
        content, digest = data[: -self.size], data[-self.size :]
        if digest != self.digest(content):
            raise ValueError("the digest is wrong")
        return content

    def digest(self, data: bytes) -> bytes:
        """Make a digest."""
        return hashlib.sha256(data).digest()[: self.size]


def read_size(parameters: Mapping[str, str | None]) -> int:
    """Read the one parameter that there is."""
    size = int(parameters.get("size") or 0)
    if len(parameters) > 1 or not 1 <= size <= 32:
        raise ValueError("there must be a size of 1 to 32")
    return size

"""The shortcut for whole data frames: what the engine asks of it.

A lane takes plain frames (final, text or binary, no reserved bit, whole in the buffer)
straight to messages and back, and leaves everything else to wsproto. It must be
provably equal to wsproto on what it takes.
"""

from __future__ import annotations

from typing import Protocol


class Lane(Protocol):
    """Decodes and encodes plain messages without wsproto."""

    def decode(
        self, data: bytes, start: int, *, is_client: bool, limit: int, max_size: float
    ) -> tuple[list[str | bytes], int]:
        """Take messages from received bytes, from a frame boundary on.

        Args:
            data: Received bytes.
            start: Where the boundary is.
            is_client: Whether we are the client: then frames come unmasked.
            limit: The most messages to take.
            max_size: The largest payload to take, in bytes.

        Returns:
            The messages, and the position behind the last of them. The lane stops at
            the first frame that is anything but a plain message.

        """
        ...

    def encode(self, message: str | bytes, masking_key: bytes | None) -> bytes | None:
        """Build the one frame of a message, or None to leave it to wsproto.

        Raises:
            UnicodeEncodeError: If text has surrogates that UTF-8 cannot carry.

        """
        ...

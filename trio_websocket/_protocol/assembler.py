"""Pieces become messages; the limits on size and number of fragments.

The engine reports a message in pieces, one or more for each frame. Here they are
joined. A limit is looked at before a piece is kept, on what its frame announces, so
that a message which is too big costs no more memory than the limit and one receive.

Pieces may be as small as a peer likes, down to nothing. Keeping each would cost far
more memory than the bytes that it holds, so small ones are joined as they come.
"""

from __future__ import annotations

from .events import Piece

# Autobahn 9.3.1 and 9.4.1 send 65,537 frames a message, so the limit must be above
# that; each costs the peer two bytes at least and us a few microseconds.
MAX_FRAGMENTS = 131_072

_JOIN_EVERY = 64  # pieces: few enough to cost no memory, many enough to join in bulk


class MessageTooBig(Exception):
    """The message that is being received passes a limit.

    Attributes:
        problem: Which limit, in words.

    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Assembler:
    """Joins the pieces of one message after the other."""

    def __init__(self, max_size: float) -> None:
        self._max_size = max_size
        self._text: list[str] = []
        self._joined: list[str] = []
        self._binary = bytearray()
        self._size = 0
        self._fragments = 0

    def add(self, piece: Piece) -> str | bytes | None:
        """Take the next piece.

        Returns:
            The message if this piece ends it, else None.

        Raises:
            MessageTooBig: If the message has more bytes (before decoding) or more
                frames than allowed; the piece is not kept.

        """
        self._check(piece)
        if isinstance(piece.data, str):
            return self._add_text(piece.data, is_last=piece.is_last)
        return self._add_binary(piece.data, is_last=piece.is_last)

    def _check(self, piece: Piece) -> None:
        if self._size + piece.size + piece.pending > self._max_size:
            msg = f"Exceeded maximum message size: {self._max_size} bytes"
            raise MessageTooBig(msg)
        if self._fragments + piece.begins_frame > MAX_FRAGMENTS:
            msg = f"Exceeded maximum number of fragments: {MAX_FRAGMENTS}"
            raise MessageTooBig(msg)
        self._size += piece.size
        self._fragments += piece.begins_frame

    def _add_text(self, text: str, *, is_last: bool) -> str | None:
        if is_last and not self._text and not self._joined:
            self._restart()
            return text
        if text:
            self._text.append(text)
        if is_last:
            message = "".join(self._joined) + "".join(self._text)
            self._restart()
            return message
        if len(self._text) >= _JOIN_EVERY:
            self._joined.append("".join(self._text))
            self._text.clear()
        return None

    def _add_binary(self, data: bytes, *, is_last: bool) -> bytes | None:
        if is_last and not self._binary:
            self._restart()
            return data
        self._binary += data
        if not is_last:
            return None
        message = bytes(self._binary)
        self._restart()
        return message

    def _restart(self) -> None:
        self._text.clear()
        self._joined.clear()
        self._binary = bytearray()
        self._size = 0
        self._fragments = 0

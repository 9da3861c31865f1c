"""Pieces become messages; the limits on size and number of fragments.

The engine reports a message in pieces, one or more for each frame. Here they are
joined. A limit is looked at before a piece is kept, on what its frame announces, so
that a message which is too big costs no more memory than the limit and one receive.

Pieces may be as small as a peer likes, down to nothing. Keeping each would cost far
more memory than the bytes that it holds, so they are joined a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from .events import Piece

_Part = TypeVar("_Part", bound=str | bytes)

# Autobahn 9.3.1 and 9.4.1 send 65,537 frames a message, so the limit must be above
# that; each costs the peer two bytes at least and us a few microseconds.
MAX_FRAGMENTS = 131_072

_JOIN_EVERY = 64  # few enough to cost no memory, many enough to join large ones once


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
        self._text: _Parts[str] = _Parts("".join)
        self._binary: _Parts[bytes] = _Parts(b"".join)
        self._is_text = False
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
        is_whole = piece.is_last and not self._fragments
        self._check(piece)
        if piece.is_last:
            self._size = self._fragments = 0
        if is_whole:
            return piece.data
        self._is_text = isinstance(piece.data, str)
        if isinstance(piece.data, str):
            self._text.add(piece.data)
            return self._text.take() if piece.is_last else None
        self._binary.add(piece.data)
        return self._binary.take() if piece.is_last else None

    @property
    def is_amid_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._fragments > 0

    def hand_on(self) -> tuple[str | bytes, int]:
        """Return what is here of the message that has begun, and its size in bytes.

        The rest of the message is for somebody else.
        """
        size, self._size, self._fragments = self._size, 0, 0
        return (self._text.take() if self._is_text else self._binary.take()), size

    def _check(self, piece: Piece) -> None:
        if self._size + piece.size + piece.pending > self._max_size:
            msg = f"Exceeded maximum message size: {self._max_size} bytes"
            raise MessageTooBig(msg)
        if self._fragments + piece.begins_frame > MAX_FRAGMENTS:
            msg = f"Exceeded maximum number of fragments: {MAX_FRAGMENTS}"
            raise MessageTooBig(msg)
        self._size += piece.size
        self._fragments += piece.begins_frame


class _Parts(Generic[_Part]):
    """What is here of one message, in order."""

    def __init__(self, join: Callable[[list[_Part]], _Part]) -> None:
        self._join = join
        self._joined: list[_Part] = []
        self._recent: list[_Part] = []

    def add(self, part: _Part) -> None:
        if part:
            self._recent.append(part)
        if len(self._recent) == _JOIN_EVERY:
            self._joined.append(self._join(self._recent))
            self._recent.clear()

    def take(self) -> _Part:
        """Make the message and forget its parts."""
        message = self._join(self._joined + self._recent)
        self._joined.clear()
        self._recent.clear()
        return message

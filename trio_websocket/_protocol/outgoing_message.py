"""One message on its way out in several frames (RFC 6455 section 5.4).

wsproto is not asked for these frames: it takes text only as characters, and a fragment
may end within one. Control frames between them still come from there, which does not
depend on what message is being sent.

A message that was compressed is compressed as a whole and cut afterwards; one whose
parts leave as they come is flushed after each part, so that the peer can inflate what
it has got (RFC 7692 section 7.2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .deflate import Deflator
from .frame_header import Opcode
from .lane import Lane
from .sliced_frame import SlicedFrame, build_frame

_COMPRESSED = 4  # RSV1

DrawKey = Callable[[], bytes | None]


class OutgoingMessage:
    """The frames of one message."""

    __slots__ = ("_deflator", "_draw_key", "_lane", "_opcode", "_rsv")

    def __init__(
        self,
        opcode: Opcode,
        draw_key: DrawKey,
        *,
        lane: Lane | None,
        deflator: Deflator | None,
    ) -> None:
        """Begin a message.

        Args:
            opcode: Text or binary.
            draw_key: Gives a masking key for each frame, or None on a server.
            lane: What masks, if there is one.
            deflator: What compresses it; None if it is sent as it is.

        """
        self._opcode = opcode
        self._draw_key = draw_key
        self._lane = lane
        self._deflator = deflator
        self._rsv = 0 if deflator is None else _COMPRESSED

    def build(
        self, data: bytes | memoryview, *, is_last: bool, max_size: int | None = None
    ) -> Iterator[bytes | SlicedFrame]:
        """Build the frames of a part of the message, if it can be told in parts.

        All of them are to be sent, in order.

        Args:
            data: The part. A view of bytes is borrowed until the frames were used.
            is_last: Whether the message ends with it.
            max_size: How many bytes of payload a frame may have; None puts all into
                one.

        """
        content = self._encode(data, is_last=is_last)
        size = max_size or len(content) or 1
        starts = range(0, len(content) or 1, size)
        for start in starts:
            # No name for a slice: it would keep the caller's buffer while this waits.
            yield self._build_frame(
                content if len(starts) == 1 else content[start : start + size],
                fin=is_last and start == starts[-1],
            )

    def _encode(self, data: bytes | memoryview, *, is_last: bool) -> bytes | memoryview:
        """Compress a part, if the message is to be compressed."""
        if self._deflator is None:
            return data
        return self._deflator.compress(data, is_last=is_last)

    def _build_frame(
        self, payload: bytes | memoryview, *, fin: bool
    ) -> bytes | SlicedFrame:
        frame = build_frame(
            self._opcode,
            payload,
            self._draw_key(),
            self._lane,
            fin=fin,
            rsv=self._rsv,
        )
        self._opcode, self._rsv = Opcode.CONTINUATION, 0
        return frame

"""A compressed message on its way in, turned into plain fragments (RFC 7692).

Theory of operation
===================

wsproto judges messages, but cannot stop in the middle of inflating one. So it never
sees a compressed frame: what such a frame holds is inflated here, a bounded part at a
time. Where there is no lane, each part becomes a plain fragment that wsproto is given
instead (``make_fragment``); it looks at the order of fragments and at text as it always
does. Otherwise the part is told at once (``tell``), and wsproto gets a recap if there
is something to be judged.

Of each frame at least one part is told, so that empty frames are counted; and none is
told behind the last.
"""

from __future__ import annotations

from .deflate import BadCompression, Inflator
from .events import Piece
from .frame_header import FrameHeader, Opcode, build_header, mask_payload
from .part_decoder import NO_MASK, PartDecoder

CHUNK_SIZE = 4096  # bytes: of what is compressed, at once
STEP_SIZE = 32_768  # bytes: of what comes into being, at once
# The same of messages that are here in one frame: most of them are small.
WHOLE_STEP_SIZE = 262_144
_MAX_WHOLE_SIZE = 65_536


class Inflation:
    """One compressed message.

    Attributes:
        decoder: What is known of the parts that were told.
        size: How many bytes have come into being.
        left: How many bytes of the present frame were not taken yet.
        has_more: Whether more can come into being without more bytes.
        has_told: Whether any of the message was told.
        is_done: Whether the message is whole.

    """

    __slots__ = (
        "_inflator",
        "_is_masked",
        "_is_told",
        "_key",
        "_pending",
        "_position",
        "_takes_end",
        "decoder",
        "has_more",
        "has_told",
        "is_done",
        "left",
        "size",
    )

    def __init__(self, inflator: Inflator, opcode: int, *, is_masked: bool) -> None:
        self._inflator = inflator
        self.decoder: PartDecoder = PartDecoder(opcode)
        self._is_masked = is_masked
        self.size: int = 0
        self.left: int = 0
        self.has_more: bool = False
        self.has_told: bool = False
        self.is_done: bool = False
        self._takes_end = False
        self._is_told = False
        self._key: bytes | None = None
        self._position = 0
        self._pending: tuple[bytes | BadCompression, bool] | None = None

    def is_whole(self, here: int) -> bool:
        """Whether the message is one frame, not too large and all of it here.

        Args:
            here: How many bytes of the frame, or behind it, are here.

        """
        is_untouched = not (self._position or self.size or self._is_told)
        is_only = self._takes_end and not self.has_told
        return is_untouched and is_only and self.left <= min(here, _MAX_WHOLE_SIZE)

    def read(self, data: bytes) -> str | bytes | None:
        """Read the whole message; None if it is text and not UTF-8."""
        if self.decoder.opcode == Opcode.BINARY:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            return None

    @property
    def is_amid_frame(self) -> bool:
        """Whether something of the present frame is still to be told."""
        return not self.is_done and (
            self.left > 0 or self.has_more or not self._is_told
        )

    def begin_frame(self, frame: FrameHeader) -> None:
        """Take note of the header of the next frame of the message."""
        self.left = frame.payload_length
        self._takes_end = frame.fin
        self._key = frame.masking_key
        self._position = 0
        self._is_told = False

    def resume(
        self, frame: FrameHeader, result: bytes | BadCompression, *, is_done: bool
    ) -> None:
        """Take over a message in one frame that was inflated by somebody else.

        Args:
            frame: The header of its frame, all of which was used.
            result: What has come into being, and is told next; or what is wrong.
            is_done: Whether that is all.

        """
        self.begin_frame(frame)
        self.left = 0
        self.has_more = True
        self._pending = result, is_done

    def inflate(self, chunk: bytes, max_size: int, step: int = STEP_SIZE) -> bytes:
        """Inflate some of the present frame.

        Args:
            chunk: Bytes of its payload as they came; none if ``has_more``.
            max_size: The largest message that is wanted: a part ends where the message
                becomes larger. 0 is no limit.
            step: The most bytes that may come into being.

        Raises:
            BadCompression: If it cannot be inflated.

        """
        if self._pending is not None:
            return self._take_pending(*self._pending)
        room = max_size + 1 - self.size
        limit = min(step, room) if room > 0 and max_size else step
        is_last = self._takes_end and self.left == len(chunk)
        data = self._inflator.inflate(self._unmask(chunk), limit, is_last=is_last)
        self.left -= len(chunk)
        self.size += len(data)
        self.has_more = len(data) == limit
        self.is_done = is_last and not self.has_more
        return data

    def _take_pending(
        self,
        result: bytes | BadCompression,
        is_done: bool,  # noqa: FBT001  # it was kept like this
    ) -> bytes:
        self._pending = None
        if isinstance(result, BadCompression):
            raise result
        self.size = len(result)
        self.has_more = not is_done
        self.is_done = is_done
        return result

    def needs_telling(self, data: bytes) -> bool:
        """Whether what has come into being is to be told, be it nothing."""
        is_frame_over = not (self.left or self.has_more)
        return bool(data or self.is_done or (is_frame_over and not self._is_told))

    def tell(self, data: bytes) -> Piece:
        """Tell what has come into being.

        Raises:
            UnicodeDecodeError: If it is text and not UTF-8. Nothing has changed then.

        """
        decoded = self.decoder.decode(data, is_last=self.is_done)
        begins_frame = not self._is_told
        self._is_told = self.has_told = True
        return Piece(decoded, len(data), 0, begins_frame, self.is_done)

    def make_fragment(self, data: bytes, *, is_first: bool) -> bytes:
        """Make a plain fragment of what has come into being.

        Args:
            data: That.
            is_first: Whether wsproto knows nothing of the message.

        """
        self._is_told = self.has_told = True
        header = build_header(
            self.decoder.opcode if is_first else Opcode.CONTINUATION,
            len(data),
            fin=self.is_done,
            masking_key=NO_MASK if self._is_masked else None,
        )
        return header + data

    def _unmask(self, chunk: bytes) -> bytes:
        if self._key is None:
            return chunk
        turn = self._position % len(self._key)
        self._position += len(chunk)
        return mask_payload(chunk, self._key[turn:] + self._key[:turn])

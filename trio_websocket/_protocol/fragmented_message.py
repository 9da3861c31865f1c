"""A message that is told in parts, as its plain frames arrive, past wsproto.

Theory of operation
===================

wsproto copies each payload several times, which a message of gigabytes has no time for.
So where there is a lane, frames of which wsproto would take no notice but to pass their
payload on are taken here: no reserved bit, masked as the role demands, the length in
its shortest form, and in the order that RFC 6455 section 5.4 wants. What arrives of one
is unmasked, text is decoded as far as it goes, and the result is told at once.

What is wrong with a message is for wsproto to say. It has not seen this one, so before
it judges, it gets a recap (see ``part_decoder``); what follows goes to it as it came,
until the message ends.
"""

from __future__ import annotations

from .events import Piece
from .frame_header import FrameHeader, Opcode, build_header
from .lane import Lane
from .part_decoder import NO_MASK, PartDecoder


class FragmentedMessage:
    """One message of which no frame was seen by wsproto.

    Attributes:
        decoder: What is known of the parts that were told.
        left: How many bytes of the present frame were not told.
        is_told: Whether something of the present frame was told, if only its size.

    """

    __slots__ = ("_frame", "_lane", "decoder", "is_told", "left")

    def __init__(self, opcode: int, lane: Lane) -> None:
        self.decoder: PartDecoder = PartDecoder(opcode)
        self.left: int = 0
        self.is_told: bool = True
        self._lane = lane

    @property
    def is_amid_frame(self) -> bool:
        """Whether something of the present frame is still to be told."""
        return self.left > 0 or not self.is_told

    def begin_frame(self, frame: FrameHeader) -> None:
        """Take note of the header of the next frame."""
        self._frame = frame
        self.left = frame.payload_length
        self.is_told = False

    def unmask(self, data: bytes | memoryview, start: int) -> bytes:
        """Return what is here of the present frame, as its sender meant it.

        Args:
            data: Received bytes.
            start: Where those begin that were not taken yet.

        """
        with memoryview(data) as view, view[start : start + self.left] as part:
            key = self._frame.masking_key
            if key is None:
                return bytes(part)
            turn = (self._frame.payload_length - self.left) % len(key)
            unmasked = bytearray(len(part))
            turned = key[turn:] + key[:turn]
            self._lane.mask(unmasked, part, 0, len(part), turned)
            return bytes(unmasked)

    def tell(self, part: bytes) -> Piece:
        """Tell the next part of the present frame.

        Raises:
            UnicodeDecodeError: If it is text and not UTF-8. Nothing has changed then.

        """
        left = self.left - len(part)
        is_last = self._frame.fin and not left
        data = self.decoder.decode(part, is_last=is_last)
        begins_frame = not self.is_told
        self.left, self.is_told = left, True
        return Piece(data, len(part), left, begins_frame, is_last)

    def restart(self, part: bytes, *, is_masked: bool) -> bytes:
        """Make a frame of what is left of the present one, as far as it is here.

        Args:
            part: What is here.
            is_masked: Whether wsproto expects a mask.

        """
        key = NO_MASK if is_masked else None
        header = build_header(
            Opcode.CONTINUATION, self.left, fin=self._frame.fin, masking_key=key
        )
        return header + part

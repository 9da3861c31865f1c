"""The parts of a message that wsproto has not seen, turned into text or bytes.

wsproto is the judge of what is wrong. It can take over at any point, if it is told
first what it has to know (``recap``): that a message of this kind has begun, and which
bytes of an unfinished character came last.
"""

from __future__ import annotations

import codecs

from .frame_header import Opcode, build_header

NO_MASK = bytes(4)


class PartDecoder:
    """What is known of one message after the parts that were decoded.

    Attributes:
        opcode: Text or binary.

    """

    __slots__ = ("_decoder", "opcode")

    def __init__(self, opcode: int) -> None:
        self.opcode: Opcode = Opcode(opcode)
        self._decoder: codecs.IncrementalDecoder | None = None
        if opcode == Opcode.TEXT:
            self._decoder = codecs.getincrementaldecoder("utf-8")()

    def decode(self, part: bytes, *, is_last: bool) -> str | bytes:
        """Decode the next part.

        Raises:
            UnicodeDecodeError: If it is text and not UTF-8. Nothing has changed then.

        """
        if self._decoder is None:
            return part
        return self._decoder.decode(part, final=is_last)

    def recap(self, *, is_masked: bool) -> bytes:
        """Make the frame that tells wsproto what came before.

        Args:
            is_masked: Whether wsproto expects a mask.

        """
        rest = b"" if self._decoder is None else self._decoder.getstate()[0]
        key = NO_MASK if is_masked else None
        header = build_header(self.opcode, len(rest), fin=False, masking_key=key)
        return header + rest

"""Frames that extensions have to decode, on their way in (RFC 6455 section 9.1).

Theory of operation
===================

wsproto sees plain frames only. A frame that an extension has to decode is collected
until it is whole, and if the message has to be decoded too, the message is. For each
frame wsproto gets a plain fragment instead, so that it judges the order of the
fragments, and the text, as it always does, and so that the limits act:

* a frame that is not here yet is announced by an empty fragment; the fragment tells how
  large the message will be at least;
* a frame of a message that must be collected becomes an empty fragment, but the last
  one has all of the message;
* the frame of any other message becomes a fragment with what was decoded.

A message over the limit is told as such, and no more of it is collected. It is never
decoded, and the extensions may count on having seen it; so if the connection goes on
all the same, it fails at the next frame that they would have to decode. Likewise behind
an exception that says of a mistake in the program.

While we wait for the peer's Close nobody wants messages, and nothing is decoded any
more.
"""

from __future__ import annotations

from typing import NamedTuple

from .extension_stack import BadExtended, ExtensionStack
from .frame_header import FrameHeader, Opcode, build_header, mask_payload

_NO_MASK = bytes(4)
_TOO_BIG = 1009, "extensions cannot pass over a message over the limit"
_BROKEN = 1011, "an extension has failed before"


class Fragment(NamedTuple):
    """What wsproto is given.

    Attributes:
        data: A plain frame.
        size: How many bytes of the message it stands for.
        pending: How many more the message will have at least.

    """

    data: bytes
    size: int
    pending: int


class Intake:
    """What is here of a frame, and of the message that it belongs to.

    Attributes:
        missing: How many bytes of the present frame were not taken yet.

    """

    __slots__ = (
        "_fault",
        "_frame",
        "_is_collecting",
        "_is_masked",
        "_is_told",
        "_message",
        "_next_opcode",
        "_opcode",
        "_payload",
        "_rsv",
        "_stack",
        "missing",
    )

    def __init__(self, stack: ExtensionStack, *, is_masked: bool) -> None:
        self._stack = stack
        self._is_masked = is_masked
        self._fault: tuple[int, str] | None = None
        self._frame: FrameHeader | None = None
        self._payload = bytearray()
        self._is_told = False
        self.missing: int = 0
        # Of the message: what it is (None between messages) and what was decoded.
        self._opcode: int | None = None
        self._next_opcode = 0
        self._rsv = 0
        self._is_collecting = False
        self._message = bytearray()

    def takes(self, first: int, *, is_amid_message: bool) -> bool:
        """Whether a frame that begins with such a byte has to be decoded.

        What breaks the rules has not: wsproto gets it as it is and says what is wrong.

        Args:
            first: The first byte of the frame.
            is_amid_message: Whether there is a message that has begun, decoded or not.

        """
        opcode, rsv = first & 0x0F, first >> 4 & 0x07
        if opcode == Opcode.CONTINUATION:
            return self._opcode is not None and not rsv & ~self._stack.frame_bits
        if is_amid_message or opcode not in (Opcode.TEXT, Opcode.BINARY):
            return False
        is_needed = self._stack.has_frame_level or self._stack.decodes(rsv)
        return is_needed and self._stack.allows(rsv)

    @property
    def is_amid_frame(self) -> bool:
        """Whether something of the present frame is still to be told."""
        return self._frame is not None

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing to do before there are more bytes."""
        return self._is_told and self.missing > 0

    def begin_frame(self, frame: FrameHeader) -> None:
        """Take note of the header of a frame that has to be decoded."""
        self._frame = frame
        self._is_told = False
        self.missing = frame.payload_length
        if self._opcode is None:
            self._opcode = self._next_opcode = frame.opcode
            self._rsv = frame.rsv
            self._is_collecting = self._stack.decodes(frame.rsv)

    def add(self, chunk: bytes, max_size: int, *, is_wanted: bool) -> Fragment | None:
        """Take bytes of the present frame.

        Args:
            chunk: As many as are here; none to have the frame announced, or if it is
                empty.
            max_size: The largest message that is wanted.
            is_wanted: Whether messages are wanted at all.

        Returns:
            What wsproto is to be given; None if nothing.

        Raises:
            BadExtended: If the frame or the message cannot be decoded.
            TypeError: If an extension returns what it may not.

        """
        if is_wanted and self._fault is not None:
            raise BadExtended(*self._fault)
        frame = self._frame
        assert frame is not None
        self.missing -= len(chunk)
        size = len(self._message) + frame.payload_length
        if size > max_size or not is_wanted:
            self._give_up()
        if self._fault is None:
            self._payload += chunk
        if self.missing:
            return None if self._is_told else self._tell(b"", pending=size)
        self._frame = None
        if self._fault is not None:
            return self._tell_size(size, is_last=frame.fin)
        return self._decode(frame, max_size)

    def _decode(self, frame: FrameHeader, max_size: int) -> Fragment:
        """Decode a whole frame, and the message if it is whole with that."""
        payload = bytes(self._payload)
        self._payload.clear()
        if frame.masking_key is not None:
            payload = mask_payload(payload, frame.masking_key)
        self._fault = _BROKEN  # unless all goes well
        data = self._stack.decode_frame(
            frame.opcode, payload, fin=frame.fin, rsv=frame.rsv
        )
        if not self._is_collecting:
            self._fault = None
            return self._tell(data, size=len(data), is_last=frame.fin)
        self._message += data
        size = len(self._message)
        if frame.fin and size <= max_size:
            data = self._decode_message(max_size)
            size = len(data)
        if size > max_size:
            self._give_up()
            return self._tell_size(size, is_last=frame.fin)
        self._fault = None
        if frame.fin:
            return self._tell(data, size=size, is_last=True)
        return self._tell(b"", pending=size)

    def _decode_message(self, max_size: int) -> bytes:
        return self._stack.decode_message(
            "text" if self._opcode == Opcode.TEXT else "bytes",
            bytes(self._message),
            rsv=self._rsv,
            max_size=max_size,
        )

    def _give_up(self) -> None:
        self._fault = _TOO_BIG
        self._payload.clear()
        self._message.clear()

    def _tell_size(self, size: int, *, is_last: bool) -> Fragment:
        """Tell of a message that is not decoded how large it is."""
        if is_last:
            return self._tell(b"", size=size, is_last=True)
        return self._tell(b"", pending=size)

    def _tell(
        self, data: bytes, *, size: int = 0, pending: int = 0, is_last: bool = False
    ) -> Fragment:
        self._is_told = True
        header = build_header(
            self._next_opcode,
            len(data),
            fin=is_last,
            masking_key=_NO_MASK if self._is_masked else None,
        )
        self._next_opcode = Opcode.CONTINUATION
        if is_last:
            self._opcode = None
            self._message.clear()
        return Fragment(header + data, size, pending)

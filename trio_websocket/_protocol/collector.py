"""A plain frame that is still arriving, collected past wsproto.

Theory of operation
===================

The lane takes frames that are whole. A frame whose header is plain and whose payload is
not here yet is collected in one buffer: what comes is put behind what is there, or
received straight into it, is unmasked in place, and becomes a message with one copy.
To keep the parts and join them would touch each byte twice.

The result is that of wsproto, at the same moment:

* text is checked part by part, so bad UTF-8 is found as soon as it is here. It is only
  checked: keeping what was decoded would cost far more than its bytes if the parts are
  small. The whole is decoded when it is there;
* who finds bad UTF-8 hands what was collected back as it came off the wire, in two
  parts, the last of which holds the fault: wsproto then reports it as it always would.

A peer chooses what a header announces, so no buffer is made of that size at once unless
one is at hand: it grows with what has come, by doubling. A buffer that served a large
message is kept for the next one, because fresh memory is slow: the system hands it out
page by page. One is kept in a process, and whoever finds none makes one.
"""

from __future__ import annotations

import codecs

from .frame_header import FrameHeader, Opcode, build_header
from .lane import Lane

_FIRST_SIZE = 131_072  # bytes: what a header alone can make us hold
_MAX_SPARE_SIZE = 4_194_304  # bytes: what a process keeps for the next large message

_spare_buffers: list[bytearray] = []


class Collector:
    """The payload of one frame.

    Attributes:
        frame: The header of the frame.
        is_invalid: Whether it is text, and what is here of it cannot be UTF-8.

    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_filled",
        "_lane",
        "_latest",
        "frame",
        "is_invalid",
    )

    def __init__(self, frame: FrameHeader, lane: Lane) -> None:
        self.frame = frame
        self.is_invalid: bool = False
        self._lane = lane
        self._buffer = _borrow(frame.payload_length)
        self._filled = 0
        self._latest = 0
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def missing(self) -> int:
        """How many bytes of the payload are not here."""
        return self.frame.payload_length - self._filled

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the payload is missing."""
        return self._filled == self.frame.payload_length

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to wait for: the message or the fault is here."""
        return self.is_whole or self.is_invalid

    def add(self, data: bytes | memoryview, start: int) -> int:
        """Take what belongs to the frame and return the position behind it."""
        size = min(len(data) - start, self.frame.payload_length - self._filled)
        end = start + size
        with memoryview(data) as view, self.vacancy(size) as vacancy:
            vacancy[:] = view[start:end]
        self.fill(size)
        return end

    def vacancy(self, size: int) -> memoryview:
        """Return where the next bytes of the payload belong, to write them there.

        The view must be released before anything else is asked of the collector.

        Args:
            size: How many bytes may come at most.

        """
        end = min(self._filled + size, self.frame.payload_length)
        while len(self._buffer) < end:
            missing = self.frame.payload_length - len(self._buffer)
            self._buffer += bytes(min(len(self._buffer), missing))
        return memoryview(self._buffer)[self._filled : end]

    def fill(self, size: int) -> None:
        """Take note that the vacancy holds so many bytes now, as they came."""
        start, end = self._filled, self._filled + size
        self._latest, self._filled = start, end
        self._turn_mask(start, end)
        if self.frame.opcode == Opcode.TEXT and not self.is_invalid:
            with memoryview(self._buffer) as view:
                self._check_text(bytes(view[start:end]))

    def take(self) -> str | bytes:
        """Make the message and give the buffer back."""
        size = self.frame.payload_length
        with memoryview(self._buffer) as buffer, buffer[:size] as view:
            is_text = self.frame.opcode == Opcode.TEXT
            message = str(view, "utf-8") if is_text else bytes(view)
        _give_back(self._buffer)
        return message

    def hand_on(self) -> bytes:
        """Return what is here of the payload and give the buffer back."""
        with memoryview(self._buffer) as view:
            part = bytes(view[: self._filled])
        _give_back(self._buffer)
        return part

    def give_up(self) -> tuple[bytes, bytes]:
        """Return what came off the wire: all but the latest part, and that."""
        self._turn_mask(0, self._filled)
        frame = self.frame
        header = build_header(
            frame.opcode, frame.payload_length, masking_key=frame.masking_key
        )
        with memoryview(self._buffer) as view:
            earlier = header + view[: self._latest]
            latest = bytes(view[self._latest : self._filled])
        return earlier, latest

    def _turn_mask(self, start: int, end: int) -> None:
        key = self.frame.masking_key
        if key is not None:
            with memoryview(self._buffer) as buffer, buffer[start:end] as part:
                self._lane.mask(part, buffer, start, end, key)

    def _check_text(self, part: bytes) -> None:
        if self._decoder is None:
            if part.isascii():
                return
            self._decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            self._decoder.decode(part, final=self.is_whole)
        except UnicodeDecodeError:
            self.is_invalid = True


def _borrow(size: int) -> bytearray:
    """Return a buffer that is as large as asked, or as a stranger may make it."""
    if _FIRST_SIZE < size <= _MAX_SPARE_SIZE:
        try:
            buffer = _spare_buffers.pop()
        except IndexError:
            pass  # in use, or never needed before
        else:
            if len(buffer) >= size:
                return buffer
    return bytearray(min(size, _FIRST_SIZE))


def _give_back(buffer: bytearray) -> None:
    """Keep a buffer for the next large message, unless there is one."""
    if _FIRST_SIZE < len(buffer) <= _MAX_SPARE_SIZE and not _spare_buffers:
        _spare_buffers.append(buffer)

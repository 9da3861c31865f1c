"""One frame as a value, and bytes that become such values (RFC 6455 section 5.2).

Connections do not work with these; they are for programs that test or build protocols.
A frame that cannot be on the wire cannot be made; frames that break the rules between
them, such as a continuation of nothing, can.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .._close_reason import check_close
from .frame_header import (
    MAX_CONTROL_PAYLOAD,
    MAX_HEADER_SIZE,
    FrameHeader,
    Opcode,
    build_header,
    mask_payload,
    measure_shortest,
    parse_header,
)

_FIRST_CONTROL_OPCODE = 8
_LAST_OPCODE = 15
_KEY_SIZE = 4
_MAX_LENGTH = 2**63 - 1
_SHOWN_SIZE = 30


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame (RFC 6455 section 5.2).

    Attributes:
        opcode: What the frame is: an `Opcode`, or 3 to 7 and 11 to 15, which no
            standard uses.
        payload: The data, never masked. Anything bytes-like becomes bytes.
        fin: Whether it is the last frame of its message.
        rsv1: A bit that only an extension gives a meaning; so are the next two.
        rsv2: See ``rsv1``.
        rsv3: See ``rsv1``.
        masking_key: The four bytes that the payload is masked with on the wire, or None
            if it is not masked.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If the opcode needs more than four bits, the key has not four bytes,
            or a control frame is not final or has more than 125 bytes.

    """

    opcode: int
    payload: bytes | bytearray | memoryview = b""
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False
    masking_key: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "opcode", _check_opcode(self.opcode))
        object.__setattr__(self, "payload", bytes(memoryview(self.payload)))
        key = self.masking_key
        if key is not None and len(memoryview(key)) != _KEY_SIZE:
            raise ValueError(f"a masking key has four bytes, not {len(key)}")
        if self.is_control and not self.fin:
            raise ValueError("a control frame cannot be a fragment")
        if self.is_control and len(self.payload) > MAX_CONTROL_PAYLOAD:
            size = len(self.payload)
            raise ValueError(f"a control frame has 125 bytes at most, not {size}")

    def __str__(self) -> str:
        """Describe the frame in a line, with the first 30 bytes of its payload."""
        words = [_name_opcode(self.opcode)]
        words += [] if self.fin else ["to be continued"]
        words += [name for name in ("rsv1", "rsv2", "rsv3") if getattr(self, name)]
        if self.masking_key is not None:
            words.append(f"masked with {self.masking_key.hex()}")
        payload = bytes(self.payload)
        more = "..." if len(payload) > _SHOWN_SIZE else ""
        size = f"{len(payload)} byte{'' if len(payload) == 1 else 's'}"
        return f"{', '.join(words)}, {size}: {payload[:_SHOWN_SIZE]!r}{more}"

    @property
    def is_control(self) -> bool:
        """Whether it is a Close, ping, pong, or of an opcode kept for such."""
        return self.opcode >= _FIRST_CONTROL_OPCODE

    @property
    def is_fragment(self) -> bool:
        """Whether it is a part of a message only."""
        return not self.fin or self.opcode == Opcode.CONTINUATION

    def pack(self) -> bytes:
        """Write the frame as it stands on the wire."""
        payload = bytes(self.payload)
        header = build_header(
            self.opcode,
            len(payload),
            fin=self.fin,
            rsv=self.rsv1 << 2 | self.rsv2 << 1 | self.rsv3,
            masking_key=self.masking_key,
        )
        if self.masking_key is None:
            return header + payload
        return header + mask_payload(payload, self.masking_key)

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> Frame:
        """Read the bytes of one frame.

        Raises:
            ValueError: If they break the rules, or are not one frame exactly.

        """
        parser = FrameParser(max_payload_size=math.inf)
        frames = parser.feed(data)
        if len(frames) != 1 or not parser.is_between_frames:
            raise ValueError("the bytes are not exactly one frame")
        return frames[0]

    @classmethod
    def close(cls, code: int | None = None, reason: str = "") -> Frame:
        """Make a Close frame (RFC 6455 section 5.5.1).

        Args:
            code: A close code that may be sent; None makes an empty frame.
            reason: A text for people, cut at 123 bytes of UTF-8.

        Raises:
            TypeError: If a value has the wrong type, or there is a reason but no code.
            ValueError: If the code may not be sent.

        """
        checked, text = check_close(code, reason)
        head = b"" if checked is None else checked.to_bytes(2, "big")
        return cls(Opcode.CLOSE, head + text.encode())

    def fragment(self, size: int) -> list[Frame]:
        """Cut the frame into fragments that together say the same.

        The first has the opcode and the reserved bits, the last has ``fin`` if this
        frame has it. None of them has a masking key, as each needs one of its own.

        Args:
            size: The most bytes of payload that each may have.

        Raises:
            TypeError: If it is a control frame.
            ValueError: If the size is less than 1.

        """
        if self.is_control:
            raise TypeError("a control frame cannot be cut into fragments")
        if size < 1:
            raise ValueError(f"a fragment has 1 byte or more, not {size}")
        payload = bytes(self.payload)
        parts = [payload[at : at + size] for at in range(0, len(payload), size)]
        first, *others = parts or [b""]
        fragments = [
            replace(self, payload=first, fin=False, masking_key=None),
            *(Frame(Opcode.CONTINUATION, part, fin=False) for part in others),
        ]
        fragments[-1] = replace(fragments[-1], fin=self.fin)
        return fragments

    def unmask(self) -> Frame:
        """Return the same frame without a masking key."""
        return replace(self, masking_key=None)


class FrameParser:
    """Bytes in, frames out.

    Behind bytes that break the rules nothing is read any more: every further call
    raises the same error.

    Args:
        is_masked: Whether every frame must be masked (those of a client), or None must
            (those of a server); None takes both.
        max_payload_size: The most bytes that a payload may have; `math.inf` means no
            limit. It is judged by the header.

    """

    def __init__(
        self, *, is_masked: bool | None = None, max_payload_size: float = 2**20
    ) -> None:
        self._is_masked = is_masked
        self._max_payload_size = max_payload_size
        self._data = bytearray()
        self._problem: str | None = None

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing of a frame was fed of which the end is missing."""
        return not self._data

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take bytes off the wire and return the frames that they complete.

        Raises:
            ValueError: If no frame comes before bytes that break the rules for a single
                frame (RFC 6455 section 5.2), or before a payload over the limit.

        """
        if self._problem is None:
            self._data += data
            frames = self._take_frames()
            if frames or self._problem is None:
                return frames
        raise ValueError(self._problem)

    def _take_frames(self) -> list[Frame]:
        position = 0
        frames: list[Frame] = []
        try:
            for frame, size in self._read():
                frames.append(frame)
                position += size
        except ValueError as error:
            self._problem = str(error)
            position = len(self._data)
        del self._data[:position]
        return frames

    def _read(self) -> Iterator[tuple[Frame, int]]:
        position = 0
        while True:
            header = parse_header(self._data[position : position + MAX_HEADER_SIZE])
            if header is None:
                return
            self._check(header)
            start = position + header.size
            end = start + header.payload_length
            if end > len(self._data):
                return
            yield _build(header, bytes(self._data[start:end])), end - position
            position = end

    def _check(self, header: FrameHeader) -> None:
        if header.payload_length > _MAX_LENGTH:
            raise ValueError("the length of the frame has its highest bit set")
        if header.size != measure_shortest(header):
            raise ValueError("the length of the frame is not in its shortest form")
        is_masked = header.masking_key is not None
        if self._is_masked is not None and is_masked != self._is_masked:
            raise ValueError(f"the frame is {'' if is_masked else 'not '}masked")
        if header.payload_length > self._max_payload_size:
            raise ValueError(
                f"the frame has {header.payload_length} bytes, which are more than"
                f" {self._max_payload_size}"
            )
        # A control frame that breaks the rules need not be waited for.
        if header.opcode >= _FIRST_CONTROL_OPCODE:
            if not header.fin:
                raise ValueError("a control frame cannot be a fragment")
            if header.payload_length > MAX_CONTROL_PAYLOAD:
                size = header.payload_length
                raise ValueError(f"a control frame has 125 bytes at most, not {size}")


def _build(header: FrameHeader, payload: bytes) -> Frame:
    key = header.masking_key
    return Frame(
        header.opcode,
        payload if key is None else mask_payload(payload, key),
        fin=header.fin,
        rsv1=bool(header.rsv & 4),
        rsv2=bool(header.rsv & 2),
        rsv3=bool(header.rsv & 1),
        masking_key=key,
    )


def _check_opcode(opcode: object) -> int:
    if not isinstance(opcode, int) or isinstance(opcode, bool):
        raise TypeError(f"an opcode must be an int, not {type(opcode).__name__}")
    if not 0 <= opcode <= _LAST_OPCODE:
        raise ValueError(f"an opcode is 0 to 15, not {opcode}")
    try:
        return Opcode(opcode)
    except ValueError:
        return opcode


def _name_opcode(opcode: int) -> str:
    return opcode.name if isinstance(opcode, Opcode) else f"opcode {opcode}"

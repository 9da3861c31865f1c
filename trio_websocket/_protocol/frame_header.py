"""The header of a frame: 2 to 14 bytes (RFC 6455 section 5.2).

Reading a header tells where a frame ends and what it says of itself; whether that is
allowed is for the engine to judge.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

MAX_CONTROL_PAYLOAD = 125  # RFC 6455 section 5.5
MAX_HEADER_SIZE = 14
MAX_PAYLOAD = 2**63 - 1  # RFC 6455 section 5.2

_FIN = 0x80
_RSV_SHIFT = 4
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH = 0x7F
_TWO_BYTE_LENGTH = 126
_EIGHT_BYTE_LENGTH = 127


class Opcode(IntEnum):
    """The kinds of frames (RFC 6455 section 11.8)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class FrameHeader(NamedTuple):
    """What the first bytes of a frame say; a tuple, because one is made for each.

    Attributes:
        fin: Whether this is the last frame of its message.
        rsv: The three reserved bits, RSV1 as the highest: 0 to 7.
        opcode: The number on the wire, 0 to 15, known or not.
        payload_length: Bytes of payload that follow the header.
        masking_key: The four bytes of the key, or None for an unmasked frame.
        size: Bytes of the header itself, 2 to 14.

    """

    fin: bool
    rsv: int
    opcode: int
    payload_length: int
    masking_key: bytes | None
    size: int


def measure_header(second_byte: int) -> int:
    """Tell from the second byte of a frame how many bytes its header has."""
    length = second_byte & _LENGTH
    size = 2
    if length == _TWO_BYTE_LENGTH:
        size += 2
    elif length == _EIGHT_BYTE_LENGTH:
        size += 8
    return size + 4 if second_byte & _MASKED else size


def measure_shortest(frame: FrameHeader) -> int:
    """Tell how many bytes a header needs; a longer one breaks the rules."""
    size = 2 if frame.masking_key is None else 6
    if frame.payload_length <= MAX_CONTROL_PAYLOAD:
        return size
    return size + 2 if frame.payload_length <= 0xFFFF else size + 8


def may_become_shortest(head: bytes | bytearray | memoryview) -> bool:
    """Tell whether a header of which bytes are missing does not break the rules yet.

    That is: whether its length, if it is here, is written in the shortest form.

    Args:
        head: Two bytes of it at least.

    """
    code = head[1] & _LENGTH
    if code == _TWO_BYTE_LENGTH and len(head) >= 4:
        return bytes(head[2:4]) > b"\x00\x7d"
    if code == _EIGHT_BYTE_LENGTH and len(head) >= 10:
        length = int.from_bytes(head[2:10], "big")
        return 0xFFFF < length <= MAX_PAYLOAD
    return True


def parse_header(data: bytes | bytearray | memoryview) -> FrameHeader | None:
    """Read the header that begins at the first byte.

    Returns:
        The header, or None while bytes of it are missing. Nothing is judged: reserved
        bits, unknown opcodes and lengths written too long are reported as they are.

    """
    if len(data) < 2:
        return None
    size = measure_header(data[1])
    if len(data) < size:
        return None
    masked = bool(data[1] & _MASKED)
    length_end = size - 4 if masked else size
    length = data[1] & _LENGTH
    if length_end > 2:
        length = int.from_bytes(data[2:length_end], "big")
    return FrameHeader(
        fin=bool(data[0] & _FIN),
        rsv=(data[0] >> _RSV_SHIFT) & 0x07,
        opcode=data[0] & _OPCODE,
        payload_length=length,
        masking_key=bytes(data[length_end:size]) if masked else None,
        size=size,
    )


def build_header(
    opcode: int,
    payload_length: int,
    *,
    fin: bool = True,
    rsv: int = 0,
    masking_key: bytes | None = None,
) -> bytes:
    """Write a header with the shortest length that fits (RFC 6455 section 5.2)."""
    first = (_FIN if fin else 0) | rsv << _RSV_SHIFT | opcode
    flag = 0 if masking_key is None else _MASKED
    if payload_length <= MAX_CONTROL_PAYLOAD:
        head = bytes([first, flag | payload_length])
    elif payload_length <= 0xFFFF:
        head = bytes([first, flag | _TWO_BYTE_LENGTH])
        head += payload_length.to_bytes(2, "big")
    else:
        head = bytes([first, flag | _EIGHT_BYTE_LENGTH])
        head += payload_length.to_bytes(8, "big")
    return head + (masking_key or b"")


def mask_payload(payload: bytes, masking_key: bytes) -> bytes:
    """Mask or unmask a whole payload: the two are the same (RFC 6455 section 5.3)."""
    if not payload:
        return b""
    size = len(payload)
    key = (masking_key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return masked.to_bytes(size, "big")

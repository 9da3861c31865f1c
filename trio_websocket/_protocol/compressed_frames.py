"""The lane of compressed messages, each in one frame (RFC 7692).

A lane cuts and builds the frames, many in one call; what is in them is zlib's, one
message after the other. What a lane takes is what ``inflation`` would make of it, step
by step: whoever meets trouble with a message hands it on to that, with what has come
into being already.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import cast

from .deflate import Codec
from .lane import Lane

Encode = Callable[[str | bytes, bytes | None], bytes]

MAX_SIZE = 65_536  # bytes, as they came: larger ones are inflated step by step

_TEXT = 0xC1  # final, with RSV1, and the opcode
_BINARY = 0xC2
FIRST_BYTES = (_TEXT, _BINARY)


def make_encode(lane: Lane, codec: Codec) -> Encode | None:
    """Make what builds the frame of a message that is compressed if it is worth it."""
    if codec.deflator is None:
        return None
    # Not a method of the engine, which would then have to be found by the collector.
    encode, wrap = lane.encode, lane.wrap
    compress, threshold = codec.deflator.compress, codec.threshold

    def encode_compressed(message: str | bytes, masking_key: bytes | None) -> bytes:
        if isinstance(message, str):
            first, data = _TEXT, message.encode()
        else:
            first, data = _BINARY, message
        if len(data) < threshold:
            return encode(message, masking_key)
        return wrap(first, compress(data), masking_key)

    return encode_compressed


def decode_all(first: int, parts: list[bytes]) -> list[str | bytes]:
    """Make messages of what was inflated, up to the first that is not UTF-8.

    Args:
        first: The first byte of their frames.
        parts: What was inflated.

    """
    if first == _BINARY:
        return cast("list[str | bytes]", parts)
    messages: list[str | bytes] = []
    with suppress(UnicodeDecodeError):
        for part in parts:
            messages.append(part.decode())  # noqa: PERF401  # keeps those before it
    return messages

"""What the tests of the lanes share: which lanes there are, and frames made slowly."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from wsproto.connection import ConnectionType

from trio_websocket._protocol.frame_header import Opcode, build_header, mask_payload
from trio_websocket._protocol.lane import Lane, choose_lane

COMPILED = "trio_websocket._protocol._speedups"
# The lanes by their names; the compiled one is skipped where it was not built.
NAMES = [
    "python",
    pytest.param(
        "c",
        marks=pytest.mark.skipif(
            find_spec(COMPILED) is None, reason="the compiled lane was not built"
        ),
    ),
]
KEY = b"\x9a\x00\xff\x42"
MANY = sys.maxsize

# The borders of the three forms of a length, and of what a lane does in another way.
LENGTHS = [0, 1, 2, 125, 126, 127, 1023, 1024, 1025, 8192, 8193, 65535, 65536, 65537]

VALID_TEXTS = {
    "nul": "\0",
    "one_byte": "\x7f",
    "two_bytes": "\x80\u07ff",
    "three_bytes": "\u0800\ud7ff\ue000\uffff",
    "four_bytes": "\U00010000\U0010ffff",
    "byte_order_mark": "\ufeffx",
    "mixed": "aé€😀" * 300,
}


def find_lane(name: str) -> Lane:
    lane = choose_lane(name)
    assert lane is not None
    return lane


def find_key(side: ConnectionType) -> bytes | None:
    """Find the key of frames that come to that side."""
    return None if side is ConnectionType.CLIENT else KEY


def build_frame(
    opcode: int, payload: bytes, key: bytes | None, *, fin: bool = True, rsv: int = 0
) -> bytes:
    header = build_header(opcode, len(payload), fin=fin, rsv=rsv, masking_key=key)
    return header + (payload if key is None else mask_payload(payload, key))


def build(message: str | bytes, key: bytes | None) -> bytes:
    """Build the plain frame of a message."""
    if isinstance(message, str):
        return build_frame(Opcode.TEXT, message.encode(), key)
    return build_frame(Opcode.BINARY, message, key)


class ViewingLane:
    """A lane that is given views, whether or not it would ask for them."""

    def __init__(self, lane: Lane) -> None:
        self.name = lane.name
        self.decodes_views = True
        self.decode = lane.decode
        self.encode = lane.encode
        self.cut = lane.cut
        self.wrap = lane.wrap
        self.encode_batch = lane.encode_batch
        self.mask = lane.mask

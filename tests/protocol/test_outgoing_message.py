from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from trio_websocket._protocol.deflate import Deflator
from trio_websocket._protocol.frame_header import Opcode, mask_payload, parse_header
from trio_websocket._protocol.lane import PYTHON_LANE, Lane
from trio_websocket._protocol.outgoing_message import OutgoingMessage
from trio_websocket._protocol.sliced_frame import SLICE_SIZE, SlicedFrame
from trio_websocket.testing import RawFrame

from .lanes import NAMES, find_lane

TAIL = b"\x00\x00\xff\xff"
Frames = list[bytes | SlicedFrame]


@pytest.fixture(params=[None, *NAMES])
def lane(request: pytest.FixtureRequest) -> Lane | None:
    """What masks, if anything does."""
    name = request.param
    return None if name is None else find_lane(str(name))


class Keys:
    """Another masking key for each frame, or none."""

    def __init__(self, *, is_client: bool) -> None:
        self._count = itertools.count(1)
        self._is_client = is_client

    def draw(self) -> bytes | None:
        number = next(self._count)
        return number.to_bytes(4, "little") if self._is_client else None


def begin(
    opcode: Opcode = Opcode.BINARY,
    lane: Lane | None = PYTHON_LANE,
    *,
    is_client: bool = True,
    deflator: Deflator | None = None,
) -> OutgoingMessage:
    keys = Keys(is_client=is_client)
    return OutgoingMessage(opcode, keys.draw, lane=lane, deflator=deflator)


def read(frames: Frames) -> list[RawFrame]:
    """Read what stands on the wire, without its masks."""
    read: list[RawFrame] = []
    keys: list[bytes | None] = []
    for wire in map(bytes, frames):
        header = parse_header(wire)
        assert header is not None
        payload, key = wire[header.size :], header.masking_key
        assert header.payload_length == len(payload)
        read.append(
            RawFrame(
                header.opcode,
                payload if key is None else mask_payload(payload, key),
                fin=header.fin,
                rsv=header.rsv,
                is_masked=key is not None,
            )
        )
        keys.append(key)
    assert keys[0] is None or len(set(keys)) == len(keys)
    return read


def join(frames: Sequence[RawFrame]) -> bytes:
    return b"".join(frame.payload for frame in frames)


def make_deflator(*, is_taken_over: bool = True) -> Deflator:
    return Deflator(15, is_taken_over=is_taken_over, level=6, mem_level=8)


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_parts_become_frames(
    lane: Lane | None, opcode: Opcode, *, is_client: bool
) -> None:
    message = begin(opcode, lane, is_client=is_client)
    frames = [*message.build(b"one", is_last=False)]
    frames += message.build(memoryview(b"two"), is_last=False)
    frames += message.build(b"", is_last=True)
    assert read(frames) == [
        RawFrame(opcode, b"one", fin=False, is_masked=is_client),
        RawFrame(Opcode.CONTINUATION, b"two", fin=False, is_masked=is_client),
        RawFrame(Opcode.CONTINUATION, b"", fin=True, is_masked=is_client),
    ]


@given(size=st.integers(0, 50), max_size=st.integers(1, 60))
def test_a_message_is_cut_into_frames_of_a_size(size: int, max_size: int) -> None:
    """S-33, S-34."""
    data = bytes(range(size))
    frames = read([*begin().build(data, is_last=True, max_size=max_size)])
    assert join(frames) == data
    assert len(frames) == max(1, -(-size // max_size))
    assert all(len(frame.payload) == max_size for frame in frames[:-1])
    assert [frame.fin for frame in frames] == [False] * (len(frames) - 1) + [True]
    opcodes = [frame.opcode for frame in frames]
    assert opcodes == [Opcode.BINARY] + [Opcode.CONTINUATION] * (len(frames) - 1)


@pytest.mark.parametrize("max_size", [None, SLICE_SIZE, SLICE_SIZE + 1, 10**30])
@pytest.mark.parametrize("is_client", [True, False])
def test_large_parts_are_the_same_with_any_lane(
    lane: Lane | None, max_size: int | None, *, is_client: bool
) -> None:
    data = bytes(range(251)) * 1500
    parts: list[bytes | memoryview] = [data, memoryview(data)]
    for part in parts:
        message = begin(lane=lane, is_client=is_client)
        frames = [*message.build(part, is_last=True, max_size=max_size)]
        assert join(read(frames)) == data
        is_large = max_size != SLICE_SIZE and lane is not None
        assert isinstance(frames[0], SlicedFrame) is is_large


@pytest.mark.parametrize("is_taken_over", [True, False])
@pytest.mark.parametrize("max_size", [None, 1, 7])
def test_parts_that_are_compressed_can_be_inflated_as_they_come(
    *, is_taken_over: bool, max_size: int | None
) -> None:
    """S-69: RSV1 is on the first frame only."""
    deflator = make_deflator(is_taken_over=is_taken_over)
    inflator = zlib.decompressobj(-15)
    for _ in range(3):
        message = begin(deflator=deflator)
        frames: list[RawFrame] = []
        for part in (b"first " * 10, b"second " * 10):
            frames += read([*message.build(part, is_last=False, max_size=max_size)])
            here = b"".join(frame.payload for frame in frames)
            probe = inflator.copy().decompress(here)
            assert probe.endswith(part)
        frames += read([*message.build(b"", is_last=True, max_size=max_size)])
        assert [frame.rsv for frame in frames] == [4] + [0] * (len(frames) - 1)
        assert frames[-1].fin
        data = inflator.decompress(join(frames) + TAIL)
        assert data == b"first " * 10 + b"second " * 10
        if not is_taken_over:
            inflator = zlib.decompressobj(-15)


def test_a_message_of_nothing_can_be_compressed() -> None:
    frames = read([*begin(deflator=make_deflator()).build(b"", is_last=True)])
    assert frames == [RawFrame(Opcode.BINARY, b"\x00", fin=True, rsv=4, is_masked=True)]

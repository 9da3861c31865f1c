from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.lane import PYTHON_LANE, Lane
from trio_websocket._protocol.sliced_frame import (
    SLICE_SIZE,
    SlicedFrame,
    build_frame,
)

KEY = b"\x37\xfa\x21\x3d"
KEYS = pytest.mark.parametrize("key", [KEY, None])
SIZES = [0, 1, 125, 126, 65_535, 65_536, SLICE_SIZE, 3 * SLICE_SIZE + 1]
PATTERN = bytes(range(251))  # a prime, so that no slice looks like another


def make_payload(size: int) -> bytes:
    return (PATTERN * (size // 251 + 1))[:size]


def make(
    payload: bytes, key: bytes | None, opcode: Opcode = Opcode.BINARY
) -> SlicedFrame:
    return SlicedFrame(opcode, payload, key, LANE or PYTHON_LANE)


def cut(frame: SlicedFrame, position: int) -> bytes:
    with frame.cut(position, bytearray(b"\xa5" * SLICE_SIZE)) as part:
        return bytes(part)


def cut_all(frame: SlicedFrame) -> bytes:
    parts: list[bytes] = []
    while (position := sum(map(len, parts))) < len(frame):
        parts.append(cut(frame, position))
        assert 0 < len(parts[-1]) <= 2 * SLICE_SIZE
    return b"".join(parts)


@KEYS
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_text", [True, False])
def test_the_slices_are_the_frame(
    size: int, key: bytes | None, *, is_text: bool
) -> None:
    payload = make_payload(size)
    frame = make(payload, key)
    message: str | bytes = payload
    if is_text:
        message = "\u20ac" * (size // 3) + "x" * (size % 3)
        frame = make(message.encode(), key, Opcode.TEXT)
    wire = PYTHON_LANE.encode(message, key)
    assert cut_all(frame) == wire
    assert len(frame) == len(wire)


@KEYS
def test_a_frame_may_be_cut_at_any_position_near_its_header(key: bytes | None) -> None:
    payload = make_payload(300_000)
    frame, wire = make(payload, key), PYTHON_LANE.encode(payload, key)
    for position in range(40):
        part = cut(frame, position)
        assert part == wire[position : position + len(part)]
        assert len(part) > SLICE_SIZE - 15


@KEYS
@pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
def test_a_small_frame_may_be_cut_at_any_position(size: int, key: bytes | None) -> None:
    payload = make_payload(size)
    frame, wire = make(payload, key), PYTHON_LANE.encode(payload, key)
    for position in range(len(wire)):
        assert cut(frame, position) == wire[position:]


LARGE = make_payload(3 * SLICE_SIZE)


@given(
    positions=st.lists(st.integers(0, len(LARGE) + 13), min_size=1),
    key=st.none() | st.binary(min_size=4, max_size=4),
)
def test_a_frame_may_be_cut_at_any_positions_in_any_order(
    positions: list[int], key: bytes | None
) -> None:
    """With one scratch for all, as those who write have it."""
    frame, wire = make(LARGE, key), PYTHON_LANE.encode(LARGE, key)
    scratch = bytearray(SLICE_SIZE)
    for position in positions:
        if position < len(frame):
            with frame.cut(position, scratch) as part:
                assert part == wire[position : position + len(part)]
                assert len(part) > min(SLICE_SIZE, len(frame) - position) - 15


def test_what_needs_no_mask_is_not_copied() -> None:
    frame = make(LARGE, None)
    scratch = bytearray(SLICE_SIZE)
    with frame.cut(SLICE_SIZE, scratch) as part:
        assert part.obj is LARGE
    assert not any(scratch)


# What is borrowed.


def borrow(data: bytearray, key: bytes | None) -> SlicedFrame:
    return SlicedFrame(Opcode.BINARY, memoryview(data), key, LANE or PYTHON_LANE)


@KEYS
def test_a_borrowed_buffer_is_a_payload(key: bytes | None) -> None:
    frame = borrow(bytearray(LARGE), key)
    assert cut_all(frame) == bytes(frame) == PYTHON_LANE.encode(LARGE, key)


def test_no_view_of_a_borrowed_buffer_is_handed_out() -> None:
    data = bytearray(LARGE)
    frame = borrow(data, None)
    scratch = bytearray(SLICE_SIZE)
    for position in (0, SLICE_SIZE):
        with frame.cut(position, scratch) as part:
            assert part.obj is scratch


@KEYS
def test_a_frame_that_owns_its_payload_has_let_go_of_the_buffer(
    key: bytes | None,
) -> None:
    data = bytearray(LARGE)
    frame = borrow(data, key)
    with pytest.raises(BufferError):
        data.clear()
    frame.own()
    frame.own()
    frame.let_go()
    data.clear()
    assert bytes(frame) == PYTHON_LANE.encode(LARGE, key)


def test_a_frame_may_let_go_of_the_buffer() -> None:
    data = bytearray(LARGE)
    frame = borrow(data, KEY)
    frame.let_go()
    data.clear()
    with pytest.raises(ValueError, match="released"):
        cut(frame, 0)


# Frames past wsproto.


@KEYS
@pytest.mark.parametrize("size", [0, 1, 126, SLICE_SIZE, SLICE_SIZE + 1])
@pytest.mark.parametrize("lane", [None, PYTHON_LANE, LANE])
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_a_frame_is_the_same_with_any_lane(
    size: int,
    key: bytes | None,
    lane: Lane | None,
    kind: type[bytes | memoryview],
) -> None:
    data = make_payload(size)
    frame = build_frame(Opcode.BINARY, kind(data), key, lane)
    assert bytes(frame) == PYTHON_LANE.encode(data, key)
    is_sliced = lane is not None and size > SLICE_SIZE
    assert isinstance(frame, SlicedFrame) is is_sliced


@pytest.mark.parametrize("size", [3, SLICE_SIZE + 1])
def test_a_frame_may_be_one_of_several(size: int) -> None:
    frame = build_frame(
        Opcode.TEXT, make_payload(size), KEY, PYTHON_LANE, fin=False, rsv=4
    )
    assert bytes(frame)[0] == 0x41

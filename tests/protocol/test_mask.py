"""Masking in both lanes: exclusive or with the key over and over."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from operator import methodcaller

import pytest
from hypothesis import given, strategies as st

from trio_websocket._protocol.lane import Lane

from .lanes import KEY, NAMES, find_lane

# From where on a lane may do it in another way: words, vectors, large integers.
LENGTHS = [*range(71), 127, 128, 8191, 8192, 8193, 8195, 65_537]


@pytest.fixture(params=NAMES)
def lane(request: pytest.FixtureRequest) -> Lane:
    return find_lane(str(request.param))


def mask(payload: bytes, start: int, stop: int) -> bytes:
    """Mask a part of a payload, slowly."""
    return bytes(payload[i] ^ KEY[i % 4] for i in range(start, stop))


def make_payload(size: int) -> bytes:
    return bytes(i * 7 % 256 for i in range(size))


def test_masking_is_as_in_the_example_of_the_rfc(lane: Lane) -> None:
    # RFC 6455 section 5.7
    target = bytearray(5)
    lane.mask(target, b"Hello", 0, 5, bytes.fromhex("37fa213d"))
    assert target == bytes.fromhex("7f 9f 4d 51 58")


@pytest.mark.parametrize("phase", range(5))
def test_the_key_begins_where_the_position_in_the_payload_says(
    lane: Lane, phase: int
) -> None:
    for length in LENGTHS:
        payload = make_payload(phase + length)
        target = bytearray(length)
        lane.mask(target, payload, phase, phase + length, KEY)
        assert target == mask(payload, phase, phase + length)


@pytest.mark.parametrize("source", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("target", [bytearray, memoryview])
def test_a_payload_is_read_and_written_in_whatever_holds_it(
    lane: Lane,
    source: Callable[[bytes], bytes | bytearray | memoryview],
    target: Callable[[bytearray], bytearray | memoryview],
) -> None:
    place = target(bytearray(20))
    lane.mask(place, source(make_payload(20)), 3, 17, KEY)
    assert bytes(place) == mask(make_payload(20), 3, 17) + bytes(6)


@pytest.mark.parametrize("phase", range(5))
def test_a_payload_is_masked_in_place(lane: Lane, phase: int) -> None:
    for length in LENGTHS:
        payload = make_payload(phase + length)
        memory = bytearray(payload)
        with memoryview(memory) as view, view[phase:] as part:
            lane.mask(part, view, phase, phase + length, KEY)
        assert memory == payload[:phase] + mask(payload, phase, phase + length)


@pytest.mark.parametrize("gap", [1, 3, 8, 13, 31])
@pytest.mark.parametrize("length", [1, 12, 100, 9000])
def test_a_payload_is_masked_to_a_place_that_overlaps_it(
    lane: Lane, gap: int, length: int
) -> None:
    payload = make_payload(gap + length)
    memory = bytearray(payload)
    with memoryview(memory) as view, view[gap:] as part:
        lane.mask(part, view, 0, length, KEY)
    assert memory == payload[:gap] + mask(payload, 0, length)
    memory = bytearray(payload)
    lane.mask(memory, memory, gap, gap + length, KEY)
    assert memory == mask(payload, gap, gap + length) + payload[length:]


@pytest.mark.parametrize("offset", range(1, 16))
def test_memory_need_not_be_aligned(lane: Lane, offset: int) -> None:
    payload = make_payload(200)
    memory = bytearray(300)
    with memoryview(payload)[offset:] as source, memoryview(memory)[offset * 3 :] as to:
        lane.mask(to, source, 0, 100, KEY)
    masked = memory[offset * 3 : offset * 3 + 100]
    assert masked == mask(payload[offset:], 0, 100)
    assert not any(memory[: offset * 3])
    assert not any(memory[offset * 3 + 100 :])


def test_nothing_is_written_behind_the_part(lane: Lane) -> None:
    for length in LENGTHS:
        target = bytearray(b"?" * (length + 9))
        lane.mask(target, make_payload(length), 0, length, KEY)
        assert target[length:] == b"?" * 9


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (-1, 3),
        (-4, 0),
        (0, -1),
        (3, 2),
        (0, 9),
        (9, 9),
        (0, sys.maxsize),
        (-sys.maxsize, sys.maxsize),
        (-sys.maxsize - 1, 0),
        (2**70, 2**70),
        (-(2**70), 1),
        (0, 2**70),
    ],
)
def test_a_part_that_is_not_in_the_payload_is_refused(
    lane: Lane, start: int, stop: int
) -> None:
    target = bytearray(b"?" * 20)
    with pytest.raises(ValueError, match="range is not within both buffers"):
        lane.mask(target, bytes(8), start, stop, KEY)
    assert target == b"?" * 20


def test_a_target_that_is_too_small_is_refused(lane: Lane) -> None:
    with pytest.raises(ValueError, match="range is not within both buffers"):
        lane.mask(bytearray(3), bytes(8), 2, 6, KEY)


@pytest.mark.parametrize("key", [b"", KEY[:3], KEY + b"\0"])
def test_a_key_of_another_size_is_refused(lane: Lane, key: bytes) -> None:
    with pytest.raises(ValueError, match="masking key must have four bytes"):
        lane.mask(bytearray(8), bytes(8), 0, 8, key)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (bytearray(8), bytes(8), 0, 8),
        (bytearray(8), bytes(8), 0, 8, KEY, None),
        (bytes(8), bytes(8), 0, 8, KEY),
        (memoryview(bytes(8)), bytes(8), 0, 8, KEY),
        (None, bytes(8), 0, 8, KEY),
        (bytearray(8), "x" * 8, 0, 8, KEY),
        (bytearray(8), None, 0, 8, KEY),
        (bytearray(8), bytes(8), 0.0, 8, KEY),
        (bytearray(8), bytes(8), 0, None, KEY),
        (bytearray(8), bytes(8), 0, 8, "1234"),
        (bytearray(8), bytes(8), 0, 8, None),
    ],
    ids=str,
)
def test_an_argument_of_another_type_is_refused(
    lane: Lane, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(TypeError):
        methodcaller("mask", *arguments)(lane)


def test_no_buffer_is_held_afterwards(lane: Lane) -> None:
    target, source = bytearray(8), bytearray(8)
    lane.mask(target, source, 0, 8, KEY)
    with pytest.raises(ValueError, match="range"):
        lane.mask(target, source, 0, 9, KEY)
    target.clear()
    source.clear()


@given(
    payload=st.binary(max_size=100) | st.sampled_from([8195, 9001]).map(make_payload),
    key=st.binary(min_size=4, max_size=4),
    cuts=st.lists(st.integers(0, 9000), max_size=3),
)
@pytest.mark.parametrize("name", NAMES)
def test_masking_part_by_part_and_again_makes_no_difference(
    name: str, payload: bytes, key: bytes, cuts: list[int]
) -> None:
    lane = find_lane(name)
    cuts = sorted(cut % (len(payload) + 1) for cut in cuts)
    whole = bytearray(len(payload))
    lane.mask(whole, payload, 0, len(payload), key)
    memory = bytearray(payload)
    with memoryview(memory) as view:
        for start, stop in pairwise([0, *cuts, len(payload)]):
            lane.mask(view[start:stop], view, start, stop, key)
    assert memory == whole
    lane.mask(memory, whole, 0, len(whole), key)
    assert memory == payload

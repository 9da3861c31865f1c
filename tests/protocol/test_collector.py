from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from hypothesis import given, strategies as st
from wsproto.connection import ConnectionType

from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.collector import Collector
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import Pause, ViolationFound
from trio_websocket._protocol.frame_header import (
    FrameHeader,
    Opcode,
    build_header,
    parse_header,
)
from trio_websocket._protocol.lane import PYTHON_LANE

from .lanes import KEY, build, build_frame, find_key

needs_tracemalloc = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="memory is traced by CPython only"
)

KEYS = pytest.mark.parametrize("key", [KEY, None], ids=["masked", "unmasked"])
MESSAGES: dict[str, str | bytes] = {
    "one_byte": b"\xff",
    "bytes": bytes(range(256)),
    "ascii": "0123456789" * 13,
    "late": "x" * 130 + "\u00e9\u20ac\U0001f600",
    "mixed": "a\u00e9\u20ac\U0001f600" * 13,
}
MEBIBYTE = 2**20


def parse(wire: bytes) -> FrameHeader:
    header = parse_header(wire)
    assert header is not None
    return header


def begin(frame: bytes) -> tuple[Collector, bytes]:
    """Begin to collect a frame; return what collects it and the payload to come."""
    header = parse(frame)
    return Collector(header, LANE or PYTHON_LANE), frame[header.size :]


def receive(collector: Collector, data: bytes) -> None:
    """Put bytes straight to their place."""
    while data:
        with collector.vacancy(len(data)) as vacancy:
            size = len(vacancy)
            vacancy[:] = data[:size]
        collector.fill(size)
        data = data[size:]


def collect(frame: bytes) -> str | bytes:
    collector, payload = begin(frame)
    receive(collector, payload)
    assert collector.is_whole
    assert not collector.is_invalid
    return collector.take()


# What comes becomes a message.


@KEYS
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("is_straight", [True, False])
def test_a_payload_may_be_cut_at_any_byte(
    message: str | bytes, key: bytes | None, *, is_straight: bool
) -> None:
    frame = build(message, key)
    for cut in range(len(frame) - parse(frame).size + 1):
        collector, payload = begin(frame)
        for part in (payload[:cut], payload[cut:]):
            if is_straight:
                receive(collector, part)
            else:
                assert collector.add(part, 0) == len(part)
        assert collector.is_whole
        assert not collector.is_invalid
        assert collector.take() == message


@KEYS
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_payload_may_come_byte_by_byte(
    message: str | bytes, key: bytes | None
) -> None:
    collector, payload = begin(build(message, key))
    for byte in payload:
        assert not collector.is_whole
        collector.add(bytes([byte]), 0)
    assert collector.take() == message


@KEYS
@given(
    message=st.text(min_size=1) | st.binary(min_size=1),
    sizes=st.lists(st.tuples(st.integers(1, 20), st.booleans())),
)
def test_a_payload_may_come_in_any_parts_by_either_way(
    message: str | bytes, key: bytes | None, sizes: list[tuple[int, bool]]
) -> None:
    collector, payload = begin(build(message, key))
    for size, is_straight in sizes:
        part, payload = payload[:size], payload[size:]
        if is_straight:
            receive(collector, part)
        else:
            collector.add(part, 0)
    collector.add(payload, 0)
    assert not collector.is_invalid
    assert collector.take() == message


@KEYS
def test_only_what_belongs_to_the_frame_is_taken(key: bytes | None) -> None:
    collector, payload = begin(build("a\u20ac" * 10, key))
    assert collector.add(b"before" + payload[:7], 6) == 13
    assert collector.add(payload[7:] + b"behind", 0) == len(payload) - 7
    assert collector.is_whole
    assert collector.take() == "a\u20ac" * 10


def test_there_is_no_more_vacancy_than_is_missing() -> None:
    collector, payload = begin(build(bytes(1000), None))
    for size, expected in [(100, 100), (1000, 1000), (5000, 1000)]:
        with collector.vacancy(size) as vacancy:
            assert len(vacancy) == expected
    receive(collector, payload[:999])
    with collector.vacancy(5000) as vacancy:
        assert len(vacancy) == 1


def test_a_vacancy_may_be_filled_in_part() -> None:
    collector, payload = begin(build(b"0123456789", KEY))
    for size in (1, 2, 3, 4):
        with collector.vacancy(10) as vacancy:
            vacancy[:size] = payload[:size]
        collector.fill(size)
        payload = payload[size:]
    assert collector.take() == b"0123456789"


@KEYS
@pytest.mark.parametrize("size", [131_071, 131_073, 300_000, MEBIBYTE, 5 * MEBIBYTE])
@pytest.mark.parametrize("is_text", [True, False])
def test_a_buffer_grows_with_what_comes(
    size: int, key: bytes | None, *, is_text: bool
) -> None:
    message: str | bytes = bytes(range(250)) * (size // 250 + 1)
    if is_text:
        message = "a\u20ac\u00e9b" * (size // 7 + 1)
    frame = PYTHON_LANE.encode(message, key)
    for part_size in (65_536, 262_144):
        collector, payload = begin(frame)
        for start in range(0, len(payload), part_size):
            receive(collector, payload[start : start + part_size])
        assert collector.take() == message
        collector, payload = begin(frame)
        for start in range(0, len(payload), part_size):
            collector.add(payload[start : start + part_size], 0)
        assert collector.take() == message


# Buffers that serve one message after the other.


@pytest.mark.parametrize("sizes", [(500_000, 200_000), (200_000, 500_000)])
def test_a_message_never_shows_bytes_of_another(sizes: tuple[int, int]) -> None:
    first, second = (b"1" * sizes[0], b"2" * sizes[1])
    for _ in range(3):
        assert collect(build(first, None)) == first
        taken = collect(build(second, None))
        assert taken == second
        collector, payload = begin(build(first, None))
        receive(collector, payload[:100_000])
        # What was taken does not change with the buffer that it was taken from.
        assert taken == second


def test_two_messages_that_come_at_once_do_not_mix() -> None:
    messages = [bytes([number]) * 400_000 for number in range(4)]
    collect(build(messages[0], None))  # so that a buffer is at hand
    begun = [begin(build(message, None)) for message in messages]
    for start in range(0, 400_000, 50_000):
        for collector, payload in begun:
            receive(collector, payload[start : start + 50_000])
    assert [collector.take() for collector, _ in begun] == messages
    assert [collect(build(message, None)) for message in messages] == messages


def test_a_message_that_never_came_whole_leaves_others_alone() -> None:
    message = b"x" * 400_000
    collect(build(message, None))
    collector, payload = begin(build(b"y" * 400_000, None))
    receive(collector, payload[:300_000])
    del collector
    assert collect(build(message, None)) == message


@contextmanager
def trace_memory() -> Generator[None]:
    import tracemalloc  # noqa: PLC0415  # only CPython has it

    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def read_memory() -> tuple[int, int]:
    """Tell how many bytes there are, and how many there were at most."""
    import tracemalloc  # noqa: PLC0415  # only CPython has it

    return tracemalloc.get_traced_memory()


@needs_tracemalloc
@pytest.mark.parametrize("size", [2**30, 2**40])
def test_a_header_alone_makes_nobody_hold_what_it_announces(size: int) -> None:
    header = parse(build_header(Opcode.BINARY, size))
    with trace_memory():
        collector = Collector(header, PYTHON_LANE)
        receive(collector, b"a little")
        with collector.vacancy(262_144) as vacancy:
            assert len(vacancy) == 262_144
        assert read_memory()[1] < MEBIBYTE
        for _ in range(16):
            receive(collector, bytes(65_536))
        assert read_memory()[0] < 2 * MEBIBYTE + 65_536
        # To grow a buffer may need the old one and the new one at once.
        assert read_memory()[1] < 4 * MEBIBYTE


def fill_all(collectors: list[Collector]) -> None:
    for collector in collectors:
        while not collector.is_whole:
            with collector.vacancy(MEBIBYTE) as vacancy:
                size = len(vacancy)
            collector.fill(size)


@needs_tracemalloc
def test_no_more_than_one_buffer_is_kept_and_none_that_is_very_large() -> None:
    collectors: list[Collector] = []
    with trace_memory():
        collectors = [
            Collector(parse(build_header(Opcode.BINARY, size)), PYTHON_LANE)
            for size in (3 * MEBIBYTE, 3 * MEBIBYTE, 16 * MEBIBYTE)
        ]
        fill_all(collectors)
        while collectors:
            assert collectors.pop().take()
        assert read_memory()[0] < 4 * MEBIBYTE + 65_536


# Text that is none.


PREFIXES = {"nothing": b"", "ascii": b"x" * 200, "more": "\u20ac".encode() * 70}
FAULTS = {
    "no_first_byte": b"\xff",
    "no_second_byte": b"\xe2x",
    "overlong": b"\xc0\x80",
    "surrogate": b"\xed\xa0\x80",
    "too_high": b"\xf4\x90\x80\x80",
    "lonely_continuation": b"\x80",
}


def find_violation(engine: Engine, frame: bytes) -> tuple[int, ViolationFound]:
    """Feed a header and a payload byte by byte; tell where the violation was found."""
    head_size = parse(frame).size
    engine.receive_data(frame[:head_size])
    for position in range(head_size, len(frame)):
        engine.receive_data(frame[position : position + 1])
        while True:
            event = engine.next_event(room=1, max_size=10_000)
            if isinstance(event, ViolationFound):
                return position, event
            if isinstance(event, Pause):
                break
    raise AssertionError("no violation was found")


@pytest.mark.parametrize("side", ConnectionType)
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("is_last", [True, False])
def test_bad_utf_8_is_found_at_the_byte_at_which_wsproto_finds_it(
    side: ConnectionType, prefix: bytes, fault: bytes, *, is_last: bool
) -> None:
    payload = prefix + fault + (b"" if is_last else b"behind")
    frame = build_frame(Opcode.TEXT, payload, find_key(side))
    is_client = side is ConnectionType.CLIENT
    found = [
        find_violation(Engine(is_client=is_client, lane=lane), frame)
        for lane in (None, LANE or PYTHON_LANE)
    ]
    assert found[0] == found[1]
    assert found[0][1].code == 1007


@pytest.mark.parametrize("character", ["\u00e9", "\u20ac", "\U0001f600"])
@pytest.mark.parametrize("side", ConnectionType)
def test_a_character_that_is_cut_off_by_the_end_is_found_with_the_end(
    side: ConnectionType, character: str
) -> None:
    is_client = side is ConnectionType.CLIENT
    for size in range(1, len(character.encode())):
        payload = b"x" * 130 + character.encode()[:size]
        frame = build_frame(Opcode.TEXT, payload, find_key(side))
        found = [
            find_violation(Engine(is_client=is_client, lane=lane), frame)
            for lane in (None, LANE or PYTHON_LANE)
        ]
        assert found[0] == found[1]
        assert found[0][0] == len(frame) - 1


def test_bytes_that_are_no_text_are_no_fault() -> None:
    collector, payload = begin(build(b"\xff" * 1000, KEY))
    collector.add(payload, 0)
    assert not collector.is_invalid


@KEYS
@pytest.mark.parametrize(
    "sizes", [(100,), (50, 1), (1, 1, 98), (3, 100, 1), (0, 7, 140)]
)
def test_what_is_given_up_is_what_came(key: bytes | None, sizes: tuple[int]) -> None:
    frame = build_frame(Opcode.TEXT, ("a\u20ac" * 60).encode(), key)
    collector, payload = begin(frame)
    start = 0
    for size in sizes:
        receive(collector, payload[start : start + size])
        start += size
    assert collector.give_up() == (
        frame[: len(frame) - len(payload) + start - sizes[-1]],
        payload[start - sizes[-1] : start],
    )


@KEYS
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_what_is_here_can_be_handed_on(message: str | bytes, key: bytes | None) -> None:
    data = message if isinstance(message, bytes) else message.encode()
    for cut in range(len(data) + 1):
        collector, payload = begin(build(message, key))
        receive(collector, payload[:cut])
        assert collector.hand_on() == data[:cut]


def test_the_buffer_of_what_was_handed_on_serves_again() -> None:
    payload = bytes(range(256)) * 4096
    for _ in range(3):
        collector, wire = begin(build(payload, KEY))
        receive(collector, wire[:-1])
        assert collector.hand_on() == payload[:-1]
        assert collect(build(payload, KEY)) == payload

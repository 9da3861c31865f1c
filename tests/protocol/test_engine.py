"""Bytes into one engine, events out, and the other way round.

What is said of any stream at all is in test_properties.py.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
import sys
from collections.abc import Callable, Generator
from typing import SupportsIndex, overload

import pytest
import wsproto.events
from wsproto.connection import Connection, ConnectionType
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from trio_websocket._protocol.assembler import Assembler, MessageTooBig
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import (
    CloseReceived,
    Event,
    MessageReceived,
    Pause,
    Piece,
    PingReceived,
    PongReceived,
    ViolationFound,
)
from trio_websocket._protocol.frame_header import (
    Opcode,
    build_header,
    mask_payload,
    parse_header,
)
from trio_websocket._protocol.lane import Lane
from trio_websocket._protocol.state import ConnectionState, Step

CLIENT, SERVER = ConnectionType
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
KEY = b"\x9a\x00\xff\x42"
LENGTHS = [0, 1, 125, 126, 65535, 65536]


@pytest.fixture(params=ConnectionType, ids=["client", "server"])
def side(request: pytest.FixtureRequest) -> ConnectionType:
    """The side of the engine under test."""
    side = request.param
    assert isinstance(side, ConnectionType)
    return side


def make_engine(side: ConnectionType, lane: Lane | None = None) -> Engine:
    return Engine(Connection(side), is_client=side is CLIENT, lane=lane)


def frame(
    side: ConnectionType, opcode: int, payload: bytes = b"", *, fin: bool = True
) -> bytes:
    """Make a frame such as the peer of that side sends."""
    key = None if side is CLIENT else KEY
    header = build_header(opcode, len(payload), fin=fin, masking_key=key)
    return header + (payload if key is None else mask_payload(payload, key))


def head(side: ConnectionType, opcode: int, length: int, *, fin: bool = True) -> bytes:
    """Make the header of such a frame, without its payload."""
    key = None if side is CLIENT else KEY
    return build_header(opcode, length, fin=fin, masking_key=key)


def ask(engine: Engine, *, has_room: bool = True) -> Event | Pause:
    return engine.next_event(room=int(has_room), max_size=sys.maxsize)


def feed(engine: Engine, *chunks: bytes, has_room: bool = True) -> list[Event | Pause]:
    """Tell all events of the chunks, received one by one, and the last pause."""
    events: list[Event | Pause] = []
    pause: Event | Pause = Pause.DATA
    for chunk in chunks:
        engine.receive_data(chunk)
        while not isinstance(pause := ask(engine, has_room=has_room), Pause):
            events.append(pause)
    return [*events, pause]


def whole(data: str | bytes, *, is_last: bool = True) -> Piece:
    """Make the piece that a frame makes when it comes in one go."""
    size = len(data.encode() if isinstance(data, str) else data)
    return Piece(data, size, pending=0, begins_frame=True, is_last=is_last)


# Frames of every kind.


@pytest.mark.parametrize("length", LENGTHS)
def test_a_data_frame_is_one_piece(side: ConnectionType, length: int) -> None:
    engine = make_engine(side)
    text = ("0123456789" * 6554)[:length]
    assert feed(engine, frame(side, TEXT, text.encode())) == [
        whole(text),
        Pause.DATA,
    ]
    assert feed(engine, frame(side, BINARY, text.encode())) == [
        whole(text.encode()),
        Pause.DATA,
    ]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_continuation_has_the_kind_of_its_message(
    side: ConnectionType, length: int
) -> None:
    engine = make_engine(side)
    for opcode, data in ((TEXT, "x" * length), (BINARY, b"y" * length)):
        payload = data.encode() if isinstance(data, str) else data
        assert feed(
            engine,
            frame(side, opcode, payload, fin=False),
            frame(side, CONTINUATION, payload, fin=False),
            frame(side, CONTINUATION, payload),
        ) == [
            whole(data, is_last=False),
            whole(data, is_last=False),
            whole(data),
            Pause.DATA,
        ]


@pytest.mark.parametrize("length", [0, 1, 125])
def test_a_control_frame_is_one_event(side: ConnectionType, length: int) -> None:
    engine = make_engine(side)
    payload = bytes(range(length))
    assert feed(engine, frame(side, PING, payload) + frame(side, PONG, payload)) == [
        PingReceived(payload),
        PongReceived(payload),
        Pause.DATA,
    ]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_each_frame_ends_where_its_header_says(
    side: ConnectionType, opcode: Opcode, length: int
) -> None:
    engine = make_engine(side)
    stream = frame(side, opcode, b"a" * length) + frame(side, PING, b"b")
    events = feed(engine, stream * 3)
    assert events[1::2] == [PingReceived(b"b")] * 3
    assert events[-1] is Pause.DATA
    assert not engine.has_undecoded


@pytest.mark.parametrize("length", [0, 1, 125, 126, 1000])
def test_a_frame_that_comes_byte_by_byte_is_the_same_message(
    side: ConnectionType, length: int
) -> None:
    engine, assembler = make_engine(side), Assembler(length)
    stream = frame(side, BINARY, b"z" * length)
    events = feed(engine, *(bytes([byte]) for byte in stream))
    messages = [assembler.add(event) for event in events if isinstance(event, Piece)]
    assert messages[-1] == b"z" * length
    assert set(messages[:-1]) <= {None}


def test_control_frames_may_stand_between_the_fragments_of_a_message(
    side: ConnectionType,
) -> None:
    # P3
    engine = make_engine(side)
    assert feed(
        engine,
        frame(side, TEXT, "a€".encode()[:2], fin=False),
        frame(side, PING, b"\xe2"),
        frame(side, CONTINUATION, b"", fin=False),
        frame(side, PONG, b""),
        frame(side, CONTINUATION, "a€".encode()[2:]),
    ) == [
        Piece("a", 2, 0, True, False),
        PingReceived(b"\xe2"),
        Piece("", 0, 0, True, False),
        PongReceived(b""),
        Piece("€", 2, 0, True, True),
        Pause.DATA,
    ]


def test_bytes_may_be_received_several_times_before_events_are_asked_for(
    side: ConnectionType,
) -> None:
    engine = make_engine(side)
    for byte in frame(side, PING, b"1") + frame(side, TEXT, b"2"):
        engine.receive_data(bytes([byte]))
    assert ask(engine) == PingReceived(b"1")
    engine.receive_data(frame(side, PONG, b"3"))
    assert feed(engine, b"") == [whole("2"), PongReceived(b"3"), Pause.DATA]


def test_the_engine_tells_whether_bytes_wait_to_be_decoded(
    side: ConnectionType,
) -> None:
    engine = make_engine(side)
    waiting: list[bool] = []
    for chunk in (b"", frame(side, PING) * 2):
        engine.receive_data(chunk)
        waiting.append(engine.has_undecoded)
    for _ in range(2):
        ask(engine)
        waiting.append(engine.has_undecoded)
    assert waiting == [False, True, True, False]


def test_received_bytes_may_be_changed_afterwards(side: ConnectionType) -> None:
    engine = make_engine(side)
    buffer = bytearray(frame(side, BINARY, b"abc"))
    engine.receive_data(buffer)
    buffer[:] = bytes(len(buffer))
    assert feed(engine, b"") == [whole(b"abc"), Pause.DATA]


def test_a_frame_with_a_length_of_63_bits_is_only_begun(side: ConnectionType) -> None:
    engine = make_engine(side)
    size = 2**63 - 1
    assert feed(engine, head(side, BINARY, size)) == [
        Piece(b"", 0, size, True, False),
        Pause.DATA,
    ]


# What the frames that are not here yet say of their size.


def test_a_header_without_payload_announces_its_size(side: ConnectionType) -> None:
    engine = make_engine(side)
    stream = frame(side, TEXT, b"x" * 1000)
    size = len(stream) - 1000
    for index in range(size - 1):
        assert feed(engine, stream[index : index + 1]) == [Pause.DATA]
    assert feed(engine, stream[size - 1 : size]) == [
        Piece("", 0, 1000, True, False),
        Pause.DATA,
    ]
    assert feed(engine, stream[size:-1]) == [
        Piece("x" * 999, 999, 1, False, False),
        Pause.DATA,
    ]
    assert feed(engine, stream[-1:]) == [Piece("x", 1, 0, False, True), Pause.DATA]


@pytest.mark.parametrize(("opcode", "data"), [(TEXT, "ab"), (BINARY, b"ab")])
def test_part_of_a_payload_announces_the_rest(
    side: ConnectionType, opcode: Opcode, data: str | bytes
) -> None:
    engine = make_engine(side)
    stream = frame(side, opcode, b"ab" * 3, fin=False)
    assert feed(engine, stream[:-4], stream[-4:-2], stream[-2:]) == [
        Piece(data, 2, 4, True, False),
        Piece(data, 2, 2, False, False),
        Piece(data, 2, 0, False, False),
        Pause.DATA,
    ]


@pytest.mark.parametrize(("opcode", "nothing"), [(TEXT, ""), (BINARY, b"")])
def test_a_continuation_announces_its_size_too(
    side: ConnectionType, opcode: Opcode, nothing: str | bytes
) -> None:
    engine = make_engine(side)
    some = "a" if opcode is TEXT else b"a"
    stream = frame(side, CONTINUATION, b"a" * 3)
    assert feed(
        engine,
        frame(side, opcode, fin=False),
        *(stream[:-3], stream[-3:-2], stream[-2:-1], stream[-1:]),
        head(side, PING, 1),
    ) == [
        Piece(nothing, 0, 0, True, False),
        Piece(nothing, 0, 3, True, False),
        Piece(some, 1, 2, False, False),
        Piece(some, 1, 1, False, False),
        Piece(some, 1, 0, False, True),
        Pause.DATA,
    ]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_announces_nothing(
    side: ConnectionType, opcode: Opcode
) -> None:
    engine = make_engine(side)
    stream = frame(side, opcode, b"\x03\xe8" + b"x" * 123)
    *nothing, pause = feed(engine, *(bytes([byte]) for byte in stream[:-1]))
    assert nothing == []
    assert pause is Pause.DATA


def test_a_frame_that_does_not_fit_its_message_announces_nothing(
    side: ConnectionType,
) -> None:
    alone = head(side, CONTINUATION, 1000)
    assert feed(make_engine(side), alone) == [Pause.DATA]
    for opcode in (TEXT, BINARY):
        events = feed(
            make_engine(side),
            frame(side, BINARY, fin=False),
            head(side, opcode, 1000),
        )
        assert events == [whole(b"", is_last=False), Pause.DATA]


def test_sizes_are_bytes_on_the_wire_and_not_characters(side: ConnectionType) -> None:
    # T18
    engine = make_engine(side)
    stream = frame(side, TEXT, "é€😀".encode())
    assert feed(engine, stream[:-6], stream[-6:-1], stream[-1:]) == [
        Piece("é", 3, 6, True, False),
        Piece("€", 5, 1, False, False),
        Piece("😀", 1, 0, False, True),
        Pause.DATA,
    ]


# Room.


def test_without_room_the_engine_stops_in_front_of_a_message(
    side: ConnectionType,
) -> None:
    engine = make_engine(side)
    stream = frame(side, TEXT, b"a") + frame(side, BINARY, b"b")
    assert feed(engine, stream, has_room=False) == [Pause.ROOM]
    assert feed(engine, b"", has_room=False) == [Pause.ROOM]
    assert engine.has_undecoded
    assert ask(engine, has_room=True) == whole("a")
    assert ask(engine, has_room=False) is Pause.ROOM
    assert ask(engine, has_room=True) == whole(b"b")
    assert ask(engine, has_room=False) is Pause.DATA
    assert not engine.has_undecoded


def test_without_room_control_frames_in_front_of_a_message_are_reported(
    side: ConnectionType,
) -> None:
    # T9, in the form of the inbox
    engine = make_engine(side)
    stream = (
        frame(side, PING, b"1")
        + frame(side, PONG, b"2")
        + frame(side, TEXT, b"3")
        + frame(side, PING, b"4")
    )
    assert feed(engine, stream, has_room=False) == [
        PingReceived(b"1"),
        PongReceived(b"2"),
        Pause.ROOM,
    ]
    assert feed(engine, b"") == [whole("3"), PingReceived(b"4"), Pause.DATA]


def test_without_room_a_close_frame_in_front_of_a_message_is_reported(
    side: ConnectionType,
) -> None:
    engine = make_engine(side)
    stream = frame(side, CLOSE) + frame(side, TEXT, b"3")
    assert feed(engine, stream, has_room=False) == [
        CloseReceived(None, ""),
        Pause.ENDED,
    ]


def test_the_rest_of_a_message_that_was_begun_needs_no_room(
    side: ConnectionType,
) -> None:
    engine = make_engine(side)
    begin = frame(side, TEXT, b"a" * 10, fin=False)
    rest = frame(side, PING) + frame(side, CONTINUATION, b"b")
    assert feed(engine, begin[:-4]) == [Piece("a" * 6, 6, 4, True, False), Pause.DATA]
    assert feed(engine, begin[-4:] + rest + begin, has_room=False) == [
        Piece("aaaa", 4, 0, False, False),
        PingReceived(b""),
        whole("b"),
        Pause.ROOM,
    ]


def test_a_message_of_which_only_the_header_came_needs_no_room(
    side: ConnectionType,
) -> None:
    for size in (2, len(head(side, BINARY, 126))):
        engine = make_engine(side)
        stream = frame(side, BINARY, b"a" * 126)
        feed(engine, stream[:size])
        events = feed(engine, stream[size:], has_room=False)
        assert events[-2:] == [
            Piece(b"a" * 126, 126, 0, size == 2, True),
            Pause.DATA,
        ]


def test_one_byte_does_not_tell_whether_room_is_needed(side: ConnectionType) -> None:
    engine = make_engine(side)
    stream = frame(side, TEXT, b"a")
    assert feed(engine, stream[:1], has_room=False) == [Pause.DATA]
    assert feed(engine, stream[1:2], has_room=False) == [Pause.ROOM]


@pytest.mark.parametrize("opcode", [CONTINUATION, 3, 7])
def test_a_bad_frame_among_the_data_waits_for_room_as_a_message_does(
    side: ConnectionType, opcode: int
) -> None:
    engine = make_engine(side)
    assert feed(engine, frame(side, opcode), has_room=False) == [Pause.ROOM]
    (violation, pause) = feed(engine, b"")
    assert isinstance(violation, ViolationFound)
    assert pause is Pause.ENDED


# Violations of RFC 6455 section 5: frames without mask (it is added for a server), and
# how many of their bytes, keys not counted, show what is wrong (0: all of them).

VIOLATIONS: dict[str, tuple[str, int]] = {
    **{f"opcode_{n}": (f"8{n:x} 00", 2) for n in (3, 4, 5, 6, 7)},
    **{f"opcode_{n}": (f"8{n:x} 00", 2) for n in (11, 12, 13, 14, 15)},
    "unknown_opcode_and_long_length": ("83 7f 0000000000010000", 2),
    "rsv1": ("c1 00", 2),
    "rsv2": ("a2 01 00", 2),
    "rsv3": ("91 01 00", 2),
    "rsv_of_a_ping": ("c9 00", 2),
    "rsv_of_a_close": ("98 02 03e8", 2),
    "rsv_with_a_long_length": ("c1 7e 0100", 4),
    "fragment_of_a_ping": ("09 00", 2),
    "fragment_of_a_pong": ("0a 01 00", 2),
    "fragment_of_a_close": ("08 02 03e8", 2),
    "ping_of_126_bytes": ("89 7e 007e", 2),
    "pong_of_126_bytes": ("8a 7e 007e", 2),
    "close_of_126_bytes": ("88 7e 007e", 2),
    "ping_of_65536_bytes": ("89 7f 0000000000010000", 2),
    "length_125_in_two_bytes": ("82 7e 007d", 4),
    "length_0_in_two_bytes": ("82 7e 0000", 4),
    "length_65535_in_eight_bytes": ("82 7f 000000000000ffff", 10),
    "length_0_in_eight_bytes": ("82 7f 0000000000000000", 10),
    "length_with_the_top_bit": ("82 7f 8000000000000000", 10),
    "continuation_of_nothing": ("00 02 6162", 3),
    "last_continuation_of_nothing": ("80 02 6162", 3),
    "text_in_a_binary_message": ("02 01 61 81 02 6162", 6),
    "binary_in_a_text_message": ("01 01 61 82 02 6162", 6),
    "text_in_a_text_message": ("01 01 61 01 02 6162", 6),
    "continuation_of_a_finished_message": ("81 01 61 80 02 6162", 6),
    "continuation_of_what_was_continued": ("01 00 80 00 80 01 61", 7),
    "close_of_one_byte": ("88 01 03", 3),
    **{
        f"close_with_{code}": (f"88 03 {code:04x} 61", 5)
        for code in (
            *(0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999),
            *(5000, 5001, 32768, 65535),
        )
    },
}
BAD_UTF8: dict[str, tuple[str, int]] = {
    "ff": ("81 04 61 ff 6162", 4),
    "continuation_byte": ("81 03 80 6162", 3),
    "overlong_slash": ("81 03 c0af 61", 3),
    "overlong_of_three": ("81 04 e080af 61", 4),
    "surrogate": ("81 04 eda080 61", 5),
    "above_10ffff": ("81 05 f4908080 61", 4),
    "five_bytes": ("81 05 f888808080", 3),
    "cut_off_at_the_end": ("81 02 61 c3", 4),
    "cut_off_in_an_empty_last_frame": ("01 02 61 c3 80 00", 0),
    "bad_in_the_second_fragment": ("01 02 61 e2 80 03 28a161", 7),
    "bad_in_a_later_piece_of_a_long_frame": ("81 7e 0080" + "61" * 9 + "ff", 14),
    "reason_of_a_close": ("88 04 03e8 61ff", 6),
    "reason_that_is_cut_off": ("88 05 03e8 61e282", 7),
    "reason_of_a_1014": ("88 04 03f6 61ff", 6),
}


def dress(side: ConnectionType, text: str, needed: int) -> tuple[bytes, int]:
    """Mask frames for a server, and count the keys among the bytes that are needed."""
    data = bytes.fromhex(text)
    if side is CLIENT:
        return data, needed or len(data)
    stream, size = b"", needed
    while data:
        header = parse_header(data)
        assert header is not None
        end = header.size + header.payload_length
        payload = mask_payload(data[header.size : end], KEY)
        stream += bytes([data[0], data[1] | 0x80]) + data[2 : header.size]
        stream += KEY + payload
        size += 4 * (needed > header.size)
        needed -= end
        data = data[end:]
    return stream, size or len(stream)


@pytest.mark.parametrize(
    ("text", "needed", "code"),
    [
        *((*row, 1002) for row in VIOLATIONS.values()),
        *((*row, 1007) for row in BAD_UTF8.values()),
    ],
    ids=[*VIOLATIONS, *BAD_UTF8],
)
def test_a_violation_is_found_at_the_first_byte_that_shows_it(
    side: ConnectionType, text: str, needed: int, code: int
) -> None:
    # T17, P7, S-5
    stream, size = dress(side, text, needed)
    by_bytes = make_engine(side)
    for index in range(size - 1):
        events = feed(by_bytes, stream[index : index + 1])
        assert not any(isinstance(event, ViolationFound) for event in events)
        assert by_bytes.state is ConnectionState.OPEN
    in_one_go = make_engine(side)
    for engine, chunk in (
        (by_bytes, stream[size - 1 : size]),
        (in_one_go, stream + b"\x81\x00\x81\x00"),
    ):
        *_, violation, pause = feed(engine, chunk)
        assert isinstance(violation, ViolationFound)
        assert violation.code == code
        assert violation.problem
        assert pause is Pause.ENDED
        assert engine.state is ConnectionState.FAILING


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE, CONTINUATION])
def test_a_frame_with_the_wrong_kind_of_mask_is_a_violation(
    side: ConnectionType, opcode: Opcode
) -> None:
    engine = make_engine(side)
    stream = frame(SERVER if side is CLIENT else CLIENT, opcode, b"\x03\xe8ab")
    assert feed(engine, stream[:1]) == [Pause.DATA]
    (violation, pause) = feed(engine, stream[1:2])
    assert violation == ViolationFound(
        1002,
        "client received unexpected masked frame"
        if side is CLIENT
        else "server received unexpected unmasked frame",
    )
    assert pause is Pause.ENDED


@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY])
def test_an_empty_frame_that_does_not_fit_its_message_is_a_violation(
    side: ConnectionType, opcode: Opcode
) -> None:
    engine = make_engine(side)
    first = b"" if opcode is CONTINUATION else frame(side, TEXT, fin=False)
    feed(engine, first)
    stream = frame(side, opcode)
    assert feed(engine, stream[:-1]) == [Pause.DATA]
    (violation, _) = feed(engine, stream[-1:])
    assert isinstance(violation, ViolationFound)
    assert violation.code == 1002


def test_messages_in_front_of_a_violation_come_first(side: ConnectionType) -> None:
    engine = make_engine(side)
    stream = (
        frame(side, TEXT, b"a")
        + frame(side, PING, b"b")
        + frame(side, 3)
        + frame(side, TEXT, b"c")
    )
    assert feed(engine, stream) == [
        whole("a"),
        PingReceived(b"b"),
        ViolationFound(1002, "Invalid opcode 0x3"),
        Pause.ENDED,
    ]


def test_nothing_is_parsed_or_kept_behind_a_violation(side: ConnectionType) -> None:
    # P7
    engine = make_engine(side)
    good = frame(side, TEXT, b"a") + frame(side, CLOSE)
    feed(engine, frame(side, 3) + good)
    assert engine.is_over
    assert not engine.has_undecoded
    assert feed(engine, good, b"\xff" * 100) == [Pause.ENDED]
    assert not engine.has_undecoded
    assert engine.state is ConnectionState.FAILING


def test_a_violation_after_our_close_needs_no_second_one(side: ConnectionType) -> None:
    engine = make_engine(side)
    engine.send_close(1000, "")
    (violation, pause) = feed(engine, frame(side, 3))
    assert isinstance(violation, ViolationFound)
    assert pause is Pause.ENDED
    assert engine.state is ConnectionState.FAILED


# Close frames.


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
)
@pytest.mark.parametrize("reason", ["", "bye €", "x" * 123])
def test_a_close_frame_tells_its_code_and_reason(
    side: ConnectionType, code: int, reason: str
) -> None:
    stream = frame(side, CLOSE, code.to_bytes(2, "big") + reason.encode())
    for chunks in ([stream], [bytes([byte]) for byte in stream]):
        engine = make_engine(side)
        assert feed(engine, *chunks) == [CloseReceived(code, reason), Pause.ENDED]
        assert engine.state is ConnectionState.REMOTE_CLOSING


def test_an_empty_close_frame_has_no_code(side: ConnectionType) -> None:
    engine = make_engine(side)
    assert feed(engine, frame(side, CLOSE)) == [
        CloseReceived(None, ""),
        Pause.ENDED,
    ]


@pytest.mark.parametrize("key", [bytes(4), b"\xff" * 4, b"\x03\xf6\x03\xf5", KEY])
@pytest.mark.parametrize("code", [1013, 1014])
def test_neighbouring_codes_are_told_apart_under_any_mask(
    key: bytes, code: int
) -> None:
    engine = make_engine(SERVER)
    payload = code.to_bytes(2, "big") + b"bad gateway"
    header = build_header(CLOSE, len(payload), masking_key=key)
    assert feed(engine, header + mask_payload(payload, key)) == [
        CloseReceived(code, "bad gateway"),
        Pause.ENDED,
    ]


def test_nothing_is_parsed_behind_a_close_frame(side: ConnectionType) -> None:
    engine = make_engine(side)
    more = frame(side, TEXT, b"a") + frame(side, 3)
    assert feed(engine, frame(side, CLOSE) + more, more) == [
        CloseReceived(None, ""),
        Pause.ENDED,
    ]
    assert engine.is_over
    assert not engine.has_undecoded
    assert engine.state is ConnectionState.REMOTE_CLOSING


def test_a_close_frame_may_end_an_unfinished_message(side: ConnectionType) -> None:
    engine = make_engine(side)
    stream = frame(side, TEXT, b"a", fin=False) + frame(side, CLOSE)
    assert feed(engine, stream) == [
        whole("a", is_last=False),
        CloseReceived(None, ""),
        Pause.ENDED,
    ]


def test_after_our_close_everything_is_reported_until_that_of_the_peer(
    side: ConnectionType,
) -> None:
    # D-4, S-72
    engine = make_engine(side)
    engine.send_close(1000, "")
    stream = (
        frame(side, PING, b"1")
        + frame(side, TEXT, b"2")
        + frame(side, CLOSE, b"\x03\xe9")
    )
    assert feed(engine, stream) == [
        PingReceived(b"1"),
        whole("2"),
        CloseReceived(1001, ""),
        Pause.ENDED,
    ]
    assert engine.state is ConnectionState.CLOSE_EXCHANGED


# The end of the stream, and giving up.


def test_nothing_is_parsed_after_the_end_of_the_stream(side: ConnectionType) -> None:
    engine = make_engine(side)
    feed(engine, frame(side, TEXT, b"abc")[:-1])
    engine.receive_data(frame(side, PING) * 2)
    engine.receive_eof()
    assert engine.state is ConnectionState.CLOSED
    assert not engine.has_undecoded
    assert feed(engine, frame(side, PING)) == [Pause.ENDED]


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([], ConnectionState.FAILING),
        ([Step.CLOSE_SENT], ConnectionState.FAILED),
    ],
)
def test_nothing_is_parsed_after_giving_up(
    side: ConnectionType, steps: list[Step], state: ConnectionState
) -> None:
    engine = make_engine(side)
    for step in steps:
        engine.take_step(step)
    engine.receive_data(frame(side, PING) * 2)
    assert ask(engine) == PingReceived(b"")
    engine.refuse()
    assert engine.state is state
    assert not engine.has_undecoded
    assert feed(engine, frame(side, PING)) == [Pause.ENDED]


# What wsproto lets out.


class BrokenConnection(Connection):
    """Raises, when it is asked for events, what its parser should have handled."""

    def __init__(self, error: Exception) -> None:
        super().__init__(ConnectionType.CLIENT)
        self._error = error

    def events(self) -> Generator[wsproto.events.Event, None, None]:
        raise self._error


FOREIGN_ERRORS = [
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ValueError("bad"),
    TypeError("bad"),
    struct.error("bad"),
    AssertionError("bad"),
    LocalProtocolError("bad"),
    RemoteProtocolError("bad"),
]


@pytest.mark.parametrize(
    "error", FOREIGN_ERRORS, ids=lambda error: type(error).__name__
)
def test_an_error_of_the_parser_is_a_violation(error: Exception) -> None:
    # T1, T6, D-2 below the line
    engine = Engine(BrokenConnection(error), is_client=True)
    assert feed(engine, b"\x81\x01a\x81\x01b") == [
        ViolationFound(1002, f"unexpected bytes: {error}"),
        Pause.ENDED,
    ]
    assert engine.state is ConnectionState.FAILING
    assert feed(engine, b"\x81\x01c") == [Pause.ENDED]


# Limits, with the assembler.


def add_fragments(engine: Engine, assembler: Assembler, stream: bytes) -> int:
    """Receive in chunks of 4 KiB until a limit is passed; count what is taken."""
    chunks = (stream[start : start + 4096] for start in range(0, len(stream), 4096))
    events = itertools.chain.from_iterable(feed(engine, chunk) for chunk in chunks)
    fragments = (event for event in events if isinstance(event, Piece))
    count = 0
    with contextlib.suppress(MessageTooBig):
        for fragment in fragments:
            assert assembler.add(fragment) is None
            count += 1
    return count


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="memory is traced by CPython only"
)
def test_a_flood_of_empty_fragments_ends_at_the_limit_with_little_memory() -> None:
    # T12
    import tracemalloc  # noqa: PLC0415  # only CPython has it

    engine, assembler = make_engine(CLIENT), Assembler(math.inf)
    stream = b"\x01\x00" + b"\x00\x00" * 300_000
    assert add_fragments(engine, assembler, stream[:240_000]) == 120_000
    tracemalloc.start()  # late, because it makes everything slow
    try:
        count = add_fragments(engine, assembler, stream[240_000:])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 120_000 + count == 131_072
    # One chunk and its events; to keep 11,072 pieces would take more than 1 MB.
    assert peak < 600_000


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="memory is traced by CPython only"
)
def test_the_engine_keeps_nothing_of_what_it_has_decoded() -> None:
    import tracemalloc  # noqa: PLC0415  # only CPython has it

    in_one_go, one_by_one = make_engine(CLIENT), make_engine(CLIENT)
    ping = frame(CLIENT, PING, bytes(125))
    tracemalloc.start()
    try:
        feed(in_one_go, ping * 500 + ping[:1])
        for _ in range(500):
            # As it is when the next receive comes before the engine asks for it.
            one_by_one.receive_data(bytes(bytearray(ping)))
            assert ask(one_by_one) == PingReceived(bytes(125))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000


def test_a_message_of_65537_fragments_is_none_too_many() -> None:
    # Autobahn 9.3.1 and 9.4.1
    engine, assembler = make_engine(CLIENT), Assembler(math.inf)
    stream = b"\x02\x01a" + b"\x00\x01b" * 65_535 + b"\x80\x00"
    messages = [
        assembler.add(event)
        for event in feed(engine, stream)
        if isinstance(event, Piece)
    ]
    assert len(messages) == 65_537
    assert messages[-1] == b"a" + b"b" * 65_535
    assert set(messages[:-1]) == {None}


class CountedBytes(bytes):
    """Bytes that count how many of them are copied.

    Attributes:
        copied: The number, in a list that all parts share.

    """

    copied: list[int]

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice[SupportsIndex | None], /) -> bytes: ...
    def __getitem__(
        self, key: SupportsIndex | slice[SupportsIndex | None], /
    ) -> int | bytes:
        part = super().__getitem__(key)
        return part if isinstance(part, int) else self._own(part)

    def __radd__(self, other: object) -> bytes:
        # Bytes behind none at all are not copied: those stay what they are.
        return self if other == b"" and isinstance(other, bytes) else NotImplemented

    def _own(self, part: bytes) -> CountedBytes:
        own = CountedBytes(part)
        own.copied = self.copied
        self.copied[0] += len(part)
        return own


def test_many_small_frames_in_one_receive_are_not_copied_again_and_again() -> None:
    data = CountedBytes((b"\x82\x7e\x03\xe8" + bytes(1000)) * 1000)
    data.copied = [0]
    assert len(feed(make_engine(CLIENT), data)) == 1000 + 1
    # To move the rest of the buffer for each frame would copy 500 times as much.
    assert len(data) <= data.copied[0] < 2 * len(data)


# The lane.


class StubLane:
    """Takes what begins with a text frame of its own, and records what it is asked."""

    def __init__(self) -> None:
        self.decoded: list[tuple[bytes, bool, int, float]] = []
        self.encoded: list[tuple[str | bytes, bytes | None]] = []

    def decode(
        self, data: bytes, start: int, *, is_client: bool, limit: int, max_size: float
    ) -> tuple[list[str | bytes], int]:
        self.decoded.append((data[start:], is_client, limit, max_size))
        mine = frame(CLIENT if is_client else SERVER, TEXT, b"mine")
        if data.startswith(mine, start):
            return ["mine"], start + len(mine)
        return [], start

    def encode(self, message: str | bytes, masking_key: bytes | None) -> bytes | None:
        self.encoded.append((message, masking_key))
        return b"encoded" if message == "mine" else None


def test_the_lane_takes_whole_messages_and_wsproto_the_rest(
    side: ConnectionType,
) -> None:
    lane = StubLane()
    engine = make_engine(side, lane)
    mine = frame(side, TEXT, b"mine")
    stream = mine * 2 + frame(side, TEXT, b"b") + frame(side, PING) + mine
    assert feed(engine, stream + mine[:3]) == [
        MessageReceived("mine"),
        MessageReceived("mine"),
        whole("b"),
        PingReceived(b""),
        MessageReceived("mine"),
        *([Piece("m", 1, 3, True, False)] if side is CLIENT else []),
        Pause.DATA,
    ]
    assert lane.decoded[0] == (stream + mine[:3], side is CLIENT, 1, math.inf)


def test_the_lane_is_asked_only_in_front_of_a_message_that_has_room(
    side: ConnectionType,
) -> None:
    lane = StubLane()
    engine = make_engine(side, lane)
    stream = (
        frame(side, PING)
        + frame(side, TEXT, fin=False)
        + frame(side, PONG)
        + frame(side, CONTINUATION)
        + frame(side, CLOSE)
    )
    feed(engine, stream, has_room=False)
    assert lane.decoded == []
    engine.next_event(room=1, max_size=5)
    assert [call[1:] for call in lane.decoded] == [(side is CLIENT, 1, 5)]
    feed(engine, b"")
    assert len(lane.decoded) == 1


def test_a_client_takes_the_lane_when_it_is_given_a_key() -> None:
    lane = StubLane()
    engine = make_engine(CLIENT, lane)
    assert engine.send_message("mine", KEY) == b"encoded"
    assert engine.send_message("mine") != b"encoded"
    assert read_frame(engine.send_message(b"other", KEY)) == (BINARY, b"other", True)
    assert lane.encoded == [("mine", KEY), (b"other", KEY)]


def test_a_server_takes_the_lane_without_a_key() -> None:
    lane = StubLane()
    engine = make_engine(SERVER, lane)
    assert engine.send_message("mine") == b"encoded"
    assert engine.send_message(b"other") == b"\x82\x05other"
    assert lane.encoded == [("mine", None), (b"other", None)]


# Frames that leave.


def read_frame(data: bytes) -> tuple[int, bytes, bool]:
    """Tell opcode, payload and whether it is masked of what is exactly one frame."""
    header = parse_header(data)
    assert header is not None
    assert header.fin
    assert header.rsv == 0
    assert len(data) == header.size + header.payload_length
    key = header.masking_key or bytes(4)
    payload = mask_payload(data[header.size :], key)
    return header.opcode, payload, header.masking_key is not None


@pytest.mark.parametrize("length", LENGTHS)
def test_a_message_is_sent_as_one_frame(side: ConnectionType, length: int) -> None:
    engine = make_engine(side)
    payload = b"x" * length
    assert read_frame(engine.send_message("x" * length)) == (
        TEXT,
        payload,
        side is CLIENT,
    )
    assert read_frame(engine.send_message(payload)) == (BINARY, payload, side is CLIENT)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"x" * 125])
def test_pings_and_pongs_are_sent_as_given(
    side: ConnectionType, payload: bytes
) -> None:
    engine = make_engine(side)
    assert read_frame(engine.send_ping(payload)) == (PING, payload, side is CLIENT)
    assert read_frame(engine.send_pong(payload)) == (PONG, payload, side is CLIENT)


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (None, "", b""),
        (1000, "", b"\x03\xe8"),
        (1014, "", b"\x03\xf6"),
        (4999, "bye €", b"\x13\x87" + "bye €".encode()),
        (1011, "x" * 123, b"\x03\xf3" + b"x" * 123),
    ],
)
def test_a_close_is_sent_as_given(
    side: ConnectionType, code: int | None, reason: str, payload: bytes
) -> None:
    engine = make_engine(side)
    assert read_frame(engine.send_close(code, reason)) == (
        CLOSE,
        payload,
        side is CLIENT,
    )
    assert engine.state is ConnectionState.LOCAL_CLOSING


def test_the_close_of_the_peer_is_answered(side: ConnectionType) -> None:
    engine = make_engine(side)
    feed(engine, frame(side, CLOSE, b"\x03\xf6"))
    assert read_frame(engine.send_close(1014, "")) == (
        CLOSE,
        b"\x03\xf6",
        side is CLIENT,
    )
    assert engine.state is ConnectionState.CLOSE_EXCHANGED


def test_a_violation_is_answered_behind_replies_to_what_came_before(
    side: ConnectionType,
) -> None:
    # D-1, T17
    engine = make_engine(side)
    feed(engine, frame(side, 3))
    assert read_frame(engine.send_message("a")) == (TEXT, b"a", side is CLIENT)
    assert read_frame(engine.send_pong(b"b")) == (PONG, b"b", side is CLIENT)
    assert read_frame(engine.send_ping(b"c")) == (PING, b"c", side is CLIENT)
    assert read_frame(engine.send_close(1002, ""))[1] == b"\x03\xea"
    assert engine.state is ConnectionState.FAILED


def test_each_frame_of_a_client_has_a_key_of_its_own() -> None:
    # RFC 6455 section 5.3
    engine = make_engine(CLIENT)
    frames = {engine.send_message(b"") for _ in range(20)}
    assert len(frames) == 20


def test_text_that_utf_8_cannot_carry_changes_nothing(side: ConnectionType) -> None:
    engine = make_engine(side)
    with pytest.raises(UnicodeEncodeError):
        engine.send_message("a\ud800")
    assert read_frame(engine.send_message(b"b")) == (BINARY, b"b", side is CLIENT)


SENDERS: dict[str, Callable[[Engine], bytes]] = {
    "message": lambda engine: engine.send_message("x"),
    "ping": lambda engine: engine.send_ping(b""),
    "pong": lambda engine: engine.send_pong(b""),
    "close": lambda engine: engine.send_close(1000, ""),
}


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
def test_to_send_behind_our_close_is_a_mistake_of_ours(
    side: ConnectionType, send: Callable[[Engine], bytes]
) -> None:
    # D-4: no error of wsproto gets out
    for lane in (None, StubLane()):
        engine = make_engine(side, lane)
        engine.send_close(1000, "")
        with pytest.raises(AssertionError):
            send(engine)
        assert engine.state is ConnectionState.LOCAL_CLOSING

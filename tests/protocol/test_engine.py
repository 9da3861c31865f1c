"""Bytes into one engine, events out, and the other way round.

Nearly all of it holds whichever lane the engine takes, so nearly every test runs with
the lane off, in Python and in C. What an engine reports of a message differs in form:
in pieces without a lane, whole with one. A ``Listener`` puts the pieces together.

What is said of any stream at all is in test_properties.py.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import struct
import sys
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, SupportsIndex, overload

import pytest
import wsproto.events
from wsproto.connection import Connection, ConnectionType
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from trio_websocket._protocol.assembler import Assembler, MessageTooBig
from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import (
    CloseReceived,
    Event,
    MessagesReceived,
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
from trio_websocket._protocol.lane import PYTHON_LANE, Lane, choose_lane
from trio_websocket._protocol.receive_buffer import ReceiveBuffer
from trio_websocket._protocol.sliced_frame import SLICE_SIZE, SlicedFrame
from trio_websocket._protocol.state import ConnectionState, Step

from .lanes import ViewingLane

CLIENT, SERVER = ConnectionType
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
KEY = b"\x9a\x00\xff\x42"
LENGTHS = [0, 1, 125, 126, 65535, 65536]
LARGE = 300_000  # bytes: more than a lane builds or collects in one go

Report = str | bytes | Event | Pause


@pytest.fixture(params=ConnectionType, ids=["client", "server"])
def side(request: pytest.FixtureRequest) -> ConnectionType:
    """The side of the engine under test."""
    side = request.param
    assert isinstance(side, ConnectionType)
    return side


def find_lane(request: pytest.FixtureRequest) -> Lane | None:
    name = request.param
    assert isinstance(name, str)
    if name == "c":
        pytest.importorskip(
            "trio_websocket._protocol._speedups",
            reason="the compiled lane was not built",
        )
    return choose_lane(name)


@pytest.fixture(params=["off", "python", "c"])
def lane(request: pytest.FixtureRequest) -> Lane | None:
    """What the engine under test takes."""
    return find_lane(request)


@pytest.fixture(params=["python", "c"])
def real_lane(request: pytest.FixtureRequest) -> Lane:
    """The same, for what only an engine with a lane does."""
    lane = find_lane(request)
    assert lane is not None
    return lane


def make_engine(side: ConnectionType, lane: Lane | None = None) -> Engine:
    return Engine(is_client=side is CLIENT, lane=lane)


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


def split(stream: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in stream]


def ask(engine: Engine, *, room: int = 1, max_size: int = sys.maxsize) -> Event | Pause:
    return engine.next_event(room=room, max_size=max_size)


def feed(
    engine: Engine, *chunks: bytes, room: int = 1, max_size: int = sys.maxsize
) -> list[Event | Pause]:
    """Tell all events of the chunks, received one by one, and the last pause."""
    events: list[Event | Pause] = []
    pause: Event | Pause = Pause.DATA
    for chunk in chunks:
        engine.receive_data(chunk)
        while not isinstance(pause := ask(engine, room=room, max_size=max_size), Pause):
            events.append(pause)
    return [*events, pause]


class Listener:
    """Feeds an engine, and reports messages instead of their pieces."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._assembler = Assembler(math.inf)

    def feed(self, *chunks: bytes, room: int = 1) -> list[Report]:
        """Tell all of the chunks, received one by one, and the last pause."""
        reports: list[Report] = []
        for event in feed(self.engine, *chunks, room=room):
            reports += self.report(event)
        return reports

    def report(self, event: Event | Pause) -> list[Report]:
        """Tell what an event comes to."""
        match event:
            case MessagesReceived(messages=messages):
                return [*messages]
            case Piece():
                message = self._assembler.add(event)
                return [] if message is None else [message]
            case _:
                return [event]


@pytest.fixture
def listener(side: ConnectionType, lane: Lane | None) -> Listener:
    return Listener(make_engine(side, lane))


def whole(data: str | bytes, *, is_last: bool = True) -> Piece:
    """Make the piece that a frame makes when it comes in one go."""
    size = len(data.encode() if isinstance(data, str) else data)
    return Piece(data, size, pending=0, begins_frame=True, is_last=is_last)


# Frames of every kind.


@pytest.mark.parametrize("length", [*LENGTHS, LARGE])
def test_a_data_frame_is_a_message(
    side: ConnectionType, listener: Listener, length: int
) -> None:
    text = ("0123456789" * 30_000)[:length]
    data = text.encode()
    stream = frame(side, TEXT, data) + frame(side, BINARY, data)
    assert listener.feed(stream) == [text, data, Pause.DATA]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_continuation_has_the_kind_of_its_message(
    side: ConnectionType, listener: Listener, length: int
) -> None:
    for opcode, data in ((TEXT, "x" * length), (BINARY, b"y" * length)):
        payload = data.encode() if isinstance(data, str) else data
        assert listener.feed(
            frame(side, opcode, payload, fin=False),
            frame(side, CONTINUATION, payload, fin=False),
            frame(side, CONTINUATION, payload),
        ) == [3 * data, Pause.DATA]


@pytest.mark.parametrize("length", [0, 1, 125])
def test_a_control_frame_is_one_event(
    side: ConnectionType, listener: Listener, length: int
) -> None:
    payload = bytes(range(length))
    assert listener.feed(frame(side, PING, payload) + frame(side, PONG, payload)) == [
        PingReceived(payload),
        PongReceived(payload),
        Pause.DATA,
    ]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_each_frame_ends_where_its_header_says(
    side: ConnectionType, listener: Listener, opcode: Opcode, length: int
) -> None:
    stream = frame(side, opcode, b"a" * length) + frame(side, PING, b"b")
    reports = listener.feed(stream * 3)
    assert reports[1::2] == [PingReceived(b"b")] * 3
    assert reports[-1] is Pause.DATA
    assert not listener.engine.has_undecoded


@pytest.mark.parametrize("length", [0, 1, 125, 126, 1000])
def test_a_frame_that_comes_byte_by_byte_is_the_same_message(
    side: ConnectionType, listener: Listener, length: int
) -> None:
    text = ("aé€😀" * 100).encode()[:length].decode(errors="ignore").ljust(length // 10)
    stream = frame(side, BINARY, b"z" * length) + frame(side, TEXT, text.encode())
    assert listener.feed(*split(stream)) == [b"z" * length, text, Pause.DATA]


def test_control_frames_may_stand_between_the_fragments_of_a_message(
    side: ConnectionType, listener: Listener
) -> None:
    # P3
    assert listener.feed(
        frame(side, TEXT, "a€".encode()[:2], fin=False),
        frame(side, PING, b"\xe2"),
        frame(side, CONTINUATION, b"", fin=False),
        frame(side, PONG, b""),
        frame(side, CONTINUATION, "a€".encode()[2:]),
        frame(side, TEXT, b"b"),
    ) == [PingReceived(b"\xe2"), PongReceived(b""), "a€", "b", Pause.DATA]


def test_bytes_may_be_received_several_times_before_events_are_asked_for(
    side: ConnectionType, listener: Listener
) -> None:
    engine = listener.engine
    for chunk in split(frame(side, PING, b"1") + frame(side, TEXT, b"2")):
        engine.receive_data(chunk)
    assert ask(engine) == PingReceived(b"1")
    engine.receive_data(frame(side, PONG, b"3"))
    assert listener.feed(b"") == ["2", PongReceived(b"3"), Pause.DATA]


def test_the_engine_tells_whether_bytes_wait_to_be_decoded(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = make_engine(side, lane)
    waiting: list[bool] = []
    for chunk in (b"", frame(side, PING) + frame(side, TEXT)):
        engine.receive_data(chunk)
        waiting.append(engine.has_undecoded)
    for _ in range(2):
        ask(engine)
        waiting.append(engine.has_undecoded)
    assert waiting == [False, True, True, False]


@pytest.mark.parametrize("size", [2, 9])
def test_bytes_that_were_used_do_not_wait(
    side: ConnectionType, listener: Listener, size: int
) -> None:
    # Of a header, or of a payload.
    stream = frame(side, BINARY, bytes(1000))
    assert listener.feed(stream[:size]) == [Pause.DATA]
    assert not listener.engine.has_undecoded
    assert listener.feed(stream[size:]) == [bytes(1000), Pause.DATA]


def test_received_bytes_may_be_changed_afterwards(
    side: ConnectionType, listener: Listener
) -> None:
    buffer = bytearray(frame(side, BINARY, b"abc") + frame(side, BINARY, b"def")[:-1])
    listener.engine.receive_data(buffer)
    buffer[:] = bytes(len(buffer))
    assert listener.feed(b"") == [b"abc", Pause.DATA]
    buffer = bytearray(frame(side, BINARY, b"def")[-1:])
    listener.engine.receive_data(buffer)
    buffer[:] = b"x"
    assert listener.feed(b"") == [b"def", Pause.DATA]


def test_a_frame_with_a_length_of_63_bits_is_only_begun(
    side: ConnectionType, listener: Listener
) -> None:
    assert listener.feed(head(side, BINARY, 2**63 - 1), b"abc") == [Pause.DATA]


# Pieces: what frames that are not here yet say of their size. With a lane there are
# pieces only of what it does not take.


@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_that_comes_in_one_go_is_one_piece(
    side: ConnectionType, length: int
) -> None:
    engine = make_engine(side)
    text = "x" * length
    for data in (text, text.encode()):
        opcode = TEXT if isinstance(data, str) else BINARY
        stream = frame(side, opcode, text.encode(), fin=False)
        assert feed(engine, stream, frame(side, CONTINUATION, text.encode())) == [
            whole(data, is_last=False),
            whole(data),
            Pause.DATA,
        ]


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
    side: ConnectionType, listener: Listener
) -> None:
    stream = frame(side, TEXT, b"a") + frame(side, BINARY, b"b")
    assert listener.feed(stream, room=0) == [Pause.ROOM]
    assert listener.feed(b"", room=0) == [Pause.ROOM]
    assert listener.engine.has_undecoded
    assert listener.feed(b"") == ["a", b"b", Pause.DATA]
    assert listener.feed(b"", room=0) == [Pause.DATA]
    assert not listener.engine.has_undecoded


def test_with_room_for_one_message_the_next_one_is_left(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = make_engine(side, lane)
    engine.receive_data(frame(side, TEXT, b"a") + frame(side, BINARY, b"b"))
    for stays in (True, False):
        assert isinstance(ask(engine, room=1), Piece | MessagesReceived)
        assert engine.has_undecoded is stays
        assert ask(engine, room=0) is (Pause.ROOM if stays else Pause.DATA)


def test_without_room_control_frames_in_front_of_a_message_are_reported(
    side: ConnectionType, listener: Listener
) -> None:
    # T9, in the form of the inbox
    stream = (
        frame(side, PING, b"1")
        + frame(side, PONG, b"2")
        + frame(side, TEXT, b"3")
        + frame(side, PING, b"4")
    )
    assert listener.feed(stream, room=0) == [
        PingReceived(b"1"),
        PongReceived(b"2"),
        Pause.ROOM,
    ]
    assert listener.feed(b"") == ["3", PingReceived(b"4"), Pause.DATA]


def test_without_room_a_close_frame_in_front_of_a_message_is_reported(
    side: ConnectionType, listener: Listener
) -> None:
    stream = frame(side, CLOSE) + frame(side, TEXT, b"3")
    assert listener.feed(stream, room=0) == [CloseReceived(None, ""), Pause.ENDED]


def test_the_rest_of_a_message_that_was_begun_needs_no_room(
    side: ConnectionType, listener: Listener
) -> None:
    begin = frame(side, TEXT, b"a" * 10, fin=False)
    rest = frame(side, PING) + frame(side, CONTINUATION, b"b")
    assert listener.feed(begin[:-4]) == [Pause.DATA]
    assert listener.feed(begin[-4:] + rest + begin, room=0) == [
        PingReceived(b""),
        "a" * 10 + "b",
        Pause.ROOM,
    ]


@pytest.mark.parametrize("length", [125, 126, LARGE])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_rest_of_a_frame_that_was_begun_needs_no_room(
    side: ConnectionType, listener: Listener, opcode: Opcode, length: int
) -> None:
    stream = frame(side, opcode, b"a" * length)
    message = "a" * length if opcode is TEXT else b"a" * length
    for size in (2, len(stream) - length, len(stream) - 1):
        assert listener.feed(stream[:size]) == [Pause.DATA]
        assert listener.feed(stream[size:] + stream, room=0) == [message, Pause.ROOM]
        assert listener.feed(b"") == [message, Pause.DATA]


def test_one_byte_does_not_tell_whether_room_is_needed(
    side: ConnectionType, listener: Listener
) -> None:
    stream = frame(side, TEXT, b"a")
    assert listener.feed(stream[:1], room=0) == [Pause.DATA]
    assert listener.feed(stream[1:2], room=0) == [Pause.ROOM]


@pytest.mark.parametrize("opcode", [CONTINUATION, 3, 7])
def test_a_bad_frame_among_the_data_waits_for_room_as_a_message_does(
    side: ConnectionType, listener: Listener, opcode: int
) -> None:
    assert listener.feed(frame(side, opcode), room=0) == [Pause.ROOM]
    (violation, pause) = listener.feed(b"")
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
    side: ConnectionType, lane: Lane | None, *, text: str, needed: int, code: int
) -> None:
    # T17, P7, S-5
    stream, size = dress(side, text, needed)
    by_bytes = make_engine(side, lane)
    for chunk in split(stream[: size - 1]):
        events = feed(by_bytes, chunk)
        assert not any(isinstance(event, ViolationFound) for event in events)
        assert by_bytes.state is ConnectionState.OPEN
    in_one_go = make_engine(side, lane)
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
    side: ConnectionType, listener: Listener, opcode: Opcode
) -> None:
    stream = frame(SERVER if side is CLIENT else CLIENT, opcode, b"\x03\xe8ab")
    assert listener.feed(stream[:1]) == [Pause.DATA]
    (violation, pause) = listener.feed(stream[1:2])
    assert violation == ViolationFound(
        1002,
        "client received unexpected masked frame"
        if side is CLIENT
        else "server received unexpected unmasked frame",
    )
    assert pause is Pause.ENDED


@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY])
def test_an_empty_frame_that_does_not_fit_its_message_is_a_violation(
    side: ConnectionType, listener: Listener, opcode: Opcode
) -> None:
    first = b"" if opcode is CONTINUATION else frame(side, TEXT, fin=False)
    listener.feed(first)
    stream = frame(side, opcode)
    assert listener.feed(stream[:-1]) == [Pause.DATA]
    (violation, _) = listener.feed(stream[-1:])
    assert isinstance(violation, ViolationFound)
    assert violation.code == 1002


def test_messages_in_front_of_a_violation_come_first(
    side: ConnectionType, listener: Listener
) -> None:
    stream = (
        frame(side, TEXT, b"a")
        + frame(side, PING, b"b")
        + frame(side, 3)
        + frame(side, TEXT, b"c")
    )
    assert listener.feed(stream) == [
        "a",
        PingReceived(b"b"),
        ViolationFound(1002, "Invalid opcode 0x3"),
        Pause.ENDED,
    ]


def test_nothing_is_parsed_or_kept_behind_a_violation(
    side: ConnectionType, listener: Listener
) -> None:
    # P7
    good = frame(side, TEXT, b"a") + frame(side, CLOSE)
    listener.feed(frame(side, 3) + good)
    assert listener.engine.is_over
    assert not listener.engine.has_undecoded
    assert listener.feed(good, b"\xff" * 100) == [Pause.ENDED]
    assert not listener.engine.has_undecoded
    assert listener.engine.state is ConnectionState.FAILING


def test_a_violation_after_our_close_needs_no_second_one(
    side: ConnectionType, listener: Listener
) -> None:
    listener.engine.send_close(1000, "")
    (violation, pause) = listener.feed(frame(side, 3))
    assert isinstance(violation, ViolationFound)
    assert pause is Pause.ENDED
    assert listener.engine.state is ConnectionState.FAILED


# Close frames.


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
)
@pytest.mark.parametrize("reason", ["", "bye €", "x" * 123])
def test_a_close_frame_tells_its_code_and_reason(
    side: ConnectionType, lane: Lane | None, code: int, reason: str
) -> None:
    stream = frame(side, CLOSE, code.to_bytes(2, "big") + reason.encode())
    for chunks in ([stream], split(stream)):
        engine = make_engine(side, lane)
        assert feed(engine, *chunks) == [CloseReceived(code, reason), Pause.ENDED]
        assert engine.state is ConnectionState.REMOTE_CLOSING


def test_an_empty_close_frame_has_no_code(
    side: ConnectionType, listener: Listener
) -> None:
    assert listener.feed(frame(side, CLOSE)) == [
        CloseReceived(None, ""),
        Pause.ENDED,
    ]


@pytest.mark.parametrize("key", [bytes(4), b"\xff" * 4, b"\x03\xf6\x03\xf5", KEY])
@pytest.mark.parametrize("code", [1013, 1014])
def test_neighbouring_codes_are_told_apart_under_any_mask(
    lane: Lane | None, key: bytes, code: int
) -> None:
    engine = make_engine(SERVER, lane)
    payload = code.to_bytes(2, "big") + b"bad gateway"
    header = build_header(CLOSE, len(payload), masking_key=key)
    assert feed(engine, header + mask_payload(payload, key)) == [
        CloseReceived(code, "bad gateway"),
        Pause.ENDED,
    ]


def test_nothing_is_parsed_behind_a_close_frame(
    side: ConnectionType, listener: Listener
) -> None:
    more = frame(side, TEXT, b"a") + frame(side, 3)
    assert listener.feed(frame(side, CLOSE) + more, more) == [
        CloseReceived(None, ""),
        Pause.ENDED,
    ]
    assert listener.engine.is_over
    assert not listener.engine.has_undecoded
    assert listener.engine.state is ConnectionState.REMOTE_CLOSING


def test_a_close_frame_may_end_an_unfinished_message(
    side: ConnectionType, listener: Listener
) -> None:
    stream = frame(side, TEXT, b"a", fin=False) + frame(side, CLOSE)
    assert listener.feed(stream) == [
        CloseReceived(None, ""),
        Pause.ENDED,
    ]


def test_after_our_close_everything_is_reported_until_that_of_the_peer(
    side: ConnectionType, listener: Listener
) -> None:
    # D-4, S-72
    listener.engine.send_close(1000, "")
    stream = (
        frame(side, PING, b"1")
        + frame(side, TEXT, b"2")
        + frame(side, CLOSE, b"\x03\xe9")
    )
    assert listener.feed(stream) == [
        PingReceived(b"1"),
        "2",
        CloseReceived(1001, ""),
        Pause.ENDED,
    ]
    assert listener.engine.state is ConnectionState.CLOSE_EXCHANGED


# The end of the stream, and giving up.


def test_nothing_is_parsed_after_the_end_of_the_stream(
    side: ConnectionType, listener: Listener
) -> None:
    listener.feed(frame(side, TEXT, b"abc")[:-1])
    listener.engine.receive_data(frame(side, PING) * 2)
    listener.engine.receive_eof()
    assert listener.engine.state is ConnectionState.CLOSED
    assert not listener.engine.has_undecoded
    assert listener.feed(frame(side, PING)) == [Pause.ENDED]


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([], ConnectionState.FAILING),
        ([Step.CLOSE_SENT], ConnectionState.FAILED),
    ],
)
def test_nothing_is_parsed_after_giving_up(
    side: ConnectionType, lane: Lane | None, steps: list[Step], state: ConnectionState
) -> None:
    engine = make_engine(side, lane)
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
def test_an_error_of_the_parser_is_a_violation(
    lane: Lane | None, error: Exception
) -> None:
    # T1, T6, D-2 below the line
    engine = Engine(BrokenConnection(error), is_client=True, lane=lane)
    assert feed(engine, b"\x89\x01a\x89\x01b") == [
        ViolationFound(1002, f"unexpected bytes: {error}"),
        Pause.ENDED,
    ]
    assert engine.state is ConnectionState.FAILING
    assert feed(engine, b"\x89\x01c") == [Pause.ENDED]


# Limits, with the assembler. So many fragments are slow, and no lane sees them: that of
# the process will do.


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

    engine, assembler = make_engine(CLIENT, LANE), Assembler(math.inf)
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
@pytest.mark.parametrize("opcode", [PING, BINARY])
def test_the_engine_keeps_nothing_of_what_it_has_decoded(
    lane: Lane | None, opcode: Opcode
) -> None:
    import tracemalloc  # noqa: PLC0415  # only CPython has it

    in_one_go, one_by_one = make_engine(CLIENT, lane), make_engine(CLIENT, lane)
    stream = frame(CLIENT, opcode, bytes(125))
    tracemalloc.start()
    try:
        feed(in_one_go, stream * 500 + stream[:1])
        for _ in range(500):
            # As it is when the next receive comes before the engine asks for it.
            one_by_one.receive_data(bytes(bytearray(stream)))
            assert not isinstance(ask(one_by_one), Pause)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000


def test_a_message_of_65537_fragments_is_none_too_many() -> None:
    # Autobahn 9.3.1 and 9.4.1
    listener = Listener(make_engine(CLIENT, LANE))
    stream = b"\x02\x01a" + b"\x00\x01b" * 65_535 + b"\x80\x00"
    assert listener.feed(stream) == [b"a" + b"b" * 65_535, Pause.DATA]


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

    def __bytes__(self) -> bytes:
        return self  # as it is for bytes that are no more than that

    def _own(self, part: bytes) -> CountedBytes:
        own = CountedBytes(part)
        own.copied = self.copied
        self.copied[0] += len(part)
        return own


@pytest.mark.parametrize("room", [1, 64])
def test_many_small_frames_in_one_receive_are_not_copied_again_and_again(
    lane: Lane | None, room: int
) -> None:
    data = CountedBytes((b"\x82\x7e\x03\xe8" + bytes(1000)) * 1000 + b"\x82")
    data.copied = [0]
    listener = Listener(make_engine(CLIENT, lane))
    assert len(listener.feed(data, room=room)) == 1000 + 1
    # To move the rest of the buffer for each frame would copy 500 times as much. The
    # lane in C slices nothing; what is left in the end is.
    assert 1 <= data.copied[0] < 2 * len(data)


# The lane.


class Asked(NamedTuple):
    """What a lane was asked to decode."""

    data: bytes
    is_client: bool
    limit: int
    max_size: int


class Recorder:
    """A lane that records what it is asked, and asks another."""

    def __init__(self, lane: Lane) -> None:
        self.name = "recorder"
        self.decodes_views = lane.decodes_views
        self.asked: list[Asked] = []
        self._lane = lane

    def decode(  # noqa: PLR0917  # as declared
        self,
        data: bytes | memoryview,
        start: int,
        is_client: bool,  # noqa: FBT001  # as declared
        limit: int,
        max_size: int,
        /,
    ) -> tuple[list[str | bytes], int]:
        self.asked.append(Asked(bytes(data[start:]), is_client, limit, max_size))
        return self._lane.decode(data, start, is_client, limit, max_size)

    def cut(  # noqa: PLR0917  # as declared
        self,
        data: bytes | memoryview,
        start: int,
        is_client: bool,  # noqa: FBT001  # as declared
        limit: int,
        max_size: int,
        /,
    ) -> tuple[list[bytes], int]:
        raise AssertionError(data, start, is_client, limit, max_size)

    def wrap(self, first: int, payload: bytes, masking_key: bytes | None, /) -> bytes:
        raise AssertionError(first, payload, masking_key)

    def encode(self, message: str | bytes, masking_key: bytes | None, /) -> bytes:
        raise AssertionError(message, masking_key)

    def encode_batch(
        self,
        messages: Sequence[object],
        start: int,
        masking_keys: bytes | None,
        max_size: int,
        /,
    ) -> tuple[bytes, int]:
        raise AssertionError(messages, start, masking_keys, max_size)

    def mask(  # noqa: PLR0917  # as declared
        self,
        target: bytearray | memoryview,
        source: bytes | bytearray | memoryview,
        start: int,
        stop: int,
        masking_key: bytes,
        /,
    ) -> None:
        self._lane.mask(target, source, start, stop, masking_key)


def test_the_lane_is_told_where_it_is_and_what_it_may_take(
    side: ConnectionType, real_lane: Lane
) -> None:
    recorder = Recorder(real_lane)
    engine = make_engine(side, recorder)
    plain = frame(side, TEXT, b"a")
    engine.receive_data(frame(side, PING) + plain)
    ask(engine, room=7, max_size=5)
    assert not recorder.asked
    ask(engine, room=7, max_size=5)
    assert recorder.asked == [Asked(plain, side is CLIENT, 7, 5)]


def test_the_lane_is_asked_only_in_front_of_a_message_that_has_room(
    side: ConnectionType, real_lane: Lane
) -> None:
    recorder = Recorder(real_lane)
    engine = make_engine(side, recorder)
    plain = frame(side, BINARY, b"b")
    assert feed(engine, plain, room=0) == [Pause.ROOM]
    assert not recorder.asked
    assert feed(engine, b"") == [MessagesReceived([b"b"], len(plain)), Pause.DATA]
    assert len(recorder.asked) == 1


def test_the_lane_is_not_asked_amid_a_message(
    side: ConnectionType, real_lane: Lane
) -> None:
    recorder = Recorder(real_lane)
    engine = make_engine(side, recorder)
    feed(
        engine,
        frame(side, TEXT, fin=False)
        + frame(side, PONG)
        + frame(side, CONTINUATION, fin=False)
        + frame(side, CONTINUATION),
    )
    assert not recorder.asked
    # What would be a plain frame elsewhere is a violation there.
    *_, violation, _ = feed(engine, frame(side, TEXT, fin=False) + frame(side, TEXT))
    assert isinstance(violation, ViolationFound)
    assert not recorder.asked


@pytest.mark.parametrize(
    "first_byte", [0x01, 0x02, 0x00, 0x80, 0xC1, 0xA2, 0x92, 0x83, 0x88, 0x89, 0x8A]
)
def test_the_lane_is_not_asked_about_what_does_not_begin_like_a_plain_frame(
    side: ConnectionType, real_lane: Lane, first_byte: int
) -> None:
    recorder = Recorder(real_lane)
    feed(make_engine(side, recorder), bytes([first_byte]) + frame(side, TEXT)[1:])
    wrong_mask = frame(SERVER if side is CLIENT else CLIENT, TEXT)
    feed(make_engine(side, recorder), wrong_mask)
    assert not recorder.asked


def test_all_messages_that_are_here_are_one_event(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, b"a") + frame(side, BINARY, bytes(126))
    assert feed(engine, stream * 50 + stream[:1], room=200) == [
        MessagesReceived(["a", bytes(126)] * 50, 50 * len(stream)),
        Pause.DATA,
    ]


def test_a_batch_has_no_more_messages_than_there_is_room_for(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    plain = frame(side, TEXT, b"a")
    engine.receive_data(plain * 5)
    for count in (2, 3):
        messages = MessagesReceived(["a"] * count, count * len(plain))
        assert ask(engine, room=count) == messages
    assert ask(engine, room=1) is Pause.DATA


@pytest.mark.parametrize(
    ("opcode", "payload", "fin", "event"),
    [
        (PING, b"x", True, PingReceived(b"x")),
        (PONG, b"x", True, PongReceived(b"x")),
        (BINARY, b"x", False, whole(b"x", is_last=False)),
        (CLOSE, b"", True, CloseReceived(None, "")),
    ],
)
def test_a_batch_ends_in_front_of_what_is_not_plain(
    side: ConnectionType,
    real_lane: Lane,
    *,
    opcode: Opcode,
    payload: bytes,
    fin: bool,
    event: Event,
) -> None:
    engine = make_engine(side, real_lane)
    plain = frame(side, TEXT, b"a")
    stream = plain * 2 + frame(side, opcode, payload, fin=fin) + plain
    engine.receive_data(stream)
    assert ask(engine, room=9) == MessagesReceived(["a", "a"], 2 * len(plain))
    assert ask(engine, room=9) == event


def test_messages_in_front_of_bad_text_are_not_lost(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    plain = frame(side, TEXT, b"a")
    bad = frame(side, TEXT, b"ab\xff")
    messages, violation, pause = feed(engine, plain * 2 + bad + plain, room=9)
    assert messages == MessagesReceived(["a", "a"], 2 * len(plain))
    assert isinstance(violation, ViolationFound)
    assert violation.code == 1007
    assert pause is Pause.ENDED


@pytest.mark.parametrize("length", [125, 126, 65536])
def test_a_message_over_the_limit_is_reported_in_pieces(
    side: ConnectionType, real_lane: Lane, length: int
) -> None:
    engine = make_engine(side, real_lane)
    header, payload = head(side, BINARY, length), bytes(length)
    stream = frame(side, BINARY, payload)
    assert feed(engine, stream, max_size=length) == [
        MessagesReceived([payload], len(stream)),
        Pause.DATA,
    ]
    assert feed(engine, stream, max_size=length - 1) == [whole(payload), Pause.DATA]
    assert feed(engine, header, max_size=length) == [Pause.DATA]
    assert feed(engine, stream[len(header) :], max_size=length) == [
        MessagesReceived([payload], len(stream)),
        Pause.DATA,
    ]
    assert feed(engine, header, max_size=length - 1) == [
        Piece(b"", 0, length, begins_frame=True, is_last=False),
        Pause.DATA,
    ]


@pytest.mark.parametrize("length", [1, 125, 126, 65536, LARGE])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_plain_frame_that_is_still_arriving_is_one_message_in_the_end(
    side: ConnectionType, real_lane: Lane, opcode: Opcode, length: int
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, opcode, b"a" * length)
    data = b"a" * length
    message = data if opcode is BINARY else data.decode()
    ping = frame(side, PING)
    for size in {len(stream) - length, len(stream) - length // 2 - 1, len(stream) - 1}:
        assert feed(engine, ping + stream[:size]) == [PingReceived(b""), Pause.DATA]
        assert feed(engine, stream[size:] + ping) == [
            MessagesReceived([message], len(stream)),
            PingReceived(b""),
            Pause.DATA,
        ]


def test_a_large_text_that_is_bad_is_reported_as_wsproto_reports_it(
    side: ConnectionType, lane: Lane | None
) -> None:
    stream = frame(side, TEXT, "€".encode() * 60_000 + b"\xe2\x82(" + b"a" * 9_000)
    engine = make_engine(side, lane)
    assert feed(engine, stream[:100_000])[-1] is Pause.DATA
    assert feed(engine, stream[100_000:-9_002])[-1] is Pause.DATA  # one byte of three
    *_, violation, pause = feed(engine, stream[-9_002:])
    assert violation == ViolationFound(
        1007,
        "'utf-8' codec can't decode bytes in position 0-1: invalid continuation byte",
    )
    assert pause is Pause.ENDED
    assert engine.state is ConnectionState.FAILING
    assert not engine.has_undecoded


def test_what_is_still_to_be_told_counts_as_undecoded(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, b"a" * 1000 + b"\xff" + b"a" * 1000)
    feed(engine, stream[:500])
    engine.receive_data(stream[500:1500])
    assert isinstance(ask(engine), Piece)
    assert engine.has_undecoded
    assert isinstance(ask(engine), ViolationFound)
    assert not engine.has_undecoded


# Bytes that are received straight to their place.


def fill(engine: Engine, data: bytes) -> None:
    """Receive so many bytes as a stream would: where the engine has a vacancy."""
    vacancy = engine.vacancy(len(data))
    assert vacancy is not None
    with vacancy:
        vacancy[:] = data
    engine.fill_vacancy(len(data))


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_large_frame_may_be_received_straight_to_its_place(
    side: ConnectionType, real_lane: Lane, opcode: Opcode
) -> None:
    engine = make_engine(side, real_lane)
    data = b"0123456789" * 30_000
    stream = frame(side, opcode, data)
    feed(engine, stream[:100])
    for start, end in ((100, 101), (101, 150_000), (150_000, len(stream))):
        assert ask(engine) is Pause.DATA
        fill(engine, stream[start:end])
    message = data if opcode is BINARY else data.decode()
    assert feed(engine, b"") == [
        MessagesReceived([message], len(stream)),
        Pause.DATA,
    ]


def test_both_ways_to_receive_may_take_turns(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, b"0123456789")
    feed(engine, stream[:-8], stream[-8:-7])
    fill(engine, stream[-7:-5])
    feed(engine, stream[-5:-3])
    fill(engine, stream[-3:-1])
    assert feed(engine, stream[-1:] + stream) == [
        MessagesReceived(["0123456789"], len(stream)),
        MessagesReceived(["0123456789"], len(stream)),
        Pause.DATA,
    ]


def test_a_vacancy_ends_with_its_frame_and_may_be_filled_in_part(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, b"abcd")
    feed(engine, stream[:-4])
    vacancy = engine.vacancy(1000)
    assert vacancy is not None
    with vacancy:
        assert len(vacancy) == 4
        vacancy[:3] = stream[-4:-1]
    engine.fill_vacancy(3)
    assert measure_vacancy(engine) == 1
    assert ask(engine) is Pause.DATA
    fill(engine, stream[-1:])
    assert ask(engine) == MessagesReceived(["abcd"], len(stream))


def measure_vacancy(engine: Engine, *, least: int = 1) -> int | None:
    vacancy = engine.vacancy(1000, least=least)
    if vacancy is None:
        return None
    with vacancy:
        return len(vacancy)


def test_a_vacancy_may_be_too_small_to_be_worth_while(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    feed(engine, frame(side, TEXT, bytes(100))[:-10])
    assert measure_vacancy(engine, least=11) is None
    assert measure_vacancy(engine, least=10) == 10
    assert measure_vacancy(engine, least=1) == 10


def test_without_a_lane_there_is_no_vacancy(side: ConnectionType) -> None:
    engine = make_engine(side)
    feed(engine, frame(side, BINARY, bytes(100))[:50])
    assert measure_vacancy(engine) is None


@pytest.mark.parametrize(
    ("opcode", "size", "fin"),
    [
        (BINARY, 0, True),
        (BINARY, 1, True),
        (BINARY, 50, False),
        (BINARY, 14 + 1001, True),
        (PING, 50, True),
        (CLOSE, 50, True),
    ],
    ids=["boundary", "header", "fragment", "whole", "ping", "close"],
)
def test_only_a_plain_frame_that_is_still_arriving_gives_a_vacancy(
    side: ConnectionType, real_lane: Lane, *, opcode: Opcode, size: int, fin: bool
) -> None:
    engine = make_engine(side, real_lane)
    payload = bytes(100 if opcode in (PING, CLOSE) else 1001)
    feed(engine, frame(side, opcode, payload, fin=fin)[:size])
    assert measure_vacancy(engine) is None


def test_a_message_over_the_limit_gives_no_vacancy(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    feed(engine, frame(side, BINARY, bytes(1001))[:50], max_size=1000)
    assert measure_vacancy(engine) is None


def test_there_is_no_vacancy_in_front_of_bytes_that_are_here(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, bytes(100))
    feed(engine, stream[:50])
    engine.receive_data(stream[50:60])
    assert measure_vacancy(engine) is None
    assert ask(engine) is Pause.DATA
    assert measure_vacancy(engine) == len(stream) - 60


def test_a_frame_that_has_become_whole_waits_to_be_told(
    side: ConnectionType, real_lane: Lane
) -> None:
    # A stream that is read into an empty vacancy would seem to have ended.
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, b"a" * 100)
    feed(engine, stream[:50])
    before = engine.has_undecoded
    fill(engine, stream[50:])
    assert (before, engine.has_undecoded) == (False, True)
    assert measure_vacancy(engine) is None
    engine.receive_data(frame(side, PING))
    assert feed(engine, b"", room=0) == [
        MessagesReceived(["a" * 100], len(stream)),
        PingReceived(b""),
        Pause.DATA,
    ]


def test_a_frame_that_has_turned_bad_waits_to_be_told(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, b"a" * 20 + b"\xff" + b"a" * 100)
    feed(engine, stream[:-110])
    fill(engine, stream[-110:-80])
    assert engine.has_undecoded
    assert measure_vacancy(engine) is None
    engine.receive_data(stream[-80:])
    # As wsproto says it of the bytes that hold the fault.
    *_, violation, pause = feed(engine, b"")
    assert violation == ViolationFound(
        1007, "'utf-8' codec can't decode byte 0xff in position 9: invalid start byte"
    )
    assert pause is Pause.ENDED
    assert measure_vacancy(engine) is None


def test_when_all_is_over_there_is_no_vacancy(
    side: ConnectionType, real_lane: Lane
) -> None:
    ends: list[Callable[[Engine], None]] = [Engine.refuse, Engine.receive_eof]
    for end in ends:
        engine = make_engine(side, real_lane)
        feed(engine, frame(side, TEXT, bytes(1000))[:50])
        assert measure_vacancy(engine) is not None
        end(engine)
        assert measure_vacancy(engine) is None
        assert feed(engine, b"a") == [Pause.ENDED]
        assert not engine.has_undecoded


def test_after_our_close_a_large_frame_is_still_collected(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, TEXT, bytes(100))
    feed(engine, stream[:50])
    engine.send_close(1000, "")
    fill(engine, stream[50:])
    assert feed(engine, b"") == [
        MessagesReceived(["\0" * 100], len(stream)),
        Pause.DATA,
    ]


def test_a_small_binary_frame_that_is_still_arriving_gives_no_vacancy(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    stream = frame(side, BINARY, bytes(65_536))
    assert feed(engine, stream[:-1]) == [Pause.DATA]
    assert measure_vacancy(engine) is None
    assert not engine.has_undecoded
    assert feed(engine, stream[-1:]) == [
        MessagesReceived([bytes(65_536)], len(stream)),
        Pause.DATA,
    ]
    feed(engine, frame(side, BINARY, bytes(65_537))[:-1])
    assert measure_vacancy(engine) == 1


# Bytes that are received to a buffer that others use, too.


class Rival:
    """Somebody else with bytes in the buffer, who leaves it full of what is wrong."""

    def evict(self) -> None:
        pass

    def scribble(self, buffer: ReceiveBuffer) -> None:
        with buffer.lend(self, b"") as view:
            view[:] = b"\xff" * len(view)


@pytest.fixture
def viewing_lane(real_lane: Lane) -> Lane:
    """A lane that is given views."""
    return ViewingLane(real_lane)


def receive(engine: Engine, buffer: ReceiveBuffer, data: bytes) -> None:
    """Receive so many bytes as a stream would: to the buffer, or to a large frame."""
    vacancy = engine.vacancy(len(data), least=1000, buffer=buffer)
    assert vacancy is not None
    with vacancy:
        vacancy[:] = data
    engine.fill_vacancy(len(data))


@pytest.mark.parametrize("is_disturbed", [False, True], ids=["alone", "disturbed"])
def test_bytes_may_be_received_to_a_buffer_in_any_two_parts(
    side: ConnectionType, viewing_lane: Lane, *, is_disturbed: bool
) -> None:
    payload = bytes(range(200))
    message = frame(side, BINARY, payload)
    stream = (
        message
        + frame(side, TEXT, b"text")
        + frame(side, BINARY, b"He", fin=False)
        + frame(side, PING, b"ping")
        + frame(side, CONTINUATION, b"llo")
        + message * 2
        + frame(side, CLOSE, b"\x03\xe8bye")
    )
    buffer, rival = ReceiveBuffer(), Rival()
    for cut in range(1, len(stream)):
        listener = Listener(make_engine(side, viewing_lane))
        reports: list[Report] = []
        for part in (stream[:cut], stream[cut:]):
            receive(listener.engine, buffer, part)
            while not isinstance(event := ask(listener.engine), Pause):
                reports += listener.report(event)
                if is_disturbed:
                    rival.scribble(buffer)
        assert reports == [
            payload,
            "text",
            PingReceived(b"ping"),
            b"Hello",
            payload,
            payload,
            CloseReceived(1000, "bye"),
        ]


def test_what_is_not_used_stays_in_front_of_what_is_received_next(
    side: ConnectionType, viewing_lane: Lane
) -> None:
    engine = make_engine(side, viewing_lane)
    buffer = ReceiveBuffer()
    stream = frame(side, BINARY, bytes(1000))
    receive(engine, buffer, stream + stream[:600])
    assert ask(engine) == MessagesReceived([bytes(1000)], len(stream))
    assert ask(engine) is Pause.DATA
    vacancy = engine.vacancy(sys.maxsize, buffer=buffer)
    assert vacancy is not None
    assert len(vacancy) == len(buffer.view) - 600
    # Nothing was received after all.
    receive(engine, buffer, stream[600:])
    assert ask(engine) == MessagesReceived([bytes(1000)], len(stream))
    assert ask(engine) is Pause.DATA
    vacancy = engine.vacancy(sys.maxsize, buffer=buffer)
    assert vacancy is not None
    assert len(vacancy) == len(buffer.view)


def test_both_kinds_of_memory_may_take_turns(
    side: ConnectionType, viewing_lane: Lane
) -> None:
    engine = make_engine(side, viewing_lane)
    buffer = ReceiveBuffer()
    stream = frame(side, BINARY, b"0123456789" * 10_000)
    for _ in range(2):
        receive(engine, buffer, stream[:1000])
        assert ask(engine) is Pause.DATA
        receive(engine, buffer, stream[1000:-1000])
        assert ask(engine) is Pause.DATA
        engine.receive_data(stream[-1000:-10])
        assert ask(engine) is Pause.DATA
        assert engine.vacancy(1000, least=11) is None
        receive(engine, buffer, stream[-10:])
        assert ask(engine) == MessagesReceived([b"0123456789" * 10_000], len(stream))
    receive(engine, buffer, stream[:1])
    assert ask(engine) is Pause.DATA
    assert feed(engine, stream[1:]) == [
        MessagesReceived([b"0123456789" * 10_000], len(stream)),
        Pause.DATA,
    ]


def test_a_buffer_is_not_for_what_is_not_decoded(
    side: ConnectionType, viewing_lane: Lane
) -> None:
    engine = make_engine(side, viewing_lane)
    stream = frame(side, BINARY, bytes(40_000)) * 2
    engine.receive_data(stream)
    assert engine.vacancy(1, buffer=ReceiveBuffer()) is None
    assert ask(engine, room=2) == MessagesReceived([bytes(40_000)] * 2, len(stream))


def test_without_a_lane_that_decodes_views_there_is_no_use_for_a_buffer(
    side: ConnectionType,
) -> None:
    for lane in (None, PYTHON_LANE):
        engine = make_engine(side, lane)
        assert engine.vacancy(1, buffer=ReceiveBuffer()) is None


def test_when_all_is_over_nothing_is_received_to_a_buffer(
    side: ConnectionType, viewing_lane: Lane
) -> None:
    engine = make_engine(side, viewing_lane)
    engine.receive_eof()
    assert engine.vacancy(1, buffer=ReceiveBuffer()) is None


# A look ahead.


@pytest.mark.parametrize(
    ("used", "waiting", "expected"),
    [
        ("", "", False),
        ("", "88", True),
        ("", "88 00", True),
        ("", "08", True),
        ("", "89 00 88 00", False),
        ("", "81 00 88 00", False),
        ("81 00", "88 00", True),
        ("01 00", "88 00", True),
        ("88 02", "88 08", False),
        ("82 05 08", "08 08", False),
        ("02 05 08", "08 08", False),
        ("82 7e", "08 08", False),
        ("82", "88", False),
        ("88 00", "88 00", False),
        ("83 00", "88 00", False),
    ],
)
def test_the_engine_sees_whether_the_next_frame_is_a_close(
    lane: Lane | None, *, used: str, waiting: str, expected: bool
) -> None:
    engine = make_engine(CLIENT, lane)
    feed(engine, bytes.fromhex(used))
    engine.receive_data(bytes.fromhex(waiting))
    assert engine.is_before_close is expected


# Memory.


def test_wsproto_is_only_there_if_it_is_needed(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    plain = frame(side, TEXT, b"a")
    feed(engine, plain * 2 + plain[:-1], plain[-1:] + plain, room=2)
    send(engine, "a")
    send(engine, b"a" * LARGE)
    engine.send_batch(["a"], 0, KEY if engine.is_client else None, 100)
    assert not holds_connection(engine)
    engine.send_ping(b"")
    assert holds_connection(engine)


def holds_connection(engine: Engine) -> bool:
    return any(isinstance(held, Connection) for held in gc.get_referents(engine))


# Frames that leave.


def flatten(frame: bytes | SlicedFrame) -> bytes:
    """Write a frame as it would stand on the wire."""
    if isinstance(frame, bytes):
        return frame
    scratch, stream = bytearray(SLICE_SIZE), b""
    while len(stream) < len(frame):
        stream += frame.cut(len(stream), scratch)
    return stream


def send(engine: Engine, message: str | bytes) -> bytes:
    key = KEY if engine.is_client else None
    return flatten(engine.send_message(message, key))


class Sent(NamedTuple):
    """A frame that has left."""

    opcode: int
    payload: bytes
    is_masked: bool


def read_frames(stream: bytes) -> list[Sent]:
    """Tell what stands in whole frames, each final and without a reserved bit."""
    frames: list[Sent] = []
    while stream:
        header = parse_header(stream)
        assert header is not None
        assert header.fin
        assert header.rsv == 0
        end = header.size + header.payload_length
        assert len(stream) >= end
        key = header.masking_key
        payload = mask_payload(stream[header.size : end], key or bytes(4))
        frames.append(Sent(header.opcode, payload, key is not None))
        stream = stream[end:]
    return frames


@pytest.mark.parametrize("length", [*LENGTHS, SLICE_SIZE, SLICE_SIZE + 1, LARGE])
def test_a_message_is_sent_as_one_frame(
    side: ConnectionType, lane: Lane | None, length: int
) -> None:
    engine = make_engine(side, lane)
    text = ("0123456789" * 30_000)[:length]
    payload = text.encode()
    is_masked = side is CLIENT
    assert read_frames(send(engine, text)) == [Sent(TEXT, payload, is_masked)]
    assert read_frames(send(engine, payload)) == [Sent(BINARY, payload, is_masked)]


@pytest.mark.parametrize("text", ["é€😀", "€" * 1000, "😀" * 60_000, "😀" * 140_000])
def test_text_is_sent_as_utf_8(
    side: ConnectionType, lane: Lane | None, text: str
) -> None:
    engine = make_engine(side, lane)
    assert read_frames(send(engine, text)) == [
        Sent(TEXT, text.encode(), side is CLIENT)
    ]


class Name(str):
    """Text of a kind of its own."""

    __slots__ = ()


@pytest.mark.parametrize("length", [1, SLICE_SIZE + 1])
def test_text_of_another_class_is_text(
    side: ConnectionType, lane: Lane | None, length: int
) -> None:
    engine = make_engine(side, lane)
    assert read_frames(send(engine, Name("a" * length))) == [
        Sent(TEXT, b"a" * length, side is CLIENT)
    ]


def test_a_message_may_be_encoded_without_asking_the_engine(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    assert engine.encode is not None
    for message in ("a€", b"a" * SLICE_SIZE):
        key = KEY if side is CLIENT else None
        assert engine.encode(message, key) == send(engine, message)


def test_without_a_lane_a_message_is_encoded_by_the_engine(
    side: ConnectionType,
) -> None:
    assert make_engine(side).encode is None


@pytest.mark.parametrize("length", [10, SLICE_SIZE + 1])
def test_a_client_masks_with_the_key_that_it_is_given(
    real_lane: Lane, length: int
) -> None:
    engine = make_engine(CLIENT, real_lane)
    frames = [flatten(engine.send_message(bytes(length), KEY)) for _ in range(2)]
    assert frames[0] == frames[1]
    header = parse_header(frames[0])
    assert header is not None
    assert header.masking_key == KEY


@pytest.mark.parametrize("length", [10, SLICE_SIZE + 1])
def test_a_client_without_a_key_lets_wsproto_draw_one(
    lane: Lane | None, length: int
) -> None:
    # RFC 6455 section 5.3
    engine = make_engine(CLIENT, lane)
    frames = {flatten(engine.send_message(bytes(length))) for _ in range(20)}
    assert len(frames) == 20
    for data in frames:
        assert read_frames(data) == [Sent(BINARY, bytes(length), is_masked=True)]


def test_a_large_frame_is_to_be_written_in_slices(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    key = KEY if side is CLIENT else None
    for message in ("x" * SLICE_SIZE, b"x" * SLICE_SIZE):
        assert isinstance(engine.send_message(message, key), bytes)
    for message in ("x" * (SLICE_SIZE + 1), b"x" * (SLICE_SIZE + 1)):
        assert isinstance(engine.send_message(message, key), SlicedFrame)


def make_batch(
    engine: Engine, messages: Sequence[object], start: int, max_size: int
) -> tuple[bytes, int]:
    keys = KEY * (len(messages) - start) if engine.is_client else None
    return engine.send_batch(messages, start, keys, max_size)


BATCH: list[str | bytes] = ["a", b"b", "", b"\xff" * 126, "€" * 50, b"c" * 65536, "d"]


def test_batches_hold_every_message_in_order(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = make_engine(side, lane)
    stream, start = b"", 0
    while start < len(BATCH):
        frames, stop = make_batch(engine, BATCH, start, 100_000)
        assert stop > start
        stream, start = stream + frames, stop
    assert read_frames(stream) == [
        Sent(TEXT, message.encode(), side is CLIENT)
        if isinstance(message, str)
        else Sent(BINARY, message, side is CLIENT)
        for message in BATCH
    ]


def test_a_batch_holds_many_messages(side: ConnectionType, lane: Lane | None) -> None:
    engine = make_engine(side, lane)
    frames, stop = make_batch(engine, ["€", b"a"] * 10, 5, 1000)
    assert stop == 20
    assert [sent.payload for sent in read_frames(frames)] == [
        b"a",
        *(["€".encode(), b"a"] * 7),
    ]


def test_a_batch_is_as_long_as_it_may_be(side: ConnectionType, real_lane: Lane) -> None:
    engine = make_engine(side, real_lane)
    size = len(send(engine, b"abc"))
    for max_size, count in ((3 * size - 1, 2), (3 * size, 3), (9 * size, 5)):
        frames, stop = make_batch(engine, [b"abc"] * 7, 2, max_size)
        assert stop == 2 + count
        assert frames == send(engine, b"abc") * count


@pytest.mark.parametrize(
    "message",
    [None, 1, bytearray(b"a"), memoryview(b"a"), "a\ud800", b"x" * 1001, "x" * 1001],
    ids=["none", "int", "bytearray", "view", "surrogate", "long_bytes", "long_text"],
)
def test_a_batch_ends_in_front_of_what_is_to_be_looked_at_alone(
    side: ConnectionType, lane: Lane | None, message: object
) -> None:
    engine = make_engine(side, lane)
    assert make_batch(engine, ["a", message, "b"], 1, 1000) == (b"", 1)
    frames, stop = make_batch(engine, ["a", message, "b"], 0, 1000)
    assert stop == 1
    assert read_frames(frames) == [Sent(TEXT, b"a", side is CLIENT)]


def test_without_keys_the_batch_of_a_client_is_made_by_wsproto(
    lane: Lane | None,
) -> None:
    engine = make_engine(CLIENT, lane)
    frames, stop = engine.send_batch(["a", "b"], 0, None, 1000)
    assert stop == 2
    assert read_frames(frames) == [
        Sent(TEXT, b"a", is_masked=True),
        Sent(TEXT, b"b", is_masked=True),
    ]


@pytest.mark.parametrize("payload", [b"", b"\xff", b"x" * 125])
def test_pings_and_pongs_are_sent_as_given(
    side: ConnectionType, lane: Lane | None, payload: bytes
) -> None:
    engine = make_engine(side, lane)
    is_masked = side is CLIENT
    assert read_frames(engine.send_ping(payload)) == [Sent(PING, payload, is_masked)]
    assert read_frames(engine.send_pong(payload)) == [Sent(PONG, payload, is_masked)]


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
    side: ConnectionType,
    lane: Lane | None,
    *,
    code: int | None,
    reason: str,
    payload: bytes,
) -> None:
    engine = make_engine(side, lane)
    assert read_frames(engine.send_close(code, reason)) == [
        Sent(CLOSE, payload, side is CLIENT)
    ]
    assert engine.state is ConnectionState.LOCAL_CLOSING


def test_the_close_of_the_peer_is_answered(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = make_engine(side, lane)
    feed(engine, frame(side, CLOSE, b"\x03\xf6"))
    assert read_frames(engine.send_close(1014, "")) == [
        Sent(CLOSE, b"\x03\xf6", side is CLIENT)
    ]
    assert engine.state is ConnectionState.CLOSE_EXCHANGED


def test_a_violation_is_answered_behind_replies_to_what_came_before(
    side: ConnectionType, lane: Lane | None
) -> None:
    # D-1, T17
    engine = make_engine(side, lane)
    feed(engine, frame(side, 3))
    stream = send(engine, "a") + engine.send_pong(b"b") + engine.send_ping(b"c")
    is_masked = side is CLIENT
    assert read_frames(stream + engine.send_close(1002, "")) == [
        Sent(TEXT, b"a", is_masked),
        Sent(PONG, b"b", is_masked),
        Sent(PING, b"c", is_masked),
        Sent(CLOSE, b"\x03\xea", is_masked),
    ]
    assert engine.state is ConnectionState.FAILED


@pytest.mark.parametrize("length", [1, SLICE_SIZE])
def test_text_that_utf_8_cannot_carry_changes_nothing(
    side: ConnectionType, lane: Lane | None, length: int
) -> None:
    engine = make_engine(side, lane)
    with pytest.raises(UnicodeEncodeError):
        send(engine, "a" * length + "\ud800")
    assert read_frames(send(engine, b"b")) == [Sent(BINARY, b"b", side is CLIENT)]


SENDERS: dict[str, Callable[[Engine], object]] = {
    "message": lambda engine: engine.send_message("x", KEY),
    "batch": lambda engine: engine.send_batch(["x"], 0, KEY, 100),
    "ping": lambda engine: engine.send_ping(b""),
    "pong": lambda engine: engine.send_pong(b""),
    "close": lambda engine: engine.send_close(1000, ""),
}


@pytest.mark.parametrize("send_it", SENDERS.values(), ids=SENDERS)
def test_to_send_behind_our_close_is_a_mistake_of_ours(
    side: ConnectionType, lane: Lane | None, send_it: Callable[[Engine], object]
) -> None:
    # D-4: no error of wsproto gets out
    engine = make_engine(side, lane)
    engine.send_close(1000, "")
    with pytest.raises(AssertionError):
        send_it(engine)
    assert engine.state is ConnectionState.LOCAL_CLOSING


# What has arrived of a message, told at once.


def tell_parts(engine: Engine, *chunks: bytes) -> list[Event | Pause]:
    return feed(engine, *chunks, max_size=0)


def test_what_is_here_of_a_frame_is_told_when_it_is_asked_for(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    wire = frame(side, BINARY, bytes(range(200)) * 3)
    start = len(wire) - 600
    assert tell_parts(engine, wire[:3]) == [Pause.DATA]
    assert tell_parts(engine, wire[3:start]) == [
        Piece(b"", 0, 600, begins_frame=True, is_last=False),
        Pause.DATA,
    ]
    assert tell_parts(engine, wire[start : start + 1], wire[start + 1 : -1]) == [
        Piece(b"\0", 1, 599, begins_frame=False, is_last=False),
        Piece((bytes(range(200)) * 3)[1:-1], 598, 1, False, False),
        Pause.DATA,
    ]
    assert tell_parts(engine, wire[-1:]) == [
        Piece(bytes([199]), 1, 0, begins_frame=False, is_last=True),
        Pause.DATA,
    ]
    assert feed(engine, frame(side, TEXT, b"next"))[0] == MessagesReceived(
        ["next"], len(frame(side, TEXT, b"next"))
    )


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("here", [1, 1000, LARGE - 1, LARGE])
def test_what_was_collected_is_told_when_it_is_asked_for(
    side: ConnectionType, real_lane: Lane, opcode: Opcode, here: int
) -> None:
    engine = make_engine(side, real_lane)
    wire = frame(side, opcode, b"x" * LARGE)
    start = len(wire) - LARGE
    assert feed(engine, wire[: start + min(here, LARGE - 1)]) == [Pause.DATA]
    engine.receive_data(wire[start + min(here, LARGE - 1) : start + here])
    told = [ask(engine, max_size=0) for _ in range(2)]
    pieces = [each for each in told if isinstance(each, Piece)]
    assert sum(piece.size for piece in pieces) == here
    assert [piece.begins_frame for piece in pieces] == [True, False][: len(pieces)]
    assert pieces[-1].is_last == (here == LARGE)
    assert pieces[-1].pending == LARGE - here
    assert {type(piece.data) for piece in pieces} == {str if opcode == TEXT else bytes}
    if here < LARGE:
        *_, last, _ = feed(engine, wire[start + here :])  # parts were asked for once
        assert isinstance(last, Piece)
        assert last.is_last


def test_a_collected_frame_that_is_whole_may_still_be_asked_for_in_parts(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    wire = frame(side, TEXT, b"x" * LARGE)
    feed(engine, wire[:-1])
    vacancy = engine.vacancy(10)
    assert vacancy is not None
    with vacancy:
        vacancy[:] = wire[-1:]
    engine.fill_vacancy(1)
    assert ask(engine, max_size=0) == whole("x" * LARGE)
    assert ask(engine) is Pause.DATA
    assert engine.vacancy(10) is None


def test_a_message_told_in_parts_has_no_vacancy_of_its_own(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    tell_parts(engine, head(side, BINARY, LARGE))
    assert engine.vacancy(LARGE) is None


def test_an_empty_message_is_whole_however_it_is_asked_for(
    side: ConnectionType, real_lane: Lane
) -> None:
    plain = frame(side, TEXT)
    assert tell_parts(make_engine(side, real_lane), plain) == [
        MessagesReceived([""], len(plain)),
        Pause.DATA,
    ]


def test_a_header_that_was_begun_needs_no_room(
    side: ConnectionType, real_lane: Lane
) -> None:
    wire = frame(side, BINARY, b"x" * 300, fin=False)
    for cut in range(2, len(wire) - 300):
        engine = make_engine(side, real_lane)
        assert tell_parts(engine, wire[:cut]) == [Pause.DATA]
        assert not engine.is_before_close
        piece, _ = feed(engine, wire[cut:], room=0, max_size=0)
        assert piece == whole(b"x" * 300, is_last=False)


def test_no_close_is_seen_within_a_frame_that_is_told_in_parts(
    side: ConnectionType, real_lane: Lane
) -> None:
    close = frame(side, CLOSE)
    engine = make_engine(side, real_lane)
    tell_parts(engine, head(side, BINARY, len(close), fin=False))
    engine.receive_data(close * 2)
    assert not engine.is_before_close
    ask(engine, max_size=0)
    assert engine.is_before_close


def test_a_stream_that_is_over_has_nothing_more_to_tell(
    side: ConnectionType, real_lane: Lane
) -> None:
    engine = make_engine(side, real_lane)
    tell_parts(engine, head(side, BINARY, 9) + b"x")
    engine.receive_data(b"yyy")
    engine.refuse()
    assert ask(engine, max_size=0) is Pause.ENDED
    assert not engine.has_undecoded
    assert not engine.is_before_close


def test_bad_text_behind_parts_that_were_told_is_1007(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = make_engine(side, lane)
    start = frame(side, TEXT, "€".encode()[:2], fin=False)
    middle = frame(side, CONTINUATION, "€".encode()[2:] + b"ok", fin=False)
    *pieces, pause = tell_parts(engine, start, middle)
    assert (
        "".join(str(each.data) for each in pieces if isinstance(each, Piece)) == "€ok"
    )
    assert pause is Pause.DATA
    wire = frame(side, CONTINUATION, b"fine\xff" + bytes(100))
    header = len(wire) - 105
    *_, pause = tell_parts(engine, wire[: header + 4])
    assert pause is Pause.DATA
    violation, pause = tell_parts(engine, wire[header + 4 : header + 5])
    assert isinstance(violation, ViolationFound)
    assert violation.code == 1007
    assert pause is Pause.ENDED
    assert engine.is_over


@pytest.mark.parametrize(
    ("first_byte", "second_byte"),
    [(0x01, 0), (0x82, 0), (0x90, 0), (0x83, 0), (0, 0x80)],
)
def test_what_does_not_go_on_with_the_message_is_1002(
    side: ConnectionType, lane: Lane | None, first_byte: int, second_byte: int
) -> None:
    engine = make_engine(side, lane)
    tell_parts(engine, frame(side, TEXT, b"told\xc3", fin=False))
    mask = 0 if side is CLIENT else 0x80
    header = bytes([first_byte, second_byte ^ mask]) + KEY
    violation, pause = tell_parts(engine, header)
    assert isinstance(violation, ViolationFound)
    assert violation.code == 1002
    assert pause is Pause.ENDED


@pytest.mark.parametrize(
    "length",
    [b"\x7e\x00\x01", b"\x7f" + (65535).to_bytes(8), b"\x7f" + bytes([255] * 8)],
)
@pytest.mark.parametrize("is_begun", [True, False])
def test_a_length_in_the_wrong_form_is_1002_as_soon_as_it_is_here(
    side: ConnectionType, lane: Lane | None, length: bytes, *, is_begun: bool
) -> None:
    engine = make_engine(side, lane)
    if is_begun:
        tell_parts(engine, frame(side, BINARY, b"told", fin=False))
    mask = 0 if side is CLIENT else 0x80
    opcode = CONTINUATION if is_begun else BINARY
    wire = bytes([opcode, length[0] | mask]) + length[1:]
    assert tell_parts(engine, *split(wire[:-1])) == [Pause.DATA]
    violation, pause = tell_parts(engine, wire[-1:])
    assert isinstance(violation, ViolationFound)
    assert violation.code == 1002
    assert pause is Pause.ENDED

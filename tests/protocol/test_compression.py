"""Compressed messages through one engine, and from one engine to another (RFC 7692).

What is agreed on, and the codec alone, are in test_deflate.py.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st
from wsproto.connection import ConnectionType

from trio_websocket._options import PerMessageDeflate
from trio_websocket._protocol.assembler import (
    MAX_FRAGMENTS,
    Assembler,
    MessageTooBig,
)
from trio_websocket._protocol.deflate import (
    Codec,
    DeflateAgreement,
    build_codec,
)
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import (
    CloseReceived,
    Event,
    MessagesReceived,
    Pause,
    Piece,
    PingReceived,
    ViolationFound,
)
from trio_websocket._protocol.frame_header import (
    Opcode,
    build_header,
    mask_payload,
    parse_header,
)
from trio_websocket._protocol.lane import Lane, choose_lane
from trio_websocket._protocol.sliced_frame import SlicedFrame

CLIENT, SERVER = ConnectionType
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
KEY = b"\x9a\x00\xff\x42"
TAIL = b"\x00\x00\xff\xff"

Report = str | bytes | Event | Pause


@pytest.fixture(params=ConnectionType, ids=["client", "server"])
def side(request: pytest.FixtureRequest) -> ConnectionType:
    """The side of the engine under test."""
    assert isinstance(request.param, ConnectionType)
    return request.param


@pytest.fixture(params=["off", "python", "c"])
def lane(request: pytest.FixtureRequest) -> Lane | None:
    """What the engine takes."""
    if request.param == "c":
        pytest.importorskip(
            "trio_websocket._protocol._speedups",
            reason="the compiled lane was not built",
        )
    return choose_lane(str(request.param))


def make_codec(
    side: ConnectionType, *, is_taken_over: bool = True, window: int = 15
) -> Codec:
    agreement = DeflateAgreement(
        server_no_context_takeover=not is_taken_over,
        client_no_context_takeover=not is_taken_over,
        server_max_window_bits=window,
        client_max_window_bits=window,
    )
    options = PerMessageDeflate(threshold=8)
    return build_codec(options, agreement, is_client=side is CLIENT)


def make_engine(
    side: ConnectionType, lane: Lane | None = None, *, is_taken_over: bool = True
) -> Engine:
    codec = make_codec(side, is_taken_over=is_taken_over)
    return Engine(is_client=side is CLIENT, lane=lane, codec=codec)


class Peer:
    """What the other end sends, made with zlib alone."""

    def __init__(self, side: ConnectionType, *, is_taken_over: bool = True) -> None:
        self._key = None if side is CLIENT else KEY
        self._is_taken_over = is_taken_over
        self._zlib = zlib.compressobj(wbits=-15)

    def compress(self, data: bytes) -> bytes:
        if not self._is_taken_over:
            self._zlib = zlib.compressobj(wbits=-15)
        compressed = self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        return compressed.removesuffix(TAIL)

    def frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
    ) -> bytes:
        key = self._key
        header = build_header(opcode, len(payload), fin=fin, rsv=rsv, masking_key=key)
        return header + (payload if key is None else mask_payload(payload, key))

    def message(self, opcode: int, data: bytes, *, sizes: Sequence[int] = ()) -> bytes:
        """Make a compressed message, in fragments of such sizes and a last one."""
        return self.cut(opcode, self.compress(data), sizes)

    def cut(self, opcode: int, payload: bytes, sizes: Sequence[int]) -> bytes:
        """Make the fragments of what is compressed already."""
        edges = [0, *itertools.accumulate(sizes), len(payload)]
        edges = sorted(min(edge, len(payload)) for edge in edges)
        parts = [payload[at:end] for at, end in itertools.pairwise(edges)]
        frames = [
            self.frame(
                CONTINUATION if number else opcode,
                part,
                fin=number == len(parts) - 1,
                rsv=0 if number else 4,
            )
            for number, part in enumerate(parts)
        ]
        return b"".join(frames)


class Listener:
    """Feeds an engine, and reports messages instead of their pieces."""

    def __init__(self, engine: Engine, max_size: float = math.inf) -> None:
        self.engine = engine
        self.largest = 0  # how many bytes came into being at once
        self._assembler = Assembler(max_size)
        self._max_size = int(min(max_size, sys.maxsize))

    def count_fragments(self, number: int) -> None:
        """Have the message begin with so many empty fragments, which nobody sent."""
        for _ in range(number):
            assert self._assembler.add(Piece("", 0, 0, True, False)) is None

    def feed(self, *chunks: bytes, room: int = 9) -> list[Report]:
        reports: list[Report] = []
        pause = Pause.DATA
        for chunk in chunks:
            self.engine.receive_data(chunk)
            while not isinstance(event := self._ask(room), Pause):
                reports += self._report(event)
            pause = event
        return [*reports, pause]

    def _ask(self, room: int) -> Event | Pause:
        return self.engine.next_event(room=room, max_size=self._max_size)

    def _report(self, event: Event) -> Sequence[Report]:
        match event:
            case MessagesReceived(messages=messages):
                return messages
            case Piece():
                self.largest = max(self.largest, event.size)
                message = self._assembler.add(event)
                return [] if message is None else [message]
            case _:
                return [event]


def make_text(size: int) -> str:
    """Make text that compresses about as well as text does."""
    words = [f"{number * number % 977}\u20ac" for number in range(size)]
    return " ".join(words)[:size]


TEXTS = ["", "a", "Hello", "h\u00e9llo \U0001f600" * 9, make_text(5000)]
LARGE = make_text(300_000)


# In.


@pytest.mark.parametrize("is_taken_over", [True, False])
def test_compressed_messages_are_received(
    side: ConnectionType, lane: Lane | None, *, is_taken_over: bool
) -> None:
    listener = Listener(make_engine(side, lane, is_taken_over=is_taken_over))
    peer = Peer(side, is_taken_over=is_taken_over)
    for text in [*TEXTS, LARGE, *TEXTS]:
        data = text.encode()
        wire = peer.message(TEXT, data) + peer.message(BINARY, data)
        assert listener.feed(wire) == [text, data, Pause.DATA]


def test_a_message_is_received_in_any_two_parts(
    side: ConnectionType, lane: Lane | None
) -> None:
    text = make_text(300)
    stream_peer = Peer(side)
    wire = stream_peer.message(TEXT, text.encode())
    wire += stream_peer.message(BINARY, b"data" * 99, sizes=[3])
    wire += stream_peer.frame(TEXT, b"plain")
    for cut in range(1, len(wire)):
        listener = Listener(make_engine(side, lane))
        reports = listener.feed(wire[:cut], wire[cut:])
        assert reports == [text, b"data" * 99, "plain", Pause.DATA]


def test_a_message_is_received_byte_by_byte(
    side: ConnectionType, lane: Lane | None
) -> None:
    listener = Listener(make_engine(side, lane))
    peer = Peer(side)
    for text in TEXTS:
        wire = peer.message(TEXT, text.encode(), sizes=[1, 0, 3])
        chunks = [bytes([byte]) for byte in wire]
        assert listener.feed(*chunks) == [text, Pause.DATA]


def test_control_frames_between_fragments_change_nothing(
    side: ConnectionType, lane: Lane | None
) -> None:
    listener = Listener(make_engine(side, lane))
    peer = Peer(side)
    for _ in range(3):
        payload = peer.compress(b"compressed" * 9)
        wire = (
            peer.frame(TEXT, payload[:5], fin=False, rsv=4)
            + peer.frame(PING, b"1")
            + peer.frame(CONTINUATION, payload[5:9], fin=False)
            + peer.frame(PING, b"2")
            + peer.frame(CONTINUATION, payload[9:])
        )
        assert [
            report for report in listener.feed(wire) if isinstance(report, str)
        ] == ["compressed" * 9]


def test_plain_messages_between_compressed_ones_change_nothing(
    side: ConnectionType, lane: Lane | None
) -> None:
    listener = Listener(make_engine(side, lane))
    peer = Peer(side)
    for _ in range(3):
        wire = (
            peer.message(TEXT, b"compressed")
            + peer.frame(TEXT, b"plain")
            + peer.frame(BINARY, b"in two ", fin=False)
            + peer.frame(CONTINUATION, b"parts")
            + peer.message(TEXT, b"compressed")
        )
        assert listener.feed(wire) == [
            "compressed",
            "plain",
            b"in two parts",
            "compressed",
            Pause.DATA,
        ]


def test_blocks_that_are_the_last_of_a_stream_are_understood(
    side: ConnectionType, lane: Lane | None
) -> None:
    """RFC 7692 section 7.2.3.5."""
    listener = Listener(make_engine(side, lane))
    peer = Peer(side)
    wire = peer.frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4)
    assert listener.feed(wire * 3) == ["Hello", "Hello", "Hello", Pause.DATA]


def test_a_close_behind_a_compressed_message_is_received(
    side: ConnectionType, lane: Lane | None
) -> None:
    listener = Listener(make_engine(side, lane))
    peer = Peer(side)
    wire = peer.message(TEXT, b"last words") + peer.frame(CLOSE, b"\x03\xe8")
    reports = listener.feed(wire)
    assert reports == ["last words", CloseReceived(1000, ""), Pause.ENDED]


def test_a_message_waits_for_room_and_once_begun_needs_none(
    side: ConnectionType, lane: Lane | None
) -> None:
    listener = Listener(make_engine(side, lane))
    wire = Peer(side).message(TEXT, LARGE.encode(), sizes=[10])
    assert listener.feed(wire[:100], room=0) == [Pause.ROOM]
    before = listener.engine.has_undecoded
    assert listener.feed(b"") == [Pause.DATA]
    assert (before, listener.engine.has_undecoded) == (True, False)
    assert listener.feed(wire[100:], room=0) == [LARGE, Pause.DATA]


# What is wrong.


def check_violation(
    reports: Sequence[Report], code: int, words: str, before: Sequence[Report] = ()
) -> None:
    *others, violation, pause = reports
    assert others == list(before)
    assert isinstance(violation, ViolationFound)
    assert violation.code == code
    assert words in violation.problem
    assert pause is Pause.ENDED


@pytest.mark.parametrize("sizes", [[], [3]], ids=["whole", "fragments"])
def test_what_cannot_be_inflated_is_1007(
    side: ConnectionType, lane: Lane | None, sizes: list[int]
) -> None:
    listener = Listener(make_engine(side, lane))
    peer = Peer(side)
    payload = bytes.fromhex("f248cdc9ffffffffff")
    wire = peer.frame(TEXT, payload[: len(sizes) * 3], fin=False, rsv=4) * len(sizes)
    wire += peer.frame(
        CONTINUATION if sizes else TEXT,
        payload[len(sizes) * 3 :],
        rsv=0 if sizes else 4,
    )
    *pieces, violation, pause = listener.feed(peer.frame(PING) + wire)
    assert pieces == [PingReceived(b"")]
    assert isinstance(violation, ViolationFound)
    assert violation.code == 1007
    assert "compressed message" in violation.problem
    assert pause is Pause.ENDED
    assert not listener.engine.has_undecoded


def test_text_that_is_not_utf_8_is_1007(
    side: ConnectionType, lane: Lane | None
) -> None:
    for sizes in ([], [4]):
        listener = Listener(make_engine(side, lane))
        wire = Peer(side).message(TEXT, b"bad: \xff" * 30, sizes=sizes)
        check_violation(listener.feed(wire), 1007, "utf-8")


def test_a_code_point_may_be_cut_but_not_off(
    side: ConnectionType, lane: Lane | None
) -> None:
    for sizes in itertools.chain([[]], ([size] for size in range(1, 12))):
        listener = Listener(make_engine(side, lane))
        peer = Peer(side)
        euro = peer.message(TEXT, "\u20ac\u20ac\u20ac".encode(), sizes=sizes)
        assert listener.feed(euro) == ["\u20ac\u20ac\u20ac", Pause.DATA]
        cut_off = peer.message(TEXT, "\u20ac".encode()[:2], sizes=sizes)
        check_violation(listener.feed(cut_off), 1007, "utf-8")


@pytest.mark.parametrize(
    ("opcode", "rsv"),
    [(TEXT, 2), (TEXT, 1), (TEXT, 6), (BINARY, 5), (PING, 4), (CLOSE, 4), (3, 4)],
)
def test_reserved_bits_that_mean_nothing_are_1002(
    side: ConnectionType, lane: Lane | None, opcode: int, rsv: int
) -> None:
    """W-44: a control frame is never compressed."""
    listener = Listener(make_engine(side, lane))
    wire = Peer(side).frame(opcode, b"", rsv=rsv)
    check_violation(listener.feed(wire), 1002, "")


def test_a_fragment_that_says_again_that_it_is_compressed_is_1002(
    side: ConnectionType, lane: Lane | None
) -> None:
    peer = Peer(side)
    payload = peer.compress(b"compressed")
    for opcode in (CONTINUATION, TEXT):
        listener = Listener(make_engine(side, lane))
        wire = peer.frame(TEXT, payload[:3], fin=False, rsv=4)
        wire += peer.frame(opcode, payload[3:], rsv=4)
        check_violation(listener.feed(wire), 1002, "")


def test_a_continuation_of_nothing_is_1002(
    side: ConnectionType, lane: Lane | None
) -> None:
    for rsv in (0, 4):
        listener = Listener(make_engine(side, lane))
        peer = Peer(side)
        wire = peer.message(TEXT, b"compressed")
        wire += peer.frame(CONTINUATION, b"x", rsv=rsv)
        check_violation(listener.feed(wire), 1002, "", ["compressed"])


def test_a_new_message_amid_a_compressed_one_is_1002(
    side: ConnectionType, lane: Lane | None
) -> None:
    listener = Listener(make_engine(side, lane))
    peer = Peer(side)
    wire = peer.frame(TEXT, peer.compress(b"compressed")[:3], fin=False, rsv=4)
    check_violation(listener.feed(wire + peer.frame(TEXT, b"x")), 1002, "")


@pytest.mark.parametrize(
    "head", ["c1 7e 007d", "c2 7f 000000000000ffff", "c1 7f 8000000000000000"]
)
def test_a_length_that_breaks_the_rules_is_1002(
    side: ConnectionType, lane: Lane | None, head: str
) -> None:
    header = bytearray.fromhex(head)
    if side is SERVER:
        header[1] |= 0x80
    listener = Listener(make_engine(side, lane))
    check_violation(listener.feed(bytes(header) + KEY), 1002, "")


def test_a_wrong_mask_is_told_by_the_second_byte(
    side: ConnectionType, lane: Lane | None
) -> None:
    listener = Listener(make_engine(side, lane))
    wire = b"\xc1\x80" if side is CLIENT else b"\xc1\x00"
    check_violation(listener.feed(wire), 1002, "")


def test_without_a_codec_a_compressed_message_is_1002(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = Engine(is_client=side is CLIENT, lane=lane)
    wire = Peer(side).message(TEXT, b"compressed")
    check_violation(Listener(engine).feed(wire), 1002, "")


# Bombs.


@functools.cache
def make_bomb() -> bytes:
    return Peer(CLIENT).compress(bytes(50_000_000))


@pytest.mark.parametrize("sizes", [[], [1, 2, 3]], ids=["whole", "fragments"])
def test_no_more_comes_into_being_than_is_wanted(
    side: ConnectionType, lane: Lane | None, sizes: list[int]
) -> None:
    """S-61."""
    listener = Listener(make_engine(side, lane), max_size=100_000)
    wire = Peer(side).cut(BINARY, make_bomb(), sizes)
    assert len(wire) < 60_000
    with pytest.raises(MessageTooBig):
        listener.feed(wire)
    assert listener.largest <= 100_001


def test_a_message_as_large_as_the_limit_is_not_too_large(
    side: ConnectionType, lane: Lane | None
) -> None:
    for size in (1, 1000, 100_000, 300_000):
        peer = Peer(side)
        listener = Listener(make_engine(side, lane), max_size=size)
        data = bytes(size)
        for sizes in ([], [1]):
            wire = peer.message(BINARY, data, sizes=sizes)
            assert listener.feed(wire) == [data, Pause.DATA]
        with pytest.raises(MessageTooBig):
            listener.feed(peer.message(BINARY, bytes(size + 1)))


def test_a_message_that_is_too_large_may_be_passed_over(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = make_engine(side, lane)
    peer = Peer(side)
    engine.receive_data(
        peer.message(BINARY, bytes(1_000_000)) + peer.message(TEXT, b"behind" * 9)
    )
    size = 0
    while True:
        event = engine.next_event(room=1, max_size=1000)
        assert isinstance(event, Piece)
        size += event.size
        if event.is_last:
            break
    assert size == 1_000_000
    event = engine.next_event(room=1, max_size=1000)
    if isinstance(event, MessagesReceived):
        assert event.messages == ["behind" * 9]
    else:
        assert isinstance(event, Piece)
        assert event.data == "behind" * 9


def test_empty_fragments_are_counted(side: ConnectionType, lane: Lane | None) -> None:
    peer = Peer(side)
    listener = Listener(make_engine(side, lane))
    # Most of them are counted without bytes: to parse so many takes many seconds.
    listener.count_fragments(MAX_FRAGMENTS - 100)
    empty = peer.frame(CONTINUATION, b"", fin=False)
    wire = peer.frame(TEXT, b"", fin=False, rsv=4) + empty * 99
    assert listener.feed(wire) == [Pause.DATA]
    with pytest.raises(MessageTooBig, match="fragments"):
        listener.feed(empty)


# Out.


def read_frame(wire: bytes | SlicedFrame) -> tuple[int, bytes]:
    """Read one frame: its first byte, and the payload unmasked."""
    assert isinstance(wire, bytes)
    header = parse_header(wire)
    assert header is not None
    payload = wire[header.size :]
    assert len(payload) == header.payload_length
    key = header.masking_key
    return wire[0], payload if key is None else mask_payload(payload, key)


def find_key(side: ConnectionType) -> bytes | None:
    return KEY if side is CLIENT else None


@pytest.mark.parametrize("message", ["text " * 20, b"bytes" * 20])
def test_a_message_that_is_sent_is_compressed(
    side: ConnectionType, lane: Lane | None, message: str | bytes
) -> None:
    engine = make_engine(side, lane)
    inflator = zlib.decompressobj(wbits=-15)
    for _ in range(3):
        first, payload = read_frame(engine.send_message(message, find_key(side)))
        assert first == (0xC1 if isinstance(message, str) else 0xC2)
        assert len(payload) < 40
        data = message.encode() if isinstance(message, str) else message
        assert inflator.decompress(payload + TAIL) == data


def test_what_is_not_worth_it_is_sent_as_it_is(
    side: ConnectionType, lane: Lane | None
) -> None:
    """S-59."""
    engine = make_engine(side, lane)
    key = find_key(side)
    inflator = zlib.decompressobj(wbits=-15)
    for _ in range(3):
        first, payload = read_frame(engine.send_message("seven b", key))
        assert (first, payload) == (0x81, b"seven b")
        frame = engine.send_message(b"not now, " * 9, key, compress=False)
        assert read_frame(frame) == (0x82, b"not now, " * 9)
        # The threshold is in bytes.
        _, payload = read_frame(engine.send_message("\u20ac" * 3, key))
        assert inflator.decompress(payload + TAIL) == "\u20ac".encode() * 3
        assert engine.send_ping(b"p" * 100)[0] == 0x89
        assert engine.send_pong(b"p" * 100)[0] == 0x8A


def test_an_end_that_may_use_no_window_compresses_nothing(
    side: ConnectionType, lane: Lane | None
) -> None:
    codec = make_codec(side, window=8)
    engine = Engine(is_client=side is CLIENT, lane=lane, codec=codec)
    first, _ = read_frame(engine.send_message("text " * 20, find_key(side)))
    assert first == 0x81


def test_text_that_utf_8_cannot_carry_changes_nothing(
    side: ConnectionType, lane: Lane | None
) -> None:
    engine = make_engine(side, lane)
    key = find_key(side)
    inflator = zlib.decompressobj(wbits=-15)
    with pytest.raises(UnicodeEncodeError):
        engine.send_message("\ud800" * 99, key)
    _, payload = read_frame(engine.send_message("text " * 20, key))
    assert inflator.decompress(payload + TAIL) == b"text " * 20


def test_messages_that_are_sent_together_are_compressed(
    side: ConnectionType, lane: Lane | None
) -> None:
    ours = make_engine(side, lane)
    theirs = Listener(make_engine(SERVER if side is CLIENT else CLIENT, lane))
    messages: list[object] = ["text " * 20, "short", b"bytes" * 20, 5]
    keys = KEY * 4 if side is CLIENT else None
    frames, stop = ours.send_batch(messages, 0, keys, 10_000)
    assert stop == 3
    assert len(frames) < 100
    assert theirs.feed(frames) == [*messages[:3], Pause.DATA]
    assert ours.send_batch(["x" * 100, "y" * 100], 0, keys, 500)[1] == 1


@pytest.mark.parametrize("message", ["text " * 20, b"bytes" * 20, "short", b""])
def test_a_message_is_compressed_in_passing_where_there_is_a_lane(
    side: ConnectionType, lane: Lane | None, message: str | bytes
) -> None:
    engine, other = make_engine(side, lane), make_engine(side, lane)
    key = find_key(side)
    if lane is None:
        assert engine.encode is None
        return
    assert engine.encode is not None
    for _ in range(2):  # the second refers to the first
        assert engine.encode(message, key) == other.send_message(message, key)


@given(
    st.sampled_from(ConnectionType),
    st.booleans(),
    st.lists(st.text(max_size=50) | st.binary(max_size=50) | st.just("ab" * 9999)),
    st.integers(1, 5000),
)
def test_what_one_engine_sends_the_other_receives(
    side: ConnectionType,
    is_taken_over: bool,  # noqa: FBT001  # hypothesis draws it
    messages: list[str | bytes],
    size: int,
) -> None:
    other = SERVER if side is CLIENT else CLIENT
    sender = make_engine(side, is_taken_over=is_taken_over)
    listener = Listener(make_engine(other, is_taken_over=is_taken_over))
    wire = b""
    for message in messages:
        frame = sender.send_message(message, find_key(side))
        assert isinstance(frame, bytes)
        wire += frame
    chunks = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert listener.feed(*chunks, b"") == [*messages, Pause.DATA]

"""Messages that extensions change, through one engine and from one to another.

What each extension does to a message or frame is in test_extension_stack.py.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, cast

import pytest
from hypothesis import given, strategies as st
from wsproto.connection import ConnectionType

from trio_websocket._options import PerMessageDeflate
from trio_websocket._protocol.assembler import Assembler, MessageTooBig
from trio_websocket._protocol.deflate import DeflateAgreement, build_codec
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import (
    CloseReceived,
    Event,
    Pause,
    Piece,
    PingReceived,
    ViolationFound,
)
from trio_websocket._protocol.extension import Extension, Kind
from trio_websocket._protocol.extension_stack import Deflation, ExtensionStack
from trio_websocket._protocol.frame import Frame
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.lane import choose_lane

from .lanes import KEY, build_frame, find_key
from .sample_extensions import (
    Braces,
    Brackets,
    Count,
    OtherSuffix,
    Repeat,
    Shout,
    Sign,
    Suffix,
)

CLIENT, SERVER = ConnectionType
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode

Report = str | bytes | Event | Pause


class Double(Brackets):
    """Makes two of each payload."""

    name: ClassVar[str] = "x-double"

    def decode(self, frame: Frame) -> Frame:
        return replace(frame, payload=bytes(frame.payload) * 2)


class Keep(Brackets):
    """Changes nothing."""

    name: ClassVar[str] = "x-keep"

    def decode(self, frame: Frame) -> Frame:
        return frame


class BrokenForMessages(Suffix):
    """Has a mistake."""

    name: ClassVar[str] = "x-broken-message"

    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        raise KeyError(kind)


class BrokenForFrames(Brackets):
    """Has a mistake."""

    name: ClassVar[str] = "x-broken-frame"

    def decode(self, frame: Frame) -> Frame:
        raise KeyError(frame.opcode)


@pytest.fixture(params=ConnectionType, ids=["client", "server"])
def side(request: pytest.FixtureRequest) -> ConnectionType:
    """The side of the engine under test."""
    assert isinstance(request.param, ConnectionType)
    return request.param


def make_engine(side: ConnectionType, *extensions: Extension) -> Engine:
    stack = ExtensionStack(extensions)
    return Engine(is_client=side is CLIENT, lane=choose_lane("python"), stack=stack)


def deflate(side: ConnectionType) -> Deflation:
    agreement = DeflateAgreement(
        server_no_context_takeover=False,
        client_no_context_takeover=False,
        server_max_window_bits=15,
        client_max_window_bits=15,
    )
    options = PerMessageDeflate(threshold=8)
    return Deflation(build_codec(options, agreement, is_client=side is CLIENT))


class Peer:
    """What the other end sends."""

    def __init__(self, side: ConnectionType) -> None:
        self._key = find_key(side)

    def frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
    ) -> bytes:
        return build_frame(opcode, payload, self._key, fin=fin, rsv=rsv)


class Listener:
    """Feeds an engine, and reports messages instead of their pieces."""

    def __init__(self, engine: Engine, max_size: float = math.inf) -> None:
        self.engine = engine
        self.pieces: list[Piece] = []
        self._assembler = Assembler(max_size)
        self._max_size = int(min(max_size, sys.maxsize))

    def feed(self, *chunks: bytes, room: int = 1) -> list[Report]:
        reports: list[Report] = []
        pause = Pause.DATA
        for chunk in chunks:
            self.engine.receive_data(chunk)
            while not isinstance(event := self._ask(room), Pause):
                if isinstance(event, Piece):
                    self.pieces.append(event)
                    message = self._assembler.add(event)
                    reports += [] if message is None else [message]
                else:
                    reports.append(event)
            pause = event
        return [*reports, pause]

    def _ask(self, room: int) -> Event | Pause:
        return self.engine.next_event(room=room, max_size=self._max_size)


def listen(
    side: ConnectionType, *extensions: Extension, max_size: float = math.inf
) -> tuple[Listener, Peer]:
    return Listener(make_engine(side, *extensions), max_size), Peer(side)


# Out.


def send(side: ConnectionType, message: str | bytes, *extensions: Extension) -> bytes:
    engine = make_engine(side, *extensions)
    frame = engine.send_message(message, None if side is SERVER else KEY)
    assert isinstance(frame, bytes)
    return frame


def test_a_message_is_changed_as_a_whole_and_then_as_a_frame(
    side: ConnectionType,
) -> None:
    """W-39."""
    order = [Brackets(), Suffix(), Braces(), Shout(), OtherSuffix(), Sign()]
    key = None if side is SERVER else KEY
    assert send(side, "x", *order) == build_frame(TEXT, b"}]bAX[{", key, rsv=3)
    assert send(side, b"x", *order) == build_frame(BINARY, b"}]bax[{", key, rsv=1)


def test_an_engine_with_extensions_has_no_shorter_way(side: ConnectionType) -> None:
    engine = make_engine(side, Suffix())
    assert engine.encode is None
    assert engine.send_batch(["a", "b"], 1, KEY, 999) == (b"", 1)
    assert engine.keeps_context


def test_text_that_is_not_unicode_reaches_no_extension(side: ConnectionType) -> None:
    count = Count()
    with pytest.raises(UnicodeEncodeError):
        send(side, "\ud800", count)
    assert count.sent == 0


def test_control_frames_are_not_changed(side: ConnectionType) -> None:
    extensions = [Suffix(), Brackets()]
    plain = Engine(is_client=side is CLIENT)
    engine = make_engine(side, *extensions)
    for frame, same in (
        (engine.send_ping(b"1"), plain.send_ping(b"1")),
        (engine.send_pong(b"2"), plain.send_pong(b"2")),
        (engine.send_close(1000, "x"), plain.send_close(1000, "x")),
    ):
        assert (frame[0], len(frame)) == (same[0], len(same))


def test_a_message_may_be_left_uncompressed(side: ConnectionType) -> None:
    engine = make_engine(side, deflate(side), Suffix())
    key = None if side is SERVER else KEY
    frame = engine.send_message("text" * 9, key, compress=False)
    assert frame == build_frame(TEXT, b"text" * 9 + b"a", key)
    frame = engine.send_message("text" * 9, key)
    assert isinstance(frame, bytes)
    assert frame[0] == 0xC1


# In.


def test_a_frame_is_changed_back_and_then_the_message(side: ConnectionType) -> None:
    """W-39."""
    order = [Brackets(), Suffix(), Braces(), Repeat(), OtherSuffix(), Sign()]
    listener, peer = listen(side, *order)
    wire = (
        peer.frame(TEXT, b"{[Xa]}", fin=False)
        + peer.frame(CONTINUATION, b"}]b[{", rsv=1)
        + peer.frame(BINARY, b"{[2b]}", rsv=2)
    )
    # The second comes out as "..", which no suffix is behind.
    assert listener.feed(wire)[0] == "X"
    assert listener.engine.is_over


STACKS: list[Sequence[Callable[[ConnectionType], Extension]]] = [
    [lambda side: Suffix()],
    [lambda side: Brackets()],
    [lambda side: Shout()],
    [lambda side: Count(), lambda side: Sign(), lambda side: OtherSuffix()],
    [lambda side: Suffix(), deflate],
    [deflate, lambda side: Brackets(), lambda side: Suffix(), lambda side: Braces()],
    [lambda side: Sign(), deflate, lambda side: Brackets()],
]
MESSAGES: list[str | bytes] = [
    "",
    b"",
    "a",
    b"ab",
    "h\u00e9llo \U0001f600" * 9,
    bytes(70_000),
    "x" * 200,
]


@pytest.mark.parametrize("makers", STACKS)
def test_messages_go_from_one_engine_to_another(
    side: ConnectionType, makers: Sequence[Callable[[ConnectionType], Extension]]
) -> None:
    other = SERVER if side is CLIENT else CLIENT
    sender = make_engine(other, *(make(other) for make in makers))
    listener = Listener(make_engine(side, *(make(side) for make in makers)))
    key = find_key(side)
    is_shouted = any(isinstance(make(side), Shout) for make in makers)
    for message in (*MESSAGES, *MESSAGES):
        wire = sender.send_message(message, key)
        assert isinstance(wire, bytes)
        expected = message
        if is_shouted and isinstance(message, str):
            expected = message.lower()
        assert listener.feed(wire) == [expected, Pause.DATA]


@pytest.mark.parametrize("makers", STACKS)
@given(data=st.data())
def test_a_message_is_received_in_any_parts(
    makers: Sequence[Callable[[ConnectionType], Extension]], data: st.DataObject
) -> None:
    sender = make_engine(CLIENT, *(make(CLIENT) for make in makers))
    listener = Listener(make_engine(SERVER, *(make(SERVER) for make in makers)))
    messages: list[str | bytes] = ["text" * 9, b"data", ""]
    wire = b"".join(
        cast("bytes", sender.send_message(message, KEY)) for message in messages
    )
    cuts = data.draw(st.lists(st.integers(0, len(wire))).map(sorted))
    edges = [0, *cuts, len(wire)]
    chunks = [wire[start:end] for start, end in itertools.pairwise(edges)]
    reports = [
        report
        for chunk in chunks
        for report in listener.feed(chunk)
        if not isinstance(report, Pause)
    ]
    assert reports == messages


def test_control_frames_between_fragments_change_nothing(side: ConnectionType) -> None:
    listener, peer = listen(side, Brackets(), Suffix())
    wire = (
        peer.frame(TEXT, b"[x]", fin=False)
        + peer.frame(PING, b"1")
        + peer.frame(CONTINUATION, b"[]", fin=False)
        + peer.frame(PING, b"2")
        + peer.frame(CONTINUATION, b"[ya]")
        + peer.frame(CLOSE)
    )
    assert listener.feed(wire) == [
        PingReceived(b"1"),
        PingReceived(b"2"),
        "xy",
        CloseReceived(None, ""),
        Pause.ENDED,
    ]


def test_messages_that_nobody_changes_pass_by_way_of_wsproto(
    side: ConnectionType,
) -> None:
    listener, peer = listen(side, Shout())
    wire = (
        peer.frame(TEXT, b"A", fin=False)
        + peer.frame(CONTINUATION, b"B")
        + peer.frame(TEXT, b"A", rsv=3, fin=False)
        + peer.frame(CONTINUATION, b"B")
        + peer.frame(BINARY, b"A")
    )
    assert listener.feed(wire) == ["AB", "ab", b"A", Pause.DATA]


def test_without_an_extension_of_messages_each_frame_is_told_at_once(
    side: ConnectionType,
) -> None:
    listener, peer = listen(side, Brackets())
    assert listener.feed(peer.frame(TEXT, b"[ab]", fin=False)) == [Pause.DATA]
    assert listener.pieces == [Piece("ab", 2, 0, True, False)]
    wire = peer.frame(CONTINUATION, b"[c]")
    listener.feed(wire[:-1])
    assert listener.pieces[1:] == [Piece("", 0, 3, True, False)]
    assert listener.feed(wire[-1:]) == ["abc", Pause.DATA]
    assert listener.pieces[2:] == [Piece("c", 1, 0, False, True)]


def test_a_message_needs_room_and_the_rest_of_it_does_not(
    side: ConnectionType,
) -> None:
    listener, peer = listen(side, Suffix())
    first, last = peer.frame(TEXT, b"x", fin=False), peer.frame(CONTINUATION, b"ya")
    assert listener.feed(peer.frame(PING) + first, room=0) == [
        PingReceived(b""),
        Pause.ROOM,
    ]
    assert listener.feed(b"") == [Pause.DATA]
    assert listener.feed(last + first, room=0) == ["xy", Pause.ROOM]


def test_a_close_behind_a_frame_is_seen_once_that_is_whole(
    side: ConnectionType,
) -> None:
    engine, peer = make_engine(side, Suffix()), Peer(side)
    wire = peer.frame(TEXT, b"\x08" * 9 + b"a")
    engine.receive_data(wire[:-3])
    while not isinstance(engine.next_event(room=1, max_size=99), Pause):
        pass
    engine.receive_data(wire[-3:] + peer.frame(CLOSE))
    assert not engine.is_before_close
    assert isinstance(engine.next_event(room=1, max_size=99), Piece)
    assert engine.is_before_close


# What is wrong.


def find_violation(reports: list[Report]) -> tuple[int, str]:
    violation = reports[-2]
    assert isinstance(violation, ViolationFound)
    assert reports[-1] is Pause.ENDED
    return violation.code, violation.problem


def test_what_cannot_be_decoded_is_bad_data(side: ConnectionType) -> None:
    for extension, payload, problem in (
        (Suffix(), b"x", "message: it does not end with a"),
        (Brackets(), b"x", "frame: no brackets around b'x'"),
        (Count(), b"2:x", "message: message 1 is missing"),
    ):
        listener, peer = listen(side, extension)
        reports = listener.feed(peer.frame(TEXT, payload) + peer.frame(PING))
        assert find_violation(reports) == (
            1007,
            f"the extension {extension.name} cannot decode the {problem}",
        )


def test_text_that_comes_out_is_judged(side: ConnectionType) -> None:
    listener, peer = listen(side, Suffix())
    reports = listener.feed(peer.frame(TEXT, b"\xe9a"))
    assert find_violation(reports)[0] == 1007
    listener, peer = listen(side, Brackets())
    wire = peer.frame(TEXT, b"[\xe2]", fin=False)
    wire += peer.frame(CONTINUATION, b"[\x82\xac]")
    assert listener.feed(wire) == ["\u20ac", Pause.DATA]


@pytest.mark.parametrize(
    ("opcode", "rsv"), [(TEXT, 4), (TEXT, 2), (TEXT, 1), (BINARY, 7), (3, 0), (3, 3)]
)
def test_what_no_extension_claims_is_a_protocol_error(
    side: ConnectionType, opcode: int, rsv: int
) -> None:
    listener, peer = listen(side, Shout(), Suffix())
    assert find_violation(listener.feed(peer.frame(opcode, b"a", rsv=rsv)))[0] == 1002


@pytest.mark.parametrize("rsv", [2, 3, 4])
def test_the_bits_of_a_message_stand_on_its_first_frame_only(
    side: ConnectionType, rsv: int
) -> None:
    listener, peer = listen(side, Repeat(), Sign())
    wire = peer.frame(TEXT, b"1", rsv=2, fin=False)
    wire += peer.frame(CONTINUATION, b"", rsv=rsv)
    assert find_violation(listener.feed(wire))[0] == 1002


def test_frames_out_of_order_are_a_protocol_error(side: ConnectionType) -> None:
    for extension in (Suffix(), Brackets()):
        listener, peer = listen(side, extension)
        assert find_violation(listener.feed(peer.frame(CONTINUATION, b"a")))[0] == 1002
        listener, peer = listen(side, extension)
        wire = peer.frame(TEXT, b"[]", fin=False) + peer.frame(TEXT, b"a")
        assert find_violation(listener.feed(wire))[0] == 1002


def test_a_frame_that_is_masked_in_the_wrong_way_is_a_protocol_error(
    side: ConnectionType,
) -> None:
    listener, _ = listen(side, Suffix())
    wire = build_frame(TEXT, b"xa", KEY if side is CLIENT else None)
    assert find_violation(listener.feed(wire))[0] == 1002


def test_a_length_that_is_too_long_is_a_protocol_error(side: ConnectionType) -> None:
    mask, key = (0, b"") if side is CLIENT else (0x80, KEY)
    for length in (b"\x7e\x00\x01", b"\x7f" + b"\xff" * 8):
        listener, _ = listen(side, Suffix())
        wire = bytes([0x81, length[0] | mask]) + length[1:] + key + b"a"
        assert find_violation(listener.feed(wire))[0] == 1002


# The limits.


@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.parametrize("fin", [True, False])
def test_a_frame_is_measured_by_what_it_announces(
    side: ConnectionType, *, is_here: bool, fin: bool
) -> None:
    for extension in (Suffix(), Brackets()):
        listener, peer = listen(side, extension, max_size=9)
        wire = peer.frame(BINARY, b"x" * 10, fin=fin)
        with pytest.raises(MessageTooBig, match="size: 9 bytes"):
            listener.feed(wire if is_here else wire[:8])
        [piece] = listener.pieces
        assert piece.data == b""
        assert piece.size + piece.pending == 10
        assert piece.is_last == (is_here and fin)


def test_a_message_is_measured_by_all_of_its_frames(side: ConnectionType) -> None:
    listener, peer = listen(side, Suffix(), max_size=9)
    first = peer.frame(TEXT, b"x" * 5, fin=False)
    assert listener.feed(first + peer.frame(CONTINUATION, b"xxxa")) == [
        "x" * 8,
        Pause.DATA,
    ]
    with pytest.raises(MessageTooBig):
        listener.feed(first + peer.frame(CONTINUATION, b"x" * 5)[:-1])
    assert listener.pieces[-1].pending == 10


def test_what_comes_out_is_measured_too(side: ConnectionType) -> None:
    repeat = Repeat()
    listener, peer = listen(side, repeat, max_size=9)
    assert listener.feed(peer.frame(BINARY, b"9", rsv=2)) == [b"." * 9, Pause.DATA]
    with pytest.raises(MessageTooBig):
        listener.feed(peer.frame(BINARY, b"1", rsv=2, fin=False), peer.frame(0, b"0"))
    assert listener.pieces[-1] == Piece(b"", 10, 0, True, True)
    assert repeat.limits == [9, 9]


def test_frames_that_grow_are_measured_before_the_message_is_decoded(
    side: ConnectionType,
) -> None:
    for fin in (True, False):
        listener, peer = listen(side, Suffix(), Double(), max_size=9)
        with pytest.raises(MessageTooBig):
            listener.feed(peer.frame(BINARY, b"x" * 5, fin=fin))
        piece = listener.pieces[-1]
        assert (piece.size + piece.pending, piece.is_last) == (10, fin)


def test_empty_fragments_are_counted(side: ConnectionType) -> None:
    """So that their number is limited."""
    for extension in (Suffix(), Keep()):
        listener, peer = listen(side, extension)
        wire = peer.frame(TEXT, fin=False) + peer.frame(CONTINUATION, fin=False) * 9
        assert listener.feed(wire) == [Pause.DATA]
        assert listener.pieces == [Piece("", 0, 0, True, False)] * 10


@pytest.mark.parametrize("is_last", [True, False])
def test_a_message_over_the_limit_cannot_be_passed_over(
    side: ConnectionType, *, is_last: bool
) -> None:
    """Those behind it may refer to it."""
    for extension in (Suffix(), Brackets()):
        listener, peer = listen(side, extension, max_size=9)
        wire = peer.frame(BINARY, b"x" * 10, fin=is_last)
        with pytest.raises(MessageTooBig):
            listener.feed(wire)
        assert listener.feed(peer.frame(PING)) == [PingReceived(b""), Pause.DATA]
        opcode = TEXT if is_last else CONTINUATION
        assert find_violation(listener.feed(peer.frame(opcode, b"[a]")[:-1])) == (
            1009,
            "extensions cannot pass over a message over the limit",
        )


def test_a_message_that_grows_over_the_limit_cannot_be_passed_over_either(
    side: ConnectionType,
) -> None:
    for extension, payload in ((Repeat(), b"10"), (Double(), b"x" * 5)):
        listener, peer = listen(side, Suffix(), extension, max_size=9)
        with pytest.raises(MessageTooBig):
            listener.feed(peer.frame(BINARY, payload, rsv=2 * (payload == b"10")))
        assert find_violation(listener.feed(peer.frame(TEXT, b"a")))[0] == 1009


def test_messages_that_need_no_decoding_may_follow_one_over_the_limit(
    side: ConnectionType,
) -> None:
    listener, peer = listen(side, Shout(), max_size=9)
    with pytest.raises(MessageTooBig):
        listener.feed(peer.frame(TEXT, b"X" * 10, rsv=3))
    assert listener.feed(peer.frame(TEXT, b"X")) == ["X", Pause.DATA]


# While we wait for the peer's Close.


def test_while_closing_nothing_is_decoded_and_nothing_is_too_much(
    side: ConnectionType,
) -> None:
    count, brackets = Count(), Brackets()
    engine = make_engine(side, count, brackets)
    listener, peer = Listener(engine), Peer(side)
    begun = peer.frame(TEXT, b"[1:x]")
    listener.feed(begun[:-1])
    engine.send_close(1000, "")
    reports = listener.feed(
        begun[-1:]
        + peer.frame(BINARY, b"no brackets", fin=False)
        + peer.frame(PING)
        + peer.frame(CONTINUATION, bytes(99_999))
        + peer.frame(CLOSE)
    )
    assert reports == ["", PingReceived(b""), b"", CloseReceived(None, ""), Pause.ENDED]
    assert count.received == 0


def test_while_closing_the_order_of_frames_is_still_judged(
    side: ConnectionType,
) -> None:
    engine = make_engine(side, Suffix())
    listener, peer = Listener(engine), Peer(side)
    engine.send_close(1000, "")
    wire = peer.frame(TEXT, b"x", fin=False) + peer.frame(TEXT, b"x")
    assert find_violation(listener.feed(wire))[0] == 1002


# Mistakes of the program.


@pytest.mark.parametrize("extension", [BrokenForMessages(), BrokenForFrames()])
def test_behind_a_mistake_of_an_extension_no_message_is_lost_unseen(
    side: ConnectionType, extension: Extension
) -> None:
    listener, peer = listen(side, extension)
    wire = peer.frame(TEXT, b"x") + peer.frame(PING) + peer.frame(TEXT, b"y")
    with pytest.raises(KeyError):
        listener.feed(wire)
    reports = listener.feed(b"")
    assert reports[0] == PingReceived(b"")
    assert find_violation(reports) == (1011, "an extension has failed before")


def test_each_connection_has_a_state_of_its_own() -> None:
    wires = [send(CLIENT, "x", count) for count in (Count(), Count())]
    assert wires[0] == wires[1] == build_frame(TEXT, b"1:x", KEY)
    count = Count()
    send(CLIENT, "x", count)
    assert send(CLIENT, "x", count) == build_frame(TEXT, b"2:x", KEY)

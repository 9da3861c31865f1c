"""What holds for any stream of bytes, and for any talk between two engines."""

from __future__ import annotations

import itertools
import math
import sys
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import example, given, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from wsproto.connection import (
    Connection,
    ConnectionState as WsprotoState,
    ConnectionType,
)
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    TextMessage,
)

from trio_websocket._protocol.assembler import Assembler
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
from trio_websocket._protocol.lane import Lane
from trio_websocket._protocol.state import (
    MAY_SEND_CLOSE,
    MAY_SEND_MESSAGES,
    ConnectionState,
)

CLIENT, SERVER = ConnectionType
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode

RESERVED_CODE = "CLOSE with unknown reserved code"


class PlainLane:
    """A lane in Python: takes final data frames that are whole, or nothing at all."""

    def __init__(self, *, takes_nothing: bool = False) -> None:
        self._takes_nothing = takes_nothing

    def decode(
        self, data: bytes, start: int, is_client: bool, limit: int, max_size: int
    ) -> tuple[list[str | bytes], int]:
        messages: list[str | bytes] = []
        while len(messages) < limit and not self._takes_nothing:
            header = parse_header(data[start : start + 14])
            if header is None or not header.fin or header.rsv:
                break
            end = start + header.size + header.payload_length
            is_masked = header.masking_key is not None
            minimal = build_header(
                header.opcode, header.payload_length, masking_key=header.masking_key
            )
            if (
                header.opcode not in {TEXT, BINARY}
                or is_masked == is_client
                or header.size != len(minimal)
                or header.payload_length > max_size
                or end > len(data)
            ):
                break
            payload = data[start + header.size : end]
            if header.masking_key is not None:
                payload = mask_payload(payload, header.masking_key)
            try:
                messages.append(payload.decode() if header.opcode == TEXT else payload)
            except UnicodeDecodeError:
                break
            start = end
        return messages, start

    def mask(self, target, source, start, stop, key):
        key = key[start % 4:] + key[:start % 4]
        target[: stop - start] = mask_payload(bytes(source[start:stop]), key)

    def encode(self, message: str | bytes, masking_key: bytes | None) -> bytes:
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = message.encode() if isinstance(message, str) else message
        header = build_header(opcode, len(payload), masking_key=masking_key)
        return header + mask_payload(payload, masking_key or bytes(4))


@dataclass(frozen=True)
class Unfinished:
    """What is there of the message that has not ended."""

    data: str | bytes
    size: int
    pending: int
    frames: int


class Outcome:
    """What a stream came to, in a form that does not tell how it was cut."""

    def __init__(self) -> None:
        self.results: list[object] = []
        self._pieces: list[Piece] = []

    def add(self, event: Event) -> None:
        match event:
            case MessagesReceived(messages=messages):
                assert not self._pieces
                self.results += messages
            case Piece():
                self._pieces.append(event)
                if event.is_last:
                    assert event.pending == 0
                    self.results.append(self._join().data)
                    self._pieces.clear()
            case ViolationFound(code=code):
                # How much of the message was good before depends on the cuts.
                self._pieces.clear()
                self.results.append(("violation", code))
            case _:
                self.results.append(event)

    def finish(self) -> list[object]:
        return self.results

    def _join(self) -> Unfinished:
        pieces = self._pieces
        texts = [piece.data for piece in pieces if isinstance(piece.data, str)]
        parts = [piece.data for piece in pieces if isinstance(piece.data, bytes)]
        assert not texts or not parts
        assert pieces[0].begins_frame
        return Unfinished(
            "".join(texts) if texts else b"".join(parts),
            sum(piece.size for piece in pieces),
            pieces[-1].pending,
            sum(piece.begins_frame for piece in pieces),
        )


def run(
    side: ConnectionType,
    chunks: list[bytes],
    *,
    lane: Lane | None = None,
    rooms: list[bool] | None = None,
) -> list[object]:
    """Receive chunks; look for events without room first if ``rooms`` says so."""
    engine = Engine(Connection(side), is_client=side is CLIENT, lane=lane)
    outcome = Outcome()
    has_rooms = itertools.cycle(rooms or [True])
    pause = Pause.DATA
    for chunk in chunks:
        engine.receive_data(chunk)
        has_room = next(has_rooms)
        while True:
            event = engine.next_event(room=int(has_room), max_size=sys.maxsize)
            if event is Pause.ROOM:
                assert not has_room
                has_room = True
            elif isinstance(event, Pause):
                pause = event
                break
            else:
                outcome.add(event)
                has_room = next(has_rooms)
    assert (pause is Pause.ENDED) == engine.is_over
    assert engine.is_over == (engine.state is not ConnectionState.OPEN)
    if engine.is_over:
        assert not engine.has_undecoded
    return [*outcome.finish(), engine.state]


def judge_close(connection: Connection, code: int, reason: str) -> object:
    if reason == RESERVED_CODE:
        return RESERVED_CODE
    if connection.state is WsprotoState.OPEN:
        return ("violation", code)
    return CloseReceived(None if code == 1005 else code, reason)


def run_wsproto(side: ConnectionType, stream: bytes) -> list[object]:
    """Tell what wsproto alone makes of a stream, in the same form."""
    connection = Connection(side)
    connection.receive_data(stream)
    results: list[object] = []
    text, binary = "", b""
    for event in connection.events():
        match event:
            case TextMessage(data=data, message_finished=is_last):
                text += data
                if is_last:
                    results.append(text)
                    text = ""
            case BytesMessage(data=data, message_finished=is_last):
                binary += data
                if is_last:
                    results.append(binary)
                    binary = b""
            case Ping(payload=payload):
                results.append(PingReceived(bytes(payload)))
            case Pong(payload=payload):
                results.append(PongReceived(bytes(payload)))
            case CloseConnection(code=code, reason=reason):
                results.append(judge_close(connection, int(code), reason or ""))
            case _:
                raise AssertionError(event)
    return results


# Streams: mostly good frames, some bad ones, and rubbish.

TEXTS = st.text(max_size=8).map(str.encode) | st.sampled_from(
    [b"", b"\xc3", b"\xa9", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"x" * 130]
)
PAYLOADS = TEXTS | st.binary(max_size=8)
CODES = st.sampled_from([1000, 1001, 1005, 1013, 1014, 1015, 2000, 3000]) | st.integers(
    0, 65535
)
REASONS = st.builds(bytes.__add__, CODES.map(lambda code: code.to_bytes(2)), TEXTS)
ONE_IN_TEN = st.integers(0, 9).map(lambda number: number == 0)


@st.composite
def frames(draw: st.DrawFn, side: ConnectionType) -> bytes:
    """Make any frame, more often a good one."""
    opcode = draw(st.sampled_from([0, 0, 1, 1, 2, 2, 8, 9, 10]))
    fin = opcode >= 8 or draw(st.booleans())
    rsv, is_masked = 0, side is SERVER
    payload = draw(REASONS | st.just(b"") if opcode == CLOSE else PAYLOADS)
    if draw(ONE_IN_TEN):
        opcode, fin = draw(st.integers(0, 15)), draw(st.booleans())
        rsv = draw(st.integers(0, 7))
        is_masked = draw(st.booleans())
    key = draw(st.binary(min_size=4, max_size=4)) if is_masked else None
    length = len(payload)
    if draw(ONE_IN_TEN):
        length = draw(st.integers(0, 200) | st.sampled_from([65535, 65536, 2**63]))
    header = build_header(opcode, length, fin=fin, rsv=rsv, masking_key=key)
    return header + (payload if key is None else mask_payload(payload, key))


@st.composite
def messages(draw: st.DrawFn, side: ConnectionType) -> bytes:
    """Make a good message in one or more fragments, with pings between them."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    payload = draw(st.text(max_size=20)).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    bounds = [0, *cuts, len(payload)]
    stream = b""
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        key = draw(st.binary(min_size=4, max_size=4)) if side is SERVER else None
        stream += build_header(
            CONTINUATION if index else opcode,
            end - start,
            fin=index == len(cuts),
            masking_key=key,
        )
        stream += mask_payload(payload[start:end], key or bytes(4))
        if draw(ONE_IN_TEN):
            stream += build_header(PING, 0, masking_key=key)
    return stream


def streams(side: ConnectionType) -> st.SearchStrategy[bytes]:
    good, any_ = messages(side), frames(side)
    talk = st.lists(good | any_ | good, max_size=8).map(b"".join)
    with_rubbish = st.builds(bytes.__add__, talk, st.binary(max_size=20))
    return talk | with_rubbish | st.binary()


SIDES = st.sampled_from(ConnectionType)
CASES = SIDES.flatmap(lambda side: st.tuples(st.just(side), streams(side)))
CUTS = st.lists(st.integers(0, 10_000), max_size=12)
ROOMS = st.lists(st.booleans(), min_size=1, max_size=8)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(bounds)]


def cut_all(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(len(stream))]


@given(case=CASES, cuts=CUTS, rooms=ROOMS)
@example((CLIENT, b"\x01\x01a\x80\x01b\x89\x00\x81\x02c"), [7], [False])
@example((CLIENT, b"\x02\x01a\x83\x00"), [], [True])
@example((CLIENT, b"\x88\x02\x03\xf6"), [], [False])
@example((SERVER, b"\x88\x82abcd\x62\x94"), [], [False])
def test_a_stream_comes_to_the_same_however_it_is_cut(
    case: tuple[ConnectionType, bytes], cuts: list[int], rooms: list[bool]
) -> None:
    # S-5
    side, stream = case
    expected = run(side, [stream])
    assert run(side, cut(stream, cuts), rooms=rooms) == expected
    assert run(side, cut_all(stream)) == expected


@given(case=CASES, cuts=CUTS)
@example((CLIENT, b"\x81\x01a\xc1\x01a"), [])
@example((CLIENT, b"\x82\x01a\x81\x01\xff"), [])
@example((CLIENT, b"\x81\x80abcd"), [])
@example((SERVER, b"\x81\x81abcd\x00"), [])
def test_a_lane_makes_no_difference(
    case: tuple[ConnectionType, bytes], cuts: list[int]
) -> None:
    side, stream = case
    expected = run(side, [stream])
    for lane in (PlainLane(takes_nothing=True), PlainLane()):
        assert run(side, [stream], lane=lane) == expected
        assert run(side, cut(stream, cuts), lane=lane) == expected
        assert run(side, cut_all(stream), lane=lane) == expected


@given(case=CASES, cuts=CUTS)
@example((CLIENT, b"\x01\x00\x80\x01a\x02\x00\x80\x01a\x89\x00\x8a\x00\x88\x00"), [])
@example((CLIENT, b"\x83\x00"), [])
@example((CLIENT, b"\x88\x02\x03\xf6"), [])
@example((CLIENT, b"\x88\x03\x03\xf6\xff"), [])
def test_the_engine_says_what_wsproto_says_of_the_whole_stream(
    case: tuple[ConnectionType, bytes], cuts: list[int]
) -> None:
    side, stream = case
    *outcome, _ = run(side, cut(stream, cuts))
    results = [result for result in outcome if not isinstance(result, Unfinished)]
    expected = run_wsproto(side, stream)
    if expected and expected[-1] == RESERVED_CODE:
        # Or so wsproto says; it does not know 1014, whose reason may be bad in turn.
        expected.pop()
        last = results.pop()
        is_bad_gateway = isinstance(last, CloseReceived) and last.code == 1014
        assert is_bad_gateway or last in {("violation", 1002), ("violation", 1007)}
    assert results == expected


@given(message=st.text() | st.binary(), key=st.binary(min_size=4, max_size=4))
@pytest.mark.parametrize("lane", [None, PlainLane(takes_nothing=True), PlainLane()])
def test_what_one_lane_encodes_every_other_decodes(
    lane: Lane | None, message: str | bytes, key: bytes
) -> None:
    client = Engine(Connection(CLIENT), is_client=True, lane=lane)
    server = Engine(Connection(SERVER), is_client=False, lane=lane)
    expected = [message, ConnectionState.OPEN]
    for other in (None, PlainLane()):
        assert run(SERVER, [client.send_message(message, key)], lane=other) == expected
        assert run(CLIENT, [server.send_message(message)], lane=other) == expected


# Two engines and the wires between them.


class End:
    """One engine, what it has sent and received, and what is on the wire to it."""

    def __init__(self, side: ConnectionType) -> None:
        self.engine = Engine(Connection(side), is_client=side is CLIENT)
        self.assembler = Assembler(math.inf)
        self.wire = bytearray()
        self.sent: list[object] = []
        self.received: list[object] = []
        self.unanswered: deque[bytes] = deque()
        self.pause = Pause.DATA

    def receive(self, size: int, *, has_room: bool) -> None:
        """Take bytes off the wire, and all events that there are."""
        if self.pause is not Pause.ROOM:
            self.engine.receive_data(self.wire[:size])
            del self.wire[:size]
        while True:
            event = self.engine.next_event(room=int(has_room), max_size=sys.maxsize)
            match event:
                case Pause():
                    assert event is not Pause.ROOM or not has_room
                    self.pause = event
                    return
                case Piece():
                    message = self.assembler.add(event)
                    if message is not None:
                        self.received.append(message)
                case PingReceived(payload=payload):
                    self.unanswered.append(payload)
                    self.received.append(event)
                case _:
                    self.received.append(event)


class Talk(RuleBasedStateMachine):
    """A client and a server do whatever they may, and bytes travel as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = {side: End(side) for side in ConnectionType}

    @property
    def states(self) -> set[ConnectionState]:
        return {end.engine.state for end in self.ends.values()}

    def send(self, side: ConnectionType, frame: bytes, event: object) -> None:
        self.ends[side].sent.append(event)
        self.ends[SERVER if side is CLIENT else CLIENT].wire += frame

    def may_send(self, side: ConnectionType) -> bool:
        return self.ends[side].engine.state in MAY_SEND_MESSAGES

    @initialize()
    def greet(self) -> None:
        for side in ConnectionType:
            self.send_ping(side, b"hello")
            self.send_message(side, "hello")
        for side in ConnectionType:
            self.deliver(side, size=12, has_room=True)
            self.deliver(side, size=10_000, has_room=True)
            self.answer_ping(side)

    @rule(side=SIDES, message=st.text(max_size=300) | st.binary(max_size=300))
    def send_message(self, side: ConnectionType, message: str | bytes) -> None:
        if self.may_send(side):
            self.send(side, self.ends[side].engine.send_message(message), message)

    @rule(side=SIDES, payload=st.binary(max_size=125))
    def send_ping(self, side: ConnectionType, payload: bytes) -> None:
        if self.may_send(side):
            frame = self.ends[side].engine.send_ping(payload)
            self.send(side, frame, PingReceived(payload))

    @rule(side=SIDES)
    def answer_ping(self, side: ConnectionType) -> None:
        end = self.ends[side]
        if end.unanswered and self.may_send(side):
            payload = end.unanswered.popleft()
            frame = end.engine.send_pong(payload)
            self.send(side, frame, PongReceived(payload))

    @rule(
        side=SIDES,
        close=st.just((None, ""))
        | st.tuples(st.sampled_from([1000, 1011, 1014, 4999]), st.text(max_size=30)),
    )
    def close(self, side: ConnectionType, close: tuple[int | None, str]) -> None:
        end = self.ends[side]
        if end.engine.state in MAY_SEND_CLOSE:
            self.send(side, end.engine.send_close(*close), CloseReceived(*close))

    @rule(side=SIDES, size=st.integers(1, 20) | st.just(10_000), has_room=st.booleans())
    def deliver(self, side: ConnectionType, *, size: int, has_room: bool) -> None:
        self.ends[side].receive(size, has_room=has_room)

    @invariant()
    def what_is_received_is_what_was_sent(self) -> None:
        client, server = self.ends[CLIENT], self.ends[SERVER]
        for one, other in ((client, server), (server, client)):
            assert one.received == other.sent[: len(one.received)]

    @invariant()
    def the_states_agree_with_the_close_frames(self) -> None:
        for end in self.ends.values():
            has_sent, has_received = (
                any(isinstance(event, CloseReceived) for event in events)
                for events in (end.sent, end.received)
            )
            assert (end.engine.state in MAY_SEND_MESSAGES) == (
                not has_sent and not has_received
            )
            assert end.engine.is_over == has_received

    def teardown(self) -> None:
        """Close, deliver everything, and end the stream."""
        for _ in range(2):
            for side, end in self.ends.items():
                self.close(side, (1001, ""))
                while end.wire or end.pause is Pause.ROOM:
                    end.receive(10_000, has_room=True)
        client, server = self.ends[CLIENT], self.ends[SERVER]
        assert client.received == server.sent
        assert server.received == client.sent
        assert self.states == {ConnectionState.CLOSE_EXCHANGED}
        for end in self.ends.values():
            end.engine.receive_eof()
        assert self.states == {ConnectionState.CLOSED}


TestTalk = Talk.TestCase

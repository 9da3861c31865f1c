"""What holds for any stream of bytes, and for any talk between two engines.

Whichever lane an engine takes, it is to say the same: several take the same bytes here,
side by side, and must agree after each receive.
"""

from __future__ import annotations

import bisect
import itertools
import math
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

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

from trio_websocket._protocol.assembler import Assembler, MessageTooBig
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
from trio_websocket._protocol.state import (
    MAY_SEND_CLOSE,
    MAY_SEND_MESSAGES,
    ConnectionState,
)

from .lanes import ViewingLane

CLIENT, SERVER = ConnectionType
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = Opcode
KEY = b"\x9a\x00\xff\x42"

BUFFER = ReceiveBuffer()  # one for all: it is large, and there are many examples

RESERVED_CODE = "CLOSE with unknown reserved code"


def find_lanes() -> dict[str, Lane | None]:
    """Find what an engine may take here; that C is missing shows in test_engine.py."""
    lanes: dict[str, Lane | None] = {"off": None, "python": PYTHON_LANE}
    with suppress(ImportError):
        lanes["c"] = choose_lane("c")
    return lanes


LANES = find_lanes()
ANY_LANE = st.sampled_from(list(LANES.values()))
any_lane = pytest.mark.parametrize("lane", LANES.values(), ids=LANES)


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

    def finish(self, *, has_lane: bool) -> list[object]:
        if self._pieces and not has_lane:  # a lane keeps some of it to itself
            self.results.append(self._join())
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
    rooms: Sequence[int] = (1,),
) -> list[object]:
    """Receive chunks; look for events without room first if ``rooms`` says so."""
    engine = Engine(is_client=side is CLIENT, lane=lane)
    outcome = Outcome()
    all_rooms = itertools.cycle(rooms)
    pause = Pause.DATA
    for chunk in chunks:
        engine.receive_data(chunk)
        room = next(all_rooms)
        while True:
            event = engine.next_event(room=room, max_size=sys.maxsize)
            if event is Pause.ROOM:
                assert not room
                room = 1
            elif isinstance(event, Pause):
                pause = event
                break
            else:
                outcome.add(event)
                room = next(all_rooms)
    assert (pause is Pause.ENDED) == engine.is_over
    assert engine.is_over == (engine.state is not ConnectionState.OPEN)
    if engine.is_over:
        assert not engine.has_undecoded
    return [*outcome.finish(has_lane=lane is not None), engine.state]


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
SHORT_TEXTS = st.text(max_size=20).map(str.encode)
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
    if draw(ONE_IN_TEN):
        flag = 0 if key is None else 0x80
        header = bytes([header[0], flag | 127]) + length.to_bytes(8) + (key or b"")
    return header + (payload if key is None else mask_payload(payload, key))


@st.composite
def messages(
    draw: st.DrawFn,
    side: ConnectionType,
    payloads: st.SearchStrategy[bytes] = SHORT_TEXTS,
    *,
    max_cuts: int = 3,
) -> bytes:
    """Make a good message in one or more fragments, with pings between them."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    payload = draw(payloads)
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=max_cuts)))
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
ROOMS = st.lists(st.integers(0, 3), min_size=1, max_size=8)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(bounds)]


def cut_all(stream: bytes) -> list[bytes]:
    return [stream[index : index + 1] for index in range(len(stream))]


@any_lane
@given(case=CASES, cuts=CUTS, rooms=ROOMS)
@example((CLIENT, b"\x01\x01a\x80\x01b\x89\x00\x81\x02c"), [7], [0])
@example((CLIENT, b"\x02\x01a\x83\x00"), [], [1])
@example((CLIENT, b"\x88\x02\x03\xf6"), [], [0])
@example((SERVER, b"\x88\x82abcd\x62\x94"), [], [0])
def test_a_stream_comes_to_the_same_however_it_is_cut(
    lane: Lane | None,
    case: tuple[ConnectionType, bytes],
    cuts: list[int],
    rooms: list[int],
) -> None:
    # S-5
    side, stream = case
    expected = run(side, [stream], lane=lane)
    assert run(side, cut(stream, cuts), lane=lane, rooms=rooms) == expected
    assert run(side, cut_all(stream), lane=lane) == expected


@any_lane
@given(case=CASES, cuts=CUTS)
@example((CLIENT, b"\x01\x00\x80\x01a\x02\x00\x80\x01a\x89\x00\x8a\x00\x88\x00"), [])
@example((CLIENT, b"\x83\x00"), [])
@example((CLIENT, b"\x88\x02\x03\xf6"), [])
@example((CLIENT, b"\x88\x03\x03\xf6\xff"), [])
def test_the_engine_says_what_wsproto_says_of_the_whole_stream(
    lane: Lane | None, case: tuple[ConnectionType, bytes], cuts: list[int]
) -> None:
    side, stream = case
    *outcome, _ = run(side, cut(stream, cuts), lane=lane)
    results = [result for result in outcome if not isinstance(result, Unfinished)]
    expected = run_wsproto(side, stream)
    if expected and expected[-1] == RESERVED_CODE:
        # Or so wsproto says; it does not know 1014, whose reason may be bad in turn.
        expected.pop()
        last = results.pop()
        is_bad_gateway = isinstance(last, CloseReceived) and last.code == 1014
        assert is_bad_gateway or last in {("violation", 1002), ("violation", 1007)}
    assert results == expected


# One stream, and several engines that receive it side by side.


@dataclass(frozen=True)
class Script:
    """A stream, and how it is received.

    Attributes:
        side: The side that receives it.
        stream: What the peer sends.
        cuts: Where it is cut, in order.
        rooms: For how many messages there is room, for each receive in turn.
        spares: How many bytes more than there are could be received straight to their
            place, for each receive in turn; None for one that is not to go there.
        portions: How many messages the last engine asks for, in turn.
        max_size: The largest message, in bytes.
        in_parts: Whether what has arrived of a message is asked for at once, for each
            ask in turn; of the engines that are asked so.
        is_patient: Whether a message over the limit is passed over.
        close_at: The receive behind which we say goodbye.

    """

    side: ConnectionType
    stream: bytes
    cuts: Sequence[int] = ()
    rooms: Sequence[int] = (1,)
    spares: Sequence[int | None] = (None, 0)
    portions: Sequence[int] = (1,)
    max_size: int = sys.maxsize
    in_parts: Sequence[bool] = (True, False)
    is_patient: bool = True
    close_at: int | None = None


class Account(NamedTuple):
    """What can be told of an engine that has nothing to report any more."""

    reports: list[object]
    pause: Pause
    state: ConnectionState
    is_over: bool
    has_undecoded: bool


class Witness:
    """One engine, and what it reports with the pieces of messages joined."""

    def __init__(
        self,
        script: Script,
        lane: Lane | None,
        *,
        portions: Sequence[int] = (),
        buffer: ReceiveBuffer | None = None,
        in_parts: Sequence[bool] = (False,),
    ) -> None:
        self.engine = Engine(is_client=script.side is CLIENT, lane=lane)
        self._buffer = buffer
        self._script = script
        self._in_parts = itertools.cycle(in_parts)
        self._portions = itertools.cycle(portions or [sys.maxsize])
        self._assembler = Assembler(script.max_size)
        self._is_skipping = False
        self._room = 0
        self._reports: list[object] = []

    def measure_vacancy(self, size: int) -> int | None:
        vacancy = self.engine.vacancy(size)
        if vacancy is None:
            return None
        with vacancy:
            return len(vacancy)

    def receive(self, chunk: bytes, size: int) -> None:
        """Take bytes to their place if so many may go there, else as ever."""
        if self._buffer is not None:
            size = size or len(chunk)
            vacancy = self.engine.vacancy(size, buffer=self._buffer)
        else:
            vacancy = self.engine.vacancy(size) if size else None
        if vacancy is None or len(vacancy) < len(chunk):
            self.engine.receive_data(chunk)
            return
        with vacancy:
            vacancy[: len(chunk)] = chunk
        self.engine.fill_vacancy(len(chunk))

    def listen(self, room: int) -> Account:
        """Take all that there is room for."""
        self._room = room
        self._reports = []
        while not isinstance(event := self._ask(), Pause):
            self._report(event)
        engine = self.engine
        return Account(
            self._reports, event, engine.state, engine.is_over, engine.has_undecoded
        )

    def _ask(self) -> Event | Pause:
        room = min(self._room, next(self._portions)) if self._room else 0
        max_size = 0 if next(self._in_parts) else self._script.max_size
        return self.engine.next_event(room=room, max_size=max_size)

    def _report(self, event: Event) -> None:
        match event:
            case MessagesReceived(messages=messages, size=size):
                assert 0 < len(messages) <= max(self._room, 1)
                assert size == sum(map(self._measure_frame, messages))
                for message in messages:
                    self._deliver(message)
            case Piece() if self._is_skipping:
                self._is_skipping = not event.is_last
            case Piece():
                self._add(event)
            case _:
                self._reports.append(event)

    def _measure_frame(self, message: str | bytes) -> int:
        size = len(message.encode() if isinstance(message, str) else message)
        assert size <= self._script.max_size
        key = None if self.engine.is_client else KEY
        return size + len(build_header(BINARY, size, masking_key=key))

    def _add(self, piece: Piece) -> None:
        try:
            message = self._assembler.add(piece)
        except MessageTooBig as error:
            self._reports.append(error.problem)
            self._assembler = Assembler(self._script.max_size)
            self._is_skipping = not piece.is_last
            if not self._script.is_patient:
                self.engine.refuse()
        else:
            if message is not None:
                self._deliver(message)

    def _deliver(self, message: str | bytes) -> None:
        assert type(message) in {str, bytes}
        self._reports.append(message)
        self._room = max(self._room - 1, 0)


class Hearing:
    """Engines that take each lane, or receive or ask in another way."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._witnesses = [Witness(script, lane) for lane in LANES.values()]
        *_, fastest = filter(None, LANES.values())
        self._witnesses.append(Witness(script, fastest, portions=script.portions))
        # And two that share a buffer.
        viewing = ViewingLane(fastest)
        self._witnesses += [Witness(script, viewing, buffer=BUFFER) for _ in range(2)]
        # Those that may be asked for parts do not collect what the others do.
        self._collecting = self._witnesses[1:]
        for in_parts in ([True], script.in_parts):
            self._witnesses += [
                *(Witness(script, lane, in_parts=in_parts) for lane in LANES.values()),
                Witness(script, viewing, buffer=BUFFER, in_parts=in_parts),
            ]
        self._spares = itertools.cycle(script.spares)
        self._rooms = itertools.cycle(script.rooms)

    def run(self) -> None:
        """Have all of the stream received, and the end of it."""
        position = count = 0
        while position < len(self._script.stream):
            position += self._receive(self._cut(position))
            self._compare(next(self._rooms))
            if count == self._script.close_at:
                self._close()
            count += 1
        pause = Pause.ROOM
        while pause is Pause.ROOM:
            pause = self._compare(300).pause
        for witness in self._witnesses:
            witness.engine.receive_eof()
            assert witness.measure_vacancy(10) is None
        self._compare(1)

    def _cut(self, position: int) -> bytes:
        cuts = self._script.cuts
        index = bisect.bisect_right(cuts, position)
        end = cuts[index] if index < len(cuts) else None
        return self._script.stream[position:end]

    def _receive(self, chunk: bytes) -> int:
        """Have a chunk received, or as much of it as the vacancy can take."""
        spare = next(self._spares)
        size = 0 if spare is None else len(chunk) + spare
        if size:
            vacancies = {each.measure_vacancy(size) for each in self._collecting}
            [vacancy] = vacancies
            assert vacancy != 0
            chunk = chunk[:vacancy]
        for witness in self._witnesses:
            witness.receive(chunk, size)
        [_] = {each.engine.is_before_close for each in self._witnesses}
        return len(chunk)

    def _compare(self, room: int) -> Account:
        expected, *accounts = (each.listen(room) for each in self._witnesses)
        for account in accounts:
            assert account == expected
        return expected

    def _close(self) -> None:
        engines = [witness.engine for witness in self._witnesses]
        for engine in [each for each in engines if each.state in MAY_SEND_CLOSE]:
            engine.send_close(1000, "")


UNITS = [b"a", b"\x00", *(char.encode() for char in "é€😀")]
FAULTS = [b"\xff", b"\x80", b"\xc3(", b"\xed\xa0\x80", b"\xf0\x9f", b"\xf4\x90"]
EDGES = [124, 125, 126, 127, 65535, 65536, SLICE_SIZE, SLICE_SIZE + 1]
ANYWHERE = st.integers(0, 300_000)
LARGE = st.integers(130 * 1024, 300 * 1024)
KEYS = st.just(KEY) | st.binary(min_size=4, max_size=4)


def repeat(unit: bytes, length: int) -> bytes:
    return (unit * (length // len(unit))).ljust(length, b"a")


BLOCKS = st.builds(repeat, st.sampled_from(UNITS), st.sampled_from(EDGES) | LARGE)


@st.composite
def faulty_blocks(draw: st.DrawFn) -> bytes:
    """Make text with a fault in it, more often where it begins or ends."""
    payload = draw(BLOCKS)
    at = draw(st.sampled_from([0, 1, -1, -3]) | ANYWHERE) % len(payload)
    fault = draw(st.sampled_from(FAULTS))
    return (payload[:at] + fault + payload[at + len(fault) :])[: len(payload)]


def make_good_parts(side: ConnectionType) -> st.SearchStrategy[bytes]:
    plain = messages(side, max_cuts=0)
    runs = st.builds(bytes.__mul__, plain, st.sampled_from([2, 5, 10, 20, 50, 300]))
    blocks = messages(side, BLOCKS, max_cuts=0)
    torn = messages(side, BLOCKS, max_cuts=2)
    return st.one_of(plain, messages(side), runs, runs, blocks, blocks, torn)


def make_bad_parts(side: ConnectionType) -> st.SearchStrategy[bytes]:
    faulty = messages(side, faulty_blocks(), max_cuts=0)
    torn = messages(side, faulty_blocks(), max_cuts=2)
    return st.one_of(frames(side), frames(side), faulty, faulty, torn, st.binary())


GOOD_PARTS = {side: make_good_parts(side) for side in ConnectionType}
BAD_PARTS = {side: make_bad_parts(side) for side in ConnectionType}
MAX_SIZES = st.sampled_from([sys.maxsize] * 4 + [0, 1, 5, 125, 126, 65535, 200_000])
ROOM = st.sampled_from([0, 1, 300]) | st.integers(0, 300)
SPARES = st.sampled_from([None, 0, 0, 1, 200_000])
NEAR = st.integers(-3, 30)  # bytes from where a frame begins


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Make a stream that may end badly, cut anywhere and near the ends of its parts."""
    side = draw(SIDES)
    parts = draw(st.lists(GOOD_PARTS[side], max_size=5))
    parts += draw(st.lists(BAD_PARTS[side], max_size=3))
    size = sum(map(len, parts))
    starts = st.sampled_from([0, *itertools.accumulate(map(len, parts))])
    if draw(ONE_IN_TEN):
        cuts = set(range(0, size, draw(st.integers(1, 20)) * (1 + size // 200)))
    else:
        places = draw(st.lists(st.tuples(starts, NEAR | ANYWHERE), max_size=12))
        cuts = {(start + offset) % (size + 1) for start, offset in places}
    return Script(
        side,
        b"".join(parts),
        sorted(cuts),
        rooms=draw(st.lists(ROOM, min_size=1, max_size=8)),
        spares=draw(st.lists(SPARES, min_size=1, max_size=4)),
        portions=draw(st.lists(st.integers(1, 20), min_size=1, max_size=4)),
        max_size=draw(MAX_SIZES),
        in_parts=draw(st.lists(st.booleans(), min_size=1, max_size=6)),
        is_patient=draw(st.booleans()),
        close_at=draw(st.none() | st.integers(0, 5)),
    )


def text(side: ConnectionType, payload: bytes) -> bytes:
    key = KEY if side is SERVER else None
    header = build_header(TEXT, len(payload), masking_key=key)
    return header + mask_payload(payload, key or bytes(4))


@pytest.mark.timeout(900)  # a profile may ask for many thousand examples
@given(script=scripts())
@example(Script(CLIENT, b"\x81\x01a\xc1\x01a"))
@example(Script(CLIENT, b"\x82\x01a\x81\x01\xff"))
@example(Script(CLIENT, b"\x81\x80abcd"))
@example(Script(SERVER, b"\x81\x81abcd\x00"))
@example(Script(CLIENT, b"\x82\x7e\x00\x01a"))
@example(Script(CLIENT, b"\x82\x7f" + (126).to_bytes(8) + bytes(126)))
@example(Script(SERVER, b"\x82\xfe\x00\x7dabcd", [1, 2, 3, 4, 5]))
@example(Script(CLIENT, b"\x82\x7e\x01\x00" + bytes(256), [2], rooms=[1, 0]))
@example(Script(CLIENT, b"\x81\x7e\x01\x00" + b"\xff" * 256, [20], spares=[0]))
@example(Script(CLIENT, b"\x82\x05abcde", [4], max_size=4, is_patient=False))
@example(Script(CLIENT, text(CLIENT, b"a" * 299 + b"\xc3"), [10]))
@example(Script(CLIENT, text(CLIENT, "€".encode() * 99 + b"\xe2\x28"), [10, 200, 302]))
@example(Script(SERVER, text(SERVER, "€".encode() * 99 + b"\xff"), [10, 200, 303]))
@example(Script(SERVER, text(SERVER, "😀".encode() * 40_000) * 2, [9, 9_999, 140_001]))
@example(Script(CLIENT, b"\x82\x7e\x01\x00" + bytes(256), [1, 3, 9, 200]))
@example(Script(CLIENT, b"\x82\x7f" + (300_000).to_bytes(8) + bytes(300_000), [9, 99]))
@example(Script(CLIENT, b"\x01\x01\xf0\x00\x02\x9f\x98\x89\x00\x80\x01\x80", [3, 5]))
@example(Script(CLIENT, b"\x01\x01\xf0\x00\x02\x9f\x98\x89\x00\x80\x01a", [3, 5]))
@example(Script(CLIENT, b"\x01\x01\xf0\x00\x7e\x00\x01", [3, 5, 6]))
@example(Script(CLIENT, b"\x02\x01a\x81\x01a", [3, 4]))
def test_no_lane_makes_a_difference(script: Script) -> None:
    Hearing(script).run()


# Frames that leave.


MESSAGES = st.text() | st.binary() | BLOCKS | BLOCKS.map(bytes.decode)
UNSENDABLE: list[object] = ["a\ud800", bytearray(b"a"), None, 1]


class Sent(NamedTuple):
    """A frame that has left."""

    opcode: int
    payload: bytes
    is_masked: bool


def flatten(frame: bytes | SlicedFrame) -> bytes:
    """Write a frame as it would stand on the wire."""
    if isinstance(frame, bytes):
        return frame
    scratch, stream = bytearray(SLICE_SIZE), b""
    while len(stream) < len(frame):
        stream += frame.cut(len(stream), scratch)
    return stream


def read_frames(stream: bytes) -> list[Sent]:
    """Undo the mask of frames, each final and with the shortest of headers."""
    frames: list[Sent] = []
    while stream:
        header = parse_header(stream)
        assert header is not None
        key, length = header.masking_key, header.payload_length
        shortest = build_header(header.opcode, length, masking_key=key)
        assert stream.startswith(shortest)
        end = header.size + length
        assert len(stream) >= end
        payload = mask_payload(stream[header.size : end], key or bytes(4))
        frames.append(Sent(header.opcode, payload, key is not None))
        stream = stream[end:]
    return frames


def frame_of(side: ConnectionType, message: str | bytes) -> Sent:
    is_masked = side is CLIENT
    if isinstance(message, str):
        return Sent(TEXT, message.encode(), is_masked)
    return Sent(BINARY, message, is_masked)


def send(engine: Engine, message: str | bytes, key: bytes) -> bytes:
    return flatten(engine.send_message(message, key if engine.is_client else None))


@given(side=SIDES, message=MESSAGES, key=KEYS, cuts=CUTS)
def test_what_one_lane_encodes_every_other_decodes(
    side: ConnectionType, message: str | bytes, key: bytes, cuts: list[int]
) -> None:
    other = SERVER if side is CLIENT else CLIENT
    engines = [Engine(is_client=side is CLIENT, lane=lane) for lane in LANES.values()]
    by_wsproto, *by_lanes = (send(engine, message, key) for engine in engines)
    assert read_frames(by_wsproto) == [frame_of(side, message)]
    assert {*by_lanes} == {by_lanes[0]}
    for stream in (by_wsproto, by_lanes[0]):
        assert read_frames(stream) == [frame_of(side, message)]
        for lane in LANES.values():
            outcome = run(other, cut(stream, cuts), lane=lane)
            assert outcome == [message, ConnectionState.OPEN]


@given(
    side=SIDES,
    messages=st.lists(MESSAGES | st.sampled_from(UNSENDABLE), min_size=1, max_size=8),
    keys=st.binary(min_size=32, max_size=32),
    max_size=st.integers(0, 200) | ANYWHERE,
)
def test_every_lane_builds_the_same_batches(
    side: ConnectionType, messages: list[object], keys: bytes, max_size: int
) -> None:
    engines = [Engine(is_client=side is CLIENT, lane=lane) for lane in LANES.values()]
    for start in range(len(messages)):
        own_keys = keys[4 * start :] if side is CLIENT else None
        (by_wsproto, early_stop), *by_lanes = (
            engine.send_batch(messages, start, own_keys, max_size) for engine in engines
        )
        stream, stop = by_lanes[0]
        assert {*by_lanes} == {(stream, stop)}
        assert len(stream) <= max_size
        sent = [each for each in messages[start:stop] if isinstance(each, str | bytes)]
        assert len(sent) == stop - start
        assert read_frames(stream) == [frame_of(side, message) for message in sent]
        if stop < len(messages):
            assert measure_frame(side, messages[stop]) > max_size - len(stream)
        # Without a lane there is a guess at how much room a message may need.
        assert len(by_wsproto) <= max_size
        assert read_frames(by_wsproto) == read_frames(stream)[: early_stop - start]
        if early_stop == start:
            assert 14 + 4 * measure_frame(side, messages[start]) > max_size


def measure_frame(side: ConnectionType, message: object) -> float:
    """Tell how long a frame would be; without end if it cannot be sent."""
    if not isinstance(message, str | bytes):
        return math.inf
    try:
        size = len(message.encode() if isinstance(message, str) else message)
    except UnicodeEncodeError:
        return math.inf
    key = KEY if side is CLIENT else None
    return size + len(build_header(BINARY, size, masking_key=key))


# Two engines and the wires between them.


class End:
    """One engine, what it has sent and received, and what is on the wire to it."""

    def __init__(self, side: ConnectionType, lane: Lane | None) -> None:
        self.engine = Engine(is_client=side is CLIENT, lane=lane)
        self.assembler = Assembler(math.inf)
        self.wire = bytearray()
        self.sent: list[object] = []
        self.received: list[object] = []
        self.unanswered: deque[bytes] = deque()
        self.pause = Pause.DATA

    def receive(self, size: int, *, room: int) -> None:
        """Take bytes off the wire, and all events that there is room for."""
        if self.pause is not Pause.ROOM:
            self._take(size)
        goal = len(self.received) + room
        while True:
            room = max(goal - len(self.received), 0)
            event = self.engine.next_event(room=room, max_size=sys.maxsize)
            match event:
                case Pause():
                    assert event is not Pause.ROOM or not room
                    self.pause = event
                    return
                case MessagesReceived(messages=messages):
                    self.received += messages
                case Piece():
                    message = self.assembler.add(event)
                    self.received += [] if message is None else [message]
                case PingReceived(payload=payload):
                    self.unanswered.append(payload)
                    self.received.append(event)
                case _:
                    self.received.append(event)

    def _take(self, size: int) -> None:
        vacancy = self.engine.vacancy(size)
        if vacancy is None:
            self.engine.receive_data(self.wire[:size])
        else:
            with vacancy:
                size = min(len(vacancy), len(self.wire))
                vacancy[:size] = self.wire[:size]
            self.engine.fill_vacancy(size)
        del self.wire[:size]


class Talk(RuleBasedStateMachine):
    """A client and a server do whatever they may, and bytes travel as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[ConnectionType, End] = {}

    @property
    def states(self) -> set[ConnectionState]:
        return {end.engine.state for end in self.ends.values()}

    def send(self, side: ConnectionType, stream: bytes, *events: object) -> None:
        self.ends[side].sent += events
        self.ends[SERVER if side is CLIENT else CLIENT].wire += stream

    def may_send(self, side: ConnectionType) -> bool:
        return self.ends[side].engine.state in MAY_SEND_MESSAGES

    @initialize(lanes=st.tuples(ANY_LANE, ANY_LANE))
    def greet(self, lanes: tuple[Lane | None, Lane | None]) -> None:
        for side, lane in zip(ConnectionType, lanes, strict=True):
            self.ends[side] = End(side, lane)
        for side in ConnectionType:
            self.send_ping(side, b"hello")
            self.send_message(side, "hello")
        for side in ConnectionType:
            self.deliver(side, size=12, room=1)
            self.deliver(side, size=10_000, room=1)
            self.answer_ping(side)

    @rule(side=SIDES, message=MESSAGES)
    def send_message(self, side: ConnectionType, message: str | bytes) -> None:
        if self.may_send(side):
            self.send(side, send(self.ends[side].engine, message, KEY), message)

    @rule(side=SIDES, messages=st.lists(st.text() | st.binary(), min_size=1))
    def send_batch(self, side: ConnectionType, messages: list[str | bytes]) -> None:
        if self.may_send(side):
            engine = self.ends[side].engine
            keys = KEY * len(messages) if engine.is_client else None
            frames, stop = engine.send_batch(messages, 0, keys, 1000)
            self.send(side, frames, *messages[:stop])

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

    @rule(side=SIDES, size=st.integers(1, 20) | ANYWHERE, room=st.integers(0, 3))
    def deliver(self, side: ConnectionType, *, size: int, room: int) -> None:
        self.ends[side].receive(size, room=room)

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
                    end.receive(1_000_000, room=300)
        client, server = self.ends[CLIENT], self.ends[SERVER]
        assert client.received == server.sent
        assert server.received == client.sent
        assert self.states == {ConnectionState.CLOSE_EXCHANGED}
        for end in self.ends.values():
            end.engine.receive_eof()
        assert self.states == {ConnectionState.CLOSED}


TestTalk = Talk.TestCase

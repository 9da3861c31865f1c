"""Compressed messages that lie together are taken together, and come out the same."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import example, given, strategies as st
from wsproto.connection import ConnectionType

from trio_websocket._options import PerMessageDeflate
from trio_websocket._protocol.assembler import Assembler, MessageTooBig
from trio_websocket._protocol.deflate import DeflateAgreement, build_codec
from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.events import (
    Event,
    MessagesReceived,
    Pause,
    Piece,
    ViolationFound,
)
from trio_websocket._protocol.frame_header import Opcode, mask_payload, parse_header
from trio_websocket._protocol.lane import Lane, choose_lane

from .lanes import KEY, LENGTHS, MANY, NAMES, build_frame, find_key, find_lane

CLIENT, SERVER = ConnectionType
TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
TAIL = b"\x00\x00\xff\xff"


@pytest.fixture(params=NAMES)
def lane(request: pytest.FixtureRequest) -> Lane:
    return find_lane(str(request.param))


@pytest.fixture(params=ConnectionType, ids=["client", "server"])
def side(request: pytest.FixtureRequest) -> ConnectionType:
    """The side that receives."""
    assert isinstance(request.param, ConnectionType)
    return request.param


# The frames.


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_payload_of_a_compressed_frame_is_cut_out(
    lane: Lane, side: ConnectionType, opcode: Opcode, length: int
) -> None:
    payload = bytes(index % 251 for index in range(length))
    frame = build_frame(opcode, payload, find_key(side), rsv=4)
    is_client = side is CLIENT
    assert lane.cut(frame * 2, 0, is_client, MANY, length) == (
        [payload] * 2,
        2 * len(frame),
    )
    assert lane.cut(b"." + frame, 1, is_client, MANY, MANY)[0] == [payload]
    assert lane.cut(frame, 0, is_client, MANY, length - 1) == ([], 0)
    assert lane.cut(frame[:-1], 0, is_client, MANY, MANY) == ([], 0)
    assert lane.cut(frame, 0, not is_client, MANY, MANY)[0] in ([], [b""])


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_payload_is_wrapped_in_a_frame(
    lane: Lane, length: int, key: bytes | None
) -> None:
    payload = bytes(index % 251 for index in range(length))
    frame = build_frame(TEXT, payload, key, fin=False, rsv=4)
    assert lane.wrap(0x41, payload, key) == frame


def test_a_key_of_another_size_is_refused(lane: Lane) -> None:
    with pytest.raises(ValueError, match="four bytes"):
        lane.wrap(0xC1, b"payload", b"key")


def model_cut(
    side: ConnectionType, data: bytes, *, start: int, limit: int, max_size: int
) -> tuple[list[bytes], int]:
    """Cut as a lane is to do it, with nothing but the reading of a header."""
    payloads: list[bytes] = []
    first = data[start : start + 1]
    while len(payloads) < limit and first in {b"\xc1", b"\xc2"}:
        header = parse_header(data[start : start + 14])
        if header is None or data[start : start + 1] != first:
            break
        payload = data[start + header.size :][: header.payload_length]
        key = None if side is CLIENT else header.masking_key or KEY
        if key is not None:
            payload = mask_payload(payload, key)
        end = start + header.size + header.payload_length
        frame = build_frame(header.opcode, payload, key, rsv=4)
        if data[start:end] != frame or header.payload_length > max_size:
            break
        payloads.append(payload)
        start = end
    return payloads, start


@st.composite
def streams(draw: st.DrawFn) -> tuple[ConnectionType, bytes]:
    """Make compressed frames of any payload, now and then another one, and cut them."""
    side = draw(st.sampled_from(ConnectionType))
    stream = b""
    for _ in range(draw(st.integers(0, 6))):
        opcode, fin, rsv = draw(st.sampled_from([TEXT, TEXT, BINARY])), True, 4
        key = find_key(side)
        if draw(st.integers(0, 9)) == 0:
            fin, rsv = draw(st.booleans()), draw(st.integers(0, 7))
            key = draw(st.sampled_from([None, KEY]))
        payload = draw(st.binary(max_size=140) | st.just(bytes(9000)))
        stream += build_frame(opcode, payload, key, fin=fin, rsv=rsv)
    cut = draw(st.just(len(stream)) | st.integers(0, len(stream)))
    return side, stream[:cut] + draw(st.just(b"") | st.binary(max_size=20))


@given(
    case=streams() | st.tuples(st.sampled_from(ConnectionType), st.binary(max_size=60)),
    limit=st.just(MANY) | st.integers(-1, 6),
    max_size=st.just(MANY) | st.integers(-1, 140),
)
@example(case=(CLIENT, b""), limit=1, max_size=1)
@example(case=(CLIENT, b"\xc2\x7e\x00\x7d" + bytes(125)), limit=MANY, max_size=MANY)
@example(case=(CLIENT, b"\xc2\x7f" + b"\xff" * 12), limit=MANY, max_size=MANY)
@pytest.mark.parametrize("name", NAMES)
def test_a_lane_cuts_any_bytes_as_the_model_does(
    name: str, case: tuple[ConnectionType, bytes], limit: int, max_size: int
) -> None:
    side, data = case
    expected = model_cut(side, data, start=0, limit=limit, max_size=max_size)
    result = find_lane(name).cut(data, 0, side is CLIENT, limit, max_size)
    assert result == expected


# The messages.


def make_engine(
    side: ConnectionType, lane: Lane | None, *, is_taken_over: bool = True
) -> Engine:
    agreement = DeflateAgreement(
        server_no_context_takeover=not is_taken_over,
        client_no_context_takeover=not is_taken_over,
        server_max_window_bits=15,
        client_max_window_bits=15,
    )
    codec = build_codec(PerMessageDeflate(), agreement, is_client=side is CLIENT)
    return Engine(is_client=side is CLIENT, lane=lane, codec=codec)


def read_all(
    engine: Engine, chunks: Sequence[bytes], *, room: int, max_size: int
) -> list[object]:
    """Report whole messages, and how it ends."""
    assembler = Assembler(max_size)
    reports: list[object] = []
    for chunk in chunks:
        engine.receive_data(chunk)
        while True:
            event = engine.next_event(room=room, max_size=max_size)
            if isinstance(event, MessagesReceived):
                assert len(event.messages) <= room
                reports += event.messages
            elif isinstance(event, Piece):
                try:
                    message = assembler.add(event)
                except MessageTooBig:
                    return [*reports, MessageTooBig]
                reports += [] if message is None else [message]
            elif isinstance(event, Pause):
                break
            else:
                reports.append(find_code(event))
    return reports


def find_code(event: Event) -> int:
    assert isinstance(event, ViolationFound)
    return event.code


def compress_all(messages: Sequence[bytes], *, is_taken_over: bool) -> list[bytes]:
    compressor = zlib.compressobj(wbits=-15)
    payloads: list[bytes] = []
    for message in messages:
        if not is_taken_over:
            compressor = zlib.compressobj(wbits=-15)
        payload = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
        payloads.append(payload.removesuffix(TAIL))
    return payloads


CONTENTS = st.sampled_from(
    [b"", b"hello", b"hello " * 20, "€".encode() * 9, b"x" * 5000, b"\xff", b"\xe2\x82"]
)
# A stored block that lacks bytes, the beginning of a dynamic one, a stream that ends.
ODD_PAYLOADS = st.sampled_from(
    [
        b"\x00\x05\x00\xfa\xffab",
        b"\x04\xc0\x31",
        b"\x4b\x04\x00",
        b"\x03\x00",
        b"\xff",
        b"",
        b"\x06",
    ]
)


@given(
    side=st.sampled_from(ConnectionType),
    messages=st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), CONTENTS), max_size=8),
    odd=st.none() | st.tuples(st.integers(0, 8), ODD_PAYLOADS),
    is_taken_over=st.booleans(),
    room=st.sampled_from([1, 2, 256]),
    max_size=st.sampled_from([3, 120, 5000, 1 << 20]),
    chunk_size=st.sampled_from([5, 100, 1 << 20]),
)
@pytest.mark.parametrize("name", NAMES)
def test_with_a_lane_the_same_comes_of_it_as_without(  # noqa: PLR0917
    name: str,
    side: ConnectionType,
    messages: list[tuple[Opcode, bytes]],
    odd: tuple[int, bytes] | None,
    is_taken_over: bool,  # noqa: FBT001  # hypothesis draws it
    room: int,
    max_size: int,
    chunk_size: int,
) -> None:
    payloads = compress_all(
        [content for _, content in messages], is_taken_over=is_taken_over
    )
    frames = [
        build_frame(opcode, payload, find_key(side), rsv=4)
        for (opcode, _), payload in zip(messages, payloads, strict=True)
    ]
    if odd is not None:
        frames.insert(odd[0], build_frame(TEXT, odd[1], find_key(side), rsv=4))
    wire = b"".join(frames)
    results = [
        read_all(
            make_engine(side, lane, is_taken_over=is_taken_over),
            [wire[at : at + chunk_size] for at in range(0, len(wire), chunk_size)],
            room=room,
            max_size=max_size,
        )
        for lane in (choose_lane("off"), find_lane(name))
    ]
    assert results[0] == results[1]


def test_a_message_that_ends_within_a_block_does_not_hide_those_before(
    side: ConnectionType, lane: Lane
) -> None:
    contents = [b"one", b"two", bytes(range(256)) * 2]
    payloads = compress_all(contents, is_taken_over=True)
    problems: set[str] = set()
    for size in range(1, len(payloads[2]) - 1):
        wire = b"".join(
            build_frame(BINARY, payload, find_key(side), rsv=4)
            for payload in (*payloads[:2], payloads[2][:size])
        )
        engine = make_engine(side, lane)
        engine.receive_data(wire)
        event = engine.next_event(room=9, max_size=sys.maxsize)
        assert isinstance(event, MessagesReceived)
        assert event.messages == contents[:2]
        assert not engine.is_over
        assert engine.has_undecoded
        event = engine.next_event(room=0, max_size=sys.maxsize)
        assert isinstance(event, ViolationFound)
        assert event.code == 1007
        problems.add(event.problem)
    assert "the compressed message ends within a block" in problems


def test_no_more_comes_into_being_at_once_than_a_step(
    side: ConnectionType, lane: Lane
) -> None:
    payloads = compress_all([b"x" * 100_000] * 9, is_taken_over=True)
    wire = b"".join(
        build_frame(BINARY, payload, find_key(side), rsv=4) for payload in payloads
    )
    engine = make_engine(side, lane)
    engine.receive_data(wire)
    counts: list[int] = []
    while isinstance(
        event := engine.next_event(room=9, max_size=sys.maxsize), MessagesReceived
    ):
        counts.append(len(event.messages))
        assert event.size == len(event.messages) * 100_000
    assert counts == [3, 3, 3]

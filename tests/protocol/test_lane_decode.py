"""Both lanes take plain frames, and stop in front of anything else."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st
from wsproto.connection import ConnectionType

from trio_websocket._protocol.frame_header import (
    Opcode,
    build_header,
    mask_payload,
    parse_header,
)
from trio_websocket._protocol.lane import Lane

from .lanes import (
    KEY,
    LENGTHS,
    MANY,
    NAMES,
    VALID_TEXTS,
    build,
    build_frame,
    find_key,
    find_lane,
)

CLIENT, SERVER = ConnectionType
TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
Result = tuple[list[str | bytes], int]

INVALID_TEXTS = {
    "lone_continuation": b"\x80",
    "only_a_first_byte": b"a\xc3",
    "three_of_four": b"\xf0\x9f\x98",
    "overlong_slash": b"\xc0\xaf",
    "overlong_nul": b"\xe0\x80\x80",
    "surrogate": b"\xed\xa0\x80",
    "beyond_unicode": b"\xf4\x90\x80\x80",
    "never_used": b"\xff",
    "late": b"x" * 2000 + b"\xfe",
}


@pytest.fixture(params=NAMES)
def lane(request: pytest.FixtureRequest) -> Lane:
    return find_lane(str(request.param))


@pytest.fixture(params=ConnectionType, ids=["client", "server"])
def side(request: pytest.FixtureRequest) -> ConnectionType:
    """The side that receives."""
    side = request.param
    assert isinstance(side, ConnectionType)
    return side


def decode(
    lane: Lane,
    side: ConnectionType,
    data: bytes,
    *,
    start: int = 0,
    limit: int = MANY,
    max_size: int = MANY,
) -> Result:
    return lane.decode(data, start, side is CLIENT, limit, max_size)


def model_decode(
    side: ConnectionType, data: bytes, *, start: int, limit: int, max_size: int
) -> Result:
    """Decode as a lane is to do it, with nothing but the reading of a header."""
    messages: list[str | bytes] = []
    while len(messages) < limit:
        header = parse_header(data[start : start + 14])
        if header is None or header.opcode not in {TEXT, BINARY}:
            break
        payload = data[start + header.size :][: header.payload_length]
        key = None if side is CLIENT else header.masking_key or KEY
        if key is not None:
            payload = mask_payload(payload, key)
        end = start + header.size + header.payload_length
        is_plain = data[start:end] == build_frame(header.opcode, payload, key)
        if not is_plain or header.payload_length > max_size:
            break
        try:
            messages.append(payload.decode() if header.opcode == TEXT else payload)
        except UnicodeDecodeError:
            break
        start = end
    return messages, start


# What is plain.


@pytest.mark.parametrize("length", LENGTHS)
def test_a_plain_frame_is_a_message(
    lane: Lane, side: ConnectionType, length: int
) -> None:
    text = ("0123456789" * 6554)[:length]
    for message in (text, text.encode(), bytes(length)):
        frame = build(message, find_key(side))
        messages, position = decode(lane, side, frame, limit=1, max_size=length)
        assert messages == [message]
        assert type(messages[0]) is type(message)
        assert position == len(frame)


@pytest.mark.parametrize("text", VALID_TEXTS.values(), ids=VALID_TEXTS)
def test_text_is_utf_8(lane: Lane, side: ConnectionType, text: str) -> None:
    frame = build(text, find_key(side))
    assert decode(lane, side, frame) == ([text], len(frame))


def test_messages_of_different_sizes_do_not_mix(
    lane: Lane, side: ConnectionType
) -> None:
    for length in (1, 5, 126, 1024, 1025, 5000, 9000):
        texts = ["a" * length, "é" * (length + 1), "b", "€" * (length // 2), "c"]
        keys = [find_key(side) and bytes([n, 7, n, 255 - n]) for n in range(len(texts))]
        stream = b"".join(map(build, texts, keys))
        assert decode(lane, side, stream) == (texts, len(stream))


def test_what_is_decoded_is_of_no_subclass(lane: Lane, side: ConnectionType) -> None:
    class Data(bytes):
        __slots__ = ()

    stream = build(b"abc", find_key(side)) + build("", find_key(side))
    messages, _ = decode(lane, side, Data(stream))
    assert [type(message) for message in messages] == [bytes, str]


# What is not.


@pytest.mark.parametrize("payload", INVALID_TEXTS.values(), ids=INVALID_TEXTS)
def test_text_that_is_not_utf_8_is_left(
    lane: Lane, side: ConnectionType, payload: bytes
) -> None:
    key = find_key(side)
    good, bad = build("good", key), build_frame(TEXT, payload, key)
    assert decode(lane, side, good + bad + good) == (["good"], len(good))
    assert decode(lane, side, bad) == ([], 0)
    binary = build(payload, key)
    assert decode(lane, side, binary) == ([payload], len(binary))


@pytest.mark.parametrize("length", [0, 1, 126, 65536])
def test_a_frame_with_another_first_byte_is_left(
    lane: Lane, side: ConnectionType, length: int
) -> None:
    key = find_key(side)
    good, frame = build("good", key), build_frame(TEXT, b"x" * length, key)
    for first in {*range(256)} - {0x81, 0x82}:
        stream = good + bytes([first]) + frame[1:] + good
        assert decode(lane, side, stream) == (["good"], len(good))


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65536])
def test_a_frame_that_is_masked_the_wrong_way_is_left(
    lane: Lane, side: ConnectionType, length: int
) -> None:
    good = build("good", find_key(side))
    frame = build(bytes(length), KEY if side is CLIENT else None)
    assert decode(lane, side, good + frame + good * 9) == (["good"], len(good))


@pytest.mark.parametrize(
    ("code", "length"),
    [(126, 0), (126, 1), (126, 125), (127, 0), (127, 125), (127, 126), (127, 65535)],
)
def test_a_length_that_is_written_too_long_is_left(
    lane: Lane, side: ConnectionType, code: int, length: int
) -> None:
    key = find_key(side)
    good = build("good", key)
    second = code if key is None else 0x80 | code
    head = bytes([0x82, second]) + length.to_bytes(2 if code == 126 else 8)
    frame = head + (key or b"") + bytes(length)
    assert decode(lane, side, good + frame + good) == (["good"], len(good))


@pytest.mark.parametrize(
    "length", [65536, 2**31 - 1, 2**31, 2**32, 2**63 - 15, 2**63 - 1, 2**63, 2**64 - 1]
)
def test_a_length_beyond_the_data_is_left(
    lane: Lane, side: ConnectionType, length: int
) -> None:
    frame = build_header(BINARY, length, masking_key=find_key(side)) + b"x" * 50
    for max_size in (0, MANY, 2**64):
        assert decode(lane, side, frame, max_size=max_size) == ([], 0)
        assert decode(lane, side, b"?" + frame, start=1) == ([], 1)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_a_frame_is_taken_when_its_last_byte_is_there(
    lane: Lane, side: ConnectionType, length: int
) -> None:
    good, frame = build("good", find_key(side)), build(b"z" * length, find_key(side))
    for cut in {*range(min(20, len(frame))), len(frame) - 2, len(frame) - 1}:
        assert decode(lane, side, good + frame[:cut]) == (["good"], len(good))
    messages = ["good", b"z" * length]
    assert decode(lane, side, good + frame) == (messages, len(good + frame))


def test_a_stream_may_be_cut_at_every_byte(lane: Lane, side: ConnectionType) -> None:
    messages: list[str | bytes] = ["", "é", "x" * 126, b"y", "z" * 125]
    stream, ends = b"", [0]
    for message in messages:
        stream += build(message, find_key(side))
        ends.append(len(stream))
    for cut in range(len(stream) + 1):
        count = sum(end <= cut for end in ends) - 1
        assert decode(lane, side, stream[:cut]) == (messages[:count], ends[count])


# What the caller wants.


@pytest.mark.parametrize(
    ("limit", "count"),
    [(-(2**70), 0), (-1, 0), (0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (2**70, 3)],
)
def test_no_more_messages_are_taken_than_wanted(
    lane: Lane, side: ConnectionType, limit: int, count: int
) -> None:
    frame = build("abc", find_key(side))
    result = decode(lane, side, frame * 3, limit=limit)
    assert result == (["abc"] * count, count * len(frame))


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65536])
def test_a_payload_over_the_limit_is_left(
    lane: Lane, side: ConnectionType, length: int
) -> None:
    frame = build(bytes(length), find_key(side))
    for max_size in (length - 1, -1, -(2**70)):
        assert decode(lane, side, frame, max_size=max_size) == ([], 0)
    for max_size in (length, length + 1, 2**70):
        result = decode(lane, side, frame, max_size=max_size)
        assert result == ([bytes(length)], len(frame))


def test_decoding_begins_where_it_is_told(lane: Lane, side: ConnectionType) -> None:
    one, two, three = (build(text, find_key(side)) for text in ("1", "two", "three"))
    stream = b"??" + one + two + three
    start, end = 2 + len(one), len(stream)
    result = decode(lane, side, stream, start=start, limit=1)
    assert result == (["two"], start + len(two))
    result = decode(lane, side, stream, start=start)
    assert result == (["two", "three"], end)
    assert decode(lane, side, stream, start=end - 1) == ([], end - 1)
    assert decode(lane, side, stream, start=end) == ([], end)
    assert decode(lane, side, b"") == ([], 0)


@pytest.mark.parametrize("start", [-1, -5, 6, MANY, -MANY - 1, 2**70, -(2**70)])
def test_a_start_outside_of_the_data_is_refused(lane: Lane, start: int) -> None:
    with pytest.raises(ValueError, match="start is not within the data"):
        decode(lane, CLIENT, b"\x81\x00\x81\x00\x81", start=start)


# Any bytes at all.

KEYS = st.binary(min_size=4, max_size=4)
PAYLOADS = (
    st.binary(max_size=140)
    | st.text(max_size=70).map(str.encode)
    | st.sampled_from([b"x" * 1100, "é".encode() * 33_000])
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[ConnectionType, bytes]:
    """Make frames, now and then one that is not plain, and cut them."""
    side = draw(st.sampled_from(ConnectionType))
    stream = b""
    for _ in range(draw(st.integers(0, 6))):
        opcode, fin, rsv = draw(st.sampled_from([TEXT, BINARY])), True, 0
        key = None if side is CLIENT else draw(KEYS)
        if draw(st.integers(0, 9)) == 0:
            opcode = draw(st.sampled_from(Opcode))
            fin, rsv = draw(st.booleans()), draw(st.integers(0, 1))
            key = draw(st.sampled_from([key, None, KEY]))
        stream += build_frame(opcode, draw(PAYLOADS), key, fin=fin, rsv=rsv)
    cut = draw(st.just(len(stream)) | st.integers(0, len(stream)))
    return side, stream[:cut] + draw(st.just(b"") | st.binary(max_size=20))


@given(
    case=streams() | st.tuples(st.sampled_from(ConnectionType), st.binary(max_size=60)),
    start=st.integers(0, 3),
    limits=st.tuples(
        st.just(MANY) | st.integers(-1, 6), st.just(MANY) | st.integers(-1, 140)
    ),
)
@example((CLIENT, b"\x82\x7e\x00\x7d" + bytes(125)), 0, (MANY, MANY))
@example((CLIENT, b"\x82\x7f" + b"\xff" * 12), 0, (MANY, MANY))
@example((SERVER, b"\x81\xff" + bytes(12)), 0, (MANY, MANY))
@example((SERVER, b"\x81\x81abcd\xff"), 0, (MANY, MANY))
@pytest.mark.parametrize("name", NAMES)
def test_a_lane_makes_of_any_bytes_what_the_model_makes(
    name: str,
    case: tuple[ConnectionType, bytes],
    start: int,
    limits: tuple[int, int],
) -> None:
    side, data = case[0], bytes(start) + case[1]
    limit, max_size = limits
    expected = model_decode(side, data, start=start, limit=limit, max_size=max_size)
    result = decode(
        find_lane(name), side, data, start=start, limit=limit, max_size=max_size
    )
    assert result == expected

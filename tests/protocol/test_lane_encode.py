"""Both lanes make plain frames of messages, one or many in a call."""

from __future__ import annotations

import pytest
import wsproto.events
from hypothesis import given, strategies as st
from wsproto.connection import Connection, ConnectionType

from trio_websocket._protocol.lane import Lane

from .lanes import KEY, LENGTHS, MANY, NAMES, VALID_TEXTS, build, find_lane

Message = str | bytes


class Text(str):
    """Text that is not what it says."""

    __slots__ = ()

    encode = None  # type: ignore[assignment]  # nobody is to ask


class Data(bytes):
    """Bytes that are not only that."""

    __slots__ = ()


@pytest.fixture(params=NAMES)
def lane(request: pytest.FixtureRequest) -> Lane:
    return find_lane(str(request.param))


# One.


@pytest.mark.parametrize("key", [None, KEY, bytes(4)])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_message_is_one_frame(lane: Lane, length: int, key: bytes | None) -> None:
    for message in ("x" * length, b"\xff" * length, bytes(length)):
        assert lane.encode(message, key) == build(message, key)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("text", VALID_TEXTS.values(), ids=VALID_TEXTS)
def test_text_leaves_as_utf_8(lane: Lane, text: str, key: bytes | None) -> None:
    assert lane.encode(text, key) == build(text, key)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_a_frame_is_that_of_wsproto(lane: Lane, length: int) -> None:
    client, server = map(Connection, ConnectionType)
    text = wsproto.events.TextMessage(data="x" * length)
    binary = wsproto.events.BytesMessage(data=b"x" * length)
    for message, event in (("x" * length, text), (b"x" * length, binary)):
        assert lane.encode(message, None) == server.send(event)
        client.receive_data(lane.encode(message, None))
        assert list(client.events()) == [event]
        server.receive_data(lane.encode(message, KEY))
        assert list(server.events()) == [event]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("text", ["\ud800", "ok \udfff", "x" * 9000 + "\udc80€"])
def test_a_surrogate_is_refused_as_by_str(
    lane: Lane, text: str, key: bytes | None
) -> None:
    with pytest.raises(UnicodeEncodeError) as expected:
        text.encode()
    with pytest.raises(UnicodeEncodeError) as caught:
        lane.encode(text, key)
    assert caught.value.args == expected.value.args


@pytest.mark.parametrize("key", [b"", KEY[:3], KEY + b"\0"])
def test_a_key_of_another_size_is_refused(lane: Lane, key: bytes) -> None:
    for message in ("", "x", b"x" * 200):
        with pytest.raises(ValueError, match="masking key must have four bytes"):
            lane.encode(message, key)


def test_a_message_may_be_of_a_subclass(lane: Lane) -> None:
    assert lane.encode(Text("aé"), KEY) == build("aé", KEY)
    assert lane.encode(Data(b"abc"), None) == build(b"abc", None)


# Many.


def test_a_batch_is_the_frames_one_behind_the_other(lane: Lane) -> None:
    messages: list[Message] = ["", b"", "aé", b"\xff" * 126, "x" * 5000, b"y" * 70_000]
    frames = b"".join(build(message, None) for message in messages)
    assert lane.encode_batch(messages, 0, None, len(frames)) == (frames, 6)
    assert lane.encode_batch(tuple(messages), 0, None, MANY) == (frames, 6)


def test_each_message_of_a_batch_has_its_own_key(lane: Lane) -> None:
    messages: list[Message] = ["", b"one", "two" * 50, b"3" * 9000]
    keys = [bytes([n, 10 * n, 255, n + 1]) for n in range(4)]
    frames = list(map(build, messages, keys))
    joined = b"".join(keys)
    assert lane.encode_batch(messages, 0, joined, MANY) == (b"".join(frames), 4)
    assert lane.encode_batch(messages, 0, joined + b"more", MANY)[1] == 4
    result = lane.encode_batch(messages, 2, joined[8:], MANY)
    assert result == (frames[2] + frames[3], 4)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("length", [0, 3, 125, 126, 5000, 65536])
def test_a_batch_ends_in_front_of_a_frame_that_does_not_fit(
    lane: Lane, length: int, key: bytes | None
) -> None:
    messages = [b"x" * length] * 4
    frame = build(b"x" * length, key)
    keys = None if key is None else key * 4
    for count in (1, 2, 3):
        for extra in (0, 1, len(frame) - 1):
            max_size = count * len(frame) + extra
            result = lane.encode_batch(messages, 0, keys, max_size)
            assert result == (frame * count, count)
    assert lane.encode_batch(messages, 0, keys, len(frame) - 1) == (b"", 0)
    assert lane.encode_batch(messages, 2, keys, len(frame) - 1) == (b"", 2)
    assert lane.encode_batch(messages, 3, keys, len(frame)) == (frame, 4)


@pytest.mark.parametrize("max_size", [1, 0, -1, -MANY, -(2**70)])
def test_nothing_fits_into_nothing(lane: Lane, max_size: int) -> None:
    assert lane.encode_batch(["", ""], 1, None, max_size) == (b"", 1)


def test_a_batch_may_be_larger_than_any_memory(lane: Lane) -> None:
    assert lane.encode_batch(["", ""], 0, None, 2**70) == (b"\x81\0\x81\0", 2)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    "odd",
    [
        None,
        5,
        bytearray(b"x"),
        memoryview(b"x"),
        ["x"],
        "\ud800",
        Text("x"),
        Data(b"x"),
    ],
    ids=["none", "int", "bytearray", "memoryview", "list", "surrogate", "str_", "b_"],
)
def test_a_batch_ends_in_front_of_what_is_to_be_looked_at(
    lane: Lane, odd: object, key: bytes | None
) -> None:
    keys = None if key is None else key * 4
    frame = build("x", key)
    assert lane.encode_batch([odd, "x"], 0, keys, MANY) == (b"", 0)
    assert lane.encode_batch(["x", odd, "x"], 0, keys, MANY) == (frame, 1)
    assert lane.encode_batch(["x", odd, "x"], 2, keys, MANY) == (frame, 3)
    assert lane.encode_batch(["x", "x", odd], 0, keys, MANY) == (frame * 2, 2)


def test_there_may_be_no_message_left(lane: Lane) -> None:
    assert lane.encode_batch([], 0, None, MANY) == (b"", 0)
    assert lane.encode_batch([], 0, b"", MANY) == (b"", 0)
    assert lane.encode_batch(["x", "x"], 2, b"", MANY) == (b"", 2)


@pytest.mark.parametrize("start", [-1, 3, MANY, -MANY - 1, 2**70, -(2**70)])
def test_a_start_outside_of_the_messages_is_refused(lane: Lane, start: int) -> None:
    with pytest.raises(ValueError, match="start is not within the data"):
        lane.encode_batch(["x", "x"], start, None, MANY)


@pytest.mark.parametrize(("start", "size"), [(0, 0), (0, 7), (1, 3), (1, 0)])
def test_a_batch_with_too_few_keys_is_refused(
    lane: Lane, start: int, size: int
) -> None:
    with pytest.raises(ValueError, match="not enough masking keys"):
        lane.encode_batch(["x", "x"], start, bytes(size), MANY)


# There and back.


@given(
    messages=st.lists(
        st.text(max_size=70)
        | st.binary(max_size=140)
        | st.sampled_from(["é" * 700, b"x" * 9000, b"y" * 65_600])
    ),
    key=st.none() | st.binary(min_size=4, max_size=4),
)
@pytest.mark.parametrize("decoder", NAMES)
@pytest.mark.parametrize("encoder", NAMES)
def test_what_one_lane_encodes_every_other_decodes(
    encoder: str, decoder: str, messages: list[Message], key: bytes | None
) -> None:
    lane = find_lane(encoder)
    keys = key and b"".join(
        bytes(byte ^ index % 256 for byte in key) for index in range(len(messages))
    )
    stream, count = lane.encode_batch(messages, 0, keys, MANY)
    assert count == len(messages)
    assert stream == b"".join(
        lane.encode(message, keys and keys[4 * index : 4 * index + 4])
        for index, message in enumerate(messages)
    )
    result = find_lane(decoder).decode(stream, 0, key is None, MANY, MANY)
    assert result == (messages, len(stream))

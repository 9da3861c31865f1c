"""Frames as values, and bytes that become such values."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from typing import Protocol, cast

import pytest
from hypothesis import given, strategies as st

from trio_websocket.frames import Frame, FrameParser, Opcode

KEY = b"\x37\xfa\x21\x3d"
LENGTHS = [0, 1, 125, 126, 65535, 65536]

# RFC 6455 section 5.7.
EXAMPLES = {
    "text": ("81 05 48656c6c6f", Frame(Opcode.TEXT, b"Hello")),
    "masked": (
        "81 85 37fa213d 7f9f4d5158",
        Frame(Opcode.TEXT, b"Hello", masking_key=KEY),
    ),
    "first": ("01 03 6f6e65", Frame(Opcode.TEXT, b"one", fin=False)),
    "last": ("80 02 6c6f", Frame(Opcode.CONTINUATION, b"lo")),
    "ping": ("89 05 48656c6c6f", Frame(Opcode.PING, b"Hello")),
    "pong": (
        "8a 85 37fa213d 7f9f4d5158",
        Frame(Opcode.PONG, b"Hello", masking_key=KEY),
    ),
    "256": ("82 7e 0100" + "61" * 256, Frame(Opcode.BINARY, b"a" * 256)),
    "65536": (
        "82 7f 0000000000010000" + "61" * 65536,
        Frame(Opcode.BINARY, b"a" * 65536),
    ),
    "bits": (
        "f1 00",
        Frame(Opcode.TEXT, rsv1=True, rsv2=True, rsv3=True),
    ),
    "rsv1": ("c1 00", Frame(Opcode.TEXT, rsv1=True)),
    "rsv2": ("a1 00", Frame(Opcode.TEXT, rsv2=True)),
    "rsv3": ("91 00", Frame(Opcode.TEXT, rsv3=True)),
    "unknown": ("83 00", Frame(3)),
    "unknown control": ("8f 00", Frame(15)),
}
EVERY_EXAMPLE = pytest.mark.parametrize(
    ("wire", "frame"), EXAMPLES.values(), ids=EXAMPLES
)


class Make(Protocol):
    """What makes a frame, without the types of the values."""

    def __call__(self, *values: object, **more: object) -> Frame: ...


# A frame.


@EVERY_EXAMPLE
def test_a_frame_is_written_as_the_standard_says(wire: str, frame: Frame) -> None:
    assert frame.pack() == bytes.fromhex(wire)


@EVERY_EXAMPLE
def test_a_frame_is_read_as_it_was_written(wire: str, frame: Frame) -> None:
    for data in (bytes.fromhex(wire), memoryview(bytearray.fromhex(wire))):
        assert Frame.parse(data) == frame


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [*Opcode, 3, 11])
@pytest.mark.parametrize("key", [None, KEY])
def test_every_length_comes_back(opcode: int, length: int, key: bytes | None) -> None:
    """S-32."""
    is_too_long = opcode >= Opcode.CLOSE and length > 125
    payload = bytes(range(256)) * 256
    if is_too_long:
        with pytest.raises(ValueError, match=f"has 125 bytes at most, not {length}$"):
            Frame(opcode, payload[:length], masking_key=key)
    else:
        frame = Frame(opcode, payload[:length], masking_key=key)
        assert Frame.parse(frame.pack()) == frame


def test_a_payload_may_be_anything_bytes_like() -> None:
    for payload in (b"ab", bytearray(b"ab"), memoryview(b"ab")):
        frame = Frame(Opcode.BINARY, payload)
        assert type(frame.payload) is bytes
        assert frame == Frame(Opcode.BINARY, b"ab")


def test_an_opcode_that_is_known_becomes_a_member() -> None:
    assert Frame(1).opcode is Opcode.TEXT
    assert type(Frame(3).opcode) is int


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"opcode": "TEXT"}, TypeError, "an opcode must be an int, not str"),
        ({"opcode": True}, TypeError, "an opcode must be an int, not bool"),
        ({"opcode": -1}, ValueError, "an opcode is 0 to 15, not -1"),
        ({"opcode": 16}, ValueError, "an opcode is 0 to 15, not 16"),
        ({"opcode": 1, "payload": "text"}, TypeError, "bytes-like object"),
        ({"opcode": 1, "masking_key": b"abc"}, ValueError, "has four bytes, not 3"),
        ({"opcode": 1, "masking_key": "abcd"}, TypeError, "bytes-like object"),
        ({"opcode": 9, "fin": False}, ValueError, "cannot be a fragment"),
        ({"opcode": 8, "payload": bytes(126)}, ValueError, "125 bytes at most"),
    ],
)
def test_what_cannot_be_on_the_wire_cannot_be_made(
    arguments: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        cast("Make", Frame)(**arguments)


@pytest.mark.parametrize(
    ("opcode", "is_control"),
    [(0, False), (1, False), (2, False), (7, False), (8, True), (9, True), (15, True)],
)
def test_some_frames_are_control_frames(opcode: int, *, is_control: bool) -> None:
    assert Frame(opcode).is_control is is_control


def test_some_frames_are_fragments() -> None:
    assert not Frame(Opcode.TEXT).is_fragment
    assert not Frame(Opcode.PING).is_fragment
    assert Frame(Opcode.TEXT, fin=False).is_fragment
    assert Frame(Opcode.CONTINUATION).is_fragment


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (Frame(Opcode.TEXT, b"Hello"), "TEXT, 5 bytes: b'Hello'"),
        (Frame(Opcode.PING, b"\n"), "PING, 1 byte: b'\\n'"),
        (
            Frame(Opcode.CONTINUATION, fin=False),
            "CONTINUATION, to be continued, 0 bytes: b''",
        ),
        (
            Frame(3, b"x" * 31, rsv1=True, rsv3=True, masking_key=KEY),
            f"opcode 3, rsv1, rsv3, masked with 37fa213d, 31 bytes: {b'x' * 30!r}...",
        ),
    ],
)
def test_a_frame_is_described_in_a_line(frame: Frame, expected: str) -> None:
    assert str(frame) == expected


def test_frames_are_values() -> None:
    frame = Frame(Opcode.TEXT, b"Hello", masking_key=KEY)
    assert frame == Frame(Opcode.TEXT, b"Hello", masking_key=KEY)
    assert frame != frame.unmask()
    assert len({frame, copy.deepcopy(frame), pickle.loads(pickle.dumps(frame))}) == 1  # noqa: S301  # our own


def test_a_frame_without_its_key_says_the_same() -> None:
    frame = Frame(Opcode.TEXT, b"Hello", rsv2=True, masking_key=KEY)
    assert frame.unmask() == Frame(Opcode.TEXT, b"Hello", rsv2=True)


# A Close.


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [
        ((), b""),
        ((None,), b""),
        ((1000,), b"\x03\xe8"),
        ((4000, "bye"), b"\x0f\xa0bye"),
        ((1000, "€" * 50), b"\x03\xe8" + "€".encode() * 41),
    ],
)
def test_a_close_frame_is_made_of_a_code_and_a_reason(
    arguments: tuple[object, ...], payload: bytes
) -> None:
    assert cast("Make", Frame.close)(*arguments) == Frame(Opcode.CLOSE, payload)


def test_a_close_frame_has_only_codes_that_may_be_sent() -> None:
    with pytest.raises(ValueError, match="may not be sent"):
        Frame.close(999)
    with pytest.raises(TypeError, match="needs a close code"):
        Frame.close(None, "why")


# Fragments.


@pytest.mark.parametrize(
    ("payload", "size", "parts"),
    [
        (b"", 1, [b""]),
        (b"a", 1, [b"a"]),
        (b"abc", 1, [b"a", b"b", b"c"]),
        (b"abc", 2, [b"ab", b"c"]),
        (b"abcd", 2, [b"ab", b"cd"]),
        (b"abc", 3, [b"abc"]),
        (b"abc", 100, [b"abc"]),
    ],
)
def test_a_frame_is_cut_into_fragments(
    payload: bytes, size: int, parts: list[bytes]
) -> None:
    frame = Frame(Opcode.TEXT, payload, rsv1=True, masking_key=KEY)
    fragments = frame.fragment(size)
    assert [each.payload for each in fragments] == parts
    assert [each.opcode for each in fragments] == [
        Opcode.TEXT,
        *[Opcode.CONTINUATION] * (len(parts) - 1),
    ]
    assert [each.fin for each in fragments] == [False] * (len(parts) - 1) + [True]
    assert [each.rsv1 for each in fragments] == [True] + [False] * (len(parts) - 1)
    assert {each.masking_key for each in fragments} == {None}


def test_a_fragment_can_be_cut_further() -> None:
    first, second = Frame(Opcode.TEXT, b"ab", fin=False).fragment(1)
    assert first == Frame(Opcode.TEXT, b"a", fin=False)
    assert second == Frame(Opcode.CONTINUATION, b"b", fin=False)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(TypeError, match="control frame"):
        Frame(Opcode.PING, b"ab").fragment(1)
    with pytest.raises(ValueError, match="1 byte or more, not 0"):
        Frame(Opcode.TEXT, b"ab").fragment(0)


# The parser.


FRAMES = [frame for _, frame in EXAMPLES.values()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 10**6])
def test_frames_come_out_whatever_the_pieces_are(size: int) -> None:
    wire = b"".join(frame.pack() for frame in FRAMES)
    parser = FrameParser(max_payload_size=65536)
    frames: list[Frame] = []
    for at in range(0, len(wire), size):
        frames += parser.feed(wire[at : at + size])
    assert frames == FRAMES
    assert parser.is_between_frames


def test_a_parser_knows_whether_something_is_missing() -> None:
    parser = FrameParser()
    states = [parser.is_between_frames]
    for byte in (b"\x81", b"\x01", b"a"):
        assert parser.feed(byte) == ([Frame(Opcode.TEXT, b"a")] if byte == b"a" else [])
        states.append(parser.is_between_frames)
    assert states == [True, False, False, True]


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        ("82 7e 007d", "not in its shortest form"),
        ("82 7f 000000000000ffff", "not in its shortest form"),
        ("82 7f 8000000000000000", "has its highest bit set"),
        ("82 7f 0000000000100001", "has 1048577 bytes, which are more than 1048576"),
        ("09 00", "cannot be a fragment"),
        ("88 7e 007e", "has 125 bytes at most, not 126"),
    ],
)
def test_a_frame_that_breaks_the_rules_is_told_by_its_header(
    wire: str, words: str
) -> None:
    parser = FrameParser()
    for _ in range(2):
        with pytest.raises(ValueError, match=words):
            parser.feed(bytes.fromhex(wire))


def test_frames_before_one_that_breaks_the_rules_come_out() -> None:
    parser = FrameParser()
    good = Frame(Opcode.TEXT, b"a")
    assert parser.feed(good.pack() * 2 + b"\x09\x00") == [good, good]
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be a fragment"):
            parser.feed(good.pack())


@pytest.mark.parametrize("key", [None, KEY])
def test_a_parser_may_insist_on_masks(key: bytes | None) -> None:
    frame = Frame(Opcode.TEXT, b"a", masking_key=key)
    is_masked = key is not None
    assert FrameParser(is_masked=is_masked).feed(frame.pack()) == [frame]
    with pytest.raises(ValueError, match=r"^the frame is (not )?masked$") as caught:
        FrameParser(is_masked=not is_masked).feed(frame.pack())
    assert ("not" in str(caught.value)) is not is_masked


def test_the_limit_may_be_lifted() -> None:
    frame = Frame(Opcode.BINARY, bytes(2**20 + 1))
    assert FrameParser(max_payload_size=math.inf).feed(frame.pack()) == [frame]


@pytest.mark.parametrize("wire", ["", "81", "8101", "8100 81", "8100 8100"])
def test_bytes_that_are_not_one_frame_are_refused(wire: str) -> None:
    with pytest.raises(ValueError, match="not exactly one frame"):
        Frame.parse(bytes.fromhex(wire))


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_are_read_in_any_pieces_alike(wire: bytes, cuts: list[int]) -> None:
    def read(*chunks: bytes) -> tuple[list[Frame], str | None]:
        parser = FrameParser()
        frames: list[Frame] = []
        try:
            for chunk in [*chunks, b""]:
                frames += parser.feed(chunk)
        except ValueError as error:
            return frames, str(error)
        return frames, None

    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    chunks = [wire[at:end] for at, end in itertools.pairwise(edges)]
    assert read(*chunks) == read(wire)

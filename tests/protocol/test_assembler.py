from __future__ import annotations

import math
import sys

import pytest

from trio_websocket._protocol.assembler import (
    MAX_FRAGMENTS,
    Assembler,
    MessageTooBig,
)
from trio_websocket._protocol.events import Piece

needs_tracemalloc = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="memory is traced by CPython only"
)


def first(data: str | bytes, size: int | None = None, *, pending: int = 0) -> Piece:
    """Make the first piece of a frame that is not the last one."""
    return Piece(data, len(data) if size is None else size, pending, True, False)


def more(data: str | bytes, size: int | None = None, *, pending: int = 0) -> Piece:
    """Make a piece in the middle of a frame."""
    return first(data, size, pending=pending)._replace(begins_frame=False)


def last(data: str | bytes, size: int | None = None) -> Piece:
    """Make the last frame of a message."""
    return first(data, size)._replace(is_last=True)


def add_all(assembler: Assembler, *pieces: Piece) -> list[str | bytes]:
    messages = [assembler.add(piece) for piece in pieces]
    return [message for message in messages if message is not None]


@pytest.mark.parametrize("data", ["héllo", "", b"hello", b""])
def test_a_whole_message_in_one_piece_is_that_piece(data: str | bytes) -> None:
    assert Assembler(math.inf).add(last(data)) is data


@pytest.mark.parametrize("count", [1, 2, 62, 63, 64, 65, 127, 128, 129, 1000])
def test_any_number_of_pieces_are_joined_in_order(count: int) -> None:
    assembler = Assembler(math.inf)
    texts = [f"{i}é," for i in range(count)]
    pieces = [first(text) for text in texts]
    assert add_all(assembler, *pieces, last("")) == ["".join(texts)]
    assert add_all(assembler, *pieces, last("x")) == ["".join(texts) + "x"]
    parts = [text.encode() for text in texts]
    pieces = [first(part) for part in parts]
    assert add_all(assembler, *pieces, last(b"")) == [b"".join(parts)]
    assert add_all(assembler, *pieces, last(b"x")) == [b"".join(parts) + b"x"]


def test_text_stays_text_and_binary_stays_binary_when_nothing_is_in_it() -> None:
    assembler = Assembler(math.inf)
    assert add_all(assembler, first(""), last("")) == [""]
    assert add_all(assembler, first(b""), last(b"")) == [b""]


def test_nothing_of_a_message_is_left_in_the_next() -> None:
    assembler = Assembler(6)
    assert add_all(assembler, first("abc"), first("de"), last("f")) == ["abcdef"]
    assert add_all(assembler, first(b"gh"), last(b"ijkl")) == [b"ghijkl"]
    assert add_all(assembler, last("mnopqr"), last(b"stuvwx")) == ["mnopqr", b"stuvwx"]
    assert add_all(assembler, first("yz"), last("yzyz")) == ["yzyzyz"]


def test_a_message_of_exactly_the_limit_passes() -> None:
    assembler = Assembler(5)
    assert assembler.add(last(b"12345")) == b"12345"
    assert add_all(assembler, first(b"12", pending=3), more(b"345"), last(b"")) == [
        b"12345"
    ]


@pytest.mark.parametrize(
    "piece",
    [
        last(b"123456"),
        last("12345é", 7),
        first(b"", pending=6),
        first(b"123", pending=3),
        first(b"123456"),
    ],
)
def test_a_message_over_the_limit_is_refused_by_what_its_frame_announces(
    piece: Piece,
) -> None:
    with pytest.raises(MessageTooBig) as caught:
        Assembler(5).add(piece)
    assert caught.value.problem == "Exceeded maximum message size: 5 bytes"
    assert str(caught.value) == caught.value.problem


def test_the_limit_counts_all_pieces_of_a_message() -> None:
    assembler = Assembler(5)
    assert add_all(assembler, first(b"12"), first(b"3", pending=2)) == []
    assert assembler.add(more(b"4", pending=1)) is None
    with pytest.raises(MessageTooBig):
        assembler.add(first(b"", pending=2))


def test_the_limit_counts_bytes_on_the_wire_and_not_characters() -> None:
    # T18
    assert Assembler(4).add(last("éé", 4)) == "éé"
    with pytest.raises(MessageTooBig):
        Assembler(3).add(last("éé", 4))
    # Half a character has no text yet, and counts.
    with pytest.raises(MessageTooBig):
        add_all(Assembler(3), first("é", 3), last("é", 1))


def test_a_piece_that_is_refused_is_not_kept() -> None:
    assembler = Assembler(5)
    assert assembler.add(first(b"123")) is None
    with pytest.raises(MessageTooBig):
        assembler.add(last(b"456"))
    assert assembler.add(last(b"45")) == b"12345"


def test_a_limit_of_nothing_lets_empty_messages_pass() -> None:
    assembler = Assembler(0)
    assert add_all(assembler, last(""), first(b""), last(b"")) == ["", b""]
    with pytest.raises(MessageTooBig):
        assembler.add(last("1"))


def test_without_a_limit_a_frame_may_announce_anything() -> None:
    assert Assembler(math.inf).add(first(b"", pending=2**63 - 1)) is None


@pytest.mark.parametrize("nothing", ["", b""])
def test_a_message_may_have_131072_frames_and_no_more(nothing: str | bytes) -> None:
    # T12
    assert MAX_FRAGMENTS == 131_072
    assembler = Assembler(math.inf)
    for _ in range(MAX_FRAGMENTS - 1):
        assert assembler.add(first(nothing)) is None
    assert assembler.add(last(nothing)) == nothing
    for _ in range(MAX_FRAGMENTS):
        assert assembler.add(first(nothing)) is None
    assert assembler.add(more(nothing)) is None
    with pytest.raises(MessageTooBig) as caught:
        assembler.add(last(nothing))
    assert caught.value.problem == "Exceeded maximum number of fragments: 131072"


def test_pieces_of_one_frame_count_as_one_fragment() -> None:
    assembler = Assembler(math.inf)
    assembler.add(first(b"x"))
    for _ in range(MAX_FRAGMENTS):
        assert assembler.add(more(b"x")) is None
    assert assembler.add(last(b"")) == b"x" * (MAX_FRAGMENTS + 1)


def measure_peak(pieces: int, make: type[str | bytes]) -> int:
    """Add so many tiny pieces and tell what memory they took at most, in bytes."""
    import tracemalloc  # noqa: PLC0415  # only CPython has it

    assembler = Assembler(math.inf)
    tracemalloc.start()
    try:
        for index in range(pieces):
            # A new object each time, as it is when it comes from the wire.
            character = chr(0x400 + index % 256)
            data = character if make is str else character.encode()
            assert assembler.add(first(data, 2)) is None
        assert assembler.add(last(make())) is not None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@needs_tracemalloc
@pytest.mark.parametrize("make", [str, bytes])
def test_tiny_pieces_take_little_more_memory_than_the_bytes_in_them(
    make: type[str | bytes],
) -> None:
    # T12: kept one by one they would take 40 times as much.
    pieces = 20_000
    assert measure_peak(pieces, make) < 5 * 2 * pieces


@needs_tracemalloc
@pytest.mark.parametrize("make", [str, bytes])
def test_pieces_of_nothing_take_no_memory(make: type[str | bytes]) -> None:
    import tracemalloc  # noqa: PLC0415  # only CPython has it

    assembler = Assembler(math.inf)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            assembler.add(first(make()))
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


# A message that is handed on.


def is_amid(assembler: Assembler) -> bool:
    return assembler.is_amid_message


@pytest.mark.parametrize(
    ("pieces", "data", "size"),
    [
        ([first("ä", 2), first("b")], "äb", 3),
        ([first(b"a"), first(b""), first(b"b")], b"ab", 2),
        ([first("", 0)], "", 0),
        ([first(b"", pending=9)], b"", 0),
        ([first("") for _ in range(1000)], "", 0),
    ],
)
def test_what_is_here_can_be_handed_on(
    pieces: list[Piece], data: str | bytes, size: int
) -> None:
    assembler = Assembler(9)
    assert not is_amid(assembler)
    assert add_all(assembler, *pieces) == []
    assert is_amid(assembler)
    assert assembler.hand_on() == (data, size)
    assert not is_amid(assembler)
    # The next message has all the room, and nothing of this one.
    assert add_all(assembler, first("123456"), last("789")) == ["123456789"]
    assert not is_amid(assembler)


def test_what_was_here_before_a_limit_was_passed_can_be_handed_on() -> None:
    assembler = Assembler(3)
    add_all(assembler, first("abc"))
    with pytest.raises(MessageTooBig):
        assembler.add(last("d"))
    assert assembler.hand_on() == ("abc", 3)
    assert add_all(assembler, first(b"ab"), last(b"c")) == [b"abc"]

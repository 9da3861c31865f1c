from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from trio_websocket._protocol.events import Piece
from trio_websocket._protocol.fragmented_message import FragmentedMessage
from trio_websocket._protocol.frame_header import Opcode, parse_header
from trio_websocket._protocol.lane import PYTHON_LANE

from .lanes import KEY, NAMES, build_frame, find_key, find_lane

CONTINUATION, TEXT, BINARY = Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY
EURO = "€".encode()
SIDES = pytest.mark.parametrize("side", ConnectionType)


def begin(message: FragmentedMessage, frame: bytes) -> bytes:
    """Begin a frame, and return its payload as it came."""
    header = parse_header(frame)
    assert header is not None
    message.begin_frame(header)
    return frame[header.size :]


def is_amid(message: FragmentedMessage) -> bool:
    return message.is_amid_frame


def make_message(opcode: Opcode, frame: bytes) -> FragmentedMessage:
    message = FragmentedMessage(opcode, PYTHON_LANE)
    begin(message, frame)
    return message


@pytest.mark.parametrize("key", [KEY, None], ids=["masked", "unmasked"])
@pytest.mark.parametrize("name", NAMES)
def test_a_payload_is_unmasked_from_any_byte_on(name: str, key: bytes | None) -> None:
    payload = bytes(range(256))
    message = FragmentedMessage(BINARY, find_lane(name))
    for first in range(9):
        wire = b"before" + begin(message, build_frame(BINARY, payload, key)) + b"behind"
        told, start = b"", len(b"before")
        for size in (first, 3, 1000):
            with memoryview(wire[: start + size]) as here:
                part = message.unmask(here, start)
            piece = message.tell(part)
            assert isinstance(piece.data, bytes)
            told += piece.data
            start += len(part)
        assert told == payload
        assert message.left == 0


def test_parts_tell_how_much_of_the_frame_is_to_come() -> None:
    message = make_message(BINARY, build_frame(BINARY, bytes(5), None, fin=False))
    assert is_amid(message)
    assert message.tell(b"") == Piece(b"", 0, 5, begins_frame=True, is_last=False)
    assert message.tell(b"ab") == Piece(b"ab", 2, 3, begins_frame=False, is_last=False)
    assert message.tell(b"cde") == Piece(b"cde", 3, 0, False, False)
    assert not is_amid(message)
    begin(message, build_frame(CONTINUATION, b"", None))
    assert is_amid(message)
    assert message.tell(b"") == Piece(b"", 0, 0, begins_frame=True, is_last=True)
    assert not is_amid(message)


def test_text_is_told_in_whole_characters() -> None:
    frame = build_frame(TEXT, EURO[:2], None, fin=False)
    message = make_message(TEXT, frame)
    assert message.tell(EURO[:1]).data == ""
    assert message.tell(EURO[1:2]).data == ""
    begin(message, build_frame(CONTINUATION, EURO[2:] + b"x", None))
    assert message.tell(EURO[2:] + b"x") == Piece("€x", 2, 0, True, True)


@pytest.mark.parametrize(
    ("part", "fin"), [(b"\xff", False), (b"a\xc3(", False), (EURO[:2], True)]
)
def test_text_that_is_not_utf_8_changes_nothing(part: bytes, *, fin: bool) -> None:
    message = make_message(TEXT, build_frame(TEXT, part, None, fin=fin))
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            message.tell(part)
        assert message.left == len(part)
        assert is_amid(message)


@SIDES
@pytest.mark.parametrize("cut", range(4))
def test_wsproto_can_go_on_behind_a_recap(side: ConnectionType, cut: int) -> None:
    text = "😀"
    data, key = text.encode(), find_key(side)
    message = make_message(TEXT, build_frame(TEXT, data[:cut], key, fin=False))
    message.tell(data[:cut])
    judge = Connection(side)
    judge.receive_data(message.decoder.recap(is_masked=key is not None))
    judge.receive_data(build_frame(CONTINUATION, data[cut:], key))
    events = list(judge.events())
    texts = [event.data for event in events if isinstance(event, TextMessage)]
    assert len(texts) == len(events)
    assert "".join(texts) == text
    assert isinstance(events[-1], TextMessage)
    assert events[-1].message_finished


@SIDES
def test_wsproto_gets_what_is_left_of_a_frame(side: ConnectionType) -> None:
    key = find_key(side)
    message = make_message(TEXT, build_frame(TEXT, b"good" + EURO, key))
    message.tell(b"good" + EURO[:1])
    is_masked = key is not None
    judge = Connection(side)
    judge.receive_data(message.decoder.recap(is_masked=is_masked))
    judge.receive_data(message.restart(EURO[1:], is_masked=is_masked))
    *_, last = judge.events()
    assert isinstance(last, TextMessage)
    assert (last.data, last.message_finished) == ("€", True)


@SIDES
def test_a_recap_of_bytes_holds_none(side: ConnectionType) -> None:
    key = find_key(side)
    message = make_message(BINARY, build_frame(BINARY, b"abc", key, fin=False))
    message.tell(b"abc")
    header = parse_header(message.decoder.recap(is_masked=key is not None))
    assert header is not None
    assert (header.opcode, header.payload_length, header.fin) == (BINARY, 0, False)
